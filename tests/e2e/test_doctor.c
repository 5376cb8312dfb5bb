/* doctor of each role: everything right is a row of ok, and each thing that is broken on purpose is the line that says so. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/doctor.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

/* A line "STATE HOP ... sentence", followed by one that says what to do unless the state is ok. */
static void has_line(const struct shell *s, const char *state, const char *hop, const char *sentence)
{
    char begin[96], line[2048];
    (void)snprintf(begin, sizeof begin, "%-5s %-22s ", state, hop);
    for (const char *at = s->out; at != NULL; at = strchr(at, '\n'), at += at != NULL ? 1 : 0)
        if (strncmp(at, begin, strlen(begin)) == 0) {
            const char *end = strchr(at, '\n'), *fix = end == NULL ? NULL : strstr(end, "fix: ");
            (void)snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
            cr_expect_not_null(strstr(line, sentence), "%s: expected '%s' in: %s", s->command, sentence, line);
            cr_expect(strcmp(state, "ok") == 0 || (fix != NULL && strspn(end, "\n ") == (size_t)(fix - end)), "no fix: %s", s->out);
            return;
        }
    cr_expect(false, "%s: no line '%s' in:\n%s%s", s->command, begin, s->out, s->err);
}

static void run(const struct trio *t, struct shell *s, const char *role)
{
    static char config[64], program[64];
    (void)snprintf(program, sizeof program, "stip-%s", strcmp(role, "model_dev") == 0 ? "model-dev" : role);
    (void)snprintf(config, sizeof config, "%s.json", role);
    shell_run(s, SHELL_ARGV(program, "doctor", "--config", trio_path(t, config)));
}

/* ROLE.json with one text replaced by another; gives the old content. */
static char *edit(const struct trio *t, const char *role, const char *from, const char *to)
{
    char name[64], out[8192];
    size_t len;
    (void)snprintf(name, sizeof name, "%s.json", role);
    char *text = tempdir_slurp(trio_path(t, name), &len), *at = strstr(text, from);
    cr_assert_not_null(at, "%s: no %s in %s", role, from, text);
    int n = snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    tempdir_spill(trio_path(t, name), out, (size_t)n);
    return text;
}

/* The edited config gives this line and this exit status; then it is put back. */
static void finds(const struct trio *t, const char *role, const char *from, const char *to, const char *state, const char *hop,
                  const char *sentence)
{
    struct shell s;
    char name[64];
    char *before = edit(t, role, from, to);
    run(t, &s, role);
    cr_expect_eq(s.status, strcmp(state, "fail") == 0 ? 1 : 0, "%s: %d\n%s", s.command, s.status, s.out);
    has_line(&s, state, hop, sentence);
    (void)snprintf(name, sizeof name, "%s.json", role);
    tempdir_spill(trio_path(t, name), before, strlen(before));
    free(before);
    shell_free(&s);
}

/* A file with one byte changed, or of another mode, gives this line; then it is put back. */
static void flipped(const struct trio *t, const char *file, const char *role, const char *hop, const char *sentence)
{
    struct shell s;
    size_t len;
    char *data = tempdir_slurp(trio_path(t, file), &len);
    struct stat st;
    cr_assert_eq(stat(trio_path(t, file), &st), 0);
    data[len / 2] ^= 1;
    tempdir_spill(trio_path(t, file), data, len);
    cr_assert_eq(chmod(trio_path(t, file), st.st_mode & 0777), 0);
    run(t, &s, role);
    cr_expect_eq(s.status, 1);
    has_line(&s, "fail", hop, sentence);
    data[len / 2] ^= 1;
    tempdir_spill(trio_path(t, file), data, len);
    cr_assert_eq(chmod(trio_path(t, file), st.st_mode & 0777), 0);
    free(data);
    shell_free(&s);
}

static void opened(const struct trio *t, const char *file, const char *role, const char *hop)
{
    struct shell s;
    cr_assert_eq(chmod(trio_path(t, file), 0644), 0);
    run(t, &s, role);
    cr_expect_eq(s.status, 1);
    has_line(&s, "fail", hop, "open to others");
    cr_assert_eq(chmod(trio_path(t, file), 0600), 0);
    shell_free(&s);
}

static void all_well(const struct trio *t, const char *role, const char *const hops[])
{
    struct shell s;
    run(t, &s, role);
    cr_expect_eq(s.status, 0, "%s: %s%s", role, s.out, s.err);
    cr_expect_null(strstr(s.out, "fail "), "%s", s.out);
    cr_expect_not_null(strstr(s.out, "nothing failed"), "%s", s.out);
    for (const char *const *h = hops; *h != NULL; h++)
        has_line(&s, "ok", *h, "");
    shell_free(&s);
}

static void as_json(const struct trio *t)
{
    struct shell s;
    struct err err;
    struct json_doc *doc;
    int64_t failed = -1;
    const char *hop, *state, *text;
    trio_user(t, &s, SHELL_ARGV("doctor", "--json"));
    cr_expect_eq(s.status, 0);
    cr_expect_eq(strchr(s.out, '\n'), s.out + strlen(s.out) - 1, "one line: %s", s.out);
    cr_assert_eq(json_parse(&doc, s.out, strlen(s.out), false, "doctor", &err), 0, "%s", err.text);
    const struct json *checks = json_get(json_root(doc), "checks");
    cr_expect_geq(json_count(checks), 10);
    for (const struct json *c = json_first(checks); c != NULL; c = json_next(c))
        cr_expect(json_get_str(doc, c, "hop", &hop, &err) == 0 && json_get_str(doc, c, "state", &state, &err) == 0 &&
                      json_get_str(doc, c, "text", &text, &err) == 0,
                  "%s", err.text);
    cr_expect_eq(json_get_int(doc, json_root(doc), "failed", 0, 99, &failed, &err), 0, "%s", err.text);
    cr_expect_eq(failed, 0);
    json_free(doc);
    shell_free(&s);
}

static void users_hops(struct trio *t)
{
    const char *at = t->users_at;
    finds(t, "user", "\"threads\":1", "\"colour\":1", "fail", "config", "unknown key 'colour'");
    finds(t, "user", "{\"role\"", "[\"role\"", "fail", "config", "not valid JSON");
    finds(t, "user", "\"threads\":1", "\"gateway\":{\"listn\":\"x\"}", "fail", "config", "unknown key 'listn'");
    finds(t, "user", "\"threads\":1", "\"verify_rate\":2", "fail", "config", "'verify_rate': expected 0 to 1, found 2");
    finds(t, "user", "\"threads\":1", "\"threads\":1000", "warn", "threads", "1000 are asked for");
    opened(t, "user.id/identity.key", "user", "identity");
    finds(t, "user", at, "tcp://no-such-host.invalid:7401", "fail", "server dns", "no-such-host.invalid");
    finds(t, "user", at, "tcp://127.0.0.1:1", "fail", "server tcp", "Connection refused");
    finds(t, "user", at, "127.0.0.1:7401", "fail", "config", "field 'endpoint': address \"127.0.0.1:7401\"");
    finds(t, "user", "user.id", "stranger.id", "fail", "server handshake", "does not know this key");
    finds(t, "user", "@server.id", "@model_dev.id", "fail", "server handshake", "does not hold the key");
    finds(t, "user", t->grants_at, "tcp://127.0.0.1:1", "warn", "model_dev tcp", "Connection refused"); /* joined already */
    finds(t, "user", "user.grant", "nowhere", "fail", "grant", "there is no grant here");
    opened(t, "user.grant/keys.bin", "user", "grant");
    flipped(t, "user.grant/keys.bin", "user", "grant", "damaged");
}

static void developers_hops(struct trio *t)
{
    opened(t, "model_dev.id/identity.key", "model_dev", "identity");
    opened(t, "protected/context.key", "model_dev", "context key");
    flipped(t, "protected/context.key", "model_dev", "context key", "context.key");
    flipped(t, "protected/package/model.safetensors", "model_dev", "package", "model.safetensors");
    finds(t, "model_dev", "model_dev.id", "stranger.id", "fail", "package", "signature");
    finds(t, "model_dev", t->model, "nowhere", "fail", "model", "nowhere");
    finds(t, "model_dev", "[\"@user.id/identity.pub\",\"@other.id/identity.pub\"]", "[]", "warn", "users", "allow is empty");
    finds(t, "model_dev", t->developers_at, t->users_at, "fail", "server handshake", "does not know this key");
    finds(t, "model_dev", "tcp://127.0.0.1:*", "tcp://203.0.113.1:7403", "fail", "listen", "203.0.113.1");
}

static void servers_hops(struct trio *t)
{
    flipped(t, "server.package/model.safetensors", "server", "package", "model.safetensors");
    finds(t, "server", "[\"@model_dev.id/identity.pub\"]", "[\"@other.id/identity.pub\"]", "fail", "package", "signed by none");
    finds(t, "server", "[\"@model_dev.id/identity.pub\"]", "[]", "fail", "package", "signed by none");
    finds(t, "server", "\"limits\":{", "\"limits\":{\"memory_mb\":16000000,", "fail", "memory", "are needed at most");
    finds(t, "server", "\"limits\":{", "\"limits\":{\"weights_mb\":1,", "fail", "weights", "limits.weights_mb allows");
    finds(t, "server", "\"package\":\"server.package\"", "\"package\":\"nowhere/package\"", "warn", "package", "nothing can be served yet");
    finds(t, "server", "tcp://127.0.0.1:*\",\"package", "tcp://localhorst:1\",\"package", "fail", "listen_admin", "not an address");
}

/* The server has a package that the grant is not for. */
static void another_package(struct trio *t)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", t->model, "--out", trio_path(t, "again"), "--identity",
                             trio_path(t, "model_dev.id"), "--head", "user", "--expires", "5"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    finds(t, "model_dev", "\"protected\":\"protected\"", "\"protected\":\"again\"", "warn", "server package", "another package");
    finds(t, "model_dev", "\"protected\":\"protected\"", "\"protected\":\"again\"", "warn", "package expiry", "the package expires on 20");
    shell_run(&s, SHELL_ARGV("stip-model-dev", "push", "--protected", trio_path(t, "again"), "--identity", trio_path(t, "model_dev.id"), "--to",
                             t->developers_at, "--key", trio_path(t, "server.id/identity.pub")));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    trio_wait_serving(t);
    run(t, &s, "user");
    cr_expect_eq(s.status, 1);
    has_line(&s, "fail", "server package", "join again");
    shell_free(&s);
}

Test(doctor, each_broken_hop_is_the_line_that_says_so)
{
    struct trio t;
    struct shell s;
    trio_open_limited(&t, DEMO_LM, "user", "\"overlap_s\":0"); /* one package at a time */
    shell_run(&s, SHELL_ARGV("stip-user", "keygen", "--out", trio_path(&t, "stranger.id")));
    shell_free(&s);
    all_well(&t, "user", SHELL_ARGV("identity", "config", "grant", "server dns", "server tcp", "server handshake", "server key",
                                    "server package", "server session", "model_dev handshake", "disk", "threads"));
    all_well(&t, "model_dev", SHELL_ARGV("identity", "config", "users", "package", "context key", "model", "listen", "server handshake",
                                         "server key", "server package", "disk", "threads"));
    all_well(&t, "server", SHELL_ARGV("identity", "config", "users", "developers", "listen", "listen_admin", "package", "memory", "disk",
                                      "threads"));
    as_json(&t);
    users_hops(&t);
    developers_hops(&t);
    servers_hops(&t);
    another_package(&t);
    finds(&t, "server", "\"limits\":{", "\"limits\":{", "warn", "package expiry", "the package expires on 20");
    trio_close(&t);
}

Test(doctor, what_does_not_fit_the_machine_fails)
{
    struct doctor d = {0};
    struct err err = {0};
    doctor_disk(&d, "/tmp/a/b/c", UINT64_MAX);
    cr_expect_eq(d.count[DOCTOR_FAIL], 1);
    doctor_memory(&d, UINT64_MAX - 1);
    cr_expect_eq(d.count[DOCTOR_FAIL], 2);
    doctor_expiry(&d, "package expiry", "the package", 1, "rotate");
    cr_expect_eq(d.count[DOCTOR_FAIL], 3);
    doctor_expiry(&d, "package expiry", "the package", 0, "rotate"); /* never: no line */
    doctor_disk(&d, "/tmp/a/b/c", 0);
    doctor_memory(&d, 0);
    doctor_threads(&d, 0);
    cr_expect_eq(d.count[DOCTOR_OK], 3);
    cr_expect_eq(doctor_end(&d, &err), -1);
    cr_expect_eq(err.code, ERR_CHECK);
    cr_expect_str_eq(err.text, "3 of 6 checks failed");
}
