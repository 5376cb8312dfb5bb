/* All kernels of one vector level. Compiled once per level with that level's flags; STIP_LEVEL names it. */
#include "engine/kernels/impl/activation.h"
#include "engine/kernels/impl/attention.h"
#include "engine/kernels/impl/norm.h"
#include "engine/kernels/impl/product_float.h"
#include "engine/kernels/impl/product_int8.h"
#include "engine/kernels/impl/rope.h"
#include "engine/kernels/levels.h"

#define PASTE(a, b) a##b
#define NAME(level) PASTE(level_, level)
#define STRING(s) #s
#define TEXT(level) STRING(level)

const struct kernels NAME(STIP_LEVEL) = {
    .name = TEXT(STIP_LEVEL),
    .f32 = {ROWS, f32_block_bytes, f32_pack, f32_multiply},
    .bf16_by_f32 = {ROWS, bf16_block_bytes, bf16_by_f32_pack, bf16_multiply},
    .bf16 = {ROWS, bf16_block_bytes, bf16_pack, bf16_multiply},
    .int8 = {INT8_ROWS, int8_block_bytes, int8_pack, int8_multiply},
    .norm_rms = impl_norm_rms,
    .norm_layer = impl_norm_layer,
    .activate = impl_activate,
    .exponentials = impl_exponentials,
    .activate_gated = impl_activate_gated,
    .rope_rotate = impl_rope_rotate,
    .attention_head = impl_attention_head,
};
