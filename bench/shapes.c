#include "bench/shapes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint.h"

static const struct named_shape shapes[] = {
    {"gpt2-124m", "GPT2LMHeadModel", {.D = 768, .H = 12, .L = 12, .V = 50257, .positions = 1024}},
    {"llama-110m", "LlamaForCausalLM", {.D = 768, .H = 12, .L = 12, .F = 2048, .V = 32000, .positions = 1024}},
    {"tinyllama-1.1b", "LlamaForCausalLM",
     {.D = 2048, .H = 32, .G = 4, .L = 22, .F = 5632, .V = 32000, .positions = 2048, .untied = true}},
    {"llama-7b", "LlamaForCausalLM", {.D = 4096, .H = 32, .L = 32, .F = 11008, .V = 32000, .positions = 4096, .untied = true}},
    {"qwen3-0.6b", "Qwen3ForCausalLM",
     {.D = 1024, .H = 16, .G = 8, .K = 128, .L = 28, .F = 3072, .V = 151936, .positions = 40960}},
    {"phi3-mini", "Phi3ForCausalLM", {.D = 3072, .H = 32, .L = 32, .F = 8192, .V = 32064, .positions = 4096, .untied = true}},
    {"pythia-160m", "GPTNeoXForCausalLM", {.D = 768, .H = 12, .L = 12, .F = 3072, .V = 50304, .positions = 2048, .untied = true}},
    {"bert-tiny", "BertForSequenceClassification", {.D = 128, .H = 2, .L = 2, .F = 512, .V = 30522}},
    {"bert-base", "BertForSequenceClassification", {.D = 768, .H = 12, .L = 12, .F = 3072, .V = 30522}},
    {"bert-large", "BertForSequenceClassification", {.D = 1024, .H = 16, .L = 24, .F = 4096, .V = 30522}},
    {"roberta-base", "RobertaForSequenceClassification", {.D = 768, .H = 12, .L = 12, .F = 3072, .V = 50265}},
    {"distilbert-base", "DistilBertForSequenceClassification", {.D = 768, .H = 12, .L = 6, .F = 3072, .V = 30522}},
    {"vit-base", "ViTForImageClassification", {.D = 768, .H = 12, .L = 12, .F = 3072, .image = 224, .patch = 16, .classes = 1000}},
    {"deit-tiny", "DeiTForImageClassification", {.D = 192, .H = 3, .L = 12, .F = 768, .image = 224, .patch = 16, .classes = 1000}},
};

const struct named_shape *shapes_find(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

const char *shapes_names(void)
{
    static char text[512];
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes && (i > 0 || text[0] == '\0'); i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i == 0 ? "" : ", ", shapes[i].name);
    return text;
}

int shapes_temp_dir(char dir[FILE_PATH_MAX], struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir, FILE_PATH_MAX, "%s/stip-bench-XXXXXX", tmp == NULL || tmp[0] == '\0' ? "/tmp" : tmp);
    if (mkdtemp(dir) != NULL)
        return 0;
    int error = errno;
    dir[0] = '\0';
    return err_set(err, ERR_INTERNAL, "cannot make a temporary folder: %s", strerror(error));
}

void shapes_drop_dir(const char *dir)
{
    struct err left;
    if (dir[0] != '\0' && file_remove_tree(dir, &left) != 0)
        (void)fprintf(stderr, "%s\n", left.text);
}

/* The named shape, made so wide unless width is 0. */
static int widened(struct synth_shape *out, const char **architecture, const char *name, int width, struct err *err)
{
    const struct named_shape *s = shapes_find(name);
    if (s == NULL)
        return err_set(err, ERR_USAGE, "--shape: '%.40s' is not one of %s", name, shapes_names());
    *architecture = s->architecture;
    *out = s->shape;
    const int head = out->D / out->H;
    if (width == 0)
        return 0;
    if (width < head || width % head != 0)
        return err_set(err, ERR_USAGE, "a width of %d is no multiple of the heads' %d", width, head);
    out->D = width;
    out->H = width / head;
    out->G = 0;
    out->F = 4 * width;
    return 0;
}

int shapes_config(const char *name, int width, const char *dir, struct err *err)
{
    struct synth_shape shape;
    const char *architecture;
    if (widened(&shape, &architecture, name, width, err) != 0)
        return -1;
    shape.without = CHECKPOINT_EMBED | CHECKPOINT_CORE | CHECKPOINT_HEAD;
    return synth_checkpoint(dir, architecture, &shape, 1, err);
}

int shapes_checkpoint(const char *name, int width, const char *dir, struct err *err)
{
    static const char tokenizer[] = "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[UNK]\":0}}}";
    struct synth_shape shape;
    const char *architecture;
    char path[FILE_PATH_MAX];
    if (widened(&shape, &architecture, name, width, err) != 0 || synth_checkpoint(dir, architecture, &shape, 1, err) != 0 ||
        file_join(path, dir, "tokenizer.json", err) != 0)
        return -1;
    return file_write(path, tokenizer, strlen(tokenizer), 0644, err);
}
