/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/json.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct json_doc {
	char *name;
	char *text;
	size_t len_bytes;
	json_t *root;
};

/* --- positions: a scanner over text that jansson has accepted --------------------------------------------------------- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Past white space and separators, to the next token. */
static size_t skip_to_token(const struct json_doc *d, size_t at)
{
	while (at < d->len_bytes && (is_space(d->text[at]) || d->text[at] == ',' || d->text[at] == ':'))
		at++;
	return at;
}

static size_t skip_string(const struct json_doc *d, size_t at)
{
	for (at++; at < d->len_bytes && d->text[at] != '"'; at++)
		if (d->text[at] == '\\')
			at++;
	return at + 1;
}

static size_t skip_value(const struct json_doc *d, size_t at)
{
	size_t depth = 0;

	while (at < d->len_bytes) {
		char c = d->text[at];

		if (c == '"') {
			at = skip_string(d, at);
		} else if (c == '{' || c == '[') {
			depth++;
			at++;
			continue;
		} else if (c == '}' || c == ']') {
			if (!depth)
				return at; /* cannot happen in accepted text */
			depth--;
			at++;
		} else if (is_space(c) || c == ',' || c == ':') {
			at++;
			continue;
		} else { /* number, true, false, null */
			while (at < d->len_bytes && !is_space(d->text[at]) && !strchr(",:]}", d->text[at]))
				at++;
		}
		if (!depth)
			return at;
	}
	return at;
}

void json_complain(struct printbuf *why, const struct json_doc *d, size_t offset_bytes, const char *fmt, ...)
{
	size_t line = 1, column = 1;
	char text[400];
	va_list ap;

	for (size_t i = 0; i < offset_bytes && i < d->len_bytes; i++) {
		column = d->text[i] == '\n' ? 1 : column + 1;
		line += d->text[i] == '\n';
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pr(why, "%s:%zu:%zu: %s", d->name, line, column, text);
}

/* --- documents and values --------------------------------------------------------------------------------------------- */

int json_doc_parse(const char *name, const char *text, size_t len_bytes, struct json_doc **ret, struct printbuf *why)
{
	struct json_doc *d = calloc(1, sizeof(*d));
	json_error_t error;

	if (!d)
		return -ENOMEM;
	d->name = strdup(name);
	d->text = malloc(len_bytes + 1);
	if (!d->name || !d->text) {
		json_doc_free(d);
		return -ENOMEM;
	}
	memcpy(d->text, text, len_bytes);
	d->text[len_bytes] = '\0';
	d->len_bytes = len_bytes;
	if (memchr(text, '\0', len_bytes)) { /* jansson skips those between tokens, where our scanner would take one for a token */
		json_complain(why, d, (size_t)((const char *)memchr(text, '\0', len_bytes) - text), "the text contains a NUL byte");
		json_doc_free(d);
		return -EINVAL;
	}
	d->root = json_loadb(d->text, len_bytes, JSON_REJECT_DUPLICATES, &error);
	if (!d->root) {
		text_one_line(error.text); /* it quotes the text, and why is one line */
		pr(why, "%s:%d:%d: %s", name, error.line < 1 ? 1 : error.line, error.column < 1 ? 1 : error.column, error.text);
		json_doc_free(d);
		return -EINVAL;
	}
	*ret = d;
	return 0;
}

void json_doc_free(struct json_doc *d)
{
	if (!d)
		return;
	json_decref(d->root);
	free(d->name);
	free(d->text);
	free(d);
}

struct jvalue json_doc_root(const struct json_doc *d)
{
	return (struct jvalue){ .doc = d, .node = d->root, .offset_bytes = skip_to_token(d, 0) };
}

enum jvalue_kind jvalue_kind(struct jvalue v)
{
	switch (json_typeof((json_t *)v.node)) {
	case JSON_OBJECT:
		return JVALUE_OBJECT;
	case JSON_ARRAY:
		return JVALUE_ARRAY;
	case JSON_STRING:
		return JVALUE_STRING;
	case JSON_INTEGER:
		return JVALUE_INTEGER;
	case JSON_REAL:
		return JVALUE_REAL;
	case JSON_TRUE:
	case JSON_FALSE:
		return JVALUE_BOOL;
	case JSON_NULL:
		break;
	}
	return JVALUE_NULL;
}

const char *jvalue_kind_name(struct jvalue v)
{
	static const char *const names[] = { "an object", "an array", "a string", "a number", "a fraction", "true or false", "null" };

	return names[jvalue_kind(v)];
}

const char *jvalue_string(struct jvalue v)
{
	assert(jvalue_kind(v) == JVALUE_STRING);
	return json_string_value(v.node);
}

int64_t jvalue_integer(struct jvalue v)
{
	assert(jvalue_kind(v) == JVALUE_INTEGER);
	return json_integer_value(v.node);
}

bool jvalue_bool(struct jvalue v)
{
	assert(jvalue_kind(v) == JVALUE_BOOL);
	return json_is_true((json_t *)v.node);
}

struct jiter jiter_begin(struct jvalue container)
{
	struct jiter it = { .container = container, .next_bytes = container.offset_bytes + 1 };

	if (jvalue_kind(container) == JVALUE_OBJECT)
		it.member = json_object_iter(container.node); /* insertion order, which is text order */
	else
		assert(jvalue_kind(container) == JVALUE_ARRAY);
	return it;
}

bool jiter_next(struct jiter *it)
{
	const struct json_doc *d = it->container.doc;
	json_t *container = it->container.node;
	size_t at = skip_to_token(d, it->next_bytes);

	it->value.doc = d;
	if (json_is_object(container)) {
		if (!it->member)
			return false;
		it->key = json_object_iter_key(it->member);
		it->key_offset_bytes = at;
		it->value.node = json_object_iter_value(it->member);
		it->member = json_object_iter_next(container, it->member);
		at = skip_to_token(d, skip_string(d, at));
	} else {
		if (it->index >= json_array_size(container))
			return false;
		it->value.node = json_array_get(container, it->index++);
	}
	it->value.offset_bytes = at;
	it->next_bytes = skip_value(d, at);
	return true;
}

/* --- writing ---------------------------------------------------------------------------------------------------------- */

struct jout jout_begin(struct printbuf *out)
{
	return (struct jout){ .out = out, .first = true };
}

static void put_newline(struct jout *j)
{
	pr_char(j->out, '\n');
	for (unsigned i = 0; i < j->depth; i++)
		pr(j->out, "  ");
}

/* Length of the valid UTF-8 sequence at s, 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

	if (!len || len > left)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if (len == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0)))
		return 0; /* overlong, surrogate */
	if (len == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90)))
		return 0;
	return len;
}

static void put_quoted(struct printbuf *out, const char *text, size_t len_bytes)
{
	const unsigned char *s = (const unsigned char *)text;

	pr_char(out, '"');
	for (size_t i = 0; i < len_bytes;) {
		size_t n = utf8_length(s + i, len_bytes - i);

		if (s[i] == '"' || s[i] == '\\')
			pr(out, "\\%c", s[i]);
		else if (s[i] == '\n')
			pr(out, "\\n");
		else if (s[i] == '\t')
			pr(out, "\\t");
		else if (s[i] < 0x20 || s[i] == 0x7f || !n)
			pr(out, "\\u%04x", s[i]);
		else
			pr(out, "%.*s", (int)n, text + i);
		i += n ? n : 1;
	}
	pr_char(out, '"');
}

static void put_key(struct jout *j, const char *key)
{
	if (!j->first)
		pr_char(j->out, ',');
	if (j->depth)
		put_newline(j);
	j->first = false;
	if (key) {
		put_quoted(j->out, key, strlen(key));
		pr(j->out, ": ");
	}
}

static void container_begin(struct jout *j, const char *key, char c)
{
	put_key(j, key);
	pr_char(j->out, c);
	j->depth++;
	j->first = true;
}

static void container_end(struct jout *j, char c)
{
	assert(j->depth);
	j->depth--;
	if (!j->first)
		put_newline(j);
	pr_char(j->out, c);
	j->first = false;
}

void jout_object_begin(struct jout *j, const char *key) { container_begin(j, key, '{'); }
void jout_object_end(struct jout *j) { container_end(j, '}'); }
void jout_array_begin(struct jout *j, const char *key) { container_begin(j, key, '['); }
void jout_array_end(struct jout *j) { container_end(j, ']'); }

void jout_bytes(struct jout *j, const char *key, const char *value, size_t len_bytes)
{
	put_key(j, key);
	put_quoted(j->out, value, len_bytes);
}

void jout_string(struct jout *j, const char *key, const char *value)
{
	if (value)
		jout_bytes(j, key, value, strlen(value));
	else
		jout_null(j, key);
}

void jout_uint(struct jout *j, const char *key, uint64_t value)
{
	put_key(j, key);
	pr(j->out, "%llu", (unsigned long long)value);
}

void jout_int(struct jout *j, const char *key, int64_t value)
{
	put_key(j, key);
	pr(j->out, "%lld", (long long)value);
}

void jout_bool(struct jout *j, const char *key, bool value)
{
	put_key(j, key);
	pr(j->out, "%s", value ? "true" : "false");
}

void jout_uuid(struct jout *j, const char *key, const uint8_t uuid[16])
{
	put_key(j, key);
	pr_char(j->out, '"');
	pr_uuid(j->out, uuid);
	pr_char(j->out, '"');
}

void jout_null(struct jout *j, const char *key)
{
	put_key(j, key);
	pr(j->out, "null");
}

void jout_end(struct jout *j)
{
	assert(!j->depth);
	pr_char(j->out, '\n');
}
