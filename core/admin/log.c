/* SPDX-License-Identifier: GPL-2.0-only */
#include "core/admin/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_BYTES 1024
#define MAX_HELD 64

const char *const log_level_names[NR_LOG_LEVELS] = { "error", "warn", "info", "debug" };
static const int syslog_priorities[NR_LOG_LEVELS] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

static enum log_level threshold = LOG_LEVEL_INFO;
static bool to_syslog;
static bool holding;
static char *held[MAX_HELD]; /* info lines */
static unsigned nr_held;

void log_set_level(enum log_level level)
{
	threshold = level;
}

bool log_enabled(enum log_level level)
{
	return level <= threshold;
}

void log_use_syslog(const char *ident)
{
	openlog(ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	to_syslog = true;
}

/* One write(2) per line, so that lines of several processes do not mix. */
static void write_stderr(enum log_level level, const char *text)
{
	char line[LINE_BYTES + 64];
	int len = snprintf(line, sizeof(line), "bcache-fuse: %s%s%s\n", level == LOG_LEVEL_INFO ? "" : log_level_names[level],
			   level == LOG_LEVEL_INFO ? "" : ": ", text);

	if (len < 0)
		return;
	if ((size_t)len >= sizeof(line))
		len = sizeof(line) - 1;
	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		return; /* nobody left to tell */
}

static void emit(enum log_level level, const char *text)
{
	if (to_syslog)
		syslog(syslog_priorities[level], "%s", text);
	else
		write_stderr(level, text);
}

void log_hold(void)
{
	holding = true;
}

void log_release(void)
{
	holding = false;
	for (unsigned i = 0; i < nr_held; i++) {
		emit(LOG_LEVEL_INFO, held[i]);
		free(held[i]);
	}
	nr_held = 0;
}

static bool hold(enum log_level level, const char *text)
{
	if (!holding || level != LOG_LEVEL_INFO || log_enabled(LOG_LEVEL_DEBUG) || nr_held == MAX_HELD)
		return false;
	held[nr_held] = strdup(text);
	if (!held[nr_held])
		return false;
	nr_held++;
	return true;
}

void log_linev(enum log_level level, const char *fmt, va_list ap)
{
	char text[LINE_BYTES];
	size_t len;

	if (!log_enabled(level))
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	len = strlen(text); /* libraries hand us lines with a newline */
	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	if (!hold(level, text))
		emit(level, text);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_linev(level, fmt, ap);
	va_end(ap);
}
