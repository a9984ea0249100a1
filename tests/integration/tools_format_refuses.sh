#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# bcachectl format on the wrong thing: one clear line, a non-zero status, and not a byte changed.
. "$(dirname "$0")/functions.sh"
requires_tool
requires_cmd mkfs.ext4 mkswap python3

# keeps FILE TEXT ARGUMENT...: format refuses, FILE stays as it is
keeps() {
	_keep=$1 _message=$2
	shift 2
	unchanged_by "$_keep" refuses "$_message" "$CTL" format "$@"
}

say "things that carry data"
truncate -s 8M ext4.img && mkfs.ext4 -q ext4.img
keeps ext4.img 'ext4.img: contains data: ext2/3/4 filesystem' -B ext4.img
truncate -s 8M swap.img && mkswap -q swap.img
keeps swap.img 'swap.img: contains data: swap area' -C swap.img
# magic FILE OFFSET BYTES
magic() {
	truncate -s 4M "$1"
	# shellcheck disable=SC2059  # octal escapes
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
magic xfs.img 0 XFSB && keeps xfs.img XFS -B xfs.img
magic btrfs.img 65600 _BHRfS_M && keeps btrfs.img btrfs -B btrfs.img
magic luks.img 0 'LUKS\272\276' && keeps luks.img LUKS -B luks.img
magic lvm.img 512 LABELONE && keeps lvm.img LVM -B lvm.img
magic gpt.img 512 'EFI PART' && keeps gpt.img GPT -B gpt.img
magic mbr.img 510 '\125\252' && keeps mbr.img MBR -B mbr.img
magic fat.img 82 FAT32 && keeps fat.img FAT -B fat.img
magic ntfs.img 3 'NTFS    ' && keeps ntfs.img NTFS -B ntfs.img
magic squash.img 0 hsqs && keeps squash.img squashfs -B squash.img
magic zfs.img $((132 * 1024)) '\014\261\272\000\000\000\000\000' && keeps zfs.img ZFS -B zfs.img
magic md12.img 4096 '\374\116\053\251' && keeps md12.img 'md RAID' -B md12.img
magic md10.img $((4194304 - 8192)) '\374\116\053\251' && keeps md10.img 'md RAID' -B md10.img
magic md09.img $((4194304 - 65536)) '\374\116\053\251' && keeps md09.img 'md RAID' -B md09.img

say "a bcache device, unless told to wipe it"
mk_images 16M 32M
keeps cache.img 'cache.img: contains data: bcache device' -C cache.img
"$CTL" format -C cache.img --wipe-bcache >/dev/null
keeps ext4.img ext4 -B ext4.img --wipe-bcache

say "one bad device keeps all from being formatted"
truncate -s 8M good.img
keeps good.img 'ext4.img: contains data' -B good.img -B ext4.img
keeps good.img "'nowhere.img'" -B good.img nowhere.img
refuses 'ext4.img: contains data' "$CTL" format -C new.img --size 16M -B ext4.img
[ ! -e new.img ] || fail "a created image was left behind"

say "wrong sizes"
truncate -s 1M tiny.img
keeps tiny.img 'tiny.img: Too few buckets: 32, need 128' -C tiny.img -b 32k
: >empty.img
keeps empty.img empty.img -B empty.img
truncate -s 8k stub.img
keeps stub.img stub.img -B stub.img
keeps good.img 'not an image of 16777216 bytes' -B good.img --size 16M
keeps good.img 'Block size' -B good.img -w 1536
keeps good.img 'Bucket size' -C good.img -b 48k
keeps good.img 'Block size larger than a page' -C good.img -w 8k
keeps good.img 'Device too small' -B good.img -o 1000000

say "wrong calls"
keeps good.img "say --cache or --backing first" good.img
keeps good.img "'3q' is not a size" -C good.img -b 3q
keeps good.img "'1000' is not a multiple of 512" -C good.img -b 1000
keeps good.img 'a set has one cache device' -C good.img tiny.img -B ext4.img
keeps good.img 'good.img: named twice' -B good.img -B ./good.img
keeps good.img "'mru' is not a replacement policy" -C good.img --cache-replacement-policy mru
keeps good.img 'is not a UUID' -C good.img --cset-uuid 1234
keeps good.img 'needs a value' -C good.img --bucket
keeps good.img 'unknown option --wipe-everything' -C good.img --wipe-everything
keeps good.img 'not a number of sectors, at least 16' -B good.img -o 8
refuses 'no device given' "$CTL" format
refuses "unknown command 'fromat'" "$CTL" fromat
mkdir dir
refuses "'dir'" "$CTL" format -B dir
refuses "'/dev/null'" "$CTL" format -B /dev/null
