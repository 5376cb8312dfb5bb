/* transport/sealed.h - rows that may leave the user's machine.
 *
 * Data flow   user x [T,D] -> user/seal.c -> struct sealed_rows -> msg_rows -> wire.
 * Shapes      data: [rows, D] row-major f32, permuted.
 * Errors      none.
 * Memory      borrows data.
 * Secrets     the point of the type: transport takes no float pointer to send, so plain rows handed to it are a type
 *             error. user/seal.c is the only file that fills one in (a lint looks for others outside tests).
 */
#ifndef STIP_TRANSPORT_SEALED_H
#define STIP_TRANSPORT_SEALED_H

#include <stddef.h>

struct sealed_rows {
    size_t rows, D;
    const float *data;
};

#endif
