#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Orderly stops, by SIGTERM, by SIGINT and by unmounting: nothing is lost, nothing stays mounted, what was set stays set.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_cmd python3

STAMPS=$TOP/tests/integration/stamps.py
mk_images 16M 32M --writeback --bucket 64k --label first
truncate -s $((32 * 1048576 - 8192)) model
start_daemon
ctl_set dev0/label second
generation=1
for how in TERM INT unmount TERM; do
	say "$how"
	"$STAMPS" fill "$MNT/dev0" model --seed $generation --bytes 3M --max-io 64K --first-generation $generation
	generation=$((generation + 10000))
	case $how in
	unmount) fusermount3 -u "$MNT" ;;
	*) kill -$how "$DAEMON_PID" ;;
	esac
	wait_for_end 30 "$DAEMON_PID" || fail "it does not stop"
	DAEMON_PID=
	[ "$DAEMON_STATUS" -eq 0 ] || fail "stopped with status $DAEMON_STATUS"
	! mountpoint -q "$MNT" || fail "still mounted"
	start_daemon
	cmp model "$MNT/dev0" || fail "the content changed"
	[ "$(ctl_get dev0/label)" = second ] || fail "the label is $(ctl_get dev0/label)"
done

say "a stop with a file open and dirty pages in it"
"$STAMPS" fill "$MNT/dev0" model --seed 99 --bytes 1M --first-generation 90000
exec 3<"$MNT/dev0"
stop_daemon
exec 3<&-
start_daemon
cmp model "$MNT/dev0"

say "writing everything back, then the backing device on its own"
ctl_set dev0/writeback_percent 0
ctl_set dev0/writeback_delay 0
wait_for 60 is_clean
stop_daemon
tail -c +8193 backing.img | cmp - model || fail "'clean', and the backing device alone holds something else"
