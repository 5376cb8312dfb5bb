#include "user/tokenizer_steps.h"

#include <string.h>

struct walk {
    const struct json_doc *doc;
    const char *field, *list;
    tokenizer_step_fn fn;
    void *ctx;
    int n;
};

static int read_node(struct walk *w, const struct json *node, int depth, struct err *err)
{
    const char *type;
    if (json_type(node) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: field '%s': expected an object, found %s", json_name(w->doc), w->field,
                       json_type_name(node));
    if (json_get_str(w->doc, node, "type", &type, err) != 0)
        return err_wrap(err, "%s", w->field);
    if (strcmp(type, "Sequence") == 0) {
        const struct json *members = json_get(node, w->list);
        if (members == NULL || json_type(members) != JSON_ARRAY)
            return err_set(err, ERR_INPUT, "%s: field '%s.%s': expected a list, found %s", json_name(w->doc), w->field, w->list,
                           json_type_name(members));
        if (depth == TOKENIZER_STEPS_DEPTH)
            return err_set(err, ERR_INPUT, "%s: field '%s': Sequences are nested more than %d deep", json_name(w->doc), w->field,
                           TOKENIZER_STEPS_DEPTH);
        for (const struct json *m = json_first(members); m != NULL; m = json_next(m))
            if (read_node(w, m, depth + 1, err) != 0)
                return -1;
        return 0;
    }
    if (++w->n > TOKENIZER_STEPS_MAX)
        return err_set(err, ERR_INPUT, "%s: field '%s': expected at most %d steps", json_name(w->doc), w->field,
                       TOKENIZER_STEPS_MAX);
    if (w->fn(w->ctx, w->doc, type, node, err) != 0)
        return err_wrap(err, "%s: step %d ('%.60s')", w->field, w->n, type);
    return 0;
}

int tokenizer_steps_read(const struct json_doc *doc, const struct json *node, const char *field, const char *list,
                         tokenizer_step_fn fn, void *ctx, struct err *err)
{
    struct walk w = {.doc = doc, .field = field, .list = list, .fn = fn, .ctx = ctx};
    return json_is_null(node) ? 0 : read_node(&w, node, 0, err);
}

int tokenizer_steps_unknown(const struct json_doc *doc, const char *type, struct err *err)
{
    return err_set(err, ERR_INPUT, "%s: the type '%.60s' is not supported here (docs/TOKENIZERS.md lists what is)",
                   json_name(doc), type);
}
