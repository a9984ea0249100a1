/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
/*
 * The log: one line per event, to stderr in the foreground and to syslog once daemonised.
 *
 * Levels (style.md §5): error = a promise is broken; warn = odd, but we go on; info = a state changed; debug = for developers.
 * A message is lower case, names its subject in quotes, and has no full stop and no newline.
 * Core functions return errors; only the place that gives up logs. Callable from any thread.
 */
#include <stdarg.h>
#include "formats/base.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
#define NR_LOG_LEVELS 4
extern const char *const log_level_names[NR_LOG_LEVELS]; /* "error", "warn", "info", "debug" */

void log_set_level(enum log_level level); /* default: info */
bool log_enabled(enum log_level level);
/* From now on write to syslog under this name (a string that stays). */
void log_use_syslog(const char *ident);

/*
 * While starting: keep info lines back until it is known that the start succeeds, so that a failed one says one clear line instead of a story.
 * log_release() prints them. Lines beyond the limit are not held. Engine thread only.
 */
void log_hold(void);
void log_release(void);

void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
void log_linev(enum log_level level, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
/* Arguments are not evaluated unless the level is on. */
#define log_debug(...) do { if (log_enabled(LOG_LEVEL_DEBUG)) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__); } while (0)
