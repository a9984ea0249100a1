#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What cannot be served is refused: one clear line, a status that is not 0, and not a byte changed on disk.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool

hashes() { sha256sum -- *.img; }
# refuses_to_start 'TEXT' ARGUMENT...: the daemon with these arguments ends with an error, says so in one line, and TEXT is in it.
refuses_to_start() {
	_wanted=$1
	shift
	_status=0
	timeout 30 "$BCF" -f "$@" >refused.all 2>&1 || _status=$?
	grep ' error: ' refused.all >refused.err || true
	case $_status in
	0) fail "it started and ended: $*" ;;
	124) fail "it started: $*" ;;
	129 | 13? | 14?) cat refused.all; fail "it died of a signal: $*" ;;
	esac
	[ "$(wc -l <refused.err)" -eq 1 ] || { cat refused.all; fail "not one line of error: $*"; }
	# shellcheck disable=SC2254  # a pattern is what we want
	case $(cat refused.err) in
	*$_wanted*) ;;
	*) cat refused.all; fail "the message does not contain '$_wanted': $*" ;;
	esac
}
# refused 'TEXT' ARGUMENT...: the daemon refuses these
refused() {
	_pattern=$1
	shift
	hashes >before
	refuses_to_start "$_pattern" "$@" "$MNT"
	hashes | cmp -s before - || fail "refused, but changed on disk: $*"
	! mountpoint -q "$MNT" || fail "refused, but mounted: $*"
	echo "ok: $(cat refused.err)"
}

mk_images 4M 8M --writeback
start_daemon
dd if=/dev/urandom of="$MNT/dev0" bs=64k count=8 conv=notrunc,fsync status=none
[ "$(ctl_get dev0/state)" = dirty ] || fail "not dirty"
want=$(sha "$MNT/dev0")

say "in use: a second daemon on the same files"
mkdir second
refuses_to_start 'cache.img' --cache "$WORK/cache.img" "$WORK/second"
refuses_to_start 'backing.img' --backing "$WORK/backing.img" "$WORK/second"
[ "$want" = "$(sha "$MNT/dev0")" ] || fail "the first daemon's content changed"
if sh -c "echo $WORK/cache.img >$MNT/.ctl/register" 2>/dev/null; then
	fail "the same cache was registered twice"
fi
grep -q 'cache.img' "$MNT/.ctl/last_error" || fail "last_error: $(ctl_get last_error)"

say "a second daemon on the same mount point"
refuses_to_start "$MNT" "$MNT"
stop_daemon

say "not a bcache device, not there, not a device"
truncate -s 4M zeros.img
dd if=/dev/urandom of=noise.img bs=1M count=4 status=none
truncate -s 100 tiny.img
refused 'zeros.img*' --cache "$WORK/zeros.img"
refused 'noise.img*' --backing "$WORK/noise.img"
refused 'tiny.img*' --backing "$WORK/tiny.img"
refused 'missing.img*No such file' --backing "$WORK/missing.img"
refused "$WORK'*directory" --backing "$WORK"

say "wrong size"
cp --sparse=always cache.img short.img
truncate -s 3M short.img
refused 'short.img*' --cache "$WORK/short.img" --backing "$WORK/backing.img"
cp --sparse=always backing.img stub.img
truncate -s 8192 stub.img
refused 'stub.img*' --backing "$WORK/stub.img"

say "the wrong way round, and twice"
refused 'backing.img*' --cache "$WORK/backing.img" --backing "$WORK/cache.img"
refused 'cache.img*twice' --cache "$WORK/cache.img" --cache "$WORK/cache.img"

say "a dirty backing device without its cache, or with another's"
refused 'backing.img*' --backing "$WORK/backing.img"
"$CTL" format --cache other.img --size 4M >/dev/null
# The other cache is good, and may be started and written to.
refuses_to_start 'backing.img' --cache "$WORK/other.img" --backing "$WORK/backing.img" "$MNT"

say "a cache without its backing device: not started from a device list; registered by hand, the device may come later"
refused 'cache.img*backing' --cache "$WORK/cache.img"
NO_IMAGES=1
start_daemon
echo "$WORK/cache.img" >"$MNT/.ctl/register"
! test -e "$MNT/dev0" || fail "there is a device"
echo "$WORK/backing.img" >"$MNT/.ctl/register"
[ "$want" = "$(sha "$MNT/dev0")" ] || fail "registered after its cache, its content is another"
stop_daemon

say "the reverse: the backing device first, the cache later"
start_daemon
echo "$WORK/backing.img" >"$MNT/.ctl/register"
! test -e "$MNT/dev0" || fail "a dirty device is served without its cache"
[ "$(ctl_get dev0/running)" = 0 ] || fail "it runs"
echo "$WORK/cache.img" >"$MNT/.ctl/register"
[ "$want" = "$(sha "$MNT/dev0")" ] || fail "with the cache registered later, its content is another"
stop_daemon

NO_IMAGES=''

say "configuration"
echo '{ "devicez": [] }' >bad.conf
refused 'bad.conf*devicez' -c "$WORK/bad.conf"
printf '{\n "options": {\n  "no_such_option": 1\n }\n}\n' >bad.conf
refused 'bad.conf*3*no_such_option' -c "$WORK/bad.conf"
echo '{ "devices": [' >bad.conf
refused 'bad.conf' -c "$WORK/bad.conf"
# Ours are known by name; the rest goes to libfuse, which takes three lines for it.
refused_by_fuse() { timeout 30 "$BCF" -f "$@" "$MNT" 2>refused.all && fail "started with: $*"; grep -q no_such_option refused.all; }
unchanged_by cache.img refused_by_fuse -o no_such_option=1 --cache "$WORK/cache.img"
refuses_to_start 'nowhere' --cache "$WORK/cache.img" "$WORK/nowhere"

say "all is still there"
start_daemon
[ "$want" = "$(sha "$MNT/dev0")" ] || fail "the content changed"
stop_daemon
