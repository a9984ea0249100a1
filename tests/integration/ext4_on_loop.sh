#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A file system on a loop device on dev0 in writeback mode: copy a tree, stop everything, start again; it is clean and all is there.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_loop
requires_cmd mkfs.ext4 e2fsck mountpoint

TREE=/usr/include
[ -d $TREE ] || TREE=/usr/share/doc
FS=$WORK/fs
mkdir "$FS"
mk_images 64M 1G --writeback

attach_loop() {
	loop=$(losetup --show -f --direct-io=on "$MNT/dev0") || fail "losetup --direct-io=on"
	[ "$(cat "/sys/block/$(basename "$loop")/loop/dio")" = 1 ] || fail "the loop device does not do direct I/O"
}
detach_loop() {
	losetup -d "$loop"
	# Asynchronous when somebody (udev) still has it open; the daemon must not be stopped before.
	wait_for 10 loop_is_gone
	loop=
}
loop_is_gone() { ! losetup -j "$MNT/dev0" | grep -q .; }
loop=
# By its name: when the daemon has died, the backing file cannot be found any more.
# shellcheck disable=SC2016  # expanded at the end
cleanup_fn 'umount "$FS" 2>/dev/null; [ -z "$loop" ] || losetup -d "$loop"'

start_daemon
attach_loop
mkfs.ext4 -q -F "$loop"
mount "$loop" "$FS"
cp -a $TREE "$FS/tree"
# Some files go, some change: journal commits, discards, overwrites.
find "$FS/tree" -name 'a*.h' -type f -delete
find "$FS/tree" -name 'b*.h' -type f -exec sh -c 'for f; do echo "/* changed */" >>"$f"; done' sh {} +
(cd "$FS/tree" && find . -type f -exec sha256sum {} + | sort -k 2) >sums
[ "$(wc -l <sums)" -gt 100 ] || fail "$TREE is too small to test anything"
umount "$FS"
detach_loop
echo "$(wc -l <sums) files, state $(ctl_get dev0/state), dirty $(ctl_get dev0/dirty_data)"
stop_daemon

say "after an orderly restart"
start_daemon
attach_loop
e2fsck -fn "$loop" >fsck.out 2>&1 || { cat fsck.out; fail "e2fsck"; }
mount -o ro "$loop" "$FS"
(cd "$FS/tree" && sha256sum --quiet -c "$WORK/sums") || fail "files differ"
(cd "$FS/tree" && find . -type f) | wc -l | grep -qx "$(wc -l <sums)" || fail "there are other files"
umount "$FS"
detach_loop
kill_daemon

say "after SIGKILL"
start_daemon
attach_loop
e2fsck -fn "$loop" >fsck.out 2>&1 || { cat fsck.out; fail "e2fsck after SIGKILL"; }
detach_loop
stop_daemon
