/* stip-bench load and speed, as a person runs them. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/slow.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"

/* With slower programs loads take longer, with as many requests. */
static const char *word(double n)
{
    static char text[2][24];
    static int next;
    next = !next;
    (void)snprintf(text[next], sizeof text[next], "%.10g", n);
    return text[next];
}

static const char *seconds(double n)
{
    return word(n * slow_times());
}

static const char *a_second(double n)
{
    return word(n / slow_times());
}

static double number(const struct json_doc *doc, const char *object, const char *key)
{
    const struct json *node = json_root(doc);
    return json_number(json_get(object == NULL ? node : json_get(node, object), key));
}

static void expect_refused(int status, const char *sentence, const char *const argv[])
{
    struct shell s;
    shell_run(&s, argv);
    cr_expect_eq(s.status, status, "%s: exit status %d, expected %d: %s", s.command, s.status, status, s.err);
    cr_expect_not_null(strstr(s.err, sentence), "%s: expected '%s' in: %s", s.command, sentence, s.err);
    shell_free(&s);
}

/* What holds for every load without errors. */
static void expect_sound(const struct json_doc *doc)
{
    double finished = number(doc, "requests", "finished"), n = number(doc, "first_token_ms", "n");
    cr_expect_gt(finished, 0);
    cr_expect_eq(number(doc, "requests", "failed"), 0);
    cr_expect_eq(json_count(json_get(json_root(doc), "errors")), 0);
    cr_expect_gt(number(doc, NULL, "tok_s"), 0);
    cr_expect_eq(n, finished + number(doc, "requests", "cut"));
    cr_expect_leq(number(doc, "first_token_ms", "p50"), number(doc, "first_token_ms", "p95"));
    cr_expect_leq(number(doc, "first_token_ms", "p95"), number(doc, "first_token_ms", "p99"));
    cr_expect_leq(number(doc, "first_token_ms", "p99"), number(doc, "first_token_ms", "max"));
    cr_expect_eq(number(doc, "server", "sessions"), n);
    double busy = number(doc, "server", "busy_frac");
    cr_expect(busy > 0 && busy <= 1.01, "%g", busy);
    double together = number(doc, "server", "together");
    cr_expect(together > 0.9 && together <= number(doc, NULL, "sessions"), "%g", together); /* none of a pass is left out, none counted twice */
    double users = number(doc, "users", "processor_frac"), rest = number(doc, "users", "tok_s_of_the_rest");
    cr_expect(users > 0 && users < 1, "%g", users);
    cr_expect_float_eq(rest * (1 - users), number(doc, NULL, "tok_s"), 1e-6 * rest);
    /* Tokens over time add up to the tokens. */
    double sum = 0, seconds = number(doc, "over_time", "seconds");
    const struct json *list = json_get(json_get(json_root(doc), "over_time"), "tok_s");
    for (const struct json *v = json_first(list); v != NULL; v = json_next(v))
        sum += json_number(v) * seconds;
    cr_expect_float_eq(sum, number(doc, NULL, "tokens"), 1e-6 * sum);
}

Test(load, a_running_server_is_loaded_and_the_report_adds_up)
{
    struct trio t;
    struct shell s;
    trio_open(&t, DEMO_LM, "user");
    const char *svg = trio_path(&t, "load.svg"), *config = trio_path(&t, "user.json");
    shell_run(&s, SHELL_ARGV("stip-bench", "load", "--config", config, "--sessions", "4", "--duration", seconds(2), "--prompt-tokens", "20",
                             "--max-tokens", "8", "--plot", svg, "--json"));
    struct json_doc *doc = shell_json(&s);
    expect_sound(doc);
    double finished = number(doc, "requests", "finished");
    cr_expect_eq(number(doc, "between_tokens_ms", "n"), 7 * finished);
    cr_expect_geq(number(doc, NULL, "tokens"), 8 * (finished - 4), "all but the last of each user are within the time");
    cr_expect_leq(number(doc, NULL, "tokens"), 8 * finished);
    cr_expect_eq(number(doc, "server", "rows_in"), (20 + 7) * finished);
    json_free(doc);
    shell_free(&s);
    size_t len;
    char *text = tempdir_slurp(svg, &len);
    cr_expect(len > 1000 && strncmp(text, "<svg ", 5) == 0 && strcmp(text + len - 7, "</svg>\n") == 0);
    free(text);

    /* Twenty a second, answered faster than they come: about forty, whatever each user could do. */
    shell_run(&s, SHELL_ARGV("stip-bench", "load", "--config", config, "--sessions", "4", "--duration", seconds(2), "--rps", a_second(20),
                             "--prompt-tokens", "4", "--max-tokens", "2", "--json"));
    doc = shell_json(&s);
    expect_sound(doc);
    double all = number(doc, "requests", "finished") + number(doc, "requests", "unserved");
    cr_expect(all >= 15 && all <= 80, "%g requests", all);
    json_free(doc);
    shell_free(&s);

    expect_refused(2, "this server takes", SHELL_ARGV("stip-bench", "load", "--config", config, "--prompt-tokens", "100000"));
    process_stop(&t.server);
    expect_refused(5, "tcp://127.0.0.1", SHELL_ARGV("stip-bench", "load", "--config", config, "--sessions", "2", "--duration", "1"));
    trio_close(&t);
}

/* Mutation: latency counted from when a user was free, not from when the request came. */
Test(load, a_request_that_waits_for_a_free_user_waits_in_the_figures_too)
{
    struct trio t;
    struct shell s;
    trio_open(&t, DEMO_LM, "server");
    shell_run(&s, SHELL_ARGV("stip-bench", "load", "--config", trio_path(&t, "user.json"), "--sessions", "1", "--duration", seconds(2),
                             "--rps", a_second(2000), "--prompt-tokens", "16", "--max-tokens", "16", "--json"));
    struct json_doc *doc = shell_json(&s);
    expect_sound(doc);
    /* One user cannot keep up: whoever comes last has waited for about as long as the run. */
    cr_expect_gt(number(doc, "first_token_ms", "max"), 1000);
    cr_expect_gt(number(doc, "requests", "unserved"), 0);
    cr_expect_lt(number(doc, "between_tokens_ms", "p50"), number(doc, "first_token_ms", "max"));
    json_free(doc);
    shell_free(&s);
    trio_close(&t);
}

Test(load, refusals_are_counted_by_their_name)
{
    struct trio t;
    struct shell s;
    trio_open_limited(&t, DEMO_LM, "server", "\"user_sessions\":2");
    shell_run(&s, SHELL_ARGV("stip-bench", "load", "--config", trio_path(&t, "user.json"), "--sessions", "6", "--duration", seconds(2),
                             "--prompt-tokens", "64", "--max-tokens", "64", "--json"));
    struct json_doc *doc = shell_json(&s);
    cr_expect_gt(number(doc, "requests", "finished"), 0);
    cr_expect_gt(number(doc, "errors", "BUSY"), 0);
    cr_expect_eq(number(doc, "errors", "BUSY"), number(doc, "requests", "failed"));
    json_free(doc);
    shell_free(&s);
    trio_close(&t);
}

Test(load, three_roles_of_its_own_are_loaded_and_nothing_is_left)
{
    struct shell s;
    char dir[FILE_PATH_MAX];
    tempdir_make(dir);
    cr_assert_eq(setenv("TMPDIR", dir, 1), 0);
    shell_run(&s, SHELL_ARGV("stip-bench", "load", "--model", DEMO_CLASSIFIER, "--sessions", "3", "--duration", seconds(1),
                             "--prompt-tokens", "16", "--threads", "1", "--json"));
    struct json_doc *doc = shell_json(&s);
    expect_sound(doc);
    cr_expect_eq(number(doc, NULL, "max_tokens"), 1, "a classifier answers once");
    json_free(doc);
    shell_free(&s);
    cr_expect_eq(tempdir_count(dir), 0);
    cr_assert_eq(unsetenv("TMPDIR"), 0);
    tempdir_remove(dir);
    expect_refused(2, "one of --config", SHELL_ARGV("stip-bench", "load"));
    expect_refused(2, "'huge' is not one of", SHELL_ARGV("stip-bench", "load", "--shape", "huge"));
    expect_refused(2, "--sessions", SHELL_ARGV("stip-bench", "load", "--model", DEMO_LM, "--sessions", "0"));
}

/* Catches: times of one profile under another's name, a server's time that has the users' in it. */
Test(load, profiles_says_whose_time_it_is)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-bench", "profiles", "--model", DEMO_LM, "--threads", "1", "--prompt", "8", "--gen", "2", "--repeats", "1", "--json"));
    struct json_doc *doc = shell_json(&s);
    int rows = 0, gauge = 0, heads = 0, layers = 0;
    for (const struct json *row = json_first(json_get(json_root(doc), "rows")); row != NULL; row = json_next(row), rows++) {
        const double tok_s = json_number(json_get(row, "tok_s")), server = json_number(json_get(row, "server_us_token"));
        const double user = json_number(json_get(row, "user_us_token"));
        cr_expect(server > 0 && user > 0 && fabs(tok_s * (server + user) / 1e6 - 1) < 1e-6, "%g tok/s of %g + %g us", tok_s, server, user);
        gauge += strcmp(json_string(json_get(row, "profile")), "gauge") == 0;
        heads += strcmp(json_string(json_get(row, "head")), "user") == 0;
        layers += json_number(json_get(row, "local_layers")) > 0;
    }
    cr_expect(rows == 12 && gauge == 6 && heads == 8 && layers == 4, "%d rows, %d of gauge, %d heads on the user, %d with local layers", rows,
              gauge, heads, layers);
    json_free(doc);
    shell_free(&s);
    expect_refused(2, "profiles needs --model HFDIR or --shape NAME", SHELL_ARGV("stip-bench", "profiles"));
    expect_refused(2, "needs a causal model", SHELL_ARGV("stip-bench", "profiles", "--model", DEMO_CLASSIFIER));
}

Test(load, speed_runs_peers_and_names_those_it_cannot)
{
    struct shell s;
    char dir[FILE_PATH_MAX], spec[2 * FILE_PATH_MAX];
    tempdir_make(dir);
    const char *script = "#!/bin/sh\necho '[{\"avg_ts\": 1000}]'\n", *path = tempdir_path(dir, "llama-bench"), *svg = tempdir_path(dir, "s.svg");
    tempdir_spill(path, script, strlen(script));
    cr_assert_eq(chmod(path, 0755), 0);
    (void)snprintf(spec, sizeof spec, "llama-bench=%s", path);
    shell_run(&s, SHELL_ARGV("stip-bench", "speed", "--model", DEMO_LM, "--threads", "1", "--prompt", "16", "--gen", "4", "--batch", "1,2",
                             "--repeats", "1", "--peer", spec, "--plot", svg, "--json"));
    struct json_doc *doc = shell_json(&s);
    int peers = 0, rows = 0;
    for (const struct json *row = json_first(json_get(json_root(doc), "rows")); row != NULL; row = json_next(row), rows++) {
        double tok_s = json_number(json_get(row, "tok_s"));
        cr_expect_gt(tok_s, 0);
        cr_expect_gt(json_number(json_get(row, "limit_tok_s")), 0);
        cr_expect_gt(json_number(json_get(row, "private_ratio")), 0);
        if (strcmp(json_string(json_get(row, "mode")), "peer:llama.cpp") == 0) {
            peers++;
            cr_expect_eq(tok_s, 1000);
        }
    }
    cr_expect_eq(peers, 2, "it has no batched decode");
    cr_expect_eq(rows, 8);
    cr_expect(file_exists(svg));
    json_free(doc);
    shell_free(&s);
    expect_refused(2, "there is no program", SHELL_ARGV("stip-bench", "speed", "--model", DEMO_LM, "--peer", "llama-bench=/nowhere/bench"));
    expect_refused(2, "give --shape", SHELL_ARGV("stip-bench", "speed", "--model", DEMO_LM, "--peer", "torch=/bin/true"));
    expect_refused(6, "peer llama.cpp: /", SHELL_ARGV("stip-bench", "speed", "--model", DEMO_LM, "--threads", "1", "--prompt", "8", "--peer", "llama-bench=/bin/false"));
    tempdir_remove(dir);
}
