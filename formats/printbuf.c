/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/printbuf.h"

#include <stdarg.h>
#include <stdio.h>

struct printbuf printbuf_over(char *text, size_t size_bytes)
{
	struct printbuf pb = { .text = text, .size_bytes = size_bytes };

	printbuf_reset(&pb);
	return pb;
}

void printbuf_reset(struct printbuf *pb)
{
	if (!pb)
		return;
	pb->len_bytes = 0;
	pb->truncated = false;
	if (pb->size_bytes)
		pb->text[0] = '\0';
}

void pr(struct printbuf *pb, const char *fmt, ...)
{
	size_t room_bytes;
	va_list args;
	int n;

	if (!pb)
		return;
	room_bytes = pb->size_bytes - pb->len_bytes;
	va_start(args, fmt);
	n = vsnprintf(room_bytes ? pb->text + pb->len_bytes : NULL, room_bytes, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= room_bytes) {
		pb->truncated = true;
		pb->len_bytes += room_bytes ? strlen(pb->text + pb->len_bytes) : 0;
		return;
	}
	pb->len_bytes += (size_t)n;
}

void pr_char(struct printbuf *pb, char c)
{
	if (!pb)
		return;
	if (pb->len_bytes + 1 >= pb->size_bytes) {
		pb->truncated = true;
		return;
	}
	pb->text[pb->len_bytes++] = c;
	pb->text[pb->len_bytes] = '\0';
}

/* Where a dash precedes the byte in the textual form: 8-4-4-4-12 digits. */
static bool dash_before(unsigned byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void pr_uuid(struct printbuf *pb, const uint8_t uuid[16])
{
	for (unsigned i = 0; i < 16; i++)
		pr(pb, "%s%02x", dash_before(i) ? "-" : "", uuid[i]);
}

void pr_human(struct printbuf *pb, int64_t bytes)
{
	uint64_t v = bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes;
	static const char units[] = "kMGTPE";
	unsigned nr_divisions = 0;
	unsigned rem;

	/* The digit is truncated, never rounded, and the smallest unit is k: scripts compare this text (control-files.md §1.2). */
	do {
		rem = v & 1023;
		v >>= 10;
		nr_divisions++;
	} while (v >= 1000);
	pr(pb, "%s%llu.%u%c", bytes < 0 ? "-" : "", (unsigned long long)v, rem * 10 / 1024,
	   units[nr_divisions - 1]);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

void text_one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = ' ';
}

int uuid_parse(const char *text, uint8_t ret_uuid[16])
{
	uint8_t uuid[16];

	for (unsigned i = 0; i < 16; i++) {
		int hi, lo;

		if (dash_before(i) && *text++ != '-')
			return -EINVAL;
		/* Short-circuit: the second digit is only read when the first was not the terminator. */
		hi = hex_digit(text[0]);
		lo = hi < 0 ? -1 : hex_digit(text[1]);
		if (lo < 0)
			return -EINVAL;
		uuid[i] = (uint8_t)(hi << 4 | lo);
		text += 2;
	}
	if (*text)
		return -EINVAL;
	memcpy(ret_uuid, uuid, sizeof(uuid));
	return 0;
}
