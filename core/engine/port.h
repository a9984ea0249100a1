/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Ports: the only code in the engine that two threads touch at once.
 *
 * A bell wakes the engine from any thread or signal handler. Workers run pure jobs for it. Everything else in core/ belongs to the
 * engine thread alone. Each memory-ordering argument stands at its function in port.c.
 */
#include "formats/base.h"
#include <stdatomic.h>

/* --- bell ----------------------------------------------------------------------------------------------------------- */

struct port_bell {
	atomic_bool rung;   /* (x-thread) set by ringers, taken by the engine */
	atomic_bool asleep; /* (x-thread) set by the engine: a ringer must also write to the eventfd */
	int eventfd;
};
MUST_CHECK int port_bell_init(struct port_bell *b);
void port_bell_release(struct port_bell *b);
/* Any thread, any signal handler. What the caller wrote before is visible to the engine after its next port_bell_take(). */
void port_bell_ring(struct port_bell *b);
/* Engine: has it rung since last time? */
bool port_bell_take(struct port_bell *b);
/* Engine: announce sleep. False: it has rung, do not sleep. After true or false, call port_bell_awake() when up again. */
MUST_CHECK bool port_bell_try_sleep(struct port_bell *b);
void port_bell_awake(struct port_bell *b);

/* --- workers -------------------------------------------------------------------------------------------------------- */

struct port_job {
	struct port_job *next;
	void (*fn)(void *arg);
	void *arg;
};
struct port_workers;
/* Threads with all signals blocked. Rings the bell whenever a job is done. */
MUST_CHECK int port_workers_new(unsigned nr_threads, struct port_bell *bell, struct port_workers **ret);
void port_workers_free(struct port_workers *w); /* NULL is fine; no job may be pending */
void port_workers_submit(struct port_workers *w, struct port_job *job);
/* Finished jobs, oldest first, linked by next; NULL: none. */
struct port_job *port_workers_take_done(struct port_workers *w);
