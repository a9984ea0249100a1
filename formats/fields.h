/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Every field of every disk structure as a table (format.md §4-§11): drives dumps, JSON and the layout tests.
 *
 * Fields are sorted by place, do not overlap and leave no bit of their structure out. A bit field lies in the little-endian
 * word at offset_bytes; an array repeats every width_bits.
 */
#include "formats/base.h"
struct printbuf;

enum disk_struct { DISK_SUPER, DISK_KEY, DISK_PTR, DISK_BSET, DISK_JSET, DISK_PRIO_SET, DISK_PRIO_RECORD, DISK_UUID_ENTRY,
		   NR_DISK_STRUCTS };
enum field_form { FIELD_DEC, FIELD_HEX, FIELD_TIME, FIELD_UUID, FIELD_TEXT, FIELD_KEY, FIELD_PAD };

struct disk_field {
	const char *name;
	uint16_t offset_bytes;
	uint16_t shift_bits;
	uint16_t width_bits; /* of one element; numbers have at most 64 */
	uint16_t nr;	     /* elements; 1 unless an array */
	enum field_form form;
};

struct disk_layout {
	const char *name;
	uint32_t size_bytes; /* without the variable part */
	uint32_t nr_fields;
	const struct disk_field *fields;
};
extern const struct disk_layout disk_layouts[NR_DISK_STRUCTS];

/* Element i of a numeric field of the structure at base. */
uint64_t field_get(const struct disk_field *f, const void *base, unsigned i);
/* Element i as text: number, uuid, quoted label, key; padding as hexadecimal bytes. */
void field_to_text(struct printbuf *pb, const struct disk_field *f, const void *base, unsigned i);
/* "name: value" lines of a structure. Left out: padding that is zero, and zero elements at the end of arrays. */
void layout_to_text(struct printbuf *pb, const struct disk_layout *l, const void *base);
