/* user/torch_file.h - one matrix as torch.save writes it: what vLLM's field `prompt_embeds` holds, in base64.
 *
 * Data flow   rows [n,D] -> a zip archive of stored files (data.pkl: which type, which shape; data/0: the numbers) -> bytes.
 * Shapes      row-major, as many bytes as n * D of the type have.
 * Units       elements.
 * Errors      ERR_INPUT for more numbers than the pickle's and the zip's 32 bits count; memory.
 * Memory      appends to the caller's buf; the door to zlib, of which only the checksum is used.
 * Secrets     none of its own.
 * Source      PyTorch, torch/serialization.py (format of 1.6 and later); PKWARE APPNOTE 4.3; Python, pickletools (protocol 2).
 */
#ifndef STIP_USER_TORCH_FILE_H
#define STIP_USER_TORCH_FILE_H

#include "base/buf.h"
#include "model/dtype.h"

/* dtype: F32, BF16 or F16 (asserted). */
MUST_CHECK int torch_file_put(struct buf *out, enum dtype dtype, uint32_t n, uint32_t D, const void *rows, struct err *err);

#endif
