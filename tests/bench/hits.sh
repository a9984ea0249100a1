#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Read hits: fio 4 KiB random reads, 32 deep, on a warm cache over images in RAM, alternated with other FUSE servers of the same bytes:
# qemu-storage-daemon's FUSE export and, where libfuse's example sources are installed, passthrough_ll. Prints I/Os per second, the server's
# CPU time per I/O out of /proc/PID/stat, and the ratios of the medians. ROUNDS (5), SECONDS_EACH (2), SIZE_MB (128) change it.
BCF_WORK=${BCF_WORK:-/dev/shm}
export BCF_WORK
. "$(dirname "$0")/../integration/functions.sh"
requires_fuse
requires_tool
requires_cmd fio python3

ROUNDS=${ROUNDS:-5}
SECONDS_EACH=${SECONDS_EACH:-2}
SIZE_MB=${SIZE_MB:-128}

mk_images $((SIZE_MB * 4))M $((SIZE_MB + 1))M --bucket 512k
start_daemon
ctl_set dev0/sequential_cutoff 0
ctl_set "$SET_UUID/congested_read_threshold_us" 0
dd if=/dev/urandom of="$MNT/dev0" bs=1M count="$SIZE_MB" conv=notrunc,fsync status=none
for _ in 1 2; do
	dd if="$MNT/dev0" of=plain bs=1M count="$SIZE_MB" iflag=direct status=none
done
ctl_set dev0/clear_stats 1 2>/dev/null || true

# start_other NAME: sets OTHER_PID and OTHER_FILE; fails when it cannot be had here
start_other() {
	case $1 in
	qemu)
		command -v qemu-storage-daemon >/dev/null || return 1
		qemu-storage-daemon --help | grep -q 'type=\]fuse' || return 1
		OTHER_FILE=$WORK/exported
		: >exported
		qemu-storage-daemon --blockdev driver=file,node-name=plain,filename="$WORK/plain" \
			--export type=fuse,id=export,node-name=plain,mountpoint="$OTHER_FILE" >qemu.log 2>&1 &
		OTHER_PID=$!
		cleanup_fn "kill $OTHER_PID 2>/dev/null; fusermount3 -u -z $OTHER_FILE 2>/dev/null"
		;;
	passthrough_ll)
		_source=/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c
		[ -r $_source ] && command -v pkg-config >/dev/null || return 1
		# shellcheck disable=SC2046  # words are arguments
		cc -O2 -o passthrough_ll $_source $(pkg-config --cflags --libs fuse3) 2>/dev/null || return 1
		mkdir -p other
		./passthrough_ll -f -o source="$WORK" -o cache=never other >other.log 2>&1 &
		OTHER_PID=$!
		OTHER_FILE=$WORK/other/plain
		cleanup_fn "fusermount3 -u -z $WORK/other 2>/dev/null; kill $OTHER_PID 2>/dev/null"
		;;
	esac
	wait_for 10 test -s "$OTHER_FILE"
}

ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; } # user and system time of all its threads
# measure NAME PID FILE: one line "NAME IOPS CPU-US-PER-IO" to results
measure() {
	_before=$(ticks "$2")
	timeout $((SECONDS_EACH * 5 + 30)) fio --name=hits --filename="$3" --rw=randread --bs=4k --iodepth=32 --ioengine=libaio --direct=1 --size="${SIZE_MB}M" --time_based \
		--runtime="${SECONDS_EACH}s" --norandommap --random_generator=lfsr --output-format=json --output=fio.json >/dev/null 2>fio.err ||
		{ cat fio.err; fail "fio on $1"; }
	_after=$(ticks "$2")
	python3 - "$1" $((_after - _before)) "$(getconf CLK_TCK)" <<'PYTHON' | tee -a results
import json, sys
read = json.load(open("fio.json"))["jobs"][0]["read"]
print("%-15s %9.0f IOPS %7.2f us CPU per I/O" % (sys.argv[1], read["iops"], int(sys.argv[2]) / int(sys.argv[3]) * 1e6 / read["total_ios"]))
PYTHON
}

others=
for name in qemu passthrough_ll; do
	if start_other $name; then
		eval "pid_$name=\$OTHER_PID file_$name=\$OTHER_FILE"
		others="$others $name"
	else
		echo "not measured, because it is not here: $name"
	fi
done
[ "$(dd if="$MNT/dev0" bs=1M count="$SIZE_MB" iflag=direct status=none | sha256sum)" = "$(sha256sum <plain)" ] || fail "contents differ"
for _ in $(seq "$ROUNDS"); do
	measure bcache-fuse "$DAEMON_PID" "$MNT/dev0"
	for name in $others; do
		eval "measure $name \$pid_$name \$file_$name"
	done
done
misses=$(ctl_get dev0/stats_total/cache_misses)
python3 - "$misses" <<'PYTHON'
import collections, statistics, sys
iops, cpu = collections.defaultdict(list), collections.defaultdict(list)
for line in open("results"):
    words = line.split()
    iops[words[0]].append(float(words[1]))
    cpu[words[0]].append(float(words[3]))
median = statistics.median
print("bcache-fuse: %.0f IOPS, %.2f us CPU per I/O (medians of %d), %s misses" %
      (median(iops["bcache-fuse"]), median(cpu["bcache-fuse"]), len(iops["bcache-fuse"]), sys.argv[1]))
for name in iops:
    if name != "bcache-fuse":
        print("bcache-fuse / %s: %.2f (it needs %.2f us CPU per I/O)" %
              (name, median(iops["bcache-fuse"]) / median(iops[name]), median(cpu[name])))
PYTHON
stop_daemon
