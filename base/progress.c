#include "base/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static bool events;

void progress_events(void)
{
    events = true;
}

void progress_start(struct progress *p, const char *label, const char *unit, uint64_t total)
{
    *p = (struct progress){.label = label, .unit = unit, .total = total, .start_us = clock_us()};
    p->on = events || isatty(STDERR_FILENO) == 1;
    if (events)
        p->drawn_us = p->start_us;
}

static void amount(char out[32], double n, const char *unit)
{
    if (strcmp(unit, "B") == 0 && n >= 1e9)
        (void)snprintf(out, 32, "%.2f GB", n / 1e9);
    else if (strcmp(unit, "B") == 0)
        (void)snprintf(out, 32, "%.1f MB", n / 1e6);
    else
        (void)snprintf(out, 32, "%.0f %s", n, unit);
}

/* Labels and units are words of ours: nothing in them has to be escaped. */
static void say(struct progress *p, uint64_t done, uint64_t now)
{
    if (now - p->drawn_us < 1000000 && !(p->said && done == p->total))
        return;
    p->drawn_us = now;
    p->said = true;
    (void)fprintf(stderr, "{\"event\":\"progress\",\"what\":\"%s\",\"done\":%" PRIu64 ",\"total\":%" PRIu64 ",\"unit\":\"%s\",\"seconds\":%.1f}\n",
                  p->label, done, p->total, p->unit, (double)(now - p->start_us) / 1e6);
}

void progress_at(struct progress *p, uint64_t done)
{
    uint64_t now = clock_us();
    if (p->on && events) {
        say(p, done, now);
        return;
    }
    if (!p->on || (now - p->drawn_us < 100000 && done != p->total))
        return;
    p->drawn_us = now;
    double seconds = (double)(now - p->start_us) / 1e6;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    char have[32], speed[32];
    amount(have, (double)done, p->unit);
    amount(speed, rate, p->unit);
    if (p->total == 0) {
        (void)fprintf(stderr, "\r\033[K%s  %s  %s/s", p->label, have, speed);
    } else {
        char bar[25];
        size_t filled = done >= p->total ? 24 : (size_t)(24.0 * (double)done / (double)p->total);
        memset(bar, '.', 24);
        memset(bar, '#', filled);
        bar[24] = '\0';
        double left = rate > 0 && done < p->total ? (double)(p->total - done) / rate : 0;
        (void)fprintf(stderr, "\r\033[K%s [%s] %3.0f %%  %s  %s/s  %.0f s left", p->label, bar,
                      100.0 * (double)done / (double)p->total, have, speed, left);
    }
    (void)fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->on && !events)
        (void)fprintf(stderr, "\r\033[K");
    p->on = false;
}
