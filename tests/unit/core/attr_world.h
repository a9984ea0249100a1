/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A small world for tests of the control tree, built in memory without running anything: one set, a device attached to it (dev0), one
 * that waits for another set (dev1), and a volume (dev2). What control files call is replaced by stubs that note the call.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "core/admin/ctl.h"
#include "core/writeback/batch.h"
#include "core/writeback/throttle.h"
#include "core/admin/log.h"
#include "core/set/orphan.h"
#include "core/set/volume.h"
#include "tests/unit/core/unit.h"

#define SET_UUID "11111111-2222-3333-4444-555555555555"
#define DEV0_UUID "f7fe0084-7c8b-4975-8d90-f231fc8d1c69"
#define OTHER_UUID "99999999-2222-3333-4444-555555555555"
#define VOLUME_UUID "9be00000-0000-0000-0000-000000000001"
#define NOW_NS (1000 * NS_PER_S)

struct world {
	struct bcf b;
	struct cset set;
	struct bdev d[3];
	struct super set_super, super[2];
	struct blkdev cache, backing[2];
	struct uuid_entry uuids[4];
	struct bdev *by_slot[4];
	struct slot slots[4];
	struct bucket buckets[1024];
	struct bnode root;
	char calls[4096]; /* what the stubs were asked to do, "name(arg) ..." */
	int result;	  /* what they answer */
	void (*on_lock)(void);
};
static struct world w;

static void called(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void called(const char *fmt, ...)
{
	size_t len = strlen(w.calls);
	va_list args;

	va_start(args, fmt);
	vsnprintf(w.calls + len, sizeof(w.calls) - len, fmt, args);
	va_end(args);
}

static void parse(const char *text, uint8_t uuid[16])
{
	assert_int_equal(uuid_parse(text, uuid), 0);
}

static void make_backing(unsigned n, const char *path, const char *uuid, const char *set_uuid, enum bdev_state state)
{
	struct bdev *d = &w.d[n];

	w.backing[n] = (struct blkdev){ .path = (char *)path, .nr_sectors = 524288 };
	w.super[n].version = SUPER_BACKING;
	parse(uuid, w.super[n].uuid);
	parse(set_uuid, w.super[n].set_uuid);
	super_set_state(&w.super[n], state);
	d->backing = &w.backing[n];
	d->super = &w.super[n];
	d->nr_sectors = 524272;
}

static void make_set(void)
{
	struct cset *c = &w.set;

	c->bcf = &w.b;
	c->state = CSET_RUNNING;
	c->super = &w.set_super;
	c->cache = &w.cache;
	w.cache = (struct blkdev){ .path = (char *)"/data/ssd.img", .can_discard = true };
	w.set_super.version = SUPER_CACHE;
	parse(SET_UUID, w.set_super.set_uuid);
	strcpy(c->uuid_text, SET_UUID);
	super_set_sync(&w.set_super, true);
	c->g = (struct geometry){ .block_sectors = 1, .bucket_sectors = 256, .bucket_shift = 8, .nr_buckets = 1024, .first_bucket = 1,
				  .node_sectors = 256, .nr_uuids = 4 };
	c->alloc.buckets = w.buckets;
	c->alloc.epoch = PRIO_INITIAL;
	c->uuids = w.uuids;
	c->devices = w.by_slot;
	c->slots = w.slots;
	c->cutoff_writeback = 40;
	c->cutoff_writeback_sync = 70;
	c->btree.root = &w.root;
	c->journal.oldest_seq = 5;
	c->journal.seq = 10;
	list_add_tail(&w.b.csets, &c->link);
}

static void join_set(unsigned n, uint32_t slot, const char *uuid, const char *label, uint32_t flags)
{
	w.d[n].set = &w.set;
	w.d[n].inode = slot;
	w.by_slot[slot] = &w.d[n];
	parse(uuid, w.uuids[slot].uuid);
	memcpy(w.uuids[slot].label, label, strlen(label));
	w.uuids[slot].flags = flags;
}

static int world_new(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	memset(&w, 0, sizeof(w));
	list_init(&w.b.csets);
	list_init(&w.b.bdevs);
	w.b.started_ns = NOW_NS - 123456 * NS_PER_MS;
	make_set();
	make_backing(0, "/data/hdd.img", DEV0_UUID, SET_UUID, BDEV_STATE_DIRTY);
	make_backing(1, "/data/other/vda", "f7fe0084-0000-4975-8d90-f231fc8d1c69", OTHER_UUID, BDEV_STATE_CLEAN);
	join_set(0, 0, DEV0_UUID, "data", 0);
	memcpy(w.super[0].label, "data", 4);
	join_set(2, 3, VOLUME_UUID, "vol\n", UUID_FLASH_ONLY);
	w.d[2].nr_sectors = 8192;
	for (unsigned i = 0; i < 3; i++) {
		w.d[i].bcf = &w.b;
		w.d[i].number = i;
		snprintf(w.d[i].name, sizeof(w.d[i].name), "dev%u", i);
		list_add_tail(&w.b.bdevs, &w.d[i].link);
		if (w.d[i].super)
			attr_apply_defaults(ATTR_DIR_BDEV, &(struct attr_object){ .b = &w.b, .d = &w.d[i], .c = w.d[i].set });
	}
	attr_apply_defaults(ATTR_DIR_SET, &(struct attr_object){ .b = &w.b, .c = &w.set });
	attr_apply_defaults(ATTR_DIR_INTERNAL, &(struct attr_object){ .b = &w.b, .c = &w.set });
	w.d[0].running = w.d[2].running = true;
	w.d[0].writeback.running = w.d[1].writeback.running = true; /* as writeback_init() leaves it */
	w.d[0].writeback.rate.rate = 1024;
	return 0;
}

/* --- using it ------------------------------------------------------------------------------------------------------------ */

static const char *show(const char *path)
{
	static char text[65536];
	struct printbuf pb = PRINTBUF(text);
	int r = bcf_ctl_show(&w.b, path, &pb);

	if (r < 0)
		snprintf(text, sizeof(text), "%s", strerrorname_np(-r));
	return text;
}
#define check_show(path, want) check_text(path, show(path), want)

static int store_bytes(const char *path, const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1); /* its exact size, so that a sanitizer sees a read behind its end */
	int r;

	memcpy(copy, text, len);
	r = bcf_ctl_store(&w.b, path, copy, len);
	free(copy);
	return r;
}
static int store(const char *path, const char *text) { return store_bytes(path, text, strlen(text)); }
#define check_store(path, text, want) check_case(path " <- " text, store(path, text), want)

/* --- stubs --------------------------------------------------------------------------------------------------------------- */

uint64_t engine_now_ns(void) { return NOW_NS; }
uint64_t engine_real_s(void) { return 1769860800; /* 2026-01-31T12:00:00Z */ }
uint64_t engine_random_u64(void) { return 0; }
void offload(void (*fn)(void *), void *arg) { fn(arg); }
void no_yield_begin(void) { }
void no_yield_end(void) { }
void fmutex_lock(struct fmutex *m)
{
	assert_null(m->owner);
	m->owner = (struct fiber *)1;
	if (w.on_lock)
		w.on_lock();
}
void fmutex_unlock(struct fmutex *m)
{
	assert_non_null(m->owner);
	m->owner = NULL;
}
void bdev_hold(struct bdev *d) { d->holds++; }
void cset_hold(struct cset *c) { c->holds++; }
bool cset_try_hold(struct cset *c) { cset_hold(c); return true; }
void cset_release(struct cset *c) { assert_true(c->holds-- > 0); }
void bdev_release(struct bdev *d) { assert_true(d->holds-- > 0); }
uint64_t bcf_dev_size_bytes(const struct bdev *d) { return d->nr_sectors * SECTOR_BYTES; }
int bcf_register(struct bcf *b, const char *path, bool quiet, struct printbuf *why)
{
	called("register(%s%s)", path, quiet ? ",quiet" : "");
	if (w.result < 0)
		pr(why, "%s: Bad checksum", path);
	return w.result;
}
int bdev_write_super(struct bdev *d) { return 0; }
int bdev_set_cache_mode(struct bdev *d, enum cache_mode m)
{
	assert_true(d->holds > 0);
	if (w.result == 0)
		super_set_cache_mode(d->super, m);
	called("set_cache_mode(%s,%d)", d->name, m);
	return w.result;
}
int bdev_set_label(struct bdev *d, const char *label, size_t len)
{
	char *at = d->super ? d->super->label : d->set->uuids[d->inode].label;

	assert_true(d->holds > 0);
	memset(at, 0, LABEL_BYTES);
	memcpy(at, label, len);
	called("set_label(%s,%.*s)", d->name, (int)len, label);
	return w.result;
}
int bdev_run(struct bdev *d)
{
	assert_true(d->holds > 0 && d->bcf->admin.owner);
	called("run(%s)", d->name);
	return d->running ? -EBUSY : w.result;
}
int bdev_attach(struct bdev *d, struct cset *c, bool explicit_set, struct printbuf *why)
{
	assert_true(d->holds > 0 && d->bcf->admin.owner && explicit_set);
	called("attach(%s,%s)", d->name, c->uuid_text);
	if (w.result < 0)
		pr(why, "already attached");
	return w.result;
}
int volume_create(struct cset *c, uint64_t bytes, struct printbuf *why)
{
	assert_true(c->holds > 0 && c->bcf->admin.owner);
	called("volume_create(%llu)", (unsigned long long)bytes);
	return w.result;
}
int volume_resize(struct bdev *d, uint64_t bytes, struct printbuf *why)
{
	assert_true(d->holds > 0 && d->bcf->admin.owner);
	called("volume_resize(%s,%llu)", d->name, (unsigned long long)bytes);
	return w.result;
}
int volume_remove(struct bdev *d, bool force, struct printbuf *why)
{
	assert_true(d->holds > 0 && d->bcf->admin.owner);
	called("volume_remove(%s%s)", d->name, force ? ",force" : "");
	return w.result;
}
int uuid_slot_find(const struct cset *c, const uint8_t uuid[16])
{
	for (uint32_t i = 0; i < c->g.nr_uuids; i++)
		if (!memcmp(c->uuids[i].uuid, uuid, 16))
			return (int)i;
	return -1;
}
uint64_t slot_dirty_sectors(const struct cset *c, uint32_t slot) { return c->slots[slot].dirty_sectors; }
uint64_t slot_cached_sectors(const struct cset *c, uint32_t slot) { return c->slots[slot].cached_sectors; }
uint64_t slots_all_dirty_sectors(const struct cset *c) { return 2048; }
int slot_forget(struct cset *c, uint32_t slot, bool discard, struct printbuf *why)
{
	assert_true(c->holds > 0 && c->bcf->admin.owner);
	called("forget(%u%s)", slot, discard ? ",discard" : "");
	return w.result;
}
int bdev_readopt(struct bdev *d, struct cset *c, uint32_t slot, struct printbuf *why)
{
	assert_true(d->holds > 0 && c->holds > 0 && d->bcf->admin.owner);
	called("readopt(%s,%s,%u)", d->name, c->uuid_text, slot);
	return w.result;
}
void bdev_detach(struct bdev *d)
{
	d->detaching = true;
	called("detach(%s)", d->name);
}
void bdev_stop(struct bdev *d)
{
	d->closing = true;
	called("stop(%s)", d->name);
}
void cset_stop(struct cset *c, bool unregister) { called("cset_stop(%s)", unregister ? "unregister" : "stop"); }
int cset_write_super(struct cset *c)
{
	called("write_super(flags=%llu)", (unsigned long long)c->super->flags);
	return w.result;
}
void writeback_wake(struct bdev *d) { called("wake(%s)", d->name); }
void throttle_restart(struct bdev *d) { called("throttle_restart(%s)", d->name); }
unsigned writeback_batch_inflight(const struct writeback_batch *b, uint64_t *ret_sectors)
{
	*ret_sectors = 384;
	return 2;
}
void writeback_batch_text(const struct writeback_batch *b, struct printbuf *out) { pr(out, "read 1048576 131072 3\n"); }
int writeback_flush(struct bdev *d)
{
	called("flush(%s)", d->name);
	return d->set ? w.result : -ENOTCONN;
}
void gc_trigger(struct cset *c) { called("gc_trigger()"); }
int gc_run(struct cset *c)
{
	called("gc_run()");
	return w.result;
}
int journal_flush(struct cset *c)
{
	called("journal_flush()");
	return w.result;
}
int blk_flush(struct blkdev *d)
{
	called("blk_flush(%s)", d->path);
	return 0;
}
unsigned btree_shrink(struct cset *c, unsigned nr)
{
	called("btree_shrink(%u)", nr);
	return nr;
}
int btree_set_cache_max(struct cset *c, uint64_t bytes)
{
	called("btree_set_cache_max(%llu)", (unsigned long long)bytes);
	return w.result;
}
uint64_t btree_cache_max_bytes(const struct cset *c) { return MIB(128); }
/* One node, whose statistics are the kernel's sample; one leaf, with three keys: [0, 8) dirty, [8, 16) without data, [16, 24) a placeholder. */
int btree_for_each_node(struct cset *c, int (*fn)(void *ctx, struct bnode *n), void *ctx)
{
	static struct bnode n;

	assert_int_equal(c->holds, 1);
	return w.result ? w.result : fn(ctx, &n);
}
void bkeys_stats_add(const struct bkeys *b, struct bkeys_stats *st)
{
	*st = (struct bkeys_stats){ .written_sets = 2, .open_sets = 1, .written_bytes = 72168, .open_bytes = 2928, .lines = 561, .ties = 3 };
}
int btree_leaf(struct cset *c, struct bpos pos, struct bnode **ret)
{
	static struct bnode n;

	assert_int_equal(c->holds, 1);
	bkey_init(&n.key.k, BPOS_MAX.inode, BPOS_MAX.offset, 512);
	*ret = &n;
	return w.result;
}
void bkeys_iter_init(struct bkeys_iter *it, const struct bkeys *b, struct bpos from)
{
	it->nr = from.offset >= 24 ? 0 : 3 - (unsigned)from.offset / 8;
	it->heap[0].k = (struct bkey *)it; /* bkeys_iter_next(): leaf keys */
}
static struct bkey *leaf_key(unsigned i, struct bkey *k)
{
	bkey_init(k, 1, 8 * (i + 1), 8);
	bkey_set_ptrs(k, i != 1);
	bkey_set_dirty(k, i == 0);
	k->ptr[0] = i == 2 ? ptr_make(PTR_DEV_CHECK, 0, 7) : ptr_make(0, 100 * w.set.g.bucket_sectors + 8 * i, 3);
	return k;
}
uint64_t btree_memory_bytes(const struct cset *c) { return KIB(128); }
void alloc_resize_freelist(struct cset *c) { called("resize_freelist(%u)", c->alloc.freelist_percent); }
void open_buckets_resize(struct cset *c) { called("open_buckets(%u)", c->open_buckets.nr_wanted); }
void alloc_wake(struct cset *c) { called("alloc_wake(%u)", c->alloc.prio_write_s); }
unsigned alloc_in_use_percent(const struct cset *c) { return 11; }
bool extent_live(const struct cset *c, const struct bkey *k) { return bkey_ptrs(k); }
/* The root node's keys: 100 words in live keys, one dead key. */
void bkeys_iter_init_all(struct bkeys_iter *it, const struct bkeys *b)
{
	it->nr = 34;
	it->heap[0].k = NULL;
}
struct bkey *bkeys_iter_next(struct bkeys_iter *it)
{
	static struct bkey_buf k;

	if (!it->nr)
		return NULL;
	if (it->heap[0].k)
		return leaf_key(3 - it->nr--, &k.k);
	bkey_init(&k.k, 0, 8, 8);
	bkey_set_ptrs(&k.k, it->nr-- > 1);
	return &k.k;
}
