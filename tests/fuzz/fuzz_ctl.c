/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes to control files of an instance that runs. Input: base, seed; then commands: which file (u16), how long the text is (u8), the text.
 * File numbers count all files of the tree as it is then; from 0xff00 on the text is PATH=TEXT. Between commands a little I/O.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/images.h"
#include <stdio.h>
#include <stdlib.h>

struct find {
	struct bcf *b;
	char at[BCF_CTL_PATH_BYTES], found[BCF_CTL_PATH_BYTES];
	unsigned skip, depth;
	bool done, show;
};

static void find_in(struct find *f);

static bool found_name(void *ctx, const char *name, enum bcf_ctl_kind kind)
{
	struct find *f = ctx;
	size_t len = strlen(f->at);

	snprintf(f->at + len, sizeof(f->at) - len, "%s%s", len ? "/" : "", name);
	if (kind == BCF_CTL_DIR && f->depth < 4) {
		f->depth++;
		find_in(f);
		f->depth--;
	} else if (kind == BCF_CTL_FILE && !f->skip--) {
		memcpy(f->found, f->at, sizeof(f->found));
		f->done = true;
	}
	f->at[len] = '\0';
	return !f->done;
}

static void find_in(struct find *f)
{
	ignore_result(bcf_ctl_list(f->b, f->at, found_name, f)); /* an empty directory is as good as none */
}

/* The n-th file, "" when there are fewer. */
static const char *nth_file(struct find *f, struct bcf *b, unsigned n)
{
	*f = (struct find){ .b = b, .skip = n };
	find_in(f);
	return f->found;
}

static void show(struct bcf *b, const char *path)
{
	static char text[65536];
	struct printbuf pb = PRINTBUF(text);
	struct bcf_ctl_entry entry;

	ignore_result(bcf_ctl_lookup(b, path, &entry)); /* any answer will do */
	ignore_result(bcf_ctl_show(b, path, &pb));
}

static void command(struct bcf *b, unsigned n, char *text, size_t len)
{
	static struct find f;
	char path[BCF_CTL_PATH_BYTES] = "";
	char *equals = n >= 0xff00 ? memchr(text, '=', len) : NULL;

	if (equals && (size_t)(equals - text) < sizeof(path)) {
		memcpy(path, text, (size_t)(equals - text));
		len -= (size_t)(equals + 1 - text);
		text = equals + 1;
	} else {
		snprintf(path, sizeof(path), "%s", nth_file(&f, b, n % 400));
	}
	if (strstr(path, "errors") || (!strcmp(path, "tunables") && memmem(text, len, "panic", 5))) /* it does what it says */
		return;
	ignore_result(bcf_ctl_store(b, path, text, len)); /* errors are fine */
	show(b, path);
	show(b, "last_error");
}

static void some_io(struct bcf *b, unsigned n)
{
	static char buf[8192];
	struct bdev *d = bcf_dev_nth(b, n % 2);
	struct bcf_io io = { .pid = 1, .handle = n };

	if (!d || bcf_dev_open(d) < 0)
		return;
	ignore_result(bcf_write(d, buf, 1 + n * 37 % sizeof(buf), n * 512ull, &io) < 0);
	ignore_result(bcf_read(d, buf, sizeof(buf), n * 512ull, &io) < 0);
	bcf_dev_close(d);
}

static void obey(struct boot *boot)
{
	const uint8_t *p = boot->data + 2, *end = boot->data + boot->size;
	static struct find f;

	for (unsigned i = 0; end - p >= 3 && i < 16; i++) {
		unsigned n = p[0] | p[1] << 8;
		size_t len = min((size_t)p[2], (size_t)(end - p - 3));
		char *text = malloc(len ? len : 1);

		memcpy(text, p + 3, len);
		command(boot->b, n, text, len);
		free(text);
		some_io(boot->b, n);
		p += 3 + len;
	}
	if (boot->seed % 4 == 0)
		for (unsigned i = 0; *nth_file(&f, boot->b, i); i++)
			show(boot->b, f.found);
	if (boot->seed % 3 == 0)
		fiber_sleep_ns(40 * NS_PER_S);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot boot = { .body = obey, .data = data, .size = size };

	if (size < 2)
		return -1;
	boot.m = images_base(1 + data[0] % (images_nr_bases() - 1)); /* the first one takes long to start */
	boot.seed = data[1];
	images_boot(&boot);
	return 0;
}
