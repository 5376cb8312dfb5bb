/* bench/peer.h - other engines, run beside ours: programs of other projects that measure themselves.
 *
 * Data flow   "KIND[:LABEL]=PATH" -> struct peer; work -> the program's command line -> what it prints -> tokens per second.
 *             Kinds: llama-bench, llama-batched-bench (both of llama.cpp and its forks, on a GGUF file) and torch
 *             (bench/peers/torch_speed.py, on a named shape).
 * Units       tokens per second over all sequences.
 * Errors      an unknown kind and a program that is not there (ERR_USAGE), one that fails, stays silent or prints something
 *             else (ERR_INTERNAL); each names the peer.
 * Memory      structs are the caller's.
 * Secrets     none.
 */
#ifndef STIP_BENCH_PEER_H
#define STIP_BENCH_PEER_H

#include <stdbool.h>

#include "base/file.h"

#define PEERS_MAX 8

struct peer_kind;
struct peer {
    const struct peer_kind *kind;
    char label[32]; /* "llama.cpp", unless the specification says another */
    char path[FILE_PATH_MAX];
};

struct peer_work {
    const char *gguf, *shape; /* NULL where there is none */
    const char *dtype;        /* "f32", "bf16", "int8" */
    const char *dir;          /* for the program's log */
    int threads;
    bool decode;
    int tokens, batch; /* of a prefill, or of each sequence of a decode that begins with nothing cached */
};

/* Comma-separated specifications; a name without '/' is looked for on PATH. */
MUST_CHECK int peer_parse(const char *text, struct peer out[PEERS_MAX], int *count, struct err *err);
const char *peer_kind_name(const struct peer *p);
bool peer_needs_gguf(const struct peer *p);
/* llama-bench has no batched decode, llama-batched-bench is used for decode only, torch has no int8. */
bool peer_can(const struct peer *p, const struct peer_work *w);
/* One run, warmed up by the program itself. */
MUST_CHECK int peer_run(const struct peer *p, const struct peer_work *w, double *tok_s, struct err *err);

#endif
