/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/fields.h"
#include "formats/bkey.h"
#include "formats/bset.h"
#include "formats/jset.h"
#include "formats/printbuf.h"
#include "formats/prio.h"
#include "formats/super.h"

#define NUM(off, bits, n, form) { n, off, 0, bits, 1, FIELD_##form }
#define BITS(off, shift, bits, n, form) { n, off, shift, bits, 1, FIELD_##form }
#define ARRAY(off, bits, count, n, form) { n, off, 0, bits, count, FIELD_##form }

static const struct disk_field super_fields[] = {
	NUM(0, 64, "csum", HEX),
	NUM(8, 64, "offset", DEC),
	NUM(16, 64, "version", DEC),
	NUM(24, 128, "magic", UUID),
	NUM(40, 128, "uuid", UUID),
	NUM(56, 128, "set_uuid", UUID),
	NUM(72, 256, "label", TEXT),
	NUM(104, 64, "flags", HEX),
	NUM(112, 64, "seq", DEC),
	NUM(120, 64, "feature_compat", HEX),
	NUM(128, 64, "feature_incompat", HEX),
	NUM(136, 64, "feature_ro_compat", HEX),
	ARRAY(144, 8, 40, "pad", PAD),
	NUM(184, 64, "nbuckets_or_data_offset", DEC),
	NUM(192, 16, "block_size", DEC),
	NUM(194, 16, "bucket_size", DEC),
	NUM(196, 16, "nr_in_set", DEC),
	NUM(198, 16, "nr_this_dev", DEC),
	NUM(200, 32, "last_mount", TIME),
	NUM(204, 16, "first_bucket", DEC),
	NUM(206, 16, "keys", DEC),
	ARRAY(208, 64, SUPER_KEYS_MAX, "d", DEC),
	NUM(2256, 16, "obso_bucket_size_hi", DEC),
	ARRAY(2258, 8, SUPER_BYTES - 2258, "rest", PAD),
};

static const struct disk_field key_fields[] = {
	BITS(0, 0, 20, "inode", DEC),
	BITS(0, 20, 16, "size", DEC),
	BITS(0, 36, 1, "dirty", DEC),
	BITS(0, 37, 19, "pad0", PAD),
	BITS(0, 56, 2, "csum", DEC),
	BITS(0, 58, 2, "pad1", PAD),
	BITS(0, 60, 3, "ptrs", DEC),
	BITS(0, 63, 1, "one", DEC),
	NUM(8, 64, "offset", DEC),
};

static const struct disk_field ptr_fields[] = {
	BITS(0, 0, 8, "gen", DEC),
	BITS(0, 8, 43, "offset", DEC),
	BITS(0, 51, 12, "dev", DEC),
	BITS(0, 63, 1, "pad", PAD),
};

static const struct disk_field bset_fields[] = {
	NUM(0, 64, "csum", HEX),
	NUM(8, 64, "magic", HEX),
	NUM(16, 64, "seq", HEX), /* random, unlike the other seqs */
	NUM(24, 32, "version", DEC),
	NUM(28, 32, "keys", DEC),
};

static const struct disk_field jset_fields[] = {
	NUM(0, 64, "csum", HEX),
	NUM(8, 64, "magic", HEX),
	NUM(16, 64, "seq", DEC),
	NUM(24, 32, "version", DEC),
	NUM(28, 32, "keys", DEC),
	NUM(32, 64, "last_seq", DEC),
	NUM(40, 512, "uuid_bucket", KEY),
	NUM(104, 512, "btree_root", KEY),
	NUM(168, 16, "btree_level", DEC),
	ARRAY(170, 8, 6, "pad", PAD),
	ARRAY(176, 64, 8, "prio_bucket", DEC),
};

static const struct disk_field prio_set_fields[] = {
	NUM(0, 64, "csum", HEX),
	NUM(8, 64, "magic", HEX),
	NUM(16, 64, "seq", DEC),
	NUM(24, 32, "version", DEC),
	NUM(28, 32, "pad", PAD),
	NUM(32, 64, "next_bucket", DEC),
};

static const struct disk_field prio_record_fields[] = {
	NUM(0, 16, "prio", DEC),
	NUM(2, 8, "gen", DEC),
};

static const struct disk_field uuid_entry_fields[] = {
	NUM(0, 128, "uuid", UUID),
	NUM(16, 256, "label", TEXT),
	NUM(48, 32, "first_reg", TIME),
	NUM(52, 32, "last_reg", TIME),
	NUM(56, 32, "invalidated", TIME),
	NUM(60, 32, "flags", HEX),
	NUM(64, 64, "sectors", DEC),
	ARRAY(72, 8, 56, "pad", PAD),
};

#define LAYOUT(n, size, table) { n, size, ARRAY_SIZE(table), table }

const struct disk_layout disk_layouts[NR_DISK_STRUCTS] = {
	[DISK_SUPER] = LAYOUT("super", sizeof(struct super), super_fields),
	[DISK_KEY] = LAYOUT("key", sizeof(struct bkey), key_fields),
	[DISK_PTR] = LAYOUT("ptr", sizeof(uint64_t), ptr_fields),
	[DISK_BSET] = LAYOUT("bset", sizeof(struct bset), bset_fields),
	[DISK_JSET] = LAYOUT("jset", sizeof(struct jset), jset_fields),
	[DISK_PRIO_SET] = LAYOUT("prio_set", sizeof(struct prio_set), prio_set_fields),
	[DISK_PRIO_RECORD] = LAYOUT("prio_record", sizeof(struct prio_record), prio_record_fields),
	[DISK_UUID_ENTRY] = LAYOUT("uuid_entry", sizeof(struct uuid_entry), uuid_entry_fields),
};

static const uint8_t *element(const struct disk_field *f, const void *base, unsigned i)
{
	return (const uint8_t *)base + f->offset_bytes + (size_t)i * f->width_bits / 8;
}

uint64_t field_get(const struct disk_field *f, const void *base, unsigned i)
{
	uint64_t word = 0;

	assert(f->shift_bits + f->width_bits <= 64);
	memcpy(&word, element(f, base, i), (f->shift_bits + f->width_bits + 7) / 8);
	word >>= f->shift_bits;
	return f->width_bits < 64 ? bits_get(word, 0, f->width_bits) : word;
}

static void label_field_to_text(struct printbuf *pb, const void *label)
{
	char text[LABEL_BYTES + 1];

	label_to_text(label, text);
	pr(pb, "\"%s\"", text);
}

void field_to_text(struct printbuf *pb, const struct disk_field *f, const void *base, unsigned i)
{
	switch (f->form) {
	case FIELD_DEC:
	case FIELD_TIME:
		pr(pb, "%llu", (unsigned long long)field_get(f, base, i));
		break;
	case FIELD_HEX:
		pr(pb, "%016llx", (unsigned long long)field_get(f, base, i));
		break;
	case FIELD_PAD:
		pr(pb, "%02llx", (unsigned long long)field_get(f, base, i));
		break;
	case FIELD_UUID:
		pr_uuid(pb, element(f, base, i));
		break;
	case FIELD_TEXT:
		label_field_to_text(pb, element(f, base, i));
		break;
	case FIELD_KEY:
		bkey_to_text(pb, (const struct bkey *)element(f, base, i));
		break;
	}
}

/* Elements up to the last one that is not zero. */
static unsigned nr_interesting(const struct disk_field *f, const void *base)
{
	unsigned nr = f->nr;

	if (f->nr == 1 && f->form != FIELD_PAD)
		return 1;
	while (nr && !field_get(f, base, nr - 1))
		nr--;
	return nr;
}

void layout_to_text(struct printbuf *pb, const struct disk_layout *l, const void *base)
{
	for (uint32_t n = 0; n < l->nr_fields; n++) {
		const struct disk_field *f = &l->fields[n];
		unsigned nr = nr_interesting(f, base);

		if (!nr && f->form == FIELD_PAD)
			continue;
		pr(pb, "%s:", f->name);
		for (unsigned i = 0; i < nr; i++) {
			pr_char(pb, ' ');
			field_to_text(pb, f, base, i);
		}
		pr_char(pb, '\n');
	}
}
