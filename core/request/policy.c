/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/request/policy.h"

const char *const bypass_reason_names[BYPASS_REASONS] = {
	[BYPASS_DETACHING] = "detaching", [BYPASS_CACHE_FULL] = "cache_full", [BYPASS_DISCARD] = "discard",	 [BYPASS_MODE] = "mode",
	[BYPASS_UNALIGNED] = "unaligned", [BYPASS_TORTURE] = "torture",	      [BYPASS_SEQUENTIAL] = "sequential", [BYPASS_CONGESTED] = "congested",
};

const char *const writeback_refusal_names[WRITEBACK_REFUSALS] = {
	[REFUSED_DETACHING] = "detaching", [REFUSED_CUTOFF_SYNC] = "cutoff_sync", [REFUSED_BYPASS] = "bypass",
	[REFUSED_CUTOFF] = "cutoff",	   [REFUSED_NO_BUCKET] = "no_bucket",	  [REFUSED_CACHE_ERROR] = "cache_error",
};

static bool block_aligned(const struct bypass_input *in)
{
	return !(in->start_sector % in->block_sectors) && !(in->nr_sectors % in->block_sectors);
}

static bool mode_bypasses(const struct bypass_input *in)
{
	return in->mode == CACHE_MODE_NONE || (in->mode == CACHE_MODE_WRITEAROUND && in->write);
}

enum bypass_reason policy_bypass_early(const struct bypass_input *in)
{
	assert(in->block_sectors > 0);
	if (in->detaching)
		return BYPASS_DETACHING;
	if (in->in_use_percent > CUTOFF_CACHE_ADD)
		return BYPASS_CACHE_FULL;
	if (in->discard)
		return BYPASS_DISCARD;
	if (mode_bypasses(in))
		return BYPASS_MODE;
	if (!block_aligned(in))
		return BYPASS_UNALIGNED;
	return BYPASS_NO;
}

enum bypass_reason policy_bypass_late(const struct bypass_input *in, uint64_t stream_bytes)
{
	uint64_t stream_sectors = stream_bytes >> SECTOR_SHIFT;

	/* Whole sectors: a cutoff of 1..511 bytes is "0 sectors" and lets everything bypass (control-files.md §4.3). */
	if (in->sequential_cutoff_bytes && stream_sectors >= in->sequential_cutoff_bytes >> SECTOR_SHIFT)
		return BYPASS_SEQUENTIAL;
	if (in->congestion_limit_sectors && stream_sectors >= in->congestion_limit_sectors)
		return BYPASS_CONGESTED;
	return BYPASS_NO;
}

enum writeback_refusal policy_refuses_writeback(const struct writeback_input *in)
{
	if (in->mode != CACHE_MODE_WRITEBACK)
		return REFUSED_MODE;
	if (in->detaching)
		return REFUSED_DETACHING;
	if (in->in_use_percent > in->cutoff_writeback_sync)
		return REFUSED_CUTOFF_SYNC;
	if (in->discard)
		return REFUSED_DISCARD;
	/* A stripe with dirty data will be written anyway; completing it spares the array a read-modify-write. */
	if (in->touches_dirty_stripe)
		return WRITEBACK_ACCEPTED;
	if (in->would_bypass)
		return REFUSED_BYPASS;
	return in->sync || in->in_use_percent <= in->cutoff_writeback ? WRITEBACK_ACCEPTED : REFUSED_CUTOFF;
}
