/* bench/cheats.h - servers that compute something else than they were given, and whether canaries notice.
 *
 * Data flow   HFDIR -> canaries as a grant has them; the same question to an honest private server and to cheats -> verify_compare.
 *             Cheats have packages too, made with the honest one's keys: drifted weights, or its own package computed otherwise.
 * Units       log-probabilities.
 * Errors      those of checkpoint and engine; a checkpoint of several files (drift is made for one).
 * Memory      cheats_open loads the model once per cheat; cheats_close releases, and removes a temporary folder.
 * Secrets     none: a bench.
 */
#ifndef STIP_BENCH_CHEATS_H
#define STIP_BENCH_CHEATS_H

#include <stddef.h>

#include "base/cli.h"

#define CHEATS_MAX 8

struct cheats;
/* Flags of `cmd` as protect takes them: what the honest server was given. */
MUST_CHECK int cheats_open(struct cheats **out, const char *model, const struct cli_cmd *cmd, struct err *err);
void cheats_close(struct cheats *c);
/* Number 0 is the honest server. */
size_t cheats_count(const struct cheats *c);
const char *cheats_name(const struct cheats *c, size_t i);
double cheats_tolerance(const struct cheats *c);

struct cheats_trial {
    bool noticed[CHEATS_MAX];
    double diff[CHEATS_MAX]; /* until it was noticed */
};
/* One fresh canary to all of them. */
MUST_CHECK int cheats_try(struct cheats *c, struct cheats_trial *out, struct err *err);

#endif
