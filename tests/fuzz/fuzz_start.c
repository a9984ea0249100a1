/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A hostile image: edits to a base, checksums made right, then recovery, reading everything, writing a little, gc, an orderly stop. Errors
 * are fine. Crashes, asserts, hangs, leaks and refusals without a reason are not.
 *
 * Input: base, flags, seed, writes; then edits of 16 bytes. The last edits come after the checksums when flags say so.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/images.h"
#include "core/space/gc.h"
#include "core/util/prng.h"
#include <stdlib.h>

enum { FLAG_RAW_LAST = 128, FLAG_GC = 2, FLAG_SLEEP = 4, FLAG_WRITEBACK = 8 };
#define READ_BYTES_MAX KIB(512)
#define EDITS_MAX 64

struct edit {
	uint8_t kind, op;
	uint16_t index, offset, arg;
	uint64_t value;
};
static_assert(sizeof(struct edit) == 16, "as the input has them");

/* The words of keys, by number, of a journal entry or a set. */
static struct bkey *key_of(uint8_t *at, size_t len, enum structure_kind kind, unsigned n, uint32_t **ret_nr_words)
{
	uint64_t *words = kind == STRUCTURE_JSET ? ((struct jset *)at)->words : ((struct bset *)at)->words;
	uint32_t nr, left = (uint32_t)((at + len - (uint8_t *)words) / 8);

	if (kind == STRUCTURE_JSET && n % 8 == 7) { /* the two in the header */
		*ret_nr_words = NULL;
		return n % 16 == 7 ? &((struct jset *)at)->uuid_bucket.k : &((struct jset *)at)->btree_root.k;
	}
	*ret_nr_words = kind == STRUCTURE_JSET ? &((struct jset *)at)->nr_words : &((struct bset *)at)->nr_words;
	nr = min(**ret_nr_words, left);
	for (unsigned turns = 0; turns < 2; turns++)
		for (uint32_t w = 0; w + 3 <= nr; w += bkey_words((struct bkey *)(words + w)))
			if (!n--)
				return (struct bkey *)(words + w);
	return nr + 3 <= left ? (struct bkey *)(words + nr) : NULL; /* behind the last */
}

static void set_key_field(struct bkey *k, unsigned field, uint64_t v)
{
	switch (field % 12) {
	case 0: bkey_set_inode(k, (uint32_t)v); break;
	case 1: bkey_set_size(k, (uint32_t)v); break;
	case 2: bkey_set_dirty(k, v & 1); break;
	case 3: bkey_set_csum(k, v & 3); break;
	case 4: bkey_set_ptrs(k, v & 7); break;
	case 5: bkey_set_offset(k, v); break;
	case 6: k->low += v; break;
	case 7: k->ptr[0] = ptr_make(ptr_dev(k->ptr[0]), v & ((1ull << 43) - 1), ptr_gen(k->ptr[0])); break;
	case 8: k->ptr[0] = ptr_make(v & 4095, ptr_sector(k->ptr[0]), ptr_gen(k->ptr[0])); break;
	case 9: k->ptr[0] = (k->ptr[0] & ~255ull) | (v & 255); break;
	case 10: k->ptr[0] = v; break;
	case 11: k->high = v; break;
	}
}

static void edit_key(const struct images *m, const struct structure *s, enum structure_kind kind, const struct edit *e)
{
	uint32_t *nr_words, *unused;
	struct bkey *k = key_of(s->at, s->len_bytes, kind, e->offset, &nr_words);
	const struct structure *from = &m->found[kind][(e->value >> 16) % m->nr_found[kind]];

	if (!k)
		return;
	switch (e->op >> 4 & 3) {
	case 0:
	case 1:
		set_key_field(k, e->arg, e->value);
		break;
	case 2: /* another key in its place */
		k = memcpy(k, key_of(from->at, from->len_bytes, kind, e->value & 0xffff, &unused) ?: k, 24);
		break;
	case 3: /* one more behind the last, like this one */
		if (nr_words && *nr_words <= (s->len_bytes - (kind == STRUCTURE_JSET ? sizeof(struct jset) : sizeof(struct bset))) / 8 - 3) {
			uint64_t *end = (kind == STRUCTURE_JSET ? ((struct jset *)s->at)->words : ((struct bset *)s->at)->words) + *nr_words;

			memmove(end, k, 24);
			bkey_set_ptrs((struct bkey *)end, 1);
			set_key_field((struct bkey *)end, e->arg, e->value);
			*nr_words += 3;
		}
		break;
	}
}

static void edit(const struct images *m, const struct edit *e)
{
	enum structure_kind kind = e->kind % NR_STRUCTURE_KINDS;
	const struct structure *s;
	uint8_t *at;

	if (!m->nr_found[kind])
		return;
	/* From the end: the newest of journal entries and sets are what counts. */
	s = &m->found[kind][(m->nr_found[kind] - 1 - e->index % m->nr_found[kind])];
	at = s->at + e->offset % (s->len_bytes - 7);
	switch (e->op % 8) {
	case 0: memcpy(at, &e->value, 8); break;
	case 1: memcpy(at, &e->value, 4); break;
	case 2: memcpy(at, &e->value, 2); break;
	case 3: *at ^= (uint8_t)e->value; break;
	case 4: {
		uint64_t v;

		at = s->at + e->offset * 8u % (s->len_bytes - 7) / 8 * 8;
		memcpy(&v, at, 8);
		v += (uint64_t)(int64_t)(int16_t)e->arg;
		memcpy(at, &v, 8);
		break;
	}
	case 5: memset(at, (int)(e->value & 255), min((size_t)e->arg, (size_t)(s->at + s->len_bytes - at))); break;
	default:
		if (kind == STRUCTURE_JSET || kind == STRUCTURE_BSET)
			edit_key(m, s, kind, e);
		else
			memcpy(at, &e->value, 1);
	}
}

static void read_all(struct bcf *b)
{
	struct bdev *d;
	uint8_t *buf = malloc(KIB(64));

	for (unsigned n = 0; (d = bcf_dev_nth(b, n)); n++) {
		struct bcf_io io = { .pid = 1, .handle = 1 };

		if (bcf_dev_open(d) < 0)
			continue;
		for (uint64_t at = 0; at < min(bcf_dev_size_bytes(d), READ_BYTES_MAX); at += KIB(64))
			if (bcf_read(d, buf, KIB(64), at, &io) < 0 && d->io_disable)
				break;
		bcf_dev_close(d);
	}
	free(buf);
}

static void write_some(struct bcf *b, uint64_t seed, unsigned nr)
{
	static uint8_t buf[KIB(16)];
	struct prng r = prng_seeded(seed);

	while (nr--) {
		struct bdev *d = bcf_dev_nth(b, (unsigned)prng_below(&r, 2));
		struct bcf_io io = { .pid = 1, .handle = prng_u64(&r), .sync = prng_one_in(&r, 4) };
		uint64_t at, len;

		if (!d || bcf_dev_open(d) < 0)
			continue;
		at = prng_below(&r, max(1ull, min(bcf_dev_size_bytes(d), READ_BYTES_MAX)));
		len = 1 + prng_below(&r, sizeof(buf));
		if (!prng_one_in(&r, 3))
			at = at / SECTOR_BYTES * SECTOR_BYTES, len = round_up_u64(len, SECTOR_BYTES);
		if (prng_one_in(&r, 6))
			ignore_result(bcf_zero(d, at, len)); /* errors are fine */
		else
			ignore_result(bcf_write(d, buf, len, at, &io) < 0);
		if (prng_one_in(&r, 4))
			ignore_result(bcf_flush(d));
		bcf_dev_close(d);
	}
}

static void live(struct boot *boot)
{
	unsigned flags = boot->data[1];
	struct cset *c = boot->c;

	if (c)
		cset_hold(c);
	read_all(boot->b);
	if (c)
		ignore_result(btree_check(c, NULL));
	write_some(boot->b, boot->seed, boot->data[3] & 31);
	if (c && flags & FLAG_GC && c->state == CSET_RUNNING)
		ignore_result(gc_run(c));
	if (flags & FLAG_SLEEP)
		fiber_sleep_ns(40 * NS_PER_S);
	if (flags & FLAG_GC)
		read_all(boot->b);
	if (c)
		ignore_result(btree_check(c, NULL));
	if (c)
		cset_release(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot boot = { .body = live, .data = data, .size = size };
	size_t nr;

	if (size < 4)
		return -1;
	boot.m = images_base(data[0] % images_nr_bases());
	boot.seed = data[2];
	nr = min((size - 4) / sizeof(struct edit), (size_t)EDITS_MAX);
	for (size_t i = 0; i < nr; i++) {
		struct edit e;

		if (i + 1 == nr && data[1] & FLAG_RAW_LAST)
			images_seal(boot.m);
		memcpy(&e, data + 4 + i * sizeof(e), sizeof(e));
		edit(boot.m, &e);
	}
	if (!(data[1] & FLAG_RAW_LAST))
		images_seal(boot.m);
	images_boot(&boot);
	return 0;
}
