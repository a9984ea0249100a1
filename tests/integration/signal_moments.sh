#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A signal is heard whenever it comes: while a fiber is about to park, while the loop decides to sleep, on the way into the kernel to sleep. A debugger
# holds the daemon there.
. "$(dirname "$0")/functions.sh"
requires_fuse
requires_tool
requires_cmd gdb pgrep
[ -z "${WRAP:-}" ] || skip "a debugger cannot hold what runs under $WRAP"

mk_images 16M 8M --bucket 16k
ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" # leaks cannot be looked for in a traced process
export ASAN_OPTIONS

# hold_at FUNCTION: the daemon serves its mount and is about to call that; send it SIGTERM there, and let it go on.
hold_at() {
	cat >commands <<-END
		set pagination off
		set confirm off
		set breakpoint pending on
		handle SIGTERM SIGSEGV SIGUSR1 nostop noprint pass
		break report_ready
		run
		delete
		break $1
		continue
		delete
		shell pgrep -f "^$BCF .*$MNT" | xargs kill -TERM
		continue
	END
	timeout 60 gdb -batch -x commands --args "$BCF" -f --cache "$WORK/cache.img" --backing "$WORK/backing.img" "$MNT" >"gdb-$1.log" 2>&1 ||
		true # the debugger ends its daemon when it is ended itself
	! grep -qi "ptrace\|could not trace" "gdb-$1.log" || skip "the debugger may not trace: $(grep -im 1 "trace" "gdb-$1.log")"
	grep -qE '(^| hit )Breakpoint 2[.0-9]*, ' "gdb-$1.log" || fail "the daemon never came to $1: $(tail -n 20 "gdb-$1.log")"
	grep -q "exited normally" "gdb-$1.log" || fail "a signal before $1 does not end the daemon: $(tail -n 20 "gdb-$1.log")"
	unmount_stale
}

for moment in wait_queue_wait port_bell_try_sleep io_uring_submit_and_wait_timeout port_bell_awake; do
	say $moment
	hold_at $moment
done
