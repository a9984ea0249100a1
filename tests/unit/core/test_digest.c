/* SPDX-License-Identifier: GPL-2.0-only */
/* SHA-256 and random UUIDs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "core/admin/digest.h"

static void digest_of_abc_in_pieces_is_the_published_one(void **state)
{
	static const char expected[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	uint8_t result[DIGEST_BYTES];
	char text[DIGEST_TEXT_BYTES];
	struct digest *d = digest_new();

	assert_non_null(d);
	digest_update(d, "a", 1);
	digest_update(d, "", 0);
	digest_update(d, "bc", 2);
	digest_finish(d, result);
	digest_to_text(result, text);
	assert_string_equal(text, expected);
}

static void digest_can_be_given_up(void **state)
{
	digest_free(digest_new());
	digest_free(NULL);
}

static void random_uuids_differ_and_say_that_they_are_random(void **state)
{
	uint8_t a[16] = { 0 }, b[16] = { 0 };

	assert_int_equal(uuid_random(a), 0);
	assert_int_equal(uuid_random(b), 0);
	assert_memory_not_equal(a, b, 16);
	assert_int_equal(a[6] >> 4, 4);
	assert_int_equal(a[8] >> 6, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digest_of_abc_in_pieces_is_the_published_one),
		cmocka_unit_test(digest_can_be_given_up),
		cmocka_unit_test(random_uuids_differ_and_say_that_they_are_random),
	};

	return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
