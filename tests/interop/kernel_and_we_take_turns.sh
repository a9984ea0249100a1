#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# On images that we formatted: the real kernel writes dirty data and loses power, we read the same; we write more and are killed, it
# reads the same and stops in order, we read the same.
# run: alone
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_kernel
build_stampio
SEED=${SEED:-41}

# 4 KiB blocks: the kernel's device takes whole blocks only.
mk_images 64M 32M --writeback --bucket 16k --block 4k
truncate -s $((32 * 1048576 - 8192)) model

say "the kernel writes 6 MiB and loses power (seed $SEED)"
"$STAMPS" fill - model --seed "$SEED" --bytes 6M --max-io 64K --align 8 --orders >orders
cat >job.sh <<'JOB'
. /lib/bcache.sh
register vda || exit 1
register vdb || exit 1
wait_for 10 test -e /sys/block/bcache0/bcache/state || exit 1
if [ "$(cat /sys/block/bcache0/bcache/state)" = "no cache" ]; then
	ls /sys/fs/bcache | grep -e - >/sys/block/bcache0/bcache/attach || exit 1
fi
echo writeback >/sys/block/bcache0/bcache/cache_mode
quiet_cache
stampio /dev/bcache0 bcf0 </add/orders || exit 1
echo "$(cat /sys/block/bcache0/bcache/state) $(cat /sys/block/bcache0/bcache/dirty_data)"
JOB
"$INTEROP/kernel-bcache" --disk cache.img --disk backing.img --add stampio --add orders --kmsg kmsg --crash -- job.sh >job.out ||
	{ cat job.out kmsg; fail "the kernel's part"; }
cat job.out
grep -q '^dirty [^0]' job.out || fail "the kernel left nothing dirty: this would test nothing"
want=$(sha model)

say "we read it, write more, and are killed"
start_daemon
is_same "our mount" "$(our_sha)" "$want"
[ "$(ctl_get dev0/state)" = dirty ] || fail "our state is $(ctl_get dev0/state)"
ctl_set dev0/sequential_cutoff 0
"$STAMPS" fill "$MNT/dev0" model --seed $((SEED + 1)) --bytes 6M --first-generation 50000
want=$(sha model)
is_same "our mount" "$(our_sha)" "$want"
kill_daemon

say "the kernel reads it and stops in order"
kernel_verifies --in-place
kernel_answers 'devices[0].sha256' "$want"

say "we read it"
start_daemon
is_same "our mount" "$(our_sha)" "$want"
stop_daemon
