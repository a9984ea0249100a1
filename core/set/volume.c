/* SPDX-License-Identifier: GPL-2.0-only */
/* Flash-only volumes. */
#include "core/admin/log.h"
#include "core/set/instance.h"

void volumes_start(struct cset *c)
{
	for (uint32_t slot = 0; slot < c->g.nr_uuids; slot++) {
		struct bdev *d;
		int r;

		if (uuid_entry_state(&c->uuids[slot]) != UUID_SLOT_FLASH || c->devices[slot])
			continue;
		r = bdev_new_flash(c, slot, &d);
		if (!r) {
			bdev_hold(d); /* the set may fail and stop it while its data is counted */
			r = writeback_start(d);
			if (!r)
				r = bdev_run(d);
			bdev_release(d);
		}
		if (r < 0)
			log_warn("cache set %s: cannot start the flash-only volume in slot %u: %s", c->uuid_text, slot, strerror(-r));
	}
}
