/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * SHA-256 of contents, and random UUIDs. The only header (and digest.c the only file) behind which OpenSSL lives.
 *
 * Nothing that must repeat under simulation may come from here: the randomness is the operating system's.
 */
#include "formats/base.h"

#define DIGEST_BYTES 32
#define DIGEST_TEXT_BYTES (2 * DIGEST_BYTES + 1)

struct digest;
/* NULL when out of memory. */
struct digest *digest_new(void);
void digest_update(struct digest *d, const void *data, size_t len_bytes);
/* Result and end: d is freed. */
void digest_finish(struct digest *d, uint8_t ret[DIGEST_BYTES]);
/* Give up without a result; NULL is fine. */
void digest_free(struct digest *d);
/* 64 hexadecimal digits. */
void digest_to_text(const uint8_t digest[DIGEST_BYTES], char text[DIGEST_TEXT_BYTES]);

/* A version 4 UUID. -EIO when the system has no randomness; ret is untouched then. */
MUST_CHECK int uuid_random(uint8_t ret_uuid[16]);
