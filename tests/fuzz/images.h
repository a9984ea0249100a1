/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Images to be damaged: what fuzz_start and fuzz_ctl start from.
 *
 * A base (bases/NAME.base, made by make-seeds) is the metadata of a real cache. Its bytes lie flat in memory; after an edit, images_seal() follows
 * the pointers as they are now (superblock, journal, newest entry, priorities, tree) and makes every checksum right that it reaches, so that what is
 * behind the checksums is tested. Then an instance boots on simulated disks that hold the bytes.
 *
 * Memory and time of a boot are judged: a deadlock, or a day of simulated time, aborts; so do asserts, and the sanitizers.
 */
#include "core/set/instance.h"
#include "formats/jset.h"
#include "formats/node.h"
#include "formats/super.h"

#define IMAGES_MAX 3 /* the cache and two backing devices */
#define IMAGE_CACHE 0

struct image {
	const char *path;
	uint8_t *bytes;
	uint64_t nr_sectors;
	uint32_t *pages; /* those that the base has bytes in: only they are edited, restored and copied to the disk */
	size_t nr_pages;
	struct blk_sim *disk;
};

enum structure_kind { STRUCTURE_SUPER, STRUCTURE_JSET, STRUCTURE_PRIO, STRUCTURE_UUIDS, STRUCTURE_BSET, NR_STRUCTURE_KINDS };
struct structure {
	uint8_t *at;
	uint32_t len_bytes; /* that may be edited: to the end of its block or bucket */
};

struct images {
	struct image image[IMAGES_MAX];
	unsigned nr;
	struct structure *found[NR_STRUCTURE_KINDS];
	size_t nr_found[NR_STRUCTURE_KINDS];
	uint64_t set_magic;
};

unsigned images_nr_bases(void);
/* The base, as it was made. The same memory each time. */
struct images *images_base(unsigned n);
void images_seal(struct images *m);

/* Boot on the images, call body in a fiber with everything registered that could be, stop, and restore the images. */
struct boot {
	struct images *m;
	struct bcf *b;
	struct cset *c;	/* NULL: refused */
	void (*body)(struct boot *boot);
	const uint8_t *data; /* body's */
	size_t size;
	uint64_t seed;
};
void images_boot(struct boot *boot);
