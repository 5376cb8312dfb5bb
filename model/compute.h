/* model/compute.h - how matrix products are computed: a property of a package, chosen by `protect --dtype`.
 *
 * Data flow   protect -> signed manifest -> server and user -> engine.
 * Units       f32: sums and activations in float32, whatever the weights are stored as (exact mode). bf16: weights and the rows that
 *             enter a product are bf16, sums float32. int8: weights int8 with a scale per output, rows int8 with a scale per row,
 *             sums exact integers. Norms, biases, softmax, embeddings are float32 in all of them.
 * Errors      compute_parse: false for a name that is none.
 * Memory      static names.
 * Secrets     none: all three parties know it.
 */
#ifndef STIP_MODEL_COMPUTE_H
#define STIP_MODEL_COMPUTE_H

#include <stdbool.h>

enum compute { COMPUTE_F32, COMPUTE_BF16, COMPUTE_INT8 };

const char *compute_name(enum compute c); /* "f32" */
bool compute_parse(const char *name, enum compute *out);

#endif
