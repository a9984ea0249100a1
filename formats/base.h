/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * Units and small arithmetic shared by every layer.
 *
 * A sector is always 512 bytes; names end in their unit (_sectors, _bytes, _blocks, _words, _ns). Everything on disk is
 * little-endian and is used in place, so only little-endian hosts are supported (format.md §1).
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bcache structures are used in place: this program needs a little-endian host"
#endif

#define SECTOR_SHIFT 9
#define SECTOR_BYTES 512u
#define PAGE_SECTORS 8u /* the format's page: always 4 KiB, whatever the host has (format.md §15) */
#define PAGE_BYTES 4096u
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
/* Each use gets its own names, so that they nest without shadowing. */
#define MINMAX_(a, b, op, ta, tb) ({ __auto_type ta = (a); __auto_type tb = (b); ta op tb ? ta : tb; })
#define MINMAX__(a, b, op, n) MINMAX_(a, b, op, PASTE_(minmax_a_, n), PASTE_(minmax_b_, n))
#define PASTE__(x, y) x##y
#define PASTE_(x, y) PASTE__(x, y)
#define min(a, b) MINMAX__(a, b, <, __COUNTER__)
#define max(a, b) MINMAX__(a, b, >, __COUNTER__)
#define clamp(v, lo, hi) min(max(v, lo), hi)

#define MUST_CHECK __attribute__((warn_unused_result))
/* Deliberately not looking at a MUST_CHECK result; the reason stands beside it. */
#define ignore_result(call) do { if (call) { } } while (0)
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* A function that may park the calling fiber. After calling one, every pointer into shared structures is suspect. */
#define FIBER_FN

static inline uint64_t round_up_u64(uint64_t v, uint64_t step) { return (v + step - 1) / step * step; }
static inline uint64_t round_down_u64(uint64_t v, uint64_t step) { return v / step * step; }
static inline uint64_t div_round_up_u64(uint64_t v, uint64_t d) { return (v + d - 1) / d; }
static inline bool is_power_of_two(uint64_t v) { return v && !(v & (v - 1)); }

/* Smallest power of two >= v; 1 for v <= 1. */
static inline uint64_t round_up_pow2(uint64_t v)
{
	return v <= 1 ? 1 : 1ull << (64 - __builtin_clzll(v - 1));
}

/* floor(log2(v)), v > 0. */
static inline unsigned log2_u64(uint64_t v) { return 63 - (unsigned)__builtin_clzll(v); }
