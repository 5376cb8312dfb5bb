#include "bench/load_report.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/threads.h"
#include "bench/plot.h"
#include "bench/stats.h"
#include "user/report.h"

static double per_second(uint64_t tokens, const struct load_opts *o)
{
    return (double)tokens / o->duration_s;
}

/* Share of the time between the two looks at the server in which it computed. */
static double busy(const struct load_result *r)
{
    double wall = (double)(r->after.uptime_ms - r->before.uptime_ms) * 1e3;
    return wall <= 0 ? 0 : (double)(r->after.busy_us - r->before.busy_us) / wall;
}

/* Users that the server computed for together, a mean over the time in which it computed: each of them waited through their pass. */
static double together(const struct load_result *r)
{
    const uint64_t busy_us = r->after.busy_us - r->before.busy_us;
    return busy_us == 0 ? 0 : (double)r->pass_us / (double)busy_us;
}

/* Share of this machine's processors that the users took. */
static double users_share(const struct load_result *r)
{
    return r->wall_s <= 0 ? 0 : r->users_s / (r->wall_s * threads_cpus());
}

/* Of a server on the same machine: tokens per second of the processor time that its users left. */
static double rest_per_second(const struct load_result *r, const struct load_opts *o)
{
    const double share = users_share(r);
    return share >= 1 ? 0 : per_second(r->tokens, o) / (1 - share);
}

/* ------------------------------------------------------------------ text and JSON */

static void print_latency(const char *name, const struct load_list *list)
{
    size_t n;
    const double *v = load_values(list, &n);
    if (n > 0)
        printf("%-20s p50 %9.2f   p95 %9.2f   p99 %9.2f   most %9.2f ms\n", name, stats_percentile(v, n, 50), stats_percentile(v, n, 95),
               stats_percentile(v, n, 99), v[n - 1]);
}

void load_report_text(const struct load_result *r, const struct load_opts *o)
{
    printf("%d users, %d + %d tokens, ", o->sessions, o->prompt_tokens, o->max_tokens);
    if (o->rps > 0)
        printf("%.3g requests per second", o->rps);
    else
        printf("each asks again at once");
    printf(", %.1f s\nrequests             %llu answered, %llu failed, %llu cut by time, %llu never begun\n", o->duration_s,
           (unsigned long long)r->finished, (unsigned long long)r->failed, (unsigned long long)r->cut, (unsigned long long)r->unserved);
    printf("tokens per second    %.1f answered, %.1f of prompts\n", per_second(r->tokens, o), per_second(r->prompt_tokens, o));
    print_latency("to the first token", &r->first);
    print_latency("between tokens", &r->between);
    print_latency("whole answer", &r->request);
    printf("server               computing %.0f %% of the time, %llu sessions", 100 * busy(r),
           (unsigned long long)(r->after.sessions_total - r->before.sessions_total));
    if (r->pass_us > 0)
        printf(", %.1f of them in a pass", together(r));
    printf("\n");
    printf("users                took %.0f %% of this machine's %d processors; a server here: %.1f tokens per second of the rest\n",
           100 * users_share(r), threads_cpus(), rest_per_second(r, o));
    for (int i = 0; i < r->error_count; i++)
        printf("error %-14s %llu, the first: %s\n", r->errors[i].name, (unsigned long long)r->errors[i].count, r->errors[i].text);
}

static void put_latency(struct json_doc *doc, const char *key, const struct load_list *list)
{
    size_t n;
    const double *v = load_values(list, &n);
    struct json *node = json_put_object(doc, json_node(doc), key);
    json_put_int(doc, node, "n", (int64_t)n);
    if (n == 0)
        return;
    json_put_num(doc, node, "p50", stats_percentile(v, n, 50));
    json_put_num(doc, node, "p95", stats_percentile(v, n, 95));
    json_put_num(doc, node, "p99", stats_percentile(v, n, 99));
    json_put_num(doc, node, "max", v[n - 1]);
}

int load_report_json(const struct load_result *r, const struct load_opts *o, struct err *err)
{
    struct json_doc *doc = json_new_object("result");
    struct json *root = json_node(doc), *node;
    json_put_int(doc, root, "sessions", o->sessions);
    json_put_str(doc, root, "loop", o->rps > 0 ? "open" : "closed");
    if (o->rps > 0)
        json_put_num(doc, root, "rps", o->rps);
    json_put_num(doc, root, "duration_s", o->duration_s);
    json_put_int(doc, root, "prompt_tokens", o->prompt_tokens);
    json_put_int(doc, root, "max_tokens", o->max_tokens);
    node = json_put_object(doc, root, "requests");
    json_put_int(doc, node, "finished", (int64_t)r->finished);
    json_put_int(doc, node, "failed", (int64_t)r->failed);
    json_put_int(doc, node, "cut", (int64_t)r->cut);
    json_put_int(doc, node, "unserved", (int64_t)r->unserved);
    json_put_int(doc, root, "tokens", (int64_t)r->tokens);
    json_put_num(doc, root, "tok_s", per_second(r->tokens, o));
    json_put_num(doc, root, "prompt_tok_s", per_second(r->prompt_tokens, o));
    put_latency(doc, "first_token_ms", &r->first);
    put_latency(doc, "between_tokens_ms", &r->between);
    put_latency(doc, "request_ms", &r->request);
    node = json_put_object(doc, root, "errors");
    for (int i = 0; i < r->error_count; i++)
        json_put_int(doc, node, r->errors[i].name, (int64_t)r->errors[i].count);
    node = json_put_object(doc, root, "server");
    json_put_num(doc, node, "busy_frac", busy(r));
    json_put_int(doc, node, "sessions", (int64_t)(r->after.sessions_total - r->before.sessions_total));
    json_put_num(doc, node, "together", together(r));
    json_put_int(doc, node, "rows_in", (int64_t)(r->after.rows_in - r->before.rows_in));
    json_put_int(doc, node, "rows_reused", (int64_t)(r->after.rows_reused - r->before.rows_reused));
    json_put_int(doc, node, "rows_out", (int64_t)(r->after.rows_out - r->before.rows_out));
    node = json_put_object(doc, root, "users");
    json_put_num(doc, node, "processor_frac", users_share(r));
    json_put_num(doc, node, "tok_s_of_the_rest", rest_per_second(r, o));
    node = json_put_object(doc, root, "over_time");
    json_put_num(doc, node, "seconds", r->bucket_s);
    struct json *list = json_put_array(doc, node, "tok_s");
    for (int i = 0; i < r->bucket_count; i++)
        json_put_num(doc, list, NULL, (double)r->bucket[i] / r->bucket_s);
    return report_print(doc, err);
}

/* ------------------------------------------------------------------ figure */

#define CURVES 3

int load_report_plot(const char *path, const struct load_result *r, const struct load_opts *o, struct err *err)
{
    const struct load_list *lists[CURVES] = {&r->first, &r->between, &r->request};
    struct plot_series curve[CURVES] = {{.name = "to the first token"}, {.name = "between tokens"}, {.name = "whole answer"}};
    double *shares[CURVES] = {NULL}, time[LOAD_BUCKETS], rate[LOAD_BUCKETS];
    char title[128];
    int rc = -1;
    for (int k = 0; k < CURVES; k++) {
        curve[k].x = load_values(lists[k], &curve[k].n);
        if ((shares[k] = malloc((curve[k].n + 1) * sizeof *shares[k])) == NULL) {
            err_oom(err, curve[k].n * sizeof *shares[k]);
            goto done;
        }
        for (size_t i = 0; i < curve[k].n; i++)
            shares[k][i] = 100 * (double)(i + 1) / (double)curve[k].n;
        curve[k].y = shares[k];
    }
    for (int i = 0; i < r->bucket_count; i++) {
        time[i] = (i + 0.5) * r->bucket_s;
        rate[i] = (double)r->bucket[i] / r->bucket_s;
    }
    const struct plot_series tokens = {"all users", time, rate, (size_t)r->bucket_count};
    const struct plot_panel panels[] = {
        {"Latency", "milliseconds, logarithmic", "% that took at most as long", true, curve, CURVES, false},
        {"Throughput", "seconds", "tokens per second", false, &tokens, 1, false}};
    (void)snprintf(title, sizeof title, "%d users, %d + %d tokens", o->sessions, o->prompt_tokens, o->max_tokens);
    rc = plot_lines(path, title, panels, 2, err);
done:
    for (int k = 0; k < CURVES; k++)
        free(shares[k]);
    return rc;
}
