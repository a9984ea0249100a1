#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# cppcheck over the sources: errors and warnings. Leaks are left to the sanitizers, which know more functions.
cd "$(dirname "$0")/../.." || exit 1
command -v cppcheck >/dev/null || { echo "cppcheck is not installed"; exit 77; }
cppcheck -q -j 2 --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,portability -I. \
	-D__x86_64__ -D__BYTE_ORDER__=1234 -D__ORDER_LITTLE_ENDIAN__=1234 -D__GNUC__=12 \
	--suppress=missingIncludeSystem --suppress=unknownMacro --suppress=internalAstError --suppress=duplicateAssignExpression --suppress=memleak \
	formats core fuse tools
