/* SPDX-License-Identifier: GPL-2.0-only */
/* Control files about the slots of a set: uuids, forget, and a device's readopt (control-files.md §10.6). */
#include "core/admin/attr.h"
#include "core/set/orphan.h"

/* --- uuids --------------------------------------------------------------------------------------------------------------- */

#define LINE_BYTES_MAX 320
#define HEADER "slot\tuuid\ttype\tpresent\tstate\tfirst_seen\tlast_seen\tinvalidated\tcached_bytes\tdirty_bytes\tdev\tlabel\n"

static const char *type_of(const struct cset *c, uint32_t slot)
{
	switch (uuid_entry_state(&c->uuids[slot])) {
	case UUID_SLOT_CACHED: return "backing";
	case UUID_SLOT_FLASH: return "volume";
	default: return c->slots[slot].keys == SLOT_PURGED ? "free" : "invalid";
	}
}

static const char *state_of(const struct cset *c, uint32_t slot)
{
	const struct bdev *d = c->devices[slot];

	switch (uuid_entry_state(&c->uuids[slot])) {
	case UUID_SLOT_CACHED: return d ? bdev_state_names[bdev_state_shown(d)] : slot_dirty_sectors(c, slot) ? "dirty" : "clean";
	case UUID_SLOT_FLASH: return "-";
	default: break;
	}
	switch (c->slots[slot].keys) {
	case SLOT_KEPT: return "kept"; /* readopt or forget */
	case SLOT_PURGED: return "-";
	default: return "purging";
	}
}

static void time_column(struct printbuf *out, uint32_t s)
{
	pr_char(out, '\t');
	if (s)
		attr_time_text(out, s);
	else
		pr_char(out, '-');
}

static void slot_line(const struct cset *c, uint32_t slot, struct printbuf *out)
{
	const struct uuid_entry *u = &c->uuids[slot];
	const struct bdev *d = c->devices[slot];
	char label[LABEL_BYTES + 1];

	pr(out, "%u\t", slot);
	if (uuid_entry_state(u) == UUID_SLOT_INVALID)
		pr_char(out, '-');
	else
		pr_uuid(out, u->uuid);
	pr(out, "\t%s\t%s\t%s", type_of(c, slot), d ? "yes" : "no", state_of(c, slot));
	time_column(out, u->first_reg);
	time_column(out, u->last_reg);
	time_column(out, u->invalidated);
	label_to_text(u->label, label);
	pr(out, "\t%llu\t%llu\t%s\t%s\n", (unsigned long long)slot_cached_sectors(c, slot) * SECTOR_BYTES,
	   (unsigned long long)slot_dirty_sectors(c, slot) * SECTOR_BYTES, d ? d->name : "-", label);
}

/* at[0]: the next slot, + 1; 0: the header comes first. */
int attr_stream_uuids(const struct attr_object *o, struct bcf_ctl_cursor *at, struct printbuf *out)
{
	const struct cset *c = o->c;

	if (!at->at[0]) {
		pr(out, HEADER);
		at->at[0] = 1;
	}
	for (; at->at[0] <= c->g.nr_uuids; at->at[0]++) {
		uint32_t slot = (uint32_t)at->at[0] - 1;

		if (uuid_entry_state(&c->uuids[slot]) == UUID_SLOT_FREE)
			continue;
		at->more = out->size_bytes - out->len_bytes <= LINE_BYTES_MAX;
		if (at->more)
			return 0;
		slot_line(c, slot, out);
	}
	return 0;
}

/* --- what is written ----------------------------------------------------------------------------------------------------- */

struct words {
	const char *p;
	size_t len_bytes;
};

/* The next word of the text, which is cut off it; empty: there is none. */
static struct words next_word(struct words *text)
{
	struct words word;

	while (text->len_bytes && strchr(" \t\n", *text->p)) {
		text->p++;
		text->len_bytes--;
	}
	word = *text;
	while (text->len_bytes && !strchr(" \t\n", *text->p)) {
		text->p++;
		text->len_bytes--;
	}
	word.len_bytes -= text->len_bytes;
	return word;
}

static bool word_is(const struct words *w, const char *text) { return w->len_bytes == strlen(text) && !memcmp(w->p, text, w->len_bytes); }

static bool parse_uuid_word(const struct words *w, uint8_t ret_uuid[16])
{
	static const struct attr kind = { .input = ATTR_IN_UUID };
	struct attr_value v;

	if (attr_parse(&kind, w->p, w->len_bytes, &v, NULL) < 0)
		return false;
	memcpy(ret_uuid, v.uuid, 16);
	return true;
}

static bool parse_slot(const struct words *w, uint32_t *ret)
{
	uint64_t n = 0;

	for (size_t i = 0; i < w->len_bytes; i++) {
		if (w->p[i] < '0' || w->p[i] > '9')
			return false;
		n = min(n * 10 + (uint64_t)(w->p[i] - '0'), (uint64_t)UINT32_MAX);
	}
	*ret = (uint32_t)n;
	return w->len_bytes;
}

/* --- forget -------------------------------------------------------------------------------------------------------------- */

/* <uuid> or slot:N */
static int forget_which(const struct cset *c, const struct words *w, uint32_t *ret_slot, struct printbuf *why)
{
	static const char prefix[] = "slot:";
	struct words number = *w;
	uint8_t uuid[16];
	int slot;

	if (w->len_bytes > strlen(prefix) && !memcmp(w->p, prefix, strlen(prefix))) {
		number.p += strlen(prefix);
		number.len_bytes -= strlen(prefix);
		if (parse_slot(&number, ret_slot))
			return 0;
	} else if (parse_uuid_word(w, uuid)) {
		slot = uuid_is_zero(uuid) ? -1 : uuid_slot_find(c, uuid);
		if (slot < 0)
			pr(why, "cache set %s knows no device with this uuid: see `uuids`", c->uuid_text);
		*ret_slot = (uint32_t)slot;
		return slot < 0 ? -ENOENT : 0;
	}
	pr(why, "expected a UUID or slot:N, and perhaps discard-dirty");
	return -EINVAL;
}

int attr_store_forget(const struct attr_object *o, const struct attr_value *v, struct printbuf *why)
{
	struct words text = { v->text, v->len_bytes }, which = next_word(&text), how = next_word(&text), rest = next_word(&text);
	struct bcf *b = o->b;
	uint32_t slot;
	int r;

	if (rest.len_bytes || (how.len_bytes && !word_is(&how, "discard-dirty"))) {
		pr(why, "expected a UUID or slot:N, and perhaps discard-dirty");
		return -EINVAL;
	}
	fmutex_lock(&b->admin);
	r = b->stopping ? -EINTR : forget_which(o->c, &which, &slot, why);
	if (!r)
		r = slot_forget(o->c, slot, how.len_bytes, why);
	fmutex_unlock(&b->admin);
	return r;
}

/* --- readopt ------------------------------------------------------------------------------------------------------------- */

/* The set that is named, or that the device last belonged to, or the only one. */
static struct cset *readopt_set(struct bdev *d, const struct words *name, struct printbuf *why)
{
	struct bcf *b = d->bcf;
	struct cset *c;
	uint8_t uuid[16];

	if (name->len_bytes)
		c = parse_uuid_word(name, uuid) ? bcf_set_find(b, uuid) : NULL;
	else
		c = bcf_set_find(b, d->super->set_uuid);
	if (!c && !name->len_bytes && !list_empty(&b->csets) && b->csets.next == b->csets.prev)
		c = list_first(&b->csets, struct cset, link);
	if (c && c->closed)
		c = NULL;
	if (!c)
		pr(why, "which cache set? Write SLOT SET-UUID, with the uuid of a registered one");
	return c;
}

int attr_readopt(struct bdev *d, const struct attr_value *v, struct printbuf *why)
{
	struct words text = { v->text, v->len_bytes }, number = next_word(&text), name = next_word(&text), rest = next_word(&text);
	struct cset *c;
	uint32_t slot;
	int r;

	if (!parse_slot(&number, &slot) || rest.len_bytes) {
		pr(why, "expected the number of a slot, as in the set's `uuids`");
		return -EINVAL;
	}
	c = readopt_set(d, &name, why);
	if (!c)
		return -ENOENT;
	cset_hold(c);
	r = bdev_readopt(d, c, slot, why);
	cset_release(c);
	return r;
}
