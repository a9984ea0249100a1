#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Starting the daemon: from the command line, a configuration, mount(8); and everything that can be wrong with its devices, each
# told in one line, with a failure, and without a byte changed on them.

. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
export XDG_CONFIG_HOME="$WORK/no-config"
mk_images 64M 64M
"$CTL" format --cache cache2.img --size 64M --backing backing2.img --size 64M >/dev/null
fast="-o shutdown_timeout=5"

# spoiled TEXT ARGUMENT...: the daemon refuses, in front and as a daemon, mounts nothing and changes no image
spoiled() {
	_sums=$(sha256sum -- *.img)
	_said=$1
	shift
	for _front in -f ""; do
		# shellcheck disable=SC2086  # empty or one word, or two
		refuses "$_said" "$BCF" $_front $fast "$@" "$MNT"
		! mountpoint -q "$MNT" || fail "something is mounted"
	done
	[ "$_sums" = "$(sha256sum -- *.img)" ] || fail "an image was changed by: $*"
}

say "what is wrong with devices"
head -c 1M /dev/zero >zero.img
cp cache.img sick.img
printf '\377' | dd of=sick.img bs=1 seek=4200 conv=notrunc status=none
head -c 32M backing2.img >half.img
spoiled "given as a cache device, but it is a backing" --cache backing.img
spoiled "given as a backing device, but it is a cache" --backing cache.img
spoiled "is it a bcache device" --cache zero.img
spoiled "is it a bcache device" --cache sick.img --backing backing.img
spoiled "No such file" --cache missing.img
spoiled "given twice" --backing backing.img --backing "$WORK/backing.img"
ln -s cache.img link.img
spoiled "are the same device" --backing backing.img --cache cache.img --cache link.img
mkdir -p "$MNT/below"
cp backing.img "$MNT/below/b.img"
spoiled "below the mount point" --backing "$MNT/below/b.img"
rm -r "$MNT/below"
cp cache.img short.img
truncate -s 32M short.img
spoiled "short.img" --cache short.img --backing backing.img

say "a configuration with tunables"
cat >good.conf <<END
{ "devices": [
    { "cache": "$WORK/cache.img" },
    { "backing": "$WORK/backing.img", "options": { "cache_mode": "writeback", "writeback_percent": 17 } } ],
  "options": { "shutdown_timeout": 5 } }
END
export NO_IMAGES=1
start_daemon -c good.conf
test -e "$MNT/dev0"
case $(ctl_get dev0/cache_mode) in *"[writeback]"*) ;; *) fail "cache_mode: $(ctl_get dev0/cache_mode)" ;; esac
[ "$(ctl_get dev0/writeback_percent)" = 17 ]
[ "$(ctl_get dev0/state)" = clean ]
dd if=/dev/urandom of=random bs=1M count=4 status=none
dd if=random of="$MNT/dev0" bs=256k conv=notrunc,fsync status=none

say "a second daemon on the same files"
mkdir other
refuses "" "$BCF" -f --backing backing.img other
refuses "" "$BCF" -f --cache cache.img --backing backing2.img other
! mountpoint -q other

say "a path in our own mount must not hang us"
export STOP_TIMEOUT=10
ln -s "$MNT/dev0" mine
for _path in "$MNT/dev0" "$MNT/.ctl/../dev0" "$WORK/mine"; do
	/bin/echo "$_path" >"$MNT/.ctl/register" 2>err &
	echo_pid=$!
	wait_for_end 10 $echo_pid || fail "registering our own file hangs"
	[ "$DAEMON_STATUS" -ne 0 ] || fail "registered our own file"
	grep -q "deadlock avoided" err || fail "$(cat err)"
done
test -e "$MNT/dev0"
stop_daemon

say "half of what belongs together"
spoiled "cache set" --backing backing.img
spoiled "backing device" --cache cache.img

sed 's/writeback_percent/writeback_persent/' good.conf >bad.conf
spoiled 'bad.conf:3:[0-9]*: unknown option "writeback_persent" of a backing device' -c bad.conf

say "mount(8) style, the devices as options, as a daemon; everything is still there"
"$BCF" none mnt -o cache=cache.img,backing="$WORK/backing.img,shutdown_timeout=5,nofail"
dd if="$MNT/dev0" bs=1M count=4 status=none | cmp - random
case $(ctl_get dev0/cache_mode) in *"[writeback]"*) ;; *) fail "cache_mode was forgotten" ;; esac
fusermount3 -u "$MNT"
# Locks are gone when the daemon is: the next one may start at once, or has to wait a moment.
wait_for 10 sh -c "'$BCF' '$WORK/backing.img' mnt -o cache=cache.img 2>/dev/null"
dd if="$MNT/dev0" bs=1M count=4 status=none | cmp - random
fusermount3 -u "$MNT"
