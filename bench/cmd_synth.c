#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "bench/cmd.h"
#include "bench/gguf.h"
#include "bench/shapes.h"
#include "model/arch.h"
#include "user/tokenizer.h"

#define SEED 20261121
#define TOKENIZER_MAX ((size_t)256 << 20)

static int copy_tokenizer(const char *from, const char *to, struct err *err)
{
    char src[FILE_PATH_MAX], dst[FILE_PATH_MAX];
    char *text;
    size_t len;
    if (file_join(src, from, "tokenizer.json", err) != 0 || file_join(dst, to, "tokenizer.json", err) != 0 ||
        file_read(src, TOKENIZER_MAX, &text, &len, err) != 0)
        return -1;
    int rc = file_write(dst, text, len, 0644, err);
    free(text);
    return rc;
}

/* Not less than *V. */
static int vocabulary_of(const char *dir, int *V, struct err *err)
{
    struct tokenizer *t = NULL;
    if (tokenizer_load(&t, dir, err) != 0)
        return -1;
    *V = tokenizer_vocab_size(t) > *V ? tokenizer_vocab_size(t) : *V;
    tokenizer_free(t);
    return 0;
}

int cmd_synth(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *architecture = cli_str(cmd, "architecture", NULL), *name = NULL, *dir, *dtype = cli_str(cmd, "dtype", "f32"),
               *tokenizer = cli_str(cmd, "tokenizer", NULL);
    const char *gguf = cli_str(cmd, "gguf", NULL), *gguf_type = cli_str(cmd, "gguf-type", dtype);
    struct named_shape small = {NULL, architecture, {.D = 64, .H = 4, .L = 4, .F = 160, .V = 512}};
    (void)argc;
    (void)argv;
    for (size_t i = 0; cli_on(cmd, "architectures") && arch_at(i) != NULL; i++)
        puts(arch_at(i)->name);
    if (cli_on(cmd, "architectures"))
        return 0;
    if ((architecture == NULL && cli_need(cmd, "shape", &name, err) != 0) || cli_need(cmd, "out", &dir, err) != 0)
        return -1;
    if (tokenizer != NULL && vocabulary_of(tokenizer, &small.shape.V, err) != 0)
        return -1;
    const struct named_shape *s = architecture != NULL ? &small : shapes_find(name);
    if (s == NULL)
        return err_set(err, ERR_USAGE, "--shape: '%.40s' is not one of %s", name, shapes_names());
    struct synth_shape shape = s->shape;
    if (strcmp(dtype, "bf16") == 0)
        shape.dtype = DTYPE_BF16;
    else if (strcmp(dtype, "f32") != 0)
        return err_set(err, ERR_USAGE, "--dtype: expected f32 or bf16, found '%.20s'", dtype);
    if (file_mkdirs(dir, 0755, err) != 0 || synth_checkpoint(dir, s->architecture, &shape, SEED, err) != 0)
        return -1;
    if (tokenizer != NULL && copy_tokenizer(tokenizer, dir, err) != 0)
        return -1;
    return gguf == NULL ? 0 : gguf_write(gguf, dir, gguf_type, err);
}
