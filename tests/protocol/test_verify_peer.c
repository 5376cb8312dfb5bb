/* user/verify over a real socket: a server that computes nonsense, answers what is no number, answers late, or not at all. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "model_dev/grant.h"
#include "model_dev/protect.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "tests/support/toy_server.h"
#include "user/verify.h"

static char dir[FILE_PATH_MAX], folder[FILE_PATH_MAX];
static struct identity *developer, *server_id, *user_id;
static struct grant *grant;
static struct verify *v;
static struct err err;

/* A grant with canaries for a model whose rows are as wide as the toy's. */
static void make(void)
{
    const struct synth_shape shape = {.D = (int)TOY_D, .H = 2, .L = 1, .V = 2048, .F = 16, .positions = 256, .bos = 1};
    char plain[FILE_PATH_MAX], out[FILE_PATH_MAX];
    struct protect_report report;
    struct release release = {0};
    size_t len;
    tempdir_make(dir);
    (void)snprintf(plain, sizeof plain, "%s/plain", dir);
    (void)snprintf(out, sizeof out, "%s/out", dir);
    (void)snprintf(folder, sizeof folder, "%s/grant", dir);
    cr_assert_eq(identity_generate(&developer, &err), 0);
    cr_assert_eq(identity_generate(&server_id, &err), 0);
    cr_assert_eq(identity_generate(&user_id, &err), 0);
    cr_assert_eq(synth_checkpoint(plain, "LlamaForCausalLM", &shape, 5, &err), 0, "%s", err.text);
    char *tokenizer = tempdir_slurp(STIP_SOURCE_DIR "/examples/demo-lm/tokenizer.json", &len);
    tempdir_spill(tempdir_path(plain, "tokenizer.json"), tokenizer, len);
    free(tokenizer);
    const struct protect_opts o = {.model = plain, .out = out, .head = "user", .sign_pub = developer->sign_pub,
                                   .sign_key = developer->sign_key};
    cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
    cr_assert_eq(release_open(&release, out, developer->sign_pub, &err), 0, "%s", err.text);
    cr_assert_eq(file_mkdirs(folder, 0700, &err), 0);
    const struct grant_source src = {.model = plain, .from = &release, .identity = developer, .canaries = 5};
    cr_assert_eq(grant_folder(&src, folder, &err), 0, "%s", err.text);
    cr_assert_eq(grant_open(&grant, folder, &err), 0, "%s", err.text);
    cr_assert_eq(verify_open(&v, folder, grant, &err), 0, "%s", err.text);
    release_close(&release);
}

static void drop(void)
{
    verify_close(v);
    grant_free(grant);
    identity_free(developer);
    identity_free(server_id);
    identity_free(user_id);
    tempdir_remove(dir);
}

TestSuite(verify_peer, .init = make, .fini = drop);

static struct verify_result ask(const struct toy_config *how, int step_ms)
{
    struct transport *t = NULL;
    const struct peer_key user = identity_public(user_id), key = identity_public(server_id);
    struct connection c = {.grant = grant, .step_ms = step_ms, .generation = 1};
    const struct canary *q;
    struct verify_result r = {.passed = true};
    bool again;
    cr_assert_eq(transport_open(&t, &err), 0);
    struct toy_server *server = toy_server_start("tcp://127.0.0.1:*", server_id, &user, 1, how);
    cr_assert_eq(channel_open(&c.channel, t, toy_server_endpoint(server), &key, user_id, 60000, &err), 0, "%s", err.text);
    cr_assert_eq(client_hello(c.channel, NULL, &c.server, &err), 0, "%s", err.text);
    cr_assert_eq(verify_next(v, &q, &again, &err), 0, "%s", err.text);
    cr_expect_not(again);
    cr_expect_eq(verify_ask(q, &c, NULL, 128, verify_tolerance(v, false), &r, &err), 0, "%s", err.text);
    channel_close(c.channel);
    toy_server_stop(server);
    transport_close(t);
    return r;
}

static void fails(const struct toy_config *how, int step_ms, const char *said)
{
    const struct verify_result r = ask(how, step_ms);
    cr_expect_not(r.passed);
    cr_expect_not_null(strstr(r.what, said), "expected '%s' in '%s'", said, r.what);
}

Test(verify_peer, a_server_without_layers_is_noticed)
{
    fails(&(struct toy_config){.link = PHASE_INFER}, 60000, "step 1 of the answer");
}

/* Mutation: errors of the peer given on as errors, so that the gateway's rate would count them as trouble of the line. */
Test(verify_peer, what_is_no_number_is_a_wrong_answer)
{
    fails(&(struct toy_config){.link = PHASE_INFER, .nan = true}, 60000, "a value is infinite or not a number");
}

Test(verify_peer, a_late_answer_is_a_wrong_answer)
{
    fails(&(struct toy_config){.link = PHASE_INFER, .late_ms = 2000}, 300, "no answer to a question that the model can answer");
}

/* It says that it is there as often as it is asked: only the step's own deadline tells. */
Test(verify_peer, no_answer_at_all_is_a_wrong_answer)
{
    fails(&(struct toy_config){.link = PHASE_INFER, .silent = true}, 300, "no answer to a question that the model can answer");
}

/* Each is asked once before any is asked again, and that is remembered by the folder, not by the process. */
Test(verify_peer, no_canary_is_asked_twice_while_others_are_left)
{
    const struct canary *q, *seen[5];
    bool again;
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(verify_next(v, &q, &again, &err), 0);
        cr_expect_not(again);
        for (size_t j = 0; j < i; j++)
            cr_expect_neq(seen[j]->prompt_n * 1000000 + (uint32_t)seen[j]->prompt[3], q->prompt_n * 1000000 + (uint32_t)q->prompt[3]);
        seen[i] = q;
        if (i == 2) {
            verify_close(v);
            v = NULL;
            cr_assert_eq(verify_open(&v, folder, grant, &err), 0, "%s", err.text);
            break;
        }
    }
    for (size_t i = 3; i < 5; i++) {
        cr_assert_eq(verify_next(v, &q, &again, &err), 0);
        cr_expect_not(again);
    }
    cr_assert_eq(verify_next(v, &q, &again, &err), 0);
    cr_expect(again);
}
