/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/digest.h"
#include <openssl/evp.h>
#include <openssl/rand.h>

/* A struct digest *is* an EVP context; the name keeps OpenSSL out of everybody else's sight. */
static EVP_MD_CTX *evp(struct digest *d) { return (EVP_MD_CTX *)d; }

struct digest *digest_new(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	return (struct digest *)ctx;
}

void digest_update(struct digest *d, const void *data, size_t len_bytes)
{
	int ok = EVP_DigestUpdate(evp(d), data, len_bytes);

	assert(ok == 1); /* hashing memory cannot fail once the context exists */
}

void digest_finish(struct digest *d, uint8_t ret[DIGEST_BYTES])
{
	int ok = EVP_DigestFinal_ex(evp(d), ret, NULL);

	assert(ok == 1);
	digest_free(d);
}

void digest_free(struct digest *d)
{
	EVP_MD_CTX_free(evp(d));
}

void digest_to_text(const uint8_t digest[DIGEST_BYTES], char text[DIGEST_TEXT_BYTES])
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < DIGEST_BYTES; i++) {
		text[2 * i] = hex[digest[i] >> 4];
		text[2 * i + 1] = hex[digest[i] & 15];
	}
	text[2 * DIGEST_BYTES] = '\0';
}

int uuid_random(uint8_t ret_uuid[16])
{
	uint8_t uuid[16];

	if (RAND_bytes(uuid, sizeof(uuid)) != 1)
		return -EIO;
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* version 4: random */
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80); /* variant of RFC 4122 */
	memcpy(ret_uuid, uuid, sizeof(uuid));
	return 0;
}
