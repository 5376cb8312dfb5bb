/* user/talk.h - a conversation of several turns: what was said, its tokens, and the session that holds most of them.
 *
 * Data flow   line -> talk_turn: prompt by the model's chat template or by a format -> generate -> pieces of the answer.
 *             With an engine of others (user/backend.h) there is no session: all of the talk goes up with each turn.
 * Units       tokens, bytes.
 * Errors      ERR_INPUT: the line was at fault, the talk is as it was before; others are the connection's.
 * Memory      the caller zeroes the struct and sets the first block; talk_close releases the rest.
 * Secrets     everything in here is the user's own. talk_save writes it to a file of mode 0600.
 */
#ifndef STIP_USER_TALK_H
#define STIP_USER_TALK_H

#include <stdio.h>

#include "user/generate.h"
#include "user/peek.h"
#include "user/setup.h"
#include "user/token_ids.h"

struct said;
struct verifier;

struct talk {
    struct setup *set;
    const struct chat_template *template; /* NULL: turns are made with `format` */
    const char *format;                   /* has a %s */
    int max_tokens;                       /* of an answer */
    struct sample_opts sample;
    void (*piece)(const char *text, size_t len); /* NULL: the caller has the whole answer from talk_turn */
    bool (*go_on)(void); /* asked after each token; NULL: always */
    struct verifier *verifier; /* the caller's, between turns; NULL: no known questions */

    char *system;
    struct session *session;
    struct token_ids ids; /* all tokens of the talk; the session holds the first session_length() of them */
    struct said *said;
    size_t said_n, said_cap;
    struct peek *peek;
    struct channel_stats by_engine; /* what the turns moved, where an engine answers */
};

/* Forgets everything but the system message. */
MUST_CHECK int talk_reset(struct talk *t, struct err *err);
/* Another system message, NULL for none; the talk begins anew. */
MUST_CHECK int talk_system(struct talk *t, const char *text, struct err *err);
/* One line in, one answer out; fills *r (generate_free). */
MUST_CHECK int talk_turn(struct talk *t, const char *line, size_t n, struct generated *r, struct err *err);
/* {"messages": [...]} into a new file. */
MUST_CHECK int talk_save(const struct talk *t, const char *path, struct err *err);
/* What went over the wire so far. */
struct channel_stats talk_stats(const struct talk *t);
/* The last tokens, and what the server received for them. */
MUST_CHECK int talk_peek(struct talk *t, FILE *to, int tokens, struct err *err);
void talk_close(struct talk *t);

#endif
