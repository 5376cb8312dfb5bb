#include "model/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/arch.h"
#include "model/shape.h"

/* An id, a list of ids, or null. */
static int read_eos(struct config *c, const struct json_doc *doc, struct err *err)
{
    const struct json *node = json_get(json_root(doc), "eos_token_id");
    if (json_is_null(node))
        return 0;
    const struct json *item = json_type(node) == JSON_ARRAY ? json_first(node) : node;
    for (; item != NULL; item = item == node ? NULL : json_next(item)) {
        int64_t id;
        if (!json_integer(item, &id) || id < 0 || id > INT32_MAX)
            return err_set(err, ERR_INPUT, "%s: field 'eos_token_id': expected token ids, found %s", json_name(doc),
                           json_type_name(item));
        if (c->eos_count == CONFIG_MAX_EOS)
            return err_set(err, ERR_INPUT, "%s: field 'eos_token_id': more than %d ids", json_name(doc), CONFIG_MAX_EOS);
        c->eos[c->eos_count++] = (int)id;
    }
    return 0;
}

static int read_token_id(const struct json_doc *doc, const char *key, int *out, struct err *err)
{
    int64_t id = -1;
    if (json_opt_int(doc, json_root(doc), key, -1, INT32_MAX, &id, err) != 0)
        return -1;
    *out = (int)id;
    return 0;
}

/* "0", "1", ... as Python writes them (no leading zeros, so that no two keys mean one class), or -1. */
static int label_index(const char *key, int count)
{
    int i = 0;
    if (key[0] == '\0' || (key[0] == '0' && key[1] != '\0'))
        return -1;
    for (; *key >= '0' && *key <= '9' && i < count; key++)
        i = 10 * i + *key - '0';
    return *key == '\0' && i < count ? i : -1;
}

static int read_labels(struct config *c, const struct json_doc *doc, struct err *err)
{
    const struct json *root = json_root(doc), *map = json_get(root, "id2label");
    int64_t count = json_is_null(map) ? 2 : (int64_t)json_count(map);
    if (json_opt_int(doc, root, "num_labels", 1, SHAPE_MAX_CLASSES, &count, err) != 0)
        return -1;
    if (count < 1 || count > SHAPE_MAX_CLASSES)
        return err_set(err, ERR_INPUT, "%s: field 'id2label': expected 1 to %d labels, found %lld", json_name(doc),
                       SHAPE_MAX_CLASSES, (long long)count);
    c->C = (int)count;
    if (json_is_null(map))
        return 0;
    if (json_type(map) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: field 'id2label': expected an object, found %s", json_name(doc), json_type_name(map));
    if ((c->labels = calloc((size_t)count, sizeof *c->labels)) == NULL)
        return err_oom(err, (size_t)count * sizeof *c->labels);
    /* One pass over the members: a look-up per class would take seconds for 65536 of them. */
    for (const struct json *m = json_first(map); m != NULL; m = json_next(m)) {
        int i = label_index(json_key(m), c->C);
        if (i < 0 || json_string(m) == NULL)
            return err_set(err, ERR_INPUT, "%s: field 'id2label': expected names for \"0\" to \"%d\", found %s for \"%.40s\"",
                           json_name(doc), c->C - 1, json_type_name(m), json_key(m));
        if ((c->labels[i] = strdup(json_string(m))) == NULL)
            return err_oom(err, strlen(json_string(m)));
    }
    for (int i = 0; i < c->C; i++)
        if (c->labels[i] == NULL)
            return err_set(err, ERR_INPUT, "%s: field 'id2label': class %d of %d has no name", json_name(doc), i, c->C);
    return 0;
}

/* What has to hold whatever the family says. */
static int check(const struct config *c, const char *name, struct err *err)
{
    if (c->D < 1 || c->L < 1 || c->H < 1 || c->G < 1 || c->K < 1 || c->F < 1 || (c->V < 1 && !config_reads_images(c)) ||
        c->positions < 1)
        return err_set(err, ERR_INPUT, "%s: the sizes are incomplete", name);
    if (c->H % c->G != 0)
        return err_set(err, ERR_INPUT, "%s: num_attention_heads (%d) is not a multiple of num_key_value_heads (%d)", name, c->H,
                       c->G);
    if (c->K > SHAPE_MAX_D || (int64_t)c->H * c->K > SHAPE_MAX_D * 4)
        return err_set(err, ERR_INPUT, "%s: %d heads of width %d are too large", name, c->H, c->K);
    if (c->position == POSITION_ROPE && (c->rotary < 2 || c->rotary % 2 != 0 || c->rotary > c->K))
        return err_set(err, ERR_INPUT, "%s: rotary positions turn an even number of a head's dims, found %d of %d", name,
                       c->rotary, c->K);
    if (!(c->norm_eps > 0 && c->norm_eps < 1))
        return err_set(err, ERR_INPUT, "%s: the norm's epsilon is %g, expected a small positive number", name, c->norm_eps);
    for (int i = 0; i < c->eos_count; i++)
        if (c->eos[i] >= c->V)
            return err_set(err, ERR_INPUT, "%s: field 'eos_token_id': %d is outside the vocabulary of %d", name, c->eos[i], c->V);
    return 0;
}

static bool is_text(const struct json *node, const char *want)
{
    const char *text = json_string(node);
    return text != NULL && strcmp(text, want) == 0;
}

static bool is_int8(const struct json *n, const char *strategy, bool dynamic)
{
    int64_t bits;
    const struct json *zero = json_get(n, "symmetric"), *when = json_get(n, "dynamic");
    return json_integer(json_get(n, "num_bits"), &bits) && bits == 8 && is_text(json_get(n, "type"), "int") && json_true(zero) &&
           is_text(json_get(n, "strategy"), strategy) && json_true(when) == dynamic;
}

#define ROUTERS "re:.*gate$" /* what protect leaves out of models with experts */

/* Symmetric int8, weights per output channel, activations per token (compressed-tensors, int-quantized): the one quantisation
 * that engine computes. */
static bool is_w8a8(const struct json *q)
{
    const struct json *groups = json_get(q, "config_groups"), *group = json_first(groups);
    const struct json *ignore = json_get(q, "ignore");
    return is_text(json_get(q, "quant_method"), "compressed-tensors") && is_text(json_get(q, "format"), "int-quantized") &&
           (json_count(ignore) == 0 || (json_count(ignore) == 1 && is_text(json_first(ignore), ROUTERS))) && json_is_null(json_get(q, "kv_cache_scheme")) && json_count(groups) == 1 &&
           json_is_null(json_get(group, "output_activations")) && is_int8(json_get(group, "weights"), "channel", false) &&
           is_int8(json_get(group, "input_activations"), "token", true);
}

int config_parse(struct config *out, const struct json_doc *doc, struct err *err)
{
    const struct json *root = json_root(doc), *list = json_get(root, "architectures");
    const char *name = json_name(doc);
    if (json_type(root) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: expected an object, found %s", name, json_type_name(root));
    const char *architecture = list != NULL && json_type(list) == JSON_ARRAY ? json_string(json_first(list)) : NULL;
    if (architecture == NULL)
        return err_set(err, ERR_INPUT, "%s: field 'architectures': expected a list with one name, found %s", name,
                       json_type_name(list));
    const struct json *quantised = json_get(root, "quantization_config");
    if (!json_is_null(quantised) && !is_w8a8(quantised))
        return err_set(err, ERR_INPUT, "%s: field 'quantization_config': quantised checkpoints are not supported, except int8 per "
                                       "output channel as protect writes it; use the float checkpoint of this model", name);

    struct config c = {.quantised = !json_is_null(quantised), .bos = -1, .pad = -1, .causal = true, .rope = {.theta = 10000, .factor = 1}};
    c.arch = arch_find(architecture);
    if (c.arch == NULL)
        return err_set(err, ERR_INPUT, "%s: field 'architectures': '%.60s' is not implemented; known: %s", name, architecture,
                       arch_names());
    (void)snprintf(c.architecture, sizeof c.architecture, "%s", architecture);
    c.head = c.arch->head;
    if (c.arch->read(&c, doc, err) != 0 || read_eos(&c, doc, err) != 0 ||
        read_token_id(doc, "bos_token_id", &c.bos, err) != 0 || read_token_id(doc, "pad_token_id", &c.pad, err) != 0 ||
        (c.head == HEAD_CLASSIFY && read_labels(&c, doc, err) != 0) || check(&c, name, err) != 0) {
        config_free(&c);
        return -1;
    }
    *out = c;
    return 0;
}

int config_read(struct config *out, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct json_doc *doc;
    if (file_join(path, dir, "config.json", err) != 0)
        return -1;
    if (!file_exists(path))
        return err_set(err, ERR_INPUT, "%s: there is no config.json; expected the folder of a Hugging Face checkpoint", dir);
    if (json_load(&doc, path, JSON_CAP_CONFIG, false, err) != 0)
        return -1;
    int rc = config_parse(out, doc, err);
    json_free(doc);
    return rc;
}

void config_free(struct config *c)
{
    if (c->labels != NULL)
        for (int i = 0; i < c->C; i++)
            free(c->labels[i]);
    free(c->labels);
    c->labels = NULL;
}

int config_outputs(const struct config *c)
{
    return c->head == HEAD_NONE ? c->D : c->head == HEAD_CLASSIFY ? c->C : c->V;
}
