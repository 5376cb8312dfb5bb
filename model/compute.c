#include "model/compute.h"

#include <string.h>

const char *compute_name(enum compute c)
{
    static const char *const names[] = {[COMPUTE_F32] = "f32", [COMPUTE_BF16] = "bf16", [COMPUTE_INT8] = "int8"};
    return names[c];
}

bool compute_parse(const char *name, enum compute *out)
{
    for (int c = COMPUTE_F32; c <= COMPUTE_INT8; c++)
        if (strcmp(name, compute_name((enum compute)c)) == 0) {
            *out = (enum compute)c;
            return true;
        }
    return false;
}
