/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * All settings as lines of text: `.ctl/tunables`, and what the state file holds (control-files.md §10.8).
 *
 *	by/uuid/f7fe0084-7c8b-4975-8d90-f231fc8d1c69/sequential_cutoff=4194304
 *	11111111-2222-3333-4444-555555555555/internal/gc_after_writeback=1
 *
 * Why: nearly all settings are forgotten at a restart, the kernel's way, and users are surprised (§9.1). Devices are named by their uuid, so that
 * the text outlives other numbers. Values are raw: numbers without units, words without brackets.
 * Model: which values there are is said by the attribute tables (enum attr_keep). Reading gives SAVED and SHOWN ones, saving only SAVED ones:
 * what a superblock keeps is not kept a second time, or the two would contradict each other.
 * Order does not matter: values whose bounds depend on their neighbours (low < mid < high) are stored again until nothing can change any more.
 */
#include "core/set/instance.h"

enum tunables_for { TUNABLES_TO_SHOW, TUNABLES_TO_SAVE };
void tunables_text(struct bcf *b, enum tunables_for what, struct printbuf *out);

/*
 * Apply lines. First all are judged: on a mistake nothing is changed, and why names the line. -EINVAL: not a line, not a setting, not a value;
 * -ENOENT: no such file. A store that then fails ends it, with the lines before in effect.
 */
FIBER_FN MUST_CHECK int tunables_apply(struct bcf *b, const char *text, size_t len_bytes, struct printbuf *why);

/* Apply those lines of `saved` (NUL-terminated) that belong to objects which have come since the last call. Mistakes are logged and skipped. */
FIBER_FN void tunables_restore(struct bcf *b, const char *saved);

/* "by/uuid/<uuid>/" or "<uuid>/" at the beginning of a line: what the line is about. 0: neither. */
size_t tunables_object_len(const char *line, size_t len_bytes);
