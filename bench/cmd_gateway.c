/* stip-bench gateway: what HTTP costs. The same questions in turns by sessions, by generate() on them, and through a stip-user serve,
 * from clients that only count; whatever else the machine does meanwhile meets all three. */
#include <stdio.h>
#include <stdlib.h>

#include "base/threads.h"
#include "bench/cmd.h"
#include "bench/interrupt.h"
#include "bench/load.h"
#include "bench/stage.h"
#include "bench/stats.h"
#include "model/hub.h"
#include "user/report.h"

#define WAYS 3
#define REPEATS_MAX 100
#define START_MS 60000

static const char *const way_names[WAYS] = {"session", "generate", "gateway"};

/* Of one way in one round, then medians over all rounds. */
struct figures {
    double tok_s, first_ms, token_us, request_ms;
};

struct trial {
    struct load_opts opts;
    int64_t repeats;
    struct figures seen[WAYS][REPEATS_MAX], median[WAYS];
    uint64_t failed, finished;
    char failure[256];
};

/* ------------------------------------------------------------------ measuring */

static double middle(const struct load_list *list)
{
    size_t n;
    const double *v = load_values(list, &n);
    return n == 0 ? 0 : stats_percentile(v, n, 50);
}

static int one_round(struct trial *t, const struct setup *set, int way, int64_t round, struct err *err)
{
    struct load_result r = {0};
    t->opts.way = (enum load_way)way;
    if (load_run(&r, set, &t->opts, err) != 0)
        return -1;
    const double first = middle(&r.first), request = middle(&r.request);
    t->seen[way][round] = (struct figures){(double)r.tokens / t->opts.duration_s, first,
                                           (request - first) * 1e3 / (t->opts.max_tokens - 1), request};
    t->failed += r.failed;
    t->finished += r.finished;
    if (r.error_count > 0 && t->failure[0] == '\0')
        (void)snprintf(t->failure, sizeof t->failure, "%s", r.errors[0].text);
    load_free(&r);
    return 0;
}

#define MEDIAN(member)                                                                                                             \
    do {                                                                                                                           \
        for (int64_t i = 0; i < t->repeats; i++)                                                                                   \
            v[i] = t->seen[way][i].member;                                                                                         \
        t->median[way].member = stats_median(v, (size_t)t->repeats);                                                               \
    } while (0)

static int measure(struct trial *t, const struct setup *set, struct err *err)
{
    double v[REPEATS_MAX];
    for (int64_t round = 0; round < t->repeats; round++)
        for (int way = 0; way < WAYS; way++)
            if (one_round(t, set, way, round, err) != 0)
                return -1;
    if (t->finished == 0)
        return err_set(err, ERR_PEER, "no request was answered; the first of %llu that failed: %s", (unsigned long long)t->failed, t->failure);
    for (int way = 0; way < WAYS; way++) {
        MEDIAN(tok_s);
        MEDIAN(first_ms);
        MEDIAN(token_us);
        MEDIAN(request_ms);
    }
    return 0;
}

/* ------------------------------------------------------------------ what it was */

static int print_json(const struct trial *t, struct err *err)
{
    struct json_doc *doc = json_new_object("result");
    struct json *root = json_node(doc);
    const struct figures *m = t->median;
    json_put_int(doc, root, "sessions", t->opts.sessions);
    json_put_int(doc, root, "prompt_tokens", t->opts.prompt_tokens);
    json_put_int(doc, root, "max_tokens", t->opts.max_tokens);
    json_put_num(doc, root, "duration_s", t->opts.duration_s);
    json_put_int(doc, root, "repeats", t->repeats);
    json_put_int(doc, root, "finished", (int64_t)t->finished);
    json_put_int(doc, root, "failed", (int64_t)t->failed);
    for (int way = 0; way < WAYS; way++) {
        struct json *node = json_put_object(doc, root, way_names[way]);
        json_put_num(doc, node, "tok_s", m[way].tok_s);
        json_put_num(doc, node, "first_token_ms", m[way].first_ms);
        json_put_num(doc, node, "token_us", m[way].token_us);
        json_put_num(doc, node, "request_ms", m[way].request_ms);
    }
    struct json *node = json_put_object(doc, root, "overhead");
    json_put_num(doc, node, "request_ms", m[LOAD_GATEWAY].first_ms - m[LOAD_GENERATE].first_ms);
    json_put_num(doc, node, "token_us", m[LOAD_GATEWAY].token_us - m[LOAD_GENERATE].token_us);
    json_put_num(doc, node, "tok_s_of_session", m[LOAD_GATEWAY].tok_s / m[LOAD_SESSION].tok_s);
    return report_print(doc, err);
}

static void print_text(const struct trial *t)
{
    const struct figures *m = t->median;
    printf("%d clients, %d + %d tokens; medians of %lld rounds of %.3g s each\n", t->opts.sessions, t->opts.prompt_tokens,
           t->opts.max_tokens, (long long)t->repeats, t->opts.duration_s);
    printf("%-10s %12s %16s %12s %16s\n", "", "tokens/s", "first token ms", "token us", "whole answer ms");
    for (int way = 0; way < WAYS; way++)
        printf("%-10s %12.1f %16.3f %12.1f %16.2f\n", way_names[way], m[way].tok_s, m[way].first_ms, m[way].token_us, m[way].request_ms);
    printf("gateway    %+.3f ms per request and %+.1f us per token over generate; %.1f %% of the sessions' tokens per second\n",
           m[LOAD_GATEWAY].first_ms - m[LOAD_GENERATE].first_ms, m[LOAD_GATEWAY].token_us - m[LOAD_GENERATE].token_us,
           100 * m[LOAD_GATEWAY].tok_s / m[LOAD_SESSION].tok_s);
    if (t->failed > 0)
        printf("%llu requests failed, the first: %s\n", (unsigned long long)t->failed, t->failure);
}

/* ------------------------------------------------------------------ the command */

static int start_gateway(struct process *p, const char *config, const struct load_opts *o, struct json_doc **ready, struct err *err)
{
    char exe[FILE_PATH_MAX], own[FILE_PATH_MAX], parallel[16], connections[16];
    (void)snprintf(own, sizeof own, "%s", config);
    (void)snprintf(parallel, sizeof parallel, "%d", o->sessions);
    (void)snprintf(connections, sizeof connections, "%d", o->sessions + 8);
    char *argv[] = {exe, "serve", "--config", own, "--listen", "127.0.0.1:0", "--json", "--speculate", "off", "--parallel", parallel,
                    "--connections", connections, NULL};
    return stage_program(exe, "stip-user", err) != 0 || process_start(p, "stip-user serve", argv, true, NULL, err) != 0
               ? -1
               : process_event(p, "ready", START_MS, ready, err);
}

static int run(struct trial *t, const char *config, const struct cli_cmd *cmd, struct err *err)
{
    struct cli_opt opts[] = {{"config", "FILE", "", config, false}, {NULL, NULL, NULL, NULL, false}};
    const struct cli_cmd user = {.name = cmd->name, .example = cmd->example, .opts = opts};
    struct process gateway = {.out = -1};
    struct setup set = {0};
    struct json_doc *ready = NULL;
    int64_t port;
    int rc = -1;
    if (setup_read(&set, &user, err) != 0 || threads_start(1, err) != 0 || setup_connect(&set, &user, err) != 0)
        goto done;
    if (set.grant->config->head != HEAD_LM) {
        err_set(err, ERR_USAGE, "%s does not generate text", set.grant->config->architecture);
        goto done;
    }
    if ((uint64_t)t->opts.prompt_tokens + (uint64_t)t->opts.max_tokens > set.connection->server.max_tokens) {
        err_set(err, ERR_USAGE, "--prompt-tokens and --max-tokens: %d and %d, this server takes %u together", t->opts.prompt_tokens,
                t->opts.max_tokens, set.connection->server.max_tokens);
        goto done;
    }
    if (start_gateway(&gateway, config, &t->opts, &ready, err) != 0 ||
        json_get_int(ready, json_root(ready), "port", 1, 65535, &port, err) != 0)
        goto done;
    t->opts.port = (int)port;
    if (measure(t, &set, err) != 0)
        goto done;
    if (cli_on(cmd, "json"))
        rc = print_json(t, err);
    else {
        print_text(t);
        rc = 0;
    }
done:
    (void)process_stop(&gateway);
    json_free(ready);
    setup_close(&set);
    return rc;
}

int cmd_gateway(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *given = cli_str(cmd, "config", NULL);
    char model[FILE_PATH_MAX], config[FILE_PATH_MAX];
    int64_t sessions = 1, prompt = 128, max = 64;
    struct stage *st = NULL;
    struct trial *t = calloc(1, sizeof *t);
    int rc = -1;
    (void)argc;
    (void)argv;
    if (t == NULL)
        return err_oom(err, sizeof *t);
    t->repeats = 3;
    t->opts.duration_s = 10;
    t->opts.stop = interrupt_seen;
    if (cli_int(cmd, "sessions", 1, LOAD_SESSIONS_MAX, &sessions, err) != 0 || cli_int(cmd, "repeats", 1, REPEATS_MAX, &t->repeats, err) != 0 ||
        cli_num(cmd, "duration", 0.1, 86400, &t->opts.duration_s, err) != 0 || cli_int(cmd, "prompt-tokens", 1, 1 << 20, &prompt, err) != 0 ||
        cli_int(cmd, "max-tokens", 2, 1 << 20, &max, err) != 0)
        goto done;
    t->opts.sessions = (int)sessions;
    t->opts.prompt_tokens = (int)prompt;
    t->opts.max_tokens = (int)max;
    if ((given != NULL) == cli_on(cmd, "model")) {
        err_set(err, ERR_USAGE, "gateway needs one of --config FILE and --model HFDIR; for example: %s", cmd->example);
        goto done;
    }
    if (given == NULL && (hub_option(model, cmd, err) != 0 || stage_open(&st, model, cmd, err) != 0 ||
                          file_join(config, stage_dir(st), "user.json", err) != 0))
        goto done;
    rc = run(t, given != NULL ? given : config, cmd, err);
done:
    stage_close(st, false);
    free(t);
    return rc;
}
