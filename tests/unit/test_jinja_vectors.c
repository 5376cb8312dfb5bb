/* user/jinja against the original (Python's Jinja2, by scripts/template_oracle.mjs): own templates with their texts; the real
 * ones, which belong to others, where ../shared/data is there, by the digest of the text. Mutations caught, each tried: a
 * newline kept after a block, lstrip without its condition, loop.last one too early, tojson without blanks, slices by bytes,
 * '/' that stays whole, set in a loop that leaks out, '-' binding weaker than a filter. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/json.h"
#include "user/jinja.h"

#define VECTORS STIP_SOURCE_DIR "/tests/vectors/templates/"
#define REAL STIP_SOURCE_DIR "/../shared/data/templates/"
#define NOW INT64_C(1763712000)
#define VARS_MAX 32

static struct json_doc *load(const char *path)
{
    struct json_doc *doc = NULL;
    struct err err = {0};
    cr_assert_eq(json_load(&doc, path, (size_t)16 << 20, false, &err), 0, "%s", err.text);
    return doc;
}

/* Gives the text, or NULL with the reason in err. */
static char *render(const char *source, size_t len, const struct json *vars, size_t *text_len, struct err *err)
{
    struct jinja_input inputs[VARS_MAX];
    struct jinja *t = NULL;
    struct buf out;
    size_t n = 0;
    for (const struct json *v = json_first(vars); v != NULL; v = json_next(v)) {
        cr_assert_lt(n, VARS_MAX);
        inputs[n++] = (struct jinja_input){json_key(v), v};
    }
    buf_init(&out, (size_t)64 << 20);
    char *text = NULL;
    if (jinja_parse(&t, source, len, "template", err) == 0 && jinja_render(t, inputs, n, NOW, &out, err) == 0)
        text = buf_take(&out, text_len);
    buf_free(&out);
    jinja_free(t);
    return text;
}

static void init(void)
{
    setenv("TZ", "UTC", 1);
}

TestSuite(jinja_vectors, .init = init);

Test(jinja_vectors, every_snippet_is_what_the_original_makes_of_it)
{
    struct json_doc *doc = load(VECTORS "snippets.json");
    size_t texts = 0, refusals = 0;
    for (const struct json *c = json_first(json_root(doc)); c != NULL; c = json_next(c)) {
        const char *source = json_string(json_get(c, "template")), *expected = json_string(json_get(c, "text"));
        struct err err = {0};
        size_t len = 0;
        if (json_true(json_get(c, "refused"))) /* the original has it and we say that we do not */
            expected = NULL;
        char *text = render(source, strlen(source), json_get(c, "vars"), &len, &err);
        if (expected == NULL) {
            cr_expect_null(text, "%s: expected a refusal, found '%s'", source, text);
            cr_expect(text != NULL || strstr(err.text, "template: line ") == err.text, "%s: no line in: %s", source, err.text);
            refusals++;
        } else {
            cr_expect(text != NULL, "%s: %s", source, err.text);
            cr_expect(text == NULL || (len == strlen(expected) && memcmp(text, expected, len) == 0), "%s:\nexpected %s\nfound    %s",
                      source, expected, text);
            texts++;
        }
        free(text);
    }
    cr_expect_gt(texts, 120);
    cr_expect_gt(refusals, 30);
    json_free(doc);
}

Test(jinja_vectors, real_templates_give_the_original_s_text_byte_for_byte)
{
    if (!file_is_dir(REAL))
        cr_skip("%s is not here", REAL);
    struct json_doc *doc = load(VECTORS "real.json"), *talks = load(VECTORS "conversations.json");
    size_t texts = 0;
    for (const struct json *c = json_first(json_root(doc)); c != NULL; c = json_next(c)) {
        const char *name = json_string(json_get(c, "conversation")), *sha = json_string(json_get(c, "sha256"));
        const struct json *talk = json_first(json_root(talks));
        char path[FILE_PATH_MAX], *source, hex[2 * CRYPTO_HASH_LEN + 1] = "";
        uint8_t digest[CRYPTO_HASH_LEN];
        struct err err = {0};
        size_t source_len, len = 0;
        while (talk != NULL && strcmp(json_string(json_get(talk, "name")), name) != 0)
            talk = json_next(talk);
        cr_assert_not_null(talk, "no conversation '%s'", name);
        cr_assert_eq(file_join(path, REAL, json_string(json_get(c, "template")), &err), 0);
        cr_assert_eq(file_read(path, JINJA_SOURCE_MAX, &source, &source_len, &err), 0, "%s", err.text);
        char *text = render(source, source_len, json_get(talk, "vars"), &len, &err);
        if (text != NULL) {
            cr_assert_eq(crypto_sha256((const uint8_t *)text, len, digest, &err), 0);
            crypto_hex(digest, sizeof digest, hex);
        }
        cr_expect((text == NULL) == (sha == NULL), "%s, %s: %s", path, name, text == NULL ? err.text : "expected a refusal");
        cr_expect(text == NULL || sha == NULL || strcmp(hex, sha) == 0, "%s, %s:\n%s", path, name, text);
        texts += text != NULL;
        free(text);
        free(source);
    }
    cr_expect_gt(texts, 150);
    json_free(doc);
    json_free(talks);
}
