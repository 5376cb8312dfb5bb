#include "bench/shapes.h"

#include <stddef.h>
#include <string.h>

static const struct named_shape shapes[] = {
    {"gpt2-124m", "GPT2LMHeadModel", {.D = 768, .H = 12, .L = 12, .V = 50257, .positions = 1024}},
    {"llama-110m", "LlamaForCausalLM", {.D = 768, .H = 12, .L = 12, .F = 2048, .V = 32000, .positions = 1024}},
    {"tinyllama-1.1b", "LlamaForCausalLM",
     {.D = 2048, .H = 32, .G = 4, .L = 22, .F = 5632, .V = 32000, .positions = 2048, .untied = true}},
    {"llama-7b", "LlamaForCausalLM", {.D = 4096, .H = 32, .L = 32, .F = 11008, .V = 32000, .positions = 4096, .untied = true}},
    {"bert-tiny", "BertForSequenceClassification", {.D = 128, .H = 2, .L = 2, .F = 512, .V = 30522}},
    {"bert-base", "BertForSequenceClassification", {.D = 768, .H = 12, .L = 12, .F = 3072, .V = 30522}},
    {"bert-large", "BertForSequenceClassification", {.D = 1024, .H = 16, .L = 24, .F = 4096, .V = 30522}},
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
    return "gpt2-124m, llama-110m, tinyllama-1.1b, llama-7b, bert-tiny, bert-base, bert-large";
}
