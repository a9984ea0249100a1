/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * internal/verify (behaviour.md §10.2): what was written of a node is read back and compared with memory.
 *
 * On disk a node is a log, in memory its sets have been merged and cut; both are brought into one form (one set, neighbours merged, no empty
 * extents) and compared word for word. So this proves that a restart would find the very mapping that lookups see now. The writer fiber does it
 * after each write; a node that has changed in memory meanwhile is left to the check after its next write.
 */
#include <stdlib.h>

#include "core/admin/log.h"
#include "core/btree/internal.h"

#define DUMP_KEYS 12

struct form {
	void *buf;
	struct bkeys keys;
};

static int form_init(struct form *f, const struct bnode *n)
{
	*f = (struct form){ 0 };
	if (posix_memalign(&f->buf, PAGE_BYTES, n->keys.buf_bytes))
		return -ENOMEM;
	return bkeys_init(&f->keys, &n->c->g, f->buf, n->keys.buf_bytes, n->keys.leaf);
}

static void form_release(struct form *f)
{
	bkeys_release(&f->keys);
	free(f->buf);
}

static int canonical(struct form *f, const struct bnode *n, const struct bkeys *keys)
{
	int r = form_init(f, n);

	if (r < 0)
		return r;
	bkeys_open_set(&f->keys, 0, 0, 0);
	bkeys_sort_into(keys, &f->keys, NULL, NULL);
	return 0;
}

static int differs(struct bnode *n, const char *what)
{
	return cset_error(n->c, "verify: btree node of level %u at sector %llu of '%s': %s", n->level,
			  (unsigned long long)ptr_sector(n->key.k.ptr[0]), n->c->cache->path, what);
}

static void dump_from(const char *side, const struct bset *s, size_t words)
{
	const struct bkey *k = bset_first(s);

	while (k < bset_end(s) && (const uint64_t *)bkey_next(k) <= s->words + words)
		k = bkey_next(k);
	for (unsigned i = 0; i < DUMP_KEYS && k < bset_end(s); i++, k = bkey_next(k)) {
		char text[160];
		struct printbuf pb = PRINTBUF(text);

		bkey_to_text(&pb, k);
		log_error("verify: %s: %s", side, text);
	}
}

static int compare_forms(struct bnode *n, const struct bset *memory, const struct bset *disk)
{
	uint32_t words = min(memory->nr_words, disk->nr_words), same = 0;

	while (same < words && memory->words[same] == disk->words[same])
		same++;
	if (same == memory->nr_words && same == disk->nr_words)
		return 0;
	dump_from("memory", memory, same);
	dump_from("disk", disk, same);
	return differs(n, "what is on the disk is not what is in memory (both are in the log)");
}

static int compare_keys(struct bnode *n, const struct bkeys *from_disk)
{
	struct form memory = { 0 }, disk = { 0 };
	int r = canonical(&memory, n, &n->keys);

	if (!r)
		r = canonical(&disk, n, from_disk);
	if (!r)
		r = compare_forms(n, memory.keys.sets[0].set, disk.keys.sets[0].set);
	form_release(&memory);
	form_release(&disk);
	return r;
}

static int compare_image(struct bnode *n, const void *image)
{
	struct cset *c = n->c;
	struct node_view view = { .image = image, .node_bytes = n->keys.buf_bytes, .block_bytes = geometry_block_bytes(&c->g),
				  .set_magic = c->set_magic, .key = &n->key.k };
	char reason[256];
	struct printbuf why = PRINTBUF(reason);
	struct node_extent extent;
	struct form disk;
	int r = node_validate(&view, false, &extent, &why);

	if (r < 0)
		return differs(n, reason);
	if (extent.valid_bytes != n->written_blocks * view.block_bytes)
		return differs(n, "not as many sets on the disk as were written");
	r = form_init(&disk, n);
	if (!r && bkeys_load(&disk.keys, &view, extent.nr_sets, &why) < 0)
		r = differs(n, reason);
	if (!r)
		r = compare_keys(n, &disk.keys);
	form_release(&disk);
	return r;
}

static bool at_rest(const struct bnode *n) { return !n->dirty && !n->writing && !n->must_move && !n->dead && !n->no_append; }

void bnode_verify(struct bnode *n)
{
	struct cset *c = n->c;
	uint32_t written_blocks = n->written_blocks;
	void *image;
	int r;

	if (!at_rest(n) || posix_memalign(&image, PAGE_BYTES, n->keys.buf_bytes))
		return;
	r = blk_read(c->cache, ptr_sector(n->key.k.ptr[0]), image, bnode_sectors(n));
	cset_io_done(c, "btree verify", r);
	if (!r && at_rest(n) && n->written_blocks == written_blocks && !c->io_disable) {
		ignore_result(compare_image(n, image)); /* no memory: unverified; else the set has failed */
		c->btree.nr_verified++;
	}
	free(image);
}
