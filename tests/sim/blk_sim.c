/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Contents are two sparse page maps, visible and durable; a page missing in the first is as in the second, there it is zeros.
 * An unflushed write is one or two *pieces*. A piece *lands* when it becomes visible and then gets the next number of a sequence.
 * Durable sectors remember the number they came from, so pieces may be made durable in any order: an older one never
 * overwrites a newer one.
 */
#include "tests/sim/blk_sim.h"
#include "core/util/iov.h"
#include "tests/sim/engine_sim.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LEAF_PAGES 512
#define MAX_FAULTS 32
#define RUBBISH 0xa5

struct page {
	char data[PAGE_BYTES];
	uint64_t seq[PAGE_SECTORS]; /* durable map only */
};

struct leaf {
	struct page *pages[LEAF_PAGES];
};

struct page_map {
	struct leaf **leaves;
	size_t nr_leaves;
};

struct piece {
	struct list link; /* flying, or cached */
	uint64_t sector, nr_sectors;
	uint64_t landed;    /* sequence number; 0: not visible yet */
	uint64_t completed; /* number of its completion; 0: in flight */
	bool lost;	    /* a failed flush dropped it: visible, but no flush makes it durable */
	char fill;	    /* when data is NULL */
	char *data;
};

struct blk_sim {
	struct blk_sim_options o;
	char *name;
	struct page_map visible, durable;
	struct page_map older; /* what sectors held before (seq: is there something?); kept only for lies */
	struct list flying, cached; /* pieces; cached ones in order of completion */
	uint64_t cached_bytes;
	uint64_t landings, completions, changes;
	struct blk_sim_fault faults[MAX_FAULTS];
	size_t nr_faults;
	struct blk_sim_stats stats;
	struct sim_handle *handle;
};

struct sim_handle {
	struct blkdev dev;
	struct blk_sim *sim;
	struct engine *engine;
};

enum { READ_EARLY = 1, FLUSHING = 2, CORRUPT = 4, FLUSH_FAILS = 8, READ_STALE = 16, READ_ELSEWHERE = 32 };

/* What a bio is to us, in bio->priv. */
struct flight {
	struct timer timer;
	struct piece *pieces[2];
	uint64_t covers; /* completions a flush makes durable; of a corrupt read: the sector; READ_ELSEWHERE: where */
	int error;
	unsigned flags;
};
static_assert(sizeof(struct flight) <= sizeof(((struct bio *)0)->priv), "state fits in the bio");

static void *must(void *mem)
{
	if (!mem) {
		fprintf(stderr, "blk_sim: out of memory\n");
		abort();
	}
	return mem;
}

/* --- page maps ------------------------------------------------------------------------------------------------------ */

static void map_init(struct page_map *m, uint64_t nr_sectors)
{
	m->nr_leaves = div_round_up_u64(nr_sectors, LEAF_PAGES * PAGE_SECTORS);
	m->leaves = must(calloc(max(m->nr_leaves, (size_t)1), sizeof(*m->leaves)));
}

static struct page *map_find(const struct page_map *m, uint64_t page)
{
	struct leaf *l = m->leaves[page / LEAF_PAGES];

	return l ? l->pages[page % LEAF_PAGES] : NULL;
}

static struct page *map_make(struct page_map *m, uint64_t page, const struct page *like)
{
	struct leaf **l = &m->leaves[page / LEAF_PAGES];
	struct page **p;

	if (!*l)
		*l = must(calloc(1, sizeof(**l)));
	p = &(*l)->pages[page % LEAF_PAGES];
	if (*p)
		return *p;
	*p = must(malloc(sizeof(**p)));
	if (like)
		memcpy(*p, like, sizeof(**p));
	else
		memset(*p, 0, sizeof(**p));
	return *p;
}

static void map_clear(struct page_map *m)
{
	for (size_t i = 0; i < m->nr_leaves; i++) {
		for (size_t j = 0; m->leaves[i] && j < LEAF_PAGES; j++)
			free(m->leaves[i]->pages[j]);
		free(m->leaves[i]);
		m->leaves[i] = NULL;
	}
}

static void map_release(struct page_map *m)
{
	map_clear(m);
	free(m->leaves);
}

static void map_copy(struct page_map *to, const struct page_map *from)
{
	for (size_t i = 0; i < from->nr_leaves; i++)
		for (size_t j = 0; from->leaves[i] && j < LEAF_PAGES; j++)
			if (from->leaves[i]->pages[j])
				map_make(to, i * LEAF_PAGES + j, from->leaves[i]->pages[j]);
}

/* --- contents ------------------------------------------------------------------------------------------------------- */

/* Sectors of [sector, end) that lie in its first page. */
static unsigned in_page(uint64_t sector, uint64_t end)
{
	return (unsigned)min(end - sector, PAGE_SECTORS - sector % PAGE_SECTORS);
}

static const struct page *visible_page(const struct blk_sim *s, uint64_t page)
{
	const struct page *p = map_find(&s->visible, page);

	return p ? p : map_find(&s->durable, page);
}

static void copy_out(const struct page *p, uint64_t sector, unsigned n, char *to)
{
	if (p)
		memcpy(to, p->data + sector % PAGE_SECTORS * SECTOR_BYTES, n * SECTOR_BYTES);
	else
		memset(to, 0, n * SECTOR_BYTES);
}

static void piece_copy(const struct piece *pc, uint64_t sector, unsigned n, struct page *p)
{
	char *to = p->data + sector % PAGE_SECTORS * SECTOR_BYTES;

	if (pc->data)
		memcpy(to, pc->data + (sector - pc->sector) * SECTOR_BYTES, n * SECTOR_BYTES);
	else
		memset(to, pc->fill, n * SECTOR_BYTES);
}

/* n sectors of a page are about to be overwritten. */
static void keep_older(struct blk_sim *s, uint64_t sector, unsigned n)
{
	struct page *p;
	unsigned at = sector % PAGE_SECTORS;

	if (!s->o.may_lie)
		return;
	p = map_make(&s->older, sector / PAGE_SECTORS, NULL);
	copy_out(visible_page(s, sector / PAGE_SECTORS), sector, n, p->data + at * SECTOR_BYTES);
	for (unsigned i = 0; i < n; i++)
		p->seq[at + i] = 1;
}

static void copy_out_older(struct blk_sim *s, uint64_t sector, unsigned n, char *to)
{
	const struct page *p = map_find(&s->older, sector / PAGE_SECTORS);
	unsigned at = sector % PAGE_SECTORS;

	for (unsigned i = 0; p && i < n; i++)
		if (p->seq[at + i])
			memcpy(to + i * SECTOR_BYTES, p->data + (at + i) * SECTOR_BYTES, SECTOR_BYTES);
}

static void land(struct blk_sim *s, struct piece *pc)
{
	uint64_t end = pc->sector + pc->nr_sectors;

	if (pc->landed)
		return;
	s->changes++;
	pc->landed = ++s->landings;
	for (uint64_t sector = pc->sector, n; sector < end; sector += n) {
		uint64_t page = sector / PAGE_SECTORS;

		n = in_page(sector, end);
		if (!pc->data && !pc->fill && !visible_page(s, page))
			continue; /* zeros already */
		keep_older(s, sector, (unsigned)n);
		piece_copy(pc, sector, (unsigned)n, map_make(&s->visible, page, map_find(&s->durable, page)));
	}
}

/* Of the n sectors in page p, how many from the first on are older (or all newer) than the piece: one run. */
static unsigned same_age(const struct page *p, uint64_t sector, unsigned n, uint64_t landed, bool *ret_older)
{
	const uint64_t *seq = &p->seq[sector % PAGE_SECTORS];
	unsigned i = 1;

	*ret_older = seq[0] < landed;
	while (i < n && (seq[i] < landed) == *ret_older)
		i++;
	return i;
}

/* Make sectors [from, to) of the piece durable, except where something newer is. */
static void persist_range(struct blk_sim *s, const struct piece *pc, uint64_t from, uint64_t to)
{
	for (uint64_t sector = from, n; sector < to; sector += n) {
		struct page *p = map_make(&s->durable, sector / PAGE_SECTORS, NULL);
		bool older;

		n = same_age(p, sector, in_page(sector, to), pc->landed, &older);
		if (!older)
			continue;
		piece_copy(pc, sector, (unsigned)n, p);
		for (uint64_t i = 0; i < n; i++)
			p->seq[sector % PAGE_SECTORS + i] = pc->landed;
	}
}

static void persist(struct blk_sim *s, const struct piece *pc)
{
	s->changes++;
	persist_range(s, pc, pc->sector, pc->sector + pc->nr_sectors);
}

/* --- pieces --------------------------------------------------------------------------------------------------------- */

static struct piece *piece_new(struct blk_sim *s, const struct bio *bio, uint64_t skip_sectors, uint64_t nr_sectors)
{
	struct piece *pc = must(malloc(sizeof(*pc)));

	s->changes++;
	*pc = (struct piece){ .sector = bio->sector + skip_sectors, .nr_sectors = nr_sectors };
	if (bio->op == BIO_WRITE) {
		pc->data = must(malloc(nr_sectors * SECTOR_BYTES));
		iov_gather(pc->data, bio->iov, bio->nr_iov, skip_sectors * SECTOR_BYTES, nr_sectors * SECTOR_BYTES);
	}
	list_add_tail(&s->flying, &pc->link);
	return pc;
}

static void piece_free(struct piece *pc)
{
	list_del(&pc->link);
	free(pc->data);
	free(pc);
}

static void uncache(struct blk_sim *s, struct piece *pc)
{
	s->cached_bytes -= pc->nr_sectors * SECTOR_BYTES;
	piece_free(pc);
}

static void write_through_oldest(struct blk_sim *s)
{
	uint64_t limit = s->o.cache_bytes ? s->o.cache_bytes : MIB(64);
	struct piece *pc;

	while (s->cached_bytes > limit && (pc = list_first(&s->cached, struct piece, link))) {
		persist(s, pc);
		uncache(s, pc);
	}
}

static void piece_complete(struct blk_sim *s, struct piece *pc, bool durable)
{
	land(s, pc);
	pc->completed = ++s->completions;
	list_del(&pc->link);
	if (durable) {
		persist(s, pc);
		piece_free(pc);
		return;
	}
	list_add_tail(&s->cached, &pc->link);
	s->cached_bytes += pc->nr_sectors * SECTOR_BYTES;
	write_through_oldest(s);
}

/* prng: the flush failed, and each write it covered is either durable or lost. */
static void flush_covered(struct blk_sim *s, uint64_t covers, struct prng *prng)
{
	struct piece *pc, *tmp;

	list_for_each_safe(pc, tmp, &s->cached, link) {
		if (pc->completed > covers)
			break;
		if (prng && prng_one_in(prng, 2)) {
			s->changes++;
			pc->lost = true;
		}
		if (pc->lost)
			continue;
		persist(s, pc);
		uncache(s, pc);
	}
}

/* --- faults and power ----------------------------------------------------------------------------------------------- */

static bool fault_matches(const struct blk_sim_fault *f, const struct bio *bio)
{
	if (!(f->ops & BLK_SIM_OP(bio->op)))
		return false;
	if (!f->nr_sectors)
		return true;
	return bio->op != BIO_FLUSH && bio->sector < f->sector + f->nr_sectors && f->sector < bio->sector + bio->nr_sectors;
}

/* Where a misdirected read goes. */
static uint64_t elsewhere(const struct blk_sim *s, const struct blk_sim_fault *f, const struct bio *bio)
{
	uint64_t sector = f->elsewhere % (s->o.nr_sectors - bio->nr_sectors);

	return sector + (sector >= bio->sector); /* the place itself would be the truth */
}

static bool lie_is_possible(struct blk_sim *s, const struct blk_sim_fault *f, const struct bio *bio)
{
	char truth[SECTOR_BYTES], lie[SECTOR_BYTES];

	if (f->lie == BLK_SIM_TRUTH)
		return true;
	if (bio->op != BIO_READ || !s->o.may_lie || bio->nr_sectors >= s->o.nr_sectors)
		return false;
	copy_out(visible_page(s, bio->sector / PAGE_SECTORS), bio->sector, 1, truth);
	memcpy(lie, truth, sizeof(lie));
	if (f->lie == BLK_SIM_STALE)
		copy_out_older(s, bio->sector, 1, lie);
	else
		copy_out(visible_page(s, elsewhere(s, f, bio) / PAGE_SECTORS), elsewhere(s, f, bio), 1, lie);
	return memcmp(truth, lie, sizeof(lie)) && s->o.may_lie(s->o.ctx, bio->sector, truth, lie);
}

static const struct blk_sim_fault *fault_find(struct blk_sim *s, const struct bio *bio)
{
	const struct blk_sim_fault *hit = NULL;

	for (size_t i = 0; i < s->nr_faults; i++) {
		struct blk_sim_fault *f = &s->faults[i];
		uint64_t n;

		if (!fault_matches(f, bio) || !lie_is_possible(s, f, bio))
			continue;
		n = (*(f->counter ? f->counter : &f->nr_matched))++;
		if (!hit && n >= f->skip && (!f->count || n - f->skip < f->count))
			hit = f;
	}
	s->stats.nr_faults += hit != NULL;
	return hit;
}

/* One more event; true: the power is off. */
static bool power_event(struct sim_handle *h)
{
	struct blk_sim_power *power = h->sim->o.power;

	if (!power)
		return false;
	if (power->off)
		return true;
	power->nr_events++;
	if (power->on_event)
		power->on_event(power);
	if (power->nr_events == power->cut_at) {
		power->off = true;
		engine_stop(h->engine);
	}
	return power->off;
}

/* --- bios ----------------------------------------------------------------------------------------------------------- */

static struct sim_handle *handle(struct blkdev *dev)
{
	return container_of(dev, struct sim_handle, dev);
}

static struct flight *flight(struct bio *bio)
{
	return (struct flight *)bio->priv;
}

static struct prng *prng(struct bio *bio)
{
	return engine_sim_device_prng(handle(bio->dev)->engine);
}

static uint64_t latency_ns(struct bio *bio)
{
	const struct blk_sim_options *o = &handle(bio->dev)->sim->o;
	uint64_t lo = o->max_latency_ns ? o->min_latency_ns : 20 * NS_PER_US;
	uint64_t hi = o->max_latency_ns ? o->max_latency_ns : 200 * NS_PER_US;
	uint64_t ns = lo + prng_below(prng(bio), hi - lo + 1);

	if (prng_one_in(prng(bio), 64)) /* now and then one falls far behind the others */
		ns *= 20;
	return bio->op == BIO_FLUSH ? 4 * ns : ns;
}

static void read_now(struct blk_sim *s, struct bio *bio)
{
	char buf[PAGE_BYTES];
	uint64_t from = flight(bio)->flags & READ_ELSEWHERE ? flight(bio)->covers : bio->sector, end = from + bio->nr_sectors;

	for (uint64_t sector = from, n; sector < end; sector += n) {
		n = in_page(sector, end);
		copy_out(visible_page(s, sector / PAGE_SECTORS), sector, (unsigned)n, buf);
		if (flight(bio)->flags & READ_STALE)
			copy_out_older(s, sector, (unsigned)n, buf);
		iov_scatter(bio->iov, bio->nr_iov, (sector - from) * SECTOR_BYTES, buf, n * SECTOR_BYTES);
	}
}

static void lie(struct blk_sim *s, const struct blk_sim_fault *f, struct bio *bio)
{
	if (f->lie == BLK_SIM_STALE)
		flight(bio)->flags |= READ_STALE;
	if (f->lie != BLK_SIM_ELSEWHERE)
		return;
	flight(bio)->flags |= READ_ELSEWHERE;
	flight(bio)->covers = elsewhere(s, f, bio);
}

static void read_start(struct blk_sim *s, struct bio *bio)
{
	if (prng_one_in(prng(bio), 2)) {
		flight(bio)->flags |= READ_EARLY;
		read_now(s, bio);
		return;
	}
	for (unsigned i = 0; i < bio->nr_iov; i++)
		memset(bio->iov[i].iov_base, RUBBISH, bio->iov[i].iov_len);
}

/* Sometimes in two pieces, and sometimes one of them is visible long before completion. */
static void write_start(struct blk_sim *s, struct bio *bio)
{
	struct flight *f = flight(bio);
	uint64_t split = bio->nr_sectors > 1 && prng_one_in(prng(bio), 8) ? 1 + prng_below(prng(bio), bio->nr_sectors - 1) : 0;

	f->pieces[0] = piece_new(s, bio, 0, split ? split : bio->nr_sectors);
	if (split)
		f->pieces[1] = piece_new(s, bio, split, bio->nr_sectors - split);
	if (split || prng_one_in(prng(bio), 16))
		land(s, f->pieces[split ? prng_below(prng(bio), 2) : 0]);
}

/*
 * Runs of sectors keep what is visible, or show again what is durable (older, if they have been written since), or zeros, or rubbish: like a
 * write of that, with all its ways to be torn. What a caller writes there meanwhile may be lost.
 */
static void discard_start(struct blk_sim *s, struct bio *bio)
{
	char *data = must(malloc(bio->nr_sectors * SECTOR_BYTES));
	struct piece *pc;

	blk_sim_peek(s, bio->sector, data, bio->nr_sectors);
	for (uint64_t at = 0, n; at < bio->nr_sectors; at += n) {
		n = 1 + prng_below(prng(bio), bio->nr_sectors - at);
		switch (prng_below(prng(bio), 4)) {
		case 0:
			blk_sim_peek_durable(s, bio->sector + at, data + at * SECTOR_BYTES, n);
			break;
		case 1:
			memset(data + at * SECTOR_BYTES, 0, n * SECTOR_BYTES);
			break;
		case 2:
			memset(data + at * SECTOR_BYTES, RUBBISH, n * SECTOR_BYTES);
			break;
		}
	}
	pc = piece_new(s, bio, 0, bio->nr_sectors);
	pc->data = data;
	flight(bio)->pieces[0] = pc;
	if (prng_one_in(prng(bio), 4))
		land(s, pc);
}

static void bio_start(struct blk_sim *s, struct bio *bio)
{
	struct flight *f = flight(bio);

	switch (bio->op) {
	case BIO_READ:
		read_start(s, bio);
		break;
	case BIO_WRITE:
	case BIO_ZERO:
		f->covers = s->completions;
		if (bio->flags & BIO_PREFLUSH)
			f->flags |= FLUSHING;
		else
			write_start(s, bio);
		break;
	case BIO_FLUSH:
		f->covers = s->completions;
		break;
	case BIO_DISCARD:
		discard_start(s, bio);
		break;
	}
}

static void count(struct blk_sim *s, const struct bio *bio)
{
	s->stats.nr_ops[bio->op]++;
	if (bio->op == BIO_READ)
		s->stats.sectors_read += bio->nr_sectors;
	if (bio->op == BIO_WRITE)
		s->stats.sectors_written += bio->nr_sectors;
}

static void bio_timer(struct timer *t);

static void sim_submit(struct bio *bio)
{
	struct sim_handle *h = handle(bio->dev);
	struct blk_sim *s = h->sim;
	const struct blk_sim_fault *fault;
	uint64_t ns, extra = 0;

	assert(engine_self() == h->engine);
	if (s->o.power && s->o.power->off)
		return; /* nobody will ever know */
	memset(flight(bio), 0, sizeof(struct flight));
	timer_init(&flight(bio)->timer, bio_timer);
	count(s, bio);
	fault = fault_find(s, bio);
	if (fault) {
		flight(bio)->error = fault->error;
		if (bio->op == BIO_FLUSH || (fault->ops & BLK_SIM_OP(BIO_FLUSH) && prng_one_in(prng(bio), 2)))
			flight(bio)->flags |= FLUSH_FAILS;
		extra = fault->extra_ns;
		lie(s, fault, bio);
	}
	bio_start(s, bio);
	if (fault && fault->corrupt && bio->op == BIO_READ) {
		flight(bio)->flags |= CORRUPT;
		flight(bio)->covers = max(fault->sector, bio->sector);
	}
	if (power_event(h) || extra == UINT64_MAX)
		return;
	ns = latency_ns(bio) + extra;
	timer_arm_ns(&flight(bio)->timer, ns);
}

static bool memory_changed(const struct piece *pc, const struct bio *bio)
{
	char buf[PAGE_BYTES];
	uint64_t skip = (pc->sector - bio->sector) * SECTOR_BYTES, len = pc->nr_sectors * SECTOR_BYTES;

	for (uint64_t at = 0, n; pc->data && at < len; at += n) {
		n = min(len - at, sizeof(buf));
		iov_gather(buf, bio->iov, bio->nr_iov, skip + at, n);
		if (memcmp(buf, pc->data + at, n) != 0)
			return true;
	}
	return false;
}

static void pieces_complete(struct blk_sim *s, struct bio *bio)
{
	struct flight *f = flight(bio);

	for (int i = 0; i < 2 && f->pieces[i]; i++) {
		s->stats.nr_changed_in_flight += bio->op == BIO_WRITE && memory_changed(f->pieces[i], bio);
		piece_complete(s, f->pieces[i], s->o.write_through || (bio->flags & BIO_FUA));
	}
}

/* What has landed stays; the rest arrives, or not, or up to some sector. */
static void pieces_fail(struct blk_sim *s, struct bio *bio)
{
	struct flight *f = flight(bio);

	for (int i = 0; i < 2 && f->pieces[i]; i++) {
		struct piece *pc = f->pieces[i];

		if (!pc->landed)
			pc->nr_sectors = prng_below(prng(bio), pc->nr_sectors + 1);
		if (pc->nr_sectors)
			piece_complete(s, pc, false);
		else
			piece_free(pc);
	}
}

/* True: the bio goes on with its second half, the write itself. */
static bool flush_phase(struct blk_sim *s, struct bio *bio)
{
	struct flight *f = flight(bio);

	bool fails = f->error && f->flags & FLUSH_FAILS;

	flush_covered(s, f->covers, fails ? prng(bio) : NULL);
	if (!fails && bio->dev->flush_lost) { /* another one failed meanwhile */
		fails = true;
		f->error = -EIO;
	}
	bio->flush_failed = fails;
	if (bio->op == BIO_FLUSH || fails)
		return false;
	f->flags &= ~(unsigned)FLUSHING;
	write_start(s, bio);
	timer_arm_ns(&f->timer, latency_ns(bio));
	return true;
}

/* What the disk holds is right; what it says is not. */
static void corrupt_read(struct bio *bio, uint64_t sector)
{
	uint64_t at = (sector - bio->sector) * SECTOR_BYTES + sector % SECTOR_BYTES;
	char byte;

	iov_gather(&byte, bio->iov, bio->nr_iov, at, 1);
	byte ^= 0x10;
	iov_scatter(bio->iov, bio->nr_iov, at, &byte, 1);
}

static void bio_complete(struct blk_sim *s, struct bio *bio)
{
	struct flight *f = flight(bio);

	if (f->error)
		pieces_fail(s, bio);
	else if (bio->op == BIO_READ && !(f->flags & READ_EARLY))
		read_now(s, bio);
	else
		pieces_complete(s, bio);
	if (f->flags & CORRUPT)
		corrupt_read(bio, f->covers);
	engine_sim_note(handle(bio->dev)->engine, bio->sector ^ bio->nr_sectors << 40 ^ (uint64_t)bio->op << 60 ^ (uint64_t)-f->error);
	bio_end(bio, f->error);
}

static void bio_timer(struct timer *t)
{
	struct flight *f = container_of(t, struct flight, timer);
	struct bio *bio = container_of((uint64_t(*)[8])f, struct bio, priv);
	struct sim_handle *h = handle(bio->dev);

	if (power_event(h))
		return;
	if ((bio->op == BIO_FLUSH || (f->flags & FLUSHING)) && flush_phase(h->sim, bio))
		return;
	bio_complete(h->sim, bio);
}

static void handle_free(struct sim_handle *h)
{
	h->sim->handle = NULL;
	free(h->dev.path);
	free(h);
}

static void sim_close(struct blkdev *dev)
{
	handle_free(handle(dev));
}

static const struct blkdev_ops sim_blk_ops = { .submit = sim_submit, .close = sim_close };

/* --- the disk ------------------------------------------------------------------------------------------------------- */

static void blk_sim_init(struct blk_sim *s, const struct blk_sim_options *o)
{
	memset(s, 0, sizeof(*s));
	s->o = *o;
	s->name = must(strdup(o->name ? o->name : "sim"));
	s->o.name = s->name;
	map_init(&s->visible, o->nr_sectors);
	map_init(&s->durable, o->nr_sectors);
	map_init(&s->older, o->nr_sectors);
	list_init(&s->flying);
	list_init(&s->cached);
}

struct blk_sim *blk_sim_new(const struct blk_sim_options *o)
{
	struct blk_sim *s = must(malloc(sizeof(*s)));

	blk_sim_init(s, o);
	return s;
}

static void drop_pieces(struct blk_sim *s)
{
	while (!list_empty(&s->flying))
		piece_free(list_first(&s->flying, struct piece, link));
	while (!list_empty(&s->cached))
		uncache(s, list_first(&s->cached, struct piece, link));
}

void blk_sim_free(struct blk_sim *s)
{
	if (!s)
		return;
	assert(!s->handle);
	drop_pieces(s);
	map_release(&s->visible);
	map_release(&s->durable);
	map_release(&s->older);
	free(s->name);
	free(s);
}

/* Not an address: runs must repeat. */
static struct blk_identity name_identity(const char *name)
{
	struct blk_identity id = { .dev = 0, .ino = 0 };

	while (*name)
		id.ino = prng_mix(id.ino + (unsigned char)*name++);
	return id;
}

int blk_sim_open(struct blk_sim *s, bool read_only, struct blkdev **ret)
{
	struct sim_handle *h;

	assert(engine_is_sim(engine_self()));
	if (s->handle)
		return -EBUSY;
	h = must(calloc(1, sizeof(*h)));
	h->sim = s;
	h->engine = engine_self();
	h->dev.ops = &sim_blk_ops;
	h->dev.path = must(strdup(s->name));
	h->dev.nr_sectors = s->o.nr_sectors;
	h->dev.logical_block_bytes = s->o.logical_block_bytes ? s->o.logical_block_bytes : SECTOR_BYTES;
	h->dev.physical_sectors = s->o.physical_sectors;
	h->dev.read_only = read_only;
	h->dev.can_discard = true;
	h->dev.id = name_identity(s->name);
	s->handle = h;
	*ret = &h->dev;
	return 0;
}

const struct blk_sim_stats *blk_sim_stats(const struct blk_sim *s)
{
	return &s->stats;
}

/* --- crash ---------------------------------------------------------------------------------------------------------- */

static void crash_torn(struct blk_sim *s, const struct piece *pc, struct prng *p)
{
	uint64_t end = pc->sector + pc->nr_sectors, cut = pc->sector + prng_below(p, pc->nr_sectors + 1);

	switch (prng_below(p, 3)) {
	case 0:
		persist_range(s, pc, pc->sector, cut);
		break;
	case 1:
		persist_range(s, pc, cut, end);
		break;
	default:
		for (uint64_t sector = pc->sector; sector < end; sector++)
			if (prng_one_in(p, 2))
				persist_range(s, pc, sector, sector + 1);
	}
}

static void crash_piece(struct blk_sim *s, struct piece *pc, enum blk_sim_keep keep, struct prng *p)
{
	if (!pc->landed) /* it would have been the newest, in an order among its like that nobody knows */
		pc->landed = s->landings + 1 + prng_below(p, 1 << 30);
	if (keep == BLK_SIM_KEEP_ALL)
		persist(s, pc);
	if (keep != BLK_SIM_KEEP_SOME)
		return;
	switch (prng_below(p, 5)) {
	case 0:
	case 1:
		persist(s, pc);
		break;
	case 2:
		crash_torn(s, pc, p);
		break;
	default: /* dropped */
		break;
	}
}

/* The timers of bios in flight would fire into freed memory. */
static void check_abandoned(const struct blk_sim *s)
{
	assert(!s->handle || !s->handle->dev.in_flight || !engine_self() || !engine_self()->nr_timers);
}

void blk_sim_process_dies(struct blk_sim *s, uint64_t seed)
{
	struct prng p = prng_seeded(seed);
	struct piece *pc, *tmp;

	check_abandoned(s);
	list_for_each_safe(pc, tmp, &s->flying, link) {
		if (!pc->landed && prng_one_in(&p, 2))
			pc->nr_sectors = prng_below(&p, pc->nr_sectors + 1);
		if (pc->nr_sectors)
			piece_complete(s, pc, s->o.write_through);
		else
			piece_free(pc);
	}
	if (s->handle)
		handle_free(s->handle);
}

void blk_sim_crash_keeping(struct blk_sim *s, enum blk_sim_keep keep, uint64_t seed)
{
	struct prng p = prng_seeded(seed);
	struct piece *pc;

	check_abandoned(s);
	list_for_each(pc, &s->cached, link)
		crash_piece(s, pc, keep, &p);
	list_for_each(pc, &s->flying, link)
		crash_piece(s, pc, keep, &p);
	s->landings += 1 << 30;
	drop_pieces(s);
	map_clear(&s->visible);
	if (s->handle)
		handle_free(s->handle);
}

void blk_sim_crash(struct blk_sim *s, uint64_t seed)
{
	blk_sim_crash_keeping(s, BLK_SIM_KEEP_SOME, seed);
}

int blk_sim_reopen(struct blk_sim *s, uint64_t seed, struct blkdev **ret)
{
	blk_sim_crash(s, seed);
	return blk_sim_open(s, false, ret);
}

static void copy_pieces(struct list *to, const struct list *from)
{
	const struct piece *pc;

	list_for_each(pc, from, link) {
		struct piece *copy = must(malloc(sizeof(*copy)));

		*copy = *pc;
		if (pc->data) {
			copy->data = must(malloc(pc->nr_sectors * SECTOR_BYTES));
			memcpy(copy->data, pc->data, pc->nr_sectors * SECTOR_BYTES);
		}
		list_add_tail(to, &copy->link);
	}
}

struct blk_sim *blk_sim_clone(const struct blk_sim *s, struct blk_sim_power *power)
{
	struct blk_sim *c = blk_sim_new(&s->o);

	c->o.power = power;
	map_copy(&c->visible, &s->visible);
	map_copy(&c->durable, &s->durable);
	copy_pieces(&c->flying, &s->flying);
	copy_pieces(&c->cached, &s->cached);
	c->cached_bytes = s->cached_bytes;
	c->landings = s->landings;
	c->completions = s->completions;
	return c;
}

void blk_sim_sync(struct blk_sim *s)
{
	flush_covered(s, UINT64_MAX, NULL);
}

/* --- peek, poke, save ----------------------------------------------------------------------------------------------- */

static void peek(const struct blk_sim *s, bool durable, uint64_t sector, void *buf, uint64_t nr_sectors)
{
	uint64_t end = sector + nr_sectors;
	char *to = buf;

	assert(end <= s->o.nr_sectors);
	for (uint64_t n; sector < end; sector += n, to += n * SECTOR_BYTES) {
		uint64_t page = sector / PAGE_SECTORS;

		n = in_page(sector, end);
		copy_out(durable ? map_find(&s->durable, page) : visible_page(s, page), sector, (unsigned)n, to);
	}
}

void blk_sim_peek(const struct blk_sim *s, uint64_t sector, void *buf, uint64_t nr_sectors)
{
	peek(s, false, sector, buf, nr_sectors);
}

void blk_sim_peek_durable(const struct blk_sim *s, uint64_t sector, void *buf, uint64_t nr_sectors)
{
	peek(s, true, sector, buf, nr_sectors);
}

void blk_sim_poke(struct blk_sim *s, uint64_t sector, const void *buf, uint64_t nr_sectors)
{
	struct piece pc = { .sector = sector, .nr_sectors = nr_sectors, .data = (char *)buf };

	assert(sector + nr_sectors <= s->o.nr_sectors);
	land(s, &pc);
	persist(s, &pc);
}

uint64_t blk_sim_nr_unflushed(const struct blk_sim *s)
{
	const struct piece *pc;
	uint64_t n = 0;

	list_for_each(pc, &s->cached, link)
		n++;
	list_for_each(pc, &s->flying, link)
		n++;
	return n;
}

bool blk_sim_has_lost(const struct blk_sim *s)
{
	const struct piece *pc;

	list_for_each(pc, &s->cached, link)
		if (pc->lost)
			return true;
	return false;
}

uint64_t blk_sim_changes(const struct blk_sim *s)
{
	return s->changes;
}

static int save_leaf(int fd, const struct leaf *l, uint64_t first_page)
{
	for (size_t j = 0; j < LEAF_PAGES; j++) {
		off_t at = (off_t)((first_page + j) * PAGE_BYTES);

		if (l->pages[j] && pwrite(fd, l->pages[j]->data, PAGE_BYTES, at) != PAGE_BYTES)
			return errno ? -errno : -EIO;
	}
	return 0;
}

int blk_sim_save(const struct blk_sim *s, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), r = 0;

	if (fd < 0)
		return -errno;
	for (size_t i = 0; r == 0 && i < s->durable.nr_leaves; i++)
		if (s->durable.leaves[i])
			r = save_leaf(fd, s->durable.leaves[i], i * LEAF_PAGES);
	if (r == 0 && ftruncate(fd, (off_t)(s->o.nr_sectors * SECTOR_BYTES)) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

/* --- faults --------------------------------------------------------------------------------------------------------- */

void blk_sim_add_fault(struct blk_sim *s, const struct blk_sim_fault *f)
{
	assert(s->nr_faults < MAX_FAULTS);
	s->faults[s->nr_faults] = *f;
	s->faults[s->nr_faults++].nr_matched = 0;
}

void blk_sim_clear_faults(struct blk_sim *s)
{
	s->nr_faults = 0;
}

void blk_sim_forget_older(struct blk_sim *s)
{
	map_release(&s->older);
	map_init(&s->older, s->o.nr_sectors);
}

void blk_sim_forget_corruption(struct blk_sim *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->nr_faults; i++)
		if (!s->faults[i].corrupt)
			s->faults[n++] = s->faults[i];
	s->nr_faults = n;
}

void blk_sim_fail_nth(struct blk_sim *s, unsigned ops, uint64_t n, int error)
{
	struct blk_sim_fault f = { .ops = ops, .skip = n - 1, .count = 1, .error = error };

	assert(n > 0);
	blk_sim_add_fault(s, &f);
}

void blk_sim_fail_range(struct blk_sim *s, unsigned ops, uint64_t sector, uint64_t nr_sectors, int error)
{
	struct blk_sim_fault f = { .ops = ops, .sector = sector, .nr_sectors = nr_sectors, .error = error };

	blk_sim_add_fault(s, &f);
}
