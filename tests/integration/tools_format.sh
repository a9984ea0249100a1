#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# bcachectl format: what it writes reads back, in show's words.
. "$(dirname "$0")/functions.sh"
requires_tool
requires_cmd python3

# field FILE NAME: one field of the superblock
field() {
	"$CTL" show --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["superblock"][sys.argv[1]])' "$2"
}
is() { [ "$(field "$1" "$2")" = "$3" ] || fail "$1: $2 is $(field "$1" "$2"), not $3"; }

say "a cache and two backing devices in one call share the set"
"$CTL" format --writeback --label "disk one" -C c.img --size 16M -B b1.img --size 32M b2.img --size 48M -b 16k -w 4k \
	--cache_replacement_policy=fifo --discard
is c.img version 0
is c.img block_size 8
is c.img bucket_size 32
is c.img nbuckets 1024
is c.img first_bucket 1
is c.img replacement fifo
is c.img discard True
is c.img sync False
for b in b1.img b2.img; do
	is $b version 1
	is $b set_uuid "$(field c.img set_uuid)"
	is $b cache_mode writeback
	is $b state none
	is $b data_offset 16
	is $b block_size 8
	is $b label "disk one"
done
[ "$(field b1.img uuid)" != "$(field b2.img uuid)" ] || fail "two devices, one uuid"
[ "$(stat -c %s b2.img)" -eq $((48 << 20)) ] || fail "size of b2.img"

say "long options with values, and a data offset"
"$CTL" format --bdev=b3.img --size=32M --data-offset 2048
is b3.img version 4
is b3.img data_offset 2048
is b3.img cache_mode writethrough
is b3.img set_uuid 00000000-0000-0000-0000-000000000000

say "a label for each"
"$CTL" format -B l1.img --size 1M --label one -B l2.img --size 1M --label two
is l1.img label one
is l2.img label two

say "default bucket size: at least 1024 buckets in small caches, 512 KiB in large ones"
"$CTL" format -C small.img --size 4M && is small.img bucket_size 8
"$CTL" format -C large.img --size 2G && is large.img bucket_size 1024
"$CTL" format -C huge.img --size 64G -b 64M && is huge.img version 5 && is huge.img bucket_size 131072

say "the first 4096 bytes are zeroed; nothing behind the superblock is touched"
head -c 64k /dev/urandom >r.img
cp r.img before.img
truncate -s 1M r.img
"$CTL" format -B r.img --force
cmp -n 4096 r.img /dev/zero
cmp -i 8192 -n $((65536 - 8192)) r.img before.img

say "a set uuid that is used again: journals old and new are wiped"
uuid=11111111-2222-3333-4444-555555555555
yes journal | head -c 16M >j.img
"$CTL" format -C j.img -b 16k --cset-uuid $uuid
is j.img set_uuid $uuid
for bucket in 1 2 8; do cmp -i $((bucket * 16384)):0 -n 4096 j.img /dev/zero; done
cmp -s -i $((9 * 16384)):0 -n 4096 j.img /dev/zero && fail "wiped more than the journal"

say "few buckets: a warning, since the kernel refuses such a cache"
"$CTL" format -C few.img --size 16M -b 64k 2>err
grep -q 'warning: few.img: only 256 buckets' err

say "an image of the right size may exist"
truncate -s 8M same.img
"$CTL" format -B same.img --size 8M
