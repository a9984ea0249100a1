#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A backing device of 64 TiB, sparse, or as long as the filesystem here lets a file be: written, restarted, and read at its far end.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_cmd python3

size=
for tib in 64 16 15 7; do
	if truncate -s ${tib}T probe.img 2>/dev/null; then
		size=$tib
		break
	fi
done
rm -f probe.img
[ -n "$size" ] || skip "files of several TiB are impossible in $WORK"
say "$size TiB"
mk_images 300M ${size}T --writeback --bucket 512k

# far write|check GENERATION: 64 stretches between the middle and the end, the last block among them
far() {
	python3 - "$MNT/dev0" "$1" "$2" <<-'END'
	import os, random, sys
	path, what, generation = sys.argv[1], sys.argv[2], int(sys.argv[3])
	size = os.stat(path).st_size
	r = random.Random(42)
	places = [(size - 4096, 4096), (size - 65536, 512), (size // 2, 8192)]
	places += [(size // 2 + r.randrange(size // 2 // 65536 - 2) * 65536 + r.randrange(100) * 512, r.randrange(1, 60) * 512) for _ in range(61)]
	fd = os.open(path, os.O_RDWR)
	for i, (offset, length) in enumerate(places):
	    data = (b"%05d %017d %07d\n" % (generation, offset, i)) * (length // 32)
	    if what == "write":
	        assert os.pwrite(fd, data, offset) == length, (i, offset)
	    elif os.pread(fd, length, offset) != data:
	        sys.exit("wrong data at %d (%d of %d)" % (offset, i, len(places)))
	if what == "write":
	    os.fsync(fd)
	if os.pread(fd, 4096, size):
	    sys.exit("there is something behind the end")
	END
}

start_daemon
for generation in 1 2; do
	far write $generation
	far check $generation
	stop_daemon
	start_daemon
	far check $generation
done

say "killed, then written back, then the backing device on its own"
far write 3
kill_daemon
unmount_stale
start_daemon
far check 3
ctl_set dev0/writeback_percent 0
ctl_set dev0/writeback_delay 0
wait_for 60 is_clean
stop_daemon
python3 - <<'END'
import os
size = os.stat("backing.img").st_size
fd = os.open("backing.img", os.O_RDONLY)
assert os.pread(fd, 4096, size - 4096).startswith(b"00003 %017d" % (size - 8192 - 4096)), "the last block is not on the backing device"
END
