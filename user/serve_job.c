#include "user/serve_job.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "user/serve_stop.h"

#define ANSWER_MAX ((size_t)64 << 20)

struct job {
    struct job_ask ask;
    struct pool *pool;
    struct lease lease;
    pthread_t thread;
    int wake; /* eventfd: readable when there is news */
    atomic_bool cancel;
    uint64_t decode_start;
    uint64_t shown; /* the last message whose rows the view has */

    pthread_mutex_t lock; /* guards what follows */
    struct buf text;
    size_t scanned, safe, boundary; /* of text: scanned for stop texts, may be shown, began the token that is coming */
    bool stopped, done;             /* a stop text was found */
    bool told;                      /* wake is readable, or is about to be */
    int token_count;
    struct job_token *tokens;       /* [max_tokens], written once each */
    struct token_logprob *logprobs; /* [max_tokens][1 + logprobs] */
    size_t taken;
    int tokens_taken;

    struct err err; /* written before done */
    struct job_result result;
};

static void wake(struct job *j)
{
    const uint64_t one = 1;
    (void)!write(j->wake, &one, sizeof one);
}

/* ------------------------------------------------------------------ in the job's thread */

static void on_piece(void *arg, const char *text, size_t len)
{
    struct job *j = arg;
    (void)pthread_mutex_lock(&j->lock);
    if (!j->stopped) {
        buf_put(&j->text, text, len);
        j->safe = stop_scan((const char *)j->text.data, j->text.len, j->scanned, j->ask.stop, j->ask.stop_count, &j->stopped);
        j->scanned = j->text.len;
    }
    (void)pthread_mutex_unlock(&j->lock);
}

/* The rows of a message once; guesses among them were sent as well. */
static void show_rows(struct job *j)
{
    int T, D = j->lease.c->grant->config->D;
    uint64_t message = session_sent(j->lease.s, &T);
    float *row = message > j->shown ? malloc((size_t)D * sizeof *row) : NULL;
    for (int t = 0; t < T && row != NULL; t++) {
        session_sent_row(j->lease.s, t, row);
        view_row(j->ask.views, j->ask.id, row, D);
    }
    free(row);
    j->shown = message;
}

static void show(struct job *j, int tokens, bool done)
{
    if (j->ask.views == NULL)
        return;
    struct session_timing t = session_timing(j->lease.s);
    struct channel_stats now = connection_stats(j->lease.c);
    const struct view_figures f = {.bytes_up = now.bytes_up - j->lease.before.bytes_up,
                                   .bytes_down = now.bytes_down - j->lease.before.bytes_down,
                                   .round_trips = now.round_trips - j->lease.before.round_trips,
                                   .server_us = t.server_us,
                                   .user_us = t.user_us,
                                   .decode_us = clock_us() - j->decode_start,
                                   .prompt_tokens = j->ask.prompt_count,
                                   .tokens = tokens,
                                   .done = done};
    show_rows(j);
    view_figures(j->ask.views, j->ask.id, &f);
}

static bool on_token(void *arg, const struct generated *g)
{
    struct job *j = arg;
    const size_t k = (size_t)g->count - 1, width = (size_t)j->ask.logprobs + 1;
    (void)pthread_mutex_lock(&j->lock);
    struct job_token *t = &j->tokens[k];
    *t = (struct job_token){.at = j->boundary, .id = g->tokens[k]};
    if (j->logprobs != NULL) {
        memcpy(j->logprobs + k * width, g->logprobs + k * width, width * sizeof *j->logprobs);
        t->logprobs = j->logprobs + k * width;
    }
    j->token_count = g->count;
    j->boundary = j->text.len;
    bool go_on = !j->stopped && !j->text.failed, tell = !j->told;
    j->told = true;
    (void)pthread_mutex_unlock(&j->lock);
    if (g->count == 1)
        j->decode_start = clock_us();
    show(j, g->count, false);
    if (tell)
        wake(j);
    return go_on && !atomic_load(&j->cancel);
}

static bool on_wait(void *arg)
{
    struct job *j = arg;
    return !atomic_load(&j->cancel);
}

static int by_engine(struct job *j, struct generated *g, const struct generate_opts *opts, struct err *err)
{
    const struct setup *set = j->lease.engine;
    struct backend_wire w = {0};
    int rc = backend_generate(g, set->grant, &set->backend, j->ask.prompt, j->ask.prompt_count, opts, &w, err);
    j->lease.moved = (struct channel_stats){.bytes_up = w.bytes_up, .bytes_down = w.bytes_down, .round_trips = w.round_trips};
    return rc;
}

static int by_server(struct job *j, struct generated *g, const struct generate_opts *opts, struct err *err)
{
    const struct job_ask *a = &j->ask;
    if (pool_session(j->pool, &j->lease, a->prompt_count + opts->max_tokens, 1, &j->cancel, err) != 0)
        return -1;
    struct generate_opts guessing = *opts;
    guessing.speculate = j->lease.speculate;
    return generate(g, j->lease.s, j->lease.c->grant, a->prompt, a->prompt_count, a->prompt_count, &guessing, err);
}

static int generate_here(struct job *j, struct generated *g, struct err *err)
{
    const struct job_ask *a = &j->ask;
    const struct setup *engine = j->lease.engine;
    int context = engine != NULL ? engine->grant->config->positions : (int)j->lease.c->server.max_tokens, room = context - a->prompt_count;
    if (room < 1)
        return err_set(err, ERR_INPUT, "the prompt has %d tokens, the context holds %d and an answer needs room too; shorten it",
                       a->prompt_count, context);
    const struct generate_opts opts = {.max_tokens = a->max_tokens < room ? a->max_tokens : room,
                                       .sample = a->sample,
                                       .logprobs = a->logprobs,
                                       .piece = on_piece,
                                       .token = on_token,
                                       .wanted = on_wait,
                                       .arg = j};
    if ((engine != NULL ? by_engine : by_server)(j, g, &opts, err) != 0)
        return -1;
    show(j, g->count, true);
    return 0;
}

static void *run(void *arg)
{
    struct job *j = arg;
    struct generated g = {0};
    struct err err = {0};
    struct job_result r = {.finish_reason = "cancelled", .prompt_tokens = j->ask.prompt_count};
    if (pool_take(j->pool, &j->lease, &j->cancel, &err) == 0) {
        if (generate_here(j, &g, &err) == 0) {
            const struct session_timing t = j->lease.engine != NULL ? (struct session_timing){0} : session_timing(j->lease.s);
            r.finish_reason = j->stopped ? "stop" : g.finish_reason;
            r.tokens = g.count;
            r.prompt_us = g.prompt_us;
            r.decode_us = g.decode_us;
            r.server_us = t.server_us;
            r.user_us = t.user_us;
            err = (struct err){0}; /* of troubles that passed */
        } else
            j->lease.broken = err.code != ERR_INPUT && !atomic_load(&j->cancel); /* of a session that was ended, nothing is left */
        pool_give(j->pool, &j->lease, &r.wire);
    }
    if (j->text.failed && err.code == ERR_NONE)
        (void)err_set(&err, ERR_INTERNAL, "out of memory, or an answer of more than %zu bytes", ANSWER_MAX);
    generate_free(&g);
    (void)pthread_mutex_lock(&j->lock);
    if (!j->stopped)
        j->safe = j->text.len;
    j->err = err;
    j->result = r;
    j->done = true;
    (void)pthread_mutex_unlock(&j->lock);
    wake(j);
    if (err.code == ERR_NONE)
        pool_verify(j->pool, j->ask.max_tokens);
    return NULL;
}

/* ------------------------------------------------------------------ in the client's thread */

int job_start(struct job **out, struct pool *pool, const struct job_ask *ask, struct err *err)
{
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return err_oom(err, sizeof *j);
    size_t most = (size_t)ask->max_tokens, width = (size_t)ask->logprobs + 1; /* 0 for none */
    j->ask = *ask;
    j->pool = pool;
    buf_init(&j->text, ANSWER_MAX);
    (void)pthread_mutex_init(&j->lock, NULL);
    j->tokens = malloc(most * sizeof *j->tokens);
    if (width > 0)
        j->logprobs = malloc(most * width * sizeof *j->logprobs);
    j->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = -1;
    if (j->tokens == NULL || (width > 0 && j->logprobs == NULL))
        err_oom(err, most * sizeof *j->tokens);
    else if (j->wake < 0 || pthread_create(&j->thread, NULL, run, j) != 0)
        err_set(err, ERR_INTERNAL, "cannot start a thread for the answer: %s", strerror(errno));
    else
        rc = 0;
    if (rc == 0) {
        *out = j;
        return 0;
    }
    atomic_store(&j->cancel, true);
    if (j->wake >= 0)
        close(j->wake);
    pthread_mutex_destroy(&j->lock);
    free(j->tokens);
    free(j->logprobs);
    free(j);
    return -1;
}

void job_free(struct job *j)
{
    if (j == NULL)
        return;
    atomic_store(&j->cancel, true);
    (void)pthread_join(j->thread, NULL);
    close(j->wake);
    pthread_mutex_destroy(&j->lock);
    buf_free(&j->text);
    free(j->tokens);
    free(j->logprobs);
    free(j);
}

enum job_state job_wait(struct job *j, int client, int stop, int ms)
{
    /* Not POLLIN for the client: what it may send next is of no interest now. */
    struct pollfd fds[3] = {
        {.fd = j->wake, .events = POLLIN}, {.fd = client, .events = POLLRDHUP}, {.fd = stop, .events = POLLIN}};
    uint64_t end = clock_ms() + (uint64_t)ms, count;
    for (;;) {
        uint64_t now = clock_ms();
        int n = poll(fds, 3, now >= end ? 0 : (int)(end - now));
        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0 && (fds[1].revents != 0 || fds[2].revents != 0))
            return fds[1].revents != 0 ? JOB_HUNG_UP : JOB_STOPPING;
        if (n <= 0)
            return JOB_QUIET;
        (void)!read(j->wake, &count, sizeof count);
        (void)pthread_mutex_lock(&j->lock);
        j->told = false;
        bool done = j->done, news = j->safe > j->taken || j->token_count > j->tokens_taken;
        (void)pthread_mutex_unlock(&j->lock);
        if (done || news)
            return done ? JOB_DONE : JOB_NEWS;
    }
}

bool job_take(struct job *j, struct buf *text, const struct job_token **first, int *count)
{
    (void)pthread_mutex_lock(&j->lock);
    /* A token goes out with the text it begins; one without text of its own, with the text before it. */
    int end = j->tokens_taken;
    while (end < j->token_count && (j->tokens[end].at < j->safe || (j->done && !j->stopped)))
        end++;
    if (j->safe > j->taken)
        buf_put(text, j->text.data + j->taken, j->safe - j->taken);
    *first = j->tokens + j->tokens_taken;
    *count = end - j->tokens_taken;
    j->taken = j->safe;
    j->tokens_taken = end;
    bool over = j->done;
    (void)pthread_mutex_unlock(&j->lock);
    return over;
}

const struct err *job_error(const struct job *j)
{
    return j->err.code == ERR_NONE ? NULL : &j->err;
}

const struct job_result *job_result(const struct job *j)
{
    return &j->result;
}
