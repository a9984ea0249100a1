/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The cache engine as its users see it: the only core header that fuse/ includes. tools/ and tests may look deeper.
 *
 * Everything here runs on the engine thread. Functions marked FIBER_FN must be called from a fiber and may park it.
 * Errors are negative errno; `why` (may be NULL) receives one clear line: what happened, to which object, what to do next.
 */
#include "core/engine/engine.h"
#include "formats/printbuf.h"

struct bcf;	/* one running instance: all cache sets and devices of the process */
struct bdev;	/* one exported device: a cached backing device, or a flash-only volume */

struct bcf_options {
	uint64_t btree_cache_max_bytes; /* memory for btree nodes, per set; 0 = default (128 MiB) */
	unsigned shutdown_timeout_s;	/* bcf_stop() gives up waiting after this; 0 = default 10 */
	unsigned cutoff_writeback;	/* percent in use; 0 = default 40, at most 70 */
	unsigned cutoff_writeback_sync; /* 0 = default 70, at most 90 */
	bool require_backing;		/* starting up from a device list: a set whose backing devices are all missing is refused (-ENODEV),
					 * untouched, until bcf_startup_done() */
	uint64_t avoid_dev;		/* st_dev of our own mount: registering a path on it is -EDEADLK; 0 = none */
	const char *state_file;		/* absolute path of the saved settings, read by bcf_new() and written by .ctl/save; NULL = none. The caller's */
	/* Called when a device's file appears in or vanishes from the mount, so that the transport can drop cached entries. May be NULL. */
	void (*devices_changed)(void *ctx);
	void *ctx;
};

MUST_CHECK int bcf_new(const struct bcf_options *o, struct bcf **ret);
/*
 * Stop all sets and devices (dirty data stays in the cache), flush what is in memory, free. -ETIMEDOUT: given up. b and fibers of its are still
 * there, so the process can only exit; that is safe, recovery replays.
 */
FIBER_FN int bcf_stop(struct bcf *b);

/*
 * Register a cache or backing device by absolute path, whichever its superblock says. Synchronous: on return the journal is replayed,
 * matching partners are attached, and saved settings are in force. -EEXIST: already registered; -EBUSY: someone else has it; quiet makes both of them 0. -EINVAL: not usable, why says
 * so; -EDEADLK: path lies in our own mount; -ENODEV: the cache set could not be started; -ESHUTDOWN: stopping.
 */
FIBER_FN MUST_CHECK int bcf_register(struct bcf *b, const char *path, bool quiet, struct printbuf *why);

/*
 * The device list is worked through (backing devices first, then caches). -ENODEV: a backing device waits for a cache set that is not
 * here; why names the first one. From now on sets may come up without their backing devices.
 */
MUST_CHECK int bcf_startup_done(struct bcf *b, struct printbuf *why);

/* --- exported devices -------------------------------------------------------------------------------------------------- */

#define BCF_DEV_NAME_BYTES 16
/* Running devices in number order: the n-th one, or NULL. Valid until the next yield unless opened. */
struct bdev *bcf_dev_nth(struct bcf *b, unsigned n);
/* "dev0" -> device, NULL if there is none or it is not running. */
struct bdev *bcf_dev_find(struct bcf *b, const char *name);
const char *bcf_dev_name(const struct bdev *d);
uint64_t bcf_dev_size_bytes(const struct bdev *d);
/* Minor facts for stat(2): block size in bytes. */
uint32_t bcf_dev_block_bytes(const struct bdev *d);
/* An open handle keeps the object alive; after `stop` its I/O ends with -ENXIO... until then it works. -ENXIO: being stopped. */
MUST_CHECK int bcf_dev_open(struct bdev *d);
void bcf_dev_close(struct bdev *d);

/* Who asks, for sequential detection: pid 0 is the kernel's page cache writing back (T-18). */
struct bcf_io {
	uint32_t pid;
	uint64_t handle; /* distinguishes open files */
	bool sync;	 /* O_SYNC / O_DSYNC: the data is durable when the call returns */
};
/*
 * Any byte range. Reads return bytes read (short only at the end of the device, 0 past it); writes all of len, or -ENOSPC when the range
 * passes the end (nothing is written then). Page-aligned buffers avoid a copy. -EIO: device error; never stale data in its place.
 */
FIBER_FN MUST_CHECK int64_t bcf_read(struct bdev *d, void *buf, size_t len_bytes, uint64_t offset_bytes, const struct bcf_io *io);
FIBER_FN MUST_CHECK int64_t bcf_write(struct bdev *d, const void *buf, size_t len_bytes, uint64_t offset_bytes, const struct bcf_io *io);
/* Everything acknowledged before this call is durable when it returns 0. */
FIBER_FN MUST_CHECK int bcf_flush(struct bdev *d);
/* The range reads as zeros afterwards (punch hole, zero range). Clipped at the end of the device. */
FIBER_FN MUST_CHECK int bcf_zero(struct bdev *d, uint64_t offset_bytes, uint64_t len_bytes);

/* --- control tree ------------------------------------------------------------------------------------------------------ */

/*
 * The `.ctl` tree (control-files.md). Nodes are named by their path below .ctl, "" is .ctl itself, "dev0/cache_mode" a file. Names are
 * resolved at each call, so an object that vanished simply answers -ENODEV (-ENOENT for lookups).
 */
#define BCF_CTL_PATH_BYTES 256
#define BCF_CTL_TEXT_BYTES (1024 * 1024) /* no file is longer, and no piece of one that comes in pieces */
#define BCF_CTL_STORE_BYTES 4096	 /* longer writes are -E2BIG */

enum bcf_ctl_kind { BCF_CTL_DIR, BCF_CTL_FILE, BCF_CTL_LINK };
struct bcf_ctl_entry {
	enum bcf_ctl_kind kind;
	unsigned mode;	  /* permission bits: 0444, 0644, 0200, 0755, 0777 */
	char target[BCF_CTL_PATH_BYTES]; /* links */
};
MUST_CHECK int bcf_ctl_lookup(struct bcf *b, const char *path, struct bcf_ctl_entry *ret);
/* Call fn for each name in a directory ("." and ".." excluded) until it returns false. -ENOTDIR, -ENOENT. */
MUST_CHECK int bcf_ctl_list(struct bcf *b, const char *path, bool (*fn)(void *ctx, const char *name, enum bcf_ctl_kind kind), void *ctx);
/* Print a file's contents. -EACCES: write-only; -EFBIG: out is too small. */
FIBER_FN MUST_CHECK int bcf_ctl_show(struct bcf *b, const char *path, struct printbuf *out);
/*
 * The same for files of any length: appends one piece to out and sets cur->more when there is another, to be had with the same cursor; {0}: from the
 * start. What is left out between two pieces changes freely; a piece is made of whole lines.
 */
struct bcf_ctl_cursor {
	bool more;
	uint64_t at[2]; /* the file's own */
};
FIBER_FN MUST_CHECK int bcf_ctl_show_piece(struct bcf *b, const char *path, struct bcf_ctl_cursor *cur, struct printbuf *out);
/* One write = one command. Returns 0 or -errno, and then keeps a line in last_error. */
FIBER_FN MUST_CHECK int bcf_ctl_store(struct bcf *b, const char *path, const char *text, size_t len_bytes);
