/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Flash-only volumes of a simulated world: made, written, resized and removed beside everything else, each with a model of its own.
 *
 * One fiber, the keeper, does all that happens to volumes, one thing after another, but for a guest who reads or writes while the size changes; what
 * they meet are the other clients, gc, the purger and power cuts. Of an operation on a volume itself a cut leaves undecided only whether it happened: the next start looks into the uuid table, and finds a state
 * from before or after it, and nothing else. The model of a volume is as large as volumes get; what lies behind the end is zero, so that a tail
 * that was cut off is seen if it comes back, and a new volume's model is all zeros, durably, so that any data of an old one is.
 */
#include "core/util/prng.h"

struct model;
struct world;
struct volumes;

#define VOLUMES_CLIENT 16 /* the keeper's number in scripts */

struct volumes *volumes_new(struct world *w);
void volumes_free(struct volumes *v);
/* The power failed, or the process died: gone is what the models are told. */
void volumes_crash(struct volumes *v, void (*gone)(struct model *m));
/* The set is up: what has become of what was under way? */
void volumes_reconcile(struct volumes *v);
/* Read all of them, and compare what is counted. Nobody writes meanwhile. */
FIBER_FN void volumes_verify(struct volumes *v);
/* One operation of the keeper. */
FIBER_FN void volumes_step(struct volumes *v, struct prng *r);
/* The keeper goes home. */
FIBER_FN void volumes_end(struct volumes *v);
