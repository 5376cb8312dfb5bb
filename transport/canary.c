#include "transport/canary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/reader.h"
#include "base/secret.h"

static const char magic[8] = "STIPCAN1";

void canary_free(struct canary_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->item[i].prompt);
        free(list->item[i].row);
    }
    free(list->item);
    *list = (struct canary_list){0};
}

static void put_float(struct buf *b, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    buf_put32(b, bits);
}

static float get_float(struct reader *r)
{
    const uint32_t bits = reader_u32(r);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

int canary_encode(const struct canary_list *list, uint8_t **bytes, size_t *len, struct err *err)
{
    struct buf b;
    uint8_t digest[CRYPTO_HASH_LEN];
    buf_init(&b, CANARY_CAP);
    buf_put(&b, magic, sizeof magic);
    put_float(&b, list->tolerance);
    buf_put32(&b, (uint32_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        const struct canary *c = &list->item[i];
        buf_put32(&b, c->prompt_n);
        buf_put32(&b, c->answer);
        buf_put32(&b, c->at);
        for (uint32_t t = 0; t < c->prompt_n; t++)
            buf_put32(&b, (uint32_t)c->prompt[t]);
        for (uint32_t a = 0; a < c->answer; a++)
            for (int k = 0; k <= CANARY_TOP; k++) {
                buf_put32(&b, (uint32_t)c->row[a].id[k]);
                put_float(&b, c->row[a].logprob[k]);
            }
    }
    int rc = buf_check(&b, "canaries", err);
    if (rc == 0)
        rc = crypto_sha256(b.data, b.len, digest, err);
    if (rc == 0) {
        buf_put(&b, digest, sizeof digest);
        rc = buf_check(&b, "canaries", err);
    }
    if (rc == 0)
        *bytes = (uint8_t *)buf_take(&b, len);
    buf_free(&b);
    return rc;
}

static bool get_row(struct canary_row *row, struct reader *r, int outputs)
{
    bool good = true;
    for (int k = 0; k <= CANARY_TOP; k++) {
        row->id[k] = (int32_t)reader_u32(r);
        row->logprob[k] = get_float(r);
        good = good && row->id[k] < outputs && row->id[k] >= (k == 0 ? 0 : -1) && isfinite(row->logprob[k]);
    }
    return good;
}

static int get_canary(struct canary *c, struct reader *r, int vocabulary, int outputs, const char *name, struct err *err)
{
    bool good = true;
    c->prompt_n = reader_u32(r);
    c->answer = reader_u32(r);
    c->at = reader_u32(r);
    if (r->failed || c->prompt_n < 1 || c->prompt_n > CANARY_PROMPT_MAX || c->answer < 1 || c->answer > CANARY_ANSWER_MAX ||
        c->at >= c->prompt_n)
        return err_set(err, ERR_INPUT, "%s: a canary has an impossible length: written by another program", name);
    c->prompt = malloc(c->prompt_n * sizeof *c->prompt);
    c->row = malloc(c->answer * sizeof *c->row);
    if (c->prompt == NULL || c->row == NULL)
        return err_oom(err, c->answer * sizeof *c->row);
    for (uint32_t t = 0; t < c->prompt_n; t++) {
        c->prompt[t] = (int32_t)reader_u32(r);
        good = good && c->prompt[t] >= 0 && c->prompt[t] < vocabulary;
    }
    for (uint32_t a = 0; a < c->answer; a++)
        good = get_row(&c->row[a], r, outputs) && good;
    return good && !r->failed ? 0
                              : err_set(err, ERR_INPUT, "%s: a canary does not fit this model: a token that it does not have, or a "
                                                        "number that is not finite", name);
}

int canary_decode(struct canary_list *out, const uint8_t *bytes, size_t len, int vocabulary, int outputs, const char *name,
                  struct err *err)
{
    uint8_t digest[CRYPTO_HASH_LEN];
    struct canary_list list = {0};
    struct reader r;
    if (len < sizeof magic + 8 + sizeof digest || memcmp(bytes, magic, sizeof magic) != 0)
        return err_set(err, ERR_INPUT, "%s: not a file of canaries; join again", name);
    const size_t body = len - sizeof digest;
    if (crypto_sha256(bytes, body, digest, err) != 0)
        return -1;
    if (!secret_equal(digest, bytes + body, sizeof digest))
        return err_set(err, ERR_INPUT, "%s: damaged (checksum); join again", name);
    reader_init(&r, bytes + sizeof magic, body - sizeof magic);
    list.tolerance = get_float(&r);
    const uint32_t count = reader_u32(&r);
    if (count < 1 || count > CANARY_COUNT_MAX || !isfinite(list.tolerance) || list.tolerance <= 0)
        return err_set(err, ERR_INPUT, "%s: expected 1 to %u canaries and a tolerance, found %u", name, CANARY_COUNT_MAX, count);
    if ((list.item = calloc(count, sizeof *list.item)) == NULL)
        return err_oom(err, count * sizeof *list.item);
    list.count = count;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = get_canary(&list.item[i], &r, vocabulary, outputs, name, err);
    if (rc == 0 && !reader_end(&r))
        rc = err_set(err, ERR_INPUT, "%s: bytes follow the last canary", name);
    if (rc != 0)
        canary_free(&list);
    else
        *out = list;
    return rc;
}
