/* transport/sealed.h - rows that may leave the user's machine.
 *
 * Data flow   user x [T,D] -> user/seal.c -> struct sealed_rows -> msg_rows -> wire.
 * Shapes      data: [rows, D] row-major, permuted; f32, or bf16 for half the bytes.
 * Errors      none.
 * Memory      borrows data.
 * Secrets     the point of the type: transport takes no float pointer to send, so plain rows handed to it are a type
 *             error. user/seal.c is the only file that fills one in (a lint looks for others outside tests).
 */
#ifndef STIP_TRANSPORT_SEALED_H
#define STIP_TRANSPORT_SEALED_H

#include <stdbool.h>
#include <stddef.h>

struct sealed_rows {
    size_t rows, D;
    const void *data;
    bool bf16;
};

#endif
