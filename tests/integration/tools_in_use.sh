#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Devices that somebody uses are not formatted, even with --force; they can be shown.
. "$(dirname "$0")/functions.sh"
requires_tool

keeps() {
	_keep=$1
	shift
	unchanged_by "$_keep" refuses "$@"
}

say "by our own daemon"
requires_fuse
mk_images 16M 32M --writeback
start_daemon
refuses 'cache.img' "$CTL" format --force -C cache.img
refuses 'backing.img' "$CTL" format --force -B backing.img
"$CTL" show cache.img backing.img >shown
grep -q 'verdict  *good' shown
"$CTL" status "$MNT" | grep -q '^dev0 .*writeback'
{ timeout 20 "$CTL" status || true; } | grep "^$MNT: " # other mounts on this machine may not answer
stop_daemon
refuses "$MNT: no bcache-fuse is mounted here" "$CTL" status "$MNT"

say "behind a loop device, mounted or not"
requires_loop
truncate -s 8M disk.img
loop=$(losetup --show -f disk.img) || skip "losetup does not work here"
cleanup_fn "losetup -d $loop"
keeps disk.img "disk.img: in use by $loop" "$CTL" format --force -B disk.img
mkfs.ext4 -q "$loop"
mount "$loop" "$MNT" || skip "mount does not work here"
cleanup_fn "umount $MNT"
refuses "'$loop' is in use" "$CTL" format --force -B "$loop"
umount "$MNT"

say "a block device that nobody uses"
refuses 'contains data: ext2/3/4 filesystem' "$CTL" format -B "$loop"
"$CTL" format --force -B "$loop"
"$CTL" show "$loop" >/dev/null
