#include <stdio.h>
#include <stdlib.h>

#include "user/cmd.h"
#include "user/report.h"
#include "user/setup.h"

static void print_piece(void *arg, const char *text, size_t len)
{
    (void)arg;
    (void)fwrite(text, 1, len, stdout);
    (void)fflush(stdout);
}

static struct json *put_token(struct json_doc *doc, struct json *list, const struct grant *g, struct token_logprob l)
{
    size_t len;
    const char *token = tokenizer_token(g->tokenizer, l.id, &len);
    struct json *node = json_put_object(doc, list, NULL);
    json_put_int(doc, node, "id", l.id);
    json_put_str(doc, node, "token", token == NULL ? "" : token);
    json_put_num(doc, node, "logprob", l.logprob);
    return node;
}

static void put_logprobs(struct json_doc *doc, const struct grant *g, const struct generated *r, int top)
{
    struct json *list = json_put_array(doc, json_node(doc), "logprobs");
    for (int i = 0; i < r->count; i++) {
        const struct token_logprob *row = r->logprobs + (size_t)i * ((size_t)top + 1);
        struct json *others = json_put_array(doc, put_token(doc, list, g, row[0]), "top");
        for (int k = 1; k <= top; k++)
            if (row[k].id >= 0)
                put_token(doc, others, g, row[k]);
    }
}

static struct json_doc *new_result(const struct token_ids *prompt, const struct generated *r)
{
    struct json_doc *doc = json_new_object("result");
    struct json *root = json_node(doc);
    struct json *list = json_put_array(doc, root, "prompt_tokens");
    for (size_t i = 0; i < prompt->n; i++)
        json_put_int(doc, list, NULL, prompt->ids[i]);
    list = json_put_array(doc, root, "tokens");
    for (int i = 0; i < r->count; i++)
        json_put_int(doc, list, NULL, r->tokens[i]);
    json_put_text(doc, root, "text", r->text, r->text_len);
    json_put_str(doc, root, "finish_reason", r->finish_reason);
    return doc;
}

static int print_json(const struct setup *set, const struct session *s, const struct token_ids *prompt, const struct generated *r,
                      int top, struct err *err)
{
    struct json_doc *doc = new_result(prompt, r);
    struct json *root = json_node(doc);
    report_timings(doc, root, r, s);
    report_wire(doc, root, set->connection);
    json_put_int(doc, root, "reconnects", set->connection->reconnects);
    if (top >= 0)
        put_logprobs(doc, set->grant, r, top);
    return report_print(doc, err);
}

/* How many tokens this prompt may still get; refuses one that fills the context. */
static int room_for(size_t context, size_t prompt, int64_t *max_tokens, struct err *err)
{
    if (prompt >= context)
        return err_set(err, ERR_INPUT, "the prompt has %zu tokens, the context holds %zu and an answer needs room too; shorten it",
                       prompt, context);
    if ((size_t)*max_tokens > context - prompt)
        *max_tokens = (int64_t)(context - prompt);
    return 0;
}

static int run(struct setup *set, const struct cli_cmd *cmd, const struct token_ids *prompt, int64_t max_tokens, int64_t top,
               const struct sample_opts *sample, struct err *err)
{
    struct session *s = NULL;
    struct generated r = {0};
    const bool as_json = cli_on(cmd, "json");
    struct generate_opts opts = {.max_tokens = (int)max_tokens, .sample = *sample, .logprobs = (int)top,
                                 .ignore_eos = cli_on(cmd, "ignore-eos"), .speculate = set->speculate,
                                 .piece = as_json ? NULL : print_piece};
    int rc = -1;
    if (session_open(&s, set->connection, (int)((int64_t)prompt->n + max_tokens), 1 + speculate_most(set->speculate), err) != 0)
        return -1;
    if (generate(&r, s, set->grant, prompt->ids, (int)prompt->n, (int)prompt->n, &opts, err) == 0) {
        rc = 0;
        if (as_json)
            rc = print_json(set, s, prompt, &r, (int)top, err);
        else
            putchar('\n');
    }
    session_close(s);
    generate_free(&r);
    return rc;
}

/* ------------------------------------------------------------------ by an engine of others */

static int run_backend(struct setup *set, const struct cli_cmd *cmd, const struct token_ids *prompt, int64_t max_tokens, int64_t top,
                       const struct sample_opts *sample, struct err *err)
{
    struct generated r = {0};
    struct backend_wire wire;
    const bool as_json = cli_on(cmd, "json");
    struct generate_opts opts = {.max_tokens = (int)max_tokens, .sample = *sample, .logprobs = -1,
                                 .ignore_eos = cli_on(cmd, "ignore-eos"), .piece = as_json ? NULL : print_piece};
    if (top >= 0)
        return err_set(err, ERR_USAGE, "--logprobs: engines give them by token text, in ways of their own; not with a grant of profile 'engine'");
    if (backend_generate(&r, set->grant, &set->backend, prompt->ids, (int)prompt->n, &opts, &wire, err) != 0)
        return -1;
    int rc = 0;
    if (as_json) {
        struct json_doc *doc = new_result(prompt, &r);
        struct json *root = json_node(doc), *t = json_put_object(doc, root, "timings");
        json_put_num(doc, t, "prompt_ms", (double)r.prompt_us / 1e3);
        json_put_num(doc, t, "decode_tok_s", r.decode_us == 0 || r.count < 2 ? 0 : (r.count - 1) * 1e6 / (double)r.decode_us);
        struct json *w = json_put_object(doc, root, "wire");
        json_put_int(doc, w, "bytes_up", (int64_t)wire.bytes_up);
        json_put_int(doc, w, "bytes_down", (int64_t)wire.bytes_down);
        json_put_int(doc, w, "round_trips", (int64_t)wire.round_trips);
        json_put_str(doc, root, "profile", "engine");
        rc = report_print(doc, err);
    } else {
        putchar('\n');
    }
    generate_free(&r);
    return rc;
}

int cmd_generate(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct token_ids prompt = {0};
    struct sample_opts sample;
    char *text = NULL;
    size_t len;
    int64_t max_tokens = 128, top = -1;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cmd_text(cmd, "prompt", &text, &len, err) != 0)
        return -1;
    if (cli_int(cmd, "max-tokens", 1, 1 << 24, &max_tokens, err) != 0 || cli_int(cmd, "logprobs", 0, 100, &top, err) != 0 ||
        cmd_sampling(cmd, &sample, err) != 0 || setup_read(&set, cmd, err) != 0 || setup_computer(&set, cmd, err) != 0)
        goto done;
    if (set.grant->config->head != HEAD_LM) {
        err_set(err, ERR_USAGE, "%s does not generate text; use classify, fill or embed", set.grant->config->architecture);
        goto done;
    }
    if (set.grant->engine) {
        if (generate_prompt(set.grant, text, len, true, &prompt, err) == 0 &&
            room_for((size_t)set.grant->config->positions, prompt.n, &max_tokens, err) == 0)
            rc = run_backend(&set, cmd, &prompt, max_tokens, top, &sample, err);
    } else if (setup_speculation(&set, cmd, err) == 0 && generate_prompt(set.grant, text, len, true, &prompt, err) == 0 &&
               room_for(set.connection->server.max_tokens, prompt.n, &max_tokens, err) == 0) {
        rc = run(&set, cmd, &prompt, max_tokens, top, &sample, err);
    }
done:
    token_ids_free(&prompt);
    setup_close(&set);
    free(text);
    return rc;
}
