#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Concurrent readers and writers of a real mount agree on one order of everything, sector by sector: in each mode, on a cache that is
# large enough and on one that is always being emptied, and while modes change, garbage is collected and the device leaves and comes back.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
LINEAR=$B/linear
[ -x "$LINEAR" ] || skip "needs $LINEAR"
SECONDS_EACH=${SECONDS_EACH:-2}
SEED=${SEED:-$$}

say "the judge itself: known histories, and a plain file is linearizable"
"$LINEAR" --selftest >selftest || { cat selftest; fail "the judge cannot be trusted"; }
truncate -s 4M plain
if "$LINEAR" plain 1 4 64 "$SEED"; then :; else [ $? -eq 1 ] || skip "no O_DIRECT here"; fail "the judge is wrong about a plain file"; fi

# The window is the same in each run, and the judge wants it to begin as zeros: each has images of its own.
fresh() {
	rm -f cache.img backing.img
	mk_images "$1" 24M --block 512 --bucket 16k "${2:---writeback}"
	start_daemon
	ctl_set dev0/sequential_cutoff 0
}

n=0
for cache in 64M 3M; do
	for mode in writeback writethrough writearound none; do
		n=$((n + 1))
		fresh $cache
		ctl_set dev0/cache_mode $mode
		ctl_set dev0/writeback_percent 0
		ctl_set dev0/writeback_delay 0
		say "$mode, cache of $cache"
		"$LINEAR" "$MNT/dev0" "$SECONDS_EACH" 6 64 $((SEED + n)) || fail "$mode: not linearizable"
		stop_daemon
	done
done

# Everything that can happen to a device while it is used, over and over, until told to stop.
disturb() {
	while [ ! -e quiet ]; do
		for mode in writeback writethrough writeback writearound writeback none; do
			ctl_set dev0/cache_mode $mode
			ctl_set dev0/writeback_percent $((percent = (percent + 7) % 41))
			ctl_set "$SET_UUID/gc_wait" 1
			[ ! -e "$MNT/.ctl/$SET_UUID/internal/copy_gc_enabled" ] || ctl_set "$SET_UUID/internal/copy_gc_enabled" $((percent % 2))
		done
		ctl_set dev0/detach 1
		until [ "$(ctl_get dev0/state)" = "no cache" ]; do sleep 0.02; done
		ctl_set dev0/attach "$SET_UUID"
	done
}
for cache in 64M 3M; do
	fresh $cache
	ctl_set dev0/writeback_delay 0
	rm -f quiet
	percent=$((SEED % 41))
	disturb &
	disturber=$!
	say "all modes in turn, gc, detach and attach, cache of $cache"
	"$LINEAR" "$MNT/dev0" $((4 * SECONDS_EACH)) 6 64 $((SEED + n)) || fail "not linearizable"
	: >quiet
	wait $disturber || fail "what disturbs failed"
	stop_daemon
done
