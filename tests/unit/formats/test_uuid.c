/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/uuid.h"
#include "tests/unit/formats/helpers.h"

static void slots_know_their_state(void **state)
{
	struct uuid_entry u = { 0 };

	assert_int_equal(uuid_entry_state(&u), UUID_SLOT_FREE);
	u.flags = UUID_FLASH_ONLY;
	assert_int_equal(uuid_entry_state(&u), UUID_SLOT_FREE);
	u.uuid[15] = 1;
	assert_int_equal(uuid_entry_state(&u), UUID_SLOT_FLASH);
	u.flags = 0;
	assert_int_equal(uuid_entry_state(&u), UUID_SLOT_CACHED);
	memcpy(u.uuid, UUID_INVALIDATED, 16);
	assert_int_equal(uuid_entry_state(&u), UUID_SLOT_INVALID);
	u.flags = UUID_FLASH_ONLY;
	assert_int_equal(uuid_entry_state(&u), UUID_SLOT_INVALID);
}

static void an_invalidated_slot_stays_taken(void **state)
{
	struct uuid_entry u = { .uuid = { 1 }, .flags = UUID_FLASH_ONLY | 4, .first_reg = 7, .sectors = 99, .label = "vol" };

	uuid_entry_invalidate(&u, 1234);
	assert_int_equal(uuid_entry_state(&u), UUID_SLOT_INVALID);
	assert_int_equal(u.flags, 4);
	assert_int_equal(u.invalidated, 1234);
	assert_int_equal(u.first_reg, 7);
	assert_string_equal(u.label, "vol");
}

/* format.md Appendix B.6 */
static void the_example_slot_lies_where_the_kernel_put_it(void **state)
{
	struct uuid_entry u = { .first_reg = 0x6b02fed2, .last_reg = 0x6b02fed2 };
	uint8_t expected[128] = { 0 };

	assert_int_equal(uuid_parse("2656ad3b-4cd5-4c7c-9430-253c6da4c8de", u.uuid), 0);
	hex_bytes("26 56 ad 3b 4c d5 4c 7c 94 30 25 3c 6d a4 c8 de", expected);
	hex_bytes("d2 fe 02 6b d2 fe 02 6b", expected + 48);
	assert_memory_equal(&u, expected, 128);
	assert_int_equal(uuid_entry_state(&u), UUID_SLOT_CACHED);
}

static void old_tables_are_upgraded_in_place(void **state)
{
	for (uint32_t nr = 0; nr < 40; nr++) {
		uint8_t *table = malloc(nr * 128 + 1), *old;
		struct uuid_entry *u = (struct uuid_entry *)table;

		rnd_fill(table, nr * 128);
		old = tight_copy(table, nr * 64);
		uuid_table_upgrade(table, nr);
		for (uint32_t i = 0; i < nr; i++) {
			const uint8_t zeros[68] = { 0 };

			assert_memory_equal(&u[i], old + i * 64, 60);
			assert_memory_equal(&u[i].flags, zeros, sizeof(zeros));
		}
		free(old);
		free(table);
	}
}

static void labels_become_clean_c_strings(void **state)
{
	char label[LABEL_BYTES], out[LABEL_BYTES + 1];

	memset(label, 'x', sizeof(label));
	label_to_text(label, out);
	assert_int_equal(strlen(out), LABEL_BYTES);
	memcpy(label, "disk\n\x1b\x7f\xc3\xa4\0junk", 14);
	label_to_text(label, out);
	assert_string_equal(out, "disk???\xc3\xa4");
	memset(label, 0, sizeof(label));
	label_to_text(label, out);
	assert_string_equal(out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_know_their_state),
		cmocka_unit_test(an_invalidated_slot_stays_taken),
		cmocka_unit_test(the_example_slot_lies_where_the_kernel_put_it),
		cmocka_unit_test(old_tables_are_upgraded_in_place),
		cmocka_unit_test(labels_become_clean_c_strings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
