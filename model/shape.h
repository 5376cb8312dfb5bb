/* model/shape.h - the shape letters of this project, declared once.
 *
 * T  tokens (rows) of this call            S  tokens cached before this call
 * D  width of the residual stream          F  width of the feed-forward part
 * H  query heads                           G  key/value heads (groups); H is a multiple of G
 * K  width of one head                     V  vocabulary (output rows of the language-model head)
 * C  classes of a classifier               L  layers
 * E  experts of a layer
 * B  sequences in a batch
 *
 * Matrices are row-major. Activations x are [T,D]. Linear weights are kept as [out,in] (y = x W^T), the way
 * Hugging Face's nn.Linear stores them; GPT-2's Conv1D stores [in,out] and is marked so in model/arch.c.
 * Sizes from a checkpoint are checked by model/config.c against the ceilings below before anything is allocated.
 *
 * Errors none.  Memory none.  Secrets none.
 */
#ifndef STIP_MODEL_SHAPE_H
#define STIP_MODEL_SHAPE_H

#define SHAPE_MAX_D 65536
#define SHAPE_MAX_L 1024
#define SHAPE_MAX_H 4096
#define SHAPE_MAX_F 1048576
#define SHAPE_MAX_EXPERTS 1024
#define SHAPE_MAX_V 4194304
#define SHAPE_MAX_POSITIONS 16777216
#define SHAPE_MAX_CLASSES 65536
#define SHAPE_MAX_IMAGE 4096 /* pixels of a side */

#endif
