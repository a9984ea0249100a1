/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/model.h"
#include <stdlib.h>

/* Contents are shared by candidates and by their successors; a sector of zeros is everywhere, so it exists once. */
struct model_content {
	unsigned refs;
	uint8_t bytes[SECTOR_BYTES];
};

struct candidate {
	struct model_content *content;
	uint64_t until;	/* LIVE, or the time since which it is not current */
	uint8_t mask;	/* live: pending writes it contains */
	uint64_t direct; /* when the last write in it that may have bypassed the cache ended; LIVE: it has not */
	bool flips;	/* after a power cut: cache and backing device may disagree, among the candidates that flip */
};
#define LIVE UINT64_MAX

struct msector {
	struct candidate *cand;
	unsigned nr, cap;
	struct model_op *pending[MODEL_PENDING_MAX];
	uint64_t durable;	/* what died before this cannot come back */
	uint64_t changed;	/* when a write last began or ended */
};

struct model {
	uint64_t nr_sectors;
	unsigned dev;
	uint64_t now;		/* counts events */
	uint64_t flushed;	/* beginning of the newest flush that succeeded */
	struct model_read *reads;
	struct model_content *zero;
	struct msector *sectors;
};

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* --- contents ------------------------------------------------------------------------------------------------------- */

static struct model_content *content_get(struct model_content *c)
{
	c->refs++;
	return c;
}

static void content_put(struct model_content *c)
{
	if (!--c->refs)
		free(c);
}

static bool content_equal(const struct model_content *a, const struct model_content *b)
{
	return a == b || !memcmp(a->bytes, b->bytes, SECTOR_BYTES);
}

static uint64_t pattern_word(unsigned dev, uint32_t gen, uint64_t sector, unsigned word)
{
	return gen ? (uint64_t)gen << 32 | (sector & 0xffffff) << 8 | (dev & 3) << 6 | word : 0;
}

void model_pattern(unsigned dev, uint32_t gen, uint64_t offset, void *buf, size_t len)
{
	uint8_t *out = buf;

	while (len) {
		uint64_t word = pattern_word(dev, gen, offset / SECTOR_BYTES, offset % SECTOR_BYTES / 8);
		unsigned at = offset % 8;
		size_t n = min((size_t)(8 - at), len);

		memcpy(out, (uint8_t *)&word + at, n);
		out += n;
		offset += n;
		len -= n;
	}
}

/* The part of [offset, offset + len) that lies in a sector, as positions in it. */
static void part_in_sector(uint64_t sector, uint64_t offset, uint64_t len, unsigned *ret_from, unsigned *ret_to)
{
	uint64_t start = sector * SECTOR_BYTES, end = start + SECTOR_BYTES;

	*ret_from = offset > start ? (unsigned)(offset - start) : 0;
	*ret_to = offset + len < end ? (unsigned)(offset + len - start) : SECTOR_BYTES;
}

static bool covers(const struct model_op *op, uint64_t sector)
{
	unsigned from, to;

	part_in_sector(sector, op->offset_bytes, op->len_bytes, &from, &to);
	return !from && to == SECTOR_BYTES;
}

static struct model_content *content_after(struct model *m, const struct model_op *op, uint64_t sector, const struct model_content *old)
{
	struct model_content *c;
	unsigned from, to;

	if (!op->gen && covers(op, sector))
		return content_get(m->zero);
	part_in_sector(sector, op->offset_bytes, op->len_bytes, &from, &to);
	c = must(malloc(sizeof(*c)));
	c->refs = 1;
	memcpy(c->bytes, old->bytes, SECTOR_BYTES);
	model_pattern(m->dev, op->gen, sector * SECTOR_BYTES + from, c->bytes + from, to - from);
	return c;
}

/* --- candidates ----------------------------------------------------------------------------------------------------- */

static void candidate_remove(struct msector *s, unsigned i)
{
	content_put(s->cand[i].content);
	s->cand[i] = s->cand[--s->nr];
}

/* Takes over the reference to content. Equal ones are merged; the longer life counts. */
static void candidate_add(struct msector *s, struct candidate new)
{
	for (unsigned i = 0; i < s->nr; i++) {
		struct candidate *c = &s->cand[i];

		if ((c->until == LIVE) != (new.until == LIVE) || (c->until == LIVE && c->mask != new.mask) ||
		    !content_equal(c->content, new.content))
			continue;
		c->until = max(c->until, new.until);
		c->direct = max(c->direct, new.direct);
		c->flips |= new.flips;
		content_put(new.content);
		return;
	}
	if (s->nr == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 2;
		s->cand = must(realloc(s->cand, s->cap * sizeof(*s->cand)));
	}
	s->cand[s->nr++] = new;
}

static uint64_t oldest_read(const struct model *m)
{
	uint64_t t = UINT64_MAX;

	for (struct model_read *r = m->reads; r; r = r->next)
		t = min(t, r->begun);
	return t;
}

/* Can a power cut bring it back? */
static bool survivable(const struct model *m, const struct msector *s, const struct candidate *c)
{
	return c->until > max(m->flushed, s->durable);
}

static void prune(struct model *m, struct msector *s)
{
	uint64_t read = oldest_read(m);

	for (unsigned i = 0; i < s->nr;)
		if (!survivable(m, s, &s->cand[i]) && s->cand[i].until <= read)
			candidate_remove(s, i);
		else
			i++;
}

/* Duplicates can appear when masks or states of candidates change. */
static void merge_equal(struct msector *s)
{
	unsigned nr = s->nr;
	struct candidate *old = s->cand;

	s->cand = NULL;
	s->nr = s->cap = 0;
	for (unsigned i = 0; i < nr; i++)
		candidate_add(s, old[i]);
	free(old);
}

/* Everything that the pending writes can make of what there is. */
static void close_over_pending(struct model *m, struct msector *s, uint64_t sector)
{
	for (unsigned i = 0; i < s->nr; i++) /* grows while we walk */
		for (unsigned p = 0; p < MODEL_PENDING_MAX; p++) {
			struct candidate c = s->cand[i];

			if (!s->pending[p] || c.until != LIVE || c.mask & 1u << p)
				continue;
			c.content = content_after(m, s->pending[p], sector, c.content);
			c.mask |= (uint8_t)(1u << p);
			if (covers(s->pending[p], sector)) {
				c.direct = 0;
				c.flips = false;
			}
			if (s->pending[p]->direct)
				c.direct = LIVE;
			candidate_add(s, c);
		}
}

/* --- the public calls ----------------------------------------------------------------------------------------------- */

struct model *model_new(uint64_t nr_sectors, unsigned dev)
{
	struct model *m = must(calloc(1, sizeof(*m)));

	m->nr_sectors = nr_sectors;
	m->dev = dev;
	m->now = 1;
	m->zero = must(calloc(1, sizeof(*m->zero)));
	m->zero->refs = 1;
	m->sectors = must(calloc(nr_sectors, sizeof(*m->sectors)));
	for (uint64_t i = 0; i < nr_sectors; i++)
		candidate_add(&m->sectors[i], (struct candidate){ .content = content_get(m->zero), .until = LIVE });
	return m;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	for (uint64_t i = 0; i < m->nr_sectors; i++) {
		while (m->sectors[i].nr)
			candidate_remove(&m->sectors[i], 0);
		free(m->sectors[i].cand);
	}
	free(m->sectors);
	content_put(m->zero);
	free(m);
}

uint64_t model_bytes(const struct model *m)
{
	return m->nr_sectors * SECTOR_BYTES;
}

static uint64_t first_sector(uint64_t offset)
{
	return offset / SECTOR_BYTES;
}

static uint64_t end_sector(const struct model *m, uint64_t offset, uint64_t len)
{
	uint64_t end = div_round_up_u64(offset + len, SECTOR_BYTES);

	assert(len && end <= m->nr_sectors);
	return end;
}

void model_write_begin(struct model *m, struct model_op *op)
{
	uint64_t end = end_sector(m, op->offset_bytes, op->len_bytes);

	m->now++;
	for (uint64_t i = first_sector(op->offset_bytes); i < end; i++) {
		struct msector *s = &m->sectors[i];
		unsigned p = 0;

		prune(m, s);
		while (s->pending[p])
			p++;
		assert(p < MODEL_PENDING_MAX);
		s->pending[p] = op;
		s->changed = m->now;
		close_over_pending(m, s, i);
	}
}

static unsigned pending_slot(const struct msector *s, const struct model_op *op)
{
	unsigned p = 0;

	while (s->pending[p] != op)
		p++;
	assert(p < MODEL_PENDING_MAX);
	return p;
}

static bool other_direct(const struct msector *s, uint8_t mask, unsigned but)
{
	for (unsigned p = 0; p < MODEL_PENDING_MAX; p++)
		if (p != but && mask & 1u << p && s->pending[p]->direct)
			return true;
	return false;
}

void model_write_end(struct model *m, struct model_op *op, int error, bool durable)
{
	uint64_t end = end_sector(m, op->offset_bytes, op->len_bytes);

	m->now++;
	for (uint64_t i = first_sector(op->offset_bytes); i < end; i++) {
		struct msector *s = &m->sectors[i];
		unsigned p = pending_slot(s, op);

		for (unsigned k = 0; k < s->nr; k++) {
			struct candidate *c = &s->cand[k];

			if (c->until != LIVE)
				continue;
			if (!error && !(c->mask & 1u << p))
				c->until = m->now;
			if (error)
				c->flips = true; /* cache and backing device need not agree about a write that failed */
			if (!error && op->direct && c->mask & 1u << p && !other_direct(s, c->mask, p))
				c->direct = m->now;
			c->mask &= (uint8_t)~(1u << p);
		}
		s->pending[p] = NULL;
		s->changed = m->now;
		if (durable && !error)
			s->durable = m->now;
		merge_equal(s);
		prune(m, s);
	}
}

void model_read_begin(struct model *m, struct model_read *r)
{
	r->begun = m->now++;
	r->next = m->reads;
	r->prev = &m->reads;
	if (r->next)
		r->next->prev = &r->next;
	m->reads = r;
}

static void describe(struct printbuf *why, const struct model *m, uint64_t sector, unsigned at, const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes + (at & ~7u), 8);
	if (!word)
		pr(why, "zeros");
	else if ((word & 63) == at / 8 && (word >> 6 & 3) == m->dev && (word >> 8 & 0xffffff) == (sector & 0xffffff))
		pr(why, "gen %u", (unsigned)(word >> 32));
	else
		pr(why, "%016llx (as a stamp: device %u sector %llu word %u gen %u)", (unsigned long long)word, (unsigned)(word >> 6 & 3),
			  (unsigned long long)(word >> 8 & 0xffffff), (unsigned)(word & 63), (unsigned)(word >> 32));
}

static unsigned first_difference(const uint8_t *a, const uint8_t *b, unsigned from, unsigned to)
{
	while (from < to && a[from] == b[from])
		from++;
	return from;
}

static int mismatch(const struct model *m, uint64_t sector, const uint8_t *seen, unsigned from, unsigned to, uint64_t after, struct printbuf *why)
{
	const struct msector *s = &m->sectors[sector];
	const char *separator = " ";
	unsigned at = to;

	/* Where even the best candidate differs. */
	for (unsigned i = 0; i < s->nr; i++)
		if (s->cand[i].until > after)
			at = min(at, first_difference(s->cand[i].content->bytes, seen, from, to));
	pr(why, "dev%u sector %llu byte %u reads ", m->dev, (unsigned long long)sector, at);
	describe(why, m, sector, at, seen);
	pr(why, "; allowed:");
	for (unsigned i = 0; i < s->nr; i++) {
		if (s->cand[i].until <= after)
			continue;
		pr(why, "%s", separator);
		separator = ", ";
		describe(why, m, sector, at, s->cand[i].content->bytes);
		if (s->cand[i].until != LIVE)
			pr(why, " (overwritten)");
	}
	for (unsigned i = 0; i < s->nr; i++)
		if (s->cand[i].until <= after && !memcmp(s->cand[i].content->bytes + from, seen + from, to - from))
			pr(why, "; what it reads is an older content");
	return -EUCLEAN;
}

/* `after`: candidates that died before do not count. */
static int check(const struct model *m, uint64_t sector, const uint8_t *seen, unsigned from, unsigned to, uint64_t after, struct printbuf *why)
{
	const struct msector *s = &m->sectors[sector];

	for (unsigned i = 0; i < s->nr; i++)
		if (s->cand[i].until > after && !memcmp(s->cand[i].content->bytes + from, seen + from, to - from))
			return 0;
	return mismatch(m, sector, seen, from, to, after, why);
}

static int check_range(const struct model *m, uint64_t offset, const uint8_t *buf, size_t len, uint64_t after, struct printbuf *why)
{
	uint64_t end = end_sector(m, offset, len);

	for (uint64_t i = first_sector(offset); i < end; i++) {
		uint8_t sector[SECTOR_BYTES];
		unsigned from, to;
		int r;

		part_in_sector(i, offset, len, &from, &to);
		memset(sector, 0, sizeof(sector));
		memcpy(sector + from, buf + (i * SECTOR_BYTES + from - offset), to - from);
		r = check(m, i, sector, from, to, after, why);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Nothing is pending and `seen` is what the sector held at some moment since it last changed: the other live candidates are not
 * current, and have not been since that change. Candidates that flip stay together.
 */
static void settle(struct msector *s, const uint8_t *seen)
{
	bool flips = false;

	for (unsigned i = 0; i < s->nr; i++)
		if (s->cand[i].until == LIVE && !memcmp(s->cand[i].content->bytes, seen, SECTOR_BYTES))
			flips = s->cand[i].flips;
	for (unsigned i = 0; i < s->nr; i++)
		if (s->cand[i].until == LIVE && !(flips && s->cand[i].flips) && memcmp(s->cand[i].content->bytes, seen, SECTOR_BYTES))
			s->cand[i].until = s->changed;
}

static bool is_quiet(const struct msector *s, uint64_t since)
{
	for (unsigned p = 0; p < MODEL_PENDING_MAX; p++)
		if (s->pending[p])
			return false;
	return s->changed <= since;
}

int model_read_end(struct model *m, struct model_read *r, uint64_t offset, const void *buf, size_t len, struct printbuf *why)
{
	int error;

	m->now++;
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	if (!len)
		return 0;
	error = check_range(m, offset, buf, len, r->begun, why);
	if (error < 0)
		return error;
	for (uint64_t i = div_round_up_u64(offset, SECTOR_BYTES); (i + 1) * SECTOR_BYTES <= offset + len; i++)
		if (is_quiet(&m->sectors[i], r->begun))
			settle(&m->sectors[i], (const uint8_t *)buf + (i * SECTOR_BYTES - offset));
	return 0;
}

int model_check(const struct model *m, uint64_t offset, const void *buf, size_t len, struct printbuf *why)
{
	return check_range(m, offset, buf, len, LIVE - 1, why);
}

void model_allow(struct model *m, uint64_t sector, const void *bytes)
{
	struct model_content *c = must(malloc(sizeof(*c)));

	c->refs = 1;
	memcpy(c->bytes, bytes, SECTOR_BYTES);
	candidate_add(&m->sectors[sector], (struct candidate){ .content = c, .until = LIVE });
}

void model_adopt(struct model *m, uint64_t sector, const void *bytes)
{
	struct msector *s = &m->sectors[sector];

	for (unsigned p = 0; p < MODEL_PENDING_MAX; p++)
		assert(!s->pending[p]);
	while (s->nr)
		candidate_remove(s, 0);
	s->durable = s->changed = ++m->now;
	model_allow(m, sector, bytes);
}

int model_check_own(const struct model *m, uint64_t sector, const void *bytes, uint32_t gen, struct printbuf *why)
{
	unsigned gen_bytes = div_round_up_u64(log2_u64(gen | 1) + 1, 8);

	for (unsigned i = 0; i < SECTOR_BYTES; i++) {
		uint64_t place = pattern_word(m->dev, 1, sector, i / 8);
		uint8_t seen = ((const uint8_t *)bytes)[i], due = ((const uint8_t *)&place)[i % 8];

		if (!seen || (i % 8 < 4 ? seen == due : i % 8 < 4 + gen_bytes))
			continue;
		pr(why, "dev%u sector %llu byte %u reads what was never written there: ", m->dev, (unsigned long long)sector, i);
		describe(why, m, sector, i, bytes);
		return -EUCLEAN;
	}
	return 0;
}

void model_flush_begin(struct model *m, struct model_flush *f)
{
	f->begun = m->now++;
}

void model_flush_end(struct model *m, struct model_flush *f, int error)
{
	m->now++;
	if (!error)
		m->flushed = max(m->flushed, f->begun);
}

void model_process_dies(struct model *m)
{
	m->now++;
	m->reads = NULL;
	for (uint64_t i = 0; i < m->nr_sectors; i++) {
		struct msector *s = &m->sectors[i];
		bool direct = false;

		prune(m, s);
		memset(s->pending, 0, sizeof(s->pending));
		for (unsigned k = 0; k < s->nr; k++)
			direct |= s->cand[k].direct > max(m->flushed, s->durable);
		for (unsigned k = 0; k < s->nr; k++) {
			s->cand[k].until = LIVE;
			s->cand[k].mask = 0;
			s->cand[k].flips |= direct;
			if (s->cand[k].direct == LIVE)
				s->cand[k].direct = m->now;
		}
		s->changed = m->now;
		merge_equal(s);
	}
}

void model_crash(struct model *m)
{
	model_process_dies(m);
	for (uint64_t i = 0; i < m->nr_sectors; i++)
		for (unsigned k = 0; k < m->sectors[i].nr; k++)
			m->sectors[i].cand[k].direct = 0;
	/* What is there after the crash is durable: the next one cannot bring anything else. */
	m->flushed = m->now;
}

uint64_t model_time(const struct model *m)
{
	return m->now;
}

uint64_t model_ambiguous_sectors(const struct model *m)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < m->nr_sectors; i++)
		n += m->sectors[i].nr > 1;
	return n;
}
