/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/bset.h"
#include "formats/crc64.h"
#include "formats/printbuf.h"

uint64_t bset_csum(const struct bset *s, uint64_t node_ptr)
{
	const void *covered = &s->magic;
	size_t len_bytes = bset_bytes(s) - sizeof(s->csum);

	if (s->version == 0)
		return crc64_csum(covered, len_bytes);
	return ~crc64_update(node_ptr, covered, len_bytes);
}

uint32_t bset_walk_words(const struct bset *s)
{
	return bkey_walk_words(s->words, s->nr_words);
}

int bset_validate(const struct bset *s, size_t avail_bytes, uint64_t set_magic, uint64_t node_ptr,
		  struct printbuf *why)
{
	uint64_t csum;

	if (avail_bytes < sizeof(*s)) {
		pr(why, "no room for a set header: %zu bytes", avail_bytes);
		return -EUCLEAN;
	}
	if (s->magic != bset_magic(set_magic)) {
		pr(why, "bad magic %016llx, need %016llx", (unsigned long long)s->magic,
		   (unsigned long long)bset_magic(set_magic));
		return -EBADMSG;
	}
	if (s->version > BSET_VERSION) {
		pr(why, "unsupported set version %u", s->version);
		return -EUCLEAN;
	}
	if (bset_bytes(s) > avail_bytes) {
		pr(why, "set of %zu bytes does not fit the %zu left", bset_bytes(s), avail_bytes);
		return -EUCLEAN;
	}
	csum = bset_csum(s, node_ptr);
	if (s->csum != csum) {
		pr(why, "bad checksum %016llx, computed %016llx over %u words", (unsigned long long)s->csum,
		   (unsigned long long)csum, s->nr_words);
		return -EBADMSG;
	}
	if (bset_walk_words(s) != s->nr_words) {
		pr(why, "malformed key at word %u of %u", bset_walk_words(s), s->nr_words);
		return -EUCLEAN;
	}
	return 0;
}

static int order_bad(struct printbuf *why, const char *what, const struct bkey *prev, const struct bkey *k)
{
	pr(why, "%s: ", what);
	bkey_to_text(why, prev);
	pr(why, " before ");
	bkey_to_text(why, k);
	return -EUCLEAN;
}

/* Empty extents obey the order of starts, but may lie inside others: they are what an overwrite left behind. */
static int leaf_order_validate(const struct bset *s, struct printbuf *why)
{
	const struct bkey *prev = NULL, *prev_data = NULL;

	for (const struct bkey *k = bset_first(s); k != bset_end(s); k = bkey_next(k)) {
		if (prev && bpos_cmp(bkey_start_pos(prev), bkey_start_pos(k)) > 0)
			return order_bad(why, "keys out of order", prev, k);
		prev = k;
		if (!bkey_size(k))
			continue;
		if (prev_data && bpos_cmp(bkey_pos(prev_data), bkey_start_pos(k)) > 0)
			return order_bad(why, "keys overlap", prev_data, k);
		prev_data = k;
	}
	return 0;
}

int bset_order_validate(const struct bset *s, bool leaf, struct printbuf *why)
{
	const struct bkey *prev = NULL;

	if (leaf)
		return leaf_order_validate(s, why);
	for (const struct bkey *k = bset_first(s); k != bset_end(s); k = bkey_next(k)) {
		/* Equal bounds are normal: a retired child and its replacement (format.md §10.3). */
		if (prev && bkey_cmp(prev, k) > 0)
			return order_bad(why, "keys out of order", prev, k);
		prev = k;
	}
	return 0;
}
