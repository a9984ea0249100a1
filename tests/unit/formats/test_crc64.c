/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/crc64.h"
#include "tests/unit/formats/helpers.h"

#define SEED 0x0000000000023001ull /* a node pointer: device 0, sector 560, gen 1 */

/* format.md Appendix A */
static void appendix_a_vectors_match(void **state)
{
	static uint8_t ramp[256], zeros[4096], ones[4096];
	const struct {
		const void *data;
		size_t len;
		uint64_t raw, csum, seeded;
	} v[] = {
		{ "", 0, 0, 0, 0xfffffffffffdcffe },
		{ "\x00", 1, 0, 0x9afce626ce85b5f8, 0xfffffffffdcffeff },
		{ "\x01", 1, 0x42f0e1eba9ea3693, 0xd80c07cd676f836b, 0xbd0f1e145425c86c },
		{ "\x80", 1, 0xf6fae5c07d3274cd, 0x6c0603e6b3b7c135, 0x09051a3f80fd8a32 },
		{ "\xff", 1, 0x9afce626ce85b507, 0x00000000000000ff, 0x650319d9334a4bf8 },
		{ "123456789", 9, 0x6c40df5f0b497347, 0x62ec59e3f1a4f00a, 0x3a915d54bd1d5e9d },
		{ ramp, 256, 0x62b0da1c1b130a91, 0x59c3325b2927a19a, 0xf518af110b768523 },
		{ zeros, 4096, 0, 0xa50f57a429cbcb64, 0x906797e162bce1c6 },
		{ ones, 4096, 0xef6f491500318fe5, 0x4a601eb129fa4481, 0x7f08def4628d6e23 },
	};

	for (unsigned i = 0; i < 256; i++)
		ramp[i] = (uint8_t)i;
	memset(ones, 0xff, sizeof(ones));
	for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
		assert_true(crc64_update(0, v[i].data, v[i].len) == v[i].raw);
		assert_true(crc64_csum(v[i].data, v[i].len) == v[i].csum);
		assert_true(~crc64_update(SEED, v[i].data, v[i].len) == v[i].seeded);
	}
}

static uint64_t bitwise(uint64_t crc, const uint8_t *p, size_t len)
{
	while (len--) {
		crc ^= (uint64_t)*p++ << 56;
		for (int i = 0; i < 8; i++)
			crc = crc << 1 ^ (crc >> 63 ? 0x42f0e1eba9ea3693ull : 0);
	}
	return crc;
}

static void every_length_and_alignment_agrees_with_the_definition(void **state)
{
	uint8_t data[400];

	rnd_fill(data, sizeof(data));
	for (unsigned skip = 0; skip < 16; skip++)
		for (unsigned len = 0; len <= sizeof(data) - 16; len++) {
			uint64_t seed = rnd();
			assert_true(crc64_update(seed, data + skip, len) == bitwise(seed, data + skip, len));
		}
}

static void pieces_continue_where_the_last_one_ended(void **state)
{
	uint8_t data[1000];
	uint64_t whole;

	rnd_fill(data, sizeof(data));
	whole = crc64_update(SEED, data, sizeof(data));
	for (unsigned cut = 0; cut <= sizeof(data); cut += 7)
		assert_true(crc64_update(crc64_update(SEED, data, cut), data + cut, sizeof(data) - cut) == whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appendix_a_vectors_match),
		cmocka_unit_test(every_length_and_alignment_agrees_with_the_definition),
		cmocka_unit_test(pieces_continue_where_the_last_one_ended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
