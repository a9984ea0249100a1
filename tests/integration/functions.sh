# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
# What the integration tests share. A test begins with
#
#	. "$(dirname "$0")/functions.sh"
#
# and then is in a directory of its own ($WORK, removed at the end), under "set -eu", with cleanup on every way out.
# BCF_WORK=/dev/shm makes that directory elsewhere. KEEP=1 keeps it.

set -eu
TOP=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-build}
case $B in /*) ;; *) B=$TOP/$B ;; esac
PATH=$PATH:/usr/sbin:/sbin
BCF=$B/bcache-fuse
CTL=$B/bcachectl
ME=$(basename "$0" .sh)
WORK=$(mktemp -d "${BCF_WORK:-${TMPDIR:-/tmp}}/bcf-$ME.XXXXXX")
MNT=$WORK/mnt		# unique, because WORK is
DAEMON_LOG=$WORK/daemon.log
DAEMON_PID=
cleanups=
XDG_STATE_HOME=$WORK/state-home # settings that somebody has saved on this machine do not concern us
export XDG_STATE_HOME
cd "$WORK"
mkdir "$MNT"

# --- how a test ends ---

skip() { echo "$*"; exit 77; }
fail() { echo "FAILED: $*"; exit 1; }
say() { echo "--- $*"; }

# cleanup_fn COMMAND: run it at the end, the newest first. It may fail.
cleanup_fn() { cleanups="$1
$cleanups"; }

cleanup() {
	status=$?
	trap - EXIT INT TERM
	set +e
	cd /
	eval "$cleanups"
	if [ -n "$DAEMON_PID" ]; then # in order if it can, but it must be gone
		kill -TERM "$DAEMON_PID" 2>/dev/null
		wait_for_end 10 "$DAEMON_PID" || kill_daemon
	fi
	unmount_stale
	wait_for_background || { echo "FAILED: a daemon in the background does not stop"; status=1; }
	if [ $status -ne 0 ] && [ $status -ne 77 ] && [ -s "$DAEMON_LOG" ]; then
		echo "--- the daemon's log, last 50 lines"
		tail -n 50 "$DAEMON_LOG"
	fi
	if [ -n "${KEEP:-}" ]; then echo "kept: $WORK"; else rm -rf --one-file-system "$WORK"; fi
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- what it needs; otherwise it is skipped, and says why ---

requires_root() { [ "$(id -u)" -eq 0 ] || skip "needs root"; }
requires_cmd() {
	for c; do command -v "$c" >/dev/null || skip "needs the command $c"; done
}
requires_fuse() {
	[ -e /dev/fuse ] || skip "needs /dev/fuse"
	requires_cmd fusermount3
	[ -x "$BCF" ] || skip "needs $BCF"
}
requires_loop() {
	requires_root
	requires_cmd losetup
	losetup -f >/dev/null 2>&1 || skip "needs loop devices"
}
requires_tool() { [ -x "$CTL" ] || skip "needs $CTL"; }

# --- images ---

# mk_images CACHE-SIZE BACKING-SIZE [FORMAT-OPTION...]: cache.img and backing.img in $WORK
mk_images() {
	_cache_size=$1 _backing_size=$2
	shift 2
	"$CTL" format "$@" --cache cache.img --size "$_cache_size" --backing backing.img --size "$_backing_size" >format.log ||
		fail "format"
	SET_UUID=$(sed -n 's/^ *set uuid *//p' format.log | head -n 1)
	export SET_UUID
}
sha() { sha256sum -- "$1" | cut -d ' ' -f 1; }

# --- the daemon ---

# start_daemon [ARGUMENT...]: in front, on $MNT, with cache.img and backing.img if they are there; returns when it is ready, and
# fails when it is not after 30 s (START_TIMEOUT) or ends before.
start_daemon() {
	set -- "$@" ${DAEMON_ARGS:-}
	for _image in cache backing; do
		[ ! -e $_image.img ] || [ -n "${NO_IMAGES:-}" ] || set -- "$@" --$_image "$WORK/$_image.img"
	done
	# shellcheck disable=SC2086  # WRAP is a command with its arguments
	${WRAP:-} "$BCF" -f "$@" "$MNT" >>"$DAEMON_LOG" 2>&1 &
	DAEMON_PID=$!
	_tries=$((${START_TIMEOUT:-30} * 20))
	until is_ready; do
		if ! kill -0 $DAEMON_PID 2>/dev/null; then
			wait $DAEMON_PID || DAEMON_STATUS=$?
			DAEMON_PID=
			return 1
		fi
		_tries=$((_tries - 1))
		[ $_tries -gt 0 ] || fail "the daemon is not ready after ${START_TIMEOUT:-30} s"
		sleep 0.05
	done
}
# The control tree answers, and the device is there if one was given. Never blocks on a mount that does not answer.
is_ready() {
	mountpoint -q "$MNT" && timeout 5 test -e "$MNT/.ctl/last_error" || return 1
	[ ! -e backing.img ] || [ -n "${NO_IMAGES:-}" ] || [ -n "${NO_DEVICE:-}" ] || timeout 5 test -e "$MNT/dev0"
}

# Wait up to $1 seconds for the process $2 to end; its exit status is in DAEMON_STATUS.
wait_for_end() {
	_tries=$(($1 * 20))
	while kill -0 "$2" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$2/status" 2>/dev/null; do
		_tries=$((_tries - 1))
		[ $_tries -gt 0 ] || return 1
		sleep 0.05
	done
	DAEMON_STATUS=0
	wait "$2" || DAEMON_STATUS=$?
}

# stop_daemon: SIGTERM, and it must end in order: status 0, nothing mounted.
stop_daemon() {
	kill -TERM "$DAEMON_PID"
	wait_for_end "${STOP_TIMEOUT:-60}" "$DAEMON_PID" || fail "the daemon does not stop"
	DAEMON_PID=
	[ "$DAEMON_STATUS" -eq 0 ] || fail "the daemon stopped with status $DAEMON_STATUS"
	! mountpoint -q "$MNT" || fail "still mounted after the daemon stopped"
}

# kill_daemon: SIGKILL, and take away the dead mount that it leaves.
kill_daemon() {
	kill -KILL "$DAEMON_PID" 2>/dev/null || true
	wait "$DAEMON_PID" 2>/dev/null || true
	DAEMON_PID=
	unmount_stale
}
unmount_stale() {
	while grep -q " $MNT " /proc/self/mounts; do
		fusermount3 -u -z "$MNT" 2>/dev/null || umount -l "$MNT" 2>/dev/null || break
	done
}

# A daemon in the background goes on stopping after it was unmounted, and what a sanitizer says about it comes at its end.
wait_for_background() {
	_tries=$((${STOP_TIMEOUT:-60} * 20))
	while pgrep -f "bcache-fuse.*$WORK" >/dev/null; do
		_tries=$((_tries - 1))
		if [ $_tries -eq 0 ]; then
			pkill -KILL -f "bcache-fuse.*$WORK"
			return 1
		fi
		sleep 0.05
	done
}

# --- the control tree ---

ctl_get() { cat "$MNT/.ctl/$1"; }
ctl_set() { echo "$2" >"$MNT/.ctl/$1"; }
# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
	_what=$*
	_tries=$(($1 * 10))
	shift
	until "$@"; do
		_tries=$((_tries - 1))
		[ $_tries -gt 0 ] || fail "waited in vain: $_what"
		sleep 0.1
	done
}
is_clean() { [ "$(ctl_get dev0/state)" = clean ]; }

# --- expectations ---

# refuses "TEXT" COMMAND...: it must fail, with one line on stderr that contains TEXT (a shell pattern)
refuses() {
	_text=$1
	shift
	if "$@" >refused.out 2>refused.err; then
		fail "succeeded: $*"
	fi
	[ "$(wc -l <refused.err)" -eq 1 ] || { cat refused.err; fail "not one line on stderr: $*"; }
	# shellcheck disable=SC2254  # a pattern is what we want
	case $(cat refused.err) in
	*$_text*) ;;
	*) cat refused.err; fail "the message does not contain '$_text': $*" ;;
	esac
}
# unchanged_by FILE COMMAND...: the command leaves these bytes alone
unchanged_by() {
	_file=$1
	shift
	_before=$(sha "$_file")
	"$@"
	[ "$_before" = "$(sha "$_file")" ] || fail "$_file was changed by: $*"
}
