/* SPDX-License-Identifier: GPL-2.0-only */
#include "fuse/transport.h"

#include <sys/mman.h>

#include "fuse/session.h"

#define SLOT_BYTES ((size_t)PAGE_BYTES + MAX_IO_BYTES)
static_assert(sizeof(struct request) + FUSE_WRITE_HEADER_BYTES <= PAGE_BYTES, "a slot's first page holds both");

static void resume(struct transport *t)
{
	t->starved = false;
	t->ops->resume(t);
}

static void held_too_long(struct timer *timer)
{
	struct transport *t = container_of(timer, struct transport, held);

	t->over = true;
	if (t->starved)
		resume(t);
}

int transport_init(struct transport *t, const struct transport_ops *ops, struct session *s)
{
	*t = (struct transport){ .ops = ops, .session = s };
	list_init(&t->free_slots);
	list_init(&t->inflight);
	wait_queue_init(&t->changed);
	timer_init(&t->held, held_too_long);
	/* Address space only; pages come with use. */
	t->slots = mmap(NULL, NR_SLOTS * SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->slots == MAP_FAILED) {
		t->slots = NULL;
		return -errno;
	}
	return 0;
}

void transport_release(struct transport *t)
{
	assert(!t->nr_inflight);
	timer_cancel(&t->held);
	if (t->slots)
		munmap(t->slots, NR_SLOTS * SLOT_BYTES);
	t->slots = NULL;
}

static struct request *slot_make(struct transport *t)
{
	struct request *rq = (struct request *)(t->slots + t->nr_slots * SLOT_BYTES);

	t->nr_slots++;
	*rq = (struct request){ .transport = t, .session = t->session, .payload = (char *)rq + PAGE_BYTES };
	list_init(&rq->link);
	return rq;
}

static bool bytes_left(const struct transport *t) { return t->inflight_bytes < INFLIGHT_MAX_BYTES || t->over; }

struct request *transport_slot(struct transport *t)
{
	struct request *rq = list_first(&t->free_slots, struct request, link);

	if (!bytes_left(t) && !timer_armed(&t->held))
		timer_arm_ns(&t->held, HELD_MAX_NS);
	if (!bytes_left(t) || (!rq && t->nr_slots == NR_SLOTS)) {
		t->starved = true;
		t->nr_starved++;
		return NULL;
	}
	if (!rq)
		return slot_make(t);
	list_del(&rq->link);
	t->idle_touched_bytes -= rq->touched_bytes;
	return rq;
}

static void slot_free(struct transport *t, struct request *rq)
{
	if (t->idle_touched_bytes + rq->touched_bytes > IDLE_TOUCHED_MAX_BYTES &&
	    madvise(rq->payload, MAX_IO_BYTES, MADV_DONTNEED) == 0)
		rq->touched_bytes = 0;
	t->idle_touched_bytes += rq->touched_bytes;
	list_add(&t->free_slots, &rq->link);
	if (t->starved && bytes_left(t))
		resume(t);
}

void transport_drained(struct transport *t)
{
	t->over = false;
	timer_cancel(&t->held);
}

void transport_deliver(struct transport *t, struct request *rq, size_t len_bytes)
{
	struct fuse_buf buf = { .mem = request_buffer(rq), .size = len_bytes };

	t->nr_requests++;
	if (len_bytes > FUSE_WRITE_HEADER_BYTES)
		rq->touched_bytes = max(rq->touched_bytes, (uint32_t)(len_bytes - FUSE_WRITE_HEADER_BYTES));
	rq->taken = false;
	t->current = rq;
	fuse_session_process_buf(t->session->fuse, &buf);
	t->current = NULL;
	if (!rq->taken)
		slot_free(t, rq);
}

void transport_end(struct transport *t)
{
	t->ended = true;
	wake_all(&t->changed);
}

static void request_main(void *arg)
{
	struct request *rq = arg;
	struct transport *t = rq->transport;

	rq->fiber = fiber_self();
	rq->fn(rq);
	rq->fiber = NULL;
	list_del(&rq->link);
	t->inflight_bytes -= rq->charge_bytes;
	slot_free(t, rq);
	if (--t->nr_inflight == 0)
		wake_all(&t->changed);
}

struct request *request_start(struct session *s, fuse_req_t req, size_t payload_bytes, void (*fn)(struct request *rq))
{
	struct transport *t = s->transport;
	struct request *rq = t->current;

	assert(rq && !rq->taken && payload_bytes <= MAX_IO_BYTES);
	if (fiber_spawn_detached("request", request_main, rq) < 0) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	rq->taken = true;
	rq->cancellable = false;
	rq->fn = fn;
	rq->req = req;
	rq->charge_bytes = (uint32_t)payload_bytes;
	rq->touched_bytes = max(rq->touched_bytes, rq->charge_bytes);
	rq->pid = (uint32_t)fuse_req_ctx(req)->pid;
	list_add(&t->inflight, &rq->link);
	t->inflight_bytes += payload_bytes;
	t->nr_inflight++;
	return rq;
}

void transport_cancel_commands(struct transport *t)
{
	struct request *rq;

	list_for_each(rq, &t->inflight, link)
		if (rq->cancellable && rq->fiber)
			fiber_cancel(rq->fiber);
}
