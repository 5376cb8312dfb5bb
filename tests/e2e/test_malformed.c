/* Broken checkpoints through the programs: refused with exit status 3 and a sentence that names the thing, and nothing written.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/le.h"
#include "model/safetensors.h"
#include "tests/support/shell.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

static char dir[FILE_PATH_MAX];

static void make(void)
{
    tempdir_make(dir);
}

static void drop(void)
{
    tempdir_remove(dir);
}

TestSuite(malformed, .init = make, .fini = drop);

/* ------------------------------------------------------------------ a sound checkpoint, then one change */

enum change { CONFIG, CONFIG_BYTES, TOKENIZER, WEIGHTS, NO_FILE };

struct broken {
    const char *name;
    enum change change;
    const char *from, *to;    /* text replaced in the file; to NULL: see weights() and remove */
    const char *says;         /* in the sentence */
    const char *architecture; /* NULL: LlamaForCausalLM */
};

static const struct broken CASES[] = {
    {"no heads", CONFIG, "\"num_attention_heads\":\t4", "\"num_attention_heads\":0", "num_attention_heads", NULL},
    {"negative width", CONFIG, "\"hidden_size\":\t32", "\"hidden_size\":-32", "hidden_size", NULL},
    {"huge layers", CONFIG, "\"num_hidden_layers\":\t2", "\"num_hidden_layers\":99999999", "num_hidden_layers", NULL},
    {"one layer too many", CONFIG, "\"num_hidden_layers\":\t2", "\"num_hidden_layers\":3", "layers.2", NULL},
    {"groups", CONFIG, "\"num_key_value_heads\":\t2", "\"num_key_value_heads\":3", "num_key_value_heads", NULL},
    {"architecture", CONFIG, "LlamaForCausalLM", "MambaForCausalLM", "MambaForCausalLM", NULL},
    {"activation", CONFIG, "\"hidden_act\":\t\"silu\"", "\"hidden_act\":\"swishy\"", "swishy", NULL},
    {"rope type", CONFIG, "\"rope_theta\":\t10000", "\"rope_theta\":10000,\"rope_scaling\":{\"rope_type\":\"mrope\",\"factor\":2}",
     "mrope", NULL},
    {"gpt2 activation", CONFIG, "\"activation_function\":\t\"gelu_new\"", "\"activation_function\":\"tanh\"", "tanh",
     "GPT2LMHeadModel"},
    {"bert relative positions", CONFIG, "\"type_vocab_size\"", "\"position_embedding_type\":\"relative_key\",\"type_vocab_size\"",
     "relative_key", "BertForSequenceClassification"},
    {"quantised", CONFIG, "\"hidden_size\":\t32", "\"quantization_config\":{\"quant_method\":\"gptq\"},\"hidden_size\":32",
     "quantization_config", NULL},
    {"cut config", CONFIG_BYTES, NULL, "{\"architectures\":[\"LlamaFor", "string without end", NULL},
    {"empty config", CONFIG_BYTES, NULL, "", "config.json", NULL},
    {"config twice", CONFIG, "\"hidden_size\":\t32", "\"hidden_size\":32,\"hidden_size\":64", "hidden_size", NULL},
    {"no config", NO_FILE, "config.json", NULL, "config.json", NULL},
    {"no weights", NO_FILE, "model.safetensors", NULL, "model.safetensors", NULL},
    {"pickle only", NO_FILE, "model.safetensors", "pytorch_model.bin", "pytorch_model.bin", NULL},
    {"weights cut", WEIGHTS, "cut", NULL, "model.safetensors", NULL},
    {"weights empty", WEIGHTS, "empty", NULL, "model.safetensors", NULL},
    {"header cut", WEIGHTS, "header", NULL, "model.safetensors", NULL},
    {"header longer than the file", WEIGHTS, "long header", NULL, "model.safetensors", NULL},
    {"bytes behind the data", WEIGHTS, "more", NULL, "model.safetensors", NULL},
    {"tensors that overlap", WEIGHTS, "overlap", NULL, "overlap", NULL},
    {"unknown dtype", WEIGHTS, "dtype", NULL, "dtype", NULL},
    {"shape that is not its bytes", WEIGHTS, "shape", NULL, "shape", NULL},
    {"missing tensor", WEIGHTS, "missing", NULL, "model.norm.wrong", NULL},
    {"NaN in the embeddings", WEIGHTS, "nan 5000", NULL, "'model.embed_tokens.weight': NaN or infinity at element 5000", NULL},
    {"infinity in a layer", WEIGHTS, "inf 65600", NULL, "'model.layers.0", NULL},
};

static void replace(const char *path, const char *from, const char *to)
{
    size_t len;
    char *text = tempdir_slurp(path, &len), *at = memmem(text, len, from, strlen(from));
    cr_assert_not_null(at, "%s: no '%s' in %s", path, from, text);
    size_t before = (size_t)(at - text), n = len - strlen(from) + strlen(to);
    char *out = malloc(n + 1);
    memcpy(out, text, before);
    memcpy(out + before, to, strlen(to));
    memcpy(out + before + strlen(to), at + strlen(from), len - before - strlen(from));
    tempdir_spill(path, out, n);
    free(out);
    free(text);
}

/* The header is edited in place, with as many spaces as its length needs. */
static void edit_header(char *data, const char *from, const char *to)
{
    size_t n = (size_t)le_get64((const uint8_t *)data), a = strlen(from), b = strlen(to);
    char *header = data + 8, *at = memmem(header, n, from, a);
    cr_assert(at != NULL && b <= a, "no '%s' in the header", from);
    memmove(at + b, at + a, n - (size_t)(at - header) - a);
    memcpy(at, to, b);
    memset(header + n - (a - b), ' ', a - b);
}

static void weights(const char *path, const char *how)
{
    size_t len;
    char *data = tempdir_slurp(path, &len);
    data = realloc(data, len + 8);
    size_t header = (size_t)le_get64((const uint8_t *)data);
    const uint32_t bad = strncmp(how, "nan", 3) == 0 ? 0x7fc00000u : 0x7f800000u;
    if (strcmp(how, "cut") == 0)
        len -= 10;
    else if (strcmp(how, "empty") == 0)
        len = 0;
    else if (strcmp(how, "header") == 0)
        len = 8 + header / 2;
    else if (strcmp(how, "long header") == 0)
        le_put64((uint8_t *)data, 1u << 30);
    else if (strcmp(how, "more") == 0)
        memset(data + len, 0, 4), len += 4;
    else if (strcmp(how, "overlap") == 0) {
        /* The first tensor's bytes for the second one of the same size too. */
        char *first = strstr(data + 8, "\"data_offsets\":["), *second = strstr(first + 1, "\"data_offsets\":[");
        char a[64], b[64];
        cr_assert(sscanf(first, "\"data_offsets\":%63[^]]", a) == 1 && sscanf(second, "\"data_offsets\":%63[^]]", b) == 1);
        char from[80], to[80];
        unsigned long from_at, from_end;
        cr_assert_eq(sscanf(b, "[%lu,%lu", &from_at, &from_end), 2);
        (void)snprintf(from, sizeof from, "\"data_offsets\":[%lu,%lu]", from_at, from_end);
        (void)snprintf(to, sizeof to, "\"data_offsets\":[%lu,%lu]", from_at - 4, from_end - 4);
        edit_header(data, from, to);
    } else if (strcmp(how, "dtype") == 0)
        edit_header(data, "\"F32\"", "\"F99\"");
    else if (strcmp(how, "shape") == 0)
        edit_header(data, "\"shape\":[32]", "\"shape\":[31]");
    else if (strcmp(how, "missing") == 0)
        edit_header(data, "model.norm.weight", "model.norm.wrong");
    else
        memcpy(data + 8 + header + 4 * strtoul(how + 4, NULL, 10), &bad, sizeof bad);
    tempdir_spill(path, data, len);
    free(data);
}

static void make_case(const struct broken *c, const char *model)
{
    const struct synth_shape shape = {.D = 32, .H = 4, .G = c->architecture == NULL ? 2 : 0, .L = 2, .V = 2048, .F = 48};
    const char *config = tempdir_path(model, "config.json"), *tensors = tempdir_path(model, "model.safetensors");
    struct err err = {0};
    size_t len;
    cr_assert_eq(synth_checkpoint(model, c->architecture == NULL ? "LlamaForCausalLM" : c->architecture, &shape, 2, &err), 0,
                 "%s", err.text);
    char *tokenizer = tempdir_slurp(DEMO_LM "/tokenizer.json", &len);
    tempdir_spill(tempdir_path(model, "tokenizer.json"), tokenizer, len);
    free(tokenizer);
    switch (c->change) {
    case CONFIG:
        replace(config, c->from, c->to);
        break;
    case CONFIG_BYTES:
        tempdir_spill(config, c->to, strlen(c->to));
        break;
    case WEIGHTS:
        weights(tensors, c->from);
        break;
    case NO_FILE:
        if (c->to != NULL)
            tempdir_spill(tempdir_path(model, c->to), "PK", 2);
        cr_assert_eq(unlink(tempdir_path(model, c->from)), 0);
        break;
    case TOKENIZER:
        break;
    }
}

static void refused(const struct shell *s, const struct broken *c)
{
    cr_expect_eq(s->status, 3, "%s: %s: exit status %d: %s", c->name, s->command, s->status, s->err);
    cr_expect_not_null(strstr(s->err, c->says), "%s: %s: expected '%s' in: %s", c->name, s->command, c->says, s->err);
    cr_expect_null(strstr(s->err, "Sanitizer"), "%s", s->err);
    cr_expect_eq(s->out_len, 0, "%s", s->out);
}

/* Mutation: a check removed from the readers; an identity or a folder made before the checkpoint was looked at. */
Test(malformed, each_broken_checkpoint_is_refused_and_nothing_is_written)
{
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const struct broken *c = &CASES[i];
        char model[FILE_PATH_MAX], out[FILE_PATH_MAX];
        struct shell s;
        (void)snprintf(model, sizeof model, "%s/model%zu", dir, i);
        (void)snprintf(out, sizeof out, "%s/out%zu", dir, i);
        make_case(c, model);
        int files = tempdir_count(model);
        shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", model, "--out", out, "--json"));
        refused(&s, c);
        cr_expect_eq(tempdir_count(out), -1, "%s: protect left %d things in OUT", c->name, tempdir_count(out));
        shell_free(&s);
        cr_assert_eq(mkdir(out, 0700), 0); /* an empty folder that was there stays, and stays empty */
        shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", model, "--out", out));
        cr_expect_eq(tempdir_count(out), 0, "%s: protect left %d things in OUT", c->name, tempdir_count(out));
        shell_free(&s);
        shell_run(&s, SHELL_ARGV("stip-bench", "equality", "--model", model, "--prompt", "Once", "--json"));
        refused(&s, c);
        shell_free(&s);
        cr_expect_eq(tempdir_count(model), files, "%s: something was written into the checkpoint", c->name);
    }
}

/* ------------------------------------------------------------------ tokenizers */

static const struct broken TOKENIZERS[] = {
    {"model type", TOKENIZER, NULL, "{\"version\":\"1.0\",\"model\":{\"type\":\"Marvel\",\"vocab\":{\"a\":0},\"merges\":[]}}",
     "Marvel", NULL},
    {"normalizer", TOKENIZER, NULL,
     "{\"version\":\"1.0\",\"normalizer\":{\"type\":\"Rot13\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
     "Rot13", NULL},
    {"pre-tokenizer", TOKENIZER, NULL,
     "{\"version\":\"1.0\",\"pre_tokenizer\":{\"type\":\"Chopper\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]"
     "}}",
     "Chopper", NULL},
    {"decoder", TOKENIZER, NULL,
     "{\"version\":\"1.0\",\"decoder\":{\"type\":\"Unscramble\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
     "Unscramble", NULL},
    {"bad UTF-8", TOKENIZER, NULL, "{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\xff\":0},\"merges\":[]}}",
     "UTF-8", NULL},
    {"cut", TOKENIZER, NULL, "{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vo", "tokenizer.json", NULL},
    {"empty", TOKENIZER, NULL, "", "tokenizer.json", NULL},
    {"a merge of nothing known", TOKENIZER, NULL,
     "{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a z\"]}}", "tokenizer.json", NULL},
};

Test(malformed, each_tokenizer_that_is_not_understood_is_refused_by_name)
{
    for (size_t i = 0; i < sizeof TOKENIZERS / sizeof *TOKENIZERS; i++) {
        const struct broken *c = &TOKENIZERS[i];
        char model[FILE_PATH_MAX];
        struct shell s;
        (void)snprintf(model, sizeof model, "%s/tokenizer%zu", dir, i);
        make_case(c, model);
        tempdir_spill(tempdir_path(model, "tokenizer.json"), c->to, strlen(c->to));
        shell_run(&s, SHELL_ARGV("stip-user", "tokenize", "--model", model, "--text", "hello", "--json"));
        refused(&s, c);
        shell_free(&s);
        shell_run(&s, SHELL_ARGV("stip-bench", "equality", "--model", model, "--prompt", "Once", "--json"));
        refused(&s, c);
        shell_free(&s);
    }
}
