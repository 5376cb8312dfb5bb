/* model/checkpoint.h - a Hugging Face checkpoint folder: config.json and one or more safetensors files.
 *
 * Data flow   folder -> config + tensors by name -> tensors by role (model/arch.c) -> float32 for engine, user, protect.
 * Shapes      every tensor that has a role is checked against the config at opening, before anything reads it.
 * Errors      missing, misshapen, unknown tensors, wrong dtype, int8 without a good scale, shards that do not fit their index; NaN and infinity when
 *             the values are read. Names file, tensor, expected, found.
 * Memory      checkpoint_open gives; everything is borrowed from it.
 * Secrets     whatever the folder holds: plain weights for model_dev, permuted ones for the server.
 */
#ifndef STIP_MODEL_CHECKPOINT_H
#define STIP_MODEL_CHECKPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "model/arch.h"
#include "model/config.h"
#include "model/safetensors.h"

/* Which parts must be there. A package has no embeddings and may have no head; a grant has embeddings and maybe a head. */
#define CHECKPOINT_EMBED (1u << PART_EMBED)
#define CHECKPOINT_CORE (1u << PART_CORE)
#define CHECKPOINT_HEAD (1u << PART_HEAD)
#define CHECKPOINT_ALL (CHECKPOINT_EMBED | CHECKPOINT_CORE | CHECKPOINT_HEAD)

struct checkpoint;

/* Parts in `need` must be complete; parts outside it may be missing. Tensors that no table row explains are refused. */
MUST_CHECK int checkpoint_open(struct checkpoint **out, const char *dir, unsigned need, struct err *err);
/* The same of a package: what is read of its files is what `m` says, byte by byte (model/checked.h). NULL: as above. */
struct manifest;
MUST_CHECK int checkpoint_open_signed(struct checkpoint **out, const char *dir, unsigned need, const struct manifest *m, struct err *err);
/* `view` is t, of which rows [row, row+rows) can be read until the next call; the tensors of a signed checkpoint can be read only so. */
MUST_CHECK int checkpoint_view(struct tensor *view, const struct checkpoint *cp, const struct tensor *t, uint64_t row, uint64_t rows,
                               struct err *err);
/* From now on checkpoint_view, and with it every load, ends with an error once *stop (borrowed; NULL: it does not). */
void checkpoint_heed(struct checkpoint *cp, const atomic_bool *stop);
void checkpoint_close(struct checkpoint *cp);
const char *checkpoint_dir(const struct checkpoint *cp);
const struct config *checkpoint_config(const struct checkpoint *cp);
/* The parsed config.json. */
const struct json_doc *checkpoint_json(const struct checkpoint *cp);
/* True if every tensor of the part is there (for PART_HEAD of a tied model: the token embedding counts). */
bool checkpoint_has(const struct checkpoint *cp, enum part part);
/* Tensor of a role (layer, for experts layer * E + expert, is ignored unless the role is per layer), NULL if this model has none or the part is missing.
 * ROLE_LM_HEAD of a tied model gives the token embedding, and the other way round if only the head is stored. */
const struct tensor *checkpoint_tensor(const struct checkpoint *cp, enum role role, int layer);
/* Scale [out,1] of a matrix that is stored as I8: weight = q * scale of its output. NULL for tensors of other dtypes. */
const struct tensor *checkpoint_scale(const struct checkpoint *cp, const struct tensor *t);
/* The weight files, and which of them holds a tensor (for writing a package with the same layout). */
size_t checkpoint_files(const struct checkpoint *cp);
const char *checkpoint_file_name(const struct checkpoint *cp, size_t i);
size_t checkpoint_file_of(const struct checkpoint *cp, const struct tensor *t);
/* Name of a table row's tensor: which of the arch's prefixes and of the row's names; 0 and 0 is how packages spell it. */
MUST_CHECK int checkpoint_name(char out[512], const struct config *c, const struct arch_tensor *row, int layer, int prefix,
                               int alias, struct err *err);
/* Total bytes of all tensors. */
uint64_t checkpoint_bytes(const struct checkpoint *cp);

/* Converts rows [row, row+rows) of a tensor to float32; a row is all that one index of the first dim has, of rank 1 an element. ERR_INPUT on NaN or infinity. */
MUST_CHECK int checkpoint_rows_f32(const struct tensor *t, uint64_t row, uint64_t rows, float *dst, struct err *err);
/* Rows from `row` of an I8 matrix, as they are stored. */
const int8_t *checkpoint_rows_i8(const struct tensor *t, uint64_t row);

#endif
