#include "user/chat_template.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "user/jinja.h"

#define FILE_MAX ((size_t)32 << 20)
#define INPUTS_MAX 128

struct chat_template {
    struct jinja *plain, *tools; /* tools: NULL if the plain one serves for both */
    struct json_doc *words;      /* special tokens by their role, and "true" and "false" */
    char names[256];             /* of templates by name, where none is the default */
};

/* ------------------------------------------------------------------ finding the template */

static int load_optional(struct json_doc **out, const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX];
    *out = NULL;
    if (file_join(path, dir, name, err) != 0)
        return -1;
    return file_exists(path) ? json_load(out, path, FILE_MAX, false, err) : 0;
}

static int parse_file(struct jinja **out, const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX], *text;
    size_t len;
    if (file_join(path, dir, name, err) != 0)
        return -1;
    if (!file_exists(path))
        return 0;
    if (file_read(path, JINJA_SOURCE_MAX, &text, &len, err) != 0)
        return -1;
    int rc = jinja_parse(out, text, len, path, err);
    free(text);
    return rc;
}

/* One text, or a list of {"name", "template"}: "default", "tool_use", and others that nobody asks for. */
static int parse_field(struct chat_template *t, const struct json_doc *doc, struct err *err)
{
    const struct json *field = json_get(json_root(doc), "chat_template");
    const char *text = json_string(field);
    if (text != NULL)
        return jinja_parse(&t->plain, text, strlen(text), json_name(doc), err);
    if (json_type(field) != JSON_ARRAY)
        return err_set(err, ERR_INPUT, "%s: field 'chat_template': expected a text or a list, found %s", json_name(doc),
                       json_type_name(field));
    for (const struct json *item = json_first(field); item != NULL; item = json_next(item)) {
        const char *name;
        if (json_get_str(doc, item, "name", &name, err) != 0 || json_get_str(doc, item, "template", &text, err) != 0)
            return -1;
        struct jinja **place = strcmp(name, "default") == 0 ? &t->plain : strcmp(name, "tool_use") == 0 ? &t->tools : NULL;
        if (place != NULL && *place != NULL)
            return err_set(err, ERR_INPUT, "%s: field 'chat_template': two templates are called '%s'", json_name(doc), name);
        if (place != NULL && jinja_parse(place, text, strlen(text), json_name(doc), err) != 0)
            return -1;
        if (strlen(t->names) + strlen(name) + 3 < sizeof t->names)
            strcat(strcat(t->names, t->names[0] == '\0' ? "" : ", "), name);
    }
    return 0;
}

static int find_template(struct chat_template *t, const char *dir, const struct json_doc *config, struct err *err)
{
    struct json_doc *old = NULL;
    if (parse_file(&t->plain, dir, "chat_template.jinja", err) != 0)
        return -1;
    if (t->plain != NULL)
        return parse_file(&t->tools, dir, "additional_chat_templates/tool_use.jinja", err);
    if (!json_is_null(json_get(json_root(config), "chat_template")))
        return parse_field(t, config, err);
    if (load_optional(&old, dir, "chat_template.json", err) != 0)
        return -1;
    int rc = old == NULL ? 0 : parse_field(t, old, err);
    json_free(old);
    return rc;
}

/* ------------------------------------------------------------------ special tokens */

static const char *token_text(const struct json *token)
{
    return token != NULL && json_type(token) == JSON_OBJECT ? json_string(json_get(token, "content")) : json_string(token);
}

static void read_words(struct json_doc *words, const struct json *config, const struct json *map)
{
    static const char *const names[] = {"bos_token", "eos_token",  "unk_token",  "sep_token",
                                        "pad_token", "cls_token", "mask_token", "additional_special_tokens"};
    struct json *root = json_node(words);
    json_put_bool(words, root, "true", true);
    json_put_bool(words, root, "false", false);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct json *token = json_get(config, names[i]);
        if (token == NULL)
            token = json_get(map, names[i]);
        if (token_text(token) != NULL) {
            json_put_str(words, root, names[i], token_text(token));
        } else if (token != NULL && json_type(token) == JSON_ARRAY) {
            struct json *list = json_put_array(words, root, names[i]);
            for (const struct json *item = json_first(token); item != NULL; item = json_next(item))
                if (token_text(item) != NULL)
                    json_put_str(words, list, NULL, token_text(item));
        }
    }
}

/* ------------------------------------------------------------------ the whole */

int chat_template_load(struct chat_template **out, const char *dir, struct err *err)
{
    struct json_doc *config = NULL, *map = NULL;
    struct chat_template *t = calloc(1, sizeof *t);
    char *check = NULL;
    int rc = -1;
    if (t == NULL)
        return err_oom(err, sizeof *t);
    if (load_optional(&config, dir, "tokenizer_config.json", err) != 0 || find_template(t, dir, config, err) != 0)
        goto done;
    if (t->plain == NULL && t->tools == NULL && t->names[0] == '\0') {
        *out = NULL;
        rc = 0;
        goto done;
    }
    if (load_optional(&map, dir, "special_tokens_map.json", err) != 0)
        goto done;
    t->words = json_new_object("special tokens");
    read_words(t->words, json_root(config), json_root(map));
    if (json_print(t->words, false, &check, err) != 0) /* says whether memory was enough */
        goto done;
    *out = t;
    t = NULL;
    rc = 0;
done:
    free(check);
    json_free(config);
    json_free(map);
    chat_template_free(t);
    return rc;
}

void chat_template_free(struct chat_template *t)
{
    if (t == NULL)
        return;
    jinja_free(t->plain);
    jinja_free(t->tools);
    json_free(t->words);
    free(t);
}

static int add_extra(struct jinja_input *inputs, size_t *n, const struct json *extra, struct err *err)
{
    if (extra != NULL && json_type(extra) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "values for the chat template: expected an object, found %s", json_type_name(extra));
    for (const struct json *v = json_first(extra); v != NULL; v = json_next(v)) {
        if (strcmp(json_key(v), "messages") == 0 || strcmp(json_key(v), "add_generation_prompt") == 0)
            return err_set(err, ERR_INPUT, "values for the chat template: '%s' is given elsewhere", json_key(v));
        if (*n == INPUTS_MAX)
            return err_set(err, ERR_INPUT, "values for the chat template: at most %d", INPUTS_MAX);
        inputs[(*n)++] = (struct jinja_input){json_key(v), v};
    }
    return 0;
}

int chat_template_render(const struct chat_template *t, const struct json *messages, bool add_generation_prompt,
                         const struct json *extra, struct buf *out, struct err *err)
{
    struct jinja_input inputs[INPUTS_MAX];
    const struct json *words = json_root(t->words);
    const bool tools = t->tools != NULL && !json_is_null(json_get(extra, "tools"));
    const struct jinja *template = tools ? t->tools : t->plain;
    size_t n = 0;
    if (messages == NULL || json_type(messages) != JSON_ARRAY)
        return err_set(err, ERR_INPUT, "messages: expected a list, found %s", json_type_name(messages));
    if (template == NULL)
        return err_set(err, ERR_INPUT, "the model's chat templates are called %s; none is called 'default'", t->names);
    for (const struct json *w = json_first(words); w != NULL; w = json_next(w))
        if (strcmp(json_key(w), "true") != 0 && strcmp(json_key(w), "false") != 0)
            inputs[n++] = (struct jinja_input){json_key(w), w};
    inputs[n++] = (struct jinja_input){"tools", NULL};
    inputs[n++] = (struct jinja_input){"documents", NULL};
    inputs[n++] = (struct jinja_input){"messages", messages};
    inputs[n++] = (struct jinja_input){"add_generation_prompt", json_get(words, add_generation_prompt ? "true" : "false")};
    if (add_extra(inputs, &n, extra, err) != 0)
        return -1;
    return jinja_render(template, inputs, n, clock_unix(), out, err);
}
