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
mk_images 12M 20M --writeback --bucket 16k

round=0
fsyncs=0
while [ $round -lt "$ROUNDS" ]; do
	start_daemon
	# What is read after a kill is settled in writeback mode. In the other modes the cache and the backing device may hold different
	# ones of what was not fsynced, so there both stay allowed until they are overwritten.
	settle=--settle
	[ $round -lt $((ROUNDS * 2 / 3)) ] || settle=
	"$STAMPS" check "$MNT/dev0" state $settle || fail "round $round (repeat with SEED=$SEED)"
	if [ $round -eq $((ROUNDS * 2 / 3)) ]; then
		say "writethrough from here on"
		ctl_set dev0/cache_mode writethrough
	fi
	"$STAMPS" torture "$MNT/dev0" state --seed $((SEED + round)) >torture.out &
	writer=$!
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
"$STAMPS" check "$MNT/dev0" state || fail "the last round (repeat with SEED=$SEED)"
stop_daemon
[ $fsyncs -ge "$ROUNDS" ] || fail "only $fsyncs fsyncs in $ROUNDS rounds: this tested nothing"
echo "$fsyncs fsyncs in $ROUNDS rounds"
