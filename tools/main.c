/* SPDX-License-Identifier: GPL-2.0-only */
/* bcachectl: one program, one table of commands. */
#include "tools/tool.h"
#include <stdarg.h>
#include <stdio.h>

static const struct command *const commands[] = { &cmd_format, &cmd_show, &cmd_status };

static void complain(const char *kind, const char *fmt, va_list ap)
{
	fprintf(stderr, "bcachectl: %s", kind);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

int tool_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain("", fmt, ap);
	va_end(ap);
	return EXIT_FAILED;
}

int tool_usage(const struct command *c, const char *fmt, ...)
{
	char text[500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "bcachectl: %s; try 'bcachectl %s --help'\n", text, c->name);
	return EXIT_USAGE;
}

void tool_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain("warning: ", fmt, ap);
	va_end(ap);
}

static void print_commands(FILE *to)
{
	fputs("Usage: bcachectl COMMAND [OPTION]... [ARGUMENT]...\n"
	      "Format, inspect and watch the devices of bcache-fuse.\n\nCommands:\n", to);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\n'bcachectl COMMAND --help' explains one of them; see also bcachectl(8).\n", to);
}

static bool is_help(const char *arg)
{
	return !strcmp(arg, "--help") || !strcmp(arg, "-h");
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		print_commands(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(name, "help") && argc > 2) {
		name = argv[2];
		argv[2] = (char *)"--help";
	} else if (!strcmp(name, "help") || is_help(name)) {
		print_commands(stdout);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = commands[i];

		if (strcmp(name, c->name))
			continue;
		for (int a = 2; a < argc && strcmp(argv[a], "--"); a++) {
			if (is_help(argv[a])) {
				fputs(c->help, stdout);
				return EXIT_DONE;
			}
		}
		return c->run(argc - 1, argv + 1);
	}
	fprintf(stderr, "bcachectl: unknown command '%s'; 'bcachectl help' lists them\n", name);
	return EXIT_USAGE;
}
