#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# bcachectl show on sound, damaged and foreign devices. It never writes.
. "$(dirname "$0")/functions.sh"
requires_tool

mk_images 16M 32M --writeback --label attic
unchanged_by cache.img "$CTL" show cache.img >cache.txt
unchanged_by backing.img "$CTL" show backing.img >backing.txt
grep -q 'cache.img: bcache cache device' cache.txt
grep -q 'buckets  *1024, the first at 1' cache.txt
grep -q "set uuid  *$SET_UUID" backing.txt
grep -q 'label  *attic' backing.txt
grep -q 'state  *no cache' backing.txt
grep -q 'verdict  *good' backing.txt

say "a read-only file"
chmod 400 cache.img && "$CTL" show cache.img >/dev/null && chmod 600 cache.img

say "not bcache at all"
truncate -s 1M zero.img
refuses 'zero.img: not a bcache device' "$CTL" show zero.img
: >empty.img
refuses 'empty.img: not a bcache device' "$CTL" show empty.img
refuses "'nowhere.img'" "$CTL" show nowhere.img
refuses 'nowhere.img: ' "$CTL" status nowhere.img
refuses 'no device given' "$CTL" show

# poke OFFSET BYTES: a damaged copy in bad.img
poke() {
	cp cache.img bad.img
	# shellcheck disable=SC2059  # octal escapes
	printf "$2" | dd of=bad.img bs=1 seek=$((4096 + $1)) conv=notrunc status=none
}
say "damage is named, and the fields are still printed"
poke 0 '\377'
unchanged_by bad.img refuses 'bad.img: damaged superblock: Bad checksum' "$CTL" show bad.img
grep -q "set uuid  *$SET_UUID" refused.out
poke 24 '\307' # one bit of the magic
refuses 'bad.img: damaged superblock: Not a bcache superblock: bad magic' "$CTL" show bad.img
poke 206 '\377\377' # 65535 journal buckets
refuses 'bad.img: damaged superblock: Too many journal buckets' "$CTL" show bad.img
poke 16 '\007'
refuses 'bad.img: damaged superblock: ' "$CTL" show bad.img
cp cache.img bad.img && truncate -s 8M bad.img
refuses 'bad.img: damaged superblock: Device too small' "$CTL" show bad.img

say "every byte of the superblock, damaged in turn, is survived"
i=0
while [ $i -lt 272 ]; do
	poke $i '\252'
	"$CTL" show bad.img >/dev/null 2>&1 || [ $? -eq 1 ] || fail "byte $i"
	"$CTL" show --json bad.img >/dev/null 2>&1 || [ $? -eq 1 ] || fail "byte $i, JSON"
	i=$((i + 7))
done

poke 0 "\377"
say "several devices: all are shown, the status is the worst"
"$CTL" show cache.img bad.img backing.img >all.txt 2>/dev/null && fail "status 0"
[ "$(grep -c 'bcache .* device$' all.txt)" -eq 3 ]
