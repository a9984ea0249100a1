#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Volumes that we made, resized and removed, and a device that we forgot: the real kernel takes the set, and reads in the volumes what we wrote.
# run: alone
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_kernel
SEED=${SEED:-71}

say "a volume that stays, one that is removed, one that was cut off and grew again, a device that is forgotten (seed $SEED)"
mk_images 128M 16M --writeback --bucket 32k
start_daemon
set_ctl() { printf '%s\n' "$2" >"$MNT/.ctl/$SET_UUID/$1"; }
ctl_set dev0/sequential_cutoff 0
ctl_set dev0/writeback_running 0
truncate -s 16M model0
"$STAMPS" fill "$MNT/dev0" model0 --seed $((SEED + 9)) --bytes 4M

set_ctl flash_vol_create 8M
ctl_set dev1/label stays
truncate -s 8M model1
"$STAMPS" fill "$MNT/dev1" model1 --seed "$SEED" --bytes 6M

set_ctl flash_vol_create 4M
truncate -s 4M model2
"$STAMPS" fill "$MNT/dev2" model2 --seed $((SEED + 1)) --bytes 4M
ctl_set dev2/unregister 1
[ ! -e "$MNT/dev2" ] || fail "a removed volume is still there"

set_ctl flash_vol_create 4M
ctl_set dev2/label regrown
rm model2
truncate -s 4M model2
"$STAMPS" fill "$MNT/dev2" model2 --seed $((SEED + 2)) --bytes 4M
ctl_set dev2/size 1M
ctl_set dev2/size 3.0M
truncate -s 1M model2
truncate -s 3M model2

uuid=$(ctl_get dev0/backing_dev_uuid)
ctl_set dev0/stop 1
is_absent() { awk -F '\t' -v u="$uuid" '$2 == u && $4 == "no" { found = 1 } END { exit !found }' "$MNT/.ctl/$SET_UUID/uuids"; }
wait_for 10 is_absent
! set_ctl forget "$uuid" 2>/dev/null || fail "dirty data was forgotten without asking"
set_ctl forget "$uuid discard-dirty"
cat "$MNT/.ctl/$SET_UUID/uuids"
is_same "the volume that stays" "$(sha "$MNT/dev1")" "$(sha model1)"
is_same "the volume that grew again" "$(sha "$MNT/dev2")" "$(sha model2)"
sync "$MNT/dev1" "$MNT/dev2"
kill_daemon
rm backing.img

say "the kernel"
kernel_verifies
answer devices | grep -q "'sha256'" || fail "the kernel sees no volume"
[ "$(python3 -c 'import json; print(len(json.load(open("answer.json"))["devices"]))')" = 2 ] || { cat answer.json; fail "the kernel sees other volumes than two"; }
for i in 0 1; do
	kernel_answers "devices[$i].kind" flash
	case $(answer "devices[$i].size") in
	8388608) kernel_answers "devices[$i].sha256" "$(sha model1)"; kernel_answers "devices[$i].label" stays ;;
	3145728) kernel_answers "devices[$i].sha256" "$(sha model2)"; kernel_answers "devices[$i].label" regrown ;;
	*) fail "a volume of this size was not made" ;;
	esac
done

say "our own mount again, and an orderly stop"
start_daemon
small=dev1 large=dev0
[ "$(stat -c %s "$MNT/dev0")" = 8388608 ] || { small=dev0; large=dev1; }
is_same "the volume that stays, after SIGKILL" "$(sha "$MNT/$large")" "$(sha model1)"
is_same "the volume that grew again, after SIGKILL" "$(sha "$MNT/$small")" "$(sha model2)"
stop_daemon
kernel_verifies
[ "$(python3 -c 'import json; print(len(json.load(open("answer.json"))["devices"]))')" = 2 ] || fail "the kernel sees other volumes than two"
