#include "bench/load.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "bench/stats.h"
#include "bench/stream.h"
#include "tests/support/synth.h"
#include "user/generate.h"

#define SAMPLES_MAX ((size_t)1 << 32)
#define BACK_OFF_US 50000  /* after an error, so that a server that refuses is not stormed */
#define BUCKET_MIN_S 0.25
#define SLEEP_US 100000    /* how long a wait goes on without asking whether to stop */

struct load {
    const struct setup *setup;
    struct load_opts opts;
    uint64_t start, end, cut; /* us */
    double bucket_us;
    atomic_bool abandoned;    /* not all threads could be started */
    pthread_mutex_t lock;     /* of what follows */
    double arrival;           /* us, the next one */
    unsigned short dice[3];
    uint64_t number;          /* of requests, for distinct prompts */
};

struct worker {
    struct load *load;
    pthread_t thread;
    struct connection *connection; /* NULL after it was lost */
    struct stream *stream;         /* in place of it: to the gateway */
    int32_t *ids;
    float *logits;
    uint64_t arrived, last; /* us: of the request under way, and of its last token */
    int heard;              /* its tokens so far */
    struct load_result r; /* of this worker alone */
};

/* ------------------------------------------------------------------ samples */

static void list_init(struct load_list *list)
{
    buf_init(&list->doubles, SAMPLES_MAX);
}

static void list_add(struct load_list *list, double v)
{
    buf_put(&list->doubles, &v, sizeof v);
}

const double *load_values(const struct load_list *list, size_t *n)
{
    *n = list->doubles.len / sizeof(double);
    return (const void *)list->doubles.data;
}

static bool must_stop(struct load *l)
{
    return atomic_load(&l->abandoned) || (l->opts.stop != NULL && l->opts.stop());
}

static void count_tokens(struct worker *w, uint64_t now, int n)
{
    const struct load *l = w->load;
    if (now >= l->end)
        return;
    size_t b = (size_t)((double)(now - l->start) / l->bucket_us);
    w->r.tokens += (uint64_t)n;
    w->r.bucket[b < LOAD_BUCKETS ? b : LOAD_BUCKETS - 1] += (uint64_t)n;
}

/* A token has come. False when the answer is not waited for any longer. */
static bool hear(struct worker *w)
{
    const uint64_t now = clock_us();
    if (w->heard++ == 0) {
        list_add(&w->r.first, (double)(now - w->arrived) / 1e3);
        if (now < w->load->end)
            w->r.prompt_tokens += (uint64_t)w->load->opts.prompt_tokens;
    } else {
        list_add(&w->r.between, (double)(now - w->last) / 1e3);
    }
    count_tokens(w, now, 1);
    w->last = now;
    return now <= w->load->cut && !must_stop(w->load);
}

static void count_error(struct load_result *r, const char *name, uint64_t count, const char *text)
{
    int i = 0;
    while (i < r->error_count && strcmp(r->errors[i].name, name) != 0)
        i++;
    if (i == LOAD_ERRORS) /* more kinds than places: the last place holds the rest */
        i--;
    if (i == r->error_count) {
        (void)snprintf(r->errors[i].name, sizeof r->errors[i].name, "%s", name);
        (void)snprintf(r->errors[i].text, sizeof r->errors[i].text, "%s", text);
        r->error_count++;
    }
    r->errors[i].count += count;
}

/* The wire's word for it where the server gave one. */
static const char *error_name(const struct worker *w, const struct err *err)
{
    static const char *const classes[] = {"none", "check", "usage", "input", "auth", "peer", "internal"};
    unsigned code = w->connection == NULL ? WIRE_OK : channel_code(w->connection->channel);
    return code != WIRE_OK && wire_code_exit(code) == err->code ? wire_code_name(code) : classes[err->code];
}

/* ------------------------------------------------------------------ one request */

static int connect_worker(struct worker *w, struct err *err)
{
    const struct setup *s = w->load->setup;
    if (connection_open(&w->connection, s->transport, s->servers[0].endpoint, &s->servers[0].key, s->config.identity, s->grant, NULL, err) != 0)
        return -1;
    return s->bf16 ? connection_bf16(w->connection, err) : 0;
}

/* Token by token, with nothing around it. */
static int ask_session(struct worker *w, struct session *s, bool *whole, struct err *err)
{
    const struct config *c = w->connection->grant->config;
    const int T = w->load->opts.prompt_tokens, n = w->load->opts.max_tokens;
    if (session_forward(s, w->ids, NULL, T, c->causal ? T - 1 : 0, 1, w->logits, err) != 0)
        return -1;
    for (int i = 1; hear(w) && i < n; i++) {
        int32_t token = sample_argmax(w->logits, config_outputs(c));
        if (session_forward(s, &token, NULL, 1, 0, 1, w->logits, err) != 0)
            return -1;
    }
    *whole = w->heard == n;
    return 0;
}

static bool on_token(void *arg, const struct generated *so_far)
{
    (void)so_far;
    return hear(arg);
}

static int ask_generate(struct worker *w, struct session *s, bool *whole, struct err *err)
{
    const struct load_opts *o = &w->load->opts;
    const struct generate_opts opts = {.max_tokens = o->max_tokens, .sample = {.top_p = 1, .repeat_penalty = 1}, .logprobs = -1,
                                       .ignore_eos = true, .token = on_token, .arg = w};
    struct generated r;
    if (generate(&r, s, w->load->setup->grant, w->ids, o->prompt_tokens, o->prompt_tokens, &opts, err) != 0)
        return -1;
    *whole = r.count == o->max_tokens;
    generate_free(&r);
    return 0;
}

static bool on_event(void *arg)
{
    return hear(arg);
}

/* Tokens that share an event, or have no text of their own, are counted when the answer is whole. */
static int ask_gateway(struct worker *w, bool *whole, struct err *err)
{
    const struct load_opts *o = &w->load->opts;
    const struct grant *g = w->load->setup->grant;
    if (stream_ask(w->stream, w->ids, o->prompt_tokens, o->max_tokens, g->eos, g->eos_count, on_event, w, whole, err) != 0)
        return -1;
    if (!*whole)
        return 0;
    count_tokens(w, clock_us(), o->max_tokens - w->heard);
    if (w->heard == 0)
        w->last = clock_us();
    return 0;
}

static int request(struct worker *w, uint64_t arrived, struct err *err)
{
    const struct load_opts *o = &w->load->opts;
    struct session *s = NULL;
    bool whole = false;
    int rc;
    w->arrived = arrived;
    w->heard = 0;
    if (o->way == LOAD_GATEWAY)
        rc = ask_gateway(w, &whole, err);
    else if ((w->connection == NULL && connect_worker(w, err) != 0) ||
             session_open(&s, w->connection, o->prompt_tokens + o->max_tokens, 1, err) != 0)
        rc = -1;
    else
        rc = o->way == LOAD_GENERATE ? ask_generate(w, s, &whole, err) : ask_session(w, s, &whole, err);
    if (s != NULL)
        w->r.pass_us += session_timing(s).server_us;
    session_close(s);
    if (rc != 0)
        return -1;
    if (whole) {
        w->r.finished++;
        list_add(&w->r.request, (double)(w->last - arrived) / 1e3);
    } else {
        w->r.cut++;
    }
    return 0;
}

/* ------------------------------------------------------------------ arrivals */

static void sleep_until(struct load *l, uint64_t when)
{
    for (uint64_t now = clock_us(); now < when && !must_stop(l); now = clock_us()) {
        uint64_t us = when - now < SLEEP_US ? when - now : SLEEP_US;
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
    }
}

/* Waits for the next request and makes its prompt. False when no more begin. */
static bool next_request(struct worker *w, uint64_t *arrived)
{
    struct load *l = w->load;
    (void)pthread_mutex_lock(&l->lock);
    double at = l->arrival;
    uint64_t number = l->number++;
    if (l->opts.rps > 0)
        l->arrival -= log(1 - erand48(l->dice)) / l->opts.rps * 1e6;
    (void)pthread_mutex_unlock(&l->lock);
    *arrived = l->opts.rps > 0 ? (uint64_t)at : clock_us();
    if (*arrived >= l->end || must_stop(l))
        return false;
    sleep_until(l, *arrived);
    synth_ids(w->ids, l->opts.prompt_tokens, l->setup->grant->config->V, number);
    return true;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    uint64_t arrived;
    while (next_request(w, &arrived)) {
        struct err err = {0};
        if (clock_us() > w->load->cut) {
            w->r.unserved++;
            continue;
        }
        if (request(w, arrived, &err) == 0)
            continue;
        w->r.failed++;
        const char *name = error_name(w, &err);
        count_error(&w->r, name, 1, err.text);
        if (err.code == ERR_PEER && strcmp(name, "peer") == 0) { /* lost: the next request opens another */
            connection_close(w->connection);
            w->connection = NULL;
        }
        sleep_until(w->load, clock_us() + BACK_OFF_US);
    }
    return NULL;
}

/* ------------------------------------------------------------------ all of them */

static int prepare(struct worker *w, struct load *l, struct err *err)
{
    size_t outputs = (size_t)config_outputs(l->setup->grant->config);
    w->load = l;
    list_init(&w->r.first);
    list_init(&w->r.between);
    list_init(&w->r.request);
    w->ids = malloc((size_t)l->opts.prompt_tokens * sizeof *w->ids);
    w->logits = malloc(outputs * sizeof *w->logits);
    if (w->ids == NULL || w->logits == NULL)
        return err_oom(err, outputs * sizeof *w->logits);
    return l->opts.way == LOAD_GATEWAY ? stream_open(&w->stream, l->opts.port, err) : connect_worker(w, err);
}

static void join_list(struct load_list *to, const struct load_list *from)
{
    if (from->doubles.failed)
        to->doubles.failed = true;
    else
        buf_put(&to->doubles, from->doubles.data, from->doubles.len);
}

static int finish_list(struct load_list *list, struct err *err)
{
    stats_sort((void *)list->doubles.data, list->doubles.len / sizeof(double));
    return buf_check(&list->doubles, "samples of latency", err);
}

static int collect(struct load_result *out, const struct worker *w, int sessions, struct err *err)
{
    for (int i = 0; i < sessions; i++) {
        const struct load_result *r = &w[i].r;
        out->finished += r->finished;
        out->failed += r->failed;
        out->cut += r->cut;
        out->unserved += r->unserved;
        out->tokens += r->tokens;
        out->prompt_tokens += r->prompt_tokens;
        out->pass_us += r->pass_us;
        join_list(&out->first, &r->first);
        join_list(&out->between, &r->between);
        join_list(&out->request, &r->request);
        for (int b = 0; b < out->bucket_count; b++)
            out->bucket[b] += r->bucket[b];
        for (int e = 0; e < r->error_count; e++)
            count_error(out, r->errors[e].name, r->errors[e].count, r->errors[e].text);
    }
    return finish_list(&out->first, err) != 0 || finish_list(&out->between, err) != 0 ? -1 : finish_list(&out->request, err);
}

/* Of all threads, user and system. */
static double processor_s(void)
{
    struct rusage u = {0};
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static int run_all(struct load *l, struct worker *w, struct err *err)
{
    int started = 0;
    l->start = clock_us();
    l->end = l->start + (uint64_t)(l->opts.duration_s * 1e6);
    l->cut = l->end + (l->end - l->start);
    l->arrival = (double)l->start;
    while (started < l->opts.sessions && pthread_create(&w[started].thread, NULL, work, &w[started]) == 0)
        started++;
    if (started < l->opts.sessions)
        atomic_store(&l->abandoned, true);
    for (int i = 0; i < started; i++)
        (void)pthread_join(w[i].thread, NULL);
    return started == l->opts.sessions ? 0 : err_set(err, ERR_INTERNAL, "cannot start %d threads", l->opts.sessions);
}

/* On a connection of its own: none is kept idle while the load runs. */
static int read_stats(struct load *l, struct msg_stats *out, struct err *err)
{
    struct worker w = {.load = l};
    if (connect_worker(&w, err) != 0)
        return -1;
    int rc = client_stats(w.connection->channel, out, err);
    connection_close(w.connection);
    return rc;
}

int load_run(struct load_result *out, const struct setup *setup, const struct load_opts *opts, struct err *err)
{
    struct load l = {.setup = setup, .opts = *opts, .dice = {20261, 121, 7}};
    struct load_result r = {.bucket_s = fmax(opts->duration_s / LOAD_BUCKETS, BUCKET_MIN_S)};
    struct worker *w = calloc((size_t)opts->sessions, sizeof *w);
    int rc = -1;
    if (w == NULL)
        return err_oom(err, (size_t)opts->sessions * sizeof *w);
    r.bucket_count = (int)ceil(opts->duration_s / r.bucket_s);
    r.bucket_count = r.bucket_count > LOAD_BUCKETS ? LOAD_BUCKETS : r.bucket_count;
    l.bucket_us = opts->duration_s * 1e6 / r.bucket_count; /* whole buckets only */
    r.bucket_s = l.bucket_us / 1e6;
    list_init(&r.first);
    list_init(&r.between);
    list_init(&r.request);
    (void)pthread_mutex_init(&l.lock, NULL);
    for (int i = 0; i < opts->sessions; i++)
        if (prepare(&w[i], &l, err) != 0)
            goto done;
    r.users_s = -processor_s();
    if (read_stats(&l, &r.before, err) != 0 || run_all(&l, w, err) != 0)
        goto done;
    r.users_s += processor_s();
    r.wall_s = (double)(clock_us() - l.start) / 1e6;
    if (must_stop(&l)) { /* figures of half a run would look like those of a whole one */
        err_set(err, ERR_INTERNAL, "interrupted");
        goto done;
    }
    if (read_stats(&l, &r.after, err) != 0 ||
        collect(&r, w, opts->sessions, err) != 0)
        goto done;
    rc = 0;
done:
    for (int i = 0; i < opts->sessions; i++) {
        connection_close(w[i].connection);
        stream_close(w[i].stream);
        free(w[i].ids);
        free(w[i].logits);
        load_free(&w[i].r);
    }
    free(w);
    (void)pthread_mutex_destroy(&l.lock);
    if (rc == 0)
        *out = r;
    else
        load_free(&r);
    return rc;
}

void load_free(struct load_result *r)
{
    buf_free(&r->first.doubles);
    buf_free(&r->between.doubles);
    buf_free(&r->request.doubles);
}
