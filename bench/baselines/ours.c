#include "bench/baselines/ours.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "bench/stage.h"
#include "user/sample.h"
#include "user/setup.h"

/* One of ours. `pass` is timed; `rest` then fetches what it has not asked for, so that all rows can be compared. */
struct runner {
    void (*restart)(void *arg);
    int (*pass)(void *arg, const int32_t *ids, int T, float *rows, struct err *err);
    int (*rest)(void *arg, const int32_t *ids, int T, float *rows, struct err *err);
    uint64_t (*bytes)(void *arg);
};

/* Cuts the texts of a job into passes, as its parties do, and adds up. */

static int run_job(const struct runner *run, void *arg, const struct job *job, size_t D, struct runner_result *out, struct err *err)
{
    struct runner_result r = {0};
    const int32_t *ids = job->ids;
    size_t at = 0;
    r.rows = malloc((size_t)job->total * D * sizeof *r.rows);
    if (r.rows == NULL)
        return err_oom(err, (size_t)job->total * D * sizeof *r.rows);
    for (int i = 0; i < job->count; i++) {
        const int n = job->lengths[i];
        run->restart(arg);
        for (int t = 0, T; t < n; t += T) {
            T = t > 0 ? 1 : job->first > 0 && job->first < n ? job->first : n;
            struct runner_cost *c = t > 0 ? &r.steps : &r.first;
            const uint64_t before = run->bytes(arg), start = clock_us();
            int rc = run->pass(arg, ids + t, T, r.rows + at * D, err);
            c->online_s += (double)(clock_us() - start) / 1e6;
            c->bytes += (double)(run->bytes(arg) - before);
            c->passes++;
            if (rc == 0)
                rc = run->rest(arg, ids + t, T, r.rows + at * D, err);
            if (rc != 0) {
                free(r.rows);
                return -1;
            }
            at += (size_t)T;
        }
        ids += n;
    }
    for (int k = 0; k < 2; k++) {
        struct runner_cost *c = k == 0 ? &r.first : &r.steps;
        c->online_s /= c->passes > 0 ? c->passes : 1;
        c->bytes /= c->passes > 0 ? c->passes : 1;
        c->path_bytes = c->bytes;
        c->offline_s = c->offline_bytes = c->wait_s = NAN;
    }
    *out = r;
    return 0;
}

/* ------------------------------------------------------------------ plain */

int ours_plain_open(struct ours_plain *out, const struct job *job, struct err *err)
{
    struct ours_plain o = {0};
    if (plain_open(&o.plain, job->model, false, job->most, COMPUTE_F32, err) != 0)
        return -1;
    if (o.plain.config->head == HEAD_CLASSIFY && head_load(&o.head, o.plain.cp, COMPUTE_F32, err) != 0) {
        ours_plain_close(&o);
        return -1;
    }
    *out = o;
    return 0;
}

void ours_plain_close(struct ours_plain *o)
{
    head_free(o->head);
    plain_close(&o->plain);
}

static int plain_pass(void *arg, const int32_t *ids, int T, float *rows, struct err *err)
{
    struct ours_plain *o = arg;
    return plain_append(&o->plain, ids, NULL, T, T, rows, err);
}

static int plain_rest(void *arg, const int32_t *ids, int T, float *rows, struct err *err)
{
    (void)arg, (void)ids, (void)T, (void)rows, (void)err;
    return 0;
}

static uint64_t plain_bytes(void *arg)
{
    (void)arg;
    return 0;
}

static void plain_restart(void *arg)
{
    struct ours_plain *o = arg;
    kvcache_truncate(o->plain.kv, 0);
}

int ours_plain_run(struct ours_plain *o, const struct job *job, struct runner_result *out, struct err *err)
{
    static const struct runner run = {plain_restart, plain_pass, plain_rest, plain_bytes};
    return run_job(&run, o, job, (size_t)o->plain.config->D, out, err);
}

int ours_label(const struct ours_plain *o, const float *row, int *out, struct err *err)
{
    const struct config *c = o->plain.config;
    void *work;
    float *logits = malloc((size_t)config_outputs(c) * sizeof *logits);
    if (logits == NULL)
        return err_oom(err, (size_t)config_outputs(c) * sizeof *logits);
    int rc = head_work_new(&work, o->head, 1, err);
    if (rc == 0) {
        head_apply(c, o->head, row, 1, work, logits);
        *out = sample_argmax(logits, config_outputs(c));
        free(work);
    }
    free(logits);
    return rc;
}

/* ------------------------------------------------------------------ ours */

struct ours_stip {
    struct stage *stage;
    struct setup setup;
    struct session *session;
    const struct runner_line *line;
};

int ours_stip_open(struct ours_stip **out, const struct job *job, int threads, const struct runner_line *line, struct err *err)
{
    char number[12], rtt[32], rate[32], config[FILE_PATH_MAX];
    const bool slow = line->tunnel == NULL && (line->rtt_ms > 0 || line->rate_mbit > 0);
    (void)snprintf(number, sizeof number, "%d", threads);
    (void)snprintf(rtt, sizeof rtt, "%g", line->rtt_ms);
    (void)snprintf(rate, sizeof rate, "%g", line->rate_mbit);
    struct cli_opt stage_opts[] = {{"head", "WHERE", "", "user", false},
                                   {"threads", "N", "", number, false},
                                   {"rtt", "MS", "", slow ? rtt : NULL, false},
                                   {"rate", "MBIT", "", slow ? rate : NULL, false},
                                   {NULL, NULL, NULL, NULL, false}};
    const struct cli_cmd stage_cmd = {.name = "compare", .example = "", .opts = stage_opts};
    struct cli_opt user_opts[] = {{"config", "FILE", "", config, false}, {NULL, NULL, NULL, NULL, false}};
    const struct cli_cmd user_cmd = {.name = "compare", .example = "", .opts = user_opts};
    struct ours_stip *o = calloc(1, sizeof *o);
    if (o == NULL)
        return err_oom(err, sizeof *o);
    o->line = line;
    int rc = stage_open_at(&o->stage, job->model, &stage_cmd, line->tunnel, err);
    if (line->tunnel != NULL) /* the threads that connect are made there */
        tunnel_enter(line->tunnel, TUNNEL_USER);
    if (rc == 0 && (file_join(config, stage_dir(o->stage), "user.json", err) != 0 || setup_read(&o->setup, &user_cmd, err) != 0 ||
                    setup_connect(&o->setup, &user_cmd, err) != 0 ||
                    session_open(&o->session, o->setup.connection, job->most, job_widest(job), err) != 0))
        rc = -1;
    if (line->tunnel != NULL)
        tunnel_leave(line->tunnel);
    if (rc != 0) {
        ours_stip_close(o);
        return -1;
    }
    *out = o;
    return 0;
}

void ours_stip_close(struct ours_stip *o)
{
    if (o == NULL)
        return;
    session_close(o->session);
    setup_close(&o->setup);
    if (o->stage != NULL)
        stage_close(o->stage, false);
    free(o);
}

static int stip_pass(void *arg, const int32_t *ids, int T, float *rows, struct err *err)
{
    struct ours_stip *o = arg;
    const int wanted = o->setup.grant->config->causal ? T - 1 : 0;
    return session_hidden_rows(o->session, ids, T, wanted, 1, rows + (size_t)wanted * (size_t)o->setup.grant->config->D, err);
}

static int stip_rest(void *arg, const int32_t *ids, int T, float *rows, struct err *err)
{
    struct ours_stip *o = arg;
    const struct config *c = o->setup.grant->config;
    const int most = session_outputs(o->session), earlier = c->causal ? session_length(o->session) - T : 0;
    for (int from = 0; T > 1 && from < T; from += most) {
        session_rewind(o->session, earlier);
        if (session_hidden_rows(o->session, ids, T, from, T - from < most ? T - from : most, rows + (size_t)from * (size_t)c->D, err) != 0)
            return -1;
    }
    return 0;
}

static uint64_t stip_bytes(void *arg)
{
    struct ours_stip *o = arg;
    struct channel_stats s = channel_stats(o->setup.connection->channel);
    return s.bytes_up + s.bytes_down;
}

static void stip_restart(void *arg)
{
    struct ours_stip *o = arg;
    session_rewind(o->session, 0); /* tells the server with the next rows */
}

int ours_stip_run(struct ours_stip *o, const struct job *job, struct runner_result *out, struct err *err)
{
    static const struct runner run = {stip_restart, stip_pass, stip_rest, stip_bytes};
    runner_line_set(o->line, TUNNEL_SIDES);
    if (run_job(&run, o, job, (size_t)o->setup.grant->config->D, out, err) != 0)
        return -1;
    /* Rows up, rows down: the server waits for the one, the user for the other. */
    out->first.rounds = out->steps.rounds = 2;
    return 0;
}
