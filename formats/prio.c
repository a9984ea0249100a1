/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/prio.h"
#include "formats/crc64.h"
#include "formats/printbuf.h"

/* The unused tail is covered as well: whoever fills a set must not leave it uninitialised. */
static uint64_t prio_set_csum(const struct prio_set *p, uint32_t meta_bytes)
{
	return crc64_csum(&p->magic, meta_bytes - sizeof(p->csum));
}

void prio_set_seal(struct prio_set *p, uint32_t meta_bytes, uint64_t set_magic)
{
	p->magic = set_magic ^ PRIO_MAGIC;
	p->csum = prio_set_csum(p, meta_bytes);
}

int prio_set_validate(const struct prio_set *p, uint32_t meta_bytes, uint64_t set_magic, struct printbuf *why)
{
	uint64_t csum;

	if (p->magic != (set_magic ^ PRIO_MAGIC)) {
		pr(why, "bad magic %016llx, need %016llx", (unsigned long long)p->magic,
		   (unsigned long long)(set_magic ^ PRIO_MAGIC));
		return -EBADMSG;
	}
	csum = prio_set_csum(p, meta_bytes);
	if (p->csum != csum) {
		pr(why, "bad checksum %016llx, computed %016llx over %u bytes", (unsigned long long)p->csum,
		   (unsigned long long)csum, meta_bytes);
		return -EBADMSG;
	}
	return 0;
}
