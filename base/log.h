/* base/log.h - one line per event on stderr, as text or JSON.
 *
 * Data flow   roles -> stderr. stdout belongs to results.
 * Errors      none: a log line that cannot be written is lost.
 * Memory      no allocation.
 * Secrets     never tensor values, tokens, prompts, embeddings or keys, at any level. Callers pass names, sizes,
 *             counts, fingerprints and error texts only.
 */
#ifndef STIP_BASE_LOG_H
#define STIP_BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* `role` stands in every line. */
void log_init(const char *role, enum log_level level, bool json);
/* error, warn, info, debug; false for anything else. */
bool log_level_parse(const char *text, enum log_level *out);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
