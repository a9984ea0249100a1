/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/* status.json: everything at one instant (control-files.md §10.1). Does not yield. */
struct bcf;
struct printbuf;

void status_json(struct bcf *b, struct printbuf *out);
