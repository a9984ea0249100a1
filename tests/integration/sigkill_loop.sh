#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# 20 times: SIGKILL at a random moment under writers that fsync. Every sector that was fsynced is there; every other is old or new.
# ROUNDS and SEED change it.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_cmd python3

STAMPS=$TOP/tests/integration/stamps.py
ROUNDS=${ROUNDS:-20}
SEED=${SEED:-$(date +%s)}
echo "seed $SEED"
round=0
fsyncs=0

# kill_rounds LAST MODE [--settle]: up to that round
kill_rounds() {
	_last=$1 _mode=$2 _settle=${3:-}
	while [ $round -lt "$_last" ]; do
		start_daemon
		# shellcheck disable=SC2086  # empty or one word
		"$STAMPS" check "$MNT/dev0" state $_settle || fail "round $round (repeat with SEED=$SEED)"
		ctl_set dev0/cache_mode "$_mode"
		ctl_set dev0/sequential_cutoff 0
		ctl_set "$SET_UUID/congested_read_threshold_us" 0
		ctl_set "$SET_UUID/congested_write_threshold_us" 0
		rm -f state.started
		"$STAMPS" torture "$MNT/dev0" state --seed $((SEED + round)) >torture.out &
		writer=$!
		wait_for 30 test -e state.started
		# 0.1 to 0.9 s
		sleep "0.$(awk -v s=$((SEED + round)) 'BEGIN { srand(s); print 1 + int(rand() * 9) }')"
		kill -0 "$DAEMON_PID" 2>/dev/null || fail "round $round: the daemon is gone before it was killed"
		kill_daemon
		wait $writer || fail "the writer failed"
		cat torture.out
		fsyncs=$((fsyncs + $(sed 's/.*, \([0-9]*\) fsyncs.*/\1/' torture.out)))
		round=$((round + 1))
	done
	start_daemon
	"$STAMPS" check "$MNT/dev0" state || fail "after round $round (repeat with SEED=$SEED)"
	stop_daemon
}

say "writeback, and so much room that nothing goes past the cache: what was read once after a kill stays so"
mk_images 128M 20M --writeback --bucket 32k
kill_rounds $((ROUNDS / 2)) writeback --settle

# Where writes go past the cache, the cached copy and the backing device may hold different ones of what was not fsynced when the kill came;
# which one is read may change until it is overwritten (R2.6).
say "a small cache, writeback"
rm -f cache.img backing.img state
mk_images 12M 20M --writeback --bucket 16k
kill_rounds $((ROUNDS * 3 / 4)) writeback
say "writethrough"
kill_rounds "$ROUNDS" writethrough

[ $fsyncs -ge "$ROUNDS" ] || fail "only $fsyncs fsyncs in $ROUNDS rounds: this tested nothing"
echo "$fsyncs fsyncs in $ROUNDS rounds"
