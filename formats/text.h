/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * A *_to_text() for every structure: dumps, control files and error messages share these. Multi-line, "name: value".
 * Keys follow a jset or bset, one a line, for as long as they are well formed; the nr_words of the structure must lie within
 * its buffer, so validate the fit first. Of a prio_set only the header is printed.
 */
#include "formats/bset.h"
#include "formats/jset.h"
#include "formats/prio.h"
#include "formats/super.h"
#include "formats/printbuf.h"

void super_to_text(struct printbuf *pb, const struct super *s);
void jset_to_text(struct printbuf *pb, const struct jset *j);
void bset_to_text(struct printbuf *pb, const struct bset *s);
void prio_set_to_text(struct printbuf *pb, const struct prio_set *p);
void uuid_entry_to_text(struct printbuf *pb, uint32_t slot, const struct uuid_entry *u);
