#include "user/jinja.h"

#include <stdio.h>
#include <stdlib.h>

#include "user/jinja_eval.h"
#include "user/jinja_exec.h"
#include "user/jinja_lexer.h"
#include "user/jinja_parser.h"

#define TREE_MAX ((size_t)256 << 20)

struct jinja {
    struct jinja_arena arena;
    struct jinja_node *body;
    char name[256];
};

int jinja_parse(struct jinja **out, const char *source, size_t len, const char *name, struct err *err)
{
    struct jinja_token *tokens;
    struct jinja *t;
    if (len > JINJA_SOURCE_MAX)
        return err_set(err, ERR_INPUT, "%s: a template has at most %zu bytes, this one %zu", name, JINJA_SOURCE_MAX, len);
    if ((t = calloc(1, sizeof *t)) == NULL)
        return err_oom(err, sizeof *t);
    t->arena.limit = TREE_MAX;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    if (jinja_lexer_run(&t->arena, source, len, t->name, &tokens, err) != 0 ||
        jinja_parser_run(&t->arena, tokens, t->name, &t->body, err) != 0) {
        jinja_free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void jinja_free(struct jinja *t)
{
    if (t == NULL)
        return;
    jinja_arena_free(&t->arena);
    free(t);
}

int jinja_render(const struct jinja *t, const struct jinja_input *inputs, size_t count, int64_t now, struct buf *out, struct err *err)
{
    struct buf text;
    struct jinja_run r = {.name = t->name, .now = now, .arena = {.limit = JINJA_MEMORY_MAX}, .out = &text, .err = err};
    struct jinja_scope globals = {0}, top = {.parent = &globals};
    int rc = 0;
    buf_init(&text, JINJA_OUTPUT_MAX);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct jinja_value v;
        rc = jinja_value_from_json(&r, inputs[i].value, &v);
        if (rc == 0)
            rc = jinja_eval_set(&r, &globals, jinja_text_of(inputs[i].name), v);
    }
    if (rc == 0)
        rc = jinja_exec(&r, &top, t->body) == JINJA_EXEC_DONE ? 0 : -1;
    if (rc == 0) {
        buf_put(out, text.data, text.len);
        rc = buf_check(out, t->name, err);
    }
    buf_free(&text);
    jinja_arena_free(&r.arena);
    return rc;
}
