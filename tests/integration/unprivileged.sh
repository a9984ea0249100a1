#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A user who owns the image files needs no privilege: format, mount, write, unmount with fusermount3.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool

if [ "$(id -u)" -ne 0 ]; then
	as_user() { "$@"; }
else
	requires_cmd runuser
	id nobody >/dev/null 2>&1 || skip "needs a user nobody"
	as_user() { runuser -u nobody -- "$@"; }
	chown nobody "$WORK" "$MNT"
	as_user test -w /dev/fuse || skip "needs a /dev/fuse that users may open"
	[ -u "$(command -v fusermount3)" ] || skip "needs a setuid fusermount3"
	# The build directory may be out of reach for nobody.
	cp "$BCF" "$CTL" "$WORK"
	BCF=$WORK/bcache-fuse CTL=$WORK/bcachectl
fi
as_user "$CTL" format --cache cache.img --size 16M --backing backing.img --size 32M --writeback
[ "$(stat -c %U cache.img)" = "$(as_user id -un)" ] || fail "the images belong to $(stat -c %U cache.img)"

mounted() { as_user test -e "$MNT/dev0"; }
not_mounted() { ! mountpoint -q "$MNT"; }

as_user "$BCF" --cache "$WORK/cache.img" --backing "$WORK/backing.img" "$MNT" || fail "the daemon does not start"
cleanup_fn "as_user fusermount3 -u -z $MNT 2>/dev/null"
mounted || fail "the daemon returned before the device was there"
as_user dd if=/dev/urandom of="$WORK/data" bs=64k count=16 status=none
as_user dd if="$WORK/data" of="$MNT/dev0" bs=64k conv=notrunc,fsync status=none
as_user cmp -n 1048576 "$WORK/data" "$MNT/dev0"
as_user sh -c "echo writethrough >'$MNT/.ctl/dev0/cache_mode'"
if [ "$(id -u)" -eq 0 ] && cat "$MNT/dev0" >/dev/null 2>&1; then
	fail "another user can read it without allow_other"
fi
as_user fusermount3 -u "$MNT"
wait_for 10 not_mounted
# It goes on stopping after the unmount; when it is through, it lets go of the images.
starts_again() { as_user "$BCF" --cache "$WORK/cache.img" --backing "$WORK/backing.img" "$MNT" 2>again.err; }
wait_for 20 starts_again
as_user cmp -n 1048576 "$WORK/data" "$MNT/dev0"
as_user grep -q '\[writethrough\]' "$MNT/.ctl/dev0/cache_mode"
as_user fusermount3 -u "$MNT"
