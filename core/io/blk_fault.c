/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/io/blk_fault.h"
#include "core/util/iov.h"
#include <stdlib.h>

#define MAX_RULES 16

struct blk_fault {
	struct blkdev dev;
	struct blkdev *lower;
	struct blk_fault_rule rules[MAX_RULES];
	size_t nr_rules;
};

/* One bio on its way through. */
struct passage {
	struct bio bio; /* ours, to the lower device */
	struct bio *upper;
	struct timer timer;
	int error; /* to report whatever the device says */
	struct iovec iov[]; /* a shortened vector */
};

static struct blk_fault *fault(struct blkdev *dev)
{
	return container_of(dev, struct blk_fault, dev);
}

static bool matches(const struct blk_fault_rule *r, const struct bio *bio)
{
	if (!(r->ops & (1u << bio->op)))
		return false;
	return !r->nr_sectors || (bio->sector < r->sector + r->nr_sectors && r->sector < bio->sector + bio->nr_sectors);
}

static const struct blk_fault_rule *find_rule(struct blk_fault *f, const struct bio *bio)
{
	const struct blk_fault_rule *hit = NULL;

	for (size_t i = 0; i < f->nr_rules; i++) {
		struct blk_fault_rule *r = &f->rules[i];
		uint64_t n;

		if (!matches(r, bio))
			continue;
		n = r->nr_matched++;
		if (!hit && n >= r->skip && (!r->count || n - r->skip < r->count))
			hit = r;
	}
	return hit;
}

static void passage_done(struct bio *bio)
{
	struct passage *p = container_of(bio, struct passage, bio);
	struct bio *upper = p->upper;
	int error = p->error ? p->error : bio->error;

	upper->flush_failed = !p->error && bio->flush_failed;
	free(p);
	bio_end(upper, error);
}

/* The first nr_sectors of the upper bio's memory, as our own vector. */
static void cut_vector(struct passage *p, uint64_t nr_sectors)
{
	uint64_t left = nr_sectors * SECTOR_BYTES;
	unsigned n = 0;

	for (; left; n++) {
		p->iov[n] = p->upper->iov[n];
		p->iov[n].iov_len = min(p->iov[n].iov_len, left);
		left -= p->iov[n].iov_len;
	}
	p->bio.iov = p->iov;
	p->bio.nr_iov = n;
	p->bio.nr_sectors = nr_sectors;
}

static struct passage *passage_new(struct blk_fault *f, struct bio *upper)
{
	struct passage *p = malloc(sizeof(*p) + upper->nr_iov * sizeof(p->iov[0]));

	if (!p)
		return NULL;
	p->upper = upper;
	p->error = 0;
	bio_init(&p->bio, f->lower, upper->op, upper->sector, NULL, upper->nr_sectors, upper->flags, passage_done);
	p->bio.iov = upper->iov;
	p->bio.nr_iov = upper->nr_iov;
	return p;
}

static void delay_over(struct timer *t)
{
	blk_submit(&container_of(t, struct passage, timer)->bio);
}

static void apply(struct passage *p, const struct blk_fault_rule *r)
{
	bool has_data = p->upper->op == BIO_READ || p->upper->op == BIO_WRITE;

	if (r->kind != FAULT_DELAY && r->kind != FAULT_TEAR)
		p->error = r->error ? r->error : -EIO;
	if ((r->kind == FAULT_SHORTEN || r->kind == FAULT_TEAR) && has_data)
		cut_vector(p, min(r->sectors, p->upper->nr_sectors));
	if (r->kind != FAULT_DELAY) {
		blk_submit(&p->bio);
		return;
	}
	timer_init(&p->timer, delay_over);
	timer_arm_ns(&p->timer, r->delay_ns);
}

static void fault_submit(struct bio *bio)
{
	struct blk_fault *f = fault(bio->dev);
	const struct blk_fault_rule *r = find_rule(f, bio);
	struct passage *p;

	if (r && r->kind == FAULT_FAIL) {
		bio_end(bio, r->error ? r->error : -EIO);
		return;
	}
	p = passage_new(f, bio);
	if (!p)
		bio_end(bio, -ENOMEM);
	else if (r)
		apply(p, r);
	else
		blk_submit(&p->bio);
}

static void fault_close(struct blkdev *dev)
{
	struct blk_fault *f = fault(dev);

	blk_close(f->lower);
	free(f);
}

static const struct blkdev_ops fault_ops = { .submit = fault_submit, .close = fault_close };

int blk_fault_new(struct blkdev *lower, struct blkdev **ret)
{
	struct blk_fault *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->dev = *lower; /* looks the same */
	f->dev.ops = &fault_ops;
	f->dev.in_flight = 0;
	f->lower = lower;
	*ret = &f->dev;
	return 0;
}

int blk_fault_add(struct blkdev *dev, const struct blk_fault_rule *rule)
{
	struct blk_fault *f = fault(dev);

	if (f->nr_rules == MAX_RULES)
		return -ENOSPC;
	f->rules[f->nr_rules] = *rule;
	f->rules[f->nr_rules++].nr_matched = 0;
	return 0;
}

void blk_fault_clear(struct blkdev *dev)
{
	fault(dev)->nr_rules = 0;
}
