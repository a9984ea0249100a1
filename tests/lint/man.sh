#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Manual pages are well formed, and bcachectl(8) describes every command and every long option that --help prints.
cd "$(dirname "$0")/../.." || exit 1
command -v mandoc >/dev/null || { echo "mandoc is not installed"; exit 77; }
bad=0
for page in docs/man/*.[1-8]; do
	if mandoc -T lint -W warning "$page"; then
		echo "ok - $page"
	else
		echo "not ok - $page"
		bad=1
	fi
done
tool=${B:-build}/bcachectl
if [ -x "$tool" ]; then
	text=$(mandoc -T ascii docs/man/bcachectl.8 | col -b)
	for command in $("$tool" help | sed -nE 's/^  ([a-z]+) .*/\1/p'); do
		for word in "$command" $("$tool" "$command" --help | grep -oE -- '--[a-z_-]+' | sort -u); do
			case $text in
			*"$word"*) ;;
			*) echo "not ok - bcachectl.8 does not mention $command: $word" && bad=1 ;;
			esac
		done
	done
fi
exit $bad
