#include "bench/baselines/smpc/party.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"

#define ALIGN 8 /* words of a cache line */

int party_open(struct party **out, enum party_mode mode, int index, int parties, size_t words, struct err *err)
{
    struct party *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_oom(err, sizeof *p);
    p->mode = mode;
    p->index = index;
    p->parties = parties;
    p->timeout_ms = PARTY_TIMEOUT_MS;
    p->parts = mode != PARTY_TWIN && parties == 3 ? 2 : 1;
    p->capacity = words + ALIGN; /* there is always an address to give */
    p->memory = mmap(NULL, p->capacity * sizeof *p->memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->memory == MAP_FAILED) {
        free(p);
        return err_oom(err, (unsigned long long)words * sizeof(uint64_t));
    }
    *out = p;
    return 0;
}

void party_close(struct party *p)
{
    if (p == NULL)
        return;
    (void)munmap(p->memory, p->capacity * sizeof *p->memory);
    crypto_stream_free(p->own);
    crypto_stream_free(p->next);
    crypto_stream_free(p->seed[0]);
    crypto_stream_free(p->seed[1]);
    free(p->random);
    free(p->fixed);
    free(p->deal);
    free(p->chunk);
    free(p);
}

int party_check(const struct party *p, struct err *err)
{
    return p->err.code == ERR_NONE ? 0 : err_set(err, p->err.code, "%s", p->err.text);
}

void party_fail(struct party *p, enum err_code code, const char *fmt, ...)
{
    char text[sizeof p->err.text];
    va_list args;
    if (p->err.code != ERR_NONE)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(&p->err, code, "%s: %s", p->where[0] == '\0' ? "set-up" : p->where, text);
}

void party_at(struct party *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(p->where, sizeof p->where, fmt, args);
    va_end(args);
}

uint64_t *party_words(struct party *p, size_t n)
{
    size_t at = p->used;
    p->used += (n + ALIGN - 1) / ALIGN * ALIGN;
    if (p->used > p->cost.high)
        p->cost.high = p->used;
    if (p->mode == PARTY_PLAN || p->mode == PARTY_DEAL || p->err.code != ERR_NONE)
        return p->memory;
    if (p->used > p->capacity) {
        party_fail(p, ERR_INTERNAL, "the plan had %zu words of memory, this needs %zu", p->capacity, p->used);
        return p->memory;
    }
    return p->memory + at;
}

size_t party_mark(const struct party *p)
{
    return p->used;
}

void party_release(struct party *p, size_t mark)
{
    p->used = mark;
}

void party_round(struct party *p, uint64_t total, uint64_t path)
{
    p->cost.bytes += total * sizeof(uint64_t);
    p->cost.path_bytes += path * sizeof(uint64_t);
    p->cost.rounds++;
}

void party_send(struct party *p, int to, const uint64_t *words, size_t n)
{
    struct err err;
    if (!party_runs(p) && p->mode != PARTY_DEAL)
        return;
    if (p->err.code == ERR_NONE && bare_send(p->line[to], words, n * sizeof *words, &err) != 0)
        party_fail(p, err.code, "party %d: %s", to, err.text);
    p->sent_bytes += n * sizeof *words;
}

void party_recv(struct party *p, int from, uint64_t *words, size_t n)
{
    struct err err;
    if (!party_runs(p) && p->mode != PARTY_DEAL)
        return;
    uint64_t start = clock_us();
    if (p->err.code == ERR_NONE && bare_recv(p->line[from], words, n * sizeof *words, p->timeout_ms, &err) != 0)
        party_fail(p, err.code, "%s %d: %s", from == p->parties ? "dealer" : "party", from, err.text);
    p->wait_us += clock_us() - start;
}

void party_stream(struct party *p, struct crypto_stream *stream, uint64_t *words, size_t n)
{
    struct err err;
    if (n > 0 && p->err.code == ERR_NONE && crypto_stream_read(stream, words, n * sizeof *words, &err) != 0)
        party_fail(p, err.code, "%s", err.text);
}
