#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/progress.h"
#include "user/cmd.h"
#include "user/report.h"
#include "user/setup.h"

#define ROWS 64 /* logits held at once */

struct score {
    double nll;     /* summed */
    size_t tokens;  /* scored ones */
    double *each;   /* [n], NaN where not scored; for --json */
};

/* Scores tokens first..end-1, given everything from `begin` on. */
static int window(const struct setup *set, const struct token_ids *ids, size_t begin, size_t first, size_t end, float *logits,
                  struct score *out, struct progress *bar, struct err *err)
{
    const struct config *c = set->grant->config;
    struct session *s = NULL;
    /* The row of token t predicts token t+1; the last row predicts nothing that we know. */
    size_t last = end - 1, at = begin;
    int rc = session_open(&s, set->connection, (int)(last - begin), ROWS, err);
    while (rc == 0 && at < last) {
        size_t n = last - at < ROWS ? last - at : ROWS;
        size_t from = first - 1 > at ? first - 1 - at : 0; /* first row whose prediction counts */
        int asked = from < n ? (int)(n - from) : 0;
        rc = session_forward(s, ids->ids + at, NULL, (int)n, asked > 0 ? (int)from : 0, asked, logits, err);
        for (int i = 0; rc == 0 && i < asked; i++) {
            size_t t = at + from + (size_t)i + 1;
            double lp = sample_logprob(logits + (size_t)i * (size_t)c->V, c->V, ids->ids[t]);
            out->nll -= lp;
            out->each[t] = lp;
            out->tokens++;
        }
        at += n;
        if (at > first) /* what only leads up to it was counted by the window before */
            progress_at(bar, at);
    }
    session_close(s);
    return rc;
}

static int score(const struct setup *set, const struct token_ids *ids, size_t stride, struct score *out, struct err *err)
{
    const struct config *c = set->grant->config;
    size_t context = set->connection->server.max_tokens;
    float *logits = malloc((size_t)ROWS * (size_t)c->V * sizeof *logits);
    struct progress bar;
    int rc = logits == NULL ? err_oom(err, (size_t)ROWS * (size_t)c->V * sizeof *logits) : 0;
    progress_start(&bar, "score", "tokens", ids->n);
    /* As transformers' guide to perplexity has it: a window holds `context` tokens and scores those that the window before
     * did not; a token without a predecessor in its window is not scored. */
    for (size_t begin = 0, end = 0; rc == 0 && end < ids->n; begin += stride) {
        size_t first = end > begin + 1 ? end : begin + 1;
        end = begin + context < ids->n ? begin + context : ids->n;
        if (first < end)
            rc = window(set, ids, begin, first, end, logits, out, &bar, err);
        progress_at(&bar, end);
    }
    progress_end(&bar);
    free(logits);
    return rc;
}

static int print(const struct setup *set, const struct token_ids *ids, const struct score *s, bool as_json, struct err *err)
{
    double mean = s->nll / (double)s->tokens;
    if (!as_json) {
        printf("tokens %zu  nll %.6f  perplexity %.6f\n", s->tokens, mean, exp(mean));
        return 0;
    }
    struct json_doc *doc = json_new_object("result");
    json_put_int(doc, json_node(doc), "tokens", (int64_t)s->tokens);
    json_put_num(doc, json_node(doc), "nll", mean);
    json_put_num(doc, json_node(doc), "perplexity", exp(mean));
    struct json *ids_list = json_put_array(doc, json_node(doc), "token_ids");
    struct json *list = json_put_array(doc, json_node(doc), "token_logprobs");
    for (size_t i = 0; i < ids->n; i++)
        if (!isnan(s->each[i])) {
            json_put_int(doc, ids_list, NULL, ids->ids[i]);
            json_put_num(doc, list, NULL, s->each[i]);
        }
    report_wire(doc, json_node(doc), set->connection);
    return report_print(doc, err);
}

int cmd_score(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct token_ids ids = {0};
    struct score s = {0};
    char *text = NULL;
    size_t len;
    int64_t stride = 0;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cmd_text(cmd, "text", &text, &len, err) != 0)
        return -1;
    if (cli_int(cmd, "stride", 1, 1 << 24, &stride, err) != 0 || setup_read(&set, cmd, err) != 0 ||
        setup_connect(&set, cmd, err) != 0)
        goto done;
    if (set.grant->config->head != HEAD_LM) {
        err_set(err, ERR_USAGE, "%s has no next-token probabilities to score", set.grant->config->architecture);
        goto done;
    }
    if (generate_prompt(set.grant, text, len, true, &ids, err) != 0)
        goto done;
    if (ids.n < 2) {
        err_set(err, ERR_INPUT, "the text has %zu token, scoring needs at least 2", ids.n);
        goto done;
    }
    size_t context = set.connection->server.max_tokens;
    if (stride == 0 || (size_t)stride > context)
        stride = (int64_t)context;
    if ((s.each = malloc(ids.n * sizeof *s.each)) == NULL) {
        err_oom(err, ids.n * sizeof *s.each);
        goto done;
    }
    for (size_t i = 0; i < ids.n; i++)
        s.each[i] = NAN;
    if (score(&set, &ids, (size_t)stride, &s, err) == 0)
        rc = print(&set, &ids, &s, cli_on(cmd, "json"), err);
done:
    free(s.each);
    token_ids_free(&ids);
    setup_close(&set);
    free(text);
    return rc;
}
