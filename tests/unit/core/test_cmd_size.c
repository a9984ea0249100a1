/* SPDX-License-Identifier: GPL-2.0-only */
/* Sizes and numbers on bcachectl's command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tools/size.h"

static void sizes_with_and_without_units_are_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "512k", KIB(512) },
		{ "512K", KIB(512) },
		{ "4M", MIB(4) },
		{ "4MB", MIB(4) },
		{ "4MiB", MIB(4) },
		{ "4mib", MIB(4) },
		{ "100B", 100 },
		{ "1G", GIB(1) },
		{ "1.5G", GIB(1) + MIB(512) },
		{ "0.5k", 512 },
		{ "0.1k", 102 },
		{ "2T", GIB(2048) },
		{ "7E", 7ull << 60 },
		{ "9223372036854775807", INT64_MAX },
		{ "00000000000000000001", 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t bytes = 1234567;

		assert_int_equal(size_parse(cases[i].text, &bytes), 0);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void what_is_no_size_is_refused_and_the_result_left_alone(void **state)
{
	static const char *const bad[] = { "",   " ",   "k",    "-1",  "+1",   "0x10", "1 k",  "1kk", "1kib2", "1.k",
					   ".5k", "1.5", "1..5k", "1,5k", "1e3k", "1z",   "12q", "5 ",  "1\n" };
	static const char *const large[] = { "9223372036854775808", "8E", "18446744073709551616", "99999999999999999999E",
					     "1000000000000000000000000000000" };

	for (size_t i = 0; i < ARRAY_SIZE(bad) + ARRAY_SIZE(large); i++) {
		bool is_large = i >= ARRAY_SIZE(bad);
		uint64_t bytes = 1234567;

		assert_int_equal(size_parse(is_large ? large[i - ARRAY_SIZE(bad)] : bad[i], &bytes), is_large ? -ERANGE : -EINVAL);
		assert_int_equal(bytes, 1234567);
	}
}

static void numbers_are_digits_up_to_a_maximum(void **state)
{
	uint64_t v = 5;

	assert_int_equal(number_parse("2048", 4096, &v), 0);
	assert_int_equal(v, 2048);
	assert_int_equal(number_parse("4097", 4096, &v), -ERANGE);
	assert_int_equal(number_parse("18446744073709551616", UINT64_MAX, &v), -ERANGE);
	assert_int_equal(number_parse("", 4096, &v), -EINVAL);
	assert_int_equal(number_parse("8k", 4096, &v), -EINVAL);
	assert_int_equal(number_parse("-8", 4096, &v), -EINVAL);
	assert_int_equal(v, 2048);
}

static void sizes_are_printed_with_one_decimal_never_too_large(void **state)
{
	char text[SIZE_TEXT_BYTES];

	assert_string_equal(size_to_text(0, text), "0 B");
	assert_string_equal(size_to_text(1023, text), "1023 B");
	assert_string_equal(size_to_text(1024, text), "1 KiB");
	assert_string_equal(size_to_text(1536, text), "1.5 KiB");
	assert_string_equal(size_to_text(MIB(256), text), "256 MiB");
	assert_string_equal(size_to_text(GIB(1) - 8192, text), "1023.9 MiB");
	assert_string_equal(size_to_text(GIB(1) + 1, text), "1 GiB");
	assert_string_equal(size_to_text(UINT64_MAX, text), "15.9 EiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_with_and_without_units_are_read),
		cmocka_unit_test(what_is_no_size_is_refused_and_the_result_left_alone),
		cmocka_unit_test(numbers_are_digits_up_to_a_maximum),
		cmocka_unit_test(sizes_are_printed_with_one_decimal_never_too_large),
	};

	return cmocka_run_group_tests_name("cmd_size", tests, NULL, NULL);
}
