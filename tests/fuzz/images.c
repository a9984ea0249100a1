/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/fuzz/images.h"
#include "core/admin/log.h"
#include "tests/sim/blk_sim.h"
#include "tests/sim/engine_sim.h"
#include <stdio.h>
#include <stdlib.h>

#define HANG_NS (24 * 3600 * NS_PER_S)
#define DEPTH_MAX 16

/* The files are part of the program: a reproducer must not depend on where it is run. */
#define EMBED(name) \
	__asm__(".section .rodata\n.balign 8\nbase_" #name ":\n.incbin \"tests/fuzz/bases/" #name ".base\"\nbase_" #name "_end:\n.previous\n"); \
	extern const uint8_t base_##name[], base_##name##_end[]
EMBED(deep);
EMBED(reuse);
EMBED(two);
EMBED(flash);

static const uint8_t *const files[] = { base_deep, base_reuse, base_two, base_flash };
static struct images bases[ARRAY_SIZE(files)];
static uint8_t *pristine[ARRAY_SIZE(files)][IMAGES_MAX];

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "fuzz: out of memory\n");
		exit(2);
	}
	return p;
}

/* --- following pointers --------------------------------------------------------------------------------------------- */

struct walk {
	struct images *m;
	struct image *cache;
	struct geometry g;
	bool seal, collect;
	unsigned nodes;
};

static void collect(struct walk *w, enum structure_kind kind, const void *at, size_t len_bytes)
{
	struct structure **list = &w->m->found[kind];
	size_t *nr = &w->m->nr_found[kind];

	if (!w->collect)
		return;
	*list = must(realloc(*list, (*nr + 1) * sizeof(**list)));
	(*list)[(*nr)++] = (struct structure){ (uint8_t *)(uintptr_t)at, (uint32_t)len_bytes };
}

/* NULL when any of it lies outside. */
static void *bytes_at(const struct image *i, uint64_t sector, uint64_t nr_sectors)
{
	if (sector >= i->nr_sectors || nr_sectors > i->nr_sectors - sector)
		return NULL;
	return i->bytes + sector * SECTOR_BYTES;
}

static void walk_node(struct walk *w, const struct bkey *key, unsigned level, unsigned depth)
{
	uint64_t sector = ptr_sector(key->ptr[0]);
	size_t size = (size_t)bkey_size(key) * SECTOR_BYTES, block = geometry_block_bytes(&w->g), at = 0;
	char *node = bytes_at(w->cache, sector, bkey_size(key));

	if (!node || bkey_ptrs(key) != 1 || depth > DEPTH_MAX || w->nodes++ > 4096)
		return;
	for (unsigned sets = 0; at + sizeof(struct bset) <= size; sets++) {
		struct bset *s = (struct bset *)(node + at);

		if (s->magic != bset_magic(w->m->set_magic) || bset_bytes(s) > size - at || s->seq != ((struct bset *)node)->seq)
			break;
		if (w->seal)
			s->csum = bset_csum(s, key->ptr[0]);
		collect(w, STRUCTURE_BSET, s, min(size - at, bset_bytes(s) + 64));
		at += round_up_u64(bset_bytes(s), block);
		if (!level)
			continue;
		for (struct bkey *k = bset_first(s), *next; k < bset_end(s) && (next = bkey_next(k)) <= bset_end(s); k = next)
			if (bkey_ptrs(k) == 1 && bkey_size(k))
				walk_node(w, k, level - 1, depth + 1);
	}
}

static void walk_prios(struct walk *w, uint64_t bucket)
{
	for (uint32_t i = 0; i < w->g.nr_prio_buckets && i < 64; i++) {
		struct prio_set *p = bytes_at(w->cache, bucket < w->g.nr_buckets ? geometry_sector(&w->g, bucket) : UINT64_MAX,
					      w->g.meta_bytes / SECTOR_BYTES);

		if (!p || p->magic != (w->m->set_magic ^ PRIO_MAGIC))
			return;
		if (w->seal)
			prio_set_seal(p, w->g.meta_bytes, w->m->set_magic);
		collect(w, STRUCTURE_PRIO, p, w->g.meta_bytes);
		bucket = p->next_bucket;
	}
}

/* All entries that lie one behind the other, and the newest. */
static struct jset *walk_journal(struct walk *w, const struct super *super)
{
	size_t block = geometry_block_bytes(&w->g), bucket = (size_t)w->g.bucket_sectors * SECTOR_BYTES;
	struct jset *newest = NULL;

	for (unsigned i = 0; i < min((unsigned)super->keys, SUPER_KEYS_MAX); i++) {
		uint64_t number = w->g.first_bucket + i;
		char *start = number < w->g.nr_buckets ? bytes_at(w->cache, geometry_sector(&w->g, number), w->g.bucket_sectors) : NULL;
		size_t at = 0;

		while (start && at + sizeof(struct jset) <= bucket) {
			struct jset *j = (struct jset *)(start + at);

			if (j->magic != (w->m->set_magic ^ JSET_MAGIC) || jset_bytes(j) > min(bucket - at, (size_t)JSET_BYTES_MAX))
				break;
			if (w->seal)
				j->csum = jset_csum(j);
			collect(w, STRUCTURE_JSET, j, min(bucket - at, jset_bytes(j) + 64));
			if (!newest || j->seq >= newest->seq)
				newest = j;
			at += round_up_u64(jset_bytes(j), block);
		}
	}
	return newest;
}

static void walk(struct images *m, bool seal, bool collecting)
{
	struct walk w = { .m = m, .cache = &m->image[IMAGE_CACHE], .seal = seal, .collect = collecting };
	struct super *super = bytes_at(w.cache, SUPER_SECTOR, SUPER_BYTES / SECTOR_BYTES);
	struct jset *newest;
	char text[200];
	struct printbuf why = PRINTBUF(text);

	for (unsigned i = 0; i < m->nr; i++) {
		struct super *s = bytes_at(&m->image[i], SUPER_SECTOR, SUPER_BYTES / SECTOR_BYTES);

		if (seal && s->keys <= SUPER_KEYS_MAX)
			super_seal(s);
		collect(&w, STRUCTURE_SUPER, s, offsetof(struct super, rest));
	}
	if (super_validate(super, &(struct super_limits){ .device_sectors = w.cache->nr_sectors }, &why) < 0 || super_is_backing(super))
		return;
	super_geometry(super, &w.g);
	if (collecting)
		m->set_magic = super_set_magic(super);
	newest = walk_journal(&w, super);
	if (!newest)
		return;
	walk_prios(&w, newest->prio_bucket[0]);
	if (collecting)
		collect(&w, STRUCTURE_UUIDS, bytes_at(w.cache, ptr_sector(newest->uuid_bucket.k.ptr[0]), w.g.meta_bytes / SECTOR_BYTES),
			w.g.meta_bytes);
	if (bkey_ptrs(&newest->btree_root.k) <= BKEY_PTRS_MAX)
		walk_node(&w, &newest->btree_root.k, newest->btree_level, 0);
}

void images_seal(struct images *m)
{
	walk(m, true, false);
}

/* --- loading -------------------------------------------------------------------------------------------------------- */

static uint32_t get32(const uint8_t **p)
{
	uint32_t v;

	memcpy(&v, *p, sizeof(v));
	*p += sizeof(v);
	return v;
}

static void load_image(struct image *i, const uint8_t **p)
{
	uint64_t sectors;
	uint32_t runs;

	memcpy(&sectors, *p, sizeof(sectors));
	*p += sizeof(sectors);
	runs = get32(p);
	i->nr_sectors = sectors;
	i->bytes = must(calloc(sectors, SECTOR_BYTES));
	while (runs--) {
		uint32_t sector = get32(p), len = get32(p);

		memcpy(i->bytes + (size_t)sector * SECTOR_BYTES, *p, len);
		*p += len;
	}
	for (uint32_t page = 0; page < sectors / PAGE_SECTORS; page++) {
		static const uint8_t zeros[PAGE_BYTES];

		if (!memcmp(i->bytes + (size_t)page * PAGE_BYTES, zeros, PAGE_BYTES))
			continue;
		i->pages = must(realloc(i->pages, (i->nr_pages + 1) * sizeof(*i->pages)));
		i->pages[i->nr_pages++] = page;
	}
}

unsigned images_nr_bases(void)
{
	return ARRAY_SIZE(files);
}

struct images *images_base(unsigned n)
{
	static const char *const paths[IMAGES_MAX] = { "/sim/cache", "/sim/backing0", "/sim/backing1" };
	struct images *m = &bases[n];
	const uint8_t *p = files[n];

	if (m->nr)
		return m;
	m->nr = get32(&p);
	for (unsigned i = 0; i < m->nr; i++) {
		struct image *im = &m->image[i];

		im->path = paths[i];
		load_image(im, &p);
		pristine[n][i] = must(malloc(im->nr_pages * PAGE_BYTES));
		for (size_t j = 0; j < im->nr_pages; j++)
			memcpy(pristine[n][i] + j * PAGE_BYTES, im->bytes + (size_t)im->pages[j] * PAGE_BYTES, PAGE_BYTES);
	}
	walk(m, false, true);
	return m;
}

static void restore(struct images *m)
{
	for (unsigned i = 0; i < m->nr; i++)
		for (size_t j = 0; j < m->image[i].nr_pages; j++)
			memcpy(m->image[i].bytes + (size_t)m->image[i].pages[j] * PAGE_BYTES, pristine[m - bases][i] + j * PAGE_BYTES,
			       PAGE_BYTES);
}

/* --- booting -------------------------------------------------------------------------------------------------------- */

static int open_disk(struct bcf *b, const char *path, struct blkdev **ret, struct printbuf *why)
{
	struct images *m = b->options.ctx;

	for (unsigned i = 0; i < m->nr; i++)
		if (!strcmp(path, m->image[i].path))
			return blk_sim_open(m->image[i].disk, false, ret);
	pr(why, "no disk %s", path);
	return -ENOENT;
}

static void hangs(struct timer *t)
{
	fprintf(stderr, "fuzz: hangs, a day has passed\n");
	engine_dump_fibers(engine_self());
	abort();
}

static int boot_main(void *arg)
{
	struct boot *boot = arg;
	struct bcf_options options = { .shutdown_timeout_s = 365 * 24 * 3600, .ctx = boot->m };
	bool verbose = getenv("FUZZ_VERBOSE");
	struct timer hang;

	timer_init(&hang, hangs);
	timer_arm_ns(&hang, HANG_NS);
	if (bcf_new(&options, &boot->b) < 0)
		abort();
	boot->b->open_device = open_disk;
	for (unsigned n = 0; n < boot->m->nr; n++) {
		const char *path = boot->m->image[(n + boot->seed) % boot->m->nr].path;
		char text[500] = "";
		struct printbuf why = PRINTBUF(text);
		int r = bcf_register(boot->b, path, false, &why);

		if (verbose)
			fprintf(stderr, "register %s: %d %s\n", path, r, text);
		if (r < 0 && !*text && r != -ENOMEM) {
			fprintf(stderr, "fuzz: %s refused (%d) without a reason\n", path, r);
			abort();
		}
	}
	boot->c = list_first(&boot->b->csets, struct cset, link);
	boot->body(boot);
	bcf_stop(boot->b);
	timer_cancel(&hang);
	return 0;
}

void images_boot(struct boot *boot)
{
	struct engine *e;

	log_set_level(getenv("FUZZ_VERBOSE") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	for (unsigned i = 0; i < boot->m->nr; i++) {
		struct image *im = &boot->m->image[i];
		struct blk_sim_options o = { .name = im->path, .nr_sectors = im->nr_sectors };

		im->disk = blk_sim_new(&o);
		for (size_t j = 0; j < im->nr_pages; j++)
			blk_sim_poke(im->disk, im->pages[j] * (uint64_t)PAGE_SECTORS, im->bytes + (size_t)im->pages[j] * PAGE_BYTES,
				     PAGE_SECTORS);
	}
	if (engine_sim_new(boot->seed, &e) < 0)
		abort();
	if (engine_run(e, boot_main, boot) < 0) {
		fprintf(stderr, "fuzz: %s\n", engine_sim_deadlocked(e) ? "deadlock" : "the engine stopped by itself");
		engine_dump_fibers(e);
		abort();
	}
	engine_sim_free(e);
	for (unsigned i = 0; i < boot->m->nr; i++) {
		blk_sim_free(boot->m->image[i].disk);
		boot->m->image[i].disk = NULL;
	}
	restore(boot->m);
}
