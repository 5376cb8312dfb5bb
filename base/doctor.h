/* base/doctor.h - what the three `doctor` commands print: one line per check, with what to do about each that fails.
 *
 * Data flow   a role's checks -> doctor_ok, doctor_warn, doctor_fail -> a line each on stdout -> doctor_end -> exit status.
 *             With `json` doctor_end prints one object: {"checks":[{"hop","state","text","fix"},...],"warnings":N,"failed":N}.
 * Units       bytes.
 * Errors      doctor_end: ERR_CHECK when a check failed, with how many.
 * Memory      the caller owns the struct; with `json` doctor_end releases what was gathered.
 * Secrets     none printed: names, sizes, fingerprints and public keys.
 */
#ifndef STIP_BASE_DOCTOR_H
#define STIP_BASE_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum doctor_state { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

struct json;
struct json_doc;

struct doctor {
    bool json;
    int count[3];
    struct json_doc *doc; /* with json, from the first check on */
    struct json *checks;
};

void doctor_ok(struct doctor *d, const char *hop, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Works, and will not for long or not well. `fix`: what to do, one sentence. */
void doctor_warn(struct doctor *d, const char *hop, const char *fix, const char *fmt, ...) PRINTF_LIKE(4, 5);
void doctor_fail(struct doctor *d, const char *hop, const char *fix, const char *fmt, ...) PRINTF_LIKE(4, 5);
MUST_CHECK int doctor_end(struct doctor *d, struct err *err);

/* A line if `what` ends one day; fails when it has. expires: seconds since 1970, 0 for never. */
void doctor_expiry(struct doctor *d, const char *hop, const char *what, int64_t expires, const char *fix);

/* Checks of the machine. */
void doctor_clock(struct doctor *d);
void doctor_threads(struct doctor *d, int asked);                 /* 0: as many as there are CPUs */
void doctor_memory(struct doctor *d, uint64_t need);              /* at most, `need` being all that the config allows */
void doctor_disk(struct doctor *d, const char *path, uint64_t need); /* path: what will be written, its folder or a parent exists */

#endif
