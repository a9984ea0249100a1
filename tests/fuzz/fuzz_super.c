/* SPDX-License-Identifier: GPL-2.0-only */
/* A superblock: judged, printed, its geometry derived, edited, sealed and judged again. Input: bit 0 = make the checksum right; the block. */
#include "tests/fuzz/fuzz.h"
#include "formats/fields.h"
#include "formats/geometry.h"
#include "formats/text.h"
#include <stdlib.h>

static void accepted(struct super *s)
{
	struct geometry g;

	if (super_is_backing(s)) {
		assert(super_data_offset(s) >= DATA_OFFSET_DEFAULT);
	} else {
		super_geometry(s, &g);
		assert(g.nr_buckets >= BUCKETS_MIN && g.bucket_sectors >= PAGE_SECTORS && 1u << g.bucket_shift == g.bucket_sectors);
		assert(g.first_bucket + s->keys <= g.nr_buckets && g.nr_uuids && g.prios_per_bucket);
		assert((uint64_t)g.nr_prio_buckets * g.prios_per_bucket >= g.nr_buckets);
		assert(g.node_sectors * SECTOR_BYTES <= g.meta_bytes && g.meta_bytes <= META_BYTES_MAX);
		assert(geometry_bucket(&g, geometry_sector(&g, g.nr_buckets - 1)) == g.nr_buckets - 1);
	}
	/* What the daemon changes keeps it acceptable. */
	s->seq++;
	super_set_sync(s, true);
	super_set_cache_mode(s, CACHE_MODE_WRITEBACK);
	super_set_state(s, BDEV_STATE_DIRTY);
	super_set_replacement(s, REPLACEMENT_RANDOM);
	super_set_discard(s, true);
	super_seal(s);
	if (super_validate(s, &(struct super_limits){ 0 }, NULL) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct super *s;
	static char text[65536];
	char reason[200];
	struct printbuf pb = PRINTBUF(text), why = PRINTBUF(reason);
	struct super_limits limits = { .device_sectors = size & 1 ? 1u << 20 : 0, .logical_block_bytes = size & 2 ? 4096 : 0 };

	if (!size)
		return -1;
	s = calloc(1, sizeof(*s));
	memcpy(s, data + 1, min(size - 1, sizeof(*s)));
	if (data[0] & 1 && s->keys <= SUPER_KEYS_MAX)
		super_seal(s);
	super_to_text(&pb, s);
	layout_to_text(&pb, &disk_layouts[DISK_SUPER], s);
	if (super_validate(s, &limits, &why) == 0)
		accepted(s);
	else
		assert(*reason);
	free(s);
	return 0;
}
