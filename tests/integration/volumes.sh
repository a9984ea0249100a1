#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Flash-only volumes on a real mount: made, resized and removed through control files, also while somebody has them open.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_cmd python3

refused() { # ERROR FILE TEXT: writing TEXT to a control file fails with this error
	python3 - "$MNT/.ctl/$2" "$3" "$1" <<'END' || fail "writing '$3' to $2 should give $1"
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
try:
    os.write(fd, sys.argv[2].encode())
except OSError as e:
    sys.exit(errno.errorcode[e.errno] != sys.argv[3])
sys.exit(1)
END
}
size_of() { stat -c %s "$MNT/$1"; }

mk_images 32M 16M --bucket 64k
start_daemon

say "sizes"
for size in 0 1 511 x; do refused EINVAL "$SET_UUID/flash_vol_create" $size; done
ctl_set "$SET_UUID/flash_vol_create" 1.5M
[ "$(size_of dev1)" = 1572864 ] || fail "dev1 has $(size_of dev1) bytes"
[ "$(ctl_get dev1/size)" = 1.5M ] || fail "size says $(ctl_get dev1/size)"
cmp -n 1572864 "$MNT/dev1" /dev/zero || fail "a new volume is not empty"
head -c 1572864 /dev/urandom >model
dd if=model of="$MNT/dev1" bs=64K conv=notrunc,fsync status=none
cmp model "$MNT/dev1" || fail "dev1 is not what was written"

say "while it is open"
exec 3<"$MNT/dev1"
refused EBUSY dev1/size 1M
refused EBUSY dev1/unregister 1
grep -q "is open" "$MNT/.ctl/last_error" || fail "last_error does not say why: $(ctl_get last_error)"
ctl_set dev1/size 3M
[ "$(stat -L -c %s /dev/fd/3)" = 3145728 ] || fail "who has it open does not see the new size"
cmp -n 1572864 model "$MNT/dev1" || fail "growing changed the data"
exec 3<&-

say "smaller, and larger again"
ctl_set dev1/size 1M
[ "$(size_of dev1)" = 1048576 ] || fail "dev1 has $(size_of dev1) bytes"
ctl_set dev1/size 1.5M
truncate -s 1M model
truncate -s 1572864 model
cmp model "$MNT/dev1" || fail "what was cut off came back"

say "a restart"
kill_daemon
start_daemon
volume=$(basename "$(readlink -f "$MNT/.ctl/$SET_UUID/volume1")")
cmp model "$MNT/$volume" || fail "the volume changed in a restart"

say "removed by force, and another one in its place"
exec 3<"$MNT/$volume"
refused EBUSY "$volume/unregister" no
ctl_set "$volume/unregister" force
[ ! -e "$MNT/$volume" ] || fail "it is still there"
! head -c 4096 <&3 >/dev/null 2>&1 || fail "it can still be read"
ctl_set "$SET_UUID/flash_vol_create" 1572864
for fresh in "$MNT"/.ctl/"$SET_UUID"/volume*; do
	fresh=$(basename "$(readlink -f "$fresh")")
	cmp -n 1572864 "$MNT/$fresh" /dev/zero || fail "a new volume shows old data"
done
exec 3<&-
grep -q "	volume	yes	" "$MNT/.ctl/$SET_UUID/uuids" || fail "uuids does not list it: $(ctl_get "$SET_UUID/uuids")"
stop_daemon
