/* model_dev/serve: allowed users get the grant, others get nothing, servers get the package; and the program around it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "model_dev/grant.h"
#include "model_dev/serve.h"
#include "tests/support/developer.h"
#include "tests/support/installer.h"
#include "tests/support/tempdir.h"
#include "transport/bundle.h"
#include "transport/client.h"

#define WAIT_MS 60000

static char dir[FILE_PATH_MAX], config[FILE_PATH_MAX], endpoint[256];
static struct err err;
static struct developer dev;
static struct identity *alice, *eve, *server;
static struct transport *transport;
static struct channel *opened[3]; /* closed by teardown, also after a failure: transport_close waits for them */
static struct installer installer;
static pid_t pid;

static const struct synth_shape shape = {.D = 64, .H = 4, .L = 1, .V = 9000}; /* a grant of three chunks */

static void setup(void)
{
    tempdir_make(dir);
    (void)snprintf(config, sizeof config, "%s", tempdir_path(dir, "model_dev.json"));
    developer_make(&dev, dir, "LlamaForCausalLM", &shape, 3, NULL);
    cr_assert_eq(identity_generate(&alice, &err), 0, "%s", err.text);
    cr_assert_eq(identity_generate(&eve, &err), 0, "%s", err.text);
    cr_assert_eq(identity_generate(&server, &err), 0, "%s", err.text);
    cr_assert_eq(identity_save(dev.identity, tempdir_path(dir, "dev.id"), &err), 0, "%s", err.text);
}

static void stop(void)
{
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    pid = 0;
}

static void teardown(void)
{
    for (size_t i = 0; i < 3; i++)
        channel_close(opened[i]);
    transport_close(transport);
    stop();
    installer_stop(&installer);
    identity_free(alice);
    identity_free(eve);
    identity_free(server);
    developer_free(&dev);
    tempdir_remove(dir);
}

TestSuite(model_dev_serve, .init = setup, .fini = teardown);

/* Alice is allowed; `peers` is JSON. */
static void write_config(const char *peers)
{
    char text[2048], user[PEER_KEY_TEXT];
    struct peer_key key = identity_public(alice);
    peer_key_text(&key, user);
    int n = snprintf(text, sizeof text,
                     "{ // paths are relative to this file\n \"role\": \"model_dev\", \"identity\": \"dev.id\", \"protected\": \"out\",\n"
                     " \"model\": \"plain\", \"listen\": \"tcp://127.0.0.1:*\", \"allow\": [\"%s\"], \"peers\": %s }\n",
                     user, peers);
    tempdir_spill(config, text, (size_t)n);
}

/* Serves in a process of its own until killed. */
static void start(const char *peers)
{
    int up[2];
    write_config(peers);
    cr_assert_eq(pipe(up), 0);
    pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        struct dev_config c;
        struct serve *s = NULL;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (dev_config_load(&c, config, &err) != 0 || serve_open(&s, &c, &err) != 0) {
            (void)fprintf(stderr, "serve: %s\n", err.text);
            _exit(1);
        }
        if (write(up[1], serve_endpoint(s), strlen(serve_endpoint(s)) + 1) < 0)
            _exit(1);
        bool again;
        _exit(serve_run(s, -1, &again, &err) == 0 ? 0 : 1);
    }
    close(up[1]);
    cr_assert(read(up[0], endpoint, sizeof endpoint - 1) > 0, "serve did not start");
    close(up[0]);
    cr_assert_eq(transport_open(&transport, &err), 0, "%s", err.text);
}

static struct channel *greet(size_t slot)
{
    struct msg_hello_ok ok;
    struct peer_key key = identity_public(dev.identity);
    cr_assert_eq(channel_open(&opened[slot], transport, endpoint, &key, alice, WAIT_MS, &err), 0, "%s", err.text);
    cr_assert_eq(client_hello(opened[slot], dev.release.context, &ok, &err), 0, "%s", err.text);
    cr_assert_eq(ok.manifest_bytes, 0);
    return opened[slot];
}

/* What join does. `to` must not exist. */
static int join(struct channel *ch, const char *to)
{
    struct msg_offer offer;
    struct blob_list list = {0};
    struct blob_sink *sink = NULL;
    char *text = NULL;
    size_t len;
    int rc = client_grant(ch, NULL, &offer, &err);
    if (rc == 0)
        rc = client_manifest(ch, offer.manifest_bytes, &text, &len, &err);
    if (rc == 0)
        rc = blob_list_decode(&list, (const uint8_t *)text, len, &err);
    if (rc == 0)
        rc = blob_sink_open(&sink, to, &list, &err);
    if (rc == 0)
        rc = client_pull(ch, sink, NULL, NULL, blob_list_bytes(&list), &err);
    if (rc == 0)
        rc = blob_sink_install(sink, &err);
    blob_sink_close(sink);
    blob_list_free(&list);
    free(text);
    return rc;
}

/* Catches: an unsealed bundle signed by nobody, a list that does not match the file, a context that is not announced. */
Test(model_dev_serve, an_allowed_user_pulls_a_grant_that_the_developer_signed)
{
    start("{}");
    struct channel *ch = greet(0);
    cr_assert_eq(join(ch, tempdir_path(dir, "got")), 0, "%s", err.text);
    cr_assert_eq(bundle_unpack(tempdir_path(dir, "got/grant.bundle"), tempdir_path(dir, "grant"), GRANT_KIND, dev.identity->sign_pub,
                               &err), 0, "%s", err.text);
    cr_assert(file_exists(tempdir_path(dir, "grant/keys.bin")));
    cr_assert(tempdir_same(tempdir_path(dir, "grant/manifest.json"), tempdir_path(dir, "out/package/manifest.json")));
    cr_assert_eq(join(ch, tempdir_path(dir, "again")), 0, "the same connection may ask twice: %s", err.text);
}

Test(model_dev_serve, an_unknown_user_does_not_get_past_the_handshake)
{
    struct channel *ch = NULL;
    struct peer_key key = identity_public(dev.identity);
    start("{}");
    cr_assert_neq(channel_open(&ch, transport, endpoint, &key, eve, WAIT_MS, &err), 0);
    cr_assert_eq(err.code, ERR_AUTH, "%s", err.text);
}

Test(model_dev_serve, a_grant_of_another_context_is_refused)
{
    struct msg_offer offer;
    uint8_t other[32];
    memcpy(other, dev.release.context, sizeof other);
    other[31] ^= 1;
    start("{}");
    struct channel *ch = greet(0);
    cr_assert_neq(client_grant(ch, other, &offer, &err), 0);
    cr_assert_eq(channel_code(ch), WIRE_WRONG_CONTEXT, "%s", err.text);
    cr_assert_eq(join(ch, tempdir_path(dir, "got")), 0, "and the connection lives: %s", err.text);
}

/* Two connections take turns; the answers do not mix. */
Test(model_dev_serve, users_are_served_side_by_side)
{
    struct channel *ch[3];
    struct msg_offer offer;
    struct frame f, get;
    start("{}");
    for (size_t i = 0; i < 3; i++) {
        ch[i] = greet(i);
        cr_assert_eq(client_grant(ch[i], NULL, &offer, &err), 0, "%s", err.text);
    }
    for (uint32_t i = 0; i < 3; i++) {
        get = msg_get_encode(0, i);
        cr_assert_eq(channel_send(ch[i], &get, &err), 0, "%s", err.text);
    }
    for (uint32_t i = 3; i > 0; i--) {
        cr_assert_eq(channel_expect(ch[i - 1], WIRE_CHUNK, &f, clock_ms() + WAIT_MS, &err), 0, "%s", err.text);
        cr_assert_eq(msg_chunk_decode(&f).chunk, i - 1);
    }
}

Test(model_dev_serve, questions_out_of_turn_are_refused_and_harmless)
{
    struct frame f, get = msg_get_encode(0, 0), nowhere = msg_get_encode(0, 4000);
    struct msg_offer offer;
    start("{}");
    struct channel *ch = greet(0);
    get = msg_done_encode();
    cr_assert_eq(channel_send(ch, &get, &err), 0);
    cr_assert_neq(channel_expect(ch, WIRE_CHUNK, &f, clock_ms() + WAIT_MS, &err), 0);
    cr_assert_eq(channel_code(ch), WIRE_BAD_PHASE, "%s", err.text);
    cr_assert_eq(client_grant(ch, NULL, &offer, &err), 0, "%s", err.text);
    cr_assert_eq(channel_send(ch, &nowhere, &err), 0);
    cr_assert_neq(channel_expect(ch, WIRE_CHUNK, &f, clock_ms() + WAIT_MS, &err), 0);
    cr_assert_eq(channel_code(ch), WIRE_UNKNOWN_FILE, "%s", err.text);
    cr_assert_eq(join(ch, tempdir_path(dir, "got")), 0, "%s", err.text);
}

static bool ends(pid_t child)
{
    for (uint64_t end = clock_ms() + WAIT_MS; clock_ms() < end;) {
        struct timespec wait = {.tv_nsec = 20000000};
        if (waitpid(child, NULL, WNOHANG) == child)
            return true;
        (void)nanosleep(&wait, NULL);
    }
    return false;
}

static bool comes(const char *path)
{
    for (uint64_t end = clock_ms() + WAIT_MS; clock_ms() < end;) {
        struct timespec wait = {.tv_nsec = 20000000};
        if (file_exists(path))
            return true;
        (void)nanosleep(&wait, NULL);
    }
    return false;
}

static const char *peers_of(const struct installer *s)
{
    static char text[512];
    char key[PEER_KEY_TEXT];
    peer_key_text(&s->peer.key, key);
    (void)snprintf(text, sizeof text, "{\"servers\": [{\"endpoint\": \"%s\", \"key\": \"%s\"}]}", s->endpoint, key);
    return text;
}

Test(model_dev_serve, the_package_is_pushed_to_the_servers_of_the_config)
{
    struct peer_key known = identity_public(dev.identity);
    installer_start(&installer, tempdir_path(dir, "package"), server, &known, 1, 0);
    start(peers_of(&installer));
    cr_assert(comes(tempdir_path(dir, "package/manifest.json")));
}

/* The first server dies in the middle; the push is tried again until the package is there. */
Test(model_dev_serve, a_push_that_fails_is_tried_again)
{
    struct peer_key known = identity_public(dev.identity);
    struct installer first;
    installer_start(&first, tempdir_path(dir, "package"), server, &known, 1, 1);
    start(peers_of(&first));
    cr_assert(ends(first.pid), "nobody pushed");
    cr_assert_not(file_exists(tempdir_path(dir, "package")));
    transport_close(transport); /* fork() wants a process without threads */
    transport = NULL;
    installer_start_at(&installer, first.endpoint, tempdir_path(dir, "package"), server, &known, 1, 0);
    cr_assert(comes(tempdir_path(dir, "package/manifest.json")));
}

/* ------------------------------------------------------------------ bad starts */

static void refused(enum err_code code, const char *needle)
{
    struct dev_config c = {0};
    struct serve *s = NULL;
    int rc = dev_config_load(&c, config, &err);
    if (rc == 0)
        rc = serve_open(&s, &c, &err);
    cr_assert_neq(rc, 0);
    cr_assert_eq(err.code, code, "%s", err.text);
    cr_assert_not_null(strstr(err.text, needle), "%s", err.text);
    dev_config_close(&c);
    cr_assert_not(file_exists(tempdir_path(dir, "out/serve.tmp/grant")));
}

Test(model_dev_serve, configs_that_cannot_work_are_refused_by_name)
{
    static const struct {
        const char *text, *needle;
        enum err_code code;
    } bad[] = {
        {"{\"role\":\"server\",\"identity\":\"dev.id\",\"protected\":\"out\"}", "role", ERR_USAGE},
        {"{\"role\":\"model_dev\",\"identity\":\"dev.id\",\"protectd\":\"out\"}", "protectd", ERR_USAGE},
        {"{\"role\":\"model_dev\",\"identity\":\"dev.id\"}", "protected", ERR_USAGE},
        {"{\"role\":\"model_dev\",\"identity\":\"dev.id\",\"protected\":\"out\",\"model\":\"plain\"}", "listen", ERR_USAGE},
        {"{\"role\":\"model_dev\",\"identity\":\"dev.id\",\"protected\":\"out\",\"listen\":\"tcp://127.0.0.1:*\"}", "model", ERR_USAGE},
        {"{\"role\":\"model_dev\",\"identity\":\"dev.id\",\"protected\":\"out\",\"peers\":{\"server\":[]}}", "server", ERR_USAGE},
        {"{\"role\":\"model_dev\",\"identity\":\"dev.id\",\"protected\":\"out\",\"peers\":{\"servers\":[{\"endpoint\":\"x\"}]}}",
         "peers.servers[0]", ERR_USAGE},
        {"{\"role\":\"model_dev\",\"identity\":\"dev.id\",\"protected\":\"out\",\"allow\":[\"stip1:abc\"]}", "allow", ERR_USAGE},
        {"{\"role\":\"model_dev\",\"identity\":\"dev.id\",\"protected\":\"nowhere\",\"model\":\"plain\",\"listen\":\"tcp://127.0.0.1:*\"}",
         "there is no package", ERR_INPUT},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tempdir_spill(config, bad[i].text, strlen(bad[i].text));
        refused(bad[i].code, bad[i].needle);
    }
}

static void key_file(const char *name, const struct identity *id)
{
    char path[FILE_PATH_MAX], folder[FILE_PATH_MAX], text[PEER_KEY_TEXT];
    struct peer_key key = identity_public(id);
    peer_key_text(&key, text);
    (void)snprintf(path, sizeof path, "%s", tempdir_path(dir, name));
    cr_assert_eq(file_dir(folder, path, &err), 0);
    cr_assert_eq(file_mkdirs(folder, 0700, &err), 0, "%s", err.text);
    tempdir_spill(path, text, strlen(text));
}

/* The files in configs/ are read as they stand, with the keys where they say. */
static void example(const char *name, const char *server_endpoint)
{
    struct dev_config c;
    size_t len;
    char *text = tempdir_slurp(name, &len);
    tempdir_spill(config, text, len);
    free(text);
    cr_assert_eq(dev_config_load(&c, config, &err), 0, "%s", err.text);
    cr_assert_eq(c.user_count, 1);
    cr_assert_eq(c.server_count, 1);
    cr_assert_str_eq(c.servers[0].endpoint, server_endpoint);
    cr_assert(c.listen != NULL && c.model[0] != '\0' && c.protected[0] != '\0');
    dev_config_close(&c);
}

Test(model_dev_serve, the_example_configs_are_read)
{
    cr_assert_eq(identity_save(dev.identity, tempdir_path(dir, "model_dev.id"), &err), 0, "%s", err.text);
    key_file("users/alice.pub", alice);
    key_file("server.pub", server);
    key_file("server.id/identity.pub", server);
    key_file("user.id/identity.pub", alice);
    example(STIP_SOURCE_DIR "/configs/model_dev.json", "tcp://10.0.0.2:7402");
    example(STIP_SOURCE_DIR "/configs/demo/model_dev.json", "tcp://127.0.0.1:7402");
}

Test(model_dev_serve, a_folder_is_served_once_at_a_time)
{
    start("{}");
    struct dev_config c = {0};
    struct serve *s = NULL;
    cr_assert_eq(dev_config_load(&c, config, &err), 0, "%s", err.text);
    cr_assert_neq(serve_open(&s, &c, &err), 0);
    cr_assert_eq(err.code, ERR_USAGE, "%s", err.text);
    cr_assert(file_exists(tempdir_path(dir, "out/serve.tmp/grant/grant.bundle")), "the first one's grant is left alone");
    stop();
    cr_assert_eq(serve_open(&s, &c, &err), 0, "what a killed serve left is no obstacle: %s", err.text);
    serve_close(s);
    cr_assert_not(file_exists(tempdir_path(dir, "out/serve.tmp")));
    dev_config_close(&c);
}

/* ------------------------------------------------------------------ the program */

Test(model_dev_serve, the_program_says_ready_and_ends_cleanly_on_sigterm)
{
    int up[2], status = 0;
    char line[512] = "";
    size_t n = 0;
    write_config("{\"servers\": [{\"endpoint\": \"tcp://127.0.0.1:1\", "
                 "\"key\": \"stip1:sUD7g5cNO1JaBu_I24o9gcz8sqD948FZ8iMbZ2bInAqbYTXb0nEuStChhJDqe0fJuC-SbfaVoXKMqmkI0-HQJA\"}]}");
    cr_assert_eq(pipe(up), 0);
    pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        (void)dup2(up[1], STDOUT_FILENO);
        (void)execl(STIP_BIN_DIR "/stip-model-dev", "stip-model-dev", "serve", "--config", config, "--json", (char *)NULL);
        _exit(127);
    }
    close(up[1]);
    for (ssize_t got; n < sizeof line - 1 && strchr(line, '\n') == NULL && (got = read(up[0], line + n, sizeof line - 1 - n)) > 0;)
        n += (size_t)got;
    close(up[0]);
    cr_assert_eq(strncmp(line, "{\"event\":\"ready\",\"endpoint\":\"tcp://127.0.0.1:", 45), 0, "%s", line);
    cr_assert_eq(kill(pid, SIGTERM), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    pid = 0;
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
    cr_assert_not(file_exists(tempdir_path(dir, "out/serve.tmp")), "the grant is left lying about");
}
