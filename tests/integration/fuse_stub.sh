#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The mount alone, over plain memory (tests/lib/bcf_stub.c): names, attributes, data, control files, start and stop.

. "$(dirname "$0")/functions.sh"
BCF=$B/bcache-fuse-stub
requires_fuse
export XDG_CONFIG_HOME="$WORK/no-config" BCF_STUB_MIB=16

# errno_is TEXT COMMAND...: it must fail with the error that the C library describes so
errno_is() {
	_want=$1
	shift
	if LC_ALL=C "$@" >errno.out 2>&1; then fail "succeeded, should be '$_want': $*"; fi
	grep -q "$_want" errno.out || { cat errno.out; fail "not '$_want': $*"; }
}

# put FILE VALUE: as ctl_set, by a program that names the error (the shell's own echo does not)
put() { /bin/echo "$2" >"$MNT/.ctl/$1"; }

start_daemon

say "names and attributes"
[ "$(ls -A "$MNT" | tr '\n' ' ')" = ".ctl dev0 " ] || fail "listing: $(ls -A "$MNT")"
[ "$(stat -c '%a %s %u %F' "$MNT/dev0")" = "600 16777216 $(id -u) regular file" ] || fail "$(stat "$MNT/dev0")"
[ "$(stat -c '%a %s %b %h' "$MNT/.ctl/dev0/cache_mode")" = "644 4096 0 1" ] || fail "$(stat "$MNT/.ctl/dev0/cache_mode")"
[ "$(stat -c %a "$MNT/.ctl/register")" = 200 ]
[ "$(readlink "$MNT/.ctl/dev0/bcache")" = . ]
[ "$(stat -L -c %i "$MNT/.ctl/dev0/bcache/dev")" = "$(stat -c %i "$MNT/dev0")" ] || fail "the link leads elsewhere"
[ "$(ls -i "$MNT" | awk '{print $1}')" = "$(stat -c %i "$MNT/dev0")" ] || fail "listing and stat(2) disagree on the number"
if command -v python3 >/dev/null; then # a listing can be continued from any offset, also from one that nobody was told
	python3 - "$MNT/.ctl" <<-'END' || fail "a listing from the middle of a name"
	import ctypes, os, sys
	c = ctypes.CDLL(None)
	c.opendir.restype = c.readdir.restype = ctypes.c_void_p
	c.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
	c.readdir.argtypes = [ctypes.c_void_p]
	d = ctypes.c_void_p(c.opendir(sys.argv[1].encode()))
	names = {n.encode() for n in os.listdir(sys.argv[1])} | {b".", b".."}
	for offset in [*range(sum(len(n) + 2 for n in names) + 8), 1 << 40, (1 << 63) - 1]:
	    c.seekdir(d, offset)
	    while entry := c.readdir(d):
	        name = ctypes.string_at(entry + 19)
	        if name not in names:
	            sys.exit("offset %d: %r" % (offset, name))
	END
fi
errno_is "No such file" stat "$MNT/dev1"
errno_is "No such file" stat "$MNT/.ctl/nothing"
errno_is "Permission denied" sh -c ": > '$MNT/new'"
errno_is "Permission denied" sh -c ": > '$MNT/.ctl/new'"
errno_is "not permitted" mkdir "$MNT/new"
errno_is "not permitted" rm -f "$MNT/dev0"
errno_is "not permitted" mv "$MNT/dev0" "$MNT/dev1"
errno_is "not permitted" ln -s x "$MNT/.ctl/x"
errno_is "not permitted" ln "$MNT/dev0" "$MNT/dev1"
chmod 640 "$MNT/dev0"
[ "$(stat -c %a "$MNT/dev0")" = 640 ] || fail "chmod"

say "data"
dd if=/dev/urandom of=random bs=1M count=16 status=none
dd if=random of="$MNT/dev0" bs=700001 status=none # opens with O_TRUNC
cmp random "$MNT/dev0"
[ "$(stat -c %s "$MNT/dev0")" = 16777216 ]
dd if=random of="$MNT/dev0" bs=1M conv=notrunc,fsync oflag=direct status=none
dd if="$MNT/dev0" bs=4M iflag=direct status=none | cmp - random
errno_is "No space left" sh -c "head -c 10 random | dd of='$MNT/dev0' bs=10 seek=16777210 oflag=seek_bytes conv=notrunc status=none"
[ "$(tail -c 10 random | od -An -tx1)" = "$(tail -c 10 "$MNT/dev0" | od -An -tx1)" ] || fail "a write past the end changed something"
truncate -s 16777216 "$MNT/dev0"
errno_is "Invalid argument" truncate -s 100 "$MNT/dev0"
errno_is "Invalid argument" truncate -s 20M "$MNT/dev0"
fallocate -p -o 4096 -l 8192 "$MNT/dev0"
fallocate -z -n -o 100000 -l 5 "$MNT/dev0"
dd if=/dev/zero of=random bs=4096 seek=1 count=2 conv=notrunc status=none
dd if=/dev/zero of=random bs=1 seek=100000 count=5 conv=notrunc status=none
cmp random "$MNT/dev0"
errno_is "not supported" fallocate -l 8192 "$MNT/dev0"
if command -v fio >/dev/null; then
	fio --name=v --filename="$MNT/dev0" --rw=randwrite --bsrange=1k-2m --size=16m --direct=1 --ioengine=io_uring --iodepth=32 \
		--verify=crc32c --verify_fatal=1 --output=fio.log || { cat fio.log; fail "fio verify"; }
	fio --name=v --filename="$MNT/dev0" --rw=randwrite --bs=1m --size=16m --direct=1 --ioengine=libaio --iodepth=128 \
		--output=fio.log --time_based --runtime=1s --numjobs=2 || { cat fio.log; fail "fio deep"; }
fi

say "control files"
[ "$(ctl_get dev0/cache_mode)" = writethrough ]
ctl_set dev0/cache_mode writeback
[ "$(ctl_get dev0/cache_mode)" = writeback ]
printf writethrough >>"$MNT/.ctl/dev0/cache_mode" # the offset does not matter
[ "$(ctl_get dev0/cache_mode)" = writethrough ]
errno_is "Invalid argument" put dev0/cache_mode nonsense
truncate -s 0 "$MNT/.ctl/dev0/cache_mode"
[ "$(ctl_get dev0/cache_mode)" = writethrough ]
errno_is "Argument list too long" dd if=/dev/zero of="$MNT/.ctl/dev0/cache_mode" bs=5000 count=1 status=none
errno_is "Permission denied" sh -c "echo x > '$MNT/.ctl/last_error'"
errno_is "Permission denied" cat "$MNT/.ctl/register"
errno_is "unsupported" fallocate -p -o 0 -l 4096 "$MNT/.ctl/dev0/cache_mode"
[ "$(wc -c <"$MNT/.ctl/big")" -gt 300000 ]
cat "$MNT/.ctl/big" >big
dd if="$MNT/.ctl/big" bs=77 status=none | cmp - big
# one reader in small pieces sees one instant; reading from 0 again sees the next
exec 3<"$MNT/.ctl/counter"
first=$(dd bs=1 count=1 status=none <&3)
dd bs=1 count=1 status=none <&3 >/dev/null
exec 3<&-
[ "$(ctl_get counter)" -eq $((first + 1)) ] || fail "a continued read made a new text"

say "a command that hangs can be interrupted, and does not hold up others"
dd if=random of="$MNT/.ctl/slow" bs=3 count=1 status=none 2>/dev/null &
slow=$!
sleep 0.3
[ "$(ctl_get dev0/cache_mode)" = writethrough ]
kill -INT $slow 2>/dev/null || kill -TERM $slow
kill -TERM $slow 2>/dev/null || true
wait_for 5 sh -c "! kill -0 $slow 2>/dev/null"

say "devices come and go"
ctl_set register /some/backing
test -e "$MNT/dev1"
exec 4<>"$MNT/dev1"
exec 5<"$MNT/.ctl/dev1/cache_mode"
ctl_set dev1/stop 1
errno_is "No such file" stat "$MNT/dev1"
errno_is "No such device" cat <&5
printf 'still open' >&4
exec 4>&- 5<&-
errno_is "Invalid argument" put register relative/path

say "in use: SIGTERM detaches, refuses commands, and ends"
exec 4<"$MNT/dev0"
dd if=random of="$MNT/.ctl/slow" bs=3 count=1 status=none 2>/dev/null &
sleep 0.2
stop_daemon
grep -q "in use" "$DAEMON_LOG" || fail "not told that it was in use"
dd bs=1 count=1 status=none <&4 2>/dev/null && fail "reads from a daemon that is gone"
exec 4<&-

say "unmounted by fusermount3"
start_daemon
fusermount3 -u "$MNT"
wait_for_end 10 "$DAEMON_PID" || fail "does not end when unmounted"
DAEMON_PID=
[ "$DAEMON_STATUS" -eq 0 ] || fail "ended with status $DAEMON_STATUS"

say "killed: the dead mount is taken over"
start_daemon
kill -KILL "$DAEMON_PID"
wait "$DAEMON_PID" 2>/dev/null || true
DAEMON_PID=
wait_for 5 sh -c "LC_ALL=C ls '$MNT' 2>&1 | grep -q 'not connected'"
start_daemon
[ "$(grep -c " $MNT " /proc/self/mounts)" = 1 ] || fail "mounted twice"

say "a second daemon on the same mount point"
refuses "already the mount" "$BCF" -f "$MNT"
test -e "$MNT/dev0"
stop_daemon

say "as a daemon"
"$BCF" -o "fsname=a\,b,spin_us=0,noauto,x-systemd.automount" none mnt
test -e "$MNT/dev0" # already there
grep -q "^a,b $MNT fuse.bcache-fuse" /proc/self/mounts || fail "$(grep "$MNT" /proc/self/mounts)"
pid=$(pgrep -f "$BCF.* none mnt" | head -n 1)
fusermount3 -u "$MNT"
[ -z "$pid" ] || wait_for 10 sh -c "! kill -0 $pid 2>/dev/null"

say "stopped while it starts"
if [ -x "$CTL" ]; then
	"$CTL" format --backing slow.img --size 16M >/dev/null
	"$BCF" -f --backing slow.img "$MNT" 2>err &
	pid=$!
	wait_for 5 grep -q " $MNT " /proc/self/mounts # to look at it would wait for the start
	sleep 0.2
	kill -TERM $pid
	wait_for_end 5 $pid || fail "cannot be stopped while it starts"
	[ "$DAEMON_STATUS" -eq 1 ] || fail "status $DAEMON_STATUS"
	grep -q "interrupted before" err || fail "$(cat err)"
	! mountpoint -q "$MNT" || fail "still mounted"
fi

say "a request hangs: SIGTERM gives up after shutdown_timeout, a second ^C at once"
export BCF_STUB_HANG=1
for _how in TERM INT; do
	[ $_how = TERM ] && _timeout=1 || _timeout=1000
	start_daemon -o shutdown_timeout=$_timeout
	dd if=/dev/zero of="$MNT/dev0" bs=4k count=1 conv=notrunc,fsync status=none 2>/dev/null &
	sleep 0.3
	kill -$_how "$DAEMON_PID"
	[ $_how = TERM ] || { sleep 0.5 && kill -INT "$DAEMON_PID"; }
	wait_for_end 10 "$DAEMON_PID" || fail "SIG$_how does not end it"
	DAEMON_PID=
	[ "$DAEMON_STATUS" -eq 1 ] || fail "SIG$_how: status $DAEMON_STATUS"
	wait_for 5 sh -c "! grep -q ' $MNT ' /proc/self/mounts"
done
grep -q "leaving uncleanly" "$DAEMON_LOG"
grep -q "interrupted again" "$DAEMON_LOG"
unset BCF_STUB_HANG

say "what cannot be stopped in time is left alone"
export BCF_STUB_STUCK=1
start_daemon
kill -TERM "$DAEMON_PID"
wait_for_end 10 "$DAEMON_PID" || fail "does not end"
DAEMON_PID=
[ "$DAEMON_STATUS" -eq 1 ] || fail "status $DAEMON_STATUS"
unset BCF_STUB_STUCK

say "control files answer while as much data hangs as may be in flight, and more"
export BCF_STUB_HANG_WRITES=1
start_daemon -o shutdown_timeout=1
for _i in $(seq 100); do
	dd if=/dev/zero of="$MNT/dev0" bs=1M count=1 conv=notrunc oflag=direct status=none 2>/dev/null &
done
wait_for 30 sh -c "[ \$(grep -c 'this write hangs' '$DAEMON_LOG') -ge 64 ]"
[ "$(timeout 60 cat "$MNT/.ctl/dev0/cache_mode")" = writethrough ] || fail "nothing can be read"
timeout 60 sh -c "echo writeback >'$MNT/.ctl/dev0/cache_mode'" || fail "nothing can be set"
kill -TERM "$DAEMON_PID"
wait_for_end 10 "$DAEMON_PID" || fail "does not end"
DAEMON_PID=
unset BCF_STUB_HANG_WRITES

say "what is wrong is told in one line, before anything is mounted"
for _front in "" -f; do
	# shellcheck disable=SC2086  # empty or one word
	{
		refuses "needs a whole number" "$BCF" $_front -o spin_us=x "$MNT"
		refuses "unknown option" "$BCF" $_front --nonsense "$MNT"
		refuses "mount point is needed" "$BCF" $_front
		refuses "unknown option" "$BCF" $_front -o nonsense "$MNT"
		refuses "No such file" "$BCF" $_front "$WORK/missing"
		refuses "Not a directory" "$BCF" $_front "$WORK/random"
		refuses "No such file" "$BCF" $_front --cache "$WORK/missing" "$MNT"
		refuses "is it a bcache device" "$BCF" $_front --backing "$WORK/random" "$MNT"
		refuses "too small" "$BCF" $_front --backing "$DAEMON_LOG" "$MNT"
		refuses "Block device required" "$BCF" $_front --backing /dev/null "$MNT"
		echo '{ "devices": [], "optons": {} }' >bad.conf
		refuses 'bad.conf:1:18: unknown key "optons"' "$BCF" $_front -c bad.conf "$MNT"
		refuses "cannot read configuration" "$BCF" $_front -c missing.conf "$MNT"
	}
done
! mountpoint -q "$MNT" || fail "something is mounted"
