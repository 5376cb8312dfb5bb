/* The user's and the server's own code over a network that delays, hangs, breaks and kills, all of it made from one seed:
 * not one token is lost, doubled or another. 200 seeds; 10,000 with STIP_LONG=1; one with STIP_SEED=N, which replays exactly. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "model_dev/grant.h"
#include "server/package.h"
#include "server/schedule.h"
#include "tests/sim/world.h"
#include "tests/support/developer.h"
#include "tests/support/tempdir.h"
#include "user/session.h"

#define ROOM 120
#define STEPS 20
#define TOKENS 64

static const struct synth_shape shape = {.D = 16, .H = 4, .G = 2, .L = 2, .V = 40, .F = 24, .positions = 128};
static char dir[FILE_PATH_MAX];
static struct developer dev;
static struct grant *grant;
static struct package *package;
static struct identity *id;
static struct err err;

static void make(void)
{
    const struct package_limits limits = {.others = 0};
    log_init("test", LOG_ERROR, false);
    tempdir_make(dir);
    developer_make(&dev, dir, "LlamaForCausalLM", &shape, 3, "server");
    const struct grant_source source = {.model = dev.plain, .from = &dev.release, .identity = dev.identity};
    const struct peer_key developer = identity_public(dev.identity);
    const char *at = tempdir_path(dir, "grant");
    size_t len;
    char *tokenizer = tempdir_slurp(STIP_SOURCE_DIR "/examples/demo-lm/tokenizer.json", &len);
    cr_assert_eq(file_mkdirs(at, 0700, &err), 0, "%s", err.text);
    cr_assert_eq(grant_folder(&source, at, &err), 0, "%s", err.text);
    tempdir_spill(tempdir_path(at, "tokenizer.json"), tokenizer, len);
    free(tokenizer);
    cr_assert_eq(grant_open(&grant, at, &err), 0, "%s", err.text);
    cr_assert_eq(package_load(&package, tempdir_path(dev.out, "package"), &developer, 1, &limits, &err), 0, "%s", err.text);
    cr_assert_eq(identity_generate(&id, &err), 0, "%s", err.text);
}

static void drop(void)
{
    identity_free(id);
    package_free(package);
    grant_free(grant);
    developer_free(&dev);
    tempdir_remove(dir);
}

TestSuite(sim, .init = make, .fini = drop);

struct answer {
    int32_t token[TOKENS];
    int n, length;
};

static int32_t best(const float *logits)
{
    int at = 0;
    for (int i = 1; i < shape.V; i++)
        at = logits[i] > logits[at] ? i : at;
    return at;
}

/* A prompt, tokens one by one, and now and then four at once of which some are taken back, as a speculating user does. */
static int talk(struct session *s, uint64_t seed, struct answer *a)
{
    float logits[4 * 40];
    int32_t ids[48];
    const int T = 1 + (int)(world_random(&seed) % 40);
    for (int i = 0; i < T; i++)
        ids[i] = (int32_t)(world_random(&seed) % (uint64_t)shape.V);
    if (session_forward(s, ids, NULL, T, T - 1, 1, logits, &err) != 0)
        return -1;
    for (int i = 0; i < STEPS; i++) {
        ids[0] = a->token[a->n++] = best(logits);
        if (world_random(&seed) % 5 != 0) {
            if (session_forward(s, ids, NULL, 1, 0, 1, logits, &err) != 0)
                return -1;
            continue;
        }
        const int before = session_length(s), keep = (int)(world_random(&seed) % 4);
        for (int k = 1; k < 4; k++)
            ids[k] = (int32_t)(world_random(&seed) % (uint64_t)shape.V);
        if (session_forward(s, ids, NULL, 4, 0, 4, logits, &err) != 0)
            return -1;
        session_rewind(s, before + 1 + keep);
        a->token[a->n++] = best(logits + (size_t)keep * 40);
        memmove(logits, logits + (size_t)keep * 40, 40 * sizeof *logits);
    }
    a->length = session_length(s);
    return 0;
}

#define SERVER_KEY {.curve_pub = {1}, .sign_pub = {1}}
static const struct role_peer peers[WORLD_SERVERS] = {{.endpoint = "tcp://server:1", .key = SERVER_KEY},
                                                      {.endpoint = "tcp://server:2", .key = SERVER_KEY}};

/* A user of the first `n` servers. */
static void begin(uint64_t seed, int troubles, bool cuts_only, int n, struct transport **transport, struct connection **c)
{
    struct world_options o = {.seed = seed, .troubles = troubles, .cuts_only = cuts_only, .kv_bytes = (size_t)1 << 20,
                              .user = identity_public(id), .package = package};
    o.limits = (struct core_limits){.context = 128, .sessions = 40, .user_sessions = 4, .steps = (size_t)1 << 20, .ttl_ms = 60000,
                                    .rows = 20, .out_rows = 4, .chunk_rows = SCHEDULE_SHORT, .queue_rows = 64};
    world_begin(&o);
    cr_assert_eq(transport_open(transport, &err), 0, "%s", err.text);
    cr_assert_eq(connection_open(c, *transport, peers[0].endpoint, &peers[0].key, id, grant, NULL, &err), 0, "%s", err.text);
    connection_keep(*c, peers, n, 0, 600000);
}

static struct answer run_with(uint64_t seed, int troubles, bool cuts_only, int n, struct world_counts *counts)
{
    struct transport *transport = NULL;
    struct connection *c = NULL;
    struct session *s = NULL;
    struct answer a = {0};
    uint64_t sessions, kv_bytes;
    begin(seed, troubles, cuts_only, n, &transport, &c);
    world_trouble();
    cr_assert_eq(session_open(&s, c, ROOM, 4, &err), 0, "seed %llu: %s", (unsigned long long)seed, err.text);
    cr_assert_eq(talk(s, seed, &a), 0, "seed %llu: gave up: %s", (unsigned long long)seed, err.text);
    session_close(s);
    world_settle(&sessions, &kv_bytes);
    cr_expect(sessions == 0 && kv_bytes == 0, "seed %llu: %llu sessions and %llu bytes are left on the servers",
              (unsigned long long)seed, (unsigned long long)sessions, (unsigned long long)kv_bytes);
    connection_close(c);
    *counts = world_counts();
    world_end();
    transport_close(transport);
    return a;
}

static struct answer run(uint64_t seed, int troubles, struct world_counts *counts)
{
    return run_with(seed, troubles, false, WORLD_SERVERS, counts);
}

static void same(uint64_t seed, const struct answer *calm, const struct answer *rough)
{
    cr_assert(calm->n == rough->n && calm->length == rough->length, "seed %llu: %d tokens and length %d instead of %d and %d",
              (unsigned long long)seed, rough->n, rough->length, calm->n, calm->length);
    for (int i = 0; i < calm->n; i++)
        cr_assert_eq(calm->token[i], rough->token[i], "seed %llu: token %d is %d instead of %d; STIP_SEED=%llu shows it again",
                     (unsigned long long)seed, i, rough->token[i], calm->token[i], (unsigned long long)seed);
}

/* Mutations that were tried: a token that the transcript misses, a connection that does not greet again a server that has forgotten
 * it. Not caught here, for each is made good by another rule, but by the two tests below: a doubled step that is not known, an id that
 * is kept when a session is built again. */
Test(sim, no_trouble_changes_an_answer)
{
    const char *one = getenv("STIP_SEED");
    const uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1, last = one != NULL ? first : getenv("STIP_LONG") != NULL ? 10000 : 200;
    struct world_counts sum = {0};
    for (uint64_t seed = first; seed <= last; seed++) {
        struct world_counts ignored, counts;
        const struct answer calm = run(seed, 0, &ignored), rough = run(seed, 12, &counts);
        same(seed, &calm, &rough);
        sum.frames += counts.frames;
        sum.cuts += counts.cuts;
        sum.kills += counts.kills;
        sum.holes += counts.holes;
        sum.reloads += counts.reloads;
        sum.slow += counts.slow;
        sum.strangers += counts.strangers;
        sum.restarts += counts.restarts;
    }
    (void)fprintf(stderr, "sim: %llu seeds: %u frames, %u cuts, %u kills, %u restarts, %u holes, %u reloads, %u slow, %u strangers\n",
                  (unsigned long long)(last - first + 1), sum.frames, sum.cuts, sum.kills, sum.restarts, sum.holes, sum.reloads, sum.slow,
                  sum.strangers);
    if (one == NULL)
        cr_expect(sum.cuts > 200 && sum.kills > 100 && sum.holes > 50 && sum.reloads > 50 && sum.slow > 100, "hardly any trouble");
}

/* The same seed is the same run, to the last frame. */
Test(sim, a_seed_replays_exactly)
{
    struct world_counts a, b;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        (void)run(seed, 12, &a);
        (void)run(seed, 12, &b);
        cr_expect_eq(memcmp(&a, &b, sizeof a), 0, "seed %llu", (unsigned long long)seed);
    }
}

/* A server that lives computes every row once, however often a line is cut: an answer that was lost is given again, not computed again
 * from the first row on. Mutations: the server does not know a step that comes twice; the user takes opened.seq == seq + 1 for
 * another session. */
Test(sim, cut_lines_make_no_server_compute_twice)
{
    unsigned cuts = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct world_counts calm, rough;
        const struct answer a = run_with(seed, 0, true, 1, &calm), b = run_with(seed, 12, true, 1, &rough);
        same(seed, &a, &b);
        cr_expect_eq(rough.rows, calm.rows, "seed %llu: %llu rows instead of %llu", (unsigned long long)seed, (unsigned long long)rough.rows,
                     (unsigned long long)calm.rows);
        cuts += rough.cuts;
    }
    cr_expect_gt(cuts, 200);
}

/* What a server that was left behind knows is not taken up when the session went on elsewhere, though steps and lengths fit: there the
 * place of a guess that failed is another token's. Mutation: a session that is built again keeps its id. */
Test(sim, a_session_built_again_elsewhere_is_not_taken_for_the_one_left_behind)
{
    static float logits[2][4 * 40];
    const int32_t prompt[] = {3, 1, 4, 1, 5}, guesses[] = {9, 2, 6, 5}, next[] = {7, 8};
    for (int moves = 0; moves < 2; moves++) {
        struct transport *transport = NULL;
        struct connection *c = NULL;
        struct session *s = NULL;
        begin(1, 0, false, WORLD_SERVERS, &transport, &c);
        cr_assert_eq(session_open(&s, c, ROOM, 4, &err), 0, "%s", err.text);
        cr_assert_eq(session_forward(s, prompt, NULL, 5, 4, 1, logits[moves], &err), 0, "%s", err.text);
        cr_assert_eq(session_forward(s, guesses, NULL, 4, 0, 4, logits[moves], &err), 0, "%s", err.text);
        session_rewind(s, 6); /* the first was right */
        if (moves)
            world_reach(0, false);
        cr_assert_eq(session_forward(s, next, NULL, 1, 0, 1, logits[moves], &err), 0, "%s", err.text);
        if (moves) {
            world_reach(1, false);
            world_reach(0, true);
        }
        cr_assert_eq(session_forward(s, next + 1, NULL, 1, 0, 1, logits[moves], &err), 0, "%s", err.text);
        cr_expect_eq(c->reconnects, moves ? 2 : 0);
        session_close(s);
        connection_close(c);
        world_end();
        transport_close(transport);
    }
    cr_expect_arr_eq(logits[0], logits[1], 40 * sizeof **logits);
}

/* The step arrives and its answer is lost with the line, of which no end has any news: the user asks after a second of silence, and that is
 * what its kernel misses the confirmation of. The answer is given again, not computed again. Mutations: CHANNEL_PING_MS of 5000;
 * CHANNEL_UNSENT_MS of 8000; no PING. */
Test(sim, a_line_that_falls_silent_is_left_within_six_seconds)
{
    static float logits[2][40];
    const int32_t prompt[] = {3, 1, 4, 1, 5}, next = 7;
    uint64_t rows[2];
    for (int silent = 0; silent < 2; silent++) {
        struct transport *transport = NULL;
        struct connection *c = NULL;
        struct session *s = NULL;
        begin(1, 0, false, 1, &transport, &c);
        cr_assert_eq(session_open(&s, c, ROOM, 4, &err), 0, "%s", err.text);
        cr_assert_eq(session_forward(s, prompt, NULL, 5, 4, 1, logits[silent], &err), 0, "%s", err.text);
        if (silent)
            world_silence(0);
        const uint64_t start = clock_ms();
        cr_assert_eq(session_forward(s, &next, NULL, 1, 0, 1, logits[silent], &err), 0, "%s", err.text);
        const uint64_t took = clock_ms() - start;
        cr_expect(silent ? took > CHANNEL_UNSENT_MS && took < 6000 : took < 1000, "%llu ms", (unsigned long long)took);
        cr_expect_eq(c->reconnects, silent);
        rows[silent] = world_counts().rows;
        session_close(s);
        connection_close(c);
        world_end();
        transport_close(transport);
    }
    cr_expect_eq(rows[0], rows[1]);
    cr_expect_arr_eq(logits[0], logits[1], sizeof logits[0]);
}

/* Where a handshake takes longer than a user waits at first it waits longer the next time: it would never come in else, and would keep
 * others from it. Mutation: PATIENCE_DOUBLES of 0. */
Test(sim, a_user_waits_longer_for_a_server_that_is_slow_to_greet)
{
    static float logits[40];
    const int32_t prompt[] = {3, 1, 4, 1, 5}, next = 7;
    struct transport *transport = NULL;
    struct connection *c = NULL;
    struct session *s = NULL;
    begin(1, 0, false, 1, &transport, &c);
    cr_assert_eq(session_open(&s, c, ROOM, 4, &err), 0, "%s", err.text);
    cr_assert_eq(session_forward(s, prompt, NULL, 5, 4, 1, logits, &err), 0, "%s", err.text);
    world_handshake(0, 2 * CHANNEL_CONNECT_MS + 2000);
    world_reach(0, false);
    world_reach(0, true);
    const uint64_t start = clock_ms();
    cr_assert_eq(session_forward(s, &next, NULL, 1, 0, 1, logits, &err), 0, "%s", err.text);
    const uint64_t took = clock_ms() - start;
    cr_expect(took > 3 * CHANNEL_CONNECT_MS && took < 6 * CHANNEL_CONNECT_MS, "%llu ms", (unsigned long long)took);
    session_close(s);
    connection_close(c);
    world_end();
    transport_close(transport);
}
