/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The images that the real kernel made (tests/golden), read through the core alone: no FUSE, so it is fast and runs under sanitizers.
 * tests/golden/run does the same, and more, with the daemon. Run from the top of the source tree, or with TOP set to it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/bcf.h"
#include "core/engine/engine_uring.h"
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CASES_MAX 64
#define IMAGES_MAX 4

static const char *folder;

struct golden {
	char name[64];
	char dir[64];
	char images[IMAGES_MAX][128]; /* "" = none; the cache first */
	char edited[16];	      /* role of the damaged image */
	bool refused;		      /* a damaged image: it must be */
	json_t *manifest;
	json_t *devices;	      /* what must be read */
	char failure[1000];
};

static bool fails(struct golden *g, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool fails(struct golden *g, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(g->failure, sizeof(g->failure), fmt, args);
	va_end(args);
	return false;
}

static json_t *load(const char *name)
{
	char path[PATH_MAX];
	json_error_t error;
	json_t *j;

	snprintf(path, sizeof(path), "%s/%s.json", folder, name);
	j = json_load_file(path, 0, &error);
	if (!j)
		fail_msg("%s: %s", path, error.text);
	return j;
}

static const char *text_of(json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

/* --- images --------------------------------------------------------------------------------------------------------- */

static bool unpack(struct golden *g, json_t *images)
{
	const char *role;
	json_t *image;

	json_object_foreach(images, role, image) {
		unsigned slot = strcmp(role, "cache") ? 1 + (unsigned)atoi(role + strlen("backing")) : 0;
		char command[PATH_MAX];

		assert_true(slot < IMAGES_MAX);
		snprintf(g->images[slot], sizeof(g->images[slot]), "%s/%s.img", g->dir, role);
		snprintf(command, sizeof(command), "zstd -qdf --sparse '%s/%s' -o '%s'", folder, text_of(image, "file"), g->images[slot]);
		if (system(command))
			return fails(g, "cannot unpack: %s", command);
	}
	return true;
}

static const char *image_of(struct golden *g, const char *role)
{
	return g->images[strcmp(role, "cache") ? 1 + atoi(role + strlen("backing")) : 0];
}

static void damage(struct golden *g, json_t *edit)
{
	int fd = open(image_of(g, g->edited), O_RDWR | O_CLOEXEC);
	off_t at = json_integer_value(json_object_get(edit, "offset"));
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= (uint8_t)json_integer_value(json_object_get(edit, "xor"));
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

static bool hash_device(struct golden *g, struct bdev *d, char ret_hex[65])
{
	static _Alignas(4096) char buf[256 * 1024];
	struct bcf_io io = { .pid = 1, .handle = 1 };
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char sum[32];
	uint64_t at = 0;
	int64_t r;

	EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	while ((r = bcf_read(d, buf, sizeof(buf), at, &io)) > 0) {
		EVP_DigestUpdate(md, buf, (size_t)r);
		at += (uint64_t)r;
	}
	EVP_DigestFinal_ex(md, sum, NULL);
	EVP_MD_CTX_free(md);
	for (unsigned i = 0; i < sizeof(sum); i++)
		sprintf(ret_hex + 2 * i, "%02x", sum[i]);
	if (r < 0)
		return fails(g, "reading %s at %llu: %s", bcf_dev_name(d), (unsigned long long)at, strerror((int)-r));
	if (at != bcf_dev_size_bytes(d))
		return fails(g, "%s ends at %llu", bcf_dev_name(d), (unsigned long long)at);
	return true;
}

static bool is_wanted(struct golden *g, const char *hex, uint64_t size)
{
	json_t *device;
	size_t i;

	json_array_foreach(g->devices, i, device)
		if (!strcmp(text_of(device, "sha256"), hex) && (uint64_t)json_integer_value(json_object_get(device, "size")) == size)
			return true;
	return false;
}

static bool compare(struct golden *g, struct bcf *b)
{
	char hex[65];
	unsigned n = 0;

	for (struct bdev *d; (d = bcf_dev_nth(b, n)); n++) {
		if (!hash_device(g, d, hex))
			return false;
		if (!is_wanted(g, hex, bcf_dev_size_bytes(d)))
			return fails(g, "%s reads as %.12s…, which is not in the manifest", bcf_dev_name(d), hex);
	}
	if (n != json_array_size(g->devices))
		return fails(g, "%u devices instead of %zu", n, json_array_size(g->devices));
	return true;
}

/* Start on the images, and read. */
FIBER_FN static bool serve(struct golden *g)
{
	struct bcf_options options = { 0 };
	struct bcf *b;
	bool good = true;

	if (bcf_new(&options, &b) < 0)
		return fails(g, "bcf_new");
	for (unsigned i = 0; i < IMAGES_MAX && good; i++) {
		char why_text[500] = "";
		struct printbuf why = PRINTBUF(why_text);
		bool refuse = g->refused && *g->images[i] && !strcmp(g->images[i], image_of(g, g->edited));
		int r;

		if (!*g->images[i])
			continue;
		r = bcf_register(b, g->images[i], false, &why);
		if (refuse && r >= 0)
			good = fails(g, "%s was not refused", g->images[i]);
		else if (refuse && !*why_text)
			good = fails(g, "%s was refused without a reason", g->images[i]);
		else if (!refuse && r < 0)
			good = fails(g, "%s: %s (%s)", g->images[i], strerror(-r), why_text);
	}
	if (good && g->refused && bcf_dev_nth(b, 0))
		good = fails(g, "there is a device in spite of the damage");
	else if (good && !g->refused)
		good = compare(g, b);
	bcf_stop(b);
	return good;
}

static int main_fiber(void *arg)
{
	struct golden *g = arg;
	bool good = serve(g);

	/* What a start and a stop did to the images must not matter. A refusal must not heal by itself either. */
	return good && serve(g) ? 0 : -1;
}

static void read_case(void **state)
{
	struct golden *g = *state;
	struct engine *e;
	char command[128];
	bool good;

	strcpy(g->dir, "/tmp/bcf-golden-c-XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	json_t *edit = json_object_get(g->manifest, "edit"), *base = edit ? load(text_of(g->manifest, "base")) : g->manifest;
	g->devices = json_object_get(base, "devices");
	good = unpack(g, json_object_get(base, "images"));
	if (edit) {
		json_t *kernel = json_object_get(g->manifest, "kernel");

		snprintf(g->edited, sizeof(g->edited), "%s", text_of(edit, "image"));
		g->refused = true; /* also where the kernel takes it (tests/golden/run says why) */
		g->devices = json_object_get(kernel, "devices");
		damage(g, edit);
	}
	if (good) {
		assert_int_equal(engine_uring_new(0, &e), 0);
		good = engine_run(e, main_fiber, g) == 0;
		engine_uring_free(e);
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", g->dir);
	(void)!system(command);
	if (edit)
		json_decref(base);
	if (!good)
		fail_msg("%s: %s", g->name, g->failure);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct golden *)a)->name, ((const struct golden *)b)->name);
}

int main(void)
{
	static struct golden cases[CASES_MAX];
	struct CMUnitTest tests[CASES_MAX];
	const char *top = getenv("TOP");
	char path[PATH_MAX];
	struct dirent *entry;
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/tests/golden", top ? top : ".");
	folder = path;
	dir = opendir(folder);
	if (!dir || system("zstd --version >/dev/null 2>&1")) {
		printf("needs %s\n", dir ? "the command zstd" : folder);
		return 77;
	}
	while ((entry = readdir(dir)) && n < CASES_MAX) {
		size_t len = strlen(entry->d_name);

		if (len < 6 || len - 5 >= sizeof(cases[n].name) || strcmp(entry->d_name + len - 5, ".json"))
			continue;
		memcpy(cases[n].name, entry->d_name, len - 5);
		n++;
	}
	closedir(dir);
	qsort(cases, n, sizeof(cases[0]), by_name);
	for (size_t i = 0; i < n; i++) {
		cases[i].manifest = load(cases[i].name);
		tests[i] = (struct CMUnitTest){ cases[i].name, read_case, NULL, NULL, &cases[i] };
	}
	int failed = _cmocka_run_group_tests("golden", tests, n, NULL, NULL);
	for (size_t i = 0; i < n; i++)
		json_decref(cases[i].manifest);
	return failed;
}
