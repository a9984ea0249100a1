#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# One daemon stops its set and takes the devices again, 20 times, while somebody writes: its descriptors, threads and memory stay what they are. Then
# the same with the whole daemon, 5 times.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
# What was freed goes back at once: sanitizers and valgrind would keep it for a while, and the memory that grows below would be theirs.
export ASAN_OPTIONS="quarantine_size_mb=0:thread_local_quarantine_size_kb=0:${ASAN_OPTIONS:-}"
export VALGRIND_OPTS="--freelist-vol=0 ${VALGRIND_OPTS:-}"

mk_images 16M 8M --writeback --bucket 16k
NO_DEVICE=1 start_daemon
descriptors() { find "/proc/$DAEMON_PID/fd" -type l | wc -l; }
threads() { cat "/proc/$DAEMON_PID/task"/*/comm | grep -vc iou; } # io_uring's own workers come and go
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$DAEMON_PID/status"; }
device_is_there() { [ -e "$MNT/dev0" ]; }
device_is_gone() { [ ! -e "$MNT/dev0" ] && [ ! -e "$MNT/.ctl/$SET_UUID" ]; }

# write_for_ever: until it is refused. WRITER: its process.
write_for_ever() {
	(while dd if=/dev/zero of="$MNT/dev0" bs=64k count=100 conv=notrunc,nocreat; do :; done) >writer.log 2>&1 &
	WRITER=$!
}
wait_for 20 device_is_there

say "20 times the set"
for i in $(seq 20); do
	[ "$i" -ne 6 ] || { before="$(descriptors) $(threads)" before_kib=$(rss_kib); } # buffers and the like have been made
	write_for_ever
	sleep 0.2
	ctl_set "$SET_UUID/stop" 1
	wait "$WRITER" || true
	wait_for 20 device_is_gone
	echo "$WORK/cache.img" >"$MNT/.ctl/register"
	echo "$WORK/backing.img" >"$MNT/.ctl/register"
	wait_for 20 device_is_there
done
[ "$(descriptors) $(threads)" = "$before" ] || fail "descriptors and threads: $(descriptors) $(threads), and there were $before"
grown=$(($(rss_kib) - before_kib))
[ $grown -lt 4096 ] || fail "the daemon has grown by $grown KiB in 14 rounds"
echo "descriptors and threads: $before; memory: $grown KiB more"

say "5 times the daemon"
for how in TERM INT TERM INT TERM; do
	write_for_ever
	sleep 0.2
	kill -$how "$DAEMON_PID"
	wait_for_end 30 "$DAEMON_PID" || fail "it does not stop"
	[ "$DAEMON_STATUS" -eq 0 ] || fail "stopped with status $DAEMON_STATUS"
	DAEMON_PID=
	wait "$WRITER" || true
	start_daemon
done
