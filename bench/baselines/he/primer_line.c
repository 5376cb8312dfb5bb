#include "bench/baselines/he/primer_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define NUMBER_BYTES 5
#define BASE 128 /* first transfers: bits of a label */
#define PIECES 8 /* of 32 bits: a seed */
#define CHUNK ((size_t)1 << 14) /* transfers at once: 2 KB of each of 128 streams */

struct hello {
    char version[24], what[168];
    uint64_t role;
};

static const char *const names[] = {"the client", "the server"};

static const char *other(const struct primer_line *l)
{
    return names[l->role == PRIMER_CLIENT ? PRIMER_SERVER : PRIMER_CLIENT];
}

int primer_line_new(struct primer_line **out, enum primer_role role, struct bare *bare, const struct bfv *b, const char *what, int timeout_ms,
                    struct err *err)
{
    struct primer_line *l = calloc(1, sizeof *l);
    struct hello mine = {.version = STIP_VERSION "/primer 1", .role = role}, theirs = {.version = ""};
    if (l == NULL)
        return err_oom(err, sizeof *l);
    *l = (struct primer_line){.role = role, .bare = bare, .b = b, .timeout_ms = timeout_ms};
    (void)snprintf(mine.what, sizeof mine.what, "%s", what);
    primer_send(l, &mine, sizeof mine);
    primer_recv(l, &theirs, sizeof theirs);
    theirs.version[sizeof theirs.version - 1] = theirs.what[sizeof theirs.what - 1] = '\0';
    int rc = primer_line_check(l, err);
    if (rc == 0 && strcmp(theirs.version, mine.version) != 0)
        rc = err_set(err, ERR_PEER, "%s runs version \"%s\", this is \"%s\": start both from one build", other(l), theirs.version, mine.version);
    else if (rc == 0 && (strcmp(theirs.what, mine.what) != 0 || theirs.role == mine.role))
        rc = err_set(err, ERR_PEER, "%s computes \"%s\", this is \"%s\"", other(l), theirs.what, mine.what);
    if (rc != 0) {
        primer_line_free(l);
        return -1;
    }
    *out = l;
    return 0;
}

void primer_line_free(struct primer_line *l)
{
    if (l == NULL)
        return;
    for (int i = 0; i < BASE; i++) {
        crypto_stream_free(l->first[i]);
        crypto_stream_free(l->second[i]);
    }
    free(l);
}

int primer_line_check(const struct primer_line *l, struct err *err)
{
    return l->failed ? err_set(err, l->err.code, "%s", l->err.text) : 0;
}

void primer_line_fail(struct primer_line *l, int rc, const struct err *err)
{
    if (rc != 0 && !l->failed) {
        l->failed = true;
        l->err = *err;
    }
}

/* ------------------------------------------------------------------ messages */

static void turn(struct primer_line *l, int direction)
{
    if (l->direction != direction)
        l->messages++;
    l->direction = direction;
}

void primer_send(struct primer_line *l, const void *data, size_t n)
{
    struct err err;
    if (l->failed)
        return;
    turn(l, 1);
    l->sent += n;
    if (bare_send(l->bare, data, n, &err) != 0) {
        err_wrap(&err, "%s", other(l));
        primer_line_fail(l, -1, &err);
    }
}

void primer_recv(struct primer_line *l, void *data, size_t n)
{
    struct err err;
    const uint64_t start = clock_us();
    if (l->failed)
        return;
    turn(l, -1);
    if (bare_recv(l->bare, data, n, l->timeout_ms, &err) != 0) {
        err_wrap(&err, "%s", other(l));
        primer_line_fail(l, -1, &err);
    }
    l->wait_us += clock_us() - start;
}

void primer_pass(struct primer_line *l, enum primer_role from, void *data, size_t n)
{
    if (l->role == from)
        primer_send(l, data, n);
    else
        primer_recv(l, data, n);
}

static void *room(struct primer_line *l, size_t n)
{
    void *p = l->failed ? NULL : malloc(n + 1);
    struct err err;
    if (p == NULL && !l->failed) {
        err_oom(&err, n);
        primer_line_fail(l, -1, &err);
    }
    return p;
}

void primer_pass_numbers(struct primer_line *l, enum primer_role from, uint64_t *v, size_t n)
{
    uint8_t *bytes = room(l, n * NUMBER_BYTES);
    for (size_t i = 0; l->role == from && bytes != NULL && i < n; i++)
        for (size_t k = 0; k < NUMBER_BYTES; k++)
            bytes[i * NUMBER_BYTES + k] = (uint8_t)(v[i] >> 8 * k);
    primer_pass(l, from, bytes, n * NUMBER_BYTES);
    for (size_t i = 0; l->role != from && !l->failed && i < n; i++) {
        v[i] = 0;
        for (size_t k = 0; k < NUMBER_BYTES; k++)
            v[i] |= (uint64_t)bytes[i * NUMBER_BYTES + k] << 8 * k;
    }
    free(bytes);
}

void primer_pass_bits(struct primer_line *l, enum primer_role from, uint8_t *bit, size_t n)
{
    const size_t size = (n + 7) / 8;
    uint8_t *bytes = room(l, size);
    if (bytes != NULL && l->role == from) {
        memset(bytes, 0, size);
        for (size_t i = 0; i < n; i++)
            bytes[i / 8] |= (uint8_t)(bit[i] << i % 8);
    }
    primer_pass(l, from, bytes, size);
    for (size_t i = 0; l->role != from && !l->failed && i < n; i++)
        bit[i] = bytes[i / 8] >> i % 8 & 1;
    free(bytes);
}

void primer_pass_ciphers(struct primer_line *l, enum primer_role from, struct ckks_cipher *x, int n, uint8_t (*seeds)[CRYPTO_KEY_LEN])
{
    const struct ckks *c = l->b->c;
    const int level = c->count;
    const size_t sent = ckks_cipher_bytes(c, seeds == NULL ? 2 : 1, level), whole = ckks_cipher_bytes(c, 2, level);
    struct err err;
    for (int i = 0; i < n && !l->failed; i++) {
        if (l->role != from) {
            ckks_wipe_cipher(&x[i]);
            x[i] = (struct ckks_cipher){room(l, whole), 2, level, 1};
        }
        primer_pass(l, from, x[i].data, sent);
        if (seeds == NULL)
            continue;
        primer_pass(l, from, seeds[i], CRYPTO_KEY_LEN);
        if (l->role != from && !l->failed)
            primer_line_fail(l, ckks_expand(c, &x[i], seeds[i], &err), &err);
    }
}

/* ------------------------------------------------------------------ the first transfers */

static void base_client(struct primer_line *l, struct ckks_eval *e)
{
    const size_t n = l->b->c->n;
    uint8_t keys[2][BASE][CRYPTO_KEY_LEN], seed[1][CRYPTO_KEY_LEN];
    struct ckks_cipher choice = {0}, answer = {0};
    int64_t *slots = room(l, 2 * n * sizeof *slots);
    struct err err;
    if (slots == NULL)
        return;
    memset(slots, 0, 2 * n * sizeof *slots);
    primer_line_fail(l, crypto_random(keys, sizeof keys, &err), &err);
    for (size_t i = 0; i < BASE * PIECES && !l->failed; i++) {
        uint32_t one, two;
        memcpy(&one, keys[0][i / PIECES] + 4 * (i % PIECES), sizeof one);
        memcpy(&two, keys[1][i / PIECES] + 4 * (i % PIECES), sizeof two);
        slots[i] = (int64_t)two - (int64_t)one;
        slots[n + i] = -(int64_t)one;
    }
    primer_pass_ciphers(l, PRIMER_SERVER, &choice, 1, seed);
    if (!l->failed) {
        bfv_mul(e, l->b, &answer, &choice, slots, false);
        bfv_sub(e, l->b, &answer, slots + n);
        primer_line_fail(l, ckks_check(e, &err), &err);
    }
    primer_pass_ciphers(l, PRIMER_CLIENT, &answer, 1, NULL);
    for (int i = 0; i < BASE && !l->failed; i++)
        primer_line_fail(l, crypto_stream_new(&l->first[i], keys[0][i], &err) != 0 ? -1 : crypto_stream_new(&l->second[i], keys[1][i], &err), &err);
    ckks_wipe_cipher(&choice);
    ckks_wipe_cipher(&answer);
    free(slots);
}

static void base_server(struct primer_line *l)
{
    const struct ckks *c = l->b->c;
    uint8_t key[CRYPTO_KEY_LEN], seed[1][CRYPTO_KEY_LEN];
    struct ckks_cipher choice = {0}, answer = {0};
    struct ckks_keys *keys = NULL;
    struct ckks_eval e = {0};
    struct err err;
    int64_t *slots = room(l, c->n * sizeof *slots);
    if (slots == NULL)
        return;
    memset(slots, 0, c->n * sizeof *slots);
    primer_line_fail(l, crypto_random(&l->difference, sizeof l->difference, &err), &err);
    l->difference.low |= 1; /* colours of the two labels of a wire differ */
    for (size_t i = 0; i < BASE * PIECES; i++)
        slots[i] = (int64_t)((i / PIECES < 64 ? l->difference.low >> i / PIECES : l->difference.high >> (i / PIECES - 64)) & 1);
    primer_line_fail(l, ckks_keys_new(&keys, c, &err) != 0 ? -1 : ckks_eval_init(&e, c, keys, &err), &err);
    if (!l->failed)
        bfv_seal(&e, l->b, &choice, slots, seed[0]);
    primer_pass_ciphers(l, PRIMER_SERVER, &choice, 1, seed);
    primer_pass_ciphers(l, PRIMER_CLIENT, &answer, 1, NULL);
    if (!l->failed) {
        bfv_open(&e, l->b, slots, &answer);
        primer_line_fail(l, ckks_check(&e, &err), &err);
    }
    for (size_t i = 0; i < BASE && !l->failed; i++) {
        for (size_t k = 0; k < PIECES; k++) {
            const uint32_t piece = (uint32_t)slots[i * PIECES + k];
            memcpy(key + 4 * k, &piece, sizeof piece);
        }
        primer_line_fail(l, crypto_stream_new(&l->first[i], key, &err), &err);
    }
    ckks_wipe_cipher(&choice);
    ckks_wipe_cipher(&answer);
    ckks_eval_free(&e);
    ckks_keys_free(keys);
    free(slots);
}

void primer_transfer_base(struct primer_line *l, struct ckks_eval *e)
{
    if (l->role == PRIMER_CLIENT)
        base_client(l, e);
    else
        base_server(l);
}

/* ------------------------------------------------------------------ as many as are wanted */

/* 64 x 64 bits, rows to columns: ever smaller blocks change places. */
static void transpose(uint64_t a[64])
{
    uint64_t mask = 0xffffffff;
    for (unsigned j = 32; j != 0; j >>= 1, mask ^= mask << j)
        for (unsigned k = 0; k < 64; k = ((k | j) + 1) & ~j) {
            const uint64_t swap = (a[k] >> j ^ a[k | j]) & mask;
            a[k] ^= swap << j;
            a[k | j] ^= swap;
        }
}

/* columns [128][words] -> labels [64 words]. */
static void rows_of(struct garble_label *label, const uint64_t *columns, size_t words)
{
    uint64_t block[64];
    for (size_t w = 0; w < words; w++)
        for (size_t half = 0; half < 2; half++) {
            for (size_t i = 0; i < 64; i++)
                block[i] = columns[(64 * half + i) * words + w];
            transpose(block);
            for (size_t i = 0; i < 64; i++)
                *(half == 0 ? &label[64 * w + i].low : &label[64 * w + i].high) = block[i];
        }
}

void primer_transfer(struct primer_line *l, const uint8_t *bit, struct garble_label *label, size_t n)
{
    const bool client = l->role == PRIMER_CLIENT;
    const size_t most = CHUNK / 64;
    uint64_t *mine = room(l, BASE * most * sizeof *mine), *theirs = room(l, BASE * most * sizeof *theirs);
    struct garble_label *rows = room(l, CHUNK * sizeof *rows);
    struct err err;
    for (size_t at = 0; at < n && !l->failed; at += CHUNK) {
        const size_t here = n - at < CHUNK ? n - at : CHUNK, words = (here + 63) / 64;
        uint64_t choice[CHUNK / 64] = {0};
        for (size_t i = 0; client && i < here; i++)
            choice[i / 64] |= (uint64_t)bit[at + i] << i % 64;
        for (size_t i = 0; i < BASE && !l->failed; i++) {
            primer_line_fail(l, crypto_stream_read(l->first[i], mine + i * words, words * sizeof *mine, &err), &err);
            if (client && !l->failed)
                primer_line_fail(l, crypto_stream_read(l->second[i], theirs + i * words, words * sizeof *theirs, &err), &err);
            for (size_t w = 0; client && !l->failed && w < words; w++)
                theirs[i * words + w] ^= mine[i * words + w] ^ choice[w];
        }
        primer_pass(l, PRIMER_CLIENT, theirs, BASE * words * sizeof *theirs);
        for (size_t i = 0; !client && i < BASE && !l->failed; i++)
            if ((i < 64 ? l->difference.low >> i : l->difference.high >> (i - 64)) & 1)
                for (size_t w = 0; w < words; w++)
                    mine[i * words + w] ^= theirs[i * words + w];
        if (l->failed)
            break;
        rows_of(rows, mine, words);
        memcpy(label + at, rows, here * sizeof *rows);
    }
    free(mine);
    free(theirs);
    free(rows);
}
