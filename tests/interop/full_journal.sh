#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Killed over a journal that has no room left for another key, without and with discards: the real kernel takes it and reads the same, and so
# do we.
# run: alone
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_kernel
SEED=${SEED:-61}

# fill_journal SEED: scattered blocks, an fsync each, until only the reserve is free; then SIGKILL, before a leaf is written and makes room.
fill_journal() {
	python3 - "$MNT/dev0" model "$MNT/.ctl/$SET_UUID/internal/journal" "$DAEMON_PID" "$1" <<'PY' || fail "the journal did not get full"
import os, random, signal, sys
device, model, journal, pid, seed = sys.argv[1:]
rng = random.Random(int(seed))
fd, copy = os.open(device, os.O_RDWR), os.open(model, os.O_RDWR)
blocks = os.fstat(copy).st_size // 4096
for n in range(5000):
    at = rng.randrange(blocks) * 4096
    data = (b"%-8d %020d\n\0\0" % (n, at)) * 128
    os.pwrite(fd, data, at)
    os.pwrite(copy, data, at)
    os.fsync(fd)
    state = dict(line.split()[:2] for line in open(journal))
    if int(state["free_buckets"]) <= 1:
        os.kill(int(pid), signal.SIGKILL)
        print("killed after %d writes: %s of %s buckets free, %s entries to replay, %s discards" %
              (n + 1, state["free_buckets"], state["buckets"], state["pins"], state["discards"]))
        sys.exit(0)
sys.exit(1)
PY
	kill_daemon
}
discards() { sed -n 's/^discards //p' "$MNT/.ctl/$SET_UUID/internal/journal"; }

# full SEED FORMAT-OPTION...
full() {
	seed=$1
	shift
	rm -f cache.img backing.img model
	# 1024 buckets of four blocks, of which the journal gets a few.
	mk_images 16M 16M --writeback --bucket 16k --block 4k "$@"
	start_daemon
	ctl_set dev0/sequential_cutoff 0
	ctl_set dev0/writeback_running 0
	truncate -s "$(stat -c %s "$MNT/dev0")" model
	fill_laps "$seed"
	fill_journal "$seed"
	want=$(sha model)

	say "the kernel"
	kernel_verifies --backing-first --writeback
	kernel_answers 'devices[0].sha256' "$want"
	kernel_answers 'after_writeback[0].sha256' "$want"

	say "we; and killed over a full journal once more"
	start_daemon
	is_same "our mount" "$(our_sha)" "$want"
	ctl_set dev0/sequential_cutoff 0
	ctl_set dev0/writeback_running 0
	fill_journal $((seed + 1))
	start_daemon
	is_same "our mount after the second time" "$(our_sha)" "$(sha model)"
	stop_daemon
}

# Small synchronous writes, so that the ring goes round.
fill_laps() { "$STAMPS" fill "$MNT/dev0" model --seed "$1" --bytes 2M --max-io 4K --align 8 --fsync-every 1; }

say "a full journal (seed $SEED)"
full "$SEED"

say "with discards"
full $((SEED + 10)) --discard
