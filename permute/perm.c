#include "permute/perm.h"

#include <stdlib.h>

#include "base/le.h"
#include "base/secret.h"
#include "base/size.h"

static int perm_new(struct perm *p, uint32_t n, struct err *err)
{
    size_t bytes;
    if (size_mul(n, sizeof *p->to, &bytes))
        return err_oom(err, UINT64_MAX);
    uint32_t *to = secret_alloc(bytes);
    if (to == NULL)
        return err_oom(err, bytes);
    for (uint32_t i = 0; i < n; i++)
        to[i] = i;
    *p = (struct perm){.n = n, .to = to};
    return 0;
}

/* 32-bit words of a keystream, fetched in blocks because one call into OpenSSL per word would cost more than the word. */
struct words {
    struct crypto_stream *stream;
    uint8_t bytes[1024];
    size_t at;
};

static int next_word(struct words *w, uint32_t *out, struct err *err)
{
    if (w->at == sizeof w->bytes) {
        if (crypto_stream_read(w->stream, w->bytes, sizeof w->bytes, err) != 0)
            return -1;
        w->at = 0;
    }
    *out = le_get32(w->bytes + w->at);
    w->at += 4;
    return 0;
}

/* A number below `bound`, each equally likely. Words from the incomplete last multiple of `bound` are drawn again:
 * taking them modulo `bound` would favour the small numbers. */
static int next_below(struct words *w, uint32_t bound, uint32_t *out, struct err *err)
{
    const uint64_t space = (uint64_t)1 << 32, usable = space - space % bound;
    uint32_t word;
    do {
        if (next_word(w, &word, err) != 0)
            return -1;
    } while (word >= usable);
    *out = word % bound;
    return 0;
}

int perm_random(struct perm *out, uint32_t n, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    struct perm p = {0};
    struct words w = {.at = sizeof w.bytes};
    int rc = -1;
    if (perm_new(&p, n, err) != 0 || crypto_stream_new(&w.stream, key, err) != 0)
        goto done;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j;
        if (next_below(&w, i, &j, err) != 0)
            goto done;
        uint32_t swap = p.to[i - 1];
        p.to[i - 1] = p.to[j];
        p.to[j] = swap;
    }
    *out = p;
    p = (struct perm){0};
    rc = 0;
done:
    crypto_stream_free(w.stream);
    secret_wipe(&w, sizeof w);
    perm_wipe(&p);
    return rc;
}

int perm_identity(struct perm *out, uint32_t n, struct err *err)
{
    return perm_new(out, n, err);
}

int perm_inverse(struct perm *out, const struct perm *p, struct err *err)
{
    struct perm inverse;
    if (perm_new(&inverse, p->n, err) != 0)
        return -1;
    for (uint32_t i = 0; i < p->n; i++)
        inverse.to[p->to[i]] = i;
    *out = inverse;
    return 0;
}

void perm_wipe(struct perm *p)
{
    secret_free(p->to);
    *p = (struct perm){0};
}

bool perm_valid(const struct perm *p)
{
    uint8_t *seen = calloc((size_t)p->n + 1, 1);
    bool ok = seen != NULL;
    for (uint32_t i = 0; ok && i < p->n; i++) {
        ok = p->to[i] < p->n && !seen[p->to[i]];
        if (ok)
            seen[p->to[i]] = 1;
    }
    free(seen);
    return ok;
}
