/* For scripts/template_oracle.mjs: renders templates. stdin: one JSON object {"template", "vars", "now"} per line; stdout: for each
 * one {"text"} or {"error"}. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "user/jinja.h"

#define VARS_MAX 32

static int render(const struct json *root, struct buf *out, struct err *err)
{
    struct jinja_input inputs[VARS_MAX];
    size_t n = 0;
    struct jinja *t = NULL;
    int64_t now = 0;
    const char *source = json_string(json_get(root, "template"));
    (void)json_integer(json_get(root, "now"), &now);
    for (const struct json *v = json_first(json_get(root, "vars")); v != NULL && n < VARS_MAX; v = json_next(v))
        inputs[n++] = (struct jinja_input){json_key(v), v};
    if (source == NULL || jinja_parse(&t, source, strlen(source), "template", err) != 0)
        return -1;
    int rc = jinja_render(t, inputs, n, now, out, err);
    jinja_free(t);
    return rc;
}

int main(void)
{
    char *line = NULL, *printed;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        struct json_doc *in = NULL, *out = json_new_object("result");
        struct err err = {0};
        struct buf text;
        buf_init(&text, (size_t)64 << 20);
        int rc = json_parse(&in, line, (size_t)n, false, "case", &err);
        if (rc == 0)
            rc = render(json_root(in), &text, &err);
        buf_put8(&text, 0);
        json_put_str(out, json_node(out), rc == 0 ? "text" : "error", rc == 0 ? (const char *)text.data : err.text);
        if (json_print(out, false, &printed, &err) != 0)
            return 1;
        puts(printed);
        free(printed);
        buf_free(&text);
        json_free(in);
        json_free(out);
    }
    free(line);
    return 0;
}
