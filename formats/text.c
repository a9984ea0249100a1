/* SPDX-License-Identifier: GPL-2.0-only */
#include "formats/text.h"
#include "formats/crc64.h"
#include "formats/fields.h"

#define ULL(x) ((unsigned long long)(x))

static const char *yes_no(bool b)
{
	return b ? "yes" : "no";
}

static void pr_line_uuid(struct printbuf *pb, const char *name, const uint8_t uuid[16])
{
	pr(pb, "%s: ", name);
	pr_uuid(pb, uuid);
	pr_char(pb, '\n');
}

static void pr_line_label(struct printbuf *pb, const char label[LABEL_BYTES])
{
	char text[LABEL_BYTES + 1];

	label_to_text(label, text);
	pr(pb, "label: %s\n", text);
}

static void csum_to_text(struct printbuf *pb, const struct super *s)
{
	struct super sealed = *s;

	pr(pb, "csum: %016llx", ULL(s->csum));
	if (s->keys <= SUPER_KEYS_MAX) {
		super_seal(&sealed);
		if (sealed.csum != s->csum)
			pr(pb, " (bad, computed %016llx)", ULL(sealed.csum));
		else
			pr(pb, " (match)");
	}
	pr_char(pb, '\n');
}

static void backing_to_text(struct printbuf *pb, const struct super *s)
{
	pr(pb, "data_offset: %llu\n", ULL(super_data_offset(s)));
	pr(pb, "cache_mode: %s\n", cache_mode_names[super_cache_mode(s)]);
	pr(pb, "state: %s\n", bdev_state_names[super_state(s)]);
}

static void cache_to_text(struct printbuf *pb, const struct super *s)
{
	pr(pb, "nbuckets: %llu\n", ULL(s->nbuckets_or_data_offset));
	pr(pb, "bucket_size: %u\n", super_bucket_sectors(s));
	pr(pb, "first_bucket: %u\n", s->first_bucket);
	pr(pb, "journal_buckets: %u\n", s->keys);
	pr(pb, "nr_in_set: %u\n", s->nr_in_set);
	pr(pb, "nr_this_dev: %u\n", s->nr_this_dev);
	pr(pb, "sync: %s\n", yes_no(super_sync(s)));
	pr(pb, "discard: %s\n", yes_no(super_discard(s)));
	pr(pb, "replacement: %s\n", replacement_names[super_replacement(s)]);
	if (s->version == SUPER_CACHE_FEATURES)
		pr(pb, "features: compat %llx, incompat %llx, ro_compat %llx\n", ULL(s->feature_compat),
		   ULL(s->feature_incompat), ULL(s->feature_ro_compat));
}

/* What the fields mean; layout_to_text() prints what they are. */
void super_to_text(struct printbuf *pb, const struct super *s)
{
	bool backing = super_is_backing(s);

	csum_to_text(pb, s);
	pr(pb, "version: %llu (%s device)\n", ULL(s->version), backing ? "backing" : "cache");
	pr_line_uuid(pb, "magic", s->magic);
	pr_line_uuid(pb, "uuid", s->uuid);
	pr_line_uuid(pb, "set_uuid", s->set_uuid);
	pr_line_label(pb, s->label);
	pr(pb, "flags: %016llx\n", ULL(s->flags));
	pr(pb, "seq: %llu\n", ULL(s->seq));
	pr(pb, "last_mount: %u\n", s->last_mount);
	pr(pb, "block_size: %u\n", s->block_sectors);
	if (backing)
		backing_to_text(pb, s);
	else
		cache_to_text(pb, s);
}

/* Whole keys only: the walk ends where the material stops making sense. */
static void keys_to_text(struct printbuf *pb, const uint64_t *words, uint32_t nr_words)
{
	uint32_t good_words = bkey_walk_words(words, nr_words);
	const struct bkey *end = (const struct bkey *)(words + good_words);

	for (const struct bkey *k = (const struct bkey *)words; k != end; k = bkey_next(k)) {
		pr(pb, "  ");
		bkey_to_text(pb, k);
		pr_char(pb, '\n');
	}
	if (good_words != nr_words)
		pr(pb, "  malformed from word %u on\n", good_words);
}

void jset_to_text(struct printbuf *pb, const struct jset *j)
{
	layout_to_text(pb, &disk_layouts[DISK_JSET], j);
	keys_to_text(pb, j->words, j->nr_words);
}

void bset_to_text(struct printbuf *pb, const struct bset *s)
{
	layout_to_text(pb, &disk_layouts[DISK_BSET], s);
	keys_to_text(pb, s->words, s->nr_words);
}

void prio_set_to_text(struct printbuf *pb, const struct prio_set *p)
{
	layout_to_text(pb, &disk_layouts[DISK_PRIO_SET], p);
}

static const char *const slot_state_names[] = {
	[UUID_SLOT_FREE] = "free",
	[UUID_SLOT_CACHED] = "cached device",
	[UUID_SLOT_FLASH] = "flash-only volume",
	[UUID_SLOT_INVALID] = "invalidated",
};

void uuid_entry_to_text(struct printbuf *pb, uint32_t slot, const struct uuid_entry *u)
{
	enum uuid_state state = uuid_entry_state(u);

	pr(pb, "slot: %u (%s)\n", slot, slot_state_names[state]);
	if (state == UUID_SLOT_FREE)
		return;
	layout_to_text(pb, &disk_layouts[DISK_UUID_ENTRY], u);
}
