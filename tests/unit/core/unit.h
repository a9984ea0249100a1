/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* What table-driven tests share: cmocka, and comparisons that name the row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "formats/base.h"

#define check_case(name, got, want) do { \
		long long got_ = (long long)(got), want_ = (long long)(want); \
		if (got_ != want_) \
			fail_msg("%s: got %lld, want %lld", (name), got_, want_); \
	} while (0)
#define check_text(name, got, want) do { \
		const char *got_ = (got), *want_ = (want); \
		if (strcmp(got_, want_)) \
			fail_msg("%s: got \"%s\", want \"%s\"", (name), got_, want_); \
	} while (0)
