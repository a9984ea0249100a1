# SPDX-License-Identifier: GPL-2.0-only
# One non-recursive makefile. `make help` lists the targets.

B      ?= build
CC     ?= gcc
SAN    ?=
V      ?=
OPT    ?= -O2
PKGS   := fuse3 liburing jansson libcrypto libisal
Q      := $(if $(V),,@)
say     = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

CFLAGS_ALL = -std=gnu11 -g $(OPT) -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter \
             -fno-strict-aliasing -fno-omit-frame-pointer -I. -D_GNU_SOURCE -MMD -MP \
             $(if $(SAN),-fsanitize=$(SAN)) $(CFLAGS)
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
UNIT_FORMATS := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/formats/test_*.c))
UNIT_CORE    := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/core/test_*.c))
UNIT_FUSE    := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/fuse/test_*.c))

all: $(B)/bcache-fuse $(B)/bcachectl

$(B)/libformats.a: $(FORMATS)
$(B)/libcore.a: $(CORE)
$(B)/libsim.a: $(filter-out %/main.o,$(SIM))
$(B)/%.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/bcache-fuse: $(FUSE) $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_FUSE)
# The mount over plain memory instead of the cache: tests of fuse/ alone, and the transport's ceiling for benchmarks.
$(B)/bcache-fuse-stub: $(FUSE) $(B)/tests/lib/bcf_stub.o $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_FUSE)
$(B)/bcachectl: $(TOOLS) $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CORE)
$(B)/sim: $(B)/tests/sim/main.o $(B)/libsim.a $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_CORE)

$(UNIT_FORMATS): %: %.o $(B)/libformats.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcmocka $(LIBS_FORMATS)
$(UNIT_CORE): %: %.o $(B)/libsim.a $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcmocka $(LIBS_CORE)
$(UNIT_FUSE): %: %.o $(B)/fuse/tree.o $(B)/libcore.a $(B)/libformats.a
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcmocka $(LIBS_CORE)

$(B)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<
$(B)/%.o: %.S
	$(call say,AS,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

# Every unit test, or those matching T='pattern'.
T ?= *
unit: $(filter $(B)/tests/unit/%/test_$(T),$(UNIT_FORMATS) $(UNIT_CORE) $(UNIT_FUSE)) $(UNIT_FORMATS) $(UNIT_CORE) $(UNIT_FUSE)
	$(Q)set -e; for t in $(UNIT_FORMATS) $(UNIT_CORE) $(UNIT_FUSE); do case $$t in */test_$(T)) echo "== $$t"; $$t;; esac; done

clean:
	rm -rf build

.PHONY: all unit clean
.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
