#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What we wrote in writeback mode and were killed over, the real kernel reads; and after it has written everything back, the backing
# device alone holds the same.
# run: alone
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_kernel
SEED=${SEED:-31}

say "24 MiB of random writes with fsyncs, then SIGKILL (seed $SEED)"
# Large enough for all of it to stay below the share of the cache at which writes go past it.
mk_images 96M 40M --writeback --bucket 32k --label interop
start_daemon
ctl_set dev0/sequential_cutoff 0
ctl_set dev0/writeback_running 0
truncate -s "$(stat -c %s "$MNT/dev0")" model
"$STAMPS" fill "$MNT/dev0" model --seed "$SEED" --bytes 24M
want=$(sha model)
is_same "our mount" "$(our_sha)" "$want"
[ "$(ctl_get dev0/state)" = dirty ] || fail "nothing is dirty: this would test nothing"
kill_daemon
backing_lacks_data model

say "the kernel"
kernel_verifies --backing-first --writeback
kernel_answers 'devices[0].sha256' "$want"
kernel_answers 'devices[0].state' dirty
kernel_answers 'devices[0].cache_mode' writeback
kernel_answers 'devices[0].label' interop
kernel_answers 'after_writeback[0].sha256' "$want"
kernel_answers 'after_writeback[0].state' clean
kernel_answers 'after_writeback[0].dirty_data' 0.0k
kernel_answers 'after_writeback[0].detached' True
dirty=$(answer 'devices[0].dirty_data')
case $dirty in 0.0k) fail "the kernel found nothing dirty" ;; esac
echo "dirty as the kernel counts it: $dirty"

say "our own mount again, and an orderly stop"
start_daemon
is_same "our mount after SIGKILL" "$(our_sha)" "$want"
stop_daemon
kernel_verifies --writeback
kernel_answers 'devices[0].sha256' "$want"
kernel_answers 'after_writeback[0].sha256' "$want"
