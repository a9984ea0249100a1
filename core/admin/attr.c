/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/attr.h"

#include <ctype.h>
#include <time.h>

/* --- tables -------------------------------------------------------------------------------------------------------------- */

const struct attr_table *attr_table(enum attr_dir dir)
{
	static const struct attr_table none;
	static const struct attr_table *const tables[ATTR_DIRS] = {
		[ATTR_DIR_ROOT] = &attr_root_table,	    [ATTR_DIR_BDEV] = &attr_bdev_table,	  [ATTR_DIR_VOLUME] = &attr_volume_table,
		[ATTR_DIR_SET] = &attr_set_table,	    [ATTR_DIR_CACHE] = &attr_cache_table, [ATTR_DIR_STATS] = &attr_stats_table,
		[ATTR_DIR_INTERNAL] = &attr_internal_table,
	};

	return tables[dir] ? tables[dir] : &none;
}

const struct attr *attr_find(enum attr_dir dir, const char *name)
{
	const struct attr_table *t = attr_table(dir);

	for (size_t i = 0; i < t->nr; i++)
		if (!strcmp(t->attrs[i].name, name))
			return &t->attrs[i];
	return NULL;
}

/* --- fields -------------------------------------------------------------------------------------------------------------- */

static void *field_ptr(const struct attr_field *f, const struct attr_object *o)
{
	char *base = f->of == ATTR_FIELD_BDEV ? (char *)o->d : (char *)o->c;

	assert(f->of != ATTR_NO_FIELD && base);
	return base + f->offset_bytes;
}

static uint64_t field_load(const struct attr_field *f, const struct attr_object *o)
{
	const void *p = field_ptr(f, o);

	switch (f->size_bytes) {
	case 1: return *(const uint8_t *)p;
	case 2: return *(const uint16_t *)p;
	case 4: return *(const uint32_t *)p;
	default: assert(f->size_bytes == 8); return *(const uint64_t *)p;
	}
}

static void field_save(const struct attr_field *f, const struct attr_object *o, uint64_t v)
{
	void *p = field_ptr(f, o);

	assert(f->size_bytes == 8 || v >> (f->size_bytes * 8) == 0); /* the row's bounds fit its field */
	switch (f->size_bytes) {
	case 1: *(uint8_t *)p = (uint8_t)v; break;
	case 2: *(uint16_t *)p = (uint16_t)v; break;
	case 4: *(uint32_t *)p = (uint32_t)v; break;
	default: *(uint64_t *)p = v;
	}
}

void attr_apply_defaults(enum attr_dir dir, const struct attr_object *o)
{
	const struct attr_table *t = attr_table(dir);

	for (size_t i = 0; i < t->nr; i++)
		if (t->attrs[i].mode & 0200 && t->attrs[i].field.of != ATTR_NO_FIELD && !t->attrs[i].store)
			field_save(&t->attrs[i].field, o, t->attrs[i].dflt);
}

/* --- printing ------------------------------------------------------------------------------------------------------------ */

void attr_list_text(struct printbuf *out, const char *const *words, uint64_t current)
{
	for (uint64_t i = 0; words[i]; i++)
		pr(out, i == current ? "%s[%s]" : "%s%s", i ? " " : "", words[i]);
	pr_char(out, '\n');
}

int64_t attr_get(const struct attr *a, const struct attr_object *o)
{
	return a->get ? a->get(o, a) : (int64_t)field_load(&a->field, o);
}

int attr_show(const struct attr *a, const struct attr_object *o, struct printbuf *out)
{
	if (!(a->mode & 0400))
		return -EACCES;
	if (a->show)
		return a->show(o, out);
	switch (a->format) {
	case ATTR_LIST:
		attr_list_text(out, a->words, (uint64_t)attr_get(a, o));
		return 0;
	case ATTR_HR:
		pr_human(out, attr_get(a, o));
		break;
	case ATTR_HR_SECTORS:
		pr_human(out, attr_get(a, o) * (int64_t)SECTOR_BYTES);
		break;
	case ATTR_DEC:
		pr(out, "%lld", (long long)attr_get(a, o));
	}
	pr_char(out, '\n');
	return 0;
}

static void raw_label(const struct attr *a, const struct attr_object *o, struct printbuf *out)
{
	char text[256];
	struct printbuf pb = PRINTBUF(text);

	if (a->show(o, &pb) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	pr(out, "%s", text);
}

void attr_raw_text(const struct attr *a, const struct attr_object *o, struct printbuf *out)
{
	uint64_t v;

	if (a->show) {
		raw_label(a, o, out);
		return;
	}
	if (a->raw)
		v = (uint64_t)a->raw(o);
	else /* the field, if there is one: get() may hide it while it has no effect */
		v = a->field.of != ATTR_NO_FIELD ? field_load(&a->field, o) : (uint64_t)a->get(o, a);
	if (a->input == ATTR_IN_E)
		pr(out, "%s", a->words[v]);
	else
		pr(out, "%llu", (unsigned long long)v);
}

void attr_time_text(struct printbuf *out, uint64_t real_s)
{
	time_t t = (time_t)real_s;
	char text[32];
	struct tm tm;

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm));
	pr(out, "%s.000Z", text); /* the engine's clock of the day has seconds */
}

/* --- parsing (control-files.md §1.3) ------------------------------------------------------------------------------------- */

struct text {
	const char *p, *end;
};

static bool is_digit(const struct text *t)
{
	return t->p < t->end && *t->p >= '0' && *t->p <= '9';
}

static bool at_end(const struct text *t)
{
	return t->p == t->end || (t->p + 1 == t->end && *t->p == '\n');
}

static int parse_digits(struct text *t, uint64_t *ret)
{
	uint64_t v = 0;
	bool overflow = false;

	if (!is_digit(t))
		return -EINVAL;
	for (; is_digit(t); t->p++)
		overflow |= __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*t->p - '0'), &v);
	if (overflow)
		return -ERANGE;
	*ret = v;
	return 0;
}

static void skip_plus(struct text *t)
{
	if (t->p < t->end && *t->p == '+')
		t->p++;
}

static int parse_number(struct text t, struct attr_value *v)
{
	int r;

	skip_plus(&t);
	r = parse_digits(&t, &v->number);
	if (r < 0)
		return r;
	return at_end(&t) ? 0 : -EINVAL;
}

/* ".25": the digits as an integer and what they count in. Digits beyond the 18th are below a byte's weight. */
static int parse_fraction(struct text *t, uint64_t *ret_numerator, uint64_t *ret_denominator)
{
	*ret_numerator = 0;
	*ret_denominator = 1;
	if (t->p == t->end || *t->p != '.')
		return 0;
	t->p++;
	if (!is_digit(t))
		return -EINVAL;
	for (; is_digit(t); t->p++) {
		if (*ret_denominator >= 1000000000000000000ull)
			continue;
		*ret_numerator = *ret_numerator * 10 + (uint64_t)(*t->p - '0');
		*ret_denominator *= 10;
	}
	return 0;
}

/* Powers of 1024: k is 1. 0: no unit here. */
static unsigned parse_unit(struct text *t)
{
	static const char units[] = "kmgtpezy";
	const char *u = t->p < t->end ? strchr(units, tolower((unsigned char)*t->p)) : NULL;

	if (!u || !*u)
		return 0;
	t->p++;
	return (unsigned)(u - units) + 1;
}

static int scale(uint64_t whole, uint64_t numerator, uint64_t denominator, unsigned unit, uint64_t *ret)
{
	unsigned __int128 v;

	if (!whole && !numerator) {
		*ret = 0;
		return 0;
	}
	if (unit > 6)
		return -EINVAL;
	v = (unsigned __int128)whole << (unit * 10);
	v += ((unsigned __int128)numerator << (unit * 10)) / denominator;
	/* Too large through its unit is "invalid", too large in its digits "out of range": the kernel's distinction. */
	if (v > INT64_MAX)
		return -EINVAL;
	*ret = (uint64_t)v;
	return 0;
}

static int parse_size(struct text t, struct attr_value *v)
{
	uint64_t whole, numerator, denominator;
	unsigned unit;
	int r;

	r = parse_digits(&t, &whole);
	if (r < 0)
		return r;
	r = parse_fraction(&t, &numerator, &denominator);
	if (r < 0)
		return r;
	unit = parse_unit(&t);
	if (!at_end(&t) || (!unit && denominator > 1))
		return -EINVAL;
	v->has_unit = unit;
	v->number = whole;
	return unit ? scale(whole, numerator, denominator, unit, &v->number) : 0;
}

static int parse_word(const struct text *t, const char *const *words, struct attr_value *v)
{
	size_t len = (size_t)(t->end - t->p);

	if (len && t->p[len - 1] == '\n')
		len--;
	for (v->number = 0; words[v->number]; v->number++)
		if (strlen(words[v->number]) == len && !memcmp(words[v->number], t->p, len))
			return 0;
	return -EINVAL;
}

static int hex_value(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* 32 hex digits; '-' and ':' anywhere between them do not count. */
static int parse_uuid(struct text t, struct attr_value *v)
{
	unsigned nr = 0;

	memset(v->uuid, 0, sizeof(v->uuid));
	for (; t.p < t.end && nr < 32; t.p++) {
		int digit = hex_value(*t.p);

		if (*t.p == '-' || *t.p == ':')
			continue;
		if (digit < 0)
			break;
		v->uuid[nr / 2] |= (uint8_t)(nr % 2 ? digit : digit << 4);
		nr++;
	}
	return nr == 32 && at_end(&t) ? 0 : -EINVAL;
}

int attr_check_label(const char *text, size_t len_bytes, struct printbuf *why)
{
	for (size_t i = 0; i < len_bytes; i++) {
		if (!iscntrl((unsigned char)text[i]))
			continue;
		pr(why, "control characters are not allowed in a label");
		return -EINVAL;
	}
	return 0;
}

static int parse_label(struct text t, struct attr_value *v, struct printbuf *why)
{
	if (t.p < t.end && t.end[-1] == '\n')
		t.end--;
	v->text = t.p;
	v->len_bytes = (size_t)(t.end - t.p);
	if (v->len_bytes <= LABEL_BYTES)
		return attr_check_label(v->text, v->len_bytes, why);
	pr(why, "a label has at most %u bytes", LABEL_BYTES);
	return -EINVAL;
}

static int parse_path(struct text t, struct attr_value *v)
{
	while (t.p < t.end && isspace((unsigned char)*t.p))
		t.p++;
	while (t.p < t.end && isspace((unsigned char)t.end[-1]))
		t.end--;
	v->text = t.p;
	v->len_bytes = (size_t)(t.end - t.p);
	return v->len_bytes ? 0 : -EINVAL;
}

static int parse_kind(const struct attr *a, struct text t, struct attr_value *v, struct printbuf *why)
{
	int r;

	switch (a->input) {
	case ATTR_IN_U:
		return parse_number(t, v);
	case ATTR_IN_B:
		r = parse_number(t, v);
		v->number = v->number != 0;
		return r;
	case ATTR_IN_UH:
		skip_plus(&t);
		return parse_size(t, v);
	case ATTR_IN_H:
		return parse_size(t, v);
	case ATTR_IN_E:
		return parse_word(&t, a->words, v);
	case ATTR_IN_UUID:
		return parse_uuid(t, v);
	case ATTR_IN_LABEL:
		return parse_label(t, v, why);
	case ATTR_IN_PATH:
		return parse_path(t, v);
	case ATTR_IN_ANY:
		v->text = t.p;
		v->len_bytes = (size_t)(t.end - t.p);
		return 0;
	case ATTR_IN_NONE:
		break;
	}
	return -EACCES;
}

static void explain(const struct attr *a, int error, struct printbuf *why)
{
	if (error == -ERANGE)
		pr(why, "number too large");
	else if (a->input == ATTR_IN_U || a->input == ATTR_IN_B)
		pr(why, "expected a decimal number");
	else if (a->input == ATTR_IN_H || a->input == ATTR_IN_UH)
		pr(why, "expected a size such as 4194304, 512k or 4.0M");
	else if (a->input == ATTR_IN_UUID)
		pr(why, "expected a UUID of 32 hexadecimal digits");
	else if (a->input == ATTR_IN_PATH)
		pr(why, "expected a path");
	else if (a->input == ATTR_IN_E) {
		pr(why, "expected one of:");
		for (size_t i = 0; a->words[i]; i++)
			pr(why, " %s", a->words[i]);
	}
}

int attr_parse(const struct attr *a, const char *text, size_t len_bytes, struct attr_value *ret, struct printbuf *why)
{
	struct text t = { .p = text, .end = text + strnlen(text, len_bytes) }; /* a NUL ends it, as in the kernel */
	struct attr_value v = {};
	int r = parse_kind(a, t, &v, why);

	if (r < 0) {
		if (a->input != ATTR_IN_LABEL)
			explain(a, r, why);
		return r;
	}
	*ret = v;
	return 0;
}

/* --- storing ------------------------------------------------------------------------------------------------------------- */

/* Out of range is not an error (control-files.md §1.3): the nearest allowed number is taken, and the write succeeds. */
static void clamp_value(const struct attr *a, const struct attr_object *o, struct attr_value *v)
{
	uint64_t lo = a->min, hi = a->max;

	if (a->input != ATTR_IN_U && a->input != ATTR_IN_UH)
		return;
	if (a->format == ATTR_HR_SECTORS && v->has_unit)
		v->number >>= SECTOR_SHIFT;
	if (a->bounds)
		a->bounds(o, &lo, &hi);
	v->number = clamp(v->number, lo, hi);
}

int attr_store(const struct attr *a, const struct attr_object *o, const char *text, size_t len_bytes, struct printbuf *why)
{
	struct attr_value v;
	int r;

	if (!(a->mode & 0200))
		return -EACCES;
	r = attr_parse(a, text, len_bytes, &v, why);
	if (r < 0)
		return r;
	clamp_value(a, o, &v);
	if (a->store)
		return a->store(o, &v, why);
	field_save(&a->field, o, v.number);
	if (a->changed)
		a->changed(o);
	return 0;
}

/* --- shared by several tables -------------------------------------------------------------------------------------------- */

void attr_bdev_label(const struct bdev *d, char out[LABEL_BYTES + 1])
{
	char label[LABEL_BYTES];
	size_t len;

	out[0] = '\0';
	if (!d->super && !d->set)
		return;
	memcpy(label, d->super ? d->super->label : d->set->uuids[d->inode].label, LABEL_BYTES);
	len = strnlen(label, LABEL_BYTES);
	if (len && label[len - 1] == '\n') /* the kernel stores what echo sends */
		label[len - 1] = '\0';
	label_to_text(label, out);
}

const uint8_t *attr_bdev_uuid(const struct bdev *d)
{
	if (d->super)
		return d->super->uuid;
	return d->set ? d->set->uuids[d->inode].uuid : NULL;
}

unsigned attr_cutoff_writeback(const struct bcf *b, const struct cset *c)
{
	if (c)
		return c->cutoff_writeback;
	return b->options.cutoff_writeback ? b->options.cutoff_writeback : 40;
}

unsigned attr_cutoff_writeback_sync(const struct bcf *b, const struct cset *c)
{
	if (c)
		return c->cutoff_writeback_sync;
	return b->options.cutoff_writeback_sync ? b->options.cutoff_writeback_sync : 70;
}
