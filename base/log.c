#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

static struct {
    char role[32];
    enum log_level level;
    bool json;
} state = {"stip", LOG_INFO, false};

static const char *const names[] = {"error", "warn", "info", "debug"};

void log_init(const char *role, enum log_level level, bool json)
{
    (void)snprintf(state.role, sizeof state.role, "%s", role);
    state.level = level;
    state.json = json;
}

bool log_level_parse(const char *text, enum log_level *out)
{
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    return false;
}

/* JSON string escapes; control characters become spaces and invalid UTF-8 question marks in both forms, so that a line
 * stays a line, and valid JSON. */
static void escape(char *out, size_t cap, const char *text)
{
    size_t n = 0;
    while (*text != '\0' && n + 5 < cap) {
        uint32_t cp;
        size_t len = utf8_decode(text, strnlen(text, 4), &cp);
        if (state.json && (*text == '"' || *text == '\\'))
            out[n++] = '\\';
        if (len > 1)
            memcpy(out + n, text, len);
        else
            out[n] = len == 0 ? '?' : *text < 0x20 || *text == 0x7f ? ' ' : *text;
        len = len == 0 ? 1 : len;
        n += len;
        text += len;
    }
    out[n] = '\0';
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if (level > state.level)
        return;
    char text[1400], clean[2048], line[2400], when[32];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    escape(clean, sizeof clean, text);
    clock_iso(clock_unix(), when);
    int n = snprintf(line, sizeof line,
                     state.json ? "{\"time\":\"%s\",\"role\":\"%s\",\"level\":\"%s\",\"message\":\"%s\"}\n" : "%s %s %s: %s\n",
                     when, state.role, names[level], clean);
    /* One write per line, so that lines of several processes on one terminal do not mix. */
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0)
        return;
}
