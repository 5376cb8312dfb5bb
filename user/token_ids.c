#include "user/token_ids.h"

#include <stdlib.h>

#include "base/size.h"

static int reserve(struct token_ids *t, size_t more, struct err *err)
{
    size_t need, bytes;
    if (size_add(t->n, more, &need) || size_mul(need, 2 * sizeof(int32_t), &bytes))
        return err_oom(err, SIZE_MAX);
    if (need <= t->cap)
        return 0;
    size_t cap = need < 64 ? 64 : need + need / 2;
    int32_t *ids = realloc(t->ids, cap * sizeof *ids);
    if (ids == NULL)
        return err_oom(err, cap * sizeof *ids);
    t->ids = ids;
    int32_t *type_ids = realloc(t->type_ids, cap * sizeof *type_ids);
    if (type_ids == NULL)
        return err_oom(err, cap * sizeof *type_ids);
    t->type_ids = type_ids;
    t->cap = cap;
    return 0;
}

int token_ids_push(struct token_ids *t, int32_t id, int32_t type_id, struct err *err)
{
    if (t->n == t->cap && reserve(t, 1, err) != 0)
        return -1;
    t->ids[t->n] = id;
    t->type_ids[t->n++] = type_id;
    return 0;
}

int token_ids_append(struct token_ids *t, const struct token_ids *from, int32_t type_id, struct err *err)
{
    if (reserve(t, from->n, err) != 0)
        return -1;
    for (size_t i = 0; i < from->n; i++) {
        t->ids[t->n] = from->ids[i];
        t->type_ids[t->n++] = type_id;
    }
    t->dropped += from->dropped;
    return 0;
}

void token_ids_free(struct token_ids *t)
{
    if (t == NULL)
        return;
    free(t->ids);
    free(t->type_ids);
    *t = (struct token_ids){0};
}
