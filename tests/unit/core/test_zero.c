/* SPDX-License-Identifier: GPL-2.0-only */
/* A long range is zeroed in pieces (R0.2), and between two of them anything may happen to the device. */
#include "core/request/request.h"
#define RIG_DATA_SECTORS (4u * REQUEST_ZERO_SECTORS)
#include "core/set/bdev.h"
#include "tests/unit/core/test_core_rig.h"

#define BLOCK 8u /* sectors of a block of the rig's cache; a device without a cache takes any sector */

/* --- a disk on which nobody writes far from the ends of a piece, and so only the ends of one need zeroing ------------------------------- */

#define END_SECTORS 64u

struct sparing {
	struct blkdev dev;
	struct blkdev *lower;
};
struct passage {
	struct bio lower, *upper;
};

static uint64_t bio_end_sector(const struct bio *bio) { return bio->sector + bio->nr_sectors; }

static void passage_done(struct bio *bio)
{
	struct passage *p = container_of(bio, struct passage, lower);
	struct bio *upper = p->upper;
	uint64_t done = bio_end_sector(bio), end = bio_end_sector(upper), rest = min(end - done, END_SECTORS);
	int error = bio->error;

	if (!error && rest) {
		bio_init(bio, bio->dev, BIO_ZERO, end - rest, NULL, rest, upper->flags, passage_done);
		blk_submit(bio);
		return;
	}
	free(p);
	bio_end(upper, error);
}

static void sparing_submit(struct bio *bio)
{
	struct passage *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->upper = bio;
	p->lower = *bio;
	p->lower.dev = container_of(bio->dev, struct sparing, dev)->lower;
	p->lower.done = passage_done;
	if (bio->op == BIO_ZERO)
		p->lower.nr_sectors = min(bio->nr_sectors, END_SECTORS);
	blk_submit(&p->lower);
}

static void sparing_close(struct blkdev *dev)
{
	struct sparing *s = container_of(dev, struct sparing, dev);

	blk_close(s->lower);
	free(s->dev.path);
	free(s);
}

static struct blkdev *sparing(struct blkdev *lower)
{
	static const struct blkdev_ops ops = { .submit = sparing_submit, .close = sparing_close };
	struct sparing *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->dev = *lower;
	s->dev.path = strdup(lower->path);
	s->dev.ops = &ops;
	s->lower = lower;
	return &s->dev;
}

/* --- a cache comes ------------------------------------------------------------------------------------------------------------------- */

#define FROM 3u
#define NR (3u * REQUEST_ZERO_SECTORS)
#define SEAM (FROM + 2 * REQUEST_ZERO_SECTORS) /* the third piece would begin here if pieces were counted from the first sector */

static FIBER_FN void zero_all(void *arg)
{
	struct rig *r = arg;

	assert_int_equal(bcf_zero(r->d, FROM * SECTOR_BYTES, (uint64_t)NR * SECTOR_BYTES), 0);
}

/* The block around this sector. */
static FIBER_FN void write_block(struct rig *r, uint64_t sector)
{
	assert_int_equal(rig_write(r, round_down_u64(sector, BLOCK), BLOCK, 'n'), BLOCK);
}

static FIBER_FN void write_seam(void *arg) { write_block(arg, SEAM); }

static bool note_ragged(void *ctx, const struct bkey *k)
{
	*(unsigned *)ctx += bkey_start(k) % BLOCK || bkey_offset(k) % BLOCK;
	return true;
}

static FIBER_FN void lose_the_cache(struct rig *r)
{
	bdev_detach(r->d);
	while (r->d->set)
		fiber_sleep_ns(NS_PER_S);
}

static FIBER_FN void get_a_cache(struct rig *r)
{
	char text[500] = "";
	struct printbuf why = PRINTBUF(text);

	assert_int_equal(bdev_attach(r->d, r->c, true, &why), 0);
	assert_int_equal(bdev_set_cache_mode(r->d, CACHE_MODE_WRITEBACK), 0);
	r->d->writeback.running = false;
}

static void body_attach(struct rig *r)
{
	struct fiber *zeroer, *writer;
	unsigned ragged = 0;

	lose_the_cache(r);
	assert_int_equal(rig_write(r, 0, 2 * FROM, 'a'), 2 * FROM);
	blk_sim_add_fault(r->backing, &(struct blk_sim_fault){ .ops = BLK_SIM_OP(BIO_ZERO), .extra_ns = 10 * NS_PER_S });
	zeroer = fiber_spawn("zero", zero_all, r);
	fiber_sleep_ns(NS_PER_S);
	get_a_cache(r); /* waits for the first piece only */
	fiber_sleep_ns(NS_PER_S);
	write_block(r, FROM + NR);
	writer = fiber_spawn("writer", write_seam, r); /* waits for the second one, and is waited for by the third */
	fiber_join(writer);
	fiber_join(zeroer);
	assert_int_equal(btree_for_each_extent(r->c, r->d->inode, 0, BKEY_OFFSET_MAX, note_ragged, &ragged), 0);
	assert_int_equal(ragged, 0);
	assert_int_equal(rig_read(r, 0, FROM), 'a');
	assert_int_equal(rig_read(r, FROM, 2 * FROM), 0);
	assert_int_equal(rig_read(r, FROM + NR - 1, 1), 0);
	assert_int_equal(rig_read(r, FROM + NR, 5), 'n');
	rig_check(r);
}

static void a_cache_attached_between_two_pieces_gets_whole_blocks(void **state)
{
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct rig r = { .mode = CACHE_MODE_WRITEBACK, .body = body_attach, .wrap_backing = sparing };

		rig_live(&r, seed, 128);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cache_attached_between_two_pieces_gets_whole_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
