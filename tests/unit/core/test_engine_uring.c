/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/unit/core/test_engine_util.h"
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

static struct fiber *spawn(void (*fn)(void *), void *arg)
{
	struct fiber *f = fiber_spawn("test", fn, arg);

	assert_non_null(f);
	return f;
}

/* --- operations */

struct nop {
	struct uring_op op;
	struct latch *latch;
};

static void nop_done(struct uring_op *op, int res)
{
	assert_null(fiber_self());
	latch_done(container_of(op, struct nop, op)->latch, res);
}

#define NR_NOPS 5000 /* more than both rings hold */

static int nops_main(void *arg)
{
	static struct nop nops[NR_NOPS];
	struct latch l;

	latch_init(&l);
	for (size_t i = 0; i < NR_NOPS; i++) {
		nops[i] = (struct nop){ .op.done = nop_done, .latch = &l };
		latch_add(&l, 1);
		io_uring_prep_nop(engine_uring_sqe(engine_self(), &nops[i].op));
		if (i % 100 == 0)
			io_uring_prep_nop(engine_uring_sqe(engine_self(), NULL)); /* nobody cares */
	}
	return latch_wait(&l);
}

static void more_operations_than_the_ring_holds_all_complete(void **state)
{
	assert_int_equal(run_uring(nops_main, NULL), 0);
}

/* --- offload */

struct sum {
	const uint8_t *data;
	size_t len;
	uint64_t result;
	pthread_t thread;
};

static void add_up(void *arg)
{
	struct sum *s = arg;

	s->result = 0;
	for (size_t i = 0; i < s->len; i++)
		s->result += s->data[i];
	s->thread = pthread_self();
}

static void offload_some(void *arg)
{
	uint8_t data[1000];
	struct sum s = { .data = data, .len = sizeof(data) };

	for (int i = 0; i < 100; i++) {
		memset(data, i, sizeof(data));
		offload(add_up, &s);
		assert_int_equal(s.result, (uint64_t)i * sizeof(data));
		*(bool *)arg |= !pthread_equal(s.thread, pthread_self());
	}
}

static int offload_main(void *arg)
{
	struct fiber *f[10];
	bool elsewhere = false;

	for (int i = 0; i < 10; i++)
		f[i] = spawn(offload_some, &elsewhere);
	for (int i = 0; i < 10; i++)
		fiber_join(f[i]);
	return elsewhere;
}

static void offload_runs_on_other_threads_and_returns_results(void **state)
{
	if (RUNNING_ON_VALGRIND) /* see offloader_init(); and its time is its own */
		skip();
	assert_true(run_uring(offload_main, NULL));
	assert_false(run_sim(1, offload_main, NULL)); /* inline */
}

static void offload_without_an_engine_runs_inline(void **state)
{
	uint8_t data[2] = { 1, 2 };
	struct sum s = { .data = data, .len = 2 };

	offload(add_up, &s);
	assert_int_equal(s.result, 3);
}

/* --- descriptors */

static void write_byte_later(void *arg)
{
	fiber_sleep_ns(2 * NS_PER_MS);
	assert_int_equal(write(*(int *)arg, "x", 1), 1);
}

static int poll_main(void *arg)
{
	struct fiber *f;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	f = spawn(write_byte_later, &fds[1]);
	assert_int_equal(engine_poll_fd(fds[0], POLLIN), POLLIN);
	fiber_join(f);
	assert_int_equal(engine_poll_fd(fds[0], POLLIN), POLLIN); /* at once */
	assert_true(engine_poll_fd(fds[1], POLLOUT) & POLLOUT);
	assert_true(engine_poll_fd(-1, POLLIN) < 0);
	close(fds[1]);
	close(fds[0]);
	return 0;
}

static void poll_fd_waits_for_the_descriptor(void **state)
{
	run_uring(poll_main, NULL);
}

struct poll_call {
	int fd, result;
};

static void poll_once(void *arg)
{
	struct poll_call *c = arg;

	c->result = engine_poll_fd(c->fd, POLLIN);
	assert_int_equal(engine_poll_fd(c->fd, POLLIN), -EINTR); /* still cancelled */
}

static int poll_cancel_main(void *arg)
{
	struct poll_call c;
	struct fiber *f;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	c.fd = fds[0];
	f = spawn(poll_once, &c);
	fiber_sleep_ns(NS_PER_MS);
	fiber_cancel(f);
	fiber_join(f);
	assert_int_equal(c.result, -EINTR);
	close(fds[1]);
	close(fds[0]);
	return 0;
}

static void poll_fd_can_be_cancelled(void **state)
{
	run_uring(poll_cancel_main, NULL);
}

/* --- a transport: another thread sends, the poller receives */

#define NR_MESSAGES (SLOW ? 300 : 3000)

struct receiver {
	struct fd_poller p;
	struct wait_queue got_all;
	int fds[2];
	int got;
};

static bool receive(struct engine_poller *poller)
{
	struct receiver *r = container_of(poller, struct receiver, p.poller);
	char buf[16];
	ssize_t n = read(r->fds[0], buf, sizeof(buf));

	if (n <= 0)
		return false;
	r->got += (int)n;
	if (r->got == NR_MESSAGES)
		wake_all(&r->got_all);
	return true;
}

static void *send_messages(void *arg)
{
	struct receiver *r = arg;

	for (int i = 0; i < NR_MESSAGES; i++) {
		/* Sometimes the engine spins, sometimes it sleeps. */
		struct timespec ts = { .tv_nsec = i % 100 == 0 ? 1000000 : 0 };

		nanosleep(&ts, NULL);
		if (write(r->fds[1], "m", 1) != 1)
			break;
	}
	return NULL;
}

static int receive_main(void *arg)
{
	struct receiver r = { .got = 0 };
	pthread_t sender;

	wait_queue_init(&r.got_all);
	assert_int_equal(pipe2(r.fds, O_NONBLOCK), 0);
	fd_poller_add(engine_self(), &r.p, r.fds[0], POLLIN, receive);
	assert_int_equal(pthread_create(&sender, NULL, send_messages, &r), 0);
	while (r.got < NR_MESSAGES)
		assert_int_equal(wait_queue_wait_timeout(&r.got_all, 60 * NS_PER_S), 0);
	fd_poller_remove(&r.p);
	assert_false(r.p.armed);
	assert_int_equal(r.p.error, 0);
	pthread_join(sender, NULL);
	close(r.fds[0]);
	close(r.fds[1]);
	return 0;
}

static void no_message_to_a_poller_is_slept_through(void **state)
{
	struct engine *e;

	if (RUNNING_ON_VALGRIND) /* see offloader_init(); and its time is its own */
		skip();
	for (unsigned spin_us = 0; spin_us <= 200; spin_us += 200) {
		assert_int_equal(engine_uring_new(spin_us, &e), 0);
		assert_int_equal(engine_run(e, receive_main, NULL), 0);
		engine_uring_free(e);
	}
}

static bool never(struct engine_poller *p)
{
	return false;
}

static int remove_armed_main(void *arg)
{
	struct fd_poller p;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	fd_poller_add(engine_self(), &p, fds[0], POLLIN, never);
	fiber_sleep_ns(NS_PER_MS);
	assert_true(p.armed);
	fd_poller_remove(&p);
	assert_false(p.armed);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

static void a_poller_can_be_removed_while_armed(void **state)
{
	run_uring(remove_armed_main, NULL);
}

/* --- wake from a thread */

#define NR_RINGS (SLOW ? 500 : 5000)

struct ringing {
	struct engine_poller poller;
	struct engine *e;
	atomic_int rings; /* published before each wake */
	int seen;
	struct wait_queue more;
};

static void *ring_often(void *arg)
{
	struct ringing *r = arg;

	for (int i = 0; i < NR_RINGS; i++) {
		atomic_fetch_add_explicit(&r->rings, 1, memory_order_relaxed);
		engine_wake_from_thread(r->e);
		if (i % 500 == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
	}
	return NULL;
}

static bool look_at_rings(struct engine_poller *p)
{
	struct ringing *r = container_of(p, struct ringing, poller);
	int now = atomic_load_explicit(&r->rings, memory_order_relaxed);
	bool more = now != r->seen;

	r->seen = now;
	if (more)
		wake_all(&r->more);
	return more;
}

static int ring_main(void *arg)
{
	struct ringing r = { .poller.poll = look_at_rings, .e = engine_self() };
	pthread_t threads[2];

	wait_queue_init(&r.more);
	engine_poller_add(r.e, &r.poller);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ring_often, &r), 0);
	while (r.seen < 2 * NR_RINGS)
		assert_int_equal(wait_queue_wait_timeout(&r.more, 60 * NS_PER_S), 0);
	engine_poller_remove(&r.poller);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

static void no_wake_from_a_thread_is_lost(void **state)
{
	struct engine *e;

	if (RUNNING_ON_VALGRIND) /* see offloader_init(); and its time is its own */
		skip();
	for (unsigned spin_us = 0; spin_us <= 20; spin_us += 20) {
		assert_int_equal(engine_uring_new(spin_us, &e), 0);
		assert_int_equal(engine_run(e, ring_main, NULL), 0);
		engine_uring_free(e);
	}
}

/* --- idle */

static uint64_t cpu_ns(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * NS_PER_S +
	       (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * NS_PER_US;
}

static int idle_main(void *arg)
{
	uint64_t cpu;

	engine_wake_from_thread(engine_self()); /* have the bell's read come and go */
	fiber_sleep_ns(NS_PER_MS);
	cpu = cpu_ns();
	fiber_sleep_ns(300 * NS_PER_MS);
	assert_true(cpu_ns() - cpu < 50 * NS_PER_MS);
	return 0;
}

static void an_idle_engine_sleeps(void **state)
{
	if (RUNNING_ON_VALGRIND) /* see offloader_init(); and its time is its own */
		skip();
	run_uring(idle_main, NULL);
}

static int random_main(void *arg)
{
	char a[1000] = { 0 }, zeros[16] = { 0 };

	assert_true(engine_random_u64() != engine_random_u64());
	engine_random(a, sizeof(a));
	assert_memory_not_equal(a + sizeof(a) - 16, zeros, 16);
	assert_true(engine_real_s() > 1700000000);
	return 0;
}

static void random_fills_the_whole_buffer(void **state)
{
	run_uring(random_main, NULL);
	run_sim(1, random_main, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(more_operations_than_the_ring_holds_all_complete),
		TEST(offload_runs_on_other_threads_and_returns_results),
		TEST(offload_without_an_engine_runs_inline),
		TEST(poll_fd_waits_for_the_descriptor),
		TEST(poll_fd_can_be_cancelled),
		TEST(no_message_to_a_poller_is_slept_through),
		TEST(a_poller_can_be_removed_while_armed),
		TEST(no_wake_from_a_thread_is_lost),
		TEST(an_idle_engine_sleeps),
		TEST(random_fills_the_whole_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
