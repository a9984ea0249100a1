#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Does garbage collection stall writers? A cache in memory is filled five times over by random 4 KiB writes in writeback mode. Then equal portions
# of such writes, each too small to bring about a gc, alternate between no gc and one gc after another. Then a volume of half the cache takes five
# times the cache in random writes: its data has no other place, so writers do wait, for gc and moving gc to make room. Prints the longest waits for a
# bucket and the ratio of the two 99.9 percentiles, and fails when they are beyond 100 ms and 3.
#
#   B=build tests/bench/gc.sh        SIZE_MIB=512 ROUNDS=8
#
# shellcheck source=tests/integration/functions.sh
BCF_WORK=${BCF_WORK:-/dev/shm}
. "$(dirname "$0")/../integration/functions.sh"
SIZE_MIB=${SIZE_MIB:-512}
ROUNDS=${ROUNDS:-8}
WAIT_MAX_US=100000
RATIO_MAX=3
requires_fuse
requires_tool
requires_cmd fio
[ "$(stat -f -c %T "$WORK")" = tmpfs ] || say "warning: $WORK is no tmpfs, so this measures a disk"

# writes DEVICE SIZE-MIB MIB [FIO-ARGUMENT...]
writes() {
	_dev=$1 _size=$2 _mib=$3
	shift 3
	fio --name=gc --filename="$MNT/$_dev" --size="${_size}M" --io_size="${_mib}M" --rw=randwrite --bs=4k --iodepth=16 --ioengine=io_uring \
		--direct=1 --randrepeat=0 --norandommap --output=fio.out "$@" 2>fio.err || { cat fio.err fio.out; fail "fio"; }
}
# the slowest of a thousand, in microseconds; fio logs "ms, ns, direction, bytes, ..."
p999() { cat "$1".*_clat.*.log | awk -F ', *' '{ print $2 }' | sort -n | awk '{ v[NR] = $1 } END { printf "%d\n", v[int(NR * 0.999)] / 1000 }'; }

mk_images "${SIZE_MIB}M" "$((SIZE_MIB * 2))M" --bucket 64k --writeback
start_daemon
ctl_set dev0/sequential_cutoff 0
ctl_set "$SET_UUID/congested_write_threshold_us" 0
ctl_set "$SET_UUID/congested_read_threshold_us" 0
say "filling the cache five times over"
writes dev0 $((SIZE_MIB * 2 - 1)) $((SIZE_MIB * 5))
portion=$((SIZE_MIB / 24)) # a gc comes by itself after a sixteenth
for round in $(seq "$ROUNDS"); do
	ctl_set "$SET_UUID/gc_wait" 1
	writes dev0 $((SIZE_MIB * 2 - 1)) $portion --write_lat_log="without.$round"
	(while [ ! -e stop ]; do ctl_set "$SET_UUID/gc_wait" 1; done) &
	loop=$!
	writes dev0 $((SIZE_MIB * 2 - 1)) $portion --write_lat_log="with.$round"
	touch stop
	wait $loop
	rm stop
	say "round $round of $ROUNDS"
done

without=$(p999 without)
with=$(p999 with)
wait_bucket() { ctl_get "$SET_UUID/internal/latency" | awk '$1 == "wait_bucket" { printf "%d\n", $NF }'; }
wait_max=$(wait_bucket)
waits=$(ctl_get "$SET_UUID/internal/nr_bucket_waits")
gc_max=$(ctl_get "$SET_UUID/internal/btree_gc_max_duration_ms")

say "a volume of half the cache takes five times the cache"
stop_daemon
rm -f cache.img backing.img
mk_images "${SIZE_MIB}M" 64M --bucket 64k --writeback
start_daemon
ctl_set "$SET_UUID/flash_vol_create" "$((SIZE_MIB / 2))M"
writes dev1 $((SIZE_MIB / 2)) $((SIZE_MIB * 5)) --write_lat_log=volume.1
volume_wait_max=$(wait_bucket)

printf '\nlongest wait for a bucket   %9s us (%s waits; at most %s)\n' "$wait_max" "$waits" $WAIT_MAX_US
printf 'the same, volume            %9s us (%s waits)\n' "$volume_wait_max" "$(ctl_get "$SET_UUID/internal/nr_bucket_waits")"
printf 'p99.9 of writes, no gc      %9s us\n' "$without"
printf 'p99.9 of writes, during gc  %9s us, %s times that (at most %s); longest gc %s ms\n' "$with" \
	"$(awk "BEGIN { printf \"%.2f\", $with / ($without + 0.001) }")" $RATIO_MAX "$gc_max"
printf 'p99.9 of writes, volume     %9s us\n' "$(p999 volume)"
[ "$wait_max" -le $WAIT_MAX_US ] || fail "a request waited too long for a bucket"
[ "$volume_wait_max" -le $WAIT_MAX_US ] || fail "a request of a volume waited too long for a bucket"
[ "$with" -le $((without * RATIO_MAX)) ] || fail "gc makes writes too slow"
