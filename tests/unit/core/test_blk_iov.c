/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/unit/core/test_engine_util.h"
#include "core/util/iov.h"

/* Addresses that nobody touches. */
static void *at(uint64_t a)
{
	return (void *)(uintptr_t)a;
}

static void a_short_vector_is_one_window(void **state)
{
	struct iovec iov[3] = { { at(0x1000), 512 }, { at(0x9000), 1024 }, { at(0x5000), 512 } };
	struct iov_window w;

	iov_window_at(&w, iov, 3, 0);
	assert_ptr_equal(w.iov, iov);
	assert_int_equal(w.nr_iov, 3);
	assert_int_equal(w.len_bytes, 2048);
	iov_window_at(&w, iov, 3, 512);
	assert_ptr_equal(w.iov, iov + 1);
	assert_int_equal(w.nr_iov, 2);
	assert_int_equal(w.len_bytes, 1536);
}

static void inside_an_item_the_window_is_its_rest(void **state)
{
	struct iovec iov[2] = { { at(0x1000), 512 }, { at(0x9000), 1024 } };
	struct iov_window w;

	iov_window_at(&w, iov, 2, 700);
	assert_int_equal(w.nr_iov, 1);
	assert_ptr_equal(w.iov->iov_base, at(0x9000 + 188));
	assert_int_equal(w.len_bytes, 1024 - 188);
}

/* Every byte exactly once, no window larger than the kernel takes. */
static void walk(const struct iovec *iov, unsigned nr)
{
	uint64_t len = iov_len_bytes(iov, nr), done = 0;
	struct iov_window w;

	while (done < len) {
		iov_window_at(&w, iov, nr, done);
		assert_in_range(w.nr_iov, 1, IOV_WINDOW_ENTRIES);
		assert_in_range(w.len_bytes, 1, IOV_WINDOW_BYTES);
		assert_int_equal(iov_len_bytes(w.iov, w.nr_iov), w.len_bytes);
		done += w.len_bytes;
	}
	assert_int_equal(done, len);
}

static void transfers_beyond_two_gib_are_split(void **state)
{
	struct iovec huge = { at(0x10000), GIB(5) + 512 }, many[3000], mixed[3] = { { at(0x1000), 512 }, huge, { at(0x1000), 0 } };
	struct iov_window w;

	iov_window_at(&w, &huge, 1, GIB(4));
	assert_ptr_equal(w.iov->iov_base, at(0x10000 + GIB(4)));
	assert_int_equal(w.len_bytes, GIB(1));
	walk(&huge, 1);
	walk(mixed, 3);
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct iovec){ at(0x1000), MIB(1) };
	walk(many, ARRAY_SIZE(many));
}

static void gather_and_scatter_agree(void **state)
{
	char a[10], b[20], c[5], flat[35], back[35];
	struct iovec iov[4] = { { a, 10 }, { NULL, 0 }, { b, 20 }, { c, 5 } };

	for (int i = 0; i < 35; i++)
		flat[i] = (char)i;
	for (uint64_t skip = 0; skip < 35; skip++)
		for (size_t len = 0; len <= 35 - skip; len++) {
			memset(a, 99, sizeof(a));
			memset(b, 99, sizeof(b));
			memset(c, 99, sizeof(c));
			iov_scatter(iov, 4, skip, flat, len);
			iov_gather(back, iov, 4, 0, 35);
			for (size_t i = 0; i < 35; i++)
				assert_int_equal(back[i], i >= skip && i < skip + len ? (char)(i - skip) : 99);
			iov_gather(back, iov, 4, skip, len);
			assert_memory_equal(back, flat, len);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_short_vector_is_one_window),
		TEST(inside_an_item_the_window_is_its_rest),
		TEST(transfers_beyond_two_gib_are_split),
		TEST(gather_and_scatter_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
