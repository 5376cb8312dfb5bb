/* user/serve_job.h - one generation in its own thread, so that the connection's thread can send pings, notice a client that
 * hangs up, and end the generation within one token.
 *
 * Data flow   prompt ids -> job thread: pool -> session -> generate -> text and tokens -> job_wait, job_take -> the client.
 * Units       tokens, bytes, microseconds, milliseconds.
 * Errors      of the pool, the session and generate: job_error after JOB_DONE.
 * Memory      job_start gives and borrows the ask until job_free, which ends the generation and waits for its thread.
 * Secrets     holds prompt and answer; freed, not logged.
 *
 * Thread      job_start ... job_free from one thread at a time.
 */
#ifndef STIP_USER_SERVE_JOB_H
#define STIP_USER_SERVE_JOB_H

#include "base/buf.h"
#include "user/generate.h"
#include "user/serve_pool.h"
#include "user/serve_view.h"

struct job;

struct job_ask {
    const int32_t *prompt;
    int prompt_count;
    int max_tokens; /* cut to what the context has room for */
    struct sample_opts sample;
    int logprobs; /* alternatives, -1: none */
    const char *const *stop;
    int stop_count;
    struct views *views; /* NULL: nothing is kept */
    const char *id;      /* in views */
};

/* A token that was generated: where its text begins, and its row of probabilities. */
struct job_token {
    size_t at; /* byte of the text */
    int32_t id;
    const struct token_logprob *logprobs; /* [1 + ask.logprobs], NULL if not asked */
};

struct job_result {
    const char *finish_reason; /* "stop", "length", "cancelled" */
    int prompt_tokens, tokens;
    uint64_t prompt_us, decode_us, server_us, user_us;
    struct channel_stats wire; /* of this answer */
};

enum job_state { JOB_NEWS, JOB_DONE, JOB_QUIET, JOB_HUNG_UP, JOB_STOPPING };

MUST_CHECK int job_start(struct job **out, struct pool *pool, const struct job_ask *ask, struct err *err);
void job_free(struct job *j);
/* Until there is more to take, the generation has ended, the client (socket, or -1) has hung up, `stop` is readable, or ms are
 * over. */
enum job_state job_wait(struct job *j, int client, int stop, int ms);
/* Appends text that has not been taken, gives the tokens that belong to it; *first is valid until job_free. True when the
 * generation has ended and all was taken. */
bool job_take(struct job *j, struct buf *text, const struct job_token **first, int *count);
/* After JOB_DONE: NULL, or why it failed. */
const struct err *job_error(const struct job *j);
const struct job_result *job_result(const struct job *j);

#endif
