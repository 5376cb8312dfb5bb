#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    if (err == NULL)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    /* Names from files and peers stand in the text; they must not reach a terminal as escape sequences. */
    for (char *p = err->text; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    if (err == NULL)
        return -1;
    char head[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);

    /* Shift the old text right by the length of the head, cutting what no longer fits. */
    size_t n = strlen(head), old = strlen(err->text), room = sizeof err->text - n - 3;
    if (old > room)
        old = room;
    memmove(err->text + n + 2, err->text, old);
    err->text[n + 2 + old] = '\0';
    memcpy(err->text, head, n);
    memcpy(err->text + n, ": ", 2);
    return -1;
}

int err_oom(struct err *err, unsigned long long bytes)
{
    return err_set(err, ERR_INTERNAL, "out of memory: %llu bytes were asked for", bytes);
}
