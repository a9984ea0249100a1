/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* The product's engine backend: io_uring, the real clock, offload threads. liburing is known only here and in blk_uring.c. */
#include "core/engine/engine.h"

/* One submitted operation. done() runs on the engine loop and must not yield. */
struct uring_op {
	void (*done)(struct uring_op *op, int res);
};
struct io_uring_sqe;

/* spin_us: how long the loop looks for work before it sleeps in the kernel (50 measured best, 0 = never spin). */
MUST_CHECK int engine_uring_new(unsigned spin_us, struct engine **ret);
void engine_uring_free(struct engine *e);
/* A prepared-to-fill SQE bound to op; submits what is queued when the ring is full. Never NULL. Submitted with the next loop turn. */
struct io_uring_sqe *engine_uring_sqe(struct engine *e, struct uring_op *op);
/* Park until fd has one of the poll(2) events. Returns the events, or -errno (-EINTR: cancelled). */
FIBER_FN int engine_poll_fd(int fd, unsigned events);
/* Signal-safe and thread-safe: make the loop turn once and run its pollers. */
void engine_wake_from_thread(struct engine *e);
