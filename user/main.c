/* stip-user: tokenizes, embeds, permutes, sends, un-permutes, samples. The only role that sees text. */
#include <stdio.h>

#include "base/cli.h"
#include "base/secret.h"
#include "transport/role_keygen.h"
#include "user/cmd.h"

static int run_keygen(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *dir;
    (void)argc;
    (void)argv;
    if (cli_need(cmd, "out", &dir, err) != 0)
        return -1;
    return role_keygen(dir, cli_on(cmd, "json"), err);
}

#define END {NULL, NULL, NULL, NULL, false}
#define TEXT {"text", "TEXT", "the text", NULL, false}, {"file", "FILE", "read it from a file", NULL, false}

int main(int argc, char **argv)
{
    struct cli_opt keygen_opts[] = {{"out", "DIR", "folder for identity.key and identity.pub", NULL, false}, CMD_JSON, END};
    struct cli_opt join_opts[] = {CMD_CONFIG, {"grant", "FILE", "a grant that was sealed to this user, instead of fetching one", NULL, false},
                                  CMD_JSON, END};
    struct cli_opt generate_opts[] = {CMD_CONFIG,
                                      {"prompt", "TEXT", "the text to continue", NULL, false},
                                      {"file", "FILE", "read the prompt from a file", NULL, false},
                                      {"max-tokens", "N", "at most so many new tokens (default 128)", NULL, false},
                                      CMD_SAMPLING,
                                      CMD_SPECULATE,
                                      {"logprobs", "K", "with --json: log-probabilities, and K alternatives per token", NULL, false},
                                      {"ignore-eos", NULL, "go on after the model's end token", NULL, false},
                                      CMD_WIRE, CMD_TRACE,
                                      CMD_BACKEND,
                                      CMD_JSON,
                                      END};
    struct cli_opt classify_opts[] = {CMD_CONFIG, {"text", "TEXT", "one text", NULL, false},
                                      {"file", "FILE", "one text per line; one result per line", NULL, false},
                                      {"image", "FILE", "a PNG or JPEG, for models of images; more may follow", NULL, false}, CMD_WIRE, CMD_TRACE, CMD_JSON, END};
    struct cli_opt embed_opts[] = {CMD_CONFIG, {"text", "TEXT", "one text", NULL, false},
                                   {"file", "FILE", "one text per line; one result per line", NULL, false},
                                   {"prompt-name", "NAME", "which of the model's prompts goes before the text (default: the one that the model names)", NULL, false},
                                   {"pooling", "HOW", "mean, cls, max or last (default: as the model says, else mean)", NULL, false},
                                   {"truncate", NULL, "leave out the end of a text that is too long, instead of refusing it", NULL, false},
                                   CMD_WIRE, CMD_TRACE, CMD_JSON, END};
    struct cli_opt fill_opts[] = {CMD_CONFIG, TEXT, {"top", "K", "candidates per [MASK] (default 5)", NULL, false}, CMD_WIRE, CMD_TRACE, CMD_JSON, END};
    struct cli_opt score_opts[] = {CMD_CONFIG, TEXT, {"stride", "N", "tokens that a window moves on (default: the context, windows side by side)", NULL, false},
                                   CMD_WIRE, CMD_TRACE, CMD_JSON, END};
    struct cli_opt chat_opts[] = {CMD_CONFIG,
                                  {"system", "TEXT", "a system message before the first line", NULL, false},
                                  {"turn", "FORMAT", "how a line becomes a turn, instead of the model's chat template; %s stands for the line (config: chat_turn, for models without template)", NULL, false},
                                  {"max-tokens", "N", "longest answer (default 256)", NULL, false},
                                  CMD_SAMPLING,
                                  CMD_SPECULATE,
                                  CMD_WIRE, CMD_TRACE, CMD_BACKEND,
                                  {"json", NULL, "each answer as one JSON object on stdout", NULL, false},
                                  END};
    struct cli_opt serve_opts[] = {CMD_CONFIG,
                                   {"listen", "ADDRESS:PORT", "where clients connect (default 127.0.0.1:7847; port 0 takes a free one)", NULL, false},
                                   {"model", "NAME", "how clients call the model (default stip)", NULL, false},
                                   {"api-key-file", "FILE", "clients must send this key; the file is 0600, one line", NULL, false},
                                   {"cors", "ORIGINS", "web origins that may use it, with commas between", NULL, false},
                                   {"host", "NAMES", "names that Host may say besides localhost and addresses", NULL, false},
                                   {"turn", "FORMAT", "how a message becomes a turn; %s stands for it (config: chat_turn)", NULL, false},
                                   {"max-tokens", "N", "longest answer where a request does not say (default 1024)", NULL, false},
                                   {"speculate", "HOW", "guesses sent with each token: auto (default), off, or so many", NULL, false},
                                   CMD_WIRE,
                                   {"parallel", "N", "generations at once; more requests wait (default 32)", NULL, false},
                                   {"connections", "N", "client connections at once (default 256)", NULL, false},
                                   CMD_BACKEND,
                                   CMD_JSON,
                                   END};
    struct cli_opt verify_opts[] = {CMD_CONFIG, {"count", "N", "questions (default 3)", NULL, false},
                                    {"timeout", "S", "seconds that an answer may take (default 60)", NULL, false},
                                    {"tolerance", "X", "how far a log-probability may be off (default: as the grant says)", NULL, false},
                                    CMD_SPECULATE, CMD_WIRE, CMD_TRACE, CMD_JSON, END};
    struct cli_opt bench_opts[] = {CMD_CONFIG, {"prompt-tokens", "N", "length of a prompt, of random tokens (default 128)", NULL, false},
                                   {"max-tokens", "N", "length of an answer (default 64)", NULL, false},
                                   {"repeats", "N", "answers, one after the other; the middle one is shown (default 5)", NULL, false},
                                   CMD_WIRE, CMD_TRACE, CMD_JSON, END};
    struct cli_opt tokenize_opts[] = {{"model", "DIR", "folder with tokenizer.json, vocab.json and merges.txt, or vocab.txt; or ORG/NAME[@REVISION] in the cache of Hugging Face", NULL, false},
                                      TEXT,
                                      {"ids", "LIST", "the way back: token ids to text", NULL, false},
                                      {"chat", "FILE", "messages through the model's chat template: a JSON list, or an object with messages, tools, add_generation_prompt, ...", NULL, false},
                                      {"apply-template", NULL, "the text is one message of a user, and goes through the chat template", NULL, false},
                                      {"no-special", NULL, "leave out the tokens that the model puts around a text", NULL, false},
                                      CMD_JSON,
                                      END};
    struct cli_opt peek_opts[] = {CMD_CONFIG, TEXT, CMD_WIRE, CMD_TRACE, CMD_JSON, END};
    struct cli_opt doctor_opts[] = {CMD_CONFIG, {"json", NULL, "print one JSON object", NULL, false}, END};
    const struct cli_cmd cmds[] = {
        {"keygen", "make this user's identity", "stip-user keygen --out user.id", keygen_opts, run_keygen, NULL},
        {"join", "fetch the grant: end keys, tokenizer, embeddings", "stip-user join --config configs/user.json", join_opts, cmd_join,
         NULL},
        {"generate", "continue a text", "stip-user generate --config configs/user.json --prompt \"Once upon a time\" --max-tokens 64",
         generate_opts, cmd_generate, NULL},
        {"chat", "talk, line by line", "stip-user chat --config configs/user.json", chat_opts, cmd_chat, NULL},
        {"peek", "a text, its token ids, and the numbers that the server received for it",
         "stip-user peek --config configs/user.json --text \"my secret\"", peek_opts, cmd_peek, NULL},
        {"serve", "an OpenAI API and a chat page on this machine", "stip-user serve --config configs/user.json", serve_opts, cmd_serve, NULL},
        {"classify", "label a text or images", "stip-user classify --config configs/user.json --text \"this is great\"", classify_opts,
         cmd_classify, "[FILE ...]"},
        {"embed", "a text as a vector", "stip-user embed --config configs/user.json --file texts.txt --json", embed_opts, cmd_embed, NULL},
        {"fill", "fill in [MASK]", "stip-user fill --config configs/user.json --text \"Paris is the [MASK] of France.\"", fill_opts,
         cmd_fill, NULL},
        {"score", "perplexity of a text", "stip-user score --config configs/user.json --file text.txt --json", score_opts, cmd_score,
         NULL},
        {"verify", "ask what is known already: does the server compute this model?", "stip-user verify --config configs/user.json", verify_opts,
         cmd_verify, NULL},
        {"bench", "how fast the server answers this user, and whose time it is", "stip-user bench --config configs/user.json --repeats 5",
         bench_opts, cmd_bench, NULL},
        {"tokenize", "text to token ids and back; needs no server", "stip-user tokenize --model HFDIR --text \"hello\" --json",
         tokenize_opts, cmd_tokenize, NULL},
        {"doctor", "check config, keys, grant and the way to the server, a line each", "stip-user doctor --config configs/user.json",
         doctor_opts, cmd_doctor, NULL},
        {NULL, NULL, NULL, NULL, NULL, NULL}};
    const struct cli_program program = {"stip-user", "private prompts to a server that cannot read them", cmds};
    struct err err;
    if (secret_harden_process(&err) != 0) {
        (void)fprintf(stderr, "stip-user: %s\n", err.text);
        return (int)err.code;
    }
    return cli_main(&program, argc, argv);
}
