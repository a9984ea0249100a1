/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/bkey.h"
#include "formats/geometry.h"
#include "formats/printbuf.h"

static void set_pos(struct bkey *k, struct bpos at)
{
	bkey_set_inode(k, at.inode);
	bkey_set_offset(k, at.offset);
}

void bkey_cut_front(struct bkey *k, struct bpos at)
{
	uint32_t left = 0;

	if (bpos_cmp(at, bkey_start_pos(k)) <= 0)
		return;
	if (bpos_cmp(at, bkey_pos(k)) < 0)
		left = (uint32_t)(bkey_offset(k) - at.offset);
	else
		set_pos(k, at);
	for (unsigned i = 0; i < bkey_ptrs(k); i++)
		k->ptr[i] = ptr_add(k->ptr[i], bkey_size(k) - left);
	bkey_set_size(k, left);
}

void bkey_cut_back(struct bkey *k, struct bpos at)
{
	struct bpos start = bkey_start_pos(k);

	if (bpos_cmp(at, bkey_pos(k)) >= 0)
		return;
	set_pos(k, at);
	bkey_set_size(k, bpos_cmp(at, start) > 0 ? (uint32_t)(at.offset - start.offset) : 0);
}

/* Inode, flags and number of pointers: all of the first word except the size. */
static uint64_t kind(const struct bkey *k)
{
	uint64_t high = k->high;

	bits_set(&high, 20, 16, 0);
	return high;
}

bool bkey_mergeable(const struct bkey *l, const struct bkey *r, const struct geometry *g)
{
	if (!bkey_size(l) || !bkey_size(r) || kind(l) != kind(r) || bkey_offset(l) != bkey_start(r))
		return false;
	for (unsigned i = 0; i < bkey_ptrs(l); i++)
		if (ptr_add(l->ptr[i], bkey_size(l)) != r->ptr[i] ||
		    geometry_bucket(g, ptr_sector(l->ptr[i])) != geometry_bucket(g, ptr_sector(r->ptr[i])))
			return false;
	return true;
}

enum bkey_merge bkey_try_merge(struct bkey *l, struct bkey *r, const struct geometry *g)
{
	uint32_t grow = BKEY_SIZE_MAX - bkey_size(l);

	if (!bkey_mergeable(l, r, g) || !grow)
		return BKEY_MERGE_NONE;
	if (grow > bkey_size(r))
		grow = bkey_size(r);
	bkey_set_offset(l, bkey_offset(l) + grow);
	bkey_set_size(l, bkey_size(l) + grow);
	if (grow == bkey_size(r))
		return BKEY_MERGE_FULL;
	bkey_cut_front(r, bkey_pos(l));
	return BKEY_MERGE_PARTIAL;
}

uint32_t bkey_walk_words(const uint64_t *words, uint32_t nr_words)
{
	uint32_t at = 0;

	/* A key needs both header words before its length can be trusted. */
	while (nr_words - at >= 2) {
		const struct bkey *k = (const struct bkey *)(words + at);

		if (bkey_ptrs(k) > BKEY_PTRS_MAX || bkey_words(k) > nr_words - at)
			break;
		at += bkey_words(k);
	}
	return at;
}

/* Every reason names the culprit. */
static int bad_key(struct printbuf *why, const struct bkey *k, const char *what)
{
	pr(why, "%s: ", what);
	bkey_to_text(why, k);
	return -EUCLEAN;
}

static int bad_ptr(struct printbuf *why, const struct bkey *k, const struct geometry *g, unsigned i)
{
	uint64_t sector = ptr_sector(k->ptr[i]);
	uint64_t bucket = geometry_bucket(g, sector);

	if (bucket < g->first_bucket || bucket >= g->nr_buckets)
		pr(why, "pointer to bucket %llu, valid are %llu to %llu: ", (unsigned long long)bucket,
		   (unsigned long long)g->first_bucket, (unsigned long long)g->nr_buckets - 1);
	else
		pr(why, "pointer crosses the end of bucket %llu by %u sectors: ", (unsigned long long)bucket,
		   geometry_in_bucket(g, sector) + bkey_size(k) - g->bucket_sectors);
	bkey_to_text(why, k);
	return -EUCLEAN;
}

/* What extents and node pointers have in common. Unavailable pointers are not looked at: placeholders are random. */
static int ptrs_validate(const struct bkey *k, const struct geometry *g, struct printbuf *why)
{
	for (unsigned i = 0; i < bkey_ptrs(k); i++)
		if (ptr_available(k->ptr[i]) && !geometry_range_valid(g, ptr_sector(k->ptr[i]), bkey_size(k)))
			return bad_ptr(why, k, g, i);
	return 0;
}

int bkey_extent_validate(const struct bkey *k, const struct geometry *g, struct printbuf *why)
{
	if (bkey_ptrs(k) > BKEY_PTRS_MAX)
		return bad_key(why, k, "too many pointers");
	if (!bkey_size(k))
		return 0; /* leftover of an overwrite: nobody looks at the rest */
	if (bkey_offset(k) > BKEY_OFFSET_MAX)
		return bad_key(why, k, "end beyond 2^63 - 1");
	if (bkey_size(k) > bkey_offset(k))
		return bad_key(why, k, "extent starts before sector 0");
	return ptrs_validate(k, g, why);
}

int bkey_journal_validate(const struct bkey *k, const struct geometry *g, struct printbuf *why)
{
	if (!bkey_size(k))
		return bad_key(why, k, "empty extent in the journal");
	return bkey_extent_validate(k, g, why);
}

int bkey_node_validate(const struct bkey *k, const struct geometry *g, struct printbuf *why)
{
	if (bkey_ptrs(k) != 1)
		return bad_key(why, k, "node key without exactly one pointer");
	if (!bkey_size(k))
		return bad_key(why, k, "node key of size 0");
	if (bkey_dirty(k))
		return bad_key(why, k, "node key marked dirty");
	if (bkey_offset(k) > BKEY_OFFSET_MAX)
		return bad_key(why, k, "bound beyond 2^63 - 1");
	if (!ptr_available(k->ptr[0]))
		return bad_key(why, k, "node on a device that does not exist");
	if (geometry_in_bucket(g, ptr_sector(k->ptr[0])))
		return bad_key(why, k, "node not at the start of a bucket");
	return ptrs_validate(k, g, why);
}

static void ptr_to_text(struct printbuf *pb, uint64_t p)
{
	if (ptr_dev(p) == PTR_DEV_CHECK)
		pr(pb, "check dev");
	else
		pr(pb, "%u:%llu gen %u", ptr_dev(p), (unsigned long long)ptr_sector(p), ptr_gen(p));
}

void bkey_to_text(struct printbuf *pb, const struct bkey *k)
{
	unsigned nr_ptrs = min(bkey_ptrs(k), BKEY_PTRS_MAX); /* an unchecked key may be the last thing in its buffer */

	/* Signed: the start of a node key means nothing and may lie before 0. */
	pr(pb, "%u:%lld len %u -> [", bkey_inode(k), (long long)bkey_start(k), bkey_size(k));
	for (unsigned i = 0; i < nr_ptrs; i++) {
		if (i)
			pr(pb, ", ");
		ptr_to_text(pb, k->ptr[i]);
	}
	pr_char(pb, ']');
	if (bkey_dirty(k))
		pr(pb, " dirty");
	if (bkey_csum(k))
		pr(pb, " cs%u", bkey_csum(k));
}
