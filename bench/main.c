/* stip-bench: compares, measures, and plays all three roles on one machine. */
#include "base/cli.h"
#include "bench/cmd.h"

#define END {NULL, NULL, NULL, NULL, false}
#define PROTECT                                                                                                                    \
    {"profile", "NAME", "as stip-model-dev protect", NULL, false}, {"head", "WHERE", "auto, server or user", NULL, false},                      \
        {"local-layers", "K", "as stip-model-dev protect", NULL, false}, {"dtype", "TYPE", "keep, f32 or bf16", NULL, false},                   \
        {"seed", "HEX", "32 bytes, for repeatable tests", NULL, true}

int main(int argc, char **argv)
{
    struct cli_opt equality_opts[] = {{"model", "DIR", "a Hugging Face checkpoint: folder, or ORG/NAME[@REVISION] in the local cache", NULL, false},
                                      {"text", "FILE", "a text; for classifiers one text per line", NULL, false},
                                      {"prompt", "TEXT", "one text", NULL, false},
                                      {"gen", "N", "tokens to generate greedily from the start of the text (default 256)", NULL, false},
                                      {"limit", "N", "tokens (or lines) of the text to use (default: 2048 tokens, all lines)", NULL, false},
                                      {"threads", "N", "threads (default: all)", NULL, false},
                                      {"dump", "FILE", "write the plain logits as safetensors", NULL, false},
                                      PROTECT,
                                      {"json", NULL, "print one JSON object", NULL, false},
                                      END};
    struct cli_opt loopback_opts[] = {{"model", "DIR", "a Hugging Face checkpoint: folder, or ORG/NAME[@REVISION] in the local cache", NULL, false},
                                      PROTECT,
                                      {"threads", "N", "threads of server and user (default 0: all)", NULL, false},
                                      {"keep", NULL, "keep the temporary folder", NULL, false},
                                      END};
    struct cli_opt demo_opts[] = {{"model", "DIR", "a Hugging Face checkpoint: folder, or ORG/NAME[@REVISION] in the local cache", NULL, false},
                                  {"prompt", "TEXT", "what the user types", NULL, false},
                                  {"max-tokens", "N", "length of the answer (default 100)", NULL, false},
                                  {"threads", "N", "threads of server and user", NULL, false},
                                  PROTECT,
                                  END};
    struct cli_opt keys_opts[] = {{"model", "DIR", "a folder with a config.json", NULL, false},
                                  {"json", NULL, "print one JSON object", NULL, false},
                                  END};
    struct cli_opt speed_opts[] = {{"model", "DIR", "a Hugging Face checkpoint: folder, or ORG/NAME[@REVISION] in the local cache", NULL, false},
                                   {"shape", "NAME", "or random weights of a named shape (see synth)", NULL, false},
                                   {"threads", "N", "threads (default: all)", NULL, false},
                                   {"prompt", "N,N,...", "tokens of the prefills (default 128,512)", NULL, false},
                                   {"gen", "N", "tokens of a decode (default 64)", NULL, false},
                                   {"batch", "N,N,...", "sequences of the decodes (default 1,8,32)", NULL, false},
                                   PROTECT,
                                   {"json", NULL, "print one JSON object", NULL, false},
                                   END};
    struct cli_opt synth_opts[] = {{"shape", "NAME", "gpt2-124m, llama-110m, tinyllama-1.1b, llama-7b, bert-tiny, bert-base, bert-large", NULL, false},
                                   {"out", "DIR", "folder for config.json and model.safetensors", NULL, false},
                                   {"dtype", "TYPE", "f32 (default) or bf16", NULL, false},
                                   {"tokenizer", "DIR", "copy this folder's tokenizer.json, so that text can be used", NULL, false},
                                   END};
    const struct cli_cmd cmds[] = {
        {"demo", "show one private answer, and check it against plain inference",
         "stip-bench demo --model examples/demo-lm --prompt \"Once upon a time\"", demo_opts, cmd_demo, NULL},
        {"equality", "plain and private in one process, same kernels", "stip-bench equality --model HFDIR --prompt \"Once\" --json",
         equality_opts, cmd_equality, NULL},
        {"keys", "time of key derivation and of permuting one token, medians of 5", "stip-bench keys --model HFDIR --json", keys_opts,
         cmd_keys, NULL},
        {"speed", "plain and private tokens per second, beside the machine's limits",
         "stip-bench speed --shape llama-110m --threads 2 --prompt 128,512 --gen 64 --batch 1,8,32 --json", speed_opts, cmd_speed, NULL},
        {"synth", "a checkpoint of random weights of a named shape",
         "stip-bench synth --shape tinyllama-1.1b --dtype bf16 --out /tmp/tinyllama", synth_opts, cmd_synth, NULL},
        {"loopback", "three roles as three processes on loopback, one stip-user command",
         "stip-bench loopback --model HFDIR -- generate --prompt \"Once\" --json", loopback_opts, cmd_loopback, "COMMAND ..."},
        {NULL, NULL, NULL, NULL, NULL, NULL}};
    const struct cli_program program = {"stip-bench", "compares plain and private, measures, plays all roles", cmds};
    return cli_main(&program, argc, argv);
}
