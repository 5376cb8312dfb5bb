/* model/config: any JSON is refused, or gives sizes that the rest of the program can rely on. */
#include <stdint.h>
#include <stdlib.h>

#include "model/arch.h"
#include "model/config.h"
#include "model/shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_doc *doc = NULL;
    struct config c;
    struct err err;
    if (json_parse(&doc, (const char *)data, size, false, "config.json", &err) != 0)
        return 0;
    if (config_parse(&c, doc, &err) == 0) {
        require(c.D >= 1 && c.L >= 1 && c.H >= 1 && c.G >= 1 && c.K >= 1 && c.F >= 1 && c.positions >= 1);
        require(config_reads_images(&c) ? c.V == 0 && config_patches(&c) < c.positions : c.V >= 1);
        require(c.D <= SHAPE_MAX_D && c.L <= SHAPE_MAX_L && c.H <= SHAPE_MAX_H && c.F <= SHAPE_MAX_F && c.V <= SHAPE_MAX_V);
        require(c.H % c.G == 0);
        require(c.position != POSITION_ROPE || (c.rotary >= 2 && c.rotary % 2 == 0 && c.rotary <= c.K));
        require(c.window >= 0 && c.rope.attention_factor >= 0 && c.norm_eps > 0);
        require(c.head != HEAD_CLASSIFY || (c.C >= 1 && c.C <= SHAPE_MAX_CLASSES));
        for (int i = 0; i < c.C && c.labels != NULL; i++)
            require(c.labels[i] != NULL);
        for (int i = 0; i < c.eos_count; i++)
            require(c.eos[i] >= 0 && c.eos[i] < c.V);
        for (int axis = AX_ONE; axis <= AX_TYPE; axis++)
            require(arch_axis_size(&c, (enum axis)axis) >= 0);
        config_free(&c);
    }
    json_free(doc);
    return 0;
}
