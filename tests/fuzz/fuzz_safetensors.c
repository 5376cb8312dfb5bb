/* model/safetensors: any bytes are refused, or give tensors that tile the data; every byte they name is read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *st = NULL;
    struct err err;
    /* Most random lengths point nowhere: half of the inputs get the length of all that follows up to a '}'. */
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, size);
    const uint8_t *end = size > 9 && data[0] % 2 == 0 ? memrchr(data + 8, '}', size - 8) : NULL;
    if (end != NULL) {
        uint64_t header = (uint64_t)(end + 1 - (data + 8));
        memcpy(bytes, &header, sizeof header);
    }
    if (safetensors_parse(&st, bytes, size, "fuzz", &err) == 0) {
        uint64_t sum = 0;
        volatile uint8_t sink = 0;
        for (size_t i = 0; i < safetensors_count(st); i++) {
            const struct tensor *t = safetensors_at(st, i);
            if (t->rank > TENSOR_MAX_RANK || t->bytes != t->count * dtype_size(t->dtype) || safetensors_find(st, t->name) != t)
                abort();
            for (uint64_t k = 0; k < t->bytes; k++)
                sink = (uint8_t)(sink ^ t->data[k]);
            if (dtype_is_float(t->dtype))
                (void)dtype_first_nonfinite(t->dtype, t->data, t->count);
            sum += t->bytes;
        }
        if (sum > size)
            abort();
        safetensors_close(st);
    }
    free(bytes);
    return 0;
}
