#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Every benchmark; `make bench`. Numbers of a shared machine vary: compare ratios and CPU per I/O, and run it twice.
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
echo "$(git -C "$HERE" describe --always --dirty 2>/dev/null || echo unknown) on $(nproc) CPUs, Linux $(uname -r), load $(cut -d ' ' -f 1 /proc/loadavg)"
status=0
for bench in "$HERE"/*.sh; do
	[ "$bench" != "$HERE/run.sh" ] || continue
	echo "== $(basename "$bench" .sh)"
	"$bench" || { result=$?; [ $result -eq 77 ] || status=1; }
done
exit $status
