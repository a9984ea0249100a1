#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Knowledge flows down only: fuse -> core -> formats, tools -> core, formats. One library, one place. Waiting only in core/engine.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0

# forbid "RULE" FOLDERS REGEX [EXCEPTION-REGEX]: no line of their files may match, but for files whose path matches the exception
forbid() {
	rule=$1 folders=$2 regex=$3 except=${4:-^$}
	# shellcheck disable=SC2086  # a list of words
	found=$(find $folders -name '*.[chS]' 2>/dev/null | grep -vE "$except" | xargs -r grep -nE "$regex" /dev/null)
	if [ -n "$found" ]; then
		echo "not ok - $rule"
		echo "$found" | sed 's/^/  /'
		bad=1
	else
		echo "ok - $rule"
	fi
}
inc='^[[:space:]]*#[[:space:]]*include[[:space:]]*'
code='formats core fuse tools'

forbid 'includes name their layer'              "$code" "$inc\"[^/\"]*\""
forbid 'formats/ includes formats/ only'        'formats' "$inc\"(core|fuse|tools|tests)/"
forbid 'core/ includes core/ and formats/ only' 'core'  "$inc\"(fuse|tools|tests)/"
forbid 'fuse/ includes fuse/, core/, formats/'  'fuse'  "$inc\"(tools|tests)/"
forbid 'fuse/ sees of the cache only core/bcf.h' 'fuse' "$inc\"core/(set|request|btree|journal|space|writeback)/"
forbid 'tools/ includes tools/, core/, formats/' 'tools' "$inc\"(fuse|tests)/"

forbid 'libfuse: fuse/api.h'                    "$code" "$inc<fuse" '^fuse/api\.h$'
forbid 'liburing: core/engine, blk_uring.c'     "$code" "$inc<liburing" '^core/(engine/|io/blk_uring\.c$)'
forbid 'jansson: core/admin/json.c'             "$code" "$inc<jansson" '^core/admin/json\.c$'
forbid 'OpenSSL: core/admin/digest.c'           "$code" "$inc<openssl" '^core/admin/digest\.c$'
forbid 'ISA-L: formats/crc64.c'                 "$code" "$inc<(isa-l|crc64\.h)" '^formats/crc64\.c$'
forbid 'cmocka: tests/unit'                     "$code" "$inc<cmocka"

# The simulator replays a seed only if nothing else knows the time, a thread or chance.
forbid 'core/ waits and reads clocks in engine/ only' 'core' \
	'\b(pthread_[a-z_]+|nanosleep|usleep|sleep|gettimeofday|clock_gettime|clock|rand|random|getrandom) ?\(' '^core/(engine/|admin/log\.c$)'
forbid 'formats/ does no I/O and allocates nothing' 'formats' \
	'\b(malloc|calloc|realloc|free|open|read|write|fopen|printf|fprintf|time|clock_gettime) ?\('

headers_bad=
flags="-std=gnu11 -D_GNU_SOURCE -I. -fsyntax-only -x c $(pkg-config --cflags fuse3 2>/dev/null)"
for h in formats/*.h core/*.h core/*/*.h fuse/*.h tools/*.h; do
	[ -e "$h" ] || continue
	# shellcheck disable=SC2086  # a list of words
	echo "#include \"$h\"" | "${CC:-gcc}" $flags - 2>&1 || headers_bad="$headers_bad $h"
done
if [ -n "$headers_bad" ]; then
	echo "not ok - headers compile on their own"
	echo " $headers_bad"
	bad=1
else
	echo "ok - headers compile on their own"
fi
exit $bad
