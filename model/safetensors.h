/* model/safetensors.h - the safetensors format, in and out.
 *
 * Data flow   file -> map -> checked header -> tensors that point into the map; tensors -> deterministic file.
 * Shapes      as stored, at most 4 dimensions are kept (more are refused).
 * Errors      names file and tensor: header size, JSON, unknown dtype, offsets that overlap, leave holes, or end past
 *             the file, shape x dtype that does not equal the byte range, overflow. The first rule broken is reported.
 * Memory      safetensors_open gives; tensors and names are borrowed from it. Data has no alignment.
 * Secrets     none of its own.
 * Source      safetensors format description (8-byte length, JSON header, tiled data).
 */
#ifndef STIP_MODEL_SAFETENSORS_H
#define STIP_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "model/dtype.h"

#define TENSOR_MAX_RANK 4

struct tensor {
    const char *name, *file; /* file: for messages */
    enum dtype dtype;
    int rank;
    uint64_t dim[TENSOR_MAX_RANK];
    uint64_t count; /* elements */
    uint64_t bytes;
    const uint8_t *data;
};

struct safetensors;
MUST_CHECK int safetensors_open(struct safetensors **out, const char *path, struct err *err);
/* The same from memory that outlives the result (fuzzing, grants). */
MUST_CHECK int safetensors_parse(struct safetensors **out, const uint8_t *data, size_t size, const char *name, struct err *err);
/* The same of a file of a package (model/checked.h), which it takes over: closed with the result, at once on errors. The header is
 * checked; a tensor's data can be read in a view. */
struct checked;
MUST_CHECK int safetensors_open_checked(struct safetensors **out, struct checked *file, const char *path, struct err *err);
/* `view` is t, of which rows [row, row+rows) can be read until the next call for this file. The same as t for other files. */
MUST_CHECK int safetensors_view(struct tensor *view, const struct safetensors *st, const struct tensor *t, uint64_t row, uint64_t rows,
                                struct err *err);
void safetensors_close(struct safetensors *st);
size_t safetensors_count(const struct safetensors *st);
const struct tensor *safetensors_at(const struct safetensors *st, size_t i); /* sorted by name */
const struct tensor *safetensors_find(const struct safetensors *st, const char *name); /* NULL if absent */
/* Lets the kernel drop the pages of a tensor that was read, so that streaming keeps memory constant. Only for tensors of
 * safetensors_open: in other memory the bytes would be lost. */
void safetensors_release(const struct tensor *t);

/* Writer: declare all tensors, then write their bytes in the order safetensors_out_next gives. Deterministic: same
 * tensors, same bytes. Order: dtype size descending, then name. */
struct safetensors_out;
MUST_CHECK int safetensors_out_new(struct safetensors_out **out, struct err *err);
/* Metadata "format":"pt" is always written, as transformers expects it. */
MUST_CHECK int safetensors_out_declare(struct safetensors_out *st, const char *name, enum dtype dtype, int rank,
                                       const uint64_t *dim, struct err *err);
/* Writes the header to PATH's part file. */
MUST_CHECK int safetensors_out_begin(struct safetensors_out *st, const char *path, mode_t mode, struct err *err);
/* Name of the tensor whose bytes come next, NULL after the last. */
const char *safetensors_out_next(const struct safetensors_out *st);
/* Bytes of the tensor that is next; called until it is complete (once with len 0 for an empty one). */
MUST_CHECK int safetensors_out_write(struct safetensors_out *st, const void *data, size_t len, struct err *err);
MUST_CHECK int safetensors_out_commit(struct safetensors_out *st, struct err *err);
/* Drops an uncommitted file; NULL is fine. */
void safetensors_out_free(struct safetensors_out *st);

#endif
