/* server/schedule.h - whose rows are computed next.
 *
 * Data flow   complete step -> schedule_add -> schedule_next, a piece per pass, schedule_add again for the rest -> answer.
 * Units       rows. `chunk` of each kind at most in one pass, of prompts fewer while others wait for tokens (server/budget.h), so
 *             that a pass, and with it the wait of everybody else, stays short however long a prompt is.
 * Errors      none.
 * Memory      none of its own: lists run through sessions and users (server/session.h).
 * Secrets     none.
 *
 * Users take turns, then the sessions of a user among themselves; each turn is one step of few rows that are all asked for
 * (TURN_SHORT: tokens that somebody waits for) or one piece of another (TURN_LONG: prompts). Short ones go first in every pass, and
 * both kinds have rows of their own, so that neither keeps the other waiting.
 */
#ifndef STIP_SERVER_SCHEDULE_H
#define STIP_SERVER_SCHEDULE_H

#include "server/session.h"

#define SCHEDULE_SHORT 16 /* most rows of a short step: a token, or a few that are guessed ahead */

struct schedule {
    struct user_list ring[TURNS];
    long rows; /* waiting, of both kinds */
    int sessions;
};

/* What one pass still has room for. */
struct schedule_pass {
    int rows[TURNS];
    int jobs;
};

void schedule_init(struct schedule *sc);
/* True while somebody waits for a token. */
bool schedule_watched(const struct schedule *sc);
/* What is left of s->step. */
void schedule_add(struct schedule *sc, struct session *s);
void schedule_remove(struct schedule *sc, struct session *s); /* no-op unless it is queued */
/* Rows of each kind, and jobs, at most. */
struct schedule_pass schedule_begin(int tokens, int prompts, int jobs);
/* The next session of this pass and how many of its rows; it is no longer queued. NULL when the pass is full or nobody waits.
 * `whole`: steps cannot be cut. */
struct session *schedule_next(struct schedule *sc, struct schedule_pass *pass, bool whole, int *rows);

#endif
