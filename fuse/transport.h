/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * How requests arrive: the seam between /dev/fuse (here: transport_dev.c) and, later, FUSE over io_uring.
 *
 * A transport receives requests into struct request, hands each to libfuse (fuse_session_process_buf), which decodes it and calls
 * our operations on the spot. An operation that answers at once leaves the request alone. One that has to wait takes it with
 * request_start() and becomes a fiber; the request and its payload are its own until that fiber returns.
 *
 * Memory: a slot is one page (struct request, and at its end the protocol headers) followed by MAX_IO_BYTES of payload. So a WRITE's
 * payload is page aligned as received, and a READ's data are put where the request was: no copy, no second buffer, and
 * nothing of ours is allocated per request. Bounds: NR_SLOTS requests and INFLIGHT_MAX_BYTES of payload in flight; beyond, requests
 * stay in the kernel. Freed slots keep at most IDLE_TOUCHED_MAX_BYTES of memory between them.
 *
 * What stays in the kernel may be an administrator's question or `stop`, and nobody can tell before it is read. So the bound on bytes gives way
 * when the kernel's queue has not been empty for HELD_MAX_NS: data requests that hang do not hold up control files for longer.
 */
#include "core/engine/sync.h"
#include "fuse/api.h"

struct session;
struct handle;
struct transport;

#define MAX_IO_BYTES (1024u * 1024u) /* max_write and max_read */
#define NR_SLOTS 640u /* more than max_background, so that control files answer while data requests hang */
#define INFLIGHT_MAX_BYTES (64u * 1024u * 1024u)
#define HELD_MAX_NS NS_PER_S
#define IDLE_TOUCHED_MAX_BYTES (32u * 1024u * 1024u)

struct request {
	struct list link; /* in free_slots or inflight */
	struct transport *transport;
	struct session *session;
	char *payload;	       /* MAX_IO_BYTES, page aligned */
	uint32_t charge_bytes; /* counted in transport->inflight_bytes */
	uint32_t touched_bytes; /* of payload, since the kernel last got the pages back */
	bool taken;
	bool cancellable; /* a command: ends early when we stop or its caller is interrupted */
	struct fiber *fiber;
	/* What the fiber is to do: copied from libfuse's arguments, which do not outlive the operation. */
	FIBER_FN void (*fn)(struct request *rq);
	fuse_req_t req;
	struct handle *handle;
	size_t len_bytes;
	uint64_t offset_bytes;
	int flags;
	uint32_t pid;
};

struct transport_ops {
	const char *name;
	/* Begin to deliver requests. */
	MUST_CHECK int (*start)(struct transport *t);
	/* Take no more requests. Those that were taken are not waited for. */
	FIBER_FN void (*stop)(struct transport *t);
	/* All requests have ended. */
	void (*free)(struct transport *t);
	void (*resume)(struct transport *t); /* a slot came back after t->starved */
};

/* Common part; implementations embed it first. */
struct transport {
	const struct transport_ops *ops;
	struct session *session;
	struct request *current; /* being decoded */
	char *slots;
	size_t nr_slots;	/* made so far */
	struct list free_slots; /* most recently used first */
	struct list inflight;	/* taken ones */
	size_t nr_inflight;
	size_t inflight_bytes;
	size_t idle_touched_bytes; /* in free slots */
	bool starved;		/* not reading for lack of slots or bytes */
	bool over;		/* reading whatever is there: only slots count */
	struct timer held;	/* from the first lack of bytes until the kernel's queue was empty */
	bool ended;		/* the kernel has closed the connection: unmounted or aborted */
	struct wait_queue changed; /* woken when nr_inflight drops to 0, and when ended is set */
	/* counters */
	uint64_t nr_requests, nr_starved;
};

MUST_CHECK int transport_dev_new(struct session *s, struct transport **ret);

/* --- for implementations ---------------------------------------------------------------------------------------------- */

MUST_CHECK int transport_init(struct transport *t, const struct transport_ops *ops, struct session *s);
void transport_release(struct transport *t);
/* A slot to receive into, NULL when a bound is reached (t->starved is set and ops->resume() will be called). */
struct request *transport_slot(struct transport *t);
/* Where the protocol headers go, so that what follows is the payload. */
static inline char *request_buffer(struct request *rq) { return rq->payload - FUSE_WRITE_HEADER_BYTES; }
#define REQUEST_BUFFER_BYTES (FUSE_WRITE_HEADER_BYTES + MAX_IO_BYTES)
/* Decode and run what was received. Afterwards rq is either taken or on the free list. */
void transport_deliver(struct transport *t, struct request *rq, size_t len_bytes);
/* The kernel's queue is empty. */
void transport_drained(struct transport *t);
void transport_end(struct transport *t); /* set ended, tell who waits */

/* --- for operations --------------------------------------------------------------------------------------------------- */

/*
 * Continue the operation that is being decoded as fn(rq) on a fiber, using payload_bytes of the payload; fn replies. Answers the request
 * itself when no fiber can be had. The caller fills the rest of the returned request; NULL: already answered.
 */
struct request *request_start(struct session *s, fuse_req_t req, size_t payload_bytes, void (*fn)(struct request *rq));
/* Ask the commands in flight to end early. */
void transport_cancel_commands(struct transport *t);
