/* SPDX-License-Identifier: GPL-2.0-only */
/* Gives files to a harness, without libFuzzer: replay FILE... Every file must be survived. */
#include "tests/fuzz/fuzz.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		static uint8_t buf[1 << 20];
		uint8_t *exact;
		size_t n;

		if (!f) {
			perror(argv[i]);
			return 2;
		}
		n = fread(buf, 1, sizeof(buf), f);
		fclose(f);
		printf("# %s\n", argv[i]);
		fflush(stdout);
		exact = malloc(n ? n : 1); /* so that a sanitizer sees its end */
		if (!exact)
			return 2;
		memcpy(exact, buf, n);
		LLVMFuzzerTestOneInput(exact, n);
		free(exact);
		printf("ok %d - %s\n", i, argv[i]);
	}
	return 0;
}
