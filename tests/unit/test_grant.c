/* model_dev/grant: a user gets the tables, the tokenizer and the two end keys of its context, and nothing else. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "model/checkpoint.h"
#include "model_dev/context_key.h"
#include "model_dev/grant.h"
#include "model_dev/rules.h"
#include "permute/gather.h"
#include "tests/support/developer.h"
#include "tests/support/tempdir.h"
#include "transport/bundle.h"
#include "transport/seal.h"

static char dir[FILE_PATH_MAX];
static struct err err;
static struct developer dev;

static void setup(void)
{
    tempdir_make(dir);
}

static void teardown(void)
{
    developer_free(&dev);
    tempdir_remove(dir);
}

TestSuite(grant, .init = setup, .fini = teardown);

static const struct synth_shape small = {.D = 32, .H = 4, .L = 2, .V = 50};

static struct grant_source source(void)
{
    return (struct grant_source){.model = dev.plain, .from = &dev.release, .identity = dev.identity};
}

static const char *folder(void)
{
    static char at[FILE_PATH_MAX];
    const struct grant_source src = source();
    (void)snprintf(at, sizeof at, "%s", tempdir_path(dir, "grant"));
    cr_assert_eq(file_mkdirs(at, 0700, &err), 0, "%s", err.text);
    cr_assert_eq(grant_folder(&src, at, &err), 0, "%s", err.text);
    return at;
}

/* ------------------------------------------------------------------ the tables */

static void check_part(const struct checkpoint *plain, const struct checkpoint *granted, enum part part, size_t *count)
{
    const struct config *c = checkpoint_config(plain);
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++) {
        if (row->part != part || !arch_present(c, row))
            continue;
        const struct tensor *a = checkpoint_tensor(plain, row->role, 0), *b = checkpoint_tensor(granted, row->role, 0);
        cr_assert_not_null(b, "%s", arch_role_name(row->role));
        cr_assert_eq(a->dtype, b->dtype);
        cr_assert_eq(a->bytes, b->bytes);
        cr_assert_eq(memcmp(a->data, b->data, a->bytes), 0, "%s", arch_role_name(row->role));
        (*count)++;
    }
}

/* The folder opens as a checkpoint of the user's parts, every table is the plain one, and no other tensor is there.
 * Catches: a head that is left out or given although the server has it, a core tensor in the grant, a tied table twice. */
static void check_tables(const char *architecture, const struct synth_shape *shape, const char *head, size_t tensors)
{
    struct checkpoint *plain = NULL, *granted = NULL;
    bool head_user = strcmp(head, "user") == 0;
    size_t count = 0;
    developer_make(&dev, dir, architecture, shape, 7, head);
    const char *at = folder();
    cr_assert_eq(checkpoint_open(&plain, dev.plain, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&granted, at, CHECKPOINT_EMBED | (head_user ? CHECKPOINT_HEAD : 0), &err), 0, "%s", err.text);
    check_part(plain, granted, PART_EMBED, &count);
    if (head_user)
        check_part(plain, granted, PART_HEAD, &count);
    struct safetensors *st = NULL;
    cr_assert_eq(safetensors_open(&st, tempdir_path(at, "model.safetensors"), &err), 0, "%s", err.text);
    cr_assert_eq(safetensors_count(st), tensors);
    cr_assert(count >= tensors); /* a tied table counts for both its roles */
    safetensors_close(st);
    checkpoint_close(plain);
    checkpoint_close(granted);
}

Test(grant, llama_tied_gives_one_table_for_both_ends) { check_tables("LlamaForCausalLM", &small, "user", 1); }

Test(grant, llama_tied_with_the_head_at_the_server_gives_the_same) { check_tables("LlamaForCausalLM", &small, "server", 1); }

Test(grant, llama_untied_gives_the_head_only_to_a_user_that_computes_it)
{
    struct synth_shape untied = small;
    untied.untied = true;
    check_tables("LlamaForCausalLM", &untied, "user", 2);
}

Test(grant, llama_untied_keeps_the_head_from_a_user_that_does_not)
{
    struct synth_shape untied = small;
    untied.untied = true;
    check_tables("LlamaForCausalLM", &untied, "server", 1);
}

Test(grant, a_tied_model_that_stored_only_its_head_gives_the_embedding)
{
    struct synth_shape odd = small;
    odd.head_only = true;
    check_tables("LlamaForCausalLM", &odd, "user", 1);
}

Test(grant, gpt2_gives_positions_too) { check_tables("GPT2LMHeadModel", &small, "user", 2); }

Test(grant, bert_gives_positions_types_and_the_embedding_norm)
{
    check_tables("BertForSequenceClassification", &small, "server", 5);
}

Test(grant, bert_gives_pooler_and_classifier_to_a_user_that_computes_them)
{
    check_tables("BertForSequenceClassification", &small, "user", 9);
}

Test(grant, bert_masked_lm_gives_its_transform) { check_tables("BertForMaskedLM", &small, "user", 10); }

Test(grant, bf16_tables_and_old_names_arrive_in_the_names_of_packages)
{
    struct synth_shape odd = small;
    odd.dtype = DTYPE_BF16;
    odd.prefix = 1;
    odd.alias = 1;
    check_tables("BertForSequenceClassification", &odd, "server", 5);
}

/* ------------------------------------------------------------------ the other files */

static bool contains(const char *hay, size_t len, const void *needle, size_t n)
{
    return memmem(hay, len, needle, n) != NULL;
}

/* Catches: the two sub-keys swapped, a wrong digest range, inner keys or the seed in the folder. */
Test(grant, the_end_keys_order_the_package_and_the_seed_stays_at_home)
{
    static const char *const files[] = {"grant.json",    "keys.bin",     "config.json",  "tokenizer.json", "merges.txt",
                                        "manifest.json", "manifest.sig", "model.safetensors"};
    struct context_key key;
    struct checkpoint *plain = NULL, *packed = NULL;
    struct perm residual = {0}, output = {0};
    struct synth_shape shape = small;
    uint8_t digest[CRYPTO_HASH_LEN];
    size_t len;
    shape.untied = true;
    developer_make(&dev, dir, "LlamaForCausalLM", &shape, 7, "server");
    const char *at = folder();
    char *bytes = tempdir_slurp(tempdir_path(at, "keys.bin"), &len);
    cr_assert_eq(len, GRANT_KEYS_LEN);
    cr_assert_eq(memcmp(bytes, "STIPEND1", 8), 0);
    cr_assert_eq(crypto_sha256(bytes, 72, digest, &err), 0);
    cr_assert_eq(memcmp(bytes + 72, digest, 32), 0);

    cr_assert_eq(checkpoint_open(&plain, dev.plain, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&packed, dev.release.package, CHECKPOINT_CORE | CHECKPOINT_HEAD, &err), 0, "%s", err.text);
    cr_assert_eq(perm_random(&residual, 32, (const uint8_t *)bytes + 8, &err), 0);
    cr_assert_eq(perm_random(&output, 50, (const uint8_t *)bytes + 40, &err), 0);
    const struct tensor *a = checkpoint_tensor(plain, ROLE_LM_HEAD, 0), *b = checkpoint_tensor(packed, ROLE_LM_HEAD, 0);
    for (uint32_t i = 0; i < 50; i++)
        for (uint32_t j = 0; j < 32; j++)
            cr_assert_eq(memcmp(b->data + 4 * (i * 32 + j), a->data + 4 * (output.to[i] * 32 + residual.to[j]), 4), 0);
    free(bytes);

    cr_assert_eq(release_key(&dev.release, &key, &err), 0, "%s", err.text);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct stat st;
        bytes = tempdir_slurp(tempdir_path(at, files[i]), &len);
        cr_assert_not(contains(bytes, len, key.seed, sizeof key.seed), "%s", files[i]);
        cr_assert_eq(stat(tempdir_path(at, files[i]), &st), 0);
        cr_assert_eq(st.st_mode & 0777, 0600, "%s", files[i]);
        free(bytes);
    }
    cr_assert_eq(tempdir_count(at), (int)(sizeof files / sizeof *files), "only these files travel, not the developer's notes");
    perm_wipe(&residual);
    perm_wipe(&output);
    checkpoint_close(plain);
    checkpoint_close(packed);
}

Test(grant, grant_json_names_the_context_that_the_copied_manifest_hashes_to)
{
    struct json_doc *doc = NULL;
    const char *context, *head, *who, *architecture, *compute;
    char hex[2 * CRYPTO_HASH_LEN + 1], self[PEER_KEY_TEXT];
    uint8_t digest[CRYPTO_HASH_LEN];
    size_t len;
    developer_make(&dev, dir, "GPT2LMHeadModel", &small, 7, NULL);
    const char *at = folder();
    cr_assert_eq(json_load(&doc, tempdir_path(at, "grant.json"), JSON_CAP_CONFIG, false, &err), 0, "%s", err.text);
    const struct json *root = json_root(doc);
    cr_assert_eq(json_get_str(doc, root, "context", &context, &err), 0, "%s", err.text);
    cr_assert_eq(json_get_str(doc, root, "head", &head, &err), 0, "%s", err.text);
    cr_assert_eq(json_get_str(doc, root, "model_dev", &who, &err), 0, "%s", err.text);
    cr_assert_eq(json_get_str(doc, root, "architecture", &architecture, &err), 0, "%s", err.text);
    cr_assert_eq(json_get_str(doc, root, "compute", &compute, &err), 0, "%s", err.text);
    cr_assert_str_eq(compute, "f32");
    char *manifest = tempdir_slurp(tempdir_path(at, "manifest.json"), &len);
    cr_assert_eq(crypto_sha256(manifest, len, digest, &err), 0);
    crypto_hex(digest, sizeof digest, hex);
    cr_assert_str_eq(context, hex);
    cr_assert_str_eq(head, "user", "tied models keep the head at the user");
    cr_assert_str_eq(architecture, "GPT2LMHeadModel");
    struct peer_key key = identity_public(dev.identity);
    peer_key_text(&key, self);
    cr_assert_str_eq(who, self);
    free(manifest);
    json_free(doc);
}

/* ------------------------------------------------------------------ one file, for one user */

Test(grant, a_bundle_unpacks_to_the_folder_and_leaves_nothing_beside_itself)
{
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    const struct grant_source src = source();
    int before = tempdir_count(dir);
    cr_assert_eq(grant_make(&src, tempdir_path(dir, "g.bundle"), &err), 0, "%s", err.text);
    cr_assert_eq(tempdir_count(dir), before + 1);
    cr_assert_eq(bundle_unpack(tempdir_path(dir, "g.bundle"), tempdir_path(dir, "got"), GRANT_KIND, dev.identity->sign_pub, &err), 0,
                 "%s", err.text);
    const char *at = folder();
    static const char *const same[] = {"keys.bin", "config.json", "model.safetensors", "manifest.json", "manifest.sig"};
    char got[FILE_PATH_MAX];
    (void)snprintf(got, sizeof got, "%s", tempdir_path(dir, "got"));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        cr_assert(tempdir_same(tempdir_path(at, same[i]), tempdir_path(got, same[i])), "%s", same[i]);
}

/* Catches: sealing to the developer itself, a file that is not sealed at all. */
Test(grant, a_sealed_grant_opens_for_its_user_only)
{
    struct identity *alice = NULL, *eve = NULL;
    size_t len;
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    cr_assert_eq(identity_generate(&alice, &err), 0);
    cr_assert_eq(identity_generate(&eve, &err), 0);
    const struct grant_source src = source();
    const struct peer_key to = identity_public(alice);
    int before = tempdir_count(dir);
    cr_assert_eq(grant_seal(&src, &to, tempdir_path(dir, "a.grant"), &err), 0, "%s", err.text);
    cr_assert_eq(tempdir_count(dir), before + 1);
    cr_assert_neq(seal_open_file(tempdir_path(dir, "a.grant"), tempdir_path(dir, "x"), eve, &err), 0);
    cr_assert_eq(err.code, ERR_AUTH, "%s", err.text);
    cr_assert_neq(seal_open_file(tempdir_path(dir, "a.grant"), tempdir_path(dir, "x"), dev.identity, &err), 0);
    cr_assert_not(file_exists(tempdir_path(dir, "x")));
    cr_assert_eq(seal_open_file(tempdir_path(dir, "a.grant"), tempdir_path(dir, "b"), alice, &err), 0, "%s", err.text);
    cr_assert_eq(bundle_unpack(tempdir_path(dir, "b"), tempdir_path(dir, "got"), GRANT_KIND, dev.identity->sign_pub, &err), 0, "%s",
                 err.text);
    cr_assert_neq(bundle_unpack(tempdir_path(dir, "b"), tempdir_path(dir, "bad"), GRANT_KIND, eve->sign_pub, &err), 0);
    cr_assert_eq(err.code, ERR_AUTH, "%s", err.text);
    char *sealed = tempdir_slurp(tempdir_path(dir, "a.grant"), &len);
    char *keys = tempdir_slurp(tempdir_path(tempdir_path(dir, "got"), "keys.bin"), &(size_t){0});
    cr_assert_not(contains(sealed, len, keys + 8, 32), "the sealed file holds the residual key in the clear");
    free(sealed);
    free(keys);
    identity_free(alice);
    identity_free(eve);
}

/* ------------------------------------------------------------------ what does not belong together */

static void refused(const char *needle)
{
    const struct grant_source src = source();
    int before = tempdir_count(dir);
    cr_assert_neq(grant_make(&src, tempdir_path(dir, "g.bundle"), &err), 0);
    cr_assert_eq(err.code, ERR_INPUT, "%s", err.text);
    cr_assert_not_null(strstr(err.text, needle), "%s", err.text);
    cr_assert_eq(tempdir_count(dir), before, "nothing is left");
}

/* Catches: check_gains left out: the shapes are the same, the user's answers would be nonsense. */
Test(grant, a_checkpoint_of_the_same_shape_with_other_weights_is_refused)
{
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    cr_assert_eq(synth_checkpoint(dev.plain, "LlamaForCausalLM", &small, 8, &err), 0, "%s", err.text);
    refused("norm gains of layer 0");
}

Test(grant, a_checkpoint_of_another_shape_is_refused_by_what_differs)
{
    struct synth_shape wide = small;
    wide.F = 96;
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    cr_assert_eq(synth_checkpoint(dev.plain, "LlamaForCausalLM", &wide, 7, &err), 0, "%s", err.text);
    refused("feed-forward width is 96 here and 128 there");
}

Test(grant, the_key_of_another_package_is_refused)
{
    size_t len;
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    char *old = tempdir_slurp(dev.release.key, &len);
    developer_protect_again(&dev, NULL);
    cr_assert_eq(file_write(dev.release.key, old, len, 0600, &err), 0, "%s", err.text);
    free(old);
    refused("this key belongs to context");
}

/* Weights and sizes are the same, but the one family has windows where the other has none. Mutation: architectures not compared. */
Test(grant, a_checkpoint_of_another_family_with_the_same_weights_is_refused)
{
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    cr_assert_eq(synth_checkpoint(dev.plain, "MistralForCausalLM", &small, 7, &err), 0, "%s", err.text);
    refused("MistralForCausalLM here, LlamaForCausalLM there");
}

/* The context is the package's, so only its sizes can tell. Mutation: any one of them not compared. */
Test(grant, a_key_of_other_sizes_is_refused)
{
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    struct context_key key, other;
    struct {
        int *size, to;
    } changes[] = {{&other.shape.D, 64}, {&other.shape.H, 8}, {&other.shape.G, 2}, {&other.shape.K, 16}, {&other.shape.F, 256},
                   {&other.shape.outputs, 51}, {&other.shape.rotary, 6}, {NULL, 0}};
    cr_assert_eq(context_key_read(&key, dev.release.key, &err), 0, "%s", err.text);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        other = key;
        if (changes[i].size != NULL) {
            cr_assert_neq(*changes[i].size, changes[i].to);
            *changes[i].size = changes[i].to;
        } else
            other.head_user = !other.head_user;
        cr_assert_eq(context_key_write(dev.release.key, &other, &err), 0, "%s", err.text);
        refused("the key's sizes are not those of");
    }
}

Test(grant, a_key_file_that_others_can_read_is_refused)
{
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    cr_assert_eq(chmod(dev.release.key, 0644), 0);
    refused("open to others");
}

Test(grant, a_nan_in_a_table_is_named)
{
    static const uint8_t nan[4] = {0, 0, 0xc0, 0x7f};
    size_t len;
    struct safetensors *st = NULL;
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    const char *path = tempdir_path(dev.plain, "model.safetensors");
    cr_assert_eq(safetensors_open(&st, path, &err), 0, "%s", err.text);
    char *file = tempdir_slurp(path, &len);
    const struct tensor *t = safetensors_find(st, "model.embed_tokens.weight");
    cr_assert_not_null(t);
    char *data = memmem(file, len, t->data, t->bytes);
    cr_assert_not_null(data);
    memcpy(data + 4 * 33, nan, sizeof nan);
    safetensors_close(st);
    tempdir_spill(path, file, len);
    free(file);
    refused("'model.embed_tokens.weight': NaN or infinity at element 33");
}

Test(grant, a_package_that_another_identity_signed_is_refused)
{
    struct identity *other = NULL;
    struct release release;
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, NULL);
    cr_assert_eq(identity_generate(&other, &err), 0);
    cr_assert_neq(release_open(&release, dev.out, other->sign_pub, &err), 0);
    cr_assert_eq(err.code, ERR_AUTH, "%s", err.text);
    identity_free(other);
}
