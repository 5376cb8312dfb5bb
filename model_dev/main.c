/* stip-model-dev: party 1. Owns the plain model; makes the package for the server and the grants for the users. */
#include <stdio.h>

#include "base/log.h"
#include "base/secret.h"
#include "model_dev/cmd.h"

#define JSON_OPT {.name = "json", .help = "one JSON object on stdout"}
#define CONFIG_OPT {.name = "config", .arg = "FILE", .help = "model_dev.json; ./model_dev.json when neither this nor --protected is given"}
#define PROTECTED_OPT {.name = "protected", .arg = "DIR", .help = "the folder that protect wrote"}
#define MODEL_OPT {.name = "model", .arg = "HFDIR", .help = "the plain checkpoint that the package was made from"}
#define IDENTITY_OPT {.name = "identity", .arg = "DIR", .help = "the developer's identity; without it the config's, or PROTECTED/identity"}
#define EXPIRES_OPT(what) {.name = "expires", .arg = "WHEN", .help = what ": days (90) or a date in UTC (2027-03-01); without it never"}
#define END_OPT {.name = NULL}

static struct cli_opt keygen_opts[] = {
    {.name = "out", .arg = "DIR", .help = "folder for identity.key and identity.pub; never replaces one"}, JSON_OPT, END_OPT};

static struct cli_opt protect_opts[] = {
    {.name = "model", .arg = "HFDIR", .help = "a Hugging Face checkpoint: a folder, or a repository of Hugging Face (ORG/NAME[@REVISION]) in this machine's cache"},
    {.name = "out", .arg = "DIR", .help = "gets DIR/package for the server and DIR/context.key, the developer's secret"},
    {.name = "profile", .arg = "NAME", .help = "stip; gauge: rotated and scaled as well, for models with norms before their layers; engine: a checkpoint for engines of others (docs/ENGINES.md), which hides less"},
    {.name = "head", .arg = "WHERE", .help = "auto (user for tied models, else server), server, user"},
    {.name = "local-layers", .arg = "K", .help = "the first K layers run on the users' machines and the server gets rows that are contextual; users then have these layers"},
    {.name = "dtype", .arg = "TYPE", .help = "of products: keep or f32 (exact), bf16, int8"},
    {.name = "derived-from", .arg = "WHAT", .help = "none, public, or the base model's name: says what that means; recorded nowhere"},
    {.name = "seed", .arg = "HEX64", .help = "tests only: the seed of all keys", .flag_only = true},
    {.name = "force", .help = "move an existing package and key aside; the new one names the old (rotate does this for the same model)"},
    EXPIRES_OPT("the last day on which the server serves it and users use it"),
    {.name = "epoch", .arg = "N", .help = "number of this context; without it one more than that of the package which is moved aside, or 1"},
    {.name = "identity", .arg = "DIR", .help = "signs the package; without it OUT/identity, made on first use"},
    JSON_OPT, END_OPT};

static struct cli_opt export_opts[] = {
    {.name = "model", .arg = "HFDIR", .help = "a Hugging Face checkpoint that generates text, as for protect"},
    {.name = "out", .arg = "DIR", .help = "gets DIR/package, which engines load, and DIR/context.key, the developer's secret"},
    {.name = "dtype", .arg = "TYPE", .help = "of weights: keep, f32, bf16"},
    {.name = "derived-from", .arg = "WHAT", .help = "none, public, or the base model's name: says what that means; recorded nowhere"},
    {.name = "seed", .arg = "HEX64", .help = "tests only: the seed of all keys", .flag_only = true},
    {.name = "force", .help = "move an existing package and key aside"},
    {.name = "identity", .arg = "DIR", .help = "signs the package; without it OUT/identity, made on first use"},
    JSON_OPT, END_OPT};

static struct cli_opt inspect_opts[] = {{.name = "check", .help = "also hash every file of the package"}, JSON_OPT, END_OPT};

static struct cli_opt verify_opts[] = {CONFIG_OPT, PROTECTED_OPT, IDENTITY_OPT, JSON_OPT, END_OPT};

static struct cli_opt push_opts[] = {
    CONFIG_OPT, PROTECTED_OPT, IDENTITY_OPT,
    {.name = "to", .arg = "ENDPOINT", .help = "one server, tcp://HOST:PORT of its admin address; without it the config's servers"},
    {.name = "key", .arg = "KEY", .help = "public key of the --to server: stip1:... or its identity.pub file"},
    JSON_OPT, END_OPT};

static struct cli_opt grant_opts[] = {
    {.name = "user", .arg = "FILE", .help = "the user's identity.pub"},
    {.name = "out", .arg = "FILE", .help = "the sealed grant, for stip-user join --grant FILE"},
    EXPIRES_OPT("the last day of this grant, if the package does not expire before"),
    {.name = "canaries", .arg = "N", .help = "questions with known answers, for stip-user verify; computed now, with the plain model in memory (default 8; 0: none)"},
    {.name = "prompt-embeds", .help = "with the engine's table, so that stip-user --prompt-embeds can send rows in place of ids (exports only; docs/ENGINES.md says what that gains: nothing in secrecy)"},
    CONFIG_OPT, PROTECTED_OPT, MODEL_OPT, IDENTITY_OPT, JSON_OPT, END_OPT};

static struct cli_opt audit_opts[] = {
    PROTECTED_OPT, MODEL_OPT,
    {.name = "base", .arg = "HFDIR", .help = "a checkpoint that the server may have, for example what this model was tuned from"},
    {.name = "drift", .arg = "PERCENTS", .help = "the same weights with so much Gaussian noise, each a column: 0,1,5,10,20; or none"},
    {.name = "ids", .arg = "FILE", .help = "token ids of a text, as stip-user tokenize prints them; without it made-up ones"},
    {.name = "sample", .arg = "N", .help = "rows that users send, neurons that are looked at: 512"},
    {.name = "places", .arg = "N", .help = "places of the text at which A7 tries the vocabulary: 4 to 64 by the size of the model"},
    {.name = "only", .arg = "ATTACK", .help = "run this one alone: A1 to A7"},
    {.name = "skip-slow", .help = "leave A7 out: it tries every token of the vocabulary at every place"},
    {.name = "plot", .arg = "FILE", .help = "the table as a picture, SVG"},
    {.name = "save", .help = "keep the verdict beside the package: grants made from now on show it to their users"},
    {.name = "fail-above", .arg = "PERCENT", .help = "exit 1 if more of pi, weights or tokens is recovered by a server without a user"},
    {.name = "threads", .arg = "N", .help = "without it one per CPU"},
    JSON_OPT, END_OPT};

static struct cli_opt rotate_opts[] = {
    CONFIG_OPT, PROTECTED_OPT, MODEL_OPT, IDENTITY_OPT,
    {.name = "dtype", .arg = "TYPE", .help = "keep, f32, bf16, int8; without it as the package has it"},
    EXPIRES_OPT("the last day of the new context; one that had an end is given as long again"),
    JSON_OPT, END_OPT};

static struct cli_opt revoke_opts[] = {
    {.name = "user", .arg = "WHO", .help = "the user's identity.pub, key (stip1:...) or fingerprint (16 hex digits)"},
    {.name = "config", .arg = "FILE", .help = "model_dev.json; its list 'allow' is changed"},
    JSON_OPT, END_OPT};

static struct cli_opt serve_opts[] = {
    {.name = "config", .arg = "FILE", .help = "model_dev.json"},
    {.name = "json", .help = "one JSON object on stdout when ready"}, END_OPT};

static struct cli_opt doctor_opts[] = {
    {.name = "config", .arg = "FILE", .help = "model_dev.json; ./model_dev.json without it"},
    {.name = "json", .help = "print one JSON object"}, END_OPT};

static const struct cli_cmd cmds[] = {
    {.name = "keygen", .line = "make an identity and print its public key", .run = cmd_keygen, .opts = keygen_opts,
     .example = "stip-model-dev keygen --out ~/.stip/model_dev"},
    {.name = "protect", .line = "permute a checkpoint: a package for the server, a key for the developer", .run = cmd_protect,
     .opts = protect_opts, .example = "stip-model-dev protect --model ./llama --out ./protected"},
    {.name = "export", .line = "permute a checkpoint for engines of others: profile engine, which hides less", .run = cmd_export,
     .opts = export_opts, .example = "stip-model-dev export --model ./llama --out ./exported"},
    {.name = "inspect", .line = "what a protected folder holds, without secrets", .run = cmd_inspect, .opts = inspect_opts,
     .example = "stip-model-dev inspect --check ./protected", .args = "DIR"},
    {.name = "verify", .line = "is the package whole, signed by this identity, and the key its key?", .run = cmd_verify, .opts = verify_opts,
     .example = "stip-model-dev verify --protected ./protected"},
    {.name = "audit", .line = "run the known attacks on your own package: what could a server read?", .run = cmd_audit,
     .opts = audit_opts, .example = "stip-model-dev audit --protected ./protected --model ./llama"},
    {.name = "push", .line = "send the package to servers", .run = cmd_push, .opts = push_opts,
     .example = "stip-model-dev push --protected ./protected --to tcp://10.0.0.2:7402 --key server.pub"},
    {.name = "grant", .line = "what one user needs, in a file that only this user can open", .run = cmd_grant, .opts = grant_opts,
     .example = "stip-model-dev grant --user alice.pub --out alice.grant --protected ./protected --model ./llama"},
    {.name = "rotate", .line = "a new key for the same model: the next context, beside the old one until it is whole", .run = cmd_rotate,
     .opts = rotate_opts, .example = "stip-model-dev rotate --config model_dev.json"},
    {.name = "revoke", .line = "take a user off the allow-list, and say what else has to be done", .run = cmd_revoke,
     .opts = revoke_opts, .example = "stip-model-dev revoke --user alice.pub --config model_dev.json"},
    {.name = "serve", .line = "daemon: push the package to the servers, answer grants of allowed users", .run = cmd_serve,
     .opts = serve_opts, .example = "stip-model-dev serve --config model_dev.json"},
    {.name = "doctor", .line = "check config, keys, package and the way to the servers, a line each", .run = cmd_doctor,
     .opts = doctor_opts, .example = "stip-model-dev doctor --config model_dev.json"},
    {.name = NULL}};

int main(int argc, char **argv)
{
    static const struct cli_program program = {
        .name = "stip-model-dev", .line = "the model developer's side of private inference", .cmds = cmds};
    struct err err;
    log_init("model_dev", LOG_INFO, false);
    if (secret_harden_process(&err) != 0) {
        (void)fprintf(stderr, "stip-model-dev: %s\n", err.text);
        return ERR_INTERNAL;
    }
    return cli_main(&program, argc, argv);
}
