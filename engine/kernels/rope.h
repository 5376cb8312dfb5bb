/* engine/kernels/rope.h - rotary position embedding.
 *
 * Data flow   config -> rope_frequencies once; position -> rope_angles once per row of a pass; rope_rotate on the query and
 *             key heads of every layer.
 * Shapes      K head width; its first `rotary` dims, an even number, turn: dim i with dim i + rotary/2 ("rotate half"), the layout
 *             of Hugging Face checkpoints. Frequencies, cosine, sine [rotary/2].
 * Units       angles in radians, computed in double: position * frequency.
 * Errors      none.
 * Memory      caller owns all buffers.
 * Secrets     none: positions are public.
 * Source      Su et al. 2021; transformers modeling_rope_utils for the scaled kinds. transformers rounds frequencies and
 *             angles to float32, we do not: at position 4096 its angles are off by up to 2e-4.
 */
#ifndef STIP_ENGINE_KERNELS_ROPE_H
#define STIP_ENGINE_KERNELS_ROPE_H

#include "model/config.h"

void rope_frequencies(double *frequency, const struct rope_config *rope, int rotary);
/* scale: the config's attention_factor, 1 where it is 0. */
void rope_angles(float *cosine, float *sine, const double *frequency, double scale, int rotary, int position);
/* Turns `heads` heads that lie side by side. */
void rope_rotate(float *x, int heads, int K, int rotary, const float *cosine, const float *sine);

#endif
