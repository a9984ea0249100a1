/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Sizes as people type and read them. Units are powers of 1024. */
#include "formats/base.h"

#define SIZE_TEXT_BYTES 32

/*
 * "4096", "512k", "1.5G", "256MiB": digits, an optional fraction, an optional unit (k M G T P E in either case, optionally
 * followed by "B" or "iB"). Without a unit the number counts bytes; a fraction needs a unit and is cut to whole bytes. -EINVAL for
 * anything else, signs included; -ERANGE when it does not fit 63 bits.
 */
MUST_CHECK int size_parse(const char *text, uint64_t *ret_bytes);
/* Decimal digits only, no more than max. -EINVAL or -ERANGE. */
MUST_CHECK int number_parse(const char *text, uint64_t max, uint64_t *ret);
/* "512 B", "256 KiB", "1.5 GiB": at most one decimal, cut, never rounded up. */
const char *size_to_text(uint64_t bytes, char text[SIZE_TEXT_BYTES]);
