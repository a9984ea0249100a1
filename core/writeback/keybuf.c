/* SPDX-License-Identifier: GPL-2.0-only */
/* A sorted array: it is searched by every write of a device that has dirty data, and filled once per 500 keys. */
#include "core/writeback/keybuf.h"

void keybuf_init(struct keybuf *b)
{
	b->nr = b->next = 0;
	b->last_scanned = 0;
}

void keybuf_add(struct keybuf *b, const struct bkey *k)
{
	assert(!keybuf_full(b));
	assert(!b->nr || bkey_offset(&b->keys[b->nr - 1].key.k) <= bkey_offset(k));
	bkey_copy(&b->keys[b->nr].key.k, k);
	b->keys[b->nr].dropped = false;
	b->nr++;
}

unsigned keybuf_waiting(const struct keybuf *b)
{
	unsigned n = 0;

	for (unsigned i = b->next; i < b->nr; i++)
		n += !b->keys[i].dropped;
	return n;
}

struct keybuf_key *keybuf_start(struct keybuf *b)
{
	while (b->next < b->nr) {
		struct keybuf_key *e = &b->keys[b->next++];

		if (!e->dropped)
			return e;
	}
	return NULL;
}

void keybuf_retire(struct keybuf *b)
{
	b->nr -= b->next;
	memmove(b->keys, b->keys + b->next, b->nr * sizeof(b->keys[0]));
	b->next = 0;
}

void keybuf_drop_waiting(struct keybuf *b) { b->nr = b->next; }

void keybuf_truncate(struct keybuf *b, unsigned nr)
{
	assert(b->next <= nr && nr <= b->nr);
	b->nr = nr;
}

/* First key that ends behind sector. */
static unsigned keybuf_search(const struct keybuf *b, uint64_t sector)
{
	unsigned lo = 0, hi = b->nr;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (bkey_offset(&b->keys[mid].key.k) > sector)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/*
 * Both walks go by END and stop at the first live key that begins behind the range: live keys do not overlap, so none after it reaches
 * back. A dropped key says nothing about its successors (the key that replaced it may begin before it).
 */
bool keybuf_started(const struct keybuf *b, uint64_t start, uint64_t end)
{
	for (unsigned i = keybuf_search(b, start); i < b->next; i++)
		if (!b->keys[i].dropped)
			return bkey_start(&b->keys[i].key.k) < end;
	return false;
}

bool keybuf_overlaps(struct keybuf *b, uint64_t start, uint64_t end)
{
	for (unsigned i = max(keybuf_search(b, start), b->next); i < b->nr; i++) {
		if (b->keys[i].dropped)
			continue;
		if (bkey_start(&b->keys[i].key.k) >= end)
			break;
		b->keys[i].dropped = true;
	}
	return keybuf_started(b, start, end);
}
