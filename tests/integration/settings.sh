#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Settings: .ctl/save keeps them over restarts and kills; precedence built-in < saved < configuration < run time; a bad file stops nothing.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool

expect() { [ "$(ctl_get "$1")" = "$2" ] || fail "$1 is '$(ctl_get "$1")', not '$2'"; }
STATE=$WORK/state/tunables

mk_images 16M 32M --writeback --bucket 64k --label first
DAEMON_ARGS="-o state_file=$STATE"

say "without a file the built-in defaults hold"
start_daemon
expect dev0/writeback_delay 30
ctl_set dev0/writeback_delay 11
ctl_set dev0/writeback_percent 33
ctl_set dev0/cache_mode writearound
ctl_set "$SET_UUID/journal_delay_ms" 44
ctl_set "$SET_UUID/internal/gc_after_writeback" 1
ctl_set save 1
ctl_set dev0/writeback_percent 5 # not saved
kill_daemon

say "saved ones come back, even after a kill right behind the save; what the superblock keeps is not in the file"
! grep -E 'cache_mode|label|discard' "$STATE" || fail "in the file"
start_daemon
expect dev0/writeback_delay 11
expect dev0/writeback_percent 33
expect "$SET_UUID/journal_delay_ms" 44
expect "$SET_UUID/internal/gc_after_writeback" 1
expect dev0/cache_mode 'writethrough writeback [writearound] none'
ctl_set dev0/cache_mode writeback
stop_daemon
start_daemon
expect dev0/cache_mode 'writethrough [writeback] writearound none'

say "the text of .ctl/tunables can be applied"
ctl_get tunables >all
grep -q "^by/uuid/$(ctl_get dev0/backing_dev_uuid)/writeback_delay=11$" all || fail "not shown"
grep "^by/" all | sed 's/writeback_delay=11/writeback_delay=12/' >"$MNT/.ctl/tunables"
expect dev0/writeback_delay 12
if printf 'dev0/writeback_delay=13\ndev0/running=1\n' >"$MNT/.ctl/tunables" 2>/dev/null; then fail "half a list was applied"; fi
expect dev0/writeback_delay 12
grep -q "'dev0/running' is not a setting" "$MNT/.ctl/last_error" || fail "no reason"

say "a device that is registered later gets its settings too"
ctl_set dev0/stop 1
wait_for 20 test ! -e "$MNT/dev0"
echo "$WORK/backing.img" >"$MNT/.ctl/register"
expect dev0/writeback_delay 11
stop_daemon

say "the configuration wins over what was saved"
cat >conf <<EOF
{ "devices": [ { "backing": "$WORK/backing.img", "options": { "writeback_delay": 55 } },
               { "cache": "$WORK/cache.img", "options": { "journal_delay_ms": 66 } } ],
  "options": { "state_file": "$STATE" } }
EOF
DAEMON_ARGS=
NO_IMAGES=1
start_daemon -c "$WORK/conf"
expect dev0/writeback_delay 55
expect "$SET_UUID/journal_delay_ms" 66
expect dev0/writeback_percent 33
stop_daemon
NO_IMAGES=
DAEMON_ARGS="-o state_file=$STATE"

say "a damaged file is ignored, with a warning, and the next save replaces it"
head -c 100 "$STATE" >torn && mv torn "$STATE"
: >"$DAEMON_LOG"
start_daemon
expect dev0/writeback_delay 30
grep -q "ignoring the saved settings in '$STATE'" "$DAEMON_LOG" || fail "no warning"
ctl_set dev0/writeback_delay 22
ctl_set save 1
stop_daemon
start_daemon
expect dev0/writeback_delay 22
stop_daemon

say "none, and our own mount"
DAEMON_ARGS="-o state_file=none"
start_daemon
expect dev0/writeback_delay 30
if ctl_set save 1 2>/dev/null; then fail "saved nowhere"; fi
grep -q 'EOPNOTSUPP: there is no state file' "$MNT/.ctl/last_error" || fail "no reason"
stop_daemon
DAEMON_ARGS="-o state_file=$MNT/state"
: >"$DAEMON_LOG"
start_daemon
grep -q 'lies in our own mount' "$DAEMON_LOG" || fail "no warning"
if ctl_set save 1 2>/dev/null; then fail "saved into itself"; fi
grep -q EDEADLK "$MNT/.ctl/last_error" || fail "not EDEADLK"
stop_daemon

say "the usual place"
DAEMON_ARGS=
XDG_STATE_HOME=$WORK/xdg
export XDG_STATE_HOME
start_daemon
ctl_set save 1
stop_daemon
[ "$(tail -n 1 "$WORK/xdg/bcache-fuse/tunables")" = end ] || fail "not at the usual place"
