#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# 4 KiB random reads and writes at queue depth 32 on a warm cache in memory, alternated with what they can be compared with: the bare
# transport (bcache-fuse-stub) and qemu-storage-daemon's FUSE export of a file. Medians of several rounds, because the machine has
# other things to do; processor time per request is the figure that a busy machine disturbs least.
#
#   B=build tests/bench/run.sh        ROUNDS=3 SECONDS_EACH=3 SIZE_MIB=128
#
# Prints a table and writes $B/bench.json with commit and machine.
# shellcheck source=tests/integration/functions.sh
BCF_WORK=${BCF_WORK:-/dev/shm}
. "$(dirname "$0")/../integration/functions.sh"
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-3}
SIZE_MIB=${SIZE_MIB:-128}
requires_fuse
requires_tool
requires_cmd fio
[ "$(stat -f -c %T "$WORK")" = tmpfs ] || say "warning: $WORK is no tmpfs, so this measures a disk"

# name, process and file of each server
servers=
add_server() { servers="$servers $1"; eval "pid_$1=$2 file_$1=$3"; }

mk_images $((SIZE_MIB * 4))M $((SIZE_MIB * 2))M --writeback
start_daemon
ctl_set dev0/sequential_cutoff 0
ctl_set dev0/writeback_running 0 || true
say "filling the cache"
dd if=/dev/urandom of="$MNT/dev0" bs=1M count="$SIZE_MIB" conv=notrunc,fsync status=none
add_server bcache_fuse "$DAEMON_PID" "$MNT/dev0"

if [ -x "$B/bcache-fuse-stub" ]; then
	mkdir stub
	BCF_STUB_MIB=$SIZE_MIB "$B/bcache-fuse-stub" -f "$WORK/stub" >stub.log 2>&1 &
	stub=$!
	cleanup_fn "kill $stub; wait $stub; fusermount3 -u -z $WORK/stub 2>/dev/null"
	wait_for 10 test -e stub/dev0
	add_server stub $stub "$WORK/stub/dev0"
fi
if command -v qemu-storage-daemon >/dev/null; then
	truncate -s "${SIZE_MIB}M" plain.img
	dd if=/dev/urandom of=plain.img bs=1M count="$SIZE_MIB" conv=notrunc status=none
	touch export
	qemu-storage-daemon --blockdev driver=file,node-name=f,filename="$WORK/plain.img" \
		--export type=fuse,id=e,node-name=f,mountpoint="$WORK/export",writable=on >qsd.log 2>&1 &
	qsd=$!
	cleanup_fn "kill $qsd; wait $qsd; fusermount3 -u -z $WORK/export 2>/dev/null"
	wait_for 10 mountpoint -q "$WORK/export"
	add_server qemu_storage_daemon $qsd "$WORK/export"
else
	say "qemu-storage-daemon is not there: no comparison with it"
fi

cpu_us() { # of a process, all threads
	awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) * 1000000 / hz }' "/proc/$1/stat"
}
# measure SERVER JOB: append "iops us-per-request" to SERVER.JOB
measure() {
	pid='' file=''
	eval "pid=\$pid_$1 file=\$file_$1"
	before=$(cpu_us "$pid")
	fio --name=bench --filename="$file" --size="${SIZE_MIB}M" --rw="$2" --bs=4k --iodepth=32 --ioengine=io_uring --direct=1 \
		--runtime="${SECONDS_EACH}000ms" --time_based --randrepeat=0 --output-format=terse --terse-version=3 >fio.out 2>fio.err ||
		{ cat fio.err; fail "fio $2 on $1"; }
	after=$(cpu_us "$pid")
	# terse 3: fields 6 to 8 are KiB, KiB/s, IOPS read; 47 to 49 the same written
	awk -F ';' -v cpu=$((after - before)) '/^3;/ { n = ($6 + $47) / 4; printf "%d %.2f\n", $8 + $49, n ? cpu / n : 0 }' fio.out >>"$1.$2"
}
median() { sort -n -k "$3" "$1.$2" | awk -v c="$3" '{ v[NR] = $c } END { print v[int((NR + 1) / 2)] }'; }

for round in $(seq "$ROUNDS"); do
	for job in randread randwrite; do
		for s in $servers; do measure "$s" $job; done
	done
	say "round $round of $ROUNDS"
done

{
	printf '{"commit":"%s","machine":"%s","processors":%s,"rounds":%s,"results":[' \
		"$(git -C "$TOP" describe --always --dirty 2>/dev/null)" "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$ROUNDS"
	comma=
	for job in randread randwrite; do
		for s in $servers; do
			printf '%s{"server":"%s","job":"4k-%s-qd32","iops":%s,"cpu_us_per_io":%s}' "$comma" "$s" $job "$(median "$s" $job 1)" "$(median "$s" $job 2)"
			comma=,
		done
	done
	echo ']}'
} >"$B/bench.json"

printf '\n%-22s %-18s %10s %14s %10s\n' SERVER JOB IOPS 'CPU us per IO' 'WE / IT'
for job in randread randwrite; do
	ours=$(median bcache_fuse $job 1)
	for s in $servers; do
		iops=$(median "$s" $job 1)
		printf '%-22s %-18s %10s %14s %10s\n' "$s" "4k $job qd32" "$iops" "$(median "$s" $job 2)" "$(awk "BEGIN { printf \"%.2f\", $ours / ($iops + 0.001) }")"
	done
done
