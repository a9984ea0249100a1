#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# fio's verification in all four cache modes: random blocks of mixed sizes on a device twice as large as its cache, checked at once, again
# after an orderly restart, and after SIGKILL (everything was fsynced). The mode is what it was, after a restart too.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_cmd fio

mk_images 16M 32M --bucket 32k

# Two jobs on their own halves, so that nothing overlaps: blocks of 4 KiB deep in flight past the page cache, and odd sizes through it.
job() {
	cat >job.fio <<JOB
[global]
filename=$MNT/dev0
rw=randwrite
verify=crc32c
verify_fatal=1
randrepeat=1
randseed=$1
$2
[blocks]
ioengine=libaio
direct=1
iodepth=16
bs=4k
size=12M
end_fsync=1
[odd]
ioengine=psync
bsrange=512-96k
blockalign=512
offset=16M
size=12M
end_fsync=1
JOB
}
run_fio() {
	fio --output=fio.out job.fio >/dev/null 2>fio.err || { cat fio.out fio.err; fail "fio, $1"; }
}

start_daemon
seed=1
for mode in writethrough writeback writearound none; do
	say "$mode"
	ctl_set dev0/cache_mode $mode
	job $seed do_verify=1
	run_fio "$mode"
	stop_daemon
	start_daemon
	grep -q "\[$mode\]" "$MNT/.ctl/dev0/cache_mode" || fail "the mode after a restart is $(ctl_get dev0/cache_mode)"
	job $seed verify_only=1
	run_fio "$mode, after a restart"
	kill_daemon
	start_daemon
	run_fio "$mode, after SIGKILL"
	seed=$((seed + 1))
done
stop_daemon
