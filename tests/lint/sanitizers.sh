#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A mistake that a sanitizer finds in a process in the background fails the test, though its status is nobody's and its stderr is closed.
top=$(cd "$(dirname "$0")/../.." && pwd)
cc=${CC:-gcc}
dir=$(mktemp -d "${TMPDIR:-/tmp}/bcf-sanitizers.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
cat >mistake.c <<'END'
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int shared;
static char *volatile lost;
static void *race(void *arg)
{
	shared++;
	return arg;
}
int main(int argc, char **argv)
{
	int volatile beyond = 40, many = 0x7fffffff;
	pthread_t thread;
	int ready[2], i;
	char byte;
	if (pipe(ready) < 0)
		return 1;
	if (fork()) {
		close(ready[1]);
		return read(ready[0], &byte, 1) < 0;
	}
	setsid();
	for (i = 0; i < 3; i++)
		close(i);
	if (!strcmp(argv[1], "overflow"))
		((char volatile *)malloc(40))[beyond] = 1;
	if (!strcmp(argv[1], "leak")) {
		lost = malloc(100);
		lost = NULL;
	}
	if (!strcmp(argv[1], "undefined"))
		many += argc;
	if (!strcmp(argv[1], "race")) {
		pthread_create(&thread, NULL, race, NULL);
		shared++;
		pthread_join(thread, NULL);
	}
	return 0;
}
END
bad=0
# noticed SANITIZER MISTAKE WORD: when planted, the test fails and its report says WORD; "none" is no mistake, and passes
noticed() {
	if ! "$cc" -g -fsanitize="$1" -fno-sanitize-recover=all -o mistake mistake.c -lpthread 2>cc.err; then
		echo "ok - $2 # SKIP $cc cannot -fsanitize=$1: $(head -n 1 cc.err)"
		return
	fi
	printf '#!/bin/sh\n"%s/mistake" %s\n' "$dir" "$2" >planted.sh
	chmod +x planted.sh
	if "$top/tests/run" "$dir/planted.sh" >out 2>&1; then status=0; else status=1; fi
	if [ "$2" = none ] && [ $status -eq 0 ]; then
		echo "ok - $1: no mistake, no complaint"
	elif [ "$2" != none ] && [ $status -eq 1 ] && grep -q "$3" out; then
		echo "ok - $1: $2"
	else
		echo "not ok - $1: $2: status $status"
		sed 's/^/# /' out
		bad=1
	fi
}
noticed address none ""
noticed address overflow heap-buffer-overflow
noticed address leak "detected memory leaks"
noticed undefined undefined "signed integer overflow"
noticed thread none ""
noticed thread race "data race"
exit $bad
