/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/alloc_fault.h"
#include "core/util/prng.h"
#include "formats/printbuf.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LIVE_MAX 65536u /* a power of two; the worlds need hundreds */

static struct alloc_fault plan;
static bool armed, tracking;
static uint64_t number, hits, nr_live;

static struct live {
	void *mem;
	size_t bytes;
	uint64_t number;
	void *caller;
} live[LIVE_MAX];

/* The names that the core's calls were given. */
void *core_malloc(size_t n);
void *core_calloc(size_t n, size_t each);
void *core_realloc(void *old, size_t n);
void *core_reallocarray(void *old, size_t n, size_t each);
int core_posix_memalign(void **ret, size_t align, size_t n);
char *core_strdup(const char *text);
void core_free(void *mem);
void *core_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int core_munmap(void *at, size_t n);

/* --- what is alive -------------------------------------------------------------------------------------------------- */

static size_t slot_of(const void *mem)
{
	size_t i = prng_mix((uintptr_t)mem) % LIVE_MAX;

	while (live[i].mem && live[i].mem != mem)
		i = (i + 1) % LIVE_MAX;
	return i;
}

static void *born(void *mem, size_t bytes, void *caller)
{
	if (!tracking || !mem)
		return mem;
	if (nr_live == LIVE_MAX / 2)
		abort();
	live[slot_of(mem)] = (struct live){ mem, bytes, number, caller };
	nr_live++;
	return mem;
}

/* Those behind it may stand in the wrong place without it. */
static void dies(void *mem)
{
	size_t i = slot_of(mem);

	if (!mem || !live[i].mem)
		return;
	live[i].mem = NULL;
	nr_live--;
	for (i = (i + 1) % LIVE_MAX; live[i].mem; i = (i + 1) % LIVE_MAX) {
		struct live l = live[i];

		live[i].mem = NULL;
		live[slot_of(l.mem)] = l;
	}
}

/* --- failing -------------------------------------------------------------------------------------------------------- */

static bool chance(void)
{
	struct prng p = { plan.chance };
	bool hit = plan.one_in && prng_one_in(&p, plan.one_in);

	plan.chance = p.state;
	return hit;
}

static bool fails(void)
{
	if (!armed)
		return false;
	number++;
	if (!(plan.fail_at && (number == plan.fail_at || (plan.from_then_on && number > plan.fail_at))) && !chance())
		return false;
	hits++;
	errno = ENOMEM;
	return true;
}

void *core_malloc(size_t n)
{
	return fails() ? NULL : born(malloc(n), n, __builtin_return_address(0));
}

void *core_calloc(size_t n, size_t each)
{
	return fails() ? NULL : born(calloc(n, each), n * each, __builtin_return_address(0));
}

void *core_realloc(void *old, size_t n)
{
	void *mem;

	if (fails())
		return NULL;
	dies(old);
	mem = realloc(old, n);
	return born(mem, n, __builtin_return_address(0));
}

void *core_reallocarray(void *old, size_t n, size_t each)
{
	void *mem;

	if (fails())
		return NULL;
	dies(old);
	mem = reallocarray(old, n, each);
	return born(mem, n * each, __builtin_return_address(0));
}

int core_posix_memalign(void **ret, size_t align, size_t n)
{
	void *mem = NULL;
	int r = fails() ? ENOMEM : posix_memalign(&mem, align, n);

	if (!r)
		*ret = born(mem, n, __builtin_return_address(0));
	return r;
}

char *core_strdup(const char *text)
{
	return fails() ? NULL : born(strdup(text), strlen(text) + 1, __builtin_return_address(0));
}

void core_free(void *mem)
{
	dies(mem);
	free(mem);
}

void *core_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
	void *mem = fails() ? MAP_FAILED : mmap(at, n, prot, flags, fd, offset);

	return mem == MAP_FAILED ? mem : born(mem, n, __builtin_return_address(0));
}

int core_munmap(void *at, size_t n)
{
	dies(at);
	return munmap(at, n);
}

/* --- the switch ----------------------------------------------------------------------------------------------------- */

void alloc_fault_arm(const struct alloc_fault *f)
{
	plan = *f;
	armed = true;
}

void alloc_fault_disarm(void)
{
	armed = false;
}

uint64_t alloc_fault_nr(void)
{
	return number;
}

uint64_t alloc_fault_hits(void)
{
	return hits;
}

void alloc_fault_track(void)
{
	tracking = true;
}

uint64_t alloc_fault_outstanding(void)
{
	return nr_live;
}

void alloc_fault_to_text(struct printbuf *out, unsigned nr)
{
	for (size_t i = 0; i < LIVE_MAX && nr; i++)
		if (live[i].mem) {
			pr(out, "; allocation %llu: %zu bytes for %p", (unsigned long long)live[i].number, live[i].bytes, live[i].caller);
			nr--;
		}
}
