/* stip-server: holds permuted weights, computes on permuted rows. Knows no key, no token, no plain weight. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cli.h"
#include "base/clock.h"
#include "base/expiry.h"
#include "base/secret.h"
#include "model/manifest.h"
#include "server/cmd.h"
#include "server/serve.h"
#include "transport/role_keygen.h"

static int run_serve(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct settings s;
    const char *path;
    (void)argc;
    (void)argv;
    if (secret_harden_process(err) != 0 || cli_need(cmd, "config", &path, err) != 0 || settings_read(&s, path, err) != 0)
        return -1;
    int rc = serve(&s, cli_on(cmd, "json"), err);
    settings_free(&s);
    return rc;
}

static int run_keygen(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *dir;
    (void)argc;
    (void)argv;
    if (cli_need(cmd, "out", &dir, err) != 0)
        return -1;
    return role_keygen(dir, cli_on(cmd, "json"), err);
}

static void print_manifest(const struct manifest *m, const char *context, const char *signer, bool as_json)
{
    char expires[32] = "never", previous[2 * CRYPTO_HASH_LEN + 1];
    crypto_hex(m->previous, sizeof m->previous, previous);
    if (m->expires != EXPIRY_NEVER)
        clock_iso(m->expires, expires);
    printf(as_json ? "{\"context\":\"%s\",\"architecture\":\"%s\",\"profile\":\"%s\",\"head\":\"%s\",\"dtype\":\"%s\","
                     "\"compute\":\"%s\",\"epoch\":%u,\"created\":\"%s\",\"expires\":\"%s\",\"previous\":\"%s\",\"signer\":\"%s\",\"files\":%zu,\"bytes\":%llu}\n"
                   : "context       %s\narchitecture  %s\nprofile       %s\nhead          %s\ndtype         %s\n"
                     "compute       %s\nepoch         %u\ncreated       %s\nexpires       %s\nreplaces      %s\nsigner        %s\nfiles         %zu, %llu bytes, every hash right\n",
           context, m->model, m->profile, m->head, m->dtype, compute_name(m->compute), m->epoch, m->created, expires,
           m->chained ? previous : "none", signer, m->file_count, (unsigned long long)manifest_bytes(m));
}

static int run_inspect(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct manifest m = {0};
    char *text = NULL, context[2 * CRYPTO_HASH_LEN + 1], signer[2 * CRYPTO_KEY_LEN + 1];
    uint8_t sig[CRYPTO_SIG_LEN], id[CRYPTO_HASH_LEN];
    size_t len;
    if (argc != 1)
        return err_set(err, ERR_USAGE, "inspect takes one folder; for example: %s", cmd->example);
    if (manifest_load(&m, argv[0], &text, &len, sig, err) != 0)
        return -1;
    int rc = -1;
    if (manifest_verify(text, len, sig, m.signer, err) == 0 && manifest_context_id(text, len, id, err) == 0 &&
        manifest_check_files(&m, argv[0], err) == 0) {
        crypto_hex(id, sizeof id, context);
        crypto_hex(m.signer, sizeof m.signer, signer);
        print_manifest(&m, context, signer, cli_on(cmd, "json"));
        rc = 0;
    }
    free(text);
    manifest_free(&m);
    return rc;
}

int main(int argc, char **argv)
{
    struct cli_opt serve_opts[] = {{"config", "FILE", "server.json (see configs/server.json)", NULL, false},
                                   {"json", NULL, "events as JSON lines on stdout", NULL, false},
                                   {NULL, NULL, NULL, NULL, false}};
    struct cli_opt keygen_opts[] = {{"out", "DIR", "folder for identity.key and identity.pub", NULL, false},
                                    {"json", NULL, "print one JSON object", NULL, false},
                                    {NULL, NULL, NULL, NULL, false}};
    struct cli_opt inspect_opts[] = {{"json", NULL, "print one JSON object", NULL, false}, {NULL, NULL, NULL, NULL, false}};
    struct cli_opt doctor_opts[] = {{"config", "FILE", "server.json (see configs/server.json)", NULL, false},
                                    {"json", NULL, "one JSON object per check", NULL, false},
                                    {NULL, NULL, NULL, NULL, false}};
    const struct cli_cmd cmds[] = {
        {"serve", "serve permuted inference until SIGTERM; SIGHUP reads the allow-lists again", "stip-server serve --config configs/server.json", serve_opts, run_serve,
         NULL},
        {"keygen", "make this server's identity", "stip-server keygen --out server.id", keygen_opts, run_keygen, NULL},
        {"inspect", "show and check an installed package", "stip-server inspect package", inspect_opts, run_inspect, "DIR"},
        {"doctor", "check config, keys, package and machine, a line each", "stip-server doctor --config server.json", doctor_opts,
         cmd_doctor, NULL},
        {NULL, NULL, NULL, NULL, NULL, NULL}};
    const struct cli_program program = {"stip-server", "computes on permuted tensors, holds no key", cmds};
    return cli_main(&program, argc, argv);
}
