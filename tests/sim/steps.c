/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/steps.h"
#include <stdlib.h>

const char *const step_names[STEPS] = {
	"write", "overwrite", "flush", "read", "punch", "mode", "attach", "detach", "gc", "writeback", "stop", "crash",
};

static uint32_t gen; /* of the last write */

/* An error counts only when nothing was made to fail. */
static bool bad(struct world *w, bool wrong)
{
	return wrong && !world_disturbed(w);
}

/* NULL: it does not run. */
static struct bdev *device(struct world *w)
{
	struct bdev *d = world_bdev(w, 0);

	if (bad(w, !d))
		world_fail(w, "the device is gone");
	return d;
}

static void control(struct world *w, int target, const char *file, const char *text)
{
	int r = world_ctl(w, target, file, text);

	if (bad(w, r < 0))
		world_fail(w, "writing '%s' to %s returns %d", text, file, r);
}

static void *get_buffer(uint64_t nr_sectors)
{
	void *buf = malloc(nr_sectors * SECTOR_BYTES);

	if (!buf)
		abort();
	return buf;
}

static void write_range(struct world *w, struct bdev *d, uint64_t sector, uint64_t nr_sectors, enum steps_write how)
{
	bool zero = how == STEPS_ZERO, sync = how == STEPS_SYNC;
	void *buf = get_buffer(nr_sectors);
	struct bcf_io io = { .pid = 1, .handle = 1, .sync = sync };
	/* In writeback mode nothing but zeroing passes the cache, unless something fails: the model is strict (world.h). */
	struct model_op op = { .offset_bytes = sector * SECTOR_BYTES, .len_bytes = nr_sectors * SECTOR_BYTES, .gen = zero ? 0 : ++gen,
			       .direct = zero || world_may_fail(w) || !d->set || d->detaching || bdev_cache_mode(d) != CACHE_MODE_WRITEBACK };
	int64_t r;

	model_write_begin(w->model[0], &op);
	if (zero) {
		r = bcf_zero(d, op.offset_bytes, op.len_bytes);
		r = r < 0 ? r : (int64_t)op.len_bytes;
	} else {
		model_pattern(0, op.gen, op.offset_bytes, buf, op.len_bytes);
		r = bcf_write(d, buf, op.len_bytes, op.offset_bytes, &io);
	}
	if (bad(w, r != (int64_t)op.len_bytes))
		world_fail(w, "write returns %lld", (long long)r);
	model_write_end(w->model[0], &op, r < 0 ? (int)r : 0, sync);
	free(buf);
}

void steps_write(struct world *w, uint64_t sector, uint64_t nr_sectors, enum steps_write how)
{
	struct bdev *d = device(w);

	if (d)
		write_range(w, d, sector, nr_sectors, how);
}

static void flush(struct world *w, struct bdev *d)
{
	struct model_flush f;
	int r;

	model_flush_begin(w->model[0], &f);
	r = bcf_flush(d);
	if (bad(w, r < 0))
		world_fail(w, "flush returns %d", r);
	model_flush_end(w->model[0], &f, r);
}

/* It is in the cache afterwards. */
static void read_fill(struct world *w, struct bdev *d, uint64_t sector, uint64_t nr_sectors)
{
	uint64_t offset = sector * SECTOR_BYTES, len = nr_sectors * SECTOR_BYTES;
	void *buf = get_buffer(nr_sectors);
	char text[1000] = "";
	struct printbuf why = PRINTBUF(text);
	struct bcf_io io = { .pid = 1, .handle = 1 };
	struct model_read read;
	int64_t r;

	model_read_begin(w->model[0], &read);
	r = bcf_read(d, buf, len, offset, &io);
	if (bad(w, r != (int64_t)len))
		world_fail(w, "read returns %lld", (long long)r);
	if (r < 0)
		ignore_result(model_read_end(w->model[0], &read, offset, buf, 0, &why));
	else if (model_read_end(w->model[0], &read, offset, buf, len, &why) < 0)
		world_fail_data(w, 0, offset, len, text);
	free(buf);
	while (world_bdev(w, 0) && world_bdev(w, 0)->fills_in_flight)
		fiber_sleep_ns(NS_PER_MS);
}

void steps_read(struct world *w, uint64_t sector, uint64_t nr_sectors)
{
	struct bdev *d = device(w);

	if (d)
		read_fill(w, d, sector, nr_sectors);
}

static bool is_attached(struct world *w)
{
	struct bdev *d = world_bdev(w, 0);

	return d && d->set;
}

static bool is_dirty(struct world *w)
{
	return is_attached(w) && world_bdev(w, 0)->writeback.has_dirty;
}

/* Disks that fail may keep it from ever ending. */
static void wait_while(struct world *w, bool (*still)(struct world *w), const char *what)
{
	for (unsigned s = 0; still(w) && !world_failed(w); s += 5) {
		fiber_sleep_ns(5 * NS_PER_S);
		if (s > 3600 && world_disturbed(w))
			return;
		if (s > 12 * 3600)
			world_fail(w, "%s takes half a day", what);
	}
}

static void write_back(struct world *w)
{
	control(w, 0, "%s/writeback_percent", "0");
	control(w, 0, "%s/writeback_delay", "0");
	control(w, 0, "%s/writeback_running", "1");
	wait_while(w, is_dirty, "writeback");
	control(w, 0, "%s/writeback_running", "0");
}

bool step_possible(struct world *w, enum step op)
{
	switch (op) {
	case STEP_ATTACH:
		return !is_attached(w);
	case STEP_DETACH:
		return is_attached(w);
	case STEP_WRITEBACK:
		return is_dirty(w);
	default:
		return true;
	}
}

void step_perform(struct world *w, enum step op)
{
	struct bdev *d = device(w);

	if (!d)
		return;
	switch (op) {
	case STEP_WRITE:
		write_range(w, d, 0, 8, STEPS_PLAIN);
		break;
	case STEP_OVERWRITE:
		write_range(w, d, 5, 9, STEPS_PLAIN);
		break;
	case STEP_FLUSH:
		flush(w, d);
		break;
	case STEP_READ:
		read_fill(w, d, 0, STEPS_SECTORS);
		break;
	case STEP_PUNCH:
		write_range(w, d, 3, 8, STEPS_ZERO);
		break;
	case STEP_MODE:
		control(w, 0, "%s/cache_mode", cache_mode_names[(bdev_cache_mode(d) + 1) % 4]);
		break;
	case STEP_ATTACH:
		w->detached[0] = false;
		control(w, 0, "%s/attach", w->set_uuid_text);
		break;
	case STEP_DETACH:
		w->detached[0] = true;
		control(w, 0, "%s/detach", "1");
		wait_while(w, is_attached, "detaching");
		break;
	case STEP_GC:
		control(w, -1, "%s/gc_wait", "1");
		break;
	case STEP_WRITEBACK:
		write_back(w);
		break;
	default:
		break;
	}
}

void steps_configure(struct world *w)
{
	control(w, 0, "%s/sequential_cutoff", "0");
	control(w, 0, "%s/writeback_running", "0");
}

void steps_prepare(struct world *w)
{
	struct bdev *d = device(w);

	control(w, 0, "%s/cache_mode", "none");
	if (d)
		write_range(w, d, 0, model_bytes(w->model[0]) / SECTOR_BYTES, STEPS_PLAIN);
	if (d)
		flush(w, d);
	control(w, 0, "%s/cache_mode", "writeback");
}
