#include "bench/baselines/he/primer_run.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "bench/interrupt.h"
#include "bench/process.h"
#include "bench/shapes.h"

#define START_MS 60000
#define PRIMER_QUEUE 8 /* messages of 1 MB: a garbler is quicker than who stores, and gigabytes would wait in new pages. The parties take turns */
#define END_MS 5000 /* of what has been heard of */
#define LOOK_MS 1000 /* how often a signal is looked for that came while nobody waited */

static const char *const sum_keys[] = {"setup_us", "offline_us", "online_us", "online_cpu_us", "wait_us", "pages_us", "products_us", "transfers_us", "tables_us", "setup_sent", "offline_sent", "online_sent",
                                       "messages", "gates"};
#define SUMS (sizeof sum_keys / sizeof *sum_keys)

static void sums_of(struct primer_sums *s, uint64_t *to[SUMS])
{
    uint64_t *all[] = {&s->setup_us, &s->offline_us, &s->online_us, &s->online_cpu_us, &s->wait_us, &s->pages_us, &s->products_us, &s->transfers_us, &s->tables_us, &s->setup_sent, &s->offline_sent, &s->online_sent,
                       &s->messages, &s->gates};
    memcpy(to, all, sizeof all);
}

/* ------------------------------------------------------------------ a process */

static int say_end(int rc, struct primer_sums *sums, struct err *err)
{
    struct json_doc *doc = json_new_object("end");
    uint64_t *v[SUMS];
    char *text = NULL;
    struct err failed;
    sums_of(sums, v);
    json_put_str(doc, json_node(doc), "event", "end");
    json_put_bool(doc, json_node(doc), "ok", rc == 0);
    if (rc != 0) {
        json_put_int(doc, json_node(doc), "code", err->code);
        json_put_str(doc, json_node(doc), "text", err->text);
    }
    for (size_t i = 0; i < SUMS; i++)
        json_put_int(doc, json_node(doc), sum_keys[i], (int64_t)*v[i]);
    json_put_num(doc, json_node(doc), "he_us", sums->he_us);
    if (json_print(doc, false, &text, &failed) == 0)
        puts(text);
    (void)fflush(stdout);
    free(text);
    json_free(doc);
    return rc;
}

static int server(struct bare **line, struct transport *t, const char *dir, const char *at, struct encoder *m, struct checkpoint **cp, struct err *err)
{
    char endpoint[BARE_ENDPOINT];
    if (checkpoint_open(cp, dir, CHECKPOINT_CORE, err) != 0 || encoder_read(m, *cp, err) != 0 || bare_listen(line, t, at, PRIMER_QUEUE, endpoint, err) != 0)
        return -1;
    printf("{\"event\":\"listening\",\"endpoint\":\"%s\"}\n", endpoint);
    (void)fflush(stdout);
    return 0;
}

/* Shape without weights; its rows. */
static int client(struct bare **line, struct transport *t, const char *dir, const char *rows, int T, const char *endpoint, struct encoder *m, double **x,
                  struct err *err)
{
    struct config c = {0};
    size_t len = 0;
    char *bytes = NULL;
    if (config_read(&c, dir, err) != 0)
        return -1;
    *m = (struct encoder){.L = c.L, .D = c.D, .H = c.H, .K = c.K, .F = c.F, .eps = c.norm_eps};
    config_free(&c);
    const size_t n = (size_t)T * (size_t)m->D * sizeof **x;
    if (file_read(rows, n, &bytes, &len, err) != 0)
        return -1;
    *x = (void *)bytes;
    if (len != n)
        return err_set(err, ERR_INPUT, "%s: expected %zu bytes, found %zu", rows, n, len);
    return bare_connect(line, t, endpoint, PRIMER_QUEUE, err);
}

static int take_pages(const struct encoder *m, int T, uint64_t *us, struct err *err)
{
    const uint64_t start = clock_us();
    double bytes;
    if (primer_memory(m, T, &bytes, err) != 0)
        return -1;
    process_take_pages(bytes);
    *us = clock_us() - start;
    return 0;
}

int primer_process(const char *dir, const char *rows, int T, const char *at, const char *endpoint, struct err *err)
{
    struct transport *t = NULL;
    struct bare *line = NULL;
    struct checkpoint *cp = NULL;
    struct encoder m = {0};
    struct primer_sums sums = {0};
    double *x = NULL;
    process_keep_pages();
    const enum primer_role role = endpoint == NULL ? PRIMER_SERVER : PRIMER_CLIENT;
    int rc = transport_open(&t, err);
    uint64_t pages_us = 0;
    if (rc == 0)
        rc = role == PRIMER_SERVER ? server(&line, t, dir, at, &m, &cp, err) : client(&line, t, dir, rows, T, endpoint, &m, &x, err);
    if (rc == 0 && role == PRIMER_CLIENT)
        rc = take_pages(&m, T, &pages_us, err);
    if (rc == 0)
        rc = primer_party(role, line, &m, T, x, false, PRIMER_TIMEOUT_MS, &sums, err);
    sums.pages_us = pages_us;
    if (rc == 0 && role == PRIMER_CLIENT)
        rc = file_write(rows, x, (size_t)T * (size_t)m.D * sizeof *x, 0600, err);
    rc = say_end(rc, &sums, err);
    bare_close(line);
    transport_close(t);
    encoder_free(&m);
    checkpoint_close(cp);
    free(x);
    return rc;
}

/* ------------------------------------------------------------------ both, watched */

struct run {
    struct process process[2], relay;
    struct primer_sums sums[2];
    bool ended[2];
};

static const char *const names[] = {"the client", "the server"};

static int announced(struct process *p, const char *event, char *endpoint, struct err *err)
{
    struct json_doc *doc;
    if (process_event(p, event, START_MS, &doc, err) != 0)
        return -1;
    const char *text = json_string(json_get(json_root(doc), "endpoint"));
    (void)snprintf(endpoint, BARE_ENDPOINT, "%s", text == NULL ? "" : text);
    json_free(doc);
    return 0;
}

static int hear(struct run *r, int who, struct err *err)
{
    struct json_doc *doc;
    int64_t code = ERR_INTERNAL, n;
    uint64_t *v[SUMS];
    int rc = 0;
    if (process_event(&r->process[who], "end", END_MS, &doc, err) != 0)
        return -1;
    r->ended[who] = true;
    const char *text = json_string(json_get(json_root(doc), "text"));
    sums_of(&r->sums[who], v);
    if (!json_true(json_get(json_root(doc), "ok"))) {
        (void)json_integer(json_get(json_root(doc), "code"), &code);
        rc = err_set(err, (enum err_code)code, "%s: %s", names[who], text == NULL ? "failed" : text);
    }
    for (size_t i = 0; rc == 0 && i < SUMS; i++) {
        rc = json_get_int(doc, json_root(doc), sum_keys[i], 0, (int64_t)1 << 52, &n, err);
        *v[i] = rc == 0 ? (uint64_t)n : 0;
    }
    if (rc == 0)
        rc = json_get_num(doc, json_root(doc), "he_us", &r->sums[who].he_us, err);
    json_free(doc);
    return rc;
}

/* Both at once: who fails first is the cause. */
static int watch(struct run *r, struct err *err)
{
    for (int left = 2; left > 0;) {
        struct pollfd fds[2];
        for (int i = 0; i < 2; i++)
            fds[i] = (struct pollfd){.fd = r->ended[i] ? -1 : r->process[i].out, .events = POLLIN};
        const int ready = poll(fds, 2, LOOK_MS);
        if (interrupt_seen())
            return err_set(err, ERR_INTERNAL, "interrupted");
        if (ready < 0)
            continue;
        for (int i = 0; i < 2; i++)
            if (fds[i].fd >= 0 && fds[i].revents != 0) {
                if (hear(r, i, err) != 0)
                    return -1;
                left--;
            }
    }
    return 0;
}

static int start(struct run *r, const char *program, const char *dir, const char *rows, int T, const struct runner_line *line, struct err *err)
{
    char tokens[16], endpoint[BARE_ENDPOINT], rtt[32], rate[32], *const self = (char *)(uintptr_t)program;
    (void)snprintf(tokens, sizeof tokens, "%d", T);
    struct tunnel *const tunnel = line == NULL ? NULL : line->tunnel;
    if (line != NULL)
        runner_line_set(line, 2);
    char *serve[] = {self, "primer-party", "--model", (char *)(uintptr_t)dir, "--tokens", tokens, "--at",
                     (char *)(uintptr_t)(tunnel == NULL ? BARE_HERE : tunnel_address(PRIMER_SERVER)), NULL};
    if (process_start_at(&r->process[PRIMER_SERVER], names[PRIMER_SERVER], serve, tunnel, PRIMER_SERVER, err) != 0 ||
        announced(&r->process[PRIMER_SERVER], "listening", endpoint, err) != 0)
        return -1;
    if (line != NULL && tunnel == NULL && (line->rtt_ms > 0 || line->rate_mbit > 0)) {
        (void)snprintf(rtt, sizeof rtt, "%g", line->rtt_ms);
        (void)snprintf(rate, sizeof rate, "%g", line->rate_mbit);
        char *relay[] = {self, "link", "--to", endpoint, "--rtt", rtt, "--rate", rate, "--json", NULL};
        if (process_start(&r->relay, "stip-bench link", relay, true, NULL, err) != 0 || announced(&r->relay, "ready", endpoint, err) != 0)
            return -1;
    }
    char *ask[] = {self, "primer-party", "--model", (char *)(uintptr_t)dir, "--tokens", tokens, "--rows", (char *)(uintptr_t)rows, "--connect", endpoint, NULL};
    return process_start_at(&r->process[PRIMER_CLIENT], names[PRIMER_CLIENT], ask, tunnel, PRIMER_CLIENT, err);
}

static void differences(double *most, double *mean, const double *x, const double *y, size_t n)
{
    *most = *mean = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs(x[i] - y[i]);
        *most = fmax(*most, d);
        *mean += d / (double)n;
    }
}

static void describe(struct compare_row *row, const struct run *r, const char *shape, int T)
{
    const struct primer_sums *c = &r->sums[PRIMER_CLIENT], *s = &r->sums[PRIMER_SERVER];
    *row = compare_row_empty(COMPARE_MEASURED);
    (void)snprintf(row->system, sizeof row->system, "primer");
    (void)snprintf(row->shape, sizeof row->shape, "%.24s, %d tokens", shape, T);
    (void)snprintf(row->protects, sizeof row->protects, "input, hidden values and weights, between two semi-honest parties");
    (void)snprintf(row->note, sizeof row->note,
                   "BFV N 8192, tokens first; half gates, %.3g AND; before the clock: pages of tables %.2g s; offline: keys %.3g MB in %.2g s, BFV products %.3g s, transfers %.3g s, tables %.3g s; online %.3g + "
                   "%.3g s of processor, client and server; not encrypted on the line",
                   (double)c->gates, (double)c->pages_us / 1e6, (double)(c->setup_sent + s->setup_sent) / 1e6, (double)c->setup_us / 1e6, (double)c->products_us / 1e6,
                   (double)c->transfers_us / 1e6, (double)c->tables_us / 1e6, (double)c->online_cpu_us / 1e6, (double)s->online_cpu_us / 1e6);
    row->offline_s = (double)(c->setup_us + c->offline_us) / 1e6;
    row->online_s = (double)c->online_us / 1e6;
    row->wait_s = (double)c->wait_us / 1e6;
    row->offline_bytes = (double)(c->setup_sent + c->offline_sent + s->setup_sent + s->offline_sent);
    row->bytes = (double)(c->online_sent + s->online_sent);
    row->rounds = (double)c->messages;
    row->tokens = T;
}

int primer_measure(struct compare_row *row, const struct checkpoint *cp, const char *dir, const char *shape, const int32_t *ids, int T,
                   const char *program, const struct runner_line *line, double *hidden, struct err *err)
{
    struct run r = {.process = {{.out = -1}, {.out = -1}}, .relay = {.out = -1}};
    struct encoder m = {0};
    char temp[FILE_PATH_MAX] = "", rows[FILE_PATH_MAX], *bytes = NULL;
    size_t len = 0;
    int rc = -1;
    if (encoder_read(&m, cp, err) != 0)
        return -1;
    const size_t n = (size_t)T * (size_t)m.D;
    double *exact = malloc(2 * n * sizeof *exact), *twin = exact == NULL ? NULL : exact + n;
    if (exact == NULL) {
        err_oom(err, 2 * n * sizeof *exact);
        goto done;
    }
    if (encoder_embed(cp, ids, T, exact, err) != 0 || shapes_temp_dir(temp, err) != 0 || file_join(rows, temp, "rows.f64", err) != 0 ||
        file_write(rows, exact, n * sizeof *exact, 0600, err) != 0)
        goto done;
    memcpy(twin, exact, n * sizeof *exact);
    for (int l = 0; l < m.L; l++)
        if (encoder_exact(&m, l, exact, T, err) != 0 || primer_twin(&m, l, twin, T, err) != 0)
            goto done;
    if (start(&r, program, dir, rows, T, line, err) != 0 || watch(&r, err) != 0) {
        err_wrap(err, "primer");
        goto done;
    }
    if (file_read(rows, n * sizeof *exact, &bytes, &len, err) != 0)
        goto done;
    describe(row, &r, shape, T);
    differences(&row->max_err, &row->mean_err, (const double *)(const void *)bytes, exact, n);
    differences(&row->own_max_err, &row->own_mean_err, (const double *)(const void *)bytes, twin, n);
    if (hidden != NULL)
        memcpy(hidden, bytes, n * sizeof *hidden);
    rc = 0;
done:
    for (int i = 0; i < 2; i++)
        (void)process_stop(&r.process[i]);
    (void)process_stop(&r.relay);
    shapes_drop_dir(temp);
    encoder_free(&m);
    free(exact);
    free(bytes);
    return rc;
}
