/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/io/blk_target.h"
#include "core/util/iov.h"
#include "formats/printbuf.h"
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

/* --- locks ---------------------------------------------------------------------------------------------------------- */

static int busy(const char *path, struct printbuf *why)
{
	pr(why, "'%s' is in use by another daemon or tool", path);
	return -EBUSY;
}

static int failed(const char *what, const char *path, struct printbuf *why)
{
	int r = -errno;

	pr(why, "cannot %s '%s': %s", what, path, strerror(-r));
	return r;
}

/*
 * Two locks: OFD locks exclude our own kind and programs that use record locks (qemu), flock() those that know only that. Both belong
 * to the open file description, so a second open in this very process conflicts too, and both vanish with a crash.
 */
static int lock_file(int fd, bool is_block, bool read_only, const char *path, struct printbuf *why)
{
	struct flock fl = { .l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &fl) < 0)
		return errno == EAGAIN || errno == EACCES ? busy(path, why) : failed("lock", path, why);
	if (is_block) /* has O_EXCL; and flock() on a device would stop udev from looking at it */
		return 0;
	if (flock(fd, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? busy(path, why) : failed("lock", path, why);
	return 0;
}

/* Readers do not hold O_EXCL, or only one could run; but they notice a holder (the kernel's bcache, a mount, a daemon). */
static int probe_exclusive(const char *path, struct printbuf *why)
{
	int fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		return errno == EBUSY ? busy(path, why) : failed("open", path, why);
	close(fd);
	return 0;
}

static int open_fd(const char *path, bool is_block, bool read_only, struct printbuf *why)
{
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | (is_block && !read_only ? O_EXCL : 0);
	int r = is_block && read_only ? probe_exclusive(path, why) : 0;
	int fd;

	if (r < 0)
		return r;
	fd = open(path, flags);
	if (fd < 0)
		return errno == EBUSY ? busy(path, why) : failed("open", path, why);
	return fd;
}

/* --- measures ------------------------------------------------------------------------------------------------------- */

static uint64_t sysfs_queue_value(dev_t dev, const char *name, uint64_t otherwise)
{
	static const char *const queue_dirs[] = { "queue", "../queue" }; /* of a disk; of a partition's disk */
	unsigned long long v = otherwise;
	char path[128];
	FILE *f;

	for (size_t i = 0; i < ARRAY_SIZE(queue_dirs); i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev), queue_dirs[i], name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &v) != 1)
			v = otherwise;
		fclose(f);
		return v;
	}
	return otherwise;
}

/* Parity has to be computed anew from what the rest of a stripe holds. md says so; hardware RAID tells nobody. */
static bool is_parity_raid(dev_t dev)
{
	static const char *const dirs[] = { "md", "../md" };
	bool parity = false;

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && !parity; i++) {
		char path[128], level[16] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/level", major(dev), minor(dev), dirs[i]);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%15s", level) == 1)
			parity = !strcmp(level, "raid4") || !strcmp(level, "raid5") || !strcmp(level, "raid6");
		fclose(f);
	}
	return parity;
}

static int measure_block(int fd, dev_t rdev, struct blkdev *dev)
{
	unsigned optimal = 0, physical = 0;
	uint64_t bytes;
	int logical;

	if (ioctl(fd, BLKGETSIZE64, &bytes) < 0 || ioctl(fd, BLKSSZGET, &logical) < 0)
		return -errno;
	if (ioctl(fd, BLKIOOPT, &optimal) < 0)
		optimal = 0;
	if (ioctl(fd, BLKPBSZGET, &physical) < 0)
		physical = 0;
	dev->nr_sectors = bytes >> SECTOR_SHIFT;
	dev->physical_sectors = physical >> SECTOR_SHIFT;
	dev->logical_block_bytes = (uint32_t)logical;
	dev->optimal_io_sectors = optimal >> SECTOR_SHIFT;
	dev->can_discard = sysfs_queue_value(rdev, "discard_max_bytes", 0) > 0;
	dev->rotational = sysfs_queue_value(rdev, "rotational", 0);
	dev->partial_stripes_expensive = dev->optimal_io_sectors && is_parity_raid(rdev);
	/* No file system has this device number, so a file cannot be taken for a disk. */
	dev->id = (struct blk_identity){ .dev = UINT64_MAX, .ino = rdev };
	return 0;
}

static void measure_file(const struct stat *st, struct blkdev *dev)
{
	dev->nr_sectors = (uint64_t)st->st_size >> SECTOR_SHIFT;
	dev->logical_block_bytes = SECTOR_BYTES;
	dev->physical_sectors = PAGE_SECTORS; /* what file systems and page caches work in */
	dev->optimal_io_sectors = 0;
	dev->can_discard = true; /* a hole, if the file system has them */
	dev->rotational = sysfs_queue_value(st->st_dev, "rotational", 0);
	dev->id = (struct blk_identity){ .dev = st->st_dev, .ino = st->st_ino };
}

/* --- O_DIRECT ------------------------------------------------------------------------------------------------------- */

/* Kernels before 6.1 do not tell what O_DIRECT demands. Sector-aligned memory satisfies all that take sectors at all: try. */
static bool direct_read_works(int fd)
{
	void *buf;
	ssize_t n;

	if (posix_memalign(&buf, PAGE_BYTES, PAGE_BYTES))
		return false;
	n = pread(fd, (char *)buf + SECTOR_BYTES, SECTOR_BYTES, 0);
	free(buf);
	return n >= 0;
}

static bool direct_alignment(int fd, uint32_t *ret_memory_align, uint32_t *ret_offset_align)
{
	*ret_memory_align = *ret_offset_align = SECTOR_BYTES;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 && (sx.stx_mask & STATX_DIOALIGN)) {
		if (!is_power_of_two(sx.stx_dio_mem_align) || !is_power_of_two(sx.stx_dio_offset_align))
			return false; /* zero: no direct I/O */
		*ret_memory_align = sx.stx_dio_mem_align;
		*ret_offset_align = sx.stx_dio_offset_align;
		return true;
	}
#endif
	return direct_read_works(fd);
}

static bool set_direct(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

/*
 * A file whose direct I/O is coarser than a sector goes through the page cache: read-modify-write is the kernel's daily work there. A
 * block device stays direct, and its logical_block_bytes tells upper layers to use whole blocks.
 */
static void try_direct(struct blk_target *t, struct blkdev *dev)
{
	uint32_t memory_align, offset_align;

	if (!set_direct(t->fd, true))
		return;
	if (!direct_alignment(t->fd, &memory_align, &offset_align) || (!t->is_block && offset_align > SECTOR_BYTES)) {
		(void)set_direct(t->fd, false); /* it was off before */
		return;
	}
	t->direct = true;
	t->memory_align = memory_align;
	dev->logical_block_bytes = max(dev->logical_block_bytes, offset_align);
}

/* --- open ----------------------------------------------------------------------------------------------------------- */

static bool fd_in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* Before open(2): opening a tape or a FIFO has effects, or waits. */
static int check_kind(const char *path, bool *ret_is_block, struct printbuf *why)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return failed("find", path, why);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		pr(why, "'%s' is neither a regular file nor a block device", path);
		return -ENOTBLK;
	}
	*ret_is_block = S_ISBLK(st.st_mode);
	return 0;
}

static int measure(const char *path, struct blk_target *t, struct blkdev *dev, struct printbuf *why)
{
	struct stat st;
	int r = 0;

	if (fstat(t->fd, &st) < 0)
		return failed("examine", path, why);
	if (!t->is_block)
		measure_file(&st, dev);
	else
		r = measure_block(t->fd, st.st_rdev, dev);
	if (r < 0)
		pr(why, "cannot learn the size of '%s': %s", path, strerror(-r));
	return r;
}

int blk_target_open(const char *path, bool read_only, bool want_direct, struct blk_target *t, struct blkdev *dev,
		    struct printbuf *why)
{
	int r;

	*t = (struct blk_target){ .memory_align = 1 };
	r = check_kind(path, &t->is_block, why);
	if (r < 0)
		return r;
	t->fd = open_fd(path, t->is_block, read_only, why);
	if (t->fd < 0)
		return t->fd;
	r = lock_file(t->fd, t->is_block, read_only, path, why);
	if (r < 0)
		goto err_fd;
	r = measure(path, t, dev, why);
	if (r < 0)
		goto err_fd;
	t->in_memory = !t->is_block && fd_in_memory(t->fd);
	if (want_direct && !t->in_memory)
		try_direct(t, dev);
	dev->read_only = read_only;
	dev->path = strdup(path);
	if (dev->path)
		return 0;
	r = -ENOMEM;
err_fd:
	close(t->fd);
	t->fd = -1;
	return r;
}

void blk_target_release(struct blk_target *t, struct blkdev *dev)
{
	close(t->fd);
	free(dev->path);
}

/* --- synchronous I/O ------------------------------------------------------------------------------------------------ */

static int transfer(int fd, bool write, const struct iovec *iov, unsigned nr_iov, uint64_t offset, uint64_t len_bytes, int rwf)
{
	struct iov_window w;

	for (uint64_t done = 0; done < len_bytes;) {
		iov_window_at(&w, iov, nr_iov, done);
		ssize_t n = write ? pwritev2(fd, w.iov, (int)w.nr_iov, (off_t)(offset + done), rwf) :
				    preadv(fd, w.iov, (int)w.nr_iov, (off_t)(offset + done));
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) /* a file that shrank, most likely */
			return -EIO;
		done += (uint64_t)n;
	}
	return 0;
}

static int write_zeros(int fd, uint64_t offset, uint64_t len_bytes)
{
	static const char zeros[64 * 1024] __attribute__((aligned(PAGE_BYTES)));

	while (len_bytes) {
		struct iovec iov = { (void *)zeros, min(len_bytes, (uint64_t)sizeof(zeros)) };
		int r = transfer(fd, true, &iov, 1, offset, iov.iov_len, 0);

		if (r < 0)
			return r;
		offset += iov.iov_len;
		len_bytes -= iov.iov_len;
	}
	return 0;
}

static int zero(const struct blk_target *t, uint64_t offset, uint64_t len_bytes)
{
	if (fallocate(t->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len_bytes) == 0)
		return 0;
	if (t->is_block && fallocate(t->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len_bytes) == 0)
		return 0;
	return write_zeros(t->fd, offset, len_bytes);
}

static int sync_data(int fd)
{
	return fdatasync(fd) < 0 ? -errno : 0;
}

static int write_or_zero(const struct blk_target *t, const struct bio *bio, uint64_t offset, uint64_t len_bytes)
{
	int r;

	if (bio->flags & BIO_PREFLUSH) {
		r = sync_data(t->fd);
		if (r < 0)
			return r;
	}
	if (bio->op == BIO_WRITE)
		return transfer(t->fd, true, bio->iov, bio->nr_iov, offset, len_bytes, bio->flags & BIO_FUA ? RWF_DSYNC : 0);
	r = zero(t, offset, len_bytes);
	return r < 0 || !(bio->flags & BIO_FUA) ? r : sync_data(t->fd);
}

static void discard(const struct blk_target *t, uint64_t offset, uint64_t len_bytes)
{
	uint64_t range[2] = { offset, len_bytes };

	/* Advice: both may fail. */
	if (t->is_block)
		(void)ioctl(t->fd, BLKDISCARD, range);
	else
		(void)fallocate(t->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len_bytes);
}

int blk_target_perform(const struct blk_target *t, const struct bio *bio)
{
	uint64_t offset = bio->sector << SECTOR_SHIFT, len_bytes = bio->nr_sectors << SECTOR_SHIFT;

	switch (bio->op) {
	case BIO_READ:
		return transfer(t->fd, false, bio->iov, bio->nr_iov, offset, len_bytes, 0);
	case BIO_WRITE:
	case BIO_ZERO:
		return write_or_zero(t, bio, offset, len_bytes);
	case BIO_FLUSH:
		return sync_data(t->fd);
	case BIO_DISCARD:
		discard(t, offset, len_bytes);
		return 0;
	}
	assert(!"unknown bio op");
	return -EIO;
}
