/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* bcache's CRC-64 (ECMA-182, MSB first, format.md §2) on ISA-L. The only file that knows ISA-L. */
#include "formats/base.h"

/* Raw update without final XOR; feed the result back in as seed to continue. */
uint64_t crc64_update(uint64_t seed, const void *data, size_t len_bytes);
/* All-ones seed, inverted result: superblocks, journal entries, prio sets, version-0 bsets. */
uint64_t crc64_csum(const void *data, size_t len_bytes);
