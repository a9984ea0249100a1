/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/engine/engine_uring.h"
#include "core/engine/fiber.h"
#include "core/engine/offload.h"
#include "core/engine/sync.h"
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define SQ_ENTRIES 256
#define CQ_ENTRIES 4096 /* more than can usually be in flight; beyond, the kernel queues (IORING_FEAT_NODROP) */
#define REAP_BATCH 64
#define REAP_MAX_BATCHES 8 /* per turn, so that the completed can be served before more completes */

struct completion {
	struct uring_op *op;
	int res;
};

struct engine_uring {
	struct engine engine;
	struct io_uring ring;
	uint64_t spin_ns;
	struct offloader offloader;
	struct port_bell bell;
	struct uring_op bell_op;
	uint64_t bell_count; /* target of the standing read of the eventfd */
	bool bell_armed;
	/* Completions taken while making room in a full ring, in the middle of some fiber's submission. */
	struct completion *stash;
	size_t nr_stash, cap_stash;
};

static struct engine_uring *uring(struct engine *e)
{
	return container_of(e, struct engine_uring, engine);
}

/* The ring is the heart of the process: when the kernel calls our use of it wrong, there is no way to go on. */
static void ring_broken(const char *what, int r)
{
	fprintf(stderr, "io_uring: cannot %s: %s\n", what, strerror(-r));
	abort();
}

/* --- clock, randomness ---------------------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t uring_now_ns(struct engine *e)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t uring_real_s(struct engine *e)
{
	return clock_ns(CLOCK_REALTIME) / NS_PER_S;
}

static void uring_random(struct engine *e, void *buf, size_t len_bytes)
{
	while (len_bytes) {
		ssize_t n = getrandom(buf, len_bytes, 0);

		if (n < 0 && errno == EINTR)
			continue;
		assert(n > 0); /* every kernel that has io_uring has it */
		buf = (char *)buf + n;
		len_bytes -= (size_t)n;
	}
}

static size_t uring_pick(struct engine *e, size_t nr_ready)
{
	return 0;
}

static void uring_offload(struct engine *e, void (*fn)(void *), void *arg)
{
	offloader_run(&uring(e)->offloader, fn, arg);
}

/* --- completions ---------------------------------------------------------------------------------------------------- */

/* Copied out before any done() runs: done() may submit, and a full ring makes room by taking completions itself. */
static size_t take_cqes(struct engine_uring *u, struct completion *out)
{
	struct io_uring_cqe *cqes[REAP_BATCH];
	unsigned n = io_uring_peek_batch_cqe(&u->ring, cqes, REAP_BATCH);

	for (unsigned i = 0; i < n; i++) {
		out[i].op = io_uring_cqe_get_data(cqes[i]);
		out[i].res = cqes[i]->res;
	}
	io_uring_cq_advance(&u->ring, n);
	return n;
}

static void dispatch(struct completion *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (c[i].op && c[i].op != (void *)LIBURING_UDATA_TIMEOUT)
			c[i].op->done(c[i].op, c[i].res);
}

static bool dispatch_stash(struct engine_uring *u)
{
	struct completion *stash = u->stash;
	size_t n = u->nr_stash;

	if (!n)
		return false;
	u->stash = NULL; /* done() may stash more */
	u->nr_stash = u->cap_stash = 0;
	dispatch(stash, n);
	free(stash);
	return true;
}

static bool reap(struct engine_uring *u)
{
	struct completion batch[REAP_BATCH];
	bool any = dispatch_stash(u);
	size_t n = REAP_BATCH;

	for (int i = 0; i < REAP_MAX_BATCHES && n == REAP_BATCH; i++) {
		n = take_cqes(u, batch);
		dispatch(batch, n);
		any |= n > 0;
	}
	return any;
}

static void stash_completions(struct engine_uring *u)
{
	if (u->nr_stash + REAP_BATCH > u->cap_stash) {
		u->cap_stash = u->cap_stash * 2 + REAP_BATCH;
		u->stash = realloc(u->stash, u->cap_stash * sizeof(*u->stash));
		if (!u->stash)
			ring_broken("remember completions", -ENOMEM);
	}
	u->nr_stash += take_cqes(u, u->stash + u->nr_stash);
}

/* --- submissions ---------------------------------------------------------------------------------------------------- */

static bool transient(int r)
{
	return r == -EINTR || r == -EAGAIN || r == -EBUSY || r == -ETIME || r == -ENOMEM;
}

/* Make room. EBUSY: completions must be taken first. */
static void submit_now(struct engine_uring *u)
{
	int r = io_uring_submit(&u->ring);

	if (r >= 0)
		return;
	if (!transient(r))
		ring_broken("submit", r);
	(void)io_uring_get_events(&u->ring); /* let the kernel move what it holds back; the next try will tell */
	stash_completions(u);
}

struct io_uring_sqe *engine_uring_sqe(struct engine *e, struct uring_op *op)
{
	struct engine_uring *u = uring(e);
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&u->ring)))
		submit_now(u);
	io_uring_sqe_set_data(sqe, op);
	return sqe;
}

static void submit_pending(struct engine_uring *u)
{
	int r;

	if (!io_uring_sq_ready(&u->ring))
		return;
	r = io_uring_submit_and_get_events(&u->ring);
	if (r < 0 && !transient(r))
		ring_broken("submit", r);
}

/* --- the loop's turn with the outside ------------------------------------------------------------------------------- */

static void bell_done(struct uring_op *op, int res)
{
	container_of(op, struct engine_uring, bell_op)->bell_armed = false;
}

static void arm_bell(struct engine_uring *u)
{
	if (u->bell_armed)
		return;
	u->bell_armed = true;
	io_uring_prep_read(engine_uring_sqe(&u->engine, &u->bell_op), u->bell.eventfd, &u->bell_count, sizeof(u->bell_count), 0);
}

/* Whatever another thread wants. Taking the bell first means that what is rung for is seen now or rings again. */
static bool hear_bell(struct engine_uring *u)
{
	bool rung = port_bell_take(&u->bell);

	offloader_reap(&u->offloader);
	return rung;
}

static bool look_for_work(struct engine_uring *u)
{
	bool found = hear_bell(u) | reap(u);

	return found || engine_has_work(&u->engine);
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Waking a halted CPU costs more than most waits last. True: work has come. */
static bool spin(struct engine_uring *u, uint64_t until_ns)
{
	uint64_t now = uring_now_ns(&u->engine);
	uint64_t end = min(now + u->spin_ns, until_ns);

	while (now < end) {
		cpu_relax();
		if (look_for_work(u) || engine_run_pollers(&u->engine))
			return true;
		submit_pending(u); /* a poller may have queued something and yet report no work */
		now = uring_now_ns(&u->engine);
	}
	return now >= until_ns;
}

static void wait_in_kernel(struct engine_uring *u, uint64_t until_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	uint64_t now = uring_now_ns(&u->engine);
	int r;

	if (until_ns == UINT64_MAX) {
		r = io_uring_submit_and_wait(&u->ring, 1);
	} else {
		uint64_t ns = until_ns > now ? until_ns - now : 0;

		ts.tv_sec = (long long)(ns / NS_PER_S);
		ts.tv_nsec = (long long)(ns % NS_PER_S);
		r = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
	}
	if (r < 0 && !transient(r))
		ring_broken("wait", r);
}

static void sleep_in_kernel(struct engine_uring *u, uint64_t until_ns)
{
	struct engine_poller *p;

	list_for_each(p, &u->engine.pollers, link)
		if (p->before_sleep)
			p->before_sleep(p);
	arm_bell(u);
	if (port_bell_try_sleep(&u->bell) && !u->nr_stash && !engine_has_work(&u->engine))
		wait_in_kernel(u, until_ns);
	port_bell_awake(&u->bell);
}

static void uring_poll(struct engine *e, uint64_t until_ns)
{
	struct engine_uring *u = uring(e);

	submit_pending(u);
	if (look_for_work(u) || until_ns == 0)
		return;
	if (u->spin_ns && spin(u, until_ns))
		return;
	sleep_in_kernel(u, until_ns);
	(void)look_for_work(u);
}

/* --- descriptors ---------------------------------------------------------------------------------------------------- */

struct poll_wait {
	struct uring_op op;
	struct wait_queue waiter;
	bool done;
	int res;
};

static void poll_done(struct uring_op *op, int res)
{
	struct poll_wait *w = container_of(op, struct poll_wait, op);

	w->done = true;
	w->res = res;
	wake_all(&w->waiter);
}

static void cancel_op(struct engine *e, struct uring_op *op)
{
	io_uring_prep_cancel(engine_uring_sqe(e, NULL), op, 0);
}

int engine_poll_fd(int fd, unsigned events)
{
	struct poll_wait w = { .op.done = poll_done };
	struct engine *e = engine_self();

	assert(engine_is_uring(e));
	if (fiber_cancelled())
		return -EINTR;
	wait_queue_init(&w.waiter);
	io_uring_prep_poll_add(engine_uring_sqe(e, &w.op), fd, events);
	if (wait_queue_wait_interruptible(&w.waiter) < 0) {
		cancel_op(e, &w.op);
		while (!w.done) /* the kernel still knows w, which is on our stack */
			wait_queue_wait(&w.waiter);
	}
	return w.res == -ECANCELED ? -EINTR : w.res;
}

static void fd_poller_done(struct uring_op *op, int res)
{
	struct fd_poller *p = container_of(op, struct fd_poller, op);

	p->armed = false;
	if (res < 0 && res != -ECANCELED)
		p->error = res;
	if (p->remover)
		fiber_wake(p->remover);
}

static void fd_poller_before_sleep(struct engine_poller *poller)
{
	struct fd_poller *p = container_of(poller, struct fd_poller, poller);

	if (p->armed || p->error)
		return;
	p->armed = true;
	io_uring_prep_poll_add(engine_uring_sqe(p->engine, &p->op), p->fd, p->events);
}

void fd_poller_add(struct engine *e, struct fd_poller *p, int fd, unsigned events, bool (*poll)(struct engine_poller *))
{
	assert(engine_is_uring(e));
	*p = (struct fd_poller){ .engine = e, .fd = fd, .events = events };
	p->op.done = fd_poller_done;
	p->poller.poll = poll;
	p->poller.before_sleep = fd_poller_before_sleep;
	engine_poller_add(e, &p->poller);
}

void fd_poller_remove(struct fd_poller *p)
{
	might_yield();
	engine_poller_remove(&p->poller);
	if (!p->armed)
		return;
	cancel_op(p->engine, &p->op);
	p->remover = fiber_self();
	fiber_park();
}

void engine_wake_from_thread(struct engine *e)
{
	port_bell_ring(&uring(e)->bell);
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

static const struct engine_ops uring_ops = {
	.now_ns = uring_now_ns,
	.real_s = uring_real_s,
	.random = uring_random,
	.pick = uring_pick,
	.poll = uring_poll,
	.offload = uring_offload,
};

bool engine_is_uring(const struct engine *e)
{
	return e && e->ops == &uring_ops;
}

struct io_uring *engine_uring_ring(struct engine *e)
{
	return &uring(e)->ring;
}

bool engine_uring_has_sqe128(const struct engine *e)
{
	return container_of(e, const struct engine_uring, engine)->ring.flags & IORING_SETUP_SQE128;
}

/*
 * Best first. DEFER_TASKRUN (6.1) completes requests only when we ask, in our own time; TASKRUN_FLAG shows without a system call that
 * there is something to ask for. COOP (5.19) at least spares the interrupts.
 */
static int ring_init(struct io_uring *ring)
{
	static const unsigned tries[] = {
		IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN |
			IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN,
		IORING_SETUP_SUBMIT_ALL,
		0,
	};
	int r = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		struct io_uring_params params = { .flags = tries[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
						  .cq_entries = CQ_ENTRIES };

		r = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);
		if (r != -EINVAL)
			break;
	}
	if (r >= 0)
		(void)io_uring_ring_dontfork(ring); /* only keeps children from sharing it */
	return r;
}

int engine_uring_new(unsigned spin_us, struct engine **ret)
{
	struct engine_uring *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	r = port_bell_init(&u->bell);
	if (r < 0)
		goto err_free;
	r = ring_init(&u->ring);
	if (r < 0)
		goto err_bell;
	u->spin_ns = spin_us * NS_PER_US;
	u->bell_op.done = bell_done;
	offloader_init(&u->offloader, &u->bell);
	engine_init(&u->engine, &uring_ops);
	*ret = &u->engine;
	return 0;
err_bell:
	port_bell_release(&u->bell);
err_free:
	free(u);
	return r;
}

/* Closing the ring ends asynchronously in the kernel, and the standing eventfd read points into u. */
static void retire_bell(struct engine_uring *u)
{
	if (!u->bell_armed)
		return;
	cancel_op(&u->engine, &u->bell_op);
	while (u->bell_armed) {
		int r = io_uring_submit_and_wait(&u->ring, 1);

		if (r < 0 && !transient(r))
			break;
		(void)reap(u);
	}
}

void engine_uring_free(struct engine *e)
{
	struct engine_uring *u;

	if (!e)
		return;
	u = uring(e);
	offloader_release(&u->offloader);
	retire_bell(u);
	engine_release(e);
	io_uring_queue_exit(&u->ring);
	port_bell_release(&u->bell);
	free(u->stash);
	free(u);
}
