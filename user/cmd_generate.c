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

static int print_json(const struct setup *set, const struct session *s, const struct token_ids *prompt, const struct generated *r,
                      int top, struct err *err)
{
    struct json_doc *doc = json_new_object("result");
    struct json *root = json_node(doc);
    struct json *list = json_put_array(doc, root, "prompt_tokens");
    for (size_t i = 0; i < prompt->n; i++)
        json_put_int(doc, list, NULL, prompt->ids[i]);
    list = json_put_array(doc, root, "tokens");
    for (int i = 0; i < r->count; i++)
        json_put_int(doc, list, NULL, r->tokens[i]);
    json_put_str(doc, root, "text", r->text);
    json_put_str(doc, root, "finish_reason", r->finish_reason);
    report_timings(doc, root, r, s);
    report_wire(doc, root, set->connection);
    json_put_int(doc, root, "reconnects", set->connection->reconnects);
    if (top >= 0)
        put_logprobs(doc, set->grant, r, top);
    return report_print(doc, err);
}

/* How many tokens this prompt may still get; refuses one that fills the context. */
static int room_for(const struct setup *set, size_t prompt, int64_t *max_tokens, struct err *err)
{
    size_t context = set->connection->server.max_tokens;
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
        cmd_sampling(cmd, &sample, err) != 0 || setup_read(&set, cmd, err) != 0 || setup_connect(&set, cmd, err) != 0)
        goto done;
    if (set.grant->config->head != HEAD_LM) {
        err_set(err, ERR_USAGE, "%s does not generate text; use classify or fill", set.grant->config->architecture);
        goto done;
    }
    if (setup_speculation(&set, cmd, err) == 0 && generate_prompt(set.grant, text, len, true, &prompt, err) == 0 &&
         room_for(&set, prompt.n, &max_tokens, err) == 0)
        rc = run(&set, cmd, &prompt, max_tokens, top, &sample, err);
done:
    token_ids_free(&prompt);
    setup_close(&set);
    free(text);
    return rc;
}
