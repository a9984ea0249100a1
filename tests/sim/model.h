/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * What a reader may see: the oracle of the simulation, for one exported device.
 *
 * A sector is an atomic register. Operations have a beginning and an end; between them they may take effect at any moment, but only
 * once. The model keeps, for each sector, every content that the history so far allows (a *candidate*):
 *
 *   live   it may be the current content. Its mask says which of the pending writes it already contains, so that overlapping
 *          concurrent writes, whole or partial, may come out in either order, and in no other way.
 *   dead   it can no longer be current (since `until`), but a power cut may still bring it back, because no flush has begun since.
 *
 * A read from t0 to t1 may return any candidate that was live at some time after t0. A flush that began at t0 and succeeded forbids
 * all that died before t0. After a power cut every candidate that is left is live. Seeing one of several live candidates rules the
 * others out, unless there was a power cut and a write among them may have gone to the backing device past the cache: then the cached
 * copy and the backing device may hold different ones, and eviction may flip between the two until the sector is overwritten (R2.6).
 * An operation that failed may or may not have happened.
 *
 * Written data names its place and its write: each aligned 8 bytes hold word-in-sector (6 bits), device (2), sector (24), gen (32).
 * gen 0 is all zeros.
 */
#include "formats/printbuf.h"

#define MODEL_PENDING_MAX 8

struct model;
struct model_content;

struct model_op { /* a write or zeroing in flight; memory is the caller's */
	uint64_t offset_bytes, len_bytes;
	uint32_t gen;	/* 0: zeros */
	bool direct;	/* may reach the backing device without being dirty in the cache */
};
struct model_read {
	uint64_t begun;
	struct model_read *next, **prev;
};
struct model_flush {
	uint64_t begun;
};

/* Everything is zero and durable at first. */
struct model *model_new(uint64_t nr_sectors, unsigned dev);
void model_free(struct model *m);
uint64_t model_bytes(const struct model *m);

/* The bytes that write `gen` puts at [offset, offset + len). */
void model_pattern(unsigned dev, uint32_t gen, uint64_t offset_bytes, void *buf, size_t len_bytes);

void model_write_begin(struct model *m, struct model_op *op);
/* error: 0 or what the write ended with. durable: it was a synchronous one. */
void model_write_end(struct model *m, struct model_op *op, int error, bool durable);
void model_read_begin(struct model *m, struct model_read *r);
/* 0, or -EUCLEAN with the first sector that reads what it must not. */
MUST_CHECK int model_read_end(struct model *m, struct model_read *r, uint64_t offset_bytes, const void *buf, size_t len_bytes,
			      struct printbuf *why);
/* The same question about bytes that were not read through the device (a backing device on its own); settles nothing. */
MUST_CHECK int model_check(const struct model *m, uint64_t offset_bytes, const void *buf, size_t len_bytes, struct printbuf *why);
/*
 * From somewhere else it is known what the sector holds, durably: that, and nothing that it held before. Nobody reads or writes it meanwhile.
 * model_allow(): or that, too.
 */
void model_adopt(struct model *m, uint64_t sector, const void *bytes);
void model_allow(struct model *m, uint64_t sector, const void *bytes);
/* Something that writes up to `gen` may have left in the sector, whichever they were, whole or in part? Foreign data is not. 0 or -EUCLEAN. */
MUST_CHECK int model_check_own(const struct model *m, uint64_t sector, const void *bytes, uint32_t gen, struct printbuf *why);
void model_flush_begin(struct model *m, struct model_flush *f);
void model_flush_end(struct model *m, struct model_flush *f, int error);

/* The power failed: nothing is in flight any more, and what was not flushed may be lost. */
void model_crash(struct model *m);
/* The process died. The same; but what is there now may still be lost by the next power cut. */
void model_process_dies(struct model *m);
/* Grows with every event that the model was told of. */
uint64_t model_time(const struct model *m);
/* How many sectors may read as more than one thing: tells whether a test tests anything. */
uint64_t model_ambiguous_sectors(const struct model *m);
