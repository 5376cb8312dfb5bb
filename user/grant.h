/* user/grant.h - what the model's developer gave this user: end keys, tokenizer, embeddings, maybe the head.
 *
 * Data flow   grant folder (written by join) -> struct grant -> embed, seal, unseal, head.
 * Shapes      letters of model/shape.h.
 * Errors      missing or damaged files, a key file that others can read, parts that do not belong together; names the
 *             file and says to join again.
 * Memory      grant_open gives.
 * Secrets     the end keys (secret memory) and the developer's embeddings. Nothing here goes to the server.
 */
#ifndef STIP_USER_GRANT_H
#define STIP_USER_GRANT_H

#include <stdbool.h>

#include "base/crypto.h"
#include "engine/embed.h"
#include "engine/net.h"
#include "model/preprocess.h"
#include "model/sentence.h"
#include "permute/gauge.h"
#include "permute/perm.h"
#include "transport/identity.h"
#include "user/tokenizer.h"

#define GRANT_VERDICT_MAX 64

struct grant {
    uint8_t context[CRYPTO_HASH_LEN];
    struct peer_key model_dev;   /* who signed it */
    uint32_t epoch;
    int64_t expires;             /* seconds since 1970; 0: never */
    bool head_here;              /* the head is the user's work */
    char profile[16];
    int local_layers;            /* first layers that are the user's work */
    bool engine;                 /* profile "engine": no embeddings, no residual key; an engine of others computes (user/backend.h) */
    struct safetensors *rows_file; /* with it, and NULL where the developer gave none */
    const struct tensor *rows;     /* [V,D] in the engine's orders, for prompt_embeds; borrowed from rows_file */
    enum compute compute;        /* how products are done, on both sides */
    struct checkpoint *checkpoint; /* NULL with `engine` */
    struct config own;           /* with `engine` */
    const struct config *config; /* of the plain model, with labels */
    struct embed *embed;
    struct head *head;           /* NULL unless head_here */
    struct net *local;           /* the first layers, NULL without */
    struct tokenizer *tokenizer; /* NULL where images are read */
    struct preprocess preprocess; /* there */
    struct perm residual, output;
    struct gauge_end *turn;      /* profile "gauge", before the permutation; NULL without */
    struct norm final_norm;      /* with it and the head here; w NULL else */
    struct sentence sentence;    /* how rows become one vector */
    char *verdict[GRANT_VERDICT_MAX]; /* of the developer's audit of this package, sentences; none: not told */
    int verdict_count;
    char audited[32];            /* when */
    int eos[2 * CONFIG_MAX_EOS], eos_count; /* of config.json and generation_config.json */
};

MUST_CHECK int grant_open(struct grant **out, const char *dir, struct err *err);
void grant_free(struct grant *g);
/* ERR_AUTH once it has expired. */
MUST_CHECK int grant_check_time(const struct grant *g, struct err *err);
/* In the log, when little time is left. */
void grant_warn(const struct grant *g);
/* `fresh` may take the place of what lies in `dir`: not when that is a later epoch of the same developer (ERR_AUTH): somebody has
 * sent an old grant again. A folder without a readable grant is no hindrance. */
MUST_CHECK int grant_check_newer(const struct grant *fresh, const char *dir, struct err *err);
/* Rows [n,D] in place, before they are sealed (nothing to do outside profile gauge), and final rows behind unsealing. */
MUST_CHECK int grant_turn(const struct grant *g, float *x, size_t n, struct err *err);
MUST_CHECK int grant_turn_back(const struct grant *g, float *x, size_t n, struct err *err);
bool grant_is_eos(const struct grant *g, int32_t token);

#endif
