/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/shrink.h"
#include <stdlib.h>

#define NEIGHBOURS 6 /* events to either side of a cut */

static struct script *copy_of(const struct script *s)
{
	struct script *c = malloc(sizeof(*c));

	if (!c)
		abort();
	*c = *s;
	return c;
}

/* Replace s by what was really done of `candidate`, when that fails. */
static bool try_script(struct shrinker *x, struct script *s, const struct script *candidate)
{
	struct script *recorded = calloc(1, sizeof(*recorded));
	bool fails;

	if (!recorded)
		abort();
	fails = x->runs < x->runs_max && x->fails(x->ctx, candidate, recorded);
	x->runs++;
	if (fails) {
		struct script *again = copy_of(candidate);

		/* A boot that failed before its cut was not cut; operations after the failure never began. */
		again->nr_ops = 0;
		for (unsigned i = 0; i < candidate->nr_ops; i++)
			if (script_has(recorded, &candidate->ops[i]))
				script_add(again, &candidate->ops[i]);
		for (unsigned b = 0; b < SCRIPT_BOOTS_MAX; b++)
			again->lived[b] &= recorded->lived[b];
		*s = *again;
		free(again);
	}
	free(recorded);
	return fails;
}

/* A cut that followed an operation which is gone follows nothing: it would never come. */
static bool cut_is_left(const struct script *s, unsigned boot)
{
	const struct script_cut *c = &s->cut[boot];

	return !c->cuts || !c->after_op || script_has(s, &c->op);
}

static bool cuts_are_left(const struct script *s)
{
	for (unsigned b = 0; b < SCRIPT_BOOTS_MAX; b++)
		if (s->lived[b] && !cut_is_left(s, b))
			return false;
	return true;
}

static bool drop_boot(struct shrinker *x, struct script *s, unsigned boot)
{
	struct script *c = copy_of(s);
	bool fails;

	c->lived[boot] = false;
	c->nr_ops = 0;
	for (unsigned i = 0; i < s->nr_ops; i++)
		if (s->ops[i].boot != boot)
			script_add(c, &s->ops[i]);
	fails = try_script(x, s, c);
	free(c);
	return fails;
}

static bool drop_client(struct shrinker *x, struct script *s, unsigned boot, unsigned client)
{
	struct script *c = copy_of(s);
	bool fails;

	c->nr_ops = 0;
	for (unsigned i = 0; i < s->nr_ops; i++)
		if (s->ops[i].boot != boot || s->ops[i].client != client)
			script_add(c, &s->ops[i]);
	fails = c->nr_ops < s->nr_ops && cuts_are_left(c) && try_script(x, s, c);
	free(c);
	return fails;
}

static bool drop_ops(struct shrinker *x, struct script *s, unsigned first, unsigned nr)
{
	struct script *c = copy_of(s);
	bool fails;

	c->nr_ops = 0;
	for (unsigned i = 0; i < s->nr_ops; i++)
		if (i < first || i >= first + nr)
			script_add(c, &s->ops[i]);
	fails = cuts_are_left(c) && try_script(x, s, c);
	free(c);
	return fails;
}

static bool drop_whole_boots(struct shrinker *x, struct script *s)
{
	bool any = false;

	for (unsigned b = 0; b < SCRIPT_BOOTS_MAX; b++)
		any |= s->lived[b] && drop_boot(x, s, b);
	for (unsigned b = 0; b < SCRIPT_BOOTS_MAX; b++)
		for (unsigned client = 0; client < 8; client++)
			any |= s->lived[b] && drop_client(x, s, b, client);
	return any;
}

static bool drop_pieces(struct shrinker *x, struct script *s)
{
	bool any = false;

	for (unsigned nr = (s->nr_ops + 1) / 2; nr; nr /= 2)
		for (unsigned first = 0; first < s->nr_ops;) {
			if (drop_ops(x, s, first, nr))
				any = true; /* the next ones have moved here */
			else
				first += nr;
		}
	return any;
}

static bool cut_differently(struct shrinker *x, struct script *s, unsigned boot, const struct script_cut *cut)
{
	struct script *c = copy_of(s);
	bool fails;

	c->cut[boot] = *cut;
	fails = try_script(x, s, c);
	free(c);
	return fails;
}

/* Without this cut, or after the operation before. */
static bool simplify_cut(struct shrinker *x, struct script *s, unsigned boot)
{
	struct script_cut cut = s->cut[boot];

	if (!cut.cuts)
		return false;
	if (cut_differently(x, s, boot, &(struct script_cut){ 0 }))
		return true;
	for (unsigned i = s->nr_ops; i-- > 0 && cut.after_op;) {
		if (s->ops[i].boot != boot || script_op_equal(&s->ops[i], &cut.op))
			continue;
		for (uint64_t n = cut.events > NEIGHBOURS ? cut.events - NEIGHBOURS : 1; n <= cut.events + NEIGHBOURS; n++) {
			struct script *c = copy_of(s);
			bool fails;

			c->cut[boot] = (struct script_cut){ .cuts = true, .after_op = true, .op = s->ops[i], .events = n };
			c->nr_ops = 0;
			for (unsigned k = 0; k < s->nr_ops; k++)
				if (!script_op_equal(&s->ops[k], &cut.op))
					script_add(c, &s->ops[k]);
			fails = try_script(x, s, c);
			free(c);
			if (fails)
				return true;
		}
		return false;
	}
	return false;
}

void shrink(struct shrinker *x, struct script *s)
{
	bool any = true;

	while (any && x->runs < x->runs_max) {
		any = drop_whole_boots(x, s);
		any |= drop_pieces(x, s);
		for (unsigned b = 0; b < SCRIPT_BOOTS_MAX && !any; b++)
			any = s->lived[b] && simplify_cut(x, s, b);
	}
}
