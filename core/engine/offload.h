/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* The waiting side of offload(): parks the caller while a worker runs its function. Used by engine_uring. */
#include "core/engine/engine.h"
#include "core/engine/port.h"

#define OFFLOAD_THREADS 2

struct offloader {
	struct port_bell *bell;
	struct port_workers *workers; /* NULL until the first use: many runs never need a second thread */
	bool unavailable;	      /* threads cannot be had: everything runs inline */
};
void offloader_init(struct offloader *o, struct port_bell *bell);
void offloader_release(struct offloader *o);
FIBER_FN void offloader_run(struct offloader *o, void (*fn)(void *), void *arg);
/* Wake the fibers whose work is done. Loop only. */
void offloader_reap(struct offloader *o);
