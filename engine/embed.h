/* engine/embed.h - token ids, or the patches of an image, to the rows that enter the first layer. Runs on the user (and in benches), never on the server.
 *
 * Data flow   token table + position table + type table -> sum -> embedding LayerNorm (BERT) -> map (ALBERT) -> x [T,D] -> seal or forward.
 *             Images (ViT, DeiT): class token (, distillation token), patches times the projection; + position table.
 * Shapes      letters of model/shape.h. ids, types [T].
 * Errors      embed_load: missing part, memory, NaN or infinity in a table. embed_rows: ERR_INPUT for an id, type or position
 *             outside its table; ERR_USAGE for a text where images are read, and the other way round. Then x is untouched.
 * Memory      embed_load gives. The token table is not copied: its rows are converted on demand, so the checkpoint (borrowed)
 *             must outlive the struct.
 * Secrets     reads ids, which are the prompt; keeps nothing. Errors name places, never ids.
 */
#ifndef STIP_ENGINE_EMBED_H
#define STIP_ENGINE_EMBED_H

#include <stdint.h>

#include "base/err.h"
#include "model/checkpoint.h"

struct embed;
MUST_CHECK int embed_load(struct embed **out, const struct checkpoint *cp, struct err *err);
void embed_free(struct embed *e);
/* types NULL: all 0. first_position: how many tokens of the sequence came before. */
MUST_CHECK int embed_rows(const struct embed *e, const int32_t *ids, const int32_t *types, int T, int first_position, float *x,
                          struct err *err);
/* pixels [channels, high, wide] of the config's size, prepared -> x [positions, D]. */
MUST_CHECK int embed_image(const struct embed *e, const float *pixels, float *x, struct err *err);

#endif
