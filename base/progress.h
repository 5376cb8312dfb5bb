/* base/progress.h - a progress bar with rate and time left on a terminal, or events for programs.
 *
 * Data flow   long work -> stderr: a bar on a terminal; with --json a line a second of {"event":"progress","what","done","total",
 *             "unit","seconds"}, from the second second on; else nothing.
 * Units       whatever `unit` says; "B" prints as MB and GB.
 * Errors      none.
 * Memory      no allocation; the caller owns the struct.
 * Secrets     none.
 */
#ifndef STIP_BASE_PROGRESS_H
#define STIP_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *label, *unit;
    uint64_t total, start_us, drawn_us;
    bool on, said; /* said: an event */
};

/* Events in place of bars from now on (base/cli.c, --json). */
void progress_events(void);

/* total 0: unknown. */
void progress_start(struct progress *p, const char *label, const char *unit, uint64_t total);
void progress_at(struct progress *p, uint64_t done);
/* Clears the line. */
void progress_end(struct progress *p);

#endif
