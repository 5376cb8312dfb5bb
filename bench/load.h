/* bench/load.h - many users at once: one thread, one connection and one session at a time for each.
 *
 * Data flow   setup (grant, server) -> connections -> threads: arrival -> open, prompt, tokens one by one, close -> samples.
 *             By sessions of its own, by generate() on them as every command does, or through a gateway (LOAD_*).
 *             Closed loop: a user asks again when it has its answer. Open loop: requests arrive by a Poisson process whatever
 *             the server does, and wait for a free user; latency counts from the arrival, so that a slow server does not
 *             hide its own delays (coordinated omission).
 * Units       milliseconds, seconds, tokens.
 * Errors      the first connections, memory, threads. What goes wrong later is counted by its name and is no error, unless
 *             no request at all was answered.
 * Memory      load_run fills the result; load_free releases.
 * Secrets     a user's grant; prompts are random token ids.
 *
 * Thread      the engine must be set to one thread before: every user computes its own head.
 */
#ifndef STIP_BENCH_LOAD_H
#define STIP_BENCH_LOAD_H

#include "base/buf.h"
#include "user/setup.h"

#define LOAD_SESSIONS_MAX 256 /* what the sockets of one process are enough for */
#define LOAD_BUCKETS 100
#define LOAD_ERRORS 16

enum load_way {
    LOAD_SESSION,  /* rows up, the largest logit: the least that an answer needs */
    LOAD_GENERATE, /* user/generate.h: sampler, text */
    LOAD_GATEWAY   /* a stip-user serve on this machine, over HTTP */
};

struct load_opts {
    enum load_way way;
    int port;               /* of the gateway */
    int sessions;
    double rps, duration_s; /* rps 0: closed loop */
    int prompt_tokens, max_tokens;
    bool (*stop)(void);     /* asked between tokens; NULL: never */
};

/* Samples; load_run leaves them sorted. */
struct load_list {
    struct buf doubles;
};
const double *load_values(const struct load_list *list, size_t *n);

struct load_error {
    char name[24]; /* of the wire's code, or the class of the error */
    uint64_t count;
    char text[256]; /* of the first one */
};

/* Requests that begin within the duration are run to their end, for at most as long again. */
struct load_result {
    uint64_t finished, failed;
    uint64_t cut;       /* still running after twice the duration */
    uint64_t unserved;  /* arrived, and found no free user until then */
    uint64_t tokens, prompt_tokens;         /* within the duration */
    struct load_list first, between, request; /* ms: to the first token, between tokens, to the last token */
    double bucket_s;
    int bucket_count;
    uint64_t bucket[LOAD_BUCKETS];          /* tokens over time */
    struct load_error errors[LOAD_ERRORS];
    int error_count;
    uint64_t pass_us;   /* of the passes that each step was in, summed over steps (not through a gateway) */
    struct msg_stats before, after;         /* counters of the server, all its users together */
    double users_s, wall_s;                 /* processor time of this process, and real time, from the first request to the last answer */
};

MUST_CHECK int load_run(struct load_result *out, const struct setup *setup, const struct load_opts *opts, struct err *err);
void load_free(struct load_result *r);

#endif
