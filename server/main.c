/* stip-server: holds permuted weights, computes on permuted rows. Knows no key, no token, no plain weight. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cli.h"
#include "base/clock.h"
#include "base/expiry.h"
#include "base/json.h"
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

static int print_json(const struct manifest *m, const char *context, const char *expires, const char *previous, const char *signer, struct err *err)
{
    struct json_doc *doc = json_new_object("inspect");
    struct json *root = json_node(doc);
    char *line;
    json_put_str(doc, root, "context", context);
    json_put_str(doc, root, "architecture", m->model);
    json_put_str(doc, root, "profile", m->profile);
    json_put_str(doc, root, "head", m->head);
    json_put_int(doc, root, "local_layers", m->local_layers);
    json_put_str(doc, root, "dtype", m->dtype);
    json_put_str(doc, root, "compute", compute_name(m->compute));
    json_put_int(doc, root, "epoch", m->epoch);
    json_put_str(doc, root, "created", m->created);
    json_put_str(doc, root, "expires", m->expires == EXPIRY_NEVER ? NULL : expires);
    json_put_str(doc, root, "previous", m->chained ? previous : NULL);
    json_put_str(doc, root, "signer", signer);
    json_put_int(doc, root, "files", (int64_t)m->file_count);
    json_put_int(doc, root, "bytes", (int64_t)manifest_bytes(m));
    const int rc = json_print(doc, false, &line, err);
    json_free(doc);
    if (rc != 0)
        return -1;
    (void)puts(line);
    free(line);
    return 0;
}

static int print_manifest(const struct manifest *m, const char *context, bool as_json, struct err *err)
{
    char expires[32] = "never", previous[2 * CRYPTO_HASH_LEN + 1], signer[2 * CRYPTO_KEY_LEN + 1];
    crypto_hex(m->previous, sizeof m->previous, previous);
    crypto_hex(m->signer, sizeof m->signer, signer);
    if (m->expires != EXPIRY_NEVER)
        clock_iso(m->expires, expires);
    if (as_json)
        return print_json(m, context, expires, previous, signer, err);
    printf("context       %s\narchitecture  %s\nprofile       %s, first layers at the users: %u\nhead          %s\ndtype         %s\n"
           "compute       %s\nepoch         %u\ncreated       %s\nexpires       %s\nreplaces      %s\nsigner        %s\nfiles         %zu, %llu bytes, every hash right\n",
           context, m->model, m->profile, m->local_layers, m->head, m->dtype, compute_name(m->compute), m->epoch, m->created, expires,
           m->chained ? previous : "none", signer, m->file_count, (unsigned long long)manifest_bytes(m));
    return 0;
}

static int run_inspect(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct manifest m = {0};
    char *text = NULL, context[2 * CRYPTO_HASH_LEN + 1];
    uint8_t sig[CRYPTO_SIG_LEN], id[CRYPTO_HASH_LEN];
    size_t len;
    if (argc != 1)
        return err_set(err, ERR_USAGE, "expected one folder, found %d; for example: %s", argc, cmd->example);
    if (manifest_load(&m, argv[0], &text, &len, sig, err) != 0)
        return -1;
    int rc = -1;
    if (manifest_verify(text, len, sig, m.signer, err) == 0 && manifest_context_id(text, len, id, err) == 0 &&
        manifest_check_files(&m, argv[0], err) == 0) {
        crypto_hex(id, sizeof id, context);
        rc = print_manifest(&m, context, cli_on(cmd, "json"), err);
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
                                    {"json", NULL, "print one JSON object", NULL, false},
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
