/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* Small, fast, seeded random numbers (SplitMix64: a Weyl sequence through a mixer). For simulation and sampling, never for secrets. */
#include "formats/base.h"

struct prng {
	uint64_t state;
};

static inline uint64_t prng_mix(uint64_t v)
{
	v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9ull;
	v = (v ^ (v >> 27)) * 0x94d049bb133111ebull;
	return v ^ (v >> 31);
}
static inline struct prng prng_seeded(uint64_t seed) { return (struct prng){ prng_mix(seed + 1) }; }
static inline uint64_t prng_u64(struct prng *p) { return prng_mix(p->state += 0x9e3779b97f4a7c15ull); }
/* 0 … n-1, n > 0. */
static inline uint64_t prng_below(struct prng *p, uint64_t n) { return (uint64_t)(((unsigned __int128)prng_u64(p) * n) >> 64); }
static inline bool prng_one_in(struct prng *p, uint64_t n) { return prng_below(p, n) == 0; }
