/* Primer's parties when the other one is of another build, dies or does not greet: a named error, at once. Mutations that were tried are named where a
 * test catches them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "bench/baselines/he/primer_run.h"
#include "tests/support/shell.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"

#define TOKENS 8

static const char *const dir = tempdir_own;
static struct err err;

TestSuite(primer_faults, .timeout = 280, .init = tempdir_own_make, .fini = tempdir_own_remove);

/* What a party greets with, whatever its version: bench/baselines/he/primer_line.c. */
struct greeting {
    char version[24], what[168];
    uint64_t role;
};

/* Caught: versions not compared, only the shape; the greeting compared after the keys (the error then speaks of a message's length). */
Test(primer_faults, a_peer_of_another_version_is_named_at_the_greeting)
{
    static const struct {
        struct greeting says;
        const char *sentence;
    } peers[] = {{{"9.9.9/primer 1", "a run", PRIMER_SERVER}, "the server runs version \"9.9.9/primer 1\", this is \"" STIP_VERSION},
                 {{STIP_VERSION "/primer 0", "a run", PRIMER_SERVER}, "the server runs version \"" STIP_VERSION "/primer 0\""},
                 {{STIP_VERSION "/primer 1", "another run", PRIMER_SERVER}, "the server computes \"another run\", this is \"a run\""},
                 {{STIP_VERSION "/primer 1", "a run", PRIMER_CLIENT}, "the server computes"}};
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        char endpoint[BARE_ENDPOINT];
        struct transport *t;
        struct bare *here, *there;
        struct primer_line *l = NULL;
        cr_assert(transport_open(&t, &err) == 0 && bare_listen(&here, t, BARE_HERE, 0, endpoint, &err) == 0 && bare_connect(&there, t, endpoint, 0, &err) == 0 &&
                      bare_send(there, &peers[i].says, sizeof peers[i].says, &err) == 0,
                  "%s", err.text);
        cr_expect_eq(primer_line_new(&l, PRIMER_CLIENT, here, NULL, "a run", 20000, &err), -1);
        cr_expect_eq(err.code, ERR_PEER);
        cr_expect_not_null(strstr(err.text, peers[i].sentence), "%s", err.text);
        cr_expect_null(l);
        bare_close(here);
        bare_close(there);
        transport_close(t);
    }
}

/* A program that runs as `which` dies: the server when it has said where it listens, the client some products later. */
static void write_killer(const char *path, const char *which)
{
    char script[4 * FILE_PATH_MAX];
    const bool client = strcmp(which, "client") == 0;
    (void)snprintf(script, sizeof script,
                   "#!/bin/sh\n"
                   "case \"$*\" in *--connect*) me=client;; *) me=server;; esac\n"
                   "[ $me = %s ] || exec %s \"$@\"\n"
                   "sh -c 'echo $$ >\"%s/pid\"; exec %s \"$@\"' party \"$@\" | { %s; kill -9 $(cat \"%s/pid\"); }\n"
                   "exit 9\n",
                   which, shell_program("stip-bench"), dir, shell_program("stip-bench"), client ? "sleep 0.2" : "read -r line; echo \"$line\"", dir);
    tempdir_spill(path, script, strlen(script));
    cr_assert_eq(chmod(path, 0700), 0);
}

/* The one that is left waits for ten minutes; who watches both does not. Caught: the first one's end taken for the second one's. */
Test(primer_faults, a_party_that_is_killed_ends_the_run_with_its_name)
{
    static const struct synth_shape shape = {.D = 32, .H = 2, .L = 40, .V = 60, .F = 64, .positions = 16};
    static const char *const names[] = {"client", "server"};
    const struct runner_line loopback = {0};
    struct checkpoint *cp = NULL;
    int32_t ids[TOKENS];
    char path[FILE_PATH_MAX], model[FILE_PATH_MAX];
    cr_assert_eq(file_join(path, dir, "killer.sh", &err), 0);
    cr_assert_eq(file_join(model, dir, "model", &err), 0);
    cr_assert_eq(mkdir(model, 0700), 0);
    cr_assert_eq(synth_checkpoint(model, "BertForSequenceClassification", &shape, 3, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&cp, model, CHECKPOINT_EMBED | CHECKPOINT_CORE, &err), 0, "%s", err.text);
    for (int i = 0; i < TOKENS; i++)
        ids[i] = i;
    for (size_t dies = 0; dies < 2; dies++) {
        struct compare_row row;
        write_killer(path, names[dies]);
        const uint64_t start = clock_ms();
        cr_expect_eq(primer_measure(&row, cp, model, "a shape", ids, TOKENS, path, &loopback, NULL, &err), -1);
        cr_expect_not_null(strstr(err.text, names[dies]), "%s", err.text);
        cr_expect_null(strstr(err.text, names[1 - dies]), "%s", err.text);
        cr_expect_lt(clock_ms() - start, (uint64_t)PRIMER_TIMEOUT_MS / 4, "%lu ms", (unsigned long)(clock_ms() - start));
    }
    checkpoint_close(cp);
}

/* It has connected and greets nobody. Caught: a silence that is waited for for ever. */
Test(primer_faults, a_party_that_lags_is_named_after_the_time_that_was_given)
{
    char endpoint[BARE_ENDPOINT];
    struct transport *t;
    struct bare *here, *there;
    struct primer_line *l = NULL;
    cr_assert(transport_open(&t, &err) == 0 && bare_listen(&here, t, BARE_HERE, 0, endpoint, &err) == 0 && bare_connect(&there, t, endpoint, 0, &err) == 0, "%s", err.text);
    cr_expect_eq(primer_line_new(&l, PRIMER_SERVER, here, NULL, "a run", 200, &err), -1);
    cr_expect_eq(err.code, ERR_PEER);
    cr_expect_not_null(strstr(err.text, "the client: nothing came"), "%s", err.text);
    bare_close(here);
    bare_close(there);
    transport_close(t);
}
