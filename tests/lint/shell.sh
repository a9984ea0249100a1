#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Every shell script passes shellcheck.
cd "$(dirname "$0")/../.." || exit 1
command -v shellcheck >/dev/null || { echo "shellcheck is not installed"; exit 77; }
find . -name .git -prune -o -path ./build -prune -o -type f -print0 | xargs -0 grep -lIE '^#!/(usr/)?bin/(env )?(ba)?sh' -- | xargs shellcheck -x -S warning -e SC2034 # NO_IMAGES= and the like are read by functions.sh
