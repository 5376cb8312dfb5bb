/* A chat template and its variables (a JSON object), with a NUL between: any bytes are parsed or refused, and what is parsed
 * renders to valid UTF-8, twice the same, or is refused. Without a NUL a fixed talk is rendered. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "user/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VARS_MAX 16

static const char talk[] = "{\"messages\":[{\"role\":\"system\",\"content\":\" Be brief. \"},{\"role\":\"user\",\"content\":\"na\\u00efve?\"},"
                           "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"123456789\",\"function\":{\"name\":\"f\","
                           "\"arguments\":{\"a\":[1,2.5,true,null]}}}]}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
                           "\"add_generation_prompt\":true,\"bos_token\":\"<s>\",\"l\":[3,1,2],\"s\":\"Hello World\",\"n\":null}";

static void render(const struct jinja *t, const struct json *vars)
{
    struct jinja_input inputs[VARS_MAX];
    struct buf first, second;
    struct err err;
    size_t n = 0;
    for (const struct json *v = json_first(vars); v != NULL && n < VARS_MAX; v = json_next(v))
        if (json_key(v) != NULL)
            inputs[n++] = (struct jinja_input){json_key(v), v};
    buf_init(&first, (size_t)64 << 20);
    buf_init(&second, (size_t)64 << 20);
    int rc = jinja_render(t, inputs, n, 1763712000, &first, &err);
    if (rc != 0 && first.len != 0)
        abort();
    if (jinja_render(t, inputs, n, 1763712000, &second, &err) != rc || first.len != second.len ||
        (first.len > 0 && memcmp(first.data, second.data, first.len) != 0) || !utf8_valid((const char *)first.data, first.len, NULL))
        abort();
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size == 0 ? NULL : memchr(data, 0, size);
    const size_t len = nul == NULL ? size : (size_t)(nul - data);
    const char *vars = nul == NULL ? talk : (const char *)nul + 1;
    const size_t vars_len = nul == NULL ? sizeof talk - 1 : size - len - 1;
    struct jinja *t = NULL;
    struct json_doc *doc = NULL;
    struct err err;
    if (jinja_parse(&t, (const char *)data, len, "fuzz", &err) != 0)
        return 0;
    if (json_parse(&doc, vars, vars_len, false, "vars", &err) == 0)
        render(t, json_root(doc));
    json_free(doc);
    jinja_free(t);
    return 0;
}
