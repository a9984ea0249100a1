/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/crc64.h"

#include <isa-l/crc64.h>

/*
 * ISA-L's "norm" variant is the same polynomial and bit order, but it inverts the seed on the way in and the result on the
 * way out. bcache's update does neither, so both inversions are undone here.
 */
uint64_t crc64_update(uint64_t seed, const void *data, size_t len_bytes)
{
	if (!len_bytes)
		return seed;
	return ~crc64_ecma_norm(~seed, data, len_bytes);
}

uint64_t crc64_csum(const void *data, size_t len_bytes)
{
	return ~crc64_update(UINT64_MAX, data, len_bytes);
}
