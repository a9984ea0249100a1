/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/sim/script.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool script_has(const struct script *s, const struct script_op *op)
{
	for (unsigned i = 0; i < s->nr_ops; i++)
		if (script_op_equal(&s->ops[i], op))
			return true;
	return false;
}

void script_add(struct script *s, const struct script_op *op)
{
	if (s->nr_ops == SCRIPT_OPS_MAX)
		s->overflow = true;
	else
		s->ops[s->nr_ops++] = *op;
}

void script_to_text(const struct script *s, struct printbuf *out)
{
	const char *slash = "";

	for (unsigned b = 0; b < SCRIPT_BOOTS_MAX; b++) {
		const struct script_cut *c = &s->cut[b];
		const char *comma = "";

		if (!s->lived[b])
			continue;
		pr(out, "%s%u", slash, b);
		slash = "/";
		if (c->cuts && c->after_op)
			pr(out, "@%u.%u+%llu", c->op.client, c->op.number, (unsigned long long)c->events);
		else if (c->cuts)
			pr(out, "@+%llu", (unsigned long long)c->events);
		pr(out, ":");
		for (unsigned i = 0; i < s->nr_ops; i++) {
			if (s->ops[i].boot != b)
				continue;
			pr(out, "%s%u.%u", comma, s->ops[i].client, s->ops[i].number);
			comma = ",";
		}
	}
}

/* --- reading it ----------------------------------------------------------------------------------------------------- */

static bool take(const char **at, char c)
{
	if (**at != c)
		return false;
	++*at;
	return true;
}

static bool take_number(const char **at, uint64_t *ret)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	*ret = strtoull(*at, &end, 10);
	*at = end;
	return true;
}

static bool take_op(const char **at, uint64_t boot, struct script_op *ret)
{
	uint64_t client, number;

	if (!take_number(at, &client) || !take(at, '.') || !take_number(at, &number))
		return false;
	*ret = (struct script_op){ (uint32_t)boot, (uint32_t)client, (uint32_t)number };
	return true;
}

static bool take_cut(const char **at, uint64_t boot, struct script_cut *c)
{
	c->cuts = true;
	c->after_op = **at != '+';
	if (c->after_op && !take_op(at, boot, &c->op))
		return false;
	return take(at, '+') && take_number(at, &c->events);
}

static bool take_boot(const char **at, struct script *s)
{
	struct script_op op;
	uint64_t boot;

	if (!take_number(at, &boot) || boot >= SCRIPT_BOOTS_MAX)
		return false;
	s->lived[boot] = true;
	if (take(at, '@') && !take_cut(at, boot, &s->cut[boot]))
		return false;
	if (!take(at, ':'))
		return false;
	while (**at && **at != '/') {
		if (!take_op(at, boot, &op))
			return false;
		script_add(s, &op);
		if (!take(at, ','))
			break;
	}
	return true;
}

int script_parse(const char *text, struct script *ret)
{
	memset(ret, 0, sizeof(*ret));
	while (*text) {
		if (!take_boot(&text, ret))
			return -EINVAL;
		if (!take(&text, '/'))
			break;
	}
	return *text || ret->overflow ? -EINVAL : 0;
}
