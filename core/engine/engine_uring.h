/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The product's engine backend: io_uring, the real clock, offload threads. liburing is known only here and in blk_uring.c.
 *
 * The ring takes 128-byte SQEs where the kernel can (FUSE-over-io_uring needs them) and belongs to the thread that created it: daemonise
 * first, then make the engine.
 *
 * Waiting for a descriptor:
 *  - One event, on a fiber: engine_poll_fd().
 *  - A stream of requests, as from /dev/fuse: struct fd_poller. While the loop has work or spins, its poll() reads the descriptor without
 *    blocking; no poll request exists then, so the hot path neither arms nor cancels one. Only when the loop is about to sleep is a
 *    one-shot POLL_ADD queued, in the same system call that sleeps; the kernel checks readiness while arming, so nothing is missed
 *    in between. It stays armed over wake-ups for other reasons, and its completion does nothing but end the sleep: poll() runs
 *    in the next turn anyway. Cost: one SQE per sleep that ends with a request, none per request under load.
 */
#include "core/engine/engine.h"

/* One submitted operation. done() runs on the engine loop and must not yield. */
struct uring_op {
	void (*done)(struct uring_op *op, int res);
};
struct io_uring_sqe;
struct io_uring;

/* spin_us: how long the loop looks for work before it sleeps in the kernel (50 measured best, 0 = never spin). */
MUST_CHECK int engine_uring_new(unsigned spin_us, struct engine **ret);
void engine_uring_free(struct engine *e);
bool engine_is_uring(const struct engine *e);
/*
 * A prepared-to-fill SQE bound to op (NULL: nobody wants to know the result); submits what is queued when the ring is full. Never NULL.
 * Submitted with the next loop turn. io_uring_prep_*() keep the binding (they leave user_data alone).
 */
struct io_uring_sqe *engine_uring_sqe(struct engine *e, struct uring_op *op);
/* For transports: registering files and buffers; does the ring take 128-byte SQEs? Do not submit or reap through it. */
struct io_uring *engine_uring_ring(struct engine *e);
bool engine_uring_has_sqe128(const struct engine *e);
/* Park until fd has one of the poll(2) events. Returns the events, or -errno (-EINTR: cancelled). */
FIBER_FN int engine_poll_fd(int fd, unsigned events);
/* Signal-safe and thread-safe: make the loop turn once and run its pollers. */
void engine_wake_from_thread(struct engine *e);

/* A poller over a descriptor, which also ends the loop's sleep when the descriptor is ready. events may include EPOLLEXCLUSIVE. */
struct fd_poller {
	struct engine_poller poller;
	struct uring_op op;
	struct engine *engine;
	struct fiber *remover;
	int fd;
	unsigned events;
	bool armed;
	int error; /* the kernel refused to poll: negative errno, sticky */
};
void fd_poller_add(struct engine *e, struct fd_poller *p, int fd, unsigned events, bool (*poll)(struct engine_poller *));
/* Waits for the kernel to let go of p. */
FIBER_FN void fd_poller_remove(struct fd_poller *p);
