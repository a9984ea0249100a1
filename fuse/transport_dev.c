/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The classic transport: read(2) on /dev/fuse without blocking, between other work of the engine; replies are written at once.
 * The engine polls the descriptor for us when it is about to sleep, and only then (engine_uring.h, struct fd_poller).
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/admin/log.h"
#include "core/engine/engine_uring.h"
#include "fuse/session.h"
#include "fuse/transport.h"

/* Requests taken per turn of the loop, so that disks and running fibers get theirs. */
#define BATCH 32

struct transport_dev {
	struct transport transport;
	struct fd_poller poller;
	void (*before_sleep)(struct engine_poller *p);
	int fd;
};

static struct transport_dev *dev_of(struct transport *t)
{
	return container_of(t, struct transport_dev, transport);
}

/* While we cannot take requests, a readable descriptor must not keep the engine awake. */
static void listen(struct transport_dev *d, bool on)
{
	d->poller.poller.before_sleep = on ? d->before_sleep : NULL;
}

/* True: one request was received and dealt with. */
static bool receive_one(struct transport_dev *d)
{
	struct transport *t = &d->transport;
	struct request *rq = transport_slot(t);
	ssize_t n;

	if (!rq) {
		listen(d, false);
		return false;
	}
	n = read(d->fd, request_buffer(rq), REQUEST_BUFFER_BYTES);
	if (n > 0) {
		transport_deliver(t, rq, (size_t)n);
		return true;
	}
	n = n < 0 ? errno : ENODEV;
	list_add(&t->free_slots, &rq->link);
	t->idle_touched_bytes += rq->touched_bytes;
	if (n == EINTR || n == ENOENT) /* ENOENT: the caller was killed before we could read its request */
		return true;
	if (n == EAGAIN) {
		transport_drained(t);
		return false;
	}
	/* ENODEV: unmounted; ECONNABORTED: aborted by an administrator. */
	if (n != ENODEV && n != ECONNABORTED)
		log_error("cannot read requests from /dev/fuse: %s", strerror((int)n));
	listen(d, false);
	transport_end(t);
	return false;
}

static bool dev_poll(struct engine_poller *p)
{
	struct transport_dev *d = container_of(p, struct transport_dev, poller.poller);
	unsigned n = 0;

	while (n < BATCH && !d->transport.starved && !d->transport.ended && receive_one(d))
		n++;
	return n > 0;
}

static int dev_start(struct transport *t)
{
	struct transport_dev *d = dev_of(t);
	int flags = fcntl(d->fd, F_GETFL);

	if (flags < 0 || fcntl(d->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	fd_poller_add(engine_self(), &d->poller, d->fd, POLLIN, dev_poll);
	d->before_sleep = d->poller.poller.before_sleep;
	return 0;
}

static void dev_stop(struct transport *t)
{
	fd_poller_remove(&dev_of(t)->poller);
}

static void dev_resume(struct transport *t)
{
	listen(dev_of(t), true);
}

static void dev_free(struct transport *t)
{
	transport_release(t);
	free(dev_of(t));
}

static const struct transport_ops dev_ops = {
	.name = "/dev/fuse",
	.start = dev_start,
	.stop = dev_stop,
	.free = dev_free,
	.resume = dev_resume,
};

int transport_dev_new(struct session *s, struct transport **ret)
{
	struct transport_dev *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	r = transport_init(&d->transport, &dev_ops, s);
	if (r < 0) {
		free(d);
		return r;
	}
	d->fd = fuse_session_fd(s->fuse);
	*ret = &d->transport;
	return 0;
}
