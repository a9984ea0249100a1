/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Bounded text builder. Never overflows and never fails: text that does not fit is cut and `truncated` is set.
 * Every function accepts pb == NULL and then does nothing, so that "tell me why" stays optional for callers.
 */
#include "formats/base.h"

struct printbuf {
	char *text; /* always NUL-terminated once initialised */
	size_t size_bytes;
	size_t len_bytes;
	bool truncated;
};

/* A printbuf over a local array: char line[200]; struct printbuf pb = PRINTBUF(line); */
#define PRINTBUF(array) printbuf_over((array), sizeof(array))

struct printbuf printbuf_over(char *text, size_t size_bytes);
void printbuf_reset(struct printbuf *pb);
void pr(struct printbuf *pb, const char *fmt, ...) PRINTF_LIKE(2, 3);
void pr_char(struct printbuf *pb, char c);
void pr_uuid(struct printbuf *pb, const uint8_t uuid[16]);
/* bcache's human-readable size of a signed byte count (control-files.md §1.2): "0.0k", "3.9M"; no newline. */
void pr_human(struct printbuf *pb, int64_t bytes);

/* Control characters become blanks: for texts that quote somebody else and end up in a line of a file or a log. */
void text_one_line(char *text);

/* 36-character textual UUID, either case. Returns 0, or -EINVAL leaving ret_uuid alone. */
MUST_CHECK int uuid_parse(const char *text, uint8_t ret_uuid[16]);
static inline bool uuid_is_zero(const uint8_t uuid[16])
{
	uint8_t any = 0;
	for (int i = 0; i < 16; i++)
		any |= uuid[i];
	return !any;
}
