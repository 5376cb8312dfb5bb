/* tests/support/toy_engine.h - an engine of others in a few lines: a checkpoint behind /v1/models and /v1/completions.
 *
 * Data flow   HTTP request with a prompt of ids -> plain greedy continuation by engine/ -> events of text, made with the names that
 *             the checkpoint's tokenizer.json gives its tokens. Rows (prompt_embeds) are looked up in its own table, and so become ids:
 *             what any holder of the table can do.
 * Errors      a failure that is not the client's ends the process.
 * Memory      a process of its own; toy_engine_stop ends it.
 * Secrets     none: it has no key.
 */
#ifndef STIP_TESTS_SUPPORT_TOY_ENGINE_H
#define STIP_TESTS_SUPPORT_TOY_ENGINE_H

#include <sys/types.h>

enum toy_mood {
    TOY_WELL,             /* takes ids only: 400 for rows */
    TOY_TAKES_ROWS,       /* takes rows only */
    TOY_OTHER_VOCABULARY, /* answers with words */
    TOY_BREAKS_OFF,       /* the connection ends after two tokens */
    TOY_REFUSES,          /* 400 with a reason */
    TOY_FAILS,            /* after two tokens, with a reason, as llama.cpp does */
    TOY_GOES_ON,          /* shows the end token, and what would come after it */
    TOY_SILENT,           /* does not begin an answer until the client hangs up */
    TOY_FALLS_SILENT,     /* nor says which models it has, but for the first time */
    TOY_STOPS,            /* at an end of its own, after three tokens */
};

struct toy_engine {
    pid_t pid;
    int port;
};

/* Forks: only while the test has no threads. */
void toy_engine_start(struct toy_engine *e, const char *model, enum toy_mood mood);
void toy_engine_stop(struct toy_engine *e);

#endif
