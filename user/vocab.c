#include "user/vocab.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a, with a last mix because the low bits are used as an index. */
static uint64_t hash_of(const char *text, size_t len)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)text[i]) * 0x100000001B3u;
    return h ^ h >> 29;
}

static uint32_t *slot_of(const struct vocab *v, const char *text, size_t len)
{
    size_t i = (size_t)hash_of(text, len) & (v->n_slots - 1);
    while (v->slots[i] != 0) {
        const struct vocab_token *t = &v->tokens[v->slots[i] - 1];
        if (t->len == len && memcmp(t->text, text, len) == 0)
            break;
        i = (i + 1) & (v->n_slots - 1);
    }
    return &v->slots[i];
}

static int grow_slots(struct vocab *v, struct err *err)
{
    size_t n = v->n_slots == 0 ? 64 : 2 * v->n_slots;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (slots == NULL)
        return err_oom(err, n * sizeof *slots);
    free(v->slots);
    v->slots = slots;
    v->n_slots = n;
    for (size_t id = 0; id < v->n_ids; id++)
        if (v->tokens[id].text != NULL)
            *slot_of(v, v->tokens[id].text, v->tokens[id].len) = (uint32_t)id + 1;
    return 0;
}

static int grow_ids(struct vocab *v, size_t need, struct err *err)
{
    if (need > v->cap_ids) {
        size_t cap = need + need / 2 + 64;
        struct vocab_token *tokens = realloc(v->tokens, cap * sizeof *tokens);
        if (tokens == NULL)
            return err_oom(err, cap * sizeof *tokens);
        v->tokens = tokens;
        v->cap_ids = cap;
    }
    while (v->n_ids < need)
        v->tokens[v->n_ids++] = (struct vocab_token){0};
    return 0;
}

int vocab_add(struct vocab *v, const char *text, size_t len, int64_t id, const char *where, struct err *err)
{
    if (id < 0 || id > VOCAB_ID_MAX)
        return err_set(err, ERR_INPUT, "%s: token '%.60s': expected an id from 0 to %lld, found %lld", where, text,
                       (long long)VOCAB_ID_MAX, (long long)id);
    if (len > VOCAB_TOKEN_MAX)
        return err_set(err, ERR_INPUT, "%s: id %lld: expected a token of at most %zu bytes, found %zu", where, (long long)id,
                       VOCAB_TOKEN_MAX, len);
    if (v->n_slots != 0 && *slot_of(v, text, len) != 0)
        return err_set(err, ERR_INPUT, "%s: the token '%.60s' stands twice", where, text);
    size_t held;
    const char *holder = vocab_text(v, id, &held);
    if (holder != NULL)
        return err_set(err, ERR_INPUT, "%s: the id %lld belongs to two tokens, '%.60s' and '%.60s'", where, (long long)id, holder,
                       text);
    if (2 * (v->count + 1) > v->n_slots && grow_slots(v, err) != 0)
        return -1;
    if (grow_ids(v, (size_t)id + 1, err) != 0)
        return -1;
    char *copy = malloc(len + 1);
    if (copy == NULL)
        return err_oom(err, len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    uint32_t *slot = slot_of(v, text, len);
    v->tokens[id] = (struct vocab_token){.text = copy, .len = len};
    *slot = (uint32_t)id + 1;
    v->count++;
    if (len > v->longest)
        v->longest = len;
    return 0;
}

int32_t vocab_find(const struct vocab *v, const char *text, size_t len)
{
    return v->n_slots == 0 ? -1 : (int32_t)*slot_of(v, text, len) - 1;
}

const char *vocab_text(const struct vocab *v, int64_t id, size_t *len)
{
    if (id < 0 || (uint64_t)id >= v->n_ids || v->tokens[id].text == NULL)
        return NULL;
    if (len != NULL)
        *len = v->tokens[id].len;
    return v->tokens[id].text;
}

void vocab_free(struct vocab *v)
{
    for (size_t id = 0; id < v->n_ids; id++)
        free(v->tokens[id].text);
    free(v->tokens);
    free(v->slots);
    *v = (struct vocab){0};
}
