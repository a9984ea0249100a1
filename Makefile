# SPDX-License-Identifier: GPL-2.0-only
# One non-recursive makefile. `make help` lists the targets.
#
# Sources are found by globbing; a new file in an existing folder needs no line here. Everything that is built lands in $(B), so
# variants live side by side: `make check B=build/asan SAN=address` is what `make check-asan` does.

B      ?= build
SAN    ?=
V      ?=
T      ?=
OPT    ?= -O2
JOBS   ?= $(shell nproc)
PREFIX ?= /usr/local
MNT    ?= $(B)/run/mnt
Q      := $(if $(V),,@)
ifeq ($(origin CC),default)
CC     := gcc
endif
say     = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

# --- how things are compiled ---

CFLAGS_ALL = -std=gnu11 -g $(OPT) -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter \
             -fno-strict-aliasing -fno-omit-frame-pointer -I. -D_GNU_SOURCE -MMD -MP \
             $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all) $(CFLAGS)
LDFLAGS_ALL = $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)
LIBS_FORMATS = -lisal
LIBS_CORE    = -luring -ljansson -lcrypto -lpthread $(LIBS_FORMATS)
LIBS_FUSE    = -lfuse3 $(LIBS_CORE)

src      = $(patsubst %.c,$(B)/%.o,$(wildcard $(addsuffix /*.c,$(1))))
FORMATS := $(call src,formats)
CORE    := $(call src,core core/engine core/io core/util core/btree core/journal core/space core/request core/writeback core/set core/admin) \
           $(patsubst %.S,$(B)/%.o,$(wildcard core/engine/*_$(shell uname -m).S))
FUSE    := $(call src,fuse)
TOOLS   := $(call src,tools)
SIM     := $(call src,tests/sim)
SIM_MAINS := main exhaustive nth cycles

# --- the programs ---

all: $(B)/bcache-fuse $(B)/bcachectl

$(B)/libformats.a: $(FORMATS)
$(B)/libcore.a: $(CORE)
$(B)/libsim.a: $(filter-out $(SIM_MAINS:%=$(B)/tests/sim/%.o),$(SIM))
$(B)/libtools.a: $(filter-out %/main.o,$(TOOLS))
$(B)/libglue.a: $(filter-out %/main.o,$(FUSE))
$(B)/%.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

link = $(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^

$(B)/bcache-fuse: $(FUSE) $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) $(LIBS_FUSE)
$(B)/bcachectl: $(B)/tools/main.o $(B)/libtools.a $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) $(LIBS_CORE)
# A core whose memory can run out: tests/sim/alloc_fault.h.
$(B)/libcore-alloc.a: $(B)/libcore.a
	$(Q)objcopy $(foreach f,malloc calloc realloc reallocarray posix_memalign strdup free mmap munmap,--redefine-sym $f=core_$f) $< $@
$(B)/nth $(B)/cycles: $(B)/%: $(B)/tests/sim/%.o $(B)/libsim.a $(B)/libcore-alloc.a $(B)/libsim.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) $(LIBS_CORE)
$(B)/sim: $(B)/tests/sim/main.o $(B)/libsim.a $(B)/libcore-alloc.a $(B)/libsim.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) $(LIBS_CORE)
$(B)/exhaustive: $(B)/tests/sim/exhaustive.o $(B)/libsim.a $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) $(LIBS_CORE)

$(B)/%.o: %.c Makefile
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<
$(B)/%.o: %.S Makefile
	$(call say,AS,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

# --- test programs: each layer's tests link that layer and what lies below it ---

unit_in = $(patsubst %.c,$(B)/%,$(wildcard tests/unit/$(1)/test_*.c))
UNIT_FORMATS := $(call unit_in,formats)
UNIT_TOOLS   := $(filter $(B)/tests/unit/core/test_cmd%,$(call unit_in,core))
UNIT_CORE    := $(filter-out $(UNIT_TOOLS),$(call unit_in,core))
UNIT_FUSE    := $(call unit_in,fuse)
UNIT         := $(UNIT_FORMATS) $(UNIT_CORE) $(UNIT_TOOLS) $(UNIT_FUSE)

$(UNIT_FORMATS): $(B)/%: $(B)/%.o $(B)/libformats.a
	$(call say,LD,$@)
	$(link) -lcmocka $(LIBS_FORMATS)
$(UNIT_CORE): $(B)/%: $(B)/%.o $(B)/libsim.a $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) -lcmocka $(LIBS_CORE)
$(UNIT_TOOLS): $(B)/%: $(B)/%.o $(B)/libtools.a $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) -lcmocka $(LIBS_CORE)
$(UNIT_FUSE): $(B)/%: $(B)/%.o $(B)/libglue.a $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) -lcmocka $(LIBS_FUSE)

# The mount over plain memory instead of the cache: tests of fuse/ alone, and the transport's ceiling for benchmarks.
$(B)/bcache-fuse-stub: $(FUSE) $(B)/tests/lib/bcf_stub.o $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) $(LIBS_FUSE)
# The judge of concurrent reads and writes on a mount.
$(B)/linear: $(B)/tests/lib/linear.o
	$(call say,LD,$@)
	$(link) -lpthread
BENCH := $(patsubst %.c,$(B)/%,$(wildcard tests/bench/bench_*.c))
$(BENCH): $(B)/%: $(B)/%.o $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(link) $(LIBS_CORE)

# Fuzzers: with libFuzzer in a build of their own (make fuzz), and with replay.c in every build, for what they once found.
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_REPLAY  := $(FUZZ_TARGETS:%=$(B)/tests/fuzz/replay_%)
$(FUZZ_REPLAY): $(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/replay.o $(B)/tests/fuzz/images.o $(B)/libsim.a $(B)/libcore.a \
                $(B)/libformats.a
	$(call say,LD,$@)
	$(link) $(LIBS_CORE)
$(FUZZ_TARGETS:%=$(B)/%): $(B)/%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/images.o $(B)/libsim.a $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(Q)$(CC) -fsanitize=fuzzer,$(SAN) -o $@ $^ $(LIBS_CORE)
$(B)/tests/fuzz/images.o: $(wildcard tests/fuzz/bases/*.base)

# --- running it ---

# What needs packages first builds in a second make: $(again) TARGET, with all processors.
again = $(MAKE) --no-print-directory $(if $(V),,-s) -j$(JOBS)

packages:
	@tools/deb/packages.sh build
packages-check:
	@tools/deb/packages.sh check
	@if [ -x tests/interop/setup ]; then tests/interop/setup || echo "interop: not set up, its tests will be skipped"; fi

run: packages
	@$(again) all
	@tools/demo.sh $(B) $(MNT)

# --- tests. All of them end in the runner's line "N passed, N failed, N skipped" ---

# Simulated worlds: FIRST-SEED:COUNT, one test each. And some in which more goes wrong than the power.
SEEDS       ?= 1:500 1001:500 2001:500 3001:500 4001:500 5001:500
FAULTY      ?= 7001:200:faults 7001:100:enospc 7001:200:lies 7001:100:no-memory 8001:100:lies:no-memory:enospc
LINT        := $(wildcard tests/lint/*.sh)
SIM_SEEDS   := $(addprefix sim:,$(SEEDS) $(FAULTY))
# Every sequence of so many operations, with every power cut. Up to 3: 4 minutes of a processor.
EXHAUSTIVE  ?= 2
# Fail the n-th I/O and allocation, for every n; or for every NTH-th n.
NTH         ?= 1
# Starts and stops of one process.
CYCLES      ?= 1000
SIM_ALL      = nth:$(NTH) cycles:$(CYCLES) $(addprefix exhaustive:,$(EXHAUSTIVE)) $(SIM_SEEDS)
INTEGRATION := $(filter-out tests/integration/functions.sh,$(wildcard tests/integration/*.sh))
GOLDEN      := $(wildcard tests/golden/run)
INTEROP     := $(filter-out tests/interop/functions.sh,$(wildcard tests/interop/*.sh))
RUN          = B=$(B) tests/run -j $(JOBS) $(if $(T),-m '$(T)')

FUZZ_CHECK  := tests/fuzz/regress/run

test-programs: all $(UNIT) $(FUZZ_REPLAY) $(B)/bcache-fuse-stub $(B)/linear $(B)/sim $(B)/exhaustive $(B)/nth $(B)/cycles

check: packages-check
	@$(again) test-programs
	@$(RUN) $(LINT) $(UNIT) $(FUZZ_CHECK) $(SIM_ALL) $(INTEGRATION) $(GOLDEN) $(INTEROP)

# The same tests on instrumented builds, without those that do not depend on how we were compiled.
check-variant: packages-check
	@$(again) test-programs
	@$(RUN) $(UNIT) $(FUZZ_CHECK) $(SIM_ALL) $(INTEGRATION) $(GOLDEN)
check-asan:
	@$(again) check-variant B=build/asan SAN=address,undefined SEEDS='1:100 1001:100' FAULTY='7001:40:faults 8001:40:lies:no-memory:enospc' EXHAUSTIVE=1
check-ubsan:
	@$(again) check-variant B=build/ubsan SAN=undefined SEEDS='1:200 1001:200' FAULTY='7001:40:faults 8001:40:lies:no-memory:enospc' EXHAUSTIVE=1
check-tsan:
	@$(again) check-variant B=build/tsan SAN=thread SEEDS='1:20 1001:20' FAULTY=7001:20:faults EXHAUSTIVE=1 NTH=10 CYCLES=100
check-valgrind:
	@tools/deb/packages.sh valgrind
	@WRAP='valgrind -q --error-exitcode=99 --sim-hints=lax-ioctls' TEST_TIMEOUT=3600 START_TIMEOUT=120 \
		$(again) check-variant B=build/valgrind OPT=-O1 SEEDS='1:3 1001:3' FAULTY=8001:3:lies:no-memory:enospc EXHAUSTIVE=0 NTH=40 CYCLES=20

unit:
	@$(again) $(if $(T),$(foreach u,$(UNIT),$(if $(findstring $(T),$(u)),$(u))),$(UNIT))
	@$(RUN) $(UNIT)
lint:
	@$(RUN) $(LINT)
interop: packages-check
	@$(again) all $(B)/sim
	@$(RUN) $(INTEROP)

# The kernel and we take turns on the same images: ROUNDS of them, some seconds each. SEED: of the first chain of five.
ROUNDS ?= 100
interop-soak: packages-check
	@$(again) all
	@B=$(B) tests/interop/soak --rounds $(ROUNDS) --jobs $(JOBS) --seed $(or $(SEED),1)

# make sim SEED=7 repeats one world; make sim MINUTES=30 lives through new ones for that long and stops at the first failure.
SEED    ?=
MINUTES ?= 1
sim:
	@$(again) $(B)/sim
	@$(B)/sim $(or $(SEED),$$(date +%s)000 --minutes $(MINUTES) --jobs $(JOBS))

# All sequences of up to four operations on the smallest world; every power cut of each, several outcomes of each cut. About 25 minutes on two processors.
LENGTH ?= 4
exhaustive:
	@$(again) $(B)/exhaustive
	@$(B)/exhaustive --length $(LENGTH) --jobs $(JOBS)

# Fail the n-th I/O and the n-th allocation of a fixed life, for every n.
nth:
	@$(again) $(B)/nth
	@$(B)/nth --jobs $(JOBS)

# Start and stop one set, over and over, while it is at work.
cycles:
	@$(again) $(B)/cycles
	@$(B)/cycles $(CYCLES)

# make fuzz TIME=60 [TARGET=fuzz_start]: each fuzzer for so many seconds. What it learns stays in build/fuzz/corpus, what it finds too.
TIME   ?= 60
TARGET ?= $(FUZZ_TARGETS)
fuzz:
	@command -v clang >/dev/null || { echo "fuzzing needs the packages clang and libclang-rt-14-dev" >&2; exit 1; }
	@$(again) $(TARGET:%=build/fuzz/%) B=build/fuzz CC=clang SAN=address,undefined OPT=-O1 CFLAGS='-fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp -Wno-gnu'
	@tests/fuzz/run $(TIME) $(TARGET)

# Break one rule of the core at a time, in a copy of the tree, and show which test notices. T: only names with this in them.
mutants:
	@tests/mutants/run --jobs $(JOBS) $(T)

# Lines and branches of formats/ and core/ that the tests reach.
cover:
	@find build/cover -name '*.gcda' -delete 2>/dev/null; \
		$(again) check-variant B=build/cover OPT=-O0 CFLAGS=--coverage LDFLAGS=--coverage || echo 'tests failed; counting all the same'
	@tests/lib/coverage build/cover

bench: packages-check
	@$(again) all $(BENCH) $(B)/bcache-fuse-stub
	@for b in $(BENCH); do echo "== $$b" && $$b || exit 1; done
	@if [ -x tests/bench/run.sh ]; then B=$(B) tests/bench/run.sh; fi

# Does garbage collection stall writers? Needs a machine with nothing else to do.
bench-gc: packages-check
	@$(again) all
	@B=$(B) tests/bench/gc.sh

# --- installing ---

INSTALL = install -D -m
install: all
	$(INSTALL) 755 $(B)/bcache-fuse $(DESTDIR)$(PREFIX)/bin/bcache-fuse
	$(INSTALL) 755 $(B)/bcachectl $(DESTDIR)$(PREFIX)/bin/bcachectl
	for p in docs/man/*.[1-8]; do $(INSTALL) 644 $$p $(DESTDIR)$(PREFIX)/share/man/man$${p##*.}/$${p##*/} || exit 1; done
	$(INSTALL) 644 bcache-fuse.conf $(DESTDIR)$(PREFIX)/share/doc/bcache-fuse/examples/bcache-fuse.conf

clean:
	@! mountpoint -q $(MNT) || { echo "$(MNT) is still mounted" >&2; exit 1; }
	rm -rf build

help:
	@echo 'make                  build the daemon build/bcache-fuse and the tool build/bcachectl'
	@echo 'make run [MNT=DIR]    install what is missing, build, mount a cache on two image files'
	@echo 'make check [T=TEXT]   install what is missing, build, run all tests (whose name contains TEXT)'
	@echo 'make unit, lint, interop                   parts of that'
	@echo 'make check-asan, check-ubsan, check-tsan, check-valgrind   the tests on instrumented builds'
	@echo 'make interop-soak [ROUNDS=100]             the kernel and we take turns on the same images'
	@echo 'make sim [SEED=N] [MINUTES=N]              simulated crashes: one seed, or new ones for a while'
	@echo 'make exhaustive [LENGTH=4]                 all sequences of so many operations, with every power cut'
	@echo 'make nth              fail the n-th I/O and the n-th allocation, for every n'
	@echo 'make cycles [CYCLES=1000]                  start and stop under I/O; nothing may be left behind'
	@echo 'make fuzz [TIME=SECONDS] [TARGET=fuzz_X]   libFuzzer on the parsers, the control files and whole images'
	@echo 'make mutants [T=TEXT] breaks one rule at a time and shows which test notices'
	@echo 'make cover            test coverage of formats/ and core/'
	@echo 'make bench, bench-gc  measure; bench-gc fails when gc makes writes slow'
	@echo 'make install [DESTDIR=] [PREFIX=/usr/local]'
	@echo 'make clean'
	@echo 'Variables: B=build directory, V=1 shows commands, JOBS, CC, OPT, CFLAGS, LDFLAGS, SAN'

.PHONY: all packages packages-check run test-programs check check-variant check-asan check-ubsan check-tsan check-valgrind \
        unit lint exhaustive nth interop interop-soak sim mutants fuzz cover bench bench-gc install clean help
.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
