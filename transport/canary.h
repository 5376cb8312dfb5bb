/* transport/canary.h - prompts whose answers are known: how they travel inside a grant.
 *
 * Data flow   model_dev computes them in plain space -> canary_encode -> canaries.bin of the grant -> canary_decode -> the user asks
 *             the server and compares.
 *             Bytes: "STIPCAN1", tolerance f32, count u32, then per canary: prompt u32, answer u32, at u32, prompt ids i32 each,
 *             per answer (id i32, log-probability f32) 1 + CANARY_TOP times; SHA-256 of all that. Little-endian.
 * Shapes      a causal model: `answer` tokens follow the prompt, one row each. Others: one row, that of token `at`.
 * Units       natural logarithms.
 * Errors      names the file: truncated, damaged, an id that the model does not have, a number that is not finite.
 * Memory      canary_encode and canary_decode give (canary_free, fine on a zeroed struct).
 * Secrets     prompts of the developer's making, no user's. The server must not know them before they are asked.
 */
#ifndef STIP_TRANSPORT_CANARY_H
#define STIP_TRANSPORT_CANARY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CANARY_FILE "canaries.bin"
#define CANARY_TOP 4
#define CANARY_COUNT_MAX 1024u
#define CANARY_PROMPT_MAX 512u
#define CANARY_ANSWER_MAX 64u
#define CANARY_CAP ((size_t)8 << 20)

/* The token (or class) that was chosen, then the most probable ones; -1 where there are fewer. */
struct canary_row {
    int32_t id[1 + CANARY_TOP];
    float logprob[1 + CANARY_TOP];
};

struct canary {
    int32_t *prompt;
    struct canary_row *row; /* [answer] */
    uint32_t prompt_n, answer, at;
};

struct canary_list {
    float tolerance; /* between log-probabilities, of honest arithmetic */
    struct canary *item;
    size_t count;
};

MUST_CHECK int canary_encode(const struct canary_list *list, uint8_t **bytes, size_t *len, struct err *err);
/* vocabulary: of prompt ids; outputs: of the ids in rows. `name` is how messages call the bytes. */
MUST_CHECK int canary_decode(struct canary_list *out, const uint8_t *bytes, size_t len, int vocabulary, int outputs,
                             const char *name, struct err *err);
void canary_free(struct canary_list *list);

#endif
