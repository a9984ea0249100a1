#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What we format, bcache-super-show of bcache-tools reads the same way; what make-bcache formats, show reads.
. "$(dirname "$0")/functions.sh"
requires_tool
requires_cmd bcache-super-show make-bcache

theirs() { bcache-super-show "$1" | awk -v k="$2" '$1 == k { print $2 }'; }
ours() { "$CTL" show --json "$1" | sed -nE "s/^ *\"$2\": \"?([^\",]*)\"?,?$/\1/p" | head -n 1; }
same() { [ "$(theirs "$1" "$2")" = "$(ours "$1" "$3")" ] || fail "$1: $2 $(theirs "$1" "$2"), $3 $(ours "$1" "$3")"; }

compare() {
	bcache-super-show "$1" | grep -q 'sb.magic.*ok'
	bcache-super-show "$1" | grep -q 'sb.csum.*match'
	same "$1" sb.version version
	same "$1" dev.uuid uuid
	same "$1" cset.uuid set_uuid
	same "$1" dev.sectors_per_block block_size
}
compare_cache() {
	compare "$1"
	same "$1" dev.sectors_per_bucket bucket_size
	[ "$(theirs "$1" dev.cache.total_sectors)" -eq $(($(ours "$1" nbuckets) * $(ours "$1" bucket_size))) ] || fail "size of $1"
	[ "$(theirs "$1" dev.cache.first_sector)" -eq $(($(ours "$1" first_bucket) * $(ours "$1" bucket_size))) ] || fail "start of $1"
}
compare_backing() {
	compare "$1"
	same "$1" dev.data.first_sector data_offset
}

mk_images 16M 32M --writeback --discard --cache-replacement-policy random
compare_cache cache.img
compare_backing backing.img
"$CTL" format -C c2.img --size 64M -b 4k -w 4k -B b2.img --size 8M -o 64 >/dev/null
compare_cache c2.img
compare_backing b2.img

truncate -s 64M kc.img && truncate -s 64M kb.img && truncate -s 64M kb2.img
make-bcache -C kc.img -B kb.img -b 32k --writeback >/dev/null
make-bcache -B kb2.img -o 128 >/dev/null
compare_cache kc.img
compare_backing kb.img
compare_backing kb2.img
[ "$(ours kb.img cache_mode)" = writeback ]
"$CTL" show kc.img kb.img kb2.img >/dev/null
