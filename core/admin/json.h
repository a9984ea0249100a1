/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * JSON in and out; the only file that knows jansson.
 *
 * Reading: jansson judges the syntax and holds the values, but forgets where they stood. A small scanner walks the (already
 * judged) text beside jansson's tree, in the same order, so every value and key knows its offset and complaints can name
 * FILE:LINE:COLUMN. Duplicate keys are refused while parsing, which is what keeps the two walks in step.
 * Writing: a streaming printer over a printbuf, for status.json and `bcachectl --json`; it allocates nothing.
 */
#include "formats/printbuf.h"

struct json_doc;
enum jvalue_kind { JVALUE_OBJECT, JVALUE_ARRAY, JVALUE_STRING, JVALUE_INTEGER, JVALUE_REAL, JVALUE_BOOL, JVALUE_NULL };

/* A value inside a document; valid as long as the document. */
struct jvalue {
	const struct json_doc *doc;
	void *node;	     /* jansson's */
	size_t offset_bytes; /* of its first character */
};

/* name (a file name, for messages) and text are copied. -EINVAL: not JSON, or -ENOMEM; `why` gets "name:line:column: reason". */
MUST_CHECK int json_doc_parse(const char *name, const char *text, size_t len_bytes, struct json_doc **ret, struct printbuf *why);
void json_doc_free(struct json_doc *d);
struct jvalue json_doc_root(const struct json_doc *d);

enum jvalue_kind jvalue_kind(struct jvalue v);
const char *jvalue_kind_name(struct jvalue v); /* "an object", "a number", … for messages */
/* Each asserts the kind. */
const char *jvalue_string(struct jvalue v);
int64_t jvalue_integer(struct jvalue v);
bool jvalue_bool(struct jvalue v);

/* Walk the members of an object (key is set) or the elements of an array (key is NULL), in text order. */
struct jiter {
	struct jvalue container;
	void *member;
	size_t next_bytes, index;
	/* the current item */
	const char *key;
	size_t key_offset_bytes;
	struct jvalue value;
};
struct jiter jiter_begin(struct jvalue container);
bool jiter_next(struct jiter *it);

/* Append "name:line:column: " and the message. */
void json_complain(struct printbuf *why, const struct json_doc *d, size_t offset_bytes, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* --- writing ---------------------------------------------------------------------------------------------------------- */

/* Pretty-printed, two spaces per level. key is NULL for elements of arrays and for the outermost value. */
struct jout {
	struct printbuf *out;
	unsigned depth;
	bool first; /* nothing in the current container yet */
};
struct jout jout_begin(struct printbuf *out);
void jout_object_begin(struct jout *j, const char *key);
void jout_object_end(struct jout *j);
void jout_array_begin(struct jout *j, const char *key);
void jout_array_end(struct jout *j);
void jout_string(struct jout *j, const char *key, const char *value); /* NULL prints null */
void jout_bytes(struct jout *j, const char *key, const char *value, size_t len_bytes); /* any bytes; invalid UTF-8 is read as Latin-1 */
void jout_uint(struct jout *j, const char *key, uint64_t value);
void jout_int(struct jout *j, const char *key, int64_t value);
void jout_bool(struct jout *j, const char *key, bool value);
void jout_uuid(struct jout *j, const char *key, const uint8_t uuid[16]);
void jout_null(struct jout *j, const char *key);
/* The closing newline. */
void jout_end(struct jout *j);
