/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/jset.h"
#include "formats/crc64.h"
#include "formats/geometry.h"
#include "formats/printbuf.h"

static uint64_t jset_magic(uint64_t set_magic)
{
	return set_magic ^ JSET_MAGIC;
}

uint64_t jset_csum(const struct jset *j)
{
	return crc64_csum(&j->magic, jset_bytes(j) - sizeof(j->csum));
}

void jset_seal(struct jset *j, uint64_t set_magic)
{
	j->magic = jset_magic(set_magic);
	j->version = JSET_VERSION;
	j->csum = jset_csum(j);
}

/* The checksum is right, so these bytes are what somebody meant to write; do they make sense? */
static int content_validate(const struct jset *j, struct printbuf *why)
{
	uint32_t words = bkey_walk_words(j->words, j->nr_words);

	if (j->version > JSET_VERSION)
		pr(why, "unsupported journal entry version %u", j->version);
	else if (j->seq > JSET_SEQ_MAX)
		pr(why, "sequence number %llu is impossible, at most %llu", (unsigned long long)j->seq, (unsigned long long)JSET_SEQ_MAX);
	else if (!j->last_seq || j->last_seq > j->seq)
		pr(why, "entry %llu needs entries from %llu on", (unsigned long long)j->seq,
		   (unsigned long long)j->last_seq);
	else if (bkey_ptrs(&j->uuid_bucket.k) > BKEY_PTRS_MAX || bkey_ptrs(&j->btree_root.k) > BKEY_PTRS_MAX)
		pr(why, "entry %llu: too many pointers in the uuid or root key", (unsigned long long)j->seq);
	else if (words != j->nr_words)
		pr(why, "entry %llu: malformed key at word %u of %u", (unsigned long long)j->seq, words, j->nr_words);
	else
		return 0;
	return -EUCLEAN;
}

int jset_validate(const struct jset *j, size_t avail_bytes, uint64_t set_magic, struct printbuf *why)
{
	uint64_t csum;

	if (avail_bytes < sizeof(*j) || j->magic != jset_magic(set_magic)) {
		pr(why, "no journal entry here");
		return -ENODATA;
	}
	if (jset_bytes(j) > min(avail_bytes, (size_t)JSET_BYTES_MAX)) {
		pr(why, "entry of %zu bytes does not fit the %zu left or is above %u", jset_bytes(j), avail_bytes,
		   JSET_BYTES_MAX);
		return -EUCLEAN;
	}
	csum = jset_csum(j);
	if (j->csum != csum) {
		pr(why, "bad checksum %016llx, computed %016llx over %u words", (unsigned long long)j->csum,
		   (unsigned long long)csum, j->nr_words);
		return -EBADMSG;
	}
	return content_validate(j, why);
}
