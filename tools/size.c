/* SPDX-License-Identifier: GPL-2.0-only */
#include "tools/size.h"
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static const char units[] = "kmgtpe";

int number_parse(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (unsigned)(*text - '0'), &v) || v > max)
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

/* The unit at the end of a size as a shift: "" 0, "k" "kB" "KiB" 10, ... */
static int unit_shift(const char *unit, unsigned *ret)
{
	const char *u;

	if (!*unit || !strcmp(unit, "B")) {
		*ret = 0;
		return 0;
	}
	u = strchr(units, tolower((unsigned char)*unit));
	if (!u || (unit[1] && strcasecmp(unit + 1, "b") && strcasecmp(unit + 1, "ib")))
		return -EINVAL;
	*ret = 10 * (unsigned)(u - units + 1);
	return 0;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	unsigned __int128 value = 0, scale = 1; /* the number is value / scale */
	unsigned shift, nr_digits = 0;
	bool fraction = false;

	for (; isdigit((unsigned char)*text) || (*text == '.' && !fraction && nr_digits); text++) {
		if (*text == '.') {
			fraction = true;
			if (!isdigit((unsigned char)text[1]))
				return -EINVAL;
			continue;
		}
		if (++nr_digits > 20) /* 20 digits and a shift by 60 still fit 128 bits */
			return -ERANGE;
		value = value * 10 + (unsigned)(*text - '0');
		if (fraction)
			scale *= 10;
	}
	if (!nr_digits || unit_shift(text, &shift) < 0)
		return -EINVAL;
	value <<= shift;
	if (shift == 0 && fraction)
		return -EINVAL;
	value /= scale;
	if (value > INT64_MAX)
		return -ERANGE;
	*ret_bytes = (uint64_t)value;
	return 0;
}

const char *size_to_text(uint64_t bytes, char text[SIZE_TEXT_BYTES])
{
	static const char letters[] = "KMGTPE";
	uint64_t whole = bytes, rest = 0;
	int unit = -1;

	for (; whole >= 1024; unit++) {
		rest = whole % 1024;
		whole /= 1024;
	}
	if (unit < 0)
		snprintf(text, SIZE_TEXT_BYTES, "%u B", (unsigned)whole);
	else if (rest * 10 / 1024)
		snprintf(text, SIZE_TEXT_BYTES, "%u.%u %ciB", (unsigned)whole, (unsigned)(rest * 10 / 1024), letters[unit]);
	else
		snprintf(text, SIZE_TEXT_BYTES, "%u %ciB", (unsigned)whole, letters[unit]);
	return text;
}
