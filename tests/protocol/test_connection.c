/* user/connection: what a user asks a server to show before it sends anything. The server keeps the protocol and lies in one thing. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "model_dev/grant.h"
#include "model_dev/protect.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "tests/support/toy_server.h"
#include "user/connection.h"

static char dir[FILE_PATH_MAX], out[FILE_PATH_MAX];
static struct identity *developer, *stranger, *server_id, *user_id;
static struct grant *granted;
static struct release release;
static struct err err;

/* One case: the manifest that the server shows, what it says of itself, and the user's grant; `signer` signs. */
struct lie {
    struct manifest m;
    struct msg_hello_ok hello;
    struct grant g;
    const struct identity *signer;
    bool flip;          /* one bit of the text, when it has been signed */
    bool other_context; /* the grant is for another package of the same developer */
};

static void make(void)
{
    const struct synth_shape shape = {.D = (int)TOY_D, .H = 2, .L = 2, .V = 2048, .F = 16, .positions = 256, .bos = 1};
    char plain[FILE_PATH_MAX], folder[FILE_PATH_MAX];
    struct protect_report report;
    size_t len;
    tempdir_make(dir);
    (void)snprintf(plain, sizeof plain, "%s", tempdir_path(dir, "plain"));
    (void)snprintf(out, sizeof out, "%s", tempdir_path(dir, "out"));
    (void)snprintf(folder, sizeof folder, "%s", tempdir_path(dir, "grant"));
    cr_assert(identity_generate(&developer, &err) == 0 && identity_generate(&stranger, &err) == 0 &&
              identity_generate(&server_id, &err) == 0 && identity_generate(&user_id, &err) == 0);
    cr_assert_eq(synth_checkpoint(plain, "LlamaForCausalLM", &shape, 5, &err), 0, "%s", err.text);
    char *tokenizer = tempdir_slurp(STIP_SOURCE_DIR "/examples/demo-lm/tokenizer.json", &len);
    tempdir_spill(tempdir_path(plain, "tokenizer.json"), tokenizer, len);
    free(tokenizer);
    const struct protect_opts o = {.model = plain, .out = out, .head = "user", .sign_pub = developer->sign_pub, .sign_key = developer->sign_key};
    cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
    cr_assert_eq(release_open(&release, out, developer->sign_pub, &err), 0, "%s", err.text);
    cr_assert_eq(file_mkdirs(folder, 0700, &err), 0);
    const struct grant_source src = {.model = plain, .from = &release, .identity = developer};
    cr_assert_eq(grant_folder(&src, folder, &err), 0, "%s", err.text);
    cr_assert_eq(grant_open(&granted, folder, &err), 0, "%s", err.text);
}

static void drop(void)
{
    grant_free(granted);
    release_close(&release);
    identity_free(developer);
    identity_free(stranger);
    identity_free(server_id);
    identity_free(user_id);
    tempdir_remove(dir);
}

TestSuite(connection, .init = make, .fini = drop);

static struct lie truth(void)
{
    return (struct lie){.m = release.manifest, .g = *granted, .signer = developer,
                        .hello = {.max_tokens = 256, .max_sessions = 1, .max_rows = 256, .max_out_rows = 256, .D = TOY_D, .out_width = TOY_D,
                                  .epoch = release.manifest.epoch}};
}

/* Signs what is to be shown, lets the server show it, and connects. */
static int meet(struct lie *l, struct connection **c, struct transport *t, struct toy_server **server)
{
    const struct peer_key user = identity_public(user_id), key = identity_public(server_id);
    size_t text_len, sig_len;
    memcpy(l->m.signer, l->signer->sign_pub, sizeof l->m.signer);
    cr_assert_eq(manifest_write(&l->m, dir, l->signer->sign_key, l->hello.context, &err), 0, "%s", err.text);
    memcpy(l->g.context, l->hello.context, sizeof l->g.context);
    char *text = tempdir_slurp(tempdir_path(dir, MANIFEST_NAME), &text_len), *sig = tempdir_slurp(tempdir_path(dir, MANIFEST_SIG_NAME), &sig_len);
    uint8_t *proof = malloc(text_len + sig_len);
    memcpy(proof, text, text_len);
    memcpy(proof + text_len, sig, sig_len);
    proof[text_len / 2] ^= l->flip ? 1 : 0;
    if (l->other_context) { /* the server says what is asked of it, and shows what it has */
        l->g.context[31] ^= 1;
        memcpy(l->hello.context, l->g.context, sizeof l->hello.context);
    }
    if (l->hello.manifest_bytes == 0)
        l->hello.manifest_bytes = text_len + sig_len;
    const struct toy_config how = {.link = PHASE_INFER, .hello = &l->hello, .manifest = proof};
    *server = toy_server_start("tcp://127.0.0.1:*", server_id, &user, 1, &how);
    const int rc = connection_open(c, t, toy_server_endpoint(*server), &key, user_id, &l->g, NULL, &err);
    free(text);
    free(sig);
    free(proof);
    return rc;
}

static void refused(struct lie l, enum err_code code, const char *said)
{
    struct transport *t = NULL;
    struct connection *c = NULL;
    struct toy_server *server;
    cr_assert_eq(transport_open(&t, &err), 0);
    cr_expect_eq(meet(&l, &c, t, &server), -1, "taken where '%s' was to be said", said);
    cr_expect(err.code == code && strstr(err.text, said) != NULL, "expected '%s' (%d) in '%s' (%d)", said, code, err.text, err.code);
    connection_close(c);
    toy_server_stop(server);
    transport_close(t);
}

/* Mutations: the signature, its signer or the context is not looked at. */
Test(connection, a_manifest_is_the_developers_and_the_one_of_the_grant)
{
    struct lie l = truth();
    l.hello.manifest_bytes = CRYPTO_SIG_LEN;
    refused(l, ERR_AUTH, "shows no manifest");
    l = truth();
    l.flip = true;
    refused(l, ERR_AUTH, "not signed by the trusted developer key");
    l = truth();
    l.signer = stranger;
    refused(l, ERR_AUTH, "not signed by the trusted developer key");
    l = truth();
    l.other_context = true;
    refused(l, ERR_AUTH, "serves another package than this grant is for");
}

/* All of it is signed by the developer. Mutations: any one of these not compared. */
Test(connection, a_package_that_does_not_go_with_the_grant_is_refused)
{
    struct lie l = truth();
    (void)strcpy(l.m.head, "server");
    refused(l, ERR_PEER, "do not agree on who computes the head");
    l = truth();
    l.hello.head_at_server = 1;
    refused(l, ERR_PEER, "do not agree on who computes the head");
    l = truth();
    l.m.local_layers = 1;
    refused(l, ERR_AUTH, "serves a package without its first 1 layers, this grant has 0");
    l = truth();
    l.hello.epoch++;
    refused(l, ERR_AUTH, "announces epoch 2, its manifest is of epoch 1");
    l = truth();
    l.g.epoch++;
    refused(l, ERR_AUTH, "its manifest is of epoch 1 and this grant of 2");
    l = truth();
    l.m.expires = clock_unix() - 1;
    refused(l, ERR_AUTH, "the server's package expired on");
    l = truth();
    l.g.expires = clock_unix() - 1;
    refused(l, ERR_AUTH, "this grant expired on");
    l = truth();
    l.m.compute = COMPUTE_BF16;
    refused(l, ERR_AUTH, "computes in bf16, this grant is for f32");
}

/* Mutation: any one of these numbers is not looked at. */
Test(connection, numbers_that_are_not_the_models_are_refused)
{
    uint32_t *number;
    for (int i = 0; i < 4; i++) {
        struct lie l = truth();
        number = i == 0 ? &l.hello.D : i == 1 ? &l.hello.out_width : i == 2 ? &l.hello.max_rows : &l.hello.max_out_rows;
        *number = i < 2 ? TOY_D * 2 : 0;
        refused(l, ERR_PEER, "announces rows of");
    }
}

/* Mutation: the version is not asked. */
Test(connection, the_truth_is_taken_and_half_the_bytes_need_a_server_that_knows_them)
{
    struct transport *t = NULL;
    struct connection *c = NULL;
    struct toy_server *server;
    struct lie l = truth();
    cr_assert_eq(transport_open(&t, &err), 0);
    cr_assert_eq(meet(&l, &c, t, &server), 0, "%s", err.text);
    cr_expect_eq(c->server.D, TOY_D);
    c->server.protocol = MSG_PROTOCOL_BF16 - 1;
    cr_expect_eq(connection_bf16(c, &err), -1);
    cr_expect(!c->bf16 && strstr(err.text, "wire: bf16 needs") != NULL, "%s", err.text);
    c->server.protocol = MSG_PROTOCOL_BF16;
    cr_expect(connection_bf16(c, &err) == 0 && c->bf16);
    connection_close(c);
    toy_server_stop(server);
    transport_close(t);
}
