#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "model_dev/cmd.h"
#include "model_dev/release.h"
#include "permute/keyset.h"

static const struct {
    enum key key;
    const char *name;
} kinds[] = {{KEY_RESIDUAL, "residual"}, {KEY_OUTPUT, "output"}, {KEY_QUERY, "query"}, {KEY_VALUE, "value"}, {KEY_FFN, "ffn"}};

#define KINDS (sizeof kinds / sizeof *kinds)

/* log2 of the number of permutations of each kind of key; false without a key file. */
static int key_facts(const struct release *p, bool *present, double bits[KINDS], struct err *err)
{
    *present = file_exists(p->key);
    if (!*present)
        return 0;
    struct keyset *keys = NULL;
    struct context_key *key = secret_alloc(sizeof *key);
    if (key == NULL)
        return err_oom(err, sizeof *key);
    int rc = release_key(p, key, err);
    if (rc == 0)
        rc = keyset_new(&keys, &key->shape, key->seed, err);
    for (size_t i = 0; rc == 0 && i < KINDS; i++)
        bits[i] = keyset_bits(keys, kinds[i].key);
    keyset_free(keys);
    secret_free(key);
    return rc;
}

static int print_json(const struct release *p, bool checked, bool key, const double bits[KINDS], struct err *err)
{
    char context[2 * CRYPTO_HASH_LEN + 1], signer[2 * CRYPTO_KEY_LEN + 1], previous[2 * CRYPTO_HASH_LEN + 1];
    crypto_hex(p->context, sizeof p->context, context);
    crypto_hex(p->manifest.signer, sizeof p->manifest.signer, signer);
    crypto_hex(p->manifest.previous, sizeof p->manifest.previous, previous);
    struct json_doc *doc = json_new_object("inspect");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "package", p->package);
    json_put_str(doc, root, "context", context);
    json_put_str(doc, root, "architecture", p->manifest.model);
    json_put_str(doc, root, "profile", p->manifest.profile);
    json_put_str(doc, root, "head", p->manifest.head);
    json_put_int(doc, root, "local_layers", p->manifest.local_layers);
    json_put_str(doc, root, "dtype", p->manifest.dtype);
    json_put_str(doc, root, "compute", compute_name(p->manifest.compute));
    json_put_int(doc, root, "epoch", p->manifest.epoch);
    json_put_str(doc, root, "created", p->manifest.created);
    cmd_put_expires(doc, root, p->manifest.expires);
    if (p->manifest.chained)
        json_put_str(doc, root, "previous", previous);
    json_put_str(doc, root, "signer", signer);
    json_put_bool(doc, root, "files_checked", checked);
    json_put_int(doc, root, "bytes", (int64_t)manifest_bytes(&p->manifest));
    struct json *files = json_put_array(doc, root, "files");
    for (size_t i = 0; i < p->manifest.file_count; i++) {
        struct json *f = json_put_object(doc, files, NULL);
        json_put_str(doc, f, "name", p->manifest.files[i].name);
        json_put_int(doc, f, "size", (int64_t)p->manifest.files[i].size);
    }
    json_put_bool(doc, root, "key", key);
    if (key) {
        struct json *b = json_put_object(doc, root, "key_bits");
        for (size_t i = 0; i < KINDS; i++)
            json_put_num(doc, b, kinds[i].name, bits[i]);
    }
    int rc = cmd_print(doc, err);
    json_free(doc);
    return rc;
}

static void print_text(const struct release *p, bool checked, bool key, const double bits[KINDS])
{
    const struct manifest *m = &p->manifest;
    char context[2 * CRYPTO_HASH_LEN + 1], signer[2 * CRYPTO_KEY_LEN + 1], previous[2 * CRYPTO_HASH_LEN + 1], expires[32];
    crypto_hex(p->context, sizeof p->context, context);
    crypto_hex(m->signer, sizeof m->signer, signer);
    crypto_hex(m->previous, sizeof m->previous, previous);
    cmd_expires(expires, m->expires);
    printf("package   %s\ncontext   %s\nmodel     %s, %s, computed in %s, head at the %s, profile %s, first layers at the users: %u, epoch %u\nmade      %s, expires %s\nreplaces  %s\n"
           "signed by %s (signature valid%s)\n",
           p->package, context, m->model, m->dtype, compute_name(m->compute), m->head, m->profile, m->local_layers, m->epoch,
           m->created, expires,
           m->chained ? previous : "nothing", signer,
           checked ? ", all files match" : "");
    for (size_t i = 0; i < m->file_count; i++)
        printf("file      %-40s %12llu bytes\n", m->files[i].name, (unsigned long long)m->files[i].size);
    if (!key) {
        printf("key       none here\n");
        return;
    }
    printf("key       %s belongs to this package; log2 of its orders:", p->key);
    for (size_t i = 0; i < KINDS; i++)
        printf(" %s %.0f", kinds[i].name, bits[i]);
    printf(" (the seed has 256)\n");
}

int cmd_inspect(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct release p;
    double bits[KINDS] = {0};
    bool key = false, check = cli_on(cmd, "check");
    if (argc != 1)
        return err_set(err, ERR_USAGE, "inspect needs one folder, found %d; for example: %s", argc, cmd->example);
    if (release_open(&p, argv[0], NULL, err) != 0)
        return -1;
    int rc = check ? manifest_check_files(&p.manifest, p.package, err) : 0;
    if (rc == 0)
        rc = key_facts(&p, &key, bits, err);
    if (rc == 0 && cli_on(cmd, "json"))
        rc = print_json(&p, check, key, bits, err);
    else if (rc == 0)
        print_text(&p, check, key, bits);
    release_close(&p);
    return rc;
}
