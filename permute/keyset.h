/* permute/keyset.h - all keys of one context, derived from one 256-bit seed.
 *
 * Data flow   seed -> HKDF-SHA-256 with a label per (kind, layer) -> 32-byte sub-keys -> permutations.
 *             The developer holds the seed. A user gets the two end sub-keys only ("semi-symmetric"): they give the
 *             residual and the output permutation and nothing about the inner ones. The server gets nothing.
 * Shapes      struct key_shape: numbers of the public config, so that permute knows no model.
 * Errors      memory, derivation; a shape that no model can have (a shape may come from a file).
 * Memory      keyset_new gives secret memory; keyset_perm gives a permutation (perm_wipe).
 * Secrets     seed, sub-keys, permutations.
 * Source      ePrint 2023/1763 and NDSS 2026 for the protocol; head structure per docs/REFERENCE.md.
 */
#ifndef STIP_PERMUTE_KEYSET_H
#define STIP_PERMUTE_KEYSET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/crypto.h"
#include "permute/perm.h"

struct key_shape {
    int D, H, G, K, F, outputs; /* outputs: V or C */
    int experts; /* of each layer; 0: none. Not kept in key files: only protect asks for their order */
    /* Dims of a query/key head that rotary positions or gains shared by all heads tie in place, counted from 0: K with full
     * rotary, 0 without. These dims are never permuted inside a head. */
    int rotary;
};

enum key {
    KEY_NONE,
    KEY_RESIDUAL,  /* D, shared with users */
    KEY_OUTPUT,    /* V or C, shared with users */
    KEY_QUERY,     /* H*K, per layer: groups, heads inside a group, dims inside a head where positions allow */
    KEY_KEY,       /* G*K, per layer: the same group order and, per group, the same dims as KEY_QUERY */
    KEY_VALUE,     /* G*K, per layer: the same group order, own dims */
    KEY_MIX,       /* H*K, per layer: input side of O: query head order with the dims of KEY_VALUE */
    KEY_QKV,       /* H*K + 2*G*K: KEY_QUERY, KEY_KEY, KEY_VALUE one after the other */
    KEY_QKV_HEADS, /* H*3*K, G == H: the same three, head by head */
    KEY_FFN,       /* F, per layer, or per expert: `layer` is then the number of the expert's place among those of all layers */
    KEY_EXPERTS,   /* order of a layer's experts */
    KEY_GATE_UP,   /* 2F: KEY_FFN twice */
    KEY_POOL,      /* D, pooler */
    KEY_MLM,       /* D, masked-LM transform */
};

struct keyset;
MUST_CHECK int keyset_new(struct keyset **out, const struct key_shape *shape, const uint8_t seed[CRYPTO_KEY_LEN],
                          struct err *err);
void keyset_free(struct keyset *ks);
/* Derives the permutation of a key (layer is ignored by the global ones); KEY_NONE gives n == 0. The same seed and shape
 * always give the same permutations. */
MUST_CHECK int keyset_perm(const struct keyset *ks, enum key key, int layer, struct perm *out, struct err *err);
/* The 32-byte sub-key of KEY_RESIDUAL or KEY_OUTPUT, for a grant. perm_random(n, sub-key) gives the same permutation. */
MUST_CHECK int keyset_end_key(const struct keyset *ks, enum key key, uint8_t out[CRYPTO_KEY_LEN], struct err *err);
/* Sub-keys of profile "gauge" (permute/gauge.h), which stay with the developer: of a group's queries and keys, of its values, of
 * a layer's ups. */
enum gauge_part { GAUGE_QUERY, GAUGE_VALUE, GAUGE_UP };
MUST_CHECK int keyset_gauge_key(const struct keyset *ks, enum gauge_part part, int layer, int group, uint8_t out[CRYPTO_KEY_LEN],
                                struct err *err);
/* log2 of the number of permutations that a key can be. Nothing is safer than the seed: its 256 bits are the ceiling. */
double keyset_bits(const struct keyset *ks, enum key key);

#endif
