/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/util/iov.h"

uint64_t iov_len_bytes(const struct iovec *iov, unsigned nr_iov)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < nr_iov; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* The item that holds byte *skip; *skip becomes the position inside it. */
static unsigned iov_find(const struct iovec *iov, unsigned nr_iov, uint64_t *skip)
{
	unsigned i = 0;

	while (i < nr_iov && *skip >= iov[i].iov_len)
		*skip -= iov[i++].iov_len;
	return i;
}

static void window_single(struct iov_window *w, const struct iovec *iov, uint64_t skip)
{
	w->single.iov_base = (char *)iov->iov_base + skip;
	w->single.iov_len = min(iov->iov_len - skip, (size_t)IOV_WINDOW_BYTES);
	w->iov = &w->single;
	w->nr_iov = 1;
	w->len_bytes = w->single.iov_len;
}

void iov_window_at(struct iov_window *w, const struct iovec *iov, unsigned nr_iov, uint64_t skip_bytes)
{
	unsigned i = iov_find(iov, nr_iov, &skip_bytes);

	assert(i < nr_iov);
	if (skip_bytes || iov[i].iov_len > IOV_WINDOW_BYTES) {
		window_single(w, &iov[i], skip_bytes);
		return;
	}
	w->iov = &iov[i];
	w->nr_iov = 0;
	w->len_bytes = 0;
	for (; i < nr_iov && w->nr_iov < IOV_WINDOW_ENTRIES; i++, w->nr_iov++) {
		if (iov[i].iov_len > IOV_WINDOW_BYTES - w->len_bytes)
			break;
		w->len_bytes += iov[i].iov_len;
	}
}

static void iov_copy(const struct iovec *iov, unsigned nr_iov, uint64_t skip, char *flat, size_t len_bytes, bool scatter)
{
	unsigned i = iov_find(iov, nr_iov, &skip);

	for (; len_bytes; i++, skip = 0) {
		assert(i < nr_iov);
		size_t n = min(iov[i].iov_len - (size_t)skip, len_bytes);
		char *item = (char *)iov[i].iov_base + skip;

		if (!n) /* an empty item may have no address */
			continue;
		if (scatter)
			memcpy(item, flat, n);
		else
			memcpy(flat, item, n);
		flat += n;
		len_bytes -= n;
	}
}

void iov_gather(void *to, const struct iovec *iov, unsigned nr_iov, uint64_t skip_bytes, size_t len_bytes)
{
	iov_copy(iov, nr_iov, skip_bytes, to, len_bytes, false);
}

void iov_scatter(const struct iovec *iov, unsigned nr_iov, uint64_t skip_bytes, const void *from, size_t len_bytes)
{
	iov_copy(iov, nr_iov, skip_bytes, (char *)from, len_bytes, true);
}
