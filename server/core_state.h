/* server/core_state.h - what core.c and step.c share. Private to the two: others use server/core.h.
 *
 * Data flow   core.c takes a frame to its session; step.c makes ROWS into answers.
 * Units       milliseconds: now_ms is the time of the call that is being handled.
 * Errors      those of peers are answered.
 * Memory      the core owns sessions, connections and the index of prefixes; the model is borrowed.
 * Secrets     as server/core.h.
 */
#ifndef STIP_SERVER_CORE_STATE_H
#define STIP_SERVER_CORE_STATE_H

#include "server/budget.h"
#include "server/connections.h"
#include "server/core.h"
#include "server/prefix.h"
#include "server/schedule.h"
#include "server/session.h"

struct core {
    struct core_limits limits;
    struct core_model model;
    bool has_model, loading, draining, expired;
    int chunk; /* most rows of one kind of steps in a pass */
    struct connections *connections;
    struct session_table *sessions;
    struct schedule waiting;
    struct budget budget;
    int token_rows, prompt_rows; /* of the pass that is computed */
    uint64_t pass; /* its number */
    int away;      /* sessions that the last pass answered and that have not come back */
    struct prefix *prefix;
    struct msg_stats stats;
    struct core_load load; /* queue_rows is `waiting`'s */
    uint64_t now_ms;
};

#define DRAINING_TEXT "the server is being stopped; try another one, or again in a while"

/* Steps the session's phase with a frame of ours that fits one frame, and sends it. */
void core_say(struct core *c, struct session *s, struct frame f);
/* Step `seq` failed: tell, and end the session if the code says so. An answer that is kept stays: the user may ask for it. */
void core_fail(struct core *c, struct session *s, uint64_t seq, enum wire_code code, const char *text);
void core_end(struct core *c, struct session *s);
/* A session that was answered by the last pass says what comes next, or ends. */
void core_back(struct core *c, struct session *s);

/* ROWS that are legal in the session's phase. */
void step_rows(struct core *c, struct session *s, const struct frame *f);
/* Sends what is left of an answer while the socket takes it. The session may end. */
void step_flush(struct core *c, struct session *s);
/* Takes back the step that is being received, computed or sent: the cache returns to where it began, and its number may be used
 * again. `before`: the phase that CANCEL met. */
void step_cancel(struct core *c, struct session *s, enum phase before);

#endif
