/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Dirty sectors per stripe of a backing device (behaviour.md §8.2, §8.9).
 *
 * Why: on parity RAID a write of part of a stripe costs reads. A write into a stripe that has dirty data is therefore cached too, and
 * writeback prefers stripes that are dirty from end to end (partial_stripes_expensive).
 * Model: stripe i is the sectors [i * stripe_sectors, (i + 1) * stripe_sectors) of the backing device itself, so data_offset needs no
 * thought; any size will do (W-17: true division, all stripes of a range). A stripe is *full* when each of its sectors is dirty, which the
 * cut-off ones at the ends of the data never are.
 * Memory: counters lie in pages of 1024, pages in groups of 1024, and only those with dirty data exist. 64 TiB in stripes of 1 MiB with
 * dirty data in every GiB take 256 MiB; one terabyte-sized stripe takes a page.
 * Memory short: counting stops until somebody recounts (`lost`). The counts are advice; the device's total is kept elsewhere and exact.
 * Recount: changes are counted up to counted_to only, for the walk through the index will see what lies behind. See recount.h.
 * Pure, but for malloc(). Does not wait.
 */
#include "formats/base.h"

#define STRIPE_SECTORS_MAX (1ull << 31)	    /* also the size when nobody knows one */
#define STRIPE_SECTORS_AUTO_MIN (MIB(4) / SECTOR_BYTES)
#define STRIPE_NONE UINT64_MAX

struct stripe_group;
struct stripes {
	uint64_t stripe_sectors;
	uint64_t nr_stripes;
	uint64_t counted_to;  /* UINT64_MAX: all changes count */
	uint64_t nr_touched;  /* stripes with dirty sectors */
	uint64_t nr_full;
	size_t nr_pages;      /* allocated */
	bool lost;
	struct stripe_group **groups; /* NULL: lost, or not initialised */
};

/* What a device that reports this optimal I/O size (0: none) counts by: a multiple of it, at least 4 MiB. */
uint64_t stripe_sectors_auto(uint64_t optimal_io_sectors);
/* For a backing device of end_sectors. Without memory it is `lost`. */
void stripes_init(struct stripes *s, uint64_t stripe_sectors, uint64_t end_sectors, uint64_t counted_to);
void stripes_release(struct stripes *s);
/* nr_sectors from start on became dirty (> 0) or are no longer (< 0). */
void stripes_account(struct stripes *s, uint64_t start, int64_t nr_sectors);
/* Does a stripe that [start, end) touches have dirty sectors? */
bool stripes_touch_dirty(const struct stripes *s, uint64_t start, uint64_t end);
/* First full stripe from index `from` on, or STRIPE_NONE. */
uint64_t stripes_next_full(const struct stripes *s, uint64_t from);
uint32_t stripes_dirty_sectors(const struct stripes *s, uint64_t stripe);
