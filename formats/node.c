/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/node.h"
#include "formats/crc64.h"
#include "formats/printbuf.h"

/*
 * How many set headers behind a torn set are worth a checksum. Blocks of a torn append carry the node's seq only by a
 * 2^-64 accident, so more than a few are an attack or damage, and checking each of them would take quadratic time.
 */
#define TORN_CANDIDATES_MAX 16u

/* Blocks are the unit of the log; a fraction of one at the end of an odd-sized node is never used. */
static uint32_t log_bytes(const struct node_view *v)
{
	return (uint32_t)round_down_u64(v->node_bytes, v->block_bytes);
}

static bool in_log(const struct node_view *v, uint32_t offset_bytes)
{
	return offset_bytes < log_bytes(v) && node_set_at(v, offset_bytes)->seq == node_set_at(v, 0)->seq;
}

static int set_validate(const struct node_view *v, uint32_t offset_bytes, struct printbuf *why)
{
	return bset_validate(node_set_at(v, offset_bytes), log_bytes(v) - offset_bytes, v->set_magic, v->key->ptr[0],
			     why);
}

static int bound_validate(const struct node_view *v, const struct bset *s, struct printbuf *why)
{
	for (const struct bkey *k = bset_first(s); k != bset_end(s); k = bkey_next(k)) {
		if (bkey_cmp(k, v->key) <= 0)
			continue;
		pr(why, "key ");
		bkey_to_text(why, k);
		pr(why, " ends above the node's bound %u:%llu", bkey_inode(v->key),
		   (unsigned long long)bkey_offset(v->key));
		return -EUCLEAN;
	}
	return 0;
}

/* One set of the log, wholly. The reason names the place first. */
static int log_entry_validate(const struct node_view *v, uint32_t offset_bytes, struct printbuf *why)
{
	char text[256];
	struct printbuf reason = PRINTBUF(text);
	int r = set_validate(v, offset_bytes, &reason);

	if (!r && offset_bytes && !node_set_at(v, offset_bytes)->nr_words) {
		pr(&reason, "empty set that is not the first");
		r = -EUCLEAN;
	}
	if (!r)
		r = bound_validate(v, node_set_at(v, offset_bytes), &reason);
	if (r < 0)
		pr(why, "at byte %u of the node: %s", offset_bytes, text);
	return r;
}

/*
 * A header is within one sector and so is never torn itself: if magic and version are not right, the block was not written
 * by an append of ours.
 */
static bool unfinished(const struct node_view *v, uint32_t offset_bytes)
{
	const struct bset *s = node_set_at(v, offset_bytes);

	return s->magic == bset_magic(v->set_magic) && s->version <= BSET_VERSION &&
	       (bset_bytes(s) > log_bytes(v) - offset_bytes || bset_csum(s, v->key->ptr[0]) != s->csum);
}

/*
 * Appends are waited for one by one, so only the last one can be torn. A good set behind a bad one proves that the bad one
 * was complete once: that is damage, and what it held must not be forgotten.
 */
static bool is_torn_tail(const struct node_view *v, uint32_t offset_bytes)
{
	unsigned nr_candidates = 0;

	if (!offset_bytes || !unfinished(v, offset_bytes))
		return false;
	for (uint32_t at = offset_bytes + v->block_bytes; at < log_bytes(v); at += v->block_bytes) {
		if (!in_log(v, at) || node_set_at(v, at)->magic != bset_magic(v->set_magic))
			continue;
		if (++nr_candidates > TORN_CANDIDATES_MAX || set_validate(v, at, NULL) == 0)
			return false;
	}
	return true;
}

/* Would the set be good if it carried the node's seq? Then its seq is damaged and the log does not really end here. */
static bool only_seq_is_wrong(const struct node_view *v, uint32_t offset_bytes)
{
	const struct bset *s = node_set_at(v, offset_bytes);
	uint64_t csum = s->version ? v->key->ptr[0] : UINT64_MAX;

	if (s->magic != bset_magic(v->set_magic) || s->version > BSET_VERSION ||
	    bset_bytes(s) > log_bytes(v) - offset_bytes)
		return false;
	csum = crc64_update(csum, &s->magic, sizeof(s->magic));
	csum = crc64_update(csum, &node_set_at(v, 0)->seq, sizeof(s->seq));
	csum = crc64_update(csum, &s->version, bset_bytes(s) - offsetof(struct bset, version));
	return ~csum == s->csum;
}

/* Nothing of this node may lie behind the end of its log. Garbage with another seq is an earlier tenant of the bucket. */
static int end_validate(const struct node_view *v, uint32_t end_bytes, struct printbuf *why)
{
	if (end_bytes < log_bytes(v) && only_seq_is_wrong(v, end_bytes)) {
		pr(why, "at byte %u of the node: bad seq %016llx in a set of this node", end_bytes,
		   (unsigned long long)node_set_at(v, end_bytes)->seq);
		return -EBADMSG;
	}
	for (uint32_t at = end_bytes; at < log_bytes(v); at += v->block_bytes)
		if (in_log(v, at)) {
			pr(why, "at byte %u of the node: a block of this node behind the end of its log at byte %u", at,
			   end_bytes);
			return -EUCLEAN;
		}
	return 0;
}

static int header_validate(const struct node_view *v, struct printbuf *why)
{
	assert(v->block_bytes >= SECTOR_BYTES);
	if (!bkey_ptrs(v->key))
		pr(why, "node key without a pointer");
	else if (!log_bytes(v))
		pr(why, "node of %u bytes, smaller than a block of %u", v->node_bytes, v->block_bytes);
	else if (!node_set_at(v, 0)->seq)
		pr(why, "at byte 0 of the node: bad header, seq is 0");
	else
		return 0;
	return -EUCLEAN;
}

int node_validate(const struct node_view *v, bool accept_torn, struct node_extent *ret, struct printbuf *why)
{
	struct node_extent extent = { 0 };
	int r = header_validate(v, why);

	if (r < 0)
		return r;
	while (in_log(v, extent.valid_bytes)) {
		r = log_entry_validate(v, extent.valid_bytes, why);
		if (r < 0 && accept_torn && is_torn_tail(v, extent.valid_bytes)) {
			extent.torn_tail = true;
			*ret = extent;
			return 0;
		}
		if (r < 0)
			return r;
		extent.valid_bytes = node_next_set(v, extent.valid_bytes);
		extent.nr_sets++;
	}
	r = end_validate(v, extent.valid_bytes, why);
	if (r < 0)
		return r;
	*ret = extent;
	return 0;
}
