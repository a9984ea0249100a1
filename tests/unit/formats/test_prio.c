/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/prio.h"
#include "tests/unit/formats/helpers.h"

#define MAGIC EXAMPLE_SET_MAGIC
#define BYTES 4096u

/* format.md Appendix B.5: a prio_set written by a real kernel. */
static struct prio_set *make_example(void)
{
	struct prio_set *p = calloc(1, BYTES);
	const unsigned metadata[] = { 11, 12, 24, 30 };

	p->seq = 2;
	p->next_bucket = 11;
	for (unsigned b = 13; b <= 33; b++)
		if (b <= 18 || b == 23 || b >= 25)
			p->records[b] = (struct prio_record){ PRIO_INITIAL, 1 };
	for (unsigned i = 0; i < ARRAY_SIZE(metadata); i++)
		p->records[metadata[i]] = (struct prio_record){ PRIO_BTREE, 1 };
	p->records[29].gen = 2;
	prio_set_seal(p, BYTES, MAGIC);
	return p;
}

static void the_example_set_has_the_kernels_checksum(void **state)
{
	struct prio_set *p = make_example();

	assert_true(p->csum == 0x656f2c58035207a7);
	assert_true(p->magic == 0xea1bb2321b92878b);
	assert_int_equal(prio_set_validate(p, BYTES, MAGIC, NULL), 0);
	free(p);
}

static void every_flipped_bit_is_noticed_unused_tail_included(void **state)
{
	struct prio_set *p = make_example();

	for (size_t bit = 0; bit < BYTES * 8; bit++) {
		flip_bit(p, bit);
		assert_int_equal(prio_set_validate(p, BYTES, MAGIC, NULL), -EBADMSG);
		flip_bit(p, bit);
	}
	free(p);
}

static void the_reason_tells_magic_from_checksum(void **state)
{
	struct prio_set *p = make_example();
	char text[300];
	struct printbuf why = PRINTBUF(text);

	assert_judged(prio_set_validate(p, BYTES, MAGIC + 1, &why), -EBADMSG, text, "bad magic");
	printbuf_reset(&why);
	p->records[5].gen++;
	assert_judged(prio_set_validate(p, BYTES, MAGIC, &why), -EBADMSG, text, "bad checksum");
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_set_has_the_kernels_checksum),
		cmocka_unit_test(every_flipped_bit_is_noticed_unused_tail_included),
		cmocka_unit_test(the_reason_tells_magic_from_checksum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
