#include "base/expiry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define DAYS_MAX 36500

bool expiry_parse(int64_t *out, const char *text)
{
    struct tm tm = {0};
    char again[32];
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (end == NULL || *end != '\0')
        return false;
    /* strptime takes 31 February and "1-1-1": only what is written the same way again is a date. */
    const int64_t at = (int64_t)timegm(&tm);
    clock_iso(at, again);
    if (at <= EXPIRY_NEVER || strcmp(again, text) != 0)
        return false;
    *out = at;
    return true;
}

int expiry_option(int64_t *out, const char *text, int64_t now, struct err *err)
{
    char full[40], *end;
    int64_t at = 0;
    const long days = strtol(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0') {
        if (days < 1 || days > DAYS_MAX)
            return err_set(err, ERR_USAGE, "--expires: expected 1 to %d days, found %.20s", DAYS_MAX, text);
        *out = now + days * EXPIRY_DAY;
        return 0;
    }
    (void)snprintf(full, sizeof full, strlen(text) == 10 ? "%.30sT00:00:00Z" : "%.30s", text);
    if (!expiry_parse(&at, full))
        return err_set(err, ERR_USAGE, "--expires: expected days (90) or a date in UTC (2027-03-01, 2027-03-01T12:00:00Z), found '%.40s'",
                       text);
    if (at <= now)
        return err_set(err, ERR_USAGE, "--expires: %.40s is over already", text);
    *out = at;
    return 0;
}

int expiry_check(int64_t expires, int64_t now, const char *what, const char *to_do, struct err *err)
{
    char end[32], today[32];
    if (expires == EXPIRY_NEVER || now < expires)
        return 0;
    clock_iso(expires, end);
    clock_iso(now, today);
    return err_set(err, ERR_AUTH, "%s expired on %s (now it is %s); %s", what, end, today, to_do);
}

int64_t expiry_days(int64_t expires, int64_t now)
{
    return expires == EXPIRY_NEVER ? INT32_MAX : expires <= now ? 0 : (expires - now) / EXPIRY_DAY;
}

bool expiry_near(int64_t expires, int64_t now)
{
    return expires != EXPIRY_NEVER && expires - now <= EXPIRY_WARN_DAYS * EXPIRY_DAY;
}

int64_t expiry_first(int64_t a, int64_t b)
{
    return a == EXPIRY_NEVER || (b != EXPIRY_NEVER && b < a) ? b : a;
}
