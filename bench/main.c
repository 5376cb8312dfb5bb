/* stip-bench: compares, measures, and plays all three roles on one machine. */
#include "base/cli.h"
#include "bench/cmd.h"
#include "bench/shapes.h"

#define END {NULL, NULL, NULL, NULL, false}
#define PROTECT                                                                                                                    \
    {"profile", "NAME", "as stip-model-dev protect", NULL, false}, {"head", "WHERE", "auto, server or user", NULL, false},                      \
        {"local-layers", "K", "as stip-model-dev protect", NULL, false}, {"dtype", "TYPE", "keep, f32, bf16 or int8", NULL, false},                   \
        {"seed", "HEX", "32 bytes, for repeatable tests", NULL, true}
#define KV {"kv", "TYPE", "keys and values kept as f32 (default), bf16 or int8", NULL, false}

#define LINE                                                                                                                       \
    {"rtt", "MS", "between user and server a line of this round trip (default 0)", NULL, false},                                               \
        {"rate", "MBIT", "of so many megabits per second each way (default: no limit)", NULL, false}

int main(int argc, char **argv)
{
    struct cli_opt equality_opts[] = {{"model", "DIR", "a Hugging Face checkpoint: folder, or ORG/NAME[@REVISION] in the local cache", NULL, false},
                                      {"text", "FILE", "a text; for classifiers one text per line", NULL, false},
                                      {"prompt", "TEXT", "one text", NULL, false},
                                      {"image", "FILE", "a PNG or JPEG, for models of images; more may follow the flags", NULL, false},
                                      {"gen", "N", "tokens to generate greedily from the start of the text (default 256)", NULL, false},
                                      {"limit", "N", "tokens (or lines) of the text to use (default: 2048 tokens, all lines)", NULL, false},
                                      {"threads", "N", "threads (default: all)", NULL, false},
                                      {"dump", "FILE", "write the plain logits as safetensors", NULL, false},
                                      PROTECT,
                                      KV,
                                      {"json", NULL, "print one JSON object", NULL, false},
                                      END};
    struct cli_opt loopback_opts[] = {{"model", "DIR", "a Hugging Face checkpoint: folder, or ORG/NAME[@REVISION] in the local cache", NULL, false},
                                      PROTECT,
                                      KV,
                                      {"memory-mb", "N", "of keys and values at the server (default: as server.json's)", NULL, false},
                                      {"threads", "N", "threads of server and user (default 0: all)", NULL, false},
                                      LINE,
                                      {"audit", NULL, "a short audit of the package first; its verdict goes into the grant", NULL, false},
                                      {"keep", NULL, "keep the temporary folder", NULL, false},
                                      END};
    struct cli_opt link_opts[] = {{"to", "ENDPOINT", "where the server is, tcp://ADDRESS:PORT", NULL, false},
                                  {"listen", "ENDPOINT", "where users connect (default tcp://127.0.0.1:*, a free port)", NULL, false},
                                  LINE,
                                  {"json", NULL, "say so in one JSON line when it is ready", NULL, false},
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
                                   {"batch", "N,N,...", "sequences of the decodes, texts at once of a BERT (default 1,8,32)", NULL, false},
                                   {"repeats", "N", "rounds that the medians are of (default 5)", NULL, false},
                                   {"peer", "KIND=PATH,...", "run other engines in turn: llama-bench, llama-batched-bench, torch; KIND:LABEL=PATH names a fork", NULL, false},
                                   {"peer-model", "FILE", "GGUF file for them (default: the same model, converted)", NULL, false},
                                   {"plot", "FILE", "write the figure as SVG", NULL, false},
                                   PROTECT,
                                   KV,
                                   {"json", NULL, "print one JSON object", NULL, false},
                                   END};
    struct cli_opt profiles_opts[] = {{"model", "DIR", "a Hugging Face checkpoint: folder, or ORG/NAME[@REVISION] in the local cache", NULL, false},
                                      {"shape", "NAME", "or random weights of a named shape (see synth)", NULL, false},
                                      {"threads", "N", "threads (default: all)", NULL, false},
                                      {"prompt", "N", "tokens of the prefill (default 128)", NULL, false},
                                      {"gen", "N", "tokens of the decode (default 32)", NULL, false},
                                      {"repeats", "N", "rounds, all profiles in turn, that the medians are of (default 5)", NULL, false},
                                      {"dtype", "TYPE", "keep, f32, bf16 or int8", NULL, false},
                                      KV,
                                      {"json", NULL, "print one JSON object", NULL, false},
                                      END};
    struct cli_opt load_opts[] = {{"config", "FILE", "user.json of a user whose server is running", NULL, false},
                                  {"model", "DIR", "or three roles on loopback with this checkpoint", NULL, false},
                                  {"shape", "NAME", "or the same with random weights of a named shape (see synth)", NULL, false},
                                  {"sessions", "N", "users at once, at most 256 (default 32)", NULL, false},
                                  {"rps", "R", "requests per second, arriving at random; without it each user asks again at once", NULL, false},
                                  {"duration", "S", "seconds in which requests begin (default 30)", NULL, false},
                                  {"prompt-tokens", "N", "length of a prompt (default 128)", NULL, false},
                                  {"max-tokens", "N", "length of an answer (default 64)", NULL, false},
                                  {"threads", "N", "threads of the server, where it is started here (default 0: all)", NULL, false},
                                  {"plot", "FILE", "write latencies and tokens per second as SVG", NULL, false},
                                  PROTECT,
                                  KV,
                                  {"json", NULL, "print one JSON object", NULL, false},
                                  END};
    struct cli_opt gateway_opts[] = {{"config", "FILE", "user.json: use its server", NULL, false},
                                     {"model", "DIR", "or start the three roles here, with this checkpoint (it needs a tokenizer)", NULL, false},
                                     {"sessions", "N", "clients at once, 1 to 256 (default 1)", NULL, false},
                                     {"duration", "S", "seconds of each way in each round (default 10)", NULL, false},
                                     {"repeats", "N", "rounds, all ways in turn, that the medians are of (default 3)", NULL, false},
                                     {"prompt-tokens", "N", "length of a prompt (default 128)", NULL, false},
                                     {"max-tokens", "N", "length of an answer (default 64)", NULL, false},
                                     {"threads", "N", "threads of the server, where it is started here (default 0: all)", NULL, false},
                                     PROTECT,
                                     KV,
                                     {"json", NULL, "print one JSON object", NULL, false},
                                     END};
    struct cli_opt cheats_opts[] = {{"model", "DIR", "a Hugging Face checkpoint: folder, or ORG/NAME[@REVISION] in the local cache", NULL, false},
                                    {"trials", "N", "questions to each server, all different (default 1000)", NULL, false},
                                    {"threads", "N", "threads (default: all)", NULL, false},
                                    PROTECT,
                                    KV,
                                    {"json", NULL, "print one JSON object", NULL, false},
                                    END};
    struct cli_opt he_opts[] = {{"params", "N", "only parameter sets whose name starts so: 8192-200, 8192-218, 16384-436, 32768-840", NULL, false},
                                {"system", "NAME", "instead: a whole encoder under the-x, polynomial or primer", NULL, false},
                                {"model", "DIR", "really run this BERT checkpoint", NULL, false},
                                {"shape", "NAME", "or model bert-tiny, bert-base or bert-large by counts and measured times", NULL, false},
                                {"tokens", "N", "a power of two (default 32 with --model, 128 with --shape)", NULL, false},
                                {"prompt", "TEXT", "what the tokens are of (default: a film review)", NULL, false},
                                {"json", NULL, "print one JSON object", NULL, false},
                                END};
    struct cli_opt start_opts[] = {{"package", "DIR", "a package as protect writes it", NULL, true},
                                   {"threads", "N", "threads (default 0: all)", NULL, false},
                                   {"repeats", "N", "rounds, all ways in turn, that the medians are of (default 5)", NULL, false},
                                   {"json", NULL, "print one JSON object", NULL, false},
                                   END};
    struct cli_opt synth_opts[] = {{"shape", "NAME", shapes_names(), NULL, false},
                                   {"architecture", "NAME", "or a few small layers of this architecture", NULL, false},
                                   {"architectures", NULL, "print the names that --architecture takes", NULL, false},
                                   {"out", "DIR", "folder for config.json and model.safetensors", NULL, false},
                                   {"dtype", "TYPE", "f32 (default) or bf16", NULL, false},
                                   {"tokenizer", "DIR", "copy this folder's tokenizer.json, so that text can be used", NULL, false},
                                   {"gguf", "FILE", "write the model as a GGUF file too, for timing other engines", NULL, false},
                                   {"gguf-type", "TYPE", "f32, bf16 or q8_0 (default: as --dtype)", NULL, false},
                                   END};
    struct cli_opt compare_opts[] = {{"model", "DIR", "a Hugging Face checkpoint of BERT or GPT-2: folder, or ORG/NAME[@REVISION] in the local cache", NULL, false},
                                     {"shape", "NAME", "or random weights of a named shape (see synth)", NULL, false},
                                     {"systems", "NAME,...", "of plain, stip, crypten, mpcformer, secformer, puma (default: all)", NULL, false},
                                     {"seq", "N", "tokens (default 128); a decoder then takes one more, with its keys and values kept", NULL, false},
                                     {"network", "NAME", "lan or wan: lines that really delay and limit (default loopback; then both are modelled)", NULL, false},
                                     {"line", "KIND", "with --network: netns, parties in network namespaces of their own (root), or relay (default: netns if it may)", NULL, false},
                                     {"text", "FILE", "classifiers: texts, one a line (up to a tab), and whether the labels agree", NULL, false},
                                     {"limit", "N", "lines of the text to use (default 20)", NULL, false},
                                     {"tuned", "SYSTEM=DIR,...", "the model, tuned for a system's functions (examples/train/distil_classifier.py)", NULL, false},
                                     {"threads", "N", "threads of plain and of stip's server (default 1: a party has one, too)", NULL, false},
                                     {"repeats", "N", "rounds, all systems in turn, that the medians are of (default 3)", NULL, false},
                                     {"he", "S", "BERT: homomorphic encryption too, modelled, and really run where that takes at most S seconds", NULL, false},
                                     {"plan", NULL, "only count what the secret-sharing systems would send", NULL, false},
                                     {"lengths", "N,...", "in place of --seq, each of these; --plot then draws bytes and time over tokens", NULL, false},
                                     {"widths", "N,...", "the --shape at each of these widths; --plot then draws over them", NULL, false},
                                     {"matmul", NULL, "only measure the product of 64-bit integers beside what a core could do at most", NULL, false},
                                     {"scatter", "FILE", "write errors over seconds as SVG", NULL, false},
                                     {"markdown", "FILE", "write the tables as Markdown", NULL, false},
                                     {"plot", "FILE", "write the figure as SVG", NULL, false},
                                     {"json", NULL, "print one JSON object", NULL, false},
                                     END};
    struct cli_opt party_opts[] = {{"job", "DIR", "what to do", NULL, true},
                                   {"index", "N", "which party this is", NULL, true},
                                   {"connect", "ENDPOINT,...", "where the earlier ones listen", NULL, true},
                                   {"at", "ADDRESS", "listens there (default 127.0.0.1)", NULL, true},
                                   END};
    struct cli_opt primer_opts[] = {{"model", "DIR", "a BERT checkpoint; the client reads its shape only", NULL, true},
                                    {"tokens", "N", "rows", NULL, true},
                                    {"rows", "FILE", "the client's embedded rows, which its output replaces", NULL, true},
                                    {"connect", "ENDPOINT", "where the server listens; without it this is the server", NULL, true},
                                    {"at", "ADDRESS", "the server listens there (default 127.0.0.1)", NULL, true},
                                    END};
    const struct cli_cmd cmds[] = {
        {"demo", "show one private answer, and check it against plain inference",
         "stip-bench demo --model examples/demo-lm --prompt \"Once upon a time\"", demo_opts, cmd_demo, NULL},
        {"equality", "plain and private in one process, same kernels", "stip-bench equality --model HFDIR --prompt \"Once\" --json",
         equality_opts, cmd_equality, "[FILE ...]"},
        {"keys", "time of key derivation, and of what a user does for one token", "stip-bench keys --model HFDIR --json", keys_opts,
         cmd_keys, NULL},
        {"speed", "plain and private tokens per second, beside the machine's limits",
         "stip-bench speed --shape llama-110m --threads 2 --prompt 128,512 --gen 64 --batch 1,8,32 --json", speed_opts, cmd_speed, NULL},
        {"profiles", "what each profile costs: tokens per second, and whose time it is",
         "stip-bench profiles --shape llama-110m --threads 2", profiles_opts, cmd_profiles, NULL},
        {"load", "many users at once on a server: tokens per second and latencies",
         "stip-bench load --config user.json --sessions 32 --duration 30 --json", load_opts, cmd_load, NULL},
        {"gateway", "what HTTP costs: sessions, generate and stip-user serve in turns, with clients that only count",
         "stip-bench gateway --model examples/demo-lm --sessions 32", gateway_opts, cmd_gateway, NULL},
        {"cheats", "servers that compute something else: how many does stip-user verify notice?",
         "stip-bench cheats --model examples/demo-lm --trials 1000", cheats_opts, cmd_cheats, NULL},
        {"he", "times of homomorphic encryption, for comparison; protects nothing",
         "stip-bench he --params 8192 --json", he_opts, cmd_he, NULL},
        {"start", "time until a package is checked and in memory, beside reading and hashing its bytes", "stip-bench start --package DIR --json",
         start_opts, cmd_start, NULL},
        {"synth", "a checkpoint of random weights of a named shape",
         "stip-bench synth --shape tinyllama-1.1b --dtype bf16 --out /tmp/tinyllama", synth_opts, cmd_synth, NULL},
        {"loopback", "three roles as three processes on loopback, one stip-user command",
         "stip-bench loopback --model HFDIR -- generate --prompt \"Once\" --json", loopback_opts, cmd_loopback, "COMMAND ..."},
        {"compare", "the secure peers beside us in one table: secret sharing, measured in the same run, and what others published",
         "stip-bench compare --shape bert-tiny --systems plain,stip,crypten,mpcformer --json", compare_opts, cmd_compare, NULL},
        {"party", NULL, "stip-bench party --job DIR --index 0", party_opts, cmd_party, NULL},
        {"primer-party", NULL, "stip-bench primer-party --model DIR --tokens 32", primer_opts, cmd_primer_party, NULL},
        {"link", "a slow line: a relay that delays what passes and limits its rate",
         "stip-bench link --to tcp://127.0.0.1:7401 --rtt 50 --rate 100", link_opts, cmd_link, NULL},
        {NULL, NULL, NULL, NULL, NULL, NULL}};
    const struct cli_program program = {"stip-bench", "compares plain and private, measures, plays all roles", cmds};
    return cli_main(&program, argc, argv);
}
