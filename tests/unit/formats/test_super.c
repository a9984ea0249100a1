/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/super.h"
#include "tests/unit/formats/helpers.h"

#define EXAMPLE_SECTORS 8192u
#define EXAMPLE_BACKING_FLAGS 0x4000000000000001ull

/* format.md Appendix B.1, up to the checksum. */
static struct super example_cache(void)
{
	struct super s = { 0 };

	hex_bytes("98 11 e9 49 21 b4 ea 38  08 00 00 00 00 00 00 00"
		  "03 00 00 00 00 00 00 00  c6 85 73 f6 4e 1a 45 ca"
		  "82 65 f5 7f 48 ba 6d 81  99 aa bc 34 c8 ea 4c 97"
		  "94 43 48 71 e3 16 dc 99  1a f8 a1 9c 6d 53 4b 8d"
		  "9f 4e b7 ba 19 82 d8 15", (uint8_t *)&s);
	s.flags = s.seq = 1;
	hex_bytes("00 04 00 00 00 00 00 00"
		  "01 00 08 00 01 00 00 00  d2 fe 02 6b 03 00 08 00", (uint8_t *)&s + 184);
	for (unsigned i = 0; i < 8; i++)
		s.d[i] = 3 + i;
	return s;
}

/* format.md Appendix B.2 */
static struct super example_backing(void)
{
	struct super s = { 0 };

	hex_bytes("56 be d0 2a 24 98 43 d0  08 00 00 00 00 00 00 00"
		  "01 00 00 00 00 00 00 00  c6 85 73 f6 4e 1a 45 ca"
		  "82 65 f5 7f 48 ba 6d 81  26 56 ad 3b 4c d5 4c 7c"
		  "94 30 25 3c 6d a4 c8 de  1a f8 a1 9c 6d 53 4b 8d"
		  "9f 4e b7 ba 19 82 d8 15", (uint8_t *)&s);
	s.flags = EXAMPLE_BACKING_FLAGS;
	hex_bytes("01 00 08 00 00 00 00 00  d2 fe 02 6b 00 00 00 00", (uint8_t *)&s + 192);
	return s;
}

static void expect(const struct super *s, uint64_t device_sectors, uint32_t logical_block_bytes, int expected,
		   const char *phrase)
{
	struct super_limits limits = { device_sectors, logical_block_bytes };
	char text[300];
	struct printbuf why = PRINTBUF(text);

	assert_judged(super_validate(s, &limits, &why), expected, text, phrase);
	assert_int_equal(super_validate(s, &limits, NULL), expected);
}

static void the_example_superblocks_are_good_and_seal_to_the_same_bytes(void **state)
{
	struct super s = example_cache(), sealed;

	expect(&s, EXAMPLE_SECTORS, 512, 0, "");
	expect(&s, 0, 0, 0, "");
	assert_true(s.csum == 0x38eab42149e91198);
	assert_true(super_set_magic(&s) == EXAMPLE_SET_MAGIC);
	assert_true(super_sync(&s) && !super_discard(&s) && !super_is_backing(&s));
	assert_int_equal(super_bucket_sectors(&s), 8);
	sealed = s;
	sealed.csum = 0;
	super_seal(&sealed);
	assert_memory_equal(&s, &sealed, sizeof(s));

	s = example_backing();
	expect(&s, EXAMPLE_SECTORS, 512, 0, "");
	assert_true(s.csum == 0xd04398242ad0be56);
	assert_true(super_is_backing(&s));
	assert_int_equal(super_cache_mode(&s), CACHE_MODE_WRITEBACK);
	assert_int_equal(super_state(&s), BDEV_STATE_DIRTY);
	assert_int_equal(super_data_offset(&s), 16);
	sealed = s;
	sealed.csum = 0;
	super_seal(&sealed);
	assert_memory_equal(&s, &sealed, sizeof(s));
}

/* Built from what a user would ask for, then given what the kernel's first run adds. */
static void the_example_cache_can_be_made_from_scratch(void **state)
{
	struct super s, example = example_cache();
	struct super_format f = { .device_sectors = EXAMPLE_SECTORS, .block_sectors = 1, .bucket_sectors = 8 };

	memcpy(f.uuid, example.uuid, 16);
	memcpy(f.set_uuid, example.set_uuid, 16);
	assert_int_equal(super_make(&s, &f, NULL), 0);
	super_set_sync(&s, true);
	s.version = SUPER_CACHE;
	s.seq++;
	s.last_mount = example.last_mount;
	s.keys = 8;
	for (unsigned i = 0; i < s.keys; i++)
		s.d[i] = s.first_bucket + i;
	super_seal(&s);
	assert_memory_equal(&s, &example, sizeof(s));

	example = example_backing();
	f.backing = true;
	f.cache_mode = CACHE_MODE_WRITEBACK;
	memcpy(f.uuid, example.uuid, 16);
	assert_int_equal(super_make(&s, &f, NULL), 0);
	super_set_state(&s, BDEV_STATE_DIRTY);
	s.last_mount = example.last_mount;
	super_seal(&s);
	assert_memory_equal(&s, &example, sizeof(s));
}

static void the_geometry_follows(void **state)
{
	struct super s = example_cache();
	struct geometry g;

	super_geometry(&s, &g);
	assert_int_equal(g.nr_buckets, 1024);
	assert_int_equal(g.bucket_sectors, 8);
	assert_int_equal(g.block_sectors, 1);
	assert_int_equal(g.first_bucket, 3);
	assert_int_equal(g.prios_per_bucket, 1352);
	assert_int_equal(g.nr_prio_buckets, 1);
}

/* Apply a change to a good superblock, seal it and judge it. */
#define BAD_ON(example, sectors, block_bytes, errno_, phrase, change) \
	do {                                                          \
		struct super s = example;                             \
		change;                                               \
		if (s.keys <= SUPER_KEYS_MAX)                         \
			super_seal(&s);                               \
		expect(&s, sectors, block_bytes, errno_, phrase);     \
	} while (0)
#define BAD(errno_, phrase, change) BAD_ON(example_cache(), EXAMPLE_SECTORS, 512, errno_, phrase, change)
#define BAD_BACKING(errno_, phrase, change) BAD_ON(example_backing(), EXAMPLE_SECTORS, 512, errno_, phrase, change)

/* format.md §4.6 */
static void each_rule_for_all_devices_is_enforced(void **state)
{
	struct super unsealed = example_cache();

	unsealed.d[7] ^= 1;
	expect(&unsealed, EXAMPLE_SECTORS, 512, -EBADMSG, "Bad checksum");
	memset(&unsealed, 0, sizeof(unsealed));
	expect(&unsealed, EXAMPLE_SECTORS, 512, -EBADMSG, "bad magic");
	BAD(-EBADMSG, "bad magic", s.magic[3]++);
	BAD(-EUCLEAN, "bad offset 9, need 8", s.offset = 9);
	BAD(-EUCLEAN, "Too many journal buckets: 257, at most 256", s.keys = 257);
	BAD(-EUCLEAN, "Too many journal buckets: 65535", s.keys = 65535);
	BAD(-EUCLEAN, "Bad UUID", memset(s.uuid, 0, 16));
	BAD_ON(example_cache(), EXAMPLE_SECTORS, 4096, -EUCLEAN, "smaller than the device's: 512 bytes, need 4096", (void)0);
	BAD(-EUCLEAN, "smaller than the device's", s.block_sectors = 0);
	BAD_ON(example_cache(), 0, 0, -EUCLEAN, "smaller than the device's", s.block_sectors = 0);
	BAD(-EUCLEAN, "Unsupported superblock version 2", s.version = 2);
	BAD(-EUCLEAN, "Unsupported superblock version 7", s.version = 7);
	BAD(-EUCLEAN, "Unsupported superblock version 18446744073709551615", s.version = UINT64_MAX);
	BAD_BACKING(-EUCLEAN, "Bad UUID", memset(s.uuid, 0, 16));
	BAD_BACKING(-EUCLEAN, "Too many journal buckets", s.keys = 300);
	BAD_BACKING(-EUCLEAN, "smaller than the device's", s.block_sectors = 0);
}

static void each_rule_for_backing_devices_is_enforced(void **state)
{
	for (unsigned v = 4; v <= 6; v += 2) {
		BAD_BACKING(0, "", (s.version = v, s.nbuckets_or_data_offset = 16));
		BAD_BACKING(0, "", (s.version = v, s.nbuckets_or_data_offset = 2048));
		BAD_BACKING(-EUCLEAN, "Bad data offset: 15", (s.version = v, s.nbuckets_or_data_offset = 15));
		BAD_BACKING(-EUCLEAN, "Bad data offset", (s.version = v, s.nbuckets_or_data_offset = UINT64_MAX));
		BAD_BACKING(-ENOSPC, "Device too small: 8192", (s.version = v, s.nbuckets_or_data_offset = 8192));
	}
	BAD_ON(example_backing(), 16, 512, -ENOSPC, "Device too small", (void)0);
	BAD_BACKING(0, "", s.nbuckets_or_data_offset = 7); /* version 1 has none */
	/* What only matters on caches. */
	BAD_BACKING(0, "", memset(s.set_uuid, 0, 16));
	BAD_BACKING(0, "", s.bucket_size_lo = 7);
	BAD_BACKING(0, "", s.block_sectors = 16);
	BAD_BACKING(0, "", (s.version = 6, s.nbuckets_or_data_offset = 16, s.feature_incompat = UINT64_MAX));
}

static void each_rule_for_caches_is_enforced(void **state)
{
	BAD(0, "", s.version = 0);
	BAD(0, "", s.version = 5);
	BAD(-EUCLEAN, "Unsupported incompatible feature: bits 4", (s.version = 5, s.feature_incompat = 4));
	BAD(-EUCLEAN, "Unsupported compatible feature: bits 1", (s.version = 5, s.feature_compat = 1));
	BAD(-EUCLEAN, "Unsupported read-only compatible", (s.version = 5, s.feature_ro_compat = 1ull << 63));
	BAD(0, "", (s.feature_compat = 1, s.feature_incompat = 4)); /* pad before version 5 */
	BAD(-EUCLEAN, "Too few buckets: 127, need 128", s.nbuckets_or_data_offset = 127);
	BAD(0, "", s.nbuckets_or_data_offset = 128);
	BAD(-EUCLEAN, "Too many buckets: 9223372036854775808", s.nbuckets_or_data_offset = 1ull << 63);
	BAD_ON(example_cache(), 0, 0, 0, "", s.nbuckets_or_data_offset = 1ull << 40);
	BAD_ON(example_cache(), 0, 0, -EUCLEAN, "Too many buckets", s.nbuckets_or_data_offset = (1ull << 40) + 1);
	BAD(-EUCLEAN, "Block size not a power of two: 3", s.block_sectors = 3);
	BAD(-EUCLEAN, "Block size larger than a page: 16", s.block_sectors = 16);
	BAD(-EUCLEAN, "Bucket size not a power of two: 12", s.bucket_size_lo = 12);
	BAD(-EUCLEAN, "Bucket size not a power of two: 0", s.bucket_size_lo = 0);
	BAD(-EUCLEAN, "Bucket size smaller than a page: 4", s.bucket_size_lo = 4);
	BAD(-ENOSPC, "Device too small: 8192 sectors, the superblock says 8200", s.nbuckets_or_data_offset = 1025);
	BAD_ON(example_cache(), 8191, 512, -ENOSPC, "Device too small", (void)0);
	BAD(-EUCLEAN, "Bad UUID: the set's", memset(s.set_uuid, 0, 16));
	BAD(-EUCLEAN, "Bad device number in set: 0 of 0", s.nr_in_set = 0);
	BAD(-EUCLEAN, "Bad device number in set: 0 of 9", s.nr_in_set = 9);
	BAD(-EUCLEAN, "Bad device number in set: 1 of 1", s.nr_this_dev = 1);
	BAD(0, "", (s.nr_in_set = 8, s.nr_this_dev = 7)); /* refused elsewhere, with a better reason */
	BAD(-EUCLEAN, "not sequential: number 5 is bucket 9, need 8", s.d[5] = 9);
	BAD(-EUCLEAN, "not sequential: number 0", s.d[0] += 1ull << 32);
	BAD(0, "", s.keys = 0);
	BAD(-EUCLEAN, "Too many journal buckets: 8 from bucket 1020 on", {
		s.first_bucket = 1020;
		for (unsigned i = 0; i < 8; i++)
			s.d[i] = 1020 + i;
	});
	BAD(-EUCLEAN, "First bucket overlaps superblock", {
		s.first_bucket = 1;
		s.keys = 0;
	});
	BAD(-EUCLEAN, "First bucket overlaps superblock", {
		s.first_bucket = 0;
		s.keys = 0;
	});
}

static void bucket_sizes_of_version_5_are_decoded(void **state)
{
	struct super s = example_cache();

	s.bucket_size_hi = 1;
	s.feature_incompat = 3;
	assert_int_equal(super_bucket_sectors(&s), 8); /* version 3 has no features */
	s.version = 5;
	assert_int_equal(super_bucket_sectors(&s), 256); /* both: the logarithm wins */
	s.feature_incompat = FEATURE_INCOMPAT_OBSO_LARGE_BUCKET;
	assert_int_equal(super_bucket_sectors(&s), 65544);
	s.feature_incompat = 0;
	assert_int_equal(super_bucket_sectors(&s), 8);
	s.feature_incompat = FEATURE_INCOMPAT_LOG_LARGE_BUCKET;
	s.bucket_size_lo = 31;
	assert_true(super_bucket_sectors(&s) == 1u << 31);
	s.bucket_size_lo = 32;
	assert_int_equal(super_bucket_sectors(&s), 0);
	super_seal(&s);
	expect(&s, EXAMPLE_SECTORS, 512, -EUCLEAN, "Bucket size not a power of two");
}

static void every_flipped_bit_under_the_checksum_is_noticed(void **state)
{
	struct super s = example_cache();
	struct super_limits limits = { EXAMPLE_SECTORS, 512 };

	for (size_t bit = 0; bit < (208 + 8 * 8) * 8; bit++) {
		flip_bit(&s, bit);
		assert_true(super_validate(&s, &limits, NULL) < 0);
		flip_bit(&s, bit);
	}
	/* By design the checksum ends there. */
	for (size_t bit = (208 + 8 * 8) * 8; bit < SUPER_BYTES * 8; bit++) {
		flip_bit(&s, bit);
		assert_int_equal(super_validate(&s, &limits, NULL), 0);
		flip_bit(&s, bit);
	}
}

static void sealed_random_superblocks_are_judged_without_harm(void **state)
{
	for (int n = 0; n < 20000; n++) {
		struct super *s = malloc(sizeof(*s)), example = example_cache();
		struct super_limits limits = { rnd() & 1 ? 0 : EXAMPLE_SECTORS, 512 };
		struct geometry g;

		rnd_fill(s, sizeof(*s));
		s->offset = SUPER_SECTOR;
		memcpy(s->magic, example.magic, 16);
		s->version = rnd_below(8);
		s->keys = (uint16_t)rnd_below(300);
		if (rnd() & 1)
			s->nbuckets_or_data_offset >>= rnd_below(64);
		if (rnd() & 1) {
			s->block_sectors = (uint16_t)(1 << rnd_below(4));
			s->bucket_size_lo = (uint16_t)(1 << rnd_below(16));
			s->nr_in_set = 1;
			s->nr_this_dev = s->keys = 0;
		}
		if (s->keys <= SUPER_KEYS_MAX)
			super_seal(s);
		if (super_validate(s, &limits, NULL) == 0 && !super_is_backing(s)) {
			super_geometry(s, &g);
			assert_true((uint64_t)g.nr_prio_buckets * g.prios_per_bucket >= g.nr_buckets);
			assert_true(g.node_sectors <= g.bucket_sectors);
		}
		/* Names can be looked up for any bits. */
		assert_non_null(cache_mode_names[super_cache_mode(s)]);
		assert_non_null(replacement_names[super_replacement(s)]);
		assert_non_null(bdev_state_names[super_state(s)]);
		free(s);
	}
}

static void flags_keep_to_their_bits(void **state)
{
	for (int n = 0; n < 200; n++) {
		struct super s = { .flags = rnd() };
		uint64_t junk = s.flags;
		bool sync = rnd() & 1, discard = rnd() & 1;
		enum replacement r = (enum replacement)rnd_below(3);

		super_set_sync(&s, sync);
		super_set_discard(&s, discard);
		super_set_replacement(&s, r);
		assert_int_equal(super_sync(&s), sync);
		assert_int_equal(super_discard(&s), discard);
		assert_int_equal(super_replacement(&s), r);
		assert_true(((s.flags ^ junk) & ~0x1full) == 0);
	}
	for (int n = 0; n < 200; n++) {
		struct super s = { .flags = rnd() };
		uint64_t junk = s.flags;
		enum cache_mode m = (enum cache_mode)rnd_below(4);
		enum bdev_state st = (enum bdev_state)rnd_below(4);

		super_set_cache_mode(&s, m);
		super_set_state(&s, st);
		assert_int_equal(super_cache_mode(&s), m);
		assert_int_equal(super_state(&s), st);
		assert_true(((s.flags ^ junk) & ~0x600000000000000full) == 0);
	}
}

static void flag_values_without_a_meaning_read_as_the_safe_one(void **state)
{
	struct super s = { .flags = 0xf | 7 << 2 };

	assert_int_equal(super_cache_mode(&s), CACHE_MODE_WRITETHROUGH);
	assert_int_equal(super_replacement(&s), REPLACEMENT_LRU);
}

static struct super_format good_request(bool backing)
{
	struct super_format f = {
		.backing = backing,
		.device_sectors = 1 << 20,
		.block_sectors = 1,
		.bucket_sectors = 1024,
		.uuid = { 1 },
		.set_uuid = { 2 },
		.label = "tank",
	};
	return f;
}

/* format.md §4.7 */
static void a_fresh_cache_is_what_make_bcache_writes(void **state)
{
	const struct {
		uint32_t bucket_sectors, first_bucket;
	} v[] = { { 8, 3 }, { 16, 2 }, { 32, 1 }, { 1024, 1 }, { 32768, 1 } };
	struct super s;

	for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
		struct super_format f = good_request(false);

		f.bucket_sectors = v[i].bucket_sectors;
		f.device_sectors = 1000ull * f.bucket_sectors + 7;
		f.block_sectors = 8;
		f.discard = true;
		f.replacement = REPLACEMENT_RANDOM;
		memset(&s, 0xaa, sizeof(s));
		assert_int_equal(super_make(&s, &f, NULL), 0);
		expect(&s, f.device_sectors, 4096, 0, "");
		assert_int_equal(s.version, SUPER_CACHE_NEW);
		assert_int_equal(s.nbuckets_or_data_offset, 1000);
		assert_int_equal(s.first_bucket, v[i].first_bucket);
		assert_int_equal(super_bucket_sectors(&s), f.bucket_sectors);
		assert_true(s.nr_in_set == 1 && s.nr_this_dev == 0 && s.keys == 0 && s.seq == 0 && s.last_mount == 0);
		assert_true(!super_sync(&s) && super_discard(&s) && super_replacement(&s) == REPLACEMENT_RANDOM);
		assert_int_equal(s.flags, 2 | 2 << 2);
	}
}

static void large_buckets_are_stored_as_a_logarithm(void **state)
{
	for (uint32_t shift = 16; shift <= 31; shift++) {
		struct super_format f = good_request(false);
		struct super s;

		f.bucket_sectors = 1u << shift;
		f.device_sectors = 600ull << shift;
		assert_int_equal(super_make(&s, &f, NULL), 0);
		assert_int_equal(s.version, SUPER_CACHE_FEATURES);
		assert_int_equal(s.feature_incompat, FEATURE_INCOMPAT_LOG_LARGE_BUCKET);
		assert_int_equal(s.bucket_size_lo, shift);
		assert_true(super_bucket_sectors(&s) == 1u << shift);
	}
}

static void a_fresh_backing_device_is_what_make_bcache_writes(void **state)
{
	struct super_format f = good_request(true);
	struct super s;

	f.cache_mode = CACHE_MODE_WRITEAROUND;
	assert_int_equal(super_make(&s, &f, NULL), 0);
	assert_true(s.version == SUPER_BACKING && s.nbuckets_or_data_offset == 0 && super_data_offset(&s) == 16);
	assert_int_equal(s.flags, CACHE_MODE_WRITEAROUND);
	assert_string_equal(s.label, "tank");
	assert_true(s.bucket_size_lo == 1024 && s.nr_in_set == 0 && s.keys == 0 && s.first_bucket == 0);
	f.data_offset = 16;
	assert_int_equal(super_make(&s, &f, NULL), 0);
	assert_int_equal(s.version, SUPER_BACKING);
	f.data_offset = 2048;
	f.bucket_sectors = 0; /* of no consequence */
	assert_int_equal(super_make(&s, &f, NULL), 0);
	assert_true(s.version == SUPER_BACKING_OFFSET && super_data_offset(&s) == 2048);
}

#define REFUSED(is_backing, errno_, phrase, change)                             \
	do {                                                                    \
		struct super_format f = good_request(is_backing);               \
		struct super s;                                                 \
		char text[300];                                                 \
		struct printbuf why = PRINTBUF(text);                           \
		change;                                                         \
		assert_judged(super_make(&s, &f, &why), errno_, text, phrase);  \
	} while (0)

static void impossible_requests_are_refused_with_the_reason(void **state)
{
	REFUSED(false, -ENOSPC, "Too few buckets: 127, need 128", f.device_sectors = 128 * 1024 - 1);
	REFUSED(false, 0, "", f.device_sectors = 128 * 1024);
	REFUSED(false, -ENOSPC, "Device too small", f.device_sectors = 0);
	REFUSED(false, -EINVAL, "Too many buckets", f.device_sectors = UINT64_MAX);
	REFUSED(false, -EINVAL, "Bucket size", f.bucket_sectors = 0);
	REFUSED(false, -EINVAL, "Bucket size", f.bucket_sectors = 1000);
	REFUSED(false, -EINVAL, "Bucket size", f.bucket_sectors = 4);
	REFUSED(false, -EINVAL, "Block size", f.block_sectors = 0);
	REFUSED(false, -EINVAL, "Block size", f.block_sectors = 3);
	REFUSED(false, -EINVAL, "Block size larger than a page", f.block_sectors = 16);
	REFUSED(false, -EINVAL, "Block size", f.block_sectors = 65536 + 8);
	REFUSED(false, -EINVAL, "Block size", f.block_sectors = 65536);
	REFUSED(false, -EINVAL, "Bad UUID", memset(f.uuid, 0, 16));
	REFUSED(false, -EINVAL, "Bad UUID", memset(f.set_uuid, 0, 16));
	REFUSED(true, 0, "", memset(f.set_uuid, 0, 16));
	REFUSED(true, -EINVAL, "Bad data offset: 8", f.data_offset = 8);
	REFUSED(true, -ENOSPC, "Device too small", f.device_sectors = 16);
	REFUSED(true, -ENOSPC, "Device too small", f.device_sectors = 0);
	REFUSED(true, -EINVAL, "Bad UUID", memset(f.uuid, 0, 16));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_superblocks_are_good_and_seal_to_the_same_bytes),
		cmocka_unit_test(the_example_cache_can_be_made_from_scratch),
		cmocka_unit_test(the_geometry_follows),
		cmocka_unit_test(each_rule_for_all_devices_is_enforced),
		cmocka_unit_test(each_rule_for_backing_devices_is_enforced),
		cmocka_unit_test(each_rule_for_caches_is_enforced),
		cmocka_unit_test(bucket_sizes_of_version_5_are_decoded),
		cmocka_unit_test(every_flipped_bit_under_the_checksum_is_noticed),
		cmocka_unit_test(sealed_random_superblocks_are_judged_without_harm),
		cmocka_unit_test(flags_keep_to_their_bits),
		cmocka_unit_test(flag_values_without_a_meaning_read_as_the_safe_one),
		cmocka_unit_test(a_fresh_cache_is_what_make_bcache_writes),
		cmocka_unit_test(large_buckets_are_stored_as_a_logarithm),
		cmocka_unit_test(a_fresh_backing_device_is_what_make_bcache_writes),
		cmocka_unit_test(impossible_requests_are_refused_with_the_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
