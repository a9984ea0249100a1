/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Which part of a world is lived through.
 *
 * What the clients of a world do is cut into operations, each drawn from a seed of its own: (boot, client, number) names one, and leaving one out
 * changes nothing in the others but the time at which they happen. A failing world records what it did; the shrinker takes away from that.
 *
 * As text: boots, separated by '/', each "BOOT[@CUT]:[OPERATION,...]". An operation is "client.number"; a cut is the number of disk events since
 * an operation began, "client.number+events", or since the boot began, "+events"; without one the boot ends in order. Boots and operations that
 * are not named are left out. Example: "1@0.4+17:0.1,0.4/3:1.0".
 */
#include "formats/printbuf.h"

#define SCRIPT_BOOTS_MAX 32
#define SCRIPT_OPS_MAX 8192

struct script_op {
	uint32_t boot, client, number;
};

struct script_cut {
	bool cuts;
	bool after_op;	  /* the events are counted from the beginning of this operation, otherwise from that of the boot */
	struct script_op op;
	uint64_t events;
};

struct script {
	bool lived[SCRIPT_BOOTS_MAX];
	struct script_cut cut[SCRIPT_BOOTS_MAX];
	unsigned nr_ops;
	bool overflow;	  /* there was more to record */
	struct script_op ops[SCRIPT_OPS_MAX];
};

static inline bool script_op_equal(const struct script_op *a, const struct script_op *b)
{
	return a->boot == b->boot && a->client == b->client && a->number == b->number;
}
bool script_has(const struct script *s, const struct script_op *op);
void script_add(struct script *s, const struct script_op *op);
void script_to_text(const struct script *s, struct printbuf *out);
/* 0 or -EINVAL. */
MUST_CHECK int script_parse(const char *text, struct script *ret);
