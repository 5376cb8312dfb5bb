#include "model/sentence.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/shape.h"

#define PROMPTS_MAX 64

/* ------------------------------------------------------------------ names */

static const char *const names[] = {[POOL_MEAN] = "mean", [POOL_CLS] = "cls", [POOL_MAX] = "max", [POOL_LAST] = "last"};

bool pooling_parse(const char *name, enum pooling *out)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum pooling)i;
            return true;
        }
    return false;
}

const char *pooling_name(enum pooling pooling)
{
    return names[pooling];
}

void sentence_free(struct sentence *s)
{
    for (size_t i = 0; i < s->prompt_count; i++) {
        free(s->prompts[i].name);
        free(s->prompts[i].text);
    }
    free(s->prompts);
    *s = (struct sentence){0};
}

const struct sentence_prompt *sentence_prompt(const struct sentence *s, const char *name)
{
    for (size_t i = 0; i < s->prompt_count; i++)
        if (strcmp(s->prompts[i].name, name) == 0)
            return &s->prompts[i];
    return NULL;
}

/* "prompts": {"query": "query: ", ...}, "default_prompt_name": "query" */
static int read_prompts(struct sentence *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    const struct json *map = json_get(node, "prompts");
    const char *usual = NULL;
    if (!json_is_null(map) && (json_type(map) != JSON_OBJECT || json_count(map) > PROMPTS_MAX))
        return err_set(err, ERR_INPUT, "%s: field 'prompts': expected an object of at most %d texts, found %s", json_name(doc),
                       PROMPTS_MAX, json_type_name(map));
    if (json_count(map) > 0 && (s->prompts = calloc(json_count(map), sizeof *s->prompts)) == NULL)
        return err_oom(err, json_count(map) * sizeof *s->prompts);
    for (const struct json *m = json_first(map); m != NULL; m = json_next(m)) {
        struct sentence_prompt *p = &s->prompts[s->prompt_count];
        if (json_string(m) == NULL)
            return err_set(err, ERR_INPUT, "%s: field 'prompts': expected texts, found %s for '%.40s'", json_name(doc),
                           json_type_name(m), json_key(m));
        s->prompt_count++;
        if ((p->name = strdup(json_key(m))) == NULL || (p->text = strdup(json_string(m))) == NULL)
            return err_oom(err, strlen(json_string(m)));
    }
    if (json_opt_str(doc, node, "default_prompt_name", &usual, err) != 0)
        return -1;
    if (usual != NULL && (s->usual = sentence_prompt(s, usual)) == NULL)
        return err_set(err, ERR_INPUT, "%s: field 'default_prompt_name': '%.40s' is not one of 'prompts'", json_name(doc), usual);
    return 0;
}

/* ------------------------------------------------------------------ the folders of sentence-transformers */

/* Loads DIR/name; *out stays NULL where there is no such file. */
static int load(struct json_doc **out, const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (file_join(path, dir, name, err) != 0)
        return -1;
    return file_exists(path) ? json_load(out, path, JSON_CAP_CONFIG, false, err) : 0;
}

static int refuse_pooling(const struct json_doc *doc, const char *field, const char *what, struct err *err)
{
    return err_set(err, ERR_INPUT, "%s: field '%s': %s is not implemented; known: one of mean, cls, max, lasttoken", json_name(doc),
                   field, what);
}

/* Version 5 may say "pooling_mode": "mean"; before that there is a switch for each. */
static int read_mode(enum pooling *out, const struct json_doc *doc, struct err *err)
{
    static const struct {
        const char *key;
        enum pooling pooling;
    } switches[] = {{"pooling_mode_mean_tokens", POOL_MEAN}, {"pooling_mode_cls_token", POOL_CLS},
                    {"pooling_mode_max_tokens", POOL_MAX}, {"pooling_mode_lasttoken", POOL_LAST}};
    static const char *const others[] = {"pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens"};
    const struct json *root = json_root(doc);
    const char *mode = NULL;
    int found = 0;
    if (json_type(json_get(root, "pooling_mode")) == JSON_STRING) {
        mode = json_string(json_get(root, "pooling_mode"));
        return pooling_parse(strcmp(mode, "lasttoken") == 0 ? "last" : mode, out) ? 0 : refuse_pooling(doc, "pooling_mode", mode, err);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (json_true(json_get(root, others[i])))
            return refuse_pooling(doc, others[i], "true", err);
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (json_true(json_get(root, switches[i].key))) {
            *out = switches[i].pooling;
            mode = switches[i].key;
            found++;
        }
    if (found > 1)
        return refuse_pooling(doc, mode, "a second pooling beside it", err);
    return found == 1 ? 0 : err_set(err, ERR_INPUT, "%s: no pooling is switched on; expected one of pooling_mode_mean_tokens, "
                                                    "pooling_mode_cls_token, pooling_mode_max_tokens, pooling_mode_lasttoken", json_name(doc));
}

static int read_pooling(struct sentence *s, const char *dir, const char *folder, int D, bool *prompt_counts, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct json_doc *doc = NULL;
    int64_t width = D;
    if (file_join(path, dir, folder, err) != 0 || load(&doc, path, "config.json", err) != 0)
        return -1;
    if (doc == NULL)
        return err_set(err, ERR_INPUT, "%s: there is no config.json, which modules.json promises", path);
    int rc = json_opt_int(doc, json_root(doc), "word_embedding_dimension", 1, SHAPE_MAX_D, &width, err);
    if (rc == 0 && width != D)
        rc = err_set(err, ERR_INPUT, "%s: field 'word_embedding_dimension': expected the model's %d, found %lld", json_name(doc), D,
                     (long long)width);
    if (rc == 0)
        rc = json_opt_bool(doc, json_root(doc), "include_prompt", prompt_counts, err);
    if (rc == 0)
        rc = read_mode(&s->pooling, doc, err);
    json_free(doc);
    return rc;
}

/* sentence_bert_config.json; older versions call it by the kind of network. */
static int read_length(struct sentence *s, const char *dir, struct err *err)
{
    static const char *const files[] = {"sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json",
                                        "sentence_xlm-roberta_config.json", "sentence_albert_config.json"};
    struct json_doc *doc = NULL;
    bool lower = false;
    int64_t most = 0;
    for (size_t i = 0; doc == NULL && i < sizeof files / sizeof *files; i++)
        if (load(&doc, dir, files[i], err) != 0)
            return -1;
    if (doc == NULL)
        return 0;
    int rc = json_opt_int(doc, json_root(doc), "max_seq_length", 1, INT32_MAX, &most, err);
    if (rc == 0)
        rc = json_opt_bool(doc, json_root(doc), "do_lower_case", &lower, err);
    if (rc == 0 && lower)
        rc = err_set(err, ERR_INPUT, "%s: field 'do_lower_case': true is not implemented; a tokenizer that lowers says so itself",
                     json_name(doc));
    s->max_tokens = (int)most;
    json_free(doc);
    return rc;
}

static int read_more(struct sentence *s, const char *dir, bool prompt_counts, struct err *err)
{
    struct json_doc *doc = NULL;
    if (load(&doc, dir, "config_sentence_transformers.json", err) != 0)
        return -1;
    int rc = doc == NULL ? 0 : read_prompts(s, doc, json_root(doc), err);
    for (size_t i = 0; rc == 0 && !prompt_counts && i < s->prompt_count; i++)
        if (s->prompts[i].text[0] != '\0')
            rc = err_set(err, ERR_INPUT, "%s: field 'prompts': pooling without the prompt's tokens (include_prompt false) is not implemented",
                         json_name(doc));
    json_free(doc);
    return rc;
}

/* "sentence_transformers.models.Pooling", or the longer path of later versions: the class. */
static const char *class_of(const struct json *module)
{
    const char *type = json_string(json_get(module, "type")), *dot = type == NULL ? NULL : strrchr(type, '.');
    return dot == NULL ? type : dot + 1;
}

/* Transformer, Pooling, maybe Normalize: anything else would give another vector. */
static int read_modules(struct sentence *s, const char *dir, int D, const struct json_doc *doc, struct err *err)
{
    static const char *const order[] = {"Transformer", "Pooling", "Normalize"};
    const struct json *root = json_root(doc);
    bool prompt_counts = true;
    size_t at = 0;
    if (json_type(root) != JSON_ARRAY)
        return err_set(err, ERR_INPUT, "%s: expected a list of modules, found %s", json_name(doc), json_type_name(root));
    for (const struct json *m = json_first(root); m != NULL; m = json_next(m), at++) {
        const char *class = class_of(m), *path = "";
        if (class == NULL || at >= sizeof order / sizeof *order || strcmp(class, order[at]) != 0)
            return err_set(err, ERR_INPUT, "%s: module %zu, '%.60s', is not implemented there; known: Transformer, Pooling, then maybe "
                                           "Normalize", json_name(doc), at, class == NULL ? json_type_name(m) : class);
        if (json_opt_str(doc, m, "path", &path, err) != 0)
            return -1;
        if (at == 0 && path[0] != '\0')
            return err_set(err, ERR_INPUT, "%s: the network lies in the folder '%.60s'; move its files beside modules.json and make its "
                                           "path empty", json_name(doc), path);
        if (at == 1 && !file_name_ok(path))
            return err_set(err, ERR_INPUT, "%s: module %zu: field 'path': expected the name of a folder, found '%.60s'", json_name(doc), at,
                           path);
        if (at == 1 && read_pooling(s, dir, path, D, &prompt_counts, err) != 0)
            return -1;
    }
    if (at < 2)
        return err_set(err, ERR_INPUT, "%s: expected at least Transformer and Pooling, found %zu modules", json_name(doc), at);
    s->normalise = at == 3;
    return read_length(s, dir, err) == 0 ? read_more(s, dir, prompt_counts, err) : -1;
}

int sentence_read(struct sentence *out, const char *dir, int D, struct err *err)
{
    struct sentence s = {.normalise = true};
    struct json_doc *doc = NULL;
    if (load(&doc, dir, "modules.json", err) != 0)
        return -1;
    s.present = doc != NULL;
    if (doc != NULL && read_modules(&s, dir, D, doc, err) != 0) {
        json_free(doc);
        sentence_free(&s);
        return -1;
    }
    json_free(doc);
    *out = s;
    return 0;
}

/* ------------------------------------------------------------------ in a grant */

int sentence_parse(struct sentence *out, const struct json_doc *doc, const struct json *node, struct err *err)
{
    static const char *const keys[] = {"pooling", "normalise", "max_tokens", "prompts", "default_prompt_name", NULL};
    struct sentence s = {.present = !json_is_null(node), .normalise = true};
    const char *pooling;
    int64_t most = 0;
    if (s.present) {
        if (json_only(doc, node, keys, err) != 0 || json_get_str(doc, node, "pooling", &pooling, err) != 0 ||
            json_get_bool(doc, node, "normalise", &s.normalise, err) != 0 ||
            json_opt_int(doc, node, "max_tokens", 1, INT32_MAX, &most, err) != 0 || read_prompts(&s, doc, node, err) != 0)
            goto fail;
        if (!pooling_parse(pooling, &s.pooling)) {
            err_set(err, ERR_INPUT, "%s: field 'pooling': '%.30s' needs a newer stip-user", json_name(doc), pooling);
            goto fail;
        }
        s.max_tokens = (int)most;
    }
    *out = s;
    return 0;
fail:
    sentence_free(&s);
    return err_wrap(err, "embedding");
}

void sentence_put(const struct sentence *s, struct json_doc *doc, struct json *node)
{
    json_put_str(doc, node, "pooling", pooling_name(s->pooling));
    json_put_bool(doc, node, "normalise", s->normalise);
    if (s->max_tokens > 0)
        json_put_int(doc, node, "max_tokens", s->max_tokens);
    struct json *map = s->prompt_count == 0 ? NULL : json_put_object(doc, node, "prompts");
    for (size_t i = 0; i < s->prompt_count; i++)
        json_put_str(doc, map, s->prompts[i].name, s->prompts[i].text);
    if (s->usual != NULL)
        json_put_str(doc, node, "default_prompt_name", s->usual->name);
}
