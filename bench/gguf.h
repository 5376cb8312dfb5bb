/* bench/gguf.h - a checkpoint as a GGUF file, so that peers compute a model of the same shape in the same dtype.
 *
 * Data flow   HFDIR (Llama or GPT-2 family) -> header, keys, tensor table -> values, converted on the way -> PATH.
 * Shapes      as the checkpoint's; vectors stay f32, matrices and the token table get the wanted type.
 * Units       bytes; Q8_0 is a block of 32 numbers: an f16 scale and 32 signed bytes.
 * Errors      another architecture, widths that are no multiple of 32, disk; names the file.
 * Memory      streams.
 * Secrets     plain weights of a checkpoint that is measured.
 * Source      GGUF version 3 as the ggml project documents it. For timing only: there is no vocabulary in the file, and rows
 *             of queries, keys and Conv1D matrices stand in the order of the checkpoint, which with random weights is as good
 *             as any; a real model converted this way is as fast as, and not the same as, the original.
 */
#ifndef STIP_BENCH_GGUF_H
#define STIP_BENCH_GGUF_H

#include "base/err.h"

/* type: "f32", "bf16" or "q8_0". */
MUST_CHECK int gguf_write(const char *path, const char *model, const char *type, struct err *err);

#endif
