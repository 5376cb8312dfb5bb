#include "bench/baselines/smpc/runner.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "bench/interrupt.h"
#include "bench/process.h"
#include "bench/shapes.h"
#include "engine/embed.h"

#define START_MS 60000
#define END_MS 5000 /* of what has been heard of */
#define LOOK_MS 1000 /* how often a signal is looked for that came while nobody waited */

/* ------------------------------------------------------------------ twin */

int runner_twin(const struct job *job, float **rows, double *wraps, struct err *err)
{
    struct checkpoint *cp = NULL;
    struct embed *embed = NULL;
    struct party *p = NULL;
    struct network *n = NULL;
    float *x = NULL, *all = NULL;
    double *out = NULL;
    size_t words, at = 0;
    int rc = -1;
    if (checkpoint_open(&cp, job->model, CHECKPOINT_CORE | CHECKPOINT_EMBED, err) != 0 || embed_load(&embed, cp, err) != 0)
        goto done;
    const struct config *c = checkpoint_config(cp);
    const size_t D = (size_t)c->D, widest = (size_t)job_widest(job);
    x = malloc(widest * D * sizeof *x);
    out = malloc(widest * D * sizeof *out);
    all = malloc((size_t)job->total * D * sizeof *all);
    if (x == NULL || out == NULL || all == NULL) {
        err_oom(err, (size_t)job->total * D * sizeof *all);
        goto done;
    }
    if (network_words(&words, job->system, c, job->most, job_widest(job), err) != 0 ||
        party_open(&p, PARTY_TWIN, 0, job->system->parties, words, err) != 0 ||
        network_new(&n, p, job->system, c, cp, job->most, err) != 0)
        goto done;
    const int32_t *ids = job->ids;
    for (int i = 0; i < job->count; i++, ids += job->lengths[i - 1]) {
        network_restart(n);
        for (int t = 0, T; t < job->lengths[i]; t += T) {
            T = job->first > 0 && t > 0 ? 1 : job->first > 0 && job->first < job->lengths[i] ? job->first : job->lengths[i];
            if (embed_rows(embed, ids + t, NULL, T, t, x, err) != 0 || network_pass(n, x, T, out, NULL, err) != 0)
                goto done;
            for (size_t k = 0; k < (size_t)T * D; k++)
                all[at++] = (float)out[k];
        }
    }
    *wraps = p->expected_wraps;
    *rows = all;
    all = NULL;
    rc = 0;
done:
    network_free(n);
    party_close(p);
    embed_free(embed);
    checkpoint_close(cp);
    free(x);
    free(out);
    free(all);
    return rc;
}

/* ------------------------------------------------------------------ costs that need no run */

static int costs(const struct job *job, const struct config *c, int S, int T, struct runner_cost *out, struct err *err)
{
    struct party_cost cost;
    if (network_plan(&cost, job->system, c, S, T, err) != 0)
        return -1;
    out->bytes += (double)cost.bytes;
    out->path_bytes += (double)cost.path_bytes;
    out->rounds += (double)cost.rounds;
    out->offline_bytes += (double)cost.fixed * (job->system->parties == 2 ? 8 : 0);
    out->passes++;
    return 0;
}

/* Sums over all passes, by the plan. */
static int plan_all(const struct job *job, const struct config *c, struct runner_cost *first, struct runner_cost *steps, struct err *err)
{
    for (int i = 0; i < job->count; i++) {
        const int n = job->lengths[i], T = job->first > 0 && job->first < n ? job->first : n;
        if (costs(job, c, 0, T, first, err) != 0)
            return -1;
        for (int t = T; t < n; t++)
            if (costs(job, c, t, 1, steps, err) != 0)
                return -1;
    }
    return 0;
}

int runner_fits(const struct job *job, struct err *err)
{
    struct config c = {0};
    struct party_cost cost;
    struct sysinfo info;
    size_t words;
    const int parties = job->system->parties, T = job_widest(job);
    if (config_read(&c, job->model, err) != 0)
        return -1;
    int rc = network_words(&words, job->system, &c, job->most, T, err);
    if (rc == 0)
        rc = network_plan(&cost, job->system, &c, job->most - T, T, err);
    if (rc == 0 && sysinfo(&info) == 0) {
        /* Material of one layer at a time, in both parties; the dealer makes one product at a time. */
        const double needed = 8 * ((double)words * parties + 2 * (double)(cost.random + cost.fixed) / c.L);
        const double there = (double)info.totalram * info.mem_unit;
        if (needed > there)
            rc = err_set(err, ERR_USAGE, "%s: its parties need %.0f bytes of memory for this model and %d tokens, this machine has %.0f",
                         job->system->name, needed, job->most, there);
    }
    config_free(&c);
    return rc;
}

/* ------------------------------------------------------------------ processes */

void runner_line_set(const struct runner_line *line, int ends)
{
    if (line->tunnel != NULL)
        tunnel_set(line->tunnel, &(struct tunnel_line){.delay_ms = line->rtt_ms / 2, .rate_mbit = line->rate_mbit, .ends = ends});
}

struct child {
    struct process process, relay[PARTY_MAX]; /* [k]: what party k > this one goes through */
    char name[32], endpoint[PARTY_MAX][BARE_ENDPOINT];
    struct job_sum first, steps;
    bool ended;
};

/* Party k will connect to the relay instead. */
static int start_relay(struct child *c, int k, const char *program, const struct runner_line *line, struct err *err)
{
    char rtt[32], rate[32];
    struct json_doc *doc;
    (void)snprintf(rtt, sizeof rtt, "%g", line->rtt_ms);
    (void)snprintf(rate, sizeof rate, "%g", line->rate_mbit);
    char *argv[] = {(char *)(uintptr_t)program, "link", "--to", c->endpoint[k], "--rtt", rtt, "--rate", rate, "--json", NULL};
    if (process_start(&c->relay[k], "stip-bench link", argv, true, NULL, err) != 0 ||
        process_event(&c->relay[k], "ready", START_MS, &doc, err) != 0)
        return -1;
    const char *endpoint = json_string(json_get(json_root(doc), "endpoint"));
    (void)snprintf(c->endpoint[k], BARE_ENDPOINT, "%s", endpoint == NULL ? "" : endpoint);
    json_free(doc);
    return 0;
}

static int start_child(struct child *children, int index, const char *program, const char *dir, const struct tunnel *tunnel, struct err *err)
{
    struct child *c = &children[index];
    char number[12], earlier[PARTY_MAX * BARE_ENDPOINT] = "";
    for (int k = 0; k < index; k++)
        (void)snprintf(earlier + strlen(earlier), sizeof earlier - strlen(earlier), "%s%s", k == 0 ? "" : ",", children[k].endpoint[index]);
    (void)snprintf(number, sizeof number, "%d", index);
    char *argv[] = {(char *)(uintptr_t)program, "party", "--job", (char *)(uintptr_t)dir, "--index", number, "--connect", earlier,
                    "--at", (char *)(uintptr_t)(tunnel == NULL ? BARE_HERE : tunnel_address(index)), NULL};
    struct json_doc *doc;
    if (process_start_at(&c->process, c->name, argv, tunnel, index, err) != 0 ||
        process_event(&c->process, "listening", START_MS, &doc, err) != 0)
        return -1;
    int k = 0;
    for (const struct json *e = json_first(json_get(json_root(doc), "endpoints")); e != NULL && k < PARTY_MAX; e = json_next(e), k++)
        (void)snprintf(c->endpoint[k], BARE_ENDPOINT, "%s", json_string(e) == NULL ? "" : json_string(e));
    json_free(doc);
    return 0;
}

static int read_sum(const struct json_doc *doc, const char *name, struct job_sum *out, struct err *err)
{
    const struct json *o = json_get(json_root(doc), name);
    int64_t passes, v[5];
    static const char *const keys[] = {"offline_us", "online_us", "wait_us", "sent", "cpu_us"};
    if (json_get_int(doc, o, "passes", 0, 1 << 30, &passes, err) != 0)
        return -1;
    for (int i = 0; i < 5; i++)
        if (json_get_int(doc, o, keys[i], 0, (int64_t)1 << 52, &v[i], err) != 0)
            return -1;
    *out = (struct job_sum){(int)passes, (uint64_t)v[0], (uint64_t)v[1], (uint64_t)v[2], (uint64_t)v[3], (uint64_t)v[4]};
    return 0;
}

/* What a child says at its end, or that it has died. */
static int hear(struct child *c, struct err *err)
{
    struct json_doc *doc;
    int64_t code = ERR_INTERNAL;
    if (process_event(&c->process, "end", END_MS, &doc, err) != 0)
        return -1;
    c->ended = true;
    const char *text = json_string(json_get(json_root(doc), "text"));
    int rc = 0;
    if (!json_true(json_get(json_root(doc), "ok"))) {
        (void)json_integer(json_get(json_root(doc), "code"), &code);
        rc = err_set(err, (enum err_code)code, "%s: %s", c->name, text == NULL ? "failed" : text);
    } else if (read_sum(doc, "first", &c->first, err) != 0 || read_sum(doc, "steps", &c->steps, err) != 0) {
        rc = -1;
    }
    json_free(doc);
    return rc;
}

/* All children at once: who fails first is the cause. */
static int watch(struct child *children, int count, struct err *err)
{
    for (int left = count; left > 0;) {
        struct pollfd fds[PARTY_MAX];
        for (int i = 0; i < count; i++)
            fds[i] = (struct pollfd){.fd = children[i].ended ? -1 : children[i].process.out, .events = POLLIN};
        const int ready = poll(fds, (nfds_t)count, LOOK_MS);
        if (interrupt_seen())
            return err_set(err, ERR_INTERNAL, "interrupted");
        if (ready < 0)
            continue;
        for (int i = 0; i < count; i++)
            if (fds[i].fd >= 0 && fds[i].revents != 0) {
                if (hear(&children[i], err) != 0)
                    return -1;
                left--;
            }
    }
    return 0;
}

/* Means over the passes; the parties work at the same time, so the slowest counts. */
static void merge(struct runner_cost *out, const struct child *children, int parties, bool steps)
{
    double n = out->passes > 0 ? out->passes : 1;
    for (int i = 0; i < parties; i++) { /* three parties have no dealer, and no offline phase */
        const struct job_sum *s = steps ? &children[i].steps : &children[i].first;
        out->offline_s = parties == 2 ? fmax(out->offline_s, (double)s->offline_us / 1e6 / n) : 0;
        out->online_s = fmax(out->online_s, (double)s->online_us / 1e6 / n);
        out->cpu_s = fmax(out->cpu_s, (double)s->cpu_us / 1e6 / n);
        out->wait_s = fmax(out->wait_s, (double)s->wait_us / 1e6 / n);
    }
}

/* Sums of a plan -> means. */
static void mean(struct runner_cost *c)
{
    const double n = c->passes > 0 ? c->passes : 1;
    c->bytes /= n;
    c->path_bytes /= n;
    c->rounds /= n;
    c->offline_bytes /= n;
}

int runner_plan(const struct job *job, struct runner_result *out, struct err *err)
{
    struct runner_result r = {0};
    struct config c = {0};
    if (config_read(&c, job->model, err) != 0)
        return -1;
    int rc = plan_all(job, &c, &r.first, &r.steps, err);
    config_free(&c);
    if (rc != 0)
        return -1;
    mean(&r.first);
    mean(&r.steps);
    *out = r;
    return 0;
}

static int run_children(const struct job *job, const char *program, const char *dir, const struct runner_line *line, struct child *children,
                        struct err *err)
{
    const int count = mesh_count(job->system->parties);
    runner_line_set(line, job->system->parties);
    for (int i = 0; i < count; i++) {
        if (start_child(children, i, program, dir, line->tunnel, err) != 0)
            return -1;
        for (int k = i + 1; k < job->system->parties && line->tunnel == NULL && (line->rtt_ms > 0 || line->rate_mbit > 0); k++)
            if (start_relay(&children[i], k, program, line, err) != 0)
                return -1;
    }
    return watch(children, count, err);
}

int runner_run(const struct job *job, const char *program, const struct runner_line *line, struct runner_result *out, struct err *err)
{
    struct child children[PARTY_MAX] = {0};
    struct runner_result r = {0};
    struct config c = {0};
    char dir[FILE_PATH_MAX] = "", path[FILE_PATH_MAX], *rows = NULL;
    const int parties = job->system->parties;
    uint64_t sent = 0;
    size_t len;
    int rc = -1;
    for (int i = 0; i < PARTY_MAX; i++) {
        children[i].process.out = -1;
        for (int k = 0; k < PARTY_MAX; k++)
            children[i].relay[k].out = -1;
        (void)snprintf(children[i].name, sizeof children[i].name, i == parties && parties == 2 ? "dealer" : "party %d", i);
    }
    if (config_read(&c, job->model, err) != 0 || runner_fits(job, err) != 0 || plan_all(job, &c, &r.first, &r.steps, err) != 0 ||
        shapes_temp_dir(dir, err) != 0 || job_write(job, dir, err) != 0)
        goto done;
    const double planned = r.first.bytes + r.steps.bytes;
    if (run_children(job, program, dir, line, children, err) != 0) {
        err_wrap(err, "%s", job->system->name);
        goto done;
    }
    for (int i = 0; i < parties; i++)
        sent += children[i].first.sent + children[i].steps.sent;
    if ((double)sent != planned) {
        err_set(err, ERR_INTERNAL, "%s: %.0f bytes were planned, %llu were sent", job->system->name, planned, (unsigned long long)sent);
        goto done;
    }
    merge(&r.first, children, parties, false);
    merge(&r.steps, children, parties, true);
    mean(&r.first);
    mean(&r.steps);
    if (file_join(path, dir, JOB_ROWS, err) != 0 || file_read(path, (size_t)job->total * (size_t)c.D * sizeof(float), &rows, &len, err) != 0)
        goto done;
    r.rows = (void *)rows;
    *out = r;
    rc = 0;
done:
    for (int i = 0; i < PARTY_MAX; i++)
        (void)process_stop(&children[i].process);
    for (int i = 0; i < PARTY_MAX * PARTY_MAX; i++)
        (void)process_stop(&children[i / PARTY_MAX].relay[i % PARTY_MAX]);
    config_free(&c);
    shapes_drop_dir(dir);
    return rc;
}
