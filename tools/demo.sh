#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# `make run`: a cache on two image files, mounted until ^C.   tools/demo.sh BUILD-DIR MOUNTPOINT
set -eu
B=$1 mnt=$2
cache=$B/run/cache.img backing=$B/run/backing.img

mkdir -p "$B/run"
# A daemon that was killed leaves a mount that answers nothing.
if ! stat "$mnt" >/dev/null 2>&1 && grep -q " $(realpath -m "$mnt") fuse.bcache-fuse " /proc/self/mounts; then
	fusermount3 -u -z "$mnt"
fi
mkdir -p "$mnt"
mnt=$(realpath "$mnt")
if mountpoint -q "$mnt"; then
	echo "$mnt is mounted already; unmount it with: fusermount3 -u $mnt" >&2
	exit 1
fi
if [ ! -e /dev/fuse ]; then
	echo "/dev/fuse is missing: load the kernel module (modprobe fuse), or give the container the device" >&2
	exit 1
fi
if [ -e "$cache" ] && [ -e "$backing" ]; then
	echo "Using $cache and $backing of last time."
elif [ -e "$cache" ] || [ -e "$backing" ]; then
	echo "Only one of $cache and $backing is there; remove it to start afresh." >&2
	exit 1
else
	"$B/bcachectl" format --writeback --cache "$cache" --size 256M --backing "$backing" --size 1G
fi

# Speaks up once the device is there, while the daemon already has this terminal.
(
	while kill -0 $$ 2>/dev/null && [ ! -e "$mnt/dev0" ]; do sleep 0.1; done
	[ -e "$mnt/dev0" ] || exit 0
	cat <<-EOF

	Mounted on $mnt: dev0 is the cached device. Try, in another terminal:

	  $B/bcachectl status
	  cat $mnt/.ctl/dev0/cache_mode
	  echo writethrough > $mnt/.ctl/dev0/cache_mode
	  dd if=/dev/urandom of=$mnt/dev0 bs=4k count=1000 conv=notrunc,fsync
	  cat $mnt/.ctl/dev0/dirty_data

	As root, with a filesystem on top:

	  loop=\$(losetup --show -f --direct-io=on $mnt/dev0)
	  mkfs.ext4 \$loop && mount \$loop /mnt
	  umount /mnt && losetup -d \$loop

	^C here unmounts. The images stay in $B/run.
	EOF
) &
exec "$B/bcache-fuse" -f --cache "$cache" --backing "$backing" "$mnt"
