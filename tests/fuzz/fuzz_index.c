/* model.safetensors.index.json beside a sound config.json and a small shard. */
#include <stdint.h>
#include <string.h>

#include "model/checkpoint.h"
#include "tests/fuzz/folder.h"
#include "tests/support/synth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct synth_shape shape = {.D = 8, .H = 2, .L = 1, .V = 10, .F = 8, .positions = 16};
    static int made;
    struct checkpoint *cp = NULL;
    struct err err;
    if (!made) {
        if (synth_checkpoint(folder(), "LlamaForCausalLM", &shape, 1, &err) != 0)
            __builtin_trap();
        folder_take();
        made = 1;
    }
    folder_put("model.safetensors.index.json", data, size);
    if (checkpoint_open(&cp, folder(), CHECKPOINT_ALL, &err) == 0)
        checkpoint_close(cp);
    return 0;
}
