#include "model_dev/contents.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ tensors */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct contents_item *)a)->name, ((const struct contents_item *)b)->name);
}

const struct contents_item *contents_find(const struct contents *c, const char *name)
{
    struct contents_item key = {.name = (char *)(uintptr_t)name};
    return c->count == 0 ? NULL : bsearch(&key, c->items, c->count, sizeof key, by_name);
}

void contents_free(struct contents *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->items[i].name);
    free(c->items);
    *c = (struct contents){0};
}

static bool goes(const struct config *c, const struct arch_tensor *row, unsigned parts)
{
    if (row->role == ROLE_LM_HEAD && c->tied && (parts & CHECKPOINT_EMBED) != 0)
        return false; /* the token embedding is it */
    return arch_present(c, row) && (parts & 1u << row->part) != 0;
}

int contents_granted(const struct config *c, const struct arch_tensor *row, bool head_user, int local_layers, bool gauge)
{
    if (!arch_present(c, row))
        return 0;
    if (row->per_layer)
        return arch_below(c, row, local_layers);
    if (row->role == ROLE_FINAL_NORM_W || row->role == ROLE_FINAL_NORM_B)
        return gauge && head_user ? 1 : 0;
    const bool head = row->part == PART_HEAD && head_user && !(row->role == ROLE_LM_HEAD && c->tied);
    return row->part == PART_EMBED || head ? 1 : 0;
}

static int add(struct contents *list, const struct checkpoint *cp, const struct arch_tensor *row, int layer, int first,
               struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    struct contents_item item = {.row = row, .layer = layer, .src = checkpoint_tensor(cp, row->role, layer)};
    char name[512];
    if (item.src == NULL) /* the checkpoint was opened complete */
        return err_set(err, ERR_INTERNAL, "%s: there is no %s", checkpoint_dir(cp), arch_role_name(row->role));
    item.rule = row->part == PART_EMBED ? rules_engine(row->role) : rules_find(row->role, c->head);
    if (item.rule == NULL) /* sending it as it is would be the one unforgivable default */
        return err_set(err, ERR_INTERNAL, "no rule says how to permute the %s of a %s", arch_role_name(row->role), c->architecture);
    item.file = checkpoint_file_of(cp, item.src);
    struct config own = *c;
    own.groups = 0; /* layers that share weights get a copy each, under keys of their own */
    if (checkpoint_name(name, &own, row, layer - first, 0, 0, err) != 0)
        return -1;
    if ((item.name = strdup(name)) == NULL)
        return err_oom(err, strlen(name));
    list->items[list->count++] = item;
    list->bytes += item.src->bytes;
    return 0;
}

int contents_list(struct contents *out, const struct checkpoint *cp, unsigned parts, int first, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    struct contents list = {0};
    size_t n = 0;
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++)
        if (goes(c, row, parts))
            n += (size_t)(arch_count(c, row) - arch_below(c, row, first));
    if ((list.items = calloc(n + 1, sizeof *list.items)) == NULL)
        return err_oom(err, n * sizeof *list.items);
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++)
        for (int l = arch_below(c, row, first); goes(c, row, parts) && l < arch_count(c, row); l++)
            if (add(&list, cp, row, l, arch_below(c, row, first), err) != 0) {
                contents_free(&list);
                return -1;
            }
    qsort(list.items, list.count, sizeof *list.items, by_name);
    *out = list;
    return 0;
}

int contents_mix_experts(struct contents *list, const struct checkpoint *cp, const struct keyset *keys, struct err *err)
{
    const int experts = checkpoint_config(cp)->experts;
    struct perm order = {0};
    int layer = -1, rc = 0;
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        struct contents_item *item = &list->items[i];
        if (!item->row->per_expert)
            continue;
        if (item->layer / experts != layer) {
            perm_wipe(&order);
            layer = item->layer / experts;
            rc = keyset_perm(keys, KEY_EXPERTS, layer, &order, err);
        }
        if (rc == 0)
            item->src = checkpoint_tensor(cp, item->row->role, layer * experts + (int)order.to[item->layer % experts]);
    }
    perm_wipe(&order);
    return rc;
}

/* ------------------------------------------------------------------ config.json */

static bool any_of(const char *key, const char *const *list)
{
    while (*list != NULL && strcmp(*list, key) != 0)
        list++;
    return *list != NULL;
}

/* Numbers and switches say nothing that the shapes do not say. Text can be a customer's name or a path, so only the
 * fields that the network depends on are taken. */
static bool keeps(const struct json *member)
{
    static const char *const structured[] = {
        "architectures", "model_type", "hidden_act", "hidden_activation", "activation_function", "activation", "position_embedding_type",
        "rope_scaling", "rope_parameters", "layer_types", "image_size", "patch_size", "eos_token_id", "torch_dtype", "dtype", NULL};
    switch (json_type(member)) {
    case JSON_NULL:
    case JSON_BOOL:
    case JSON_NUMBER:
        return true;
    default:
        return any_of(json_key(member), structured);
    }
}

#define SAME(field) (a->field == b->field)

static bool same_rope(const struct rope_config *a, const struct rope_config *b)
{
    bool same = SAME(kind) && SAME(theta) && SAME(factor) && SAME(low_freq_factor) && SAME(high_freq_factor) && SAME(original) &&
                SAME(beta_fast) && SAME(beta_slow) && SAME(truncate) && SAME(attention_factor);
    for (int i = 0; same && i < ROPE_MAX_PAIRS; i++)
        same = SAME(stretch[i]);
    return same;
}

/* Guards the list above: a family whose reader asks for another text field must not be shipped as a different network. */
static bool same_network(const struct config *a, const struct config *b)
{
    bool same = SAME(arch) && SAME(D) && SAME(L) && SAME(H) && SAME(G) && SAME(K) && SAME(F) && SAME(V) && SAME(C) && SAME(E) && SAME(groups) &&
                SAME(experts) && SAME(experts_used) && SAME(renormalise) && SAME(positions) && SAME(channels) && SAME(image[0]) && SAME(image[1]) && SAME(patch[0]) && SAME(patch[1]) && SAME(position_offset) && SAME(type_vocab) && SAME(norm) && SAME(norm_eps) && SAME(post_norm) &&
                SAME(parallel) && SAME(causal) && SAME(gated) && SAME(act) && SAME(head_act) && SAME(rotary) && SAME(qk_norm) &&
                SAME(qkv_bias) && SAME(o_bias) && SAME(mlp_bias) && SAME(position) && same_rope(&a->rope, &b->rope) &&
                same_rope(&a->rope_sliding, &b->rope_sliding) && SAME(two_ropes) && SAME(window) && SAME(query_scale) &&
                SAME(score_cap) && SAME(logit_cap) && SAME(embed_scale) && SAME(gain_plus_one) && SAME(post_norms) && SAME(head) &&
                SAME(bos) && SAME(pad) && SAME(eos_count) && memcmp(a->sliding, b->sliding, sizeof a->sliding) == 0;
    for (int i = 0; same && i < a->eos_count; i++)
        same = SAME(eos[i]);
    return same;
}

static int check_same(const struct json_doc *doc, const struct config *source, int first, double eps, struct err *err)
{
    struct config c, want = *source;
    want.L -= first;
    if (source->groups > 0)
        want.groups = want.L;
    if (eps > 0)
        want.norm_eps = eps;
    memset(want.sliding, 0, sizeof want.sliding);
    for (int l = first; l < source->L; l++)
        if (config_window(source, l) > 0)
            want.sliding[(l - first) / 64] |= (uint64_t)1 << ((l - first) % 64);
    if (config_parse(&c, doc, err) != 0)
        return err_wrap(err, "the package's config.json");
    bool same = same_network(&c, &want);
    config_free(&c);
    return same ? 0 : err_set(err, ERR_INTERNAL, "the package's config.json would describe another network");
}

/* The fields that count layers or list them, for a model that starts at layer `first`. */
static void put_layers(struct json_doc *doc, struct json *root, const struct json_doc *from, const struct config *c, int first)
{
    static const char *const counts[] = {"num_hidden_layers", "n_layer", "n_layers", NULL};
    const struct json *source = json_root(from);
    for (const char *const *key = counts; *key != NULL; key++)
        if (!json_is_null(json_get(source, *key)))
            json_put_int(doc, root, *key, c->L - first);
    if (c->window == 0)
        return;
    struct json *list = json_put_array(doc, root, "layer_types"); /* what the other keys say would be counted from another layer */
    for (int l = first; l < c->L; l++)
        json_put_str(doc, list, NULL, config_window(c, l) > 0 ? "sliding_attention" : "full_attention");
}

static void put_numbers(struct json_doc *doc, struct json *parent, const char *key, const char *strategy, bool dynamic)
{
    struct json *n = json_put_object(doc, parent, key);
    json_put_int(doc, n, "num_bits", 8);
    json_put_str(doc, n, "type", "int");
    json_put_bool(doc, n, "symmetric", true);
    json_put_str(doc, n, "strategy", strategy);
    json_put_bool(doc, n, "dynamic", dynamic);
}

/* Weights per output channel, activations per token: what compressed-tensors calls int-quantized. */
static void put_quantization(struct json_doc *doc, struct json *root, bool experts)
{
    struct json *q = json_put_object(doc, root, "quantization_config");
    json_put_str(doc, q, "quant_method", "compressed-tensors");
    json_put_str(doc, q, "format", "int-quantized");
    json_put_str(doc, q, "quantization_status", "compressed");
    struct json *ignore = json_put_array(doc, q, "ignore");
    if (experts)
        json_put_str(doc, ignore, NULL, "re:.*gate$"); /* routers choose in f32 */
    struct json *group = json_put_object(doc, json_put_object(doc, q, "config_groups"), "group_0");
    json_put_str(doc, json_put_array(doc, group, "targets"), NULL, "Linear");
    put_numbers(doc, group, "weights", "channel", false);
    put_numbers(doc, group, "input_activations", "token", true);
}

int contents_config(const struct checkpoint *cp, bool head, int first, double eps, const char *dtype, enum compute compute, char **text,
                    struct err *err)
{
    static const char *const set_here[] = {"num_labels", "tie_word_embeddings", "num_hidden_groups", NULL};
    static const char *const dtypes[] = {"torch_dtype", "dtype", NULL};
    static const char *const of_eps[] = {"rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", NULL};
    static const char *const of_layers[] = {"num_hidden_layers", "n_layer", "n_layers", "max_window_layers", "layer_types", NULL};
    const struct config *c = checkpoint_config(cp);
    struct json_doc *doc = json_new_object("config.json");
    struct json *root = json_node(doc);
    bool stores_table = head && (c->head == HEAD_LM || c->head == HEAD_MLM);
    for (const struct json *m = json_first(json_root(checkpoint_json(cp))); m != NULL; m = json_next(m))
        if (keeps(m) && !any_of(json_key(m), set_here) && (dtype == NULL || !any_of(json_key(m), dtypes)) &&
            (first == 0 || !any_of(json_key(m), of_layers)) && (!(eps > 0) || !any_of(json_key(m), of_eps)))
            json_put_copy(doc, root, json_key(m), m);
    for (const char *const *key = of_eps; eps > 0 && *key != NULL; key++)
        json_put_num(doc, root, *key, eps); /* each family reads its own */
    if (first > 0)
        put_layers(doc, root, checkpoint_json(cp), c, first);
    if (c->groups > 0)
        json_put_int(doc, root, "num_hidden_groups", c->L - first); /* a copy for each */
    if (c->head == HEAD_CLASSIFY)
        json_put_int(doc, root, "num_labels", c->C); /* in place of the labels' names */
    /* The server's table stands alone: the embedding that it could be tied to is not in the package. */
    json_put_bool(doc, root, "tie_word_embeddings", c->tied && !stores_table);
    if (dtype != NULL)
        json_put_str(doc, root, "torch_dtype", dtype);
    if (compute == COMPUTE_INT8)
        put_quantization(doc, root, c->experts > 0);
    char *printed = NULL;
    int rc = json_print(doc, true, &printed, err);
    if (rc == 0)
        rc = check_same(doc, c, first, eps, err);
    json_free(doc);
    if (rc != 0)
        free(printed);
    else
        *text = printed;
    return rc;
}
