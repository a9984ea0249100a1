/* SPDX-License-Identifier: GPL-2.0-only */
#include "tools/signature.h"
#include "tools/tool.h"
#include <stdlib.h>

/* Specific ones first: a boot sector of vfat or ntfs also ends in the 55 aa of a partition table. */
static const struct magic {
	const char *name;
	uint32_t offset_bytes; /* from the start of the device */
	uint8_t len_bytes;
	char bytes[17];
} magics[] = {
	{ "bcache device", 4096 + 24, 16, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81" },
	{ "bcachefs filesystem", 4096 + 24, 16, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef" },
	{ "LUKS volume", 0, 6, "LUKS\xba\xbe" },
	{ "LUKS volume (second header)", 16384, 6, "SKUL\xba\xbe" },
	{ "BitLocker volume", 3, 8, "-FVE-FS-" },
	{ "XFS filesystem", 0, 4, "XFSB" },
	{ "squashfs filesystem", 0, 4, "hsqs" },
	{ "qcow2 image", 0, 4, "QFI\xfb" },
	{ "NTFS filesystem", 3, 8, "NTFS    " },
	{ "exFAT filesystem", 3, 8, "EXFAT   " },
	{ "FAT filesystem", 54, 5, "FAT12" },
	{ "FAT filesystem", 54, 5, "FAT16" },
	{ "FAT filesystem", 82, 5, "FAT32" },
	{ "LVM physical volume", 0 * 512, 8, "LABELONE" },
	{ "LVM physical volume", 1 * 512, 8, "LABELONE" },
	{ "LVM physical volume", 2 * 512, 8, "LABELONE" },
	{ "LVM physical volume", 3 * 512, 8, "LABELONE" },
	{ "GPT partition table", 512, 8, "EFI PART" },
	{ "GPT partition table", 4096, 8, "EFI PART" },
	{ "ext2/3/4 filesystem", 1024 + 56, 2, "\x53\xef" },
	{ "F2FS filesystem", 1024, 4, "\x10\x20\xf5\xf2" },
	{ "EROFS filesystem", 1024, 4, "\xe2\xe1\xf5\xe0" },
	{ "HFS+ filesystem", 1024, 2, "H+" },
	{ "HFSX filesystem", 1024, 2, "HX" },
	{ "md RAID member", 0, 4, "\xfc\x4e\x2b\xa9" },
	{ "md RAID member", 4096, 4, "\xfc\x4e\x2b\xa9" },
	{ "swap area", 4096 - 10, 10, "SWAPSPACE2" },
	{ "swap area", 4096 - 10, 10, "SWAP-SPACE" },
	{ "swap area", 16384 - 10, 10, "SWAPSPACE2" },
	{ "swap area", 65536 - 10, 10, "SWAPSPACE2" },
	{ "JFS filesystem", 32768, 4, "JFS1" },
	{ "ISO 9660 filesystem", 32769, 5, "CD001" },
	{ "btrfs filesystem", 65536 + 64, 8, "_BHRfS_M" },
	{ "reiserfs filesystem", 65536 + 52, 6, "ReIsEr" },
	{ "partition table (MBR)", 510, 2, "\x55\xaa" },
};

#define HEAD_BYTES KIB(72)	/* covers every entry of the table */
#define ZFS_RING KIB(128)	/* the uberblock ring of ZFS's first label: 128 KiB of slots, each starting with the magic */
#define MD_MAGIC "\xfc\x4e\x2b\xa9"

/* ZFS labels have no fixed place for a magic number: any slot of the ring may be the first used one. */
static int zfs_find(struct blkdev *d, uint8_t *buf, struct signature *ret)
{
	static const uint8_t le[8] = { 0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0 }, be[8] = { 0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c };
	int r;

	if (d->nr_sectors * SECTOR_BYTES < 2 * ZFS_RING)
		return 0;
	r = device_read(d, ZFS_RING / SECTOR_BYTES, buf, ZFS_RING / SECTOR_BYTES);
	for (size_t at = 0; r >= 0 && at < ZFS_RING; at += 1024) {
		if (memcmp(buf + at, le, 8) && memcmp(buf + at, be, 8))
			continue;
		*ret = (struct signature){ "ZFS member", ZFS_RING + at, false };
		break;
	}
	return r;
}

/* md superblocks of version 1.0 and 0.90 lie near the end of the device. */
static int md_at_end_find(struct blkdev *d, uint8_t *buf, struct signature *ret)
{
	uint64_t places[2] = { 0, 0 };
	int r = 0;

	if (d->nr_sectors >= 256) {
		places[0] = round_down_u64(d->nr_sectors - 16, 8);
		places[1] = round_down_u64(d->nr_sectors, 128) - 128;
	}
	for (size_t i = 0; i < ARRAY_SIZE(places) && places[i] && r >= 0 && !ret->name; i++) {
		r = device_read(d, places[i], buf, 8);
		if (r >= 0 && !memcmp(buf, MD_MAGIC, 4))
			*ret = (struct signature){ "md RAID member", places[i] * SECTOR_BYTES, false };
	}
	return r;
}

int signature_find(struct blkdev *d, struct signature *ret)
{
	uint64_t head_bytes = min((uint64_t)HEAD_BYTES, d->nr_sectors * SECTOR_BYTES);
	uint8_t *buf = aligned_alloc(PAGE_BYTES, ZFS_RING);
	int r;

	static_assert(ZFS_RING >= HEAD_BYTES, "one buffer serves both");
	if (!buf)
		return -ENOMEM;
	memset(ret, 0, sizeof(*ret));
	r = device_read(d, 0, buf, head_bytes / SECTOR_BYTES);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(magics); i++) {
		const struct magic *m = &magics[i];

		if (m->offset_bytes + m->len_bytes > head_bytes || memcmp(buf + m->offset_bytes, m->bytes, m->len_bytes))
			continue;
		*ret = (struct signature){ m->name, m->offset_bytes, i == 0 };
		break;
	}
	if (r >= 0 && !ret->name)
		r = md_at_end_find(d, buf, ret);
	if (r >= 0 && !ret->name)
		r = zfs_find(d, buf, ret);
	free(buf);
	return r;
}
