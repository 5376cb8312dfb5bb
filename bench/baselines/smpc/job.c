#include "bench/baselines/smpc/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "bench/process.h"
#include "engine/embed.h"

#define JOB_FILE "job.json"
#define JOB_CAP ((size_t)64 << 20)
#define TEXT_TOKENS_MAX 65536

/* ------------------------------------------------------------------ the file */

int job_write(const struct job *job, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX], run[2 * MESH_RUN + 1], *text = NULL;
    struct json_doc *doc = json_new_object(JOB_FILE);
    struct json *root = json_node(doc), *texts;
    crypto_hex(job->run, sizeof job->run, run);
    json_put_str(doc, root, "run", run);
    json_put_str(doc, root, "system", job->system->name);
    json_put_str(doc, root, "model", job->model);
    json_put_int(doc, root, "first", job->first);
    texts = json_put_array(doc, root, "texts");
    const int32_t *ids = job->ids;
    for (int i = 0; i < job->count; i++) {
        struct json *one = json_put_array(doc, texts, NULL);
        for (int t = 0; t < job->lengths[i]; t++)
            json_put_int(doc, one, NULL, *ids++);
    }
    int rc = json_print(doc, false, &text, err);
    json_free(doc);
    if (rc == 0)
        rc = file_join(path, dir, JOB_FILE, err);
    if (rc == 0)
        rc = file_write(path, text, strlen(text), 0600, err);
    free(text);
    return rc;
}

static int read_texts(struct job *job, const struct json_doc *doc, struct err *err)
{
    const struct json *texts = json_get(json_root(doc), "texts");
    const size_t count = json_count(texts);
    int total = 0;
    job->lengths = calloc(count + 1, sizeof *job->lengths);
    if (job->lengths == NULL)
        return err_oom(err, count * sizeof *job->lengths);
    for (const struct json *one = json_first(texts); one != NULL; one = json_next(one)) {
        const size_t n = json_count(one);
        if (n < 1 || n > TEXT_TOKENS_MAX || total > (1 << 24))
            return err_set(err, ERR_INPUT, "%s: texts: expected 1 to %d tokens each, found %zu", json_name(doc), TEXT_TOKENS_MAX, n);
        job->lengths[job->count++] = (int)n;
        job->most = (int)n > job->most ? (int)n : job->most;
        total += (int)n;
    }
    job->ids = calloc((size_t)total + 1, sizeof *job->ids);
    if (job->ids == NULL)
        return err_oom(err, (size_t)total * sizeof *job->ids);
    for (const struct json *one = json_first(texts); one != NULL; one = json_next(one))
        for (const struct json *id = json_first(one); id != NULL; id = json_next(id)) {
            int64_t v;
            if (!json_integer(id, &v) || v < 0 || v > INT32_MAX)
                return err_set(err, ERR_INPUT, "%s: texts: a token is no id", json_name(doc));
            job->ids[job->total++] = (int32_t)v;
        }
    return 0;
}

int job_read(struct job *out, const char *dir, struct err *err)
{
    struct job job = {0};
    struct json_doc *doc = NULL;
    char path[FILE_PATH_MAX];
    const char *run, *system, *model;
    int64_t first = 0;
    int rc = -1;
    if (file_join(path, dir, JOB_FILE, err) != 0 || json_load(&doc, path, JOB_CAP, false, err) != 0 ||
        json_get_str(doc, json_root(doc), "run", &run, err) != 0 || json_get_str(doc, json_root(doc), "system", &system, err) != 0 ||
        json_get_str(doc, json_root(doc), "model", &model, err) != 0 ||
        json_get_int(doc, json_root(doc), "first", 0, TEXT_TOKENS_MAX, &first, err) != 0 || read_texts(&job, doc, err) != 0)
        goto done;
    job.first = (int)first;
    job.system = network_system(system);
    (void)snprintf(job.model, sizeof job.model, "%s", model);
    if (job.system == NULL || !crypto_unhex(run, job.run, sizeof job.run) || job.count < 1) {
        err_set(err, ERR_INPUT, "%s: no known system, no run or no text", path);
        goto done;
    }
    *out = job;
    job = (struct job){0};
    rc = 0;
done:
    job_free(&job);
    json_free(doc);
    return rc;
}

void job_free(struct job *job)
{
    free(job->lengths);
    free(job->ids);
    job->lengths = NULL;
    job->ids = NULL;
}

int job_widest(const struct job *job)
{
    return job->first > 0 && job->first < job->most ? job->first : job->most;
}

/* ------------------------------------------------------------------ a party */

struct worker {
    struct job job;
    const char *dir;
    int index;
    struct transport *transport;
    struct mesh *mesh;
    struct checkpoint *checkpoint;
    struct config config;
    struct embed *embed;
    struct party *party;
    struct network *network;
    float *rows;   /* user: of one pass */
    double *out;
    float *all;    /* user: outputs of all passes */
    size_t written;
    struct job_sum first, steps;
};

static bool is_user(const struct worker *w)
{
    return w->index == 1;
}

static int listen_and_connect(struct worker *w, const char *at, const char *endpoints, struct err *err)
{
    char endpoint[PARTY_MAX][BARE_ENDPOINT], one[BARE_ENDPOINT];
    if (transport_open(&w->transport, err) != 0 || mesh_open(&w->mesh, w->transport, w->index, w->job.system->parties, at, endpoint, err) != 0)
        return -1;
    printf("{\"event\":\"listening\",\"endpoints\":[\"%s\",\"%s\",\"%s\",\"%s\"]}\n", endpoint[0], endpoint[1], endpoint[2], endpoint[3]);
    (void)fflush(stdout);
    for (int to = 0; to < w->index; to++) {
        const size_t n = strcspn(endpoints, ",");
        (void)snprintf(one, sizeof one, "%.*s", (int)n, endpoints);
        if (mesh_connect(w->mesh, to, one, err) != 0)
            return -1;
        endpoints += endpoints[n] == ',' ? n + 1 : n;
    }
    return 0;
}

static int set_up(struct worker *w, struct err *err)
{
    const int parties = w->job.system->parties, cap = w->job.most;
    const bool dealer = w->index >= parties;
    size_t words = 0;
    if (config_read(&w->config, w->job.model, err) != 0)
        return -1;
    const size_t D = (size_t)w->config.D, widest = (size_t)job_widest(&w->job);
    if (!dealer && network_words(&words, w->job.system, &w->config, cap, (int)widest, err) != 0)
        return -1;
    if (w->index == 0 && checkpoint_open(&w->checkpoint, w->job.model, CHECKPOINT_CORE, err) != 0)
        return -1;
    if (is_user(w)) {
        if (checkpoint_open(&w->checkpoint, w->job.model, CHECKPOINT_EMBED, err) != 0 || embed_load(&w->embed, w->checkpoint, err) != 0)
            return -1;
        w->rows = malloc(widest * D * sizeof *w->rows);
        w->out = malloc(widest * D * sizeof *w->out);
        w->all = malloc((size_t)w->job.total * D * sizeof *w->all);
        if (w->rows == NULL || w->out == NULL || w->all == NULL)
            return err_oom(err, (size_t)w->job.total * D * sizeof *w->all);
    }
    if (party_open(&w->party, dealer ? PARTY_DEAL : PARTY_RUN, dealer ? 0 : w->index, parties, words, err) != 0 ||
        mesh_greet(w->mesh, w->job.run, w->party, err) != 0)
        return -1;
    return network_new(&w->network, w->party, w->job.system, &w->config, w->index == 0 ? w->checkpoint : NULL, cap, err);
}

static int one_pass(struct worker *w, const int32_t *ids, int at, int T, struct job_sum *sum, struct err *err)
{
    struct party *p = w->party;
    struct network_times times;
    const uint64_t sent = p->sent_bytes, wait = p->wait_us;
    if (is_user(w) && embed_rows(w->embed, ids, NULL, T, at, w->rows, err) != 0)
        return -1;
    if (network_pass(w->network, w->rows, T, w->out, &times, err) != 0)
        return -1;
    sum->passes++;
    sum->offline_us += times.offline_us;
    sum->online_us += times.online_us;
    sum->cpu_us += times.cpu_us;
    sum->sent += p->sent_bytes - sent;
    sum->wait_us += p->wait_us - wait;
    for (size_t i = 0; is_user(w) && i < (size_t)T * (size_t)w->config.D; i++)
        w->all[w->written++] = (float)w->out[i];
    return 0;
}

static int run_texts(struct worker *w, struct err *err)
{
    const int32_t *ids = w->job.ids;
    for (int i = 0; i < w->job.count; i++) {
        const int n = w->job.lengths[i], first = w->job.first > 0 && w->job.first < n ? w->job.first : n;
        network_restart(w->network);
        if (one_pass(w, ids, 0, first, &w->first, err) != 0)
            return -1;
        for (int t = first; t < n; t++)
            if (one_pass(w, ids + t, t, 1, &w->steps, err) != 0)
                return -1;
        ids += n;
    }
    if (!is_user(w))
        return 0;
    char path[FILE_PATH_MAX];
    if (file_join(path, w->dir, JOB_ROWS, err) != 0)
        return -1;
    return file_write(path, w->all, w->written * sizeof *w->all, 0600, err);
}

static void put_sum(struct json_doc *doc, const char *name, const struct job_sum *s)
{
    struct json *o = json_put_object(doc, json_node(doc), name);
    json_put_int(doc, o, "passes", s->passes);
    json_put_int(doc, o, "offline_us", (int64_t)s->offline_us);
    json_put_int(doc, o, "online_us", (int64_t)s->online_us);
    json_put_int(doc, o, "wait_us", (int64_t)s->wait_us);
    json_put_int(doc, o, "sent", (int64_t)s->sent);
    json_put_int(doc, o, "cpu_us", (int64_t)s->cpu_us);
}

static int say_end(const struct worker *w, int rc, struct err *err)
{
    struct json_doc *doc = json_new_object("end");
    char *text = NULL;
    struct err failed;
    json_put_str(doc, json_node(doc), "event", "end");
    json_put_bool(doc, json_node(doc), "ok", rc == 0);
    if (rc != 0) {
        json_put_int(doc, json_node(doc), "code", err->code);
        json_put_str(doc, json_node(doc), "text", err->text);
    }
    put_sum(doc, "first", &w->first);
    put_sum(doc, "steps", &w->steps);
    if (json_print(doc, false, &text, &failed) == 0)
        puts(text);
    (void)fflush(stdout);
    free(text);
    json_free(doc);
    return rc;
}

int job_party(const char *dir, int index, const char *at, const char *endpoints, struct err *err)
{
    struct worker w = {.dir = dir, .index = index};
    process_keep_pages();
    int rc = job_read(&w.job, dir, err);
    if (rc == 0 && (index < 0 || index >= mesh_count(w.job.system->parties)))
        rc = err_set(err, ERR_USAGE, "--index: %s has parties 0 to %d, found %d", w.job.system->name, mesh_count(w.job.system->parties) - 1, index);
    if (rc == 0)
        rc = listen_and_connect(&w, at, endpoints, err);
    if (rc == 0)
        rc = set_up(&w, err);
    if (rc == 0)
        rc = run_texts(&w, err);
    rc = say_end(&w, rc, err);
    network_free(w.network);
    party_close(w.party);
    mesh_close(w.mesh);
    transport_close(w.transport);
    embed_free(w.embed);
    checkpoint_close(w.checkpoint);
    config_free(&w.config);
    job_free(&w.job);
    free(w.rows);
    free(w.out);
    free(w.all);
    return rc;
}
