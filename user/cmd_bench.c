#include <stdio.h>
#include <stdlib.h>

#include "base/crypto.h"
#include "user/cmd.h"
#include "user/report.h"
#include "user/setup.h"

#define REPEATS_MAX 1000

struct figures {
    double prompt_ms, token_ms, answer_ms, user_ms, server_ms;
};

/* Every prompt is another one, so that the server has kept nothing of it. */
static int random_ids(int32_t *ids, int64_t n, int32_t vocabulary, struct err *err)
{
    if (crypto_random(ids, (size_t)n * sizeof *ids, err) != 0)
        return -1;
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)((uint32_t)ids[i] % (uint32_t)vocabulary);
    return 0;
}

static int one_answer(struct setup *set, const int32_t *ids, int prompt, int tokens, struct figures *out, struct err *err)
{
    struct session *s = NULL;
    struct generated r = {0};
    const struct generate_opts opts = {.max_tokens = tokens, .sample = {.top_p = 1, .repeat_penalty = 1}, .logprobs = -1, .ignore_eos = true};
    if (session_open(&s, set->connection, prompt + tokens, 1, err) != 0)
        return -1;
    const int rc = generate(&r, s, set->grant, ids, prompt, prompt, &opts, err);
    const struct session_timing t = session_timing(s);
    if (rc == 0)
        *out = (struct figures){.prompt_ms = (double)r.prompt_us / 1e3,
                                .token_ms = r.count < 2 ? 0 : (double)r.decode_us / 1e3 / (r.count - 1),
                                .answer_ms = (double)(r.prompt_us + r.decode_us) / 1e3,
                                .user_ms = (double)t.user_us / 1e3,
                                .server_ms = (double)t.server_us / 1e3};
    session_close(s);
    generate_free(&r);
    return rc;
}

static int by_answer(const void *a, const void *b)
{
    const double x = ((const struct figures *)a)->answer_ms, y = ((const struct figures *)b)->answer_ms;
    return (x > y) - (x < y);
}

/* Of the answer that is in the middle, so that its parts belong together. */
static int print(const struct setup *set, struct figures *all, int64_t n, int64_t prompt, int64_t tokens, bool as_json, struct err *err)
{
    qsort(all, (size_t)n, sizeof *all, by_answer);
    const struct figures f = all[n / 2];
    const double prompt_tok_s = f.prompt_ms <= 0 ? 0 : (double)prompt * 1e3 / f.prompt_ms;
    const double decode_tok_s = f.token_ms <= 0 ? 0 : 1e3 / f.token_ms;
    const double line_ms = f.answer_ms > f.user_ms + f.server_ms ? f.answer_ms - f.user_ms - f.server_ms : 0;
    if (!as_json) {
        printf("the middle one of %lld answers: %lld tokens of prompt, %lld of answer\n"
               "prompt   %9.2f ms, %.0f tokens per second\n"
               "token    %9.2f ms, %.0f tokens per second\n"
               "answer   %9.2f ms: server %.2f, user %.2f, line and waiting %.2f\n",
               (long long)n, (long long)prompt, (long long)tokens, f.prompt_ms, prompt_tok_s, f.token_ms, decode_tok_s, f.answer_ms,
               f.server_ms, f.user_ms, line_ms);
        return 0;
    }
    struct json_doc *doc = json_new_object("result");
    struct json *root = json_node(doc);
    json_put_int(doc, root, "prompt_tokens", prompt);
    json_put_int(doc, root, "max_tokens", tokens);
    json_put_int(doc, root, "repeats", n);
    json_put_num(doc, root, "prompt_ms", f.prompt_ms);
    json_put_num(doc, root, "prompt_tok_s", prompt_tok_s);
    json_put_num(doc, root, "decode_tok_s", decode_tok_s);
    json_put_num(doc, root, "answer_ms", f.answer_ms);
    json_put_num(doc, root, "user_ms", f.user_ms);
    json_put_num(doc, root, "server_ms", f.server_ms);
    json_put_num(doc, root, "line_ms", line_ms);
    report_wire(doc, root, set->connection);
    return report_print(doc, err);
}

int cmd_bench(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct figures *all = NULL;
    int32_t *ids = NULL;
    int64_t prompt = 128, tokens = 64, repeats = 5;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cli_int(cmd, "prompt-tokens", 1, 1 << 20, &prompt, err) != 0 || cli_int(cmd, "max-tokens", 1, 1 << 20, &tokens, err) != 0 ||
        cli_int(cmd, "repeats", 1, REPEATS_MAX, &repeats, err) != 0 || setup_read(&set, cmd, err) != 0 || setup_connect(&set, cmd, err) != 0)
        goto done;
    if (set.grant->config->head != HEAD_LM) {
        err_set(err, ERR_USAGE, "%s does not generate text; stip-bench speed measures models of other kinds", set.grant->config->architecture);
        goto done;
    }
    if (prompt + tokens > set.connection->server.max_tokens) {
        err_set(err, ERR_USAGE, "--prompt-tokens %lld and --max-tokens %lld do not fit the context of %u tokens", (long long)prompt,
                (long long)tokens, (unsigned)set.connection->server.max_tokens);
        goto done;
    }
    if ((ids = malloc((size_t)prompt * sizeof *ids)) == NULL || (all = calloc((size_t)repeats, sizeof *all)) == NULL) {
        err_oom(err, (unsigned long long)prompt * sizeof *ids);
        goto done;
    }
    rc = 0;
    for (int64_t i = 0; i < repeats && rc == 0; i++)
        if ((rc = random_ids(ids, prompt, set.grant->config->V, err)) == 0)
            rc = one_answer(&set, ids, (int)prompt, (int)tokens, &all[i], err);
    if (rc == 0)
        rc = print(&set, all, repeats, prompt, tokens, cli_on(cmd, "json"), err);
done:
    free(ids);
    free(all);
    setup_close(&set);
    return rc;
}
