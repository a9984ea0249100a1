/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/fields.h"
#include "formats/jset.h"
#include "formats/prio.h"
#include "formats/super.h"
#include "tests/unit/formats/helpers.h"

static const struct disk_field *find(enum disk_struct which, const char *name)
{
	const struct disk_layout *l = &disk_layouts[which];

	for (uint32_t i = 0; i < l->nr_fields; i++)
		if (!strcmp(l->fields[i].name, name))
			return &l->fields[i];
	fail_msg("no field %s in %s", name, l->name);
	return NULL;
}

static void fields_cover_every_bit_of_their_structure_once(void **state)
{
	for (unsigned n = 0; n < NR_DISK_STRUCTS; n++) {
		const struct disk_layout *l = &disk_layouts[n];
		size_t next_bit = 0;

		assert_non_null(l->name);
		for (uint32_t i = 0; i < l->nr_fields; i++) {
			const struct disk_field *f = &l->fields[i];

			assert_int_equal(f->offset_bytes * 8 + f->shift_bits, next_bit);
			next_bit += (size_t)f->width_bits * f->nr;
		}
		assert_int_equal(next_bit, l->size_bytes * 8);
	}
}

static void offsets_agree_with_the_structures(void **state)
{
#define AT(which, name, type, member, bits)                                       \
	do {                                                                      \
		const struct disk_field *f = find(which, name);                   \
		assert_int_equal(f->offset_bytes, offsetof(struct type, member)); \
		assert_int_equal((size_t)f->width_bits * f->nr, bits);            \
		assert_int_equal(sizeof(((struct type *)0)->member) * 8, bits);   \
	} while (0)
	AT(DISK_SUPER, "csum", super, csum, 64);
	AT(DISK_SUPER, "offset", super, offset, 64);
	AT(DISK_SUPER, "version", super, version, 64);
	AT(DISK_SUPER, "magic", super, magic, 128);
	AT(DISK_SUPER, "uuid", super, uuid, 128);
	AT(DISK_SUPER, "set_uuid", super, set_uuid, 128);
	AT(DISK_SUPER, "label", super, label, 256);
	AT(DISK_SUPER, "flags", super, flags, 64);
	AT(DISK_SUPER, "seq", super, seq, 64);
	AT(DISK_SUPER, "feature_compat", super, feature_compat, 64);
	AT(DISK_SUPER, "feature_incompat", super, feature_incompat, 64);
	AT(DISK_SUPER, "feature_ro_compat", super, feature_ro_compat, 64);
	AT(DISK_SUPER, "nbuckets_or_data_offset", super, nbuckets_or_data_offset, 64);
	AT(DISK_SUPER, "block_size", super, block_sectors, 16);
	AT(DISK_SUPER, "bucket_size", super, bucket_size_lo, 16);
	AT(DISK_SUPER, "nr_in_set", super, nr_in_set, 16);
	AT(DISK_SUPER, "nr_this_dev", super, nr_this_dev, 16);
	AT(DISK_SUPER, "last_mount", super, last_mount, 32);
	AT(DISK_SUPER, "first_bucket", super, first_bucket, 16);
	AT(DISK_SUPER, "keys", super, keys, 16);
	AT(DISK_SUPER, "d", super, d, 256 * 64);
	AT(DISK_SUPER, "obso_bucket_size_hi", super, bucket_size_hi, 16);
	AT(DISK_BSET, "csum", bset, csum, 64);
	AT(DISK_BSET, "magic", bset, magic, 64);
	AT(DISK_BSET, "seq", bset, seq, 64);
	AT(DISK_BSET, "version", bset, version, 32);
	AT(DISK_BSET, "keys", bset, nr_words, 32);
	AT(DISK_JSET, "last_seq", jset, last_seq, 64);
	AT(DISK_JSET, "keys", jset, nr_words, 32);
	AT(DISK_JSET, "uuid_bucket", jset, uuid_bucket, 512);
	AT(DISK_JSET, "btree_root", jset, btree_root, 512);
	AT(DISK_JSET, "btree_level", jset, btree_level, 16);
	AT(DISK_JSET, "prio_bucket", jset, prio_bucket, 512);
	AT(DISK_PRIO_SET, "seq", prio_set, seq, 64);
	AT(DISK_PRIO_SET, "next_bucket", prio_set, next_bucket, 64);
	AT(DISK_PRIO_RECORD, "prio", prio_record, prio, 16);
	AT(DISK_PRIO_RECORD, "gen", prio_record, gen, 8);
	AT(DISK_UUID_ENTRY, "uuid", uuid_entry, uuid, 128);
	AT(DISK_UUID_ENTRY, "label", uuid_entry, label, 256);
	AT(DISK_UUID_ENTRY, "first_reg", uuid_entry, first_reg, 32);
	AT(DISK_UUID_ENTRY, "last_reg", uuid_entry, last_reg, 32);
	AT(DISK_UUID_ENTRY, "invalidated", uuid_entry, invalidated, 32);
	AT(DISK_UUID_ENTRY, "flags", uuid_entry, flags, 32);
	AT(DISK_UUID_ENTRY, "sectors", uuid_entry, sectors, 64);
#undef AT
}

static void bit_fields_read_as_their_accessors_do(void **state)
{
	for (int n = 0; n < 2000; n++) {
		uint64_t words[3] = { rnd(), rnd(), rnd() };
		const struct bkey *k = (const struct bkey *)words;

		assert_int_equal(field_get(find(DISK_KEY, "inode"), k, 0), bkey_inode(k));
		assert_int_equal(field_get(find(DISK_KEY, "size"), k, 0), bkey_size(k));
		assert_int_equal(field_get(find(DISK_KEY, "dirty"), k, 0), bkey_dirty(k));
		assert_int_equal(field_get(find(DISK_KEY, "csum"), k, 0), bkey_csum(k));
		assert_int_equal(field_get(find(DISK_KEY, "ptrs"), k, 0), bkey_ptrs(k));
		assert_true(field_get(find(DISK_KEY, "offset"), k, 0) == bkey_offset(k));
		assert_int_equal(field_get(find(DISK_PTR, "dev"), &words[2], 0), ptr_dev(words[2]));
		assert_true(field_get(find(DISK_PTR, "offset"), &words[2], 0) == ptr_sector(words[2]));
		assert_int_equal(field_get(find(DISK_PTR, "gen"), &words[2], 0), ptr_gen(words[2]));
	}
}

static void elements_of_arrays_are_reached(void **state)
{
	struct super s = { .d = { [0] = 3, [255] = 9 } };

	assert_int_equal(field_get(find(DISK_SUPER, "d"), &s, 0), 3);
	assert_int_equal(field_get(find(DISK_SUPER, "d"), &s, 254), 0);
	assert_int_equal(field_get(find(DISK_SUPER, "d"), &s, 255), 9);
}

/* The structure is the whole heap block: nothing behind it may be read. */
static void any_bytes_can_be_printed(void **state)
{
	for (unsigned n = 0; n < NR_DISK_STRUCTS; n++)
		for (int i = 0; i < 50; i++) {
			char *text = malloc(30000);
			struct printbuf pb = printbuf_over(text, 30000);
			void *base = malloc(disk_layouts[n].size_bytes);

			rnd_fill(base, disk_layouts[n].size_bytes);
			layout_to_text(&pb, &disk_layouts[n], base);
			assert_false(pb.truncated);
			assert_true(pb.len_bytes && text[pb.len_bytes - 1] == '\n');
			free(base);
			free(text);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_cover_every_bit_of_their_structure_once),
		cmocka_unit_test(offsets_agree_with_the_structures),
		cmocka_unit_test(bit_fields_read_as_their_accessors_do),
		cmocka_unit_test(elements_of_arrays_are_reached),
		cmocka_unit_test(any_bytes_can_be_printed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
