#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "user/cmd.h"
#include "user/embedding.h"
#include "user/report.h"
#include "user/setup.h"

struct run {
    struct setup set;
    const char *prompt; /* NULL: none */
    enum pooling pooling;
    bool cut, as_json; /* --truncate, --json */
    int index;
    float *x; /* [D] */
};

/* The model's own, but for what was asked for. */
static int choose(struct run *r, const struct cli_cmd *cmd, struct err *err)
{
    const struct sentence *s = &r->set.grant->sentence;
    const char *pooling = cli_str(cmd, "pooling", pooling_name(s->pooling)), *name = cli_str(cmd, "prompt-name", NULL);
    const struct sentence_prompt *p = name == NULL ? s->usual : sentence_prompt(s, name);
    if (!pooling_parse(pooling, &r->pooling))
        return err_set(err, ERR_USAGE, "--pooling: expected mean, cls, max or last, found '%.40s'", pooling);
    if (name != NULL && p == NULL)
        return err_set(err, ERR_USAGE, "--prompt-name: this model has no prompt '%.60s'%s%s", name,
                       s->prompt_count > 0 ? "; one of its own is " : ", nor any other", s->prompt_count > 0 ? s->prompts[0].name : "");
    r->prompt = p == NULL ? NULL : p->text;
    r->cut = cli_on(cmd, "truncate");
    r->as_json = cli_on(cmd, "json");
    return 0;
}

static int print_vector(const struct run *r, const struct token_ids *ids, bool cut, struct err *err)
{
    const struct grant *g = r->set.grant;
    const int D = g->config->D;
    for (int d = 0; !r->as_json && d < D; d++)
        printf("%.9g%c", (double)r->x[d], d + 1 < D ? ' ' : '\n');
    if (!r->as_json)
        return 0;
    struct json_doc *doc = json_new_object("result");
    struct json *root = json_node(doc), *list;
    json_put_int(doc, root, "index", r->index);
    json_put_int(doc, root, "tokens", (int64_t)ids->n);
    json_put_bool(doc, root, "truncated", cut);
    json_put_str(doc, root, "pooling", pooling_name(r->pooling));
    json_put_bool(doc, root, "normalised", g->sentence.normalise);
    json_put_int(doc, root, "dimensions", D);
    list = json_put_array(doc, root, "embedding");
    for (int d = 0; d < D; d++)
        json_put_num(doc, list, NULL, (double)r->x[d]);
    report_wire(doc, root, r->set.connection);
    return report_print(doc, err);
}

static int one(void *arg, const char *text, size_t len, struct err *err)
{
    struct run *r = arg;
    const struct grant *g = r->set.grant;
    struct token_ids ids = {0};
    struct session *s = NULL;
    int rc = embedding_encode(g, r->prompt, text, len, &ids, err);
    const bool cut = ids.n > (size_t)embedding_most(g);
    if (rc == 0 && cut && !r->cut)
        rc = err_set(err, ERR_INPUT, "text %d has %zu tokens, this model reads %d; --truncate leaves out the end", r->index + 1, ids.n,
                     embedding_most(g));
    if (rc == 0 && cut)
        rc = embedding_shorten(g, &ids, err);
    if (rc == 0 && (rc = session_open(&s, r->set.connection, (int)ids.n, embedding_outputs(r->pooling, (int)ids.n), err)) == 0)
        rc = embedding_vector(s, g, r->pooling, &ids, r->x, err);
    session_close(s);
    if (rc == 0 && cut)
        log_warn("text %d: only the first %d tokens count", r->index + 1, embedding_most(g));
    if (rc == 0)
        rc = print_vector(r, &ids, cut, err);
    r->index++;
    token_ids_free(&ids);
    return rc;
}

int cmd_embed(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct run r = {0};
    char *text = NULL;
    size_t len;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cmd_text(cmd, "text", &text, &len, err) != 0)
        return -1;
    if (setup_read(&r.set, cmd, err) != 0 || setup_connect(&r.set, cmd, err) != 0 || embedding_check(r.set.grant, err) != 0 ||
        choose(&r, cmd, err) != 0)
        goto done;
    if ((r.x = malloc((size_t)r.set.grant->config->D * sizeof *r.x)) == NULL)
        err_oom(err, (size_t)r.set.grant->config->D * sizeof *r.x);
    else
        rc = cli_on(cmd, "file") ? cmd_lines("embed", text, len, one, &r, err) : one(&r, text, len, err);
done:
    free(r.x);
    setup_close(&r.set);
    free(text);
    return rc;
}
