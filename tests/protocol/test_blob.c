/* Folders that travel: whole or not at all, whatever happens on the way. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/tempdir.h"
#include "tests/support/toy_server.h"
#include "transport/client.h"

static struct err err;
static char dir[FILE_PATH_MAX], source_dir[FILE_PATH_MAX];
static struct blob_list list;
static const struct {
    const char *name;
    size_t size;
} FILES[] = {{"config.json", 700}, {"empty", 0}, {"model.safetensors", 5 * WIRE_PAYLOAD_MAX + 3}, {"exact", 3 * WIRE_PAYLOAD_MAX}};
#define FILE_COUNT (sizeof FILES / sizeof *FILES)
#define CHUNKS (1u + 6u + 3u)

/* A small generator: the tests must not depend on the C library's rand(), which transport_open seeds. */
static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void make(void)
{
    tempdir_make(dir);
    cr_assert_eq(file_join(source_dir, dir, "source", &err), 0);
    cr_assert_eq(mkdir(source_dir, 0700), 0);
    for (size_t i = 0; i < FILE_COUNT; i++) {
        struct blob_file f;
        uint8_t *data = malloc(FILES[i].size + 1);
        uint32_t state = (uint32_t)i + 1;
        for (size_t k = 0; k < FILES[i].size; k++)
            data[k] = (uint8_t)next_random(&state);
        tempdir_spill(tempdir_path(source_dir, FILES[i].name), data, FILES[i].size);
        free(data);
        cr_assert_eq(blob_file_hash(&f, source_dir, FILES[i].name, &err), 0, "%s", err.text);
        cr_assert_eq(blob_list_add(&list, &f, &err), 0, "%s", err.text);
    }
}

static void drop(void)
{
    blob_list_free(&list);
    tempdir_remove(dir);
}

TestSuite(blob, .init = make, .fini = drop);

static void expect_whole(const char *name)
{
    char folder[FILE_PATH_MAX];
    cr_assert_eq(file_join(folder, dir, name, &err), 0);
    for (size_t i = 0; i < FILE_COUNT; i++)
        cr_expect(tempdir_same(tempdir_path(source_dir, FILES[i].name), tempdir_path(folder, FILES[i].name)), "%s", FILES[i].name);
    cr_expect_eq(tempdir_count(folder), (int)FILE_COUNT);
}

/* ------------------------------------------------------------------ without sockets */

/* Moves at most `limit` chunks; the code of the first failure. */
static enum wire_code move(struct blob_source *source, struct blob_sink *sink, unsigned limit, unsigned *moved)
{
    struct frame get, chunk;
    while (*moved < limit && blob_sink_next(sink, &get)) {
        enum wire_code code = blob_source_answer(source, &get, &chunk, &err);
        if (code == WIRE_OK)
            code = blob_sink_take(sink, &chunk, &err);
        if (code != WIRE_OK)
            return code;
        ++*moved;
    }
    return WIRE_OK;
}

static struct blob_source *open_source(void)
{
    struct blob_source *s = NULL;
    cr_assert_eq(blob_source_open(&s, source_dir, &list, (const uint8_t *)"manifest", 8, &err), 0, "%s", err.text);
    return s;
}

static struct blob_sink *open_sink(void)
{
    struct blob_sink *s = NULL;
    bool done = false;
    cr_assert_eq(blob_sink_open(&s, tempdir_path(dir, "package"), &list, &err), 0, "%s", err.text);
    while (!done)
        cr_assert_eq(blob_sink_check(s, 3, &done, &err), 0, "%s", err.text);
    return s;
}

/* Stops after every number of chunks, tears a byte, goes on. Mutation: check_one that trusts what is there. */
Test(blob, any_interruption_is_taken_up_again)
{
    struct blob_source *source = open_source();
    for (unsigned stop = 0; stop <= CHUNKS; stop++) {
        unsigned moved = 0, again = 0;
        struct blob_sink *sink = open_sink();
        cr_assert_eq(move(source, sink, stop, &moved), WIRE_OK, "%s", err.text);
        blob_sink_close(sink);
        cr_expect_not(file_exists(tempdir_path(dir, "package")), "not before everything is there");
        int fd = open(tempdir_path(dir, "package.part/model.safetensors"), O_RDWR);
        uint8_t byte = 0;
        cr_assert(fd >= 0 && pread(fd, &byte, 1, 2000000) == 1);
        byte ^= 1;
        cr_assert_eq(pwrite(fd, &byte, 1, 2000000), 1);
        close(fd);
        sink = open_sink();
        cr_assert_eq(move(source, sink, 100, &again), WIRE_OK, "%s", err.text);
        cr_expect(again <= CHUNKS - moved + 1, "stop %u: %u moved, %u again", stop, moved, again);
        cr_expect(stop < 3 || again > CHUNKS - moved, "the torn chunk must come again");
        cr_assert(blob_sink_complete(sink));
        cr_assert_eq(blob_sink_install(sink, &err), 0, "%s", err.text);
        blob_sink_close(sink);
        expect_whole("package");
        cr_assert_eq(file_remove_tree(tempdir_path(dir, "package"), &err), 0);
    }
    blob_source_close(source);
}

Test(blob, at_most_eight_chunks_are_asked_for_at_once)
{
    struct blob_sink *sink = open_sink();
    struct frame f;
    unsigned n = 0;
    while (blob_sink_next(sink, &f))
        n++;
    cr_expect_eq(n, WIRE_CREDIT);
    blob_sink_forget(sink);
    cr_expect(blob_sink_next(sink, &f), "after a lost connection they are asked for again");
    cr_expect_eq(msg_get_decode(&f).chunk, 0);
    blob_sink_close(sink);
}

/* Mutation: blob_sink_take without the hash. */
Test(blob, one_bit_flipped_anywhere_is_noticed_and_named)
{
    struct blob_source *source = open_source();
    struct blob_sink *sink = open_sink();
    struct frame get, chunk;
    while (blob_sink_next(sink, &get)) {
        cr_assert_eq(blob_source_answer(source, &get, &chunk, &err), WIRE_OK);
        if (chunk.h.arg[0] == 2 && chunk.h.arg[1] == 4)
            break;
        cr_assert_eq(blob_sink_take(sink, &chunk, &err), WIRE_OK);
    }
    ((uint8_t *)(uintptr_t)chunk.payload)[777777] ^= 0x80;
    cr_assert_eq(blob_sink_take(sink, &chunk, &err), WIRE_BAD_CHUNK);
    cr_expect(strstr(err.text, "model.safetensors") != NULL && strstr(err.text, "chunk 5 of 6") != NULL, "%s", err.text);
    cr_expect_not(blob_sink_complete(sink));
    cr_expect_eq(blob_sink_install(sink, &err), -1);
    ((uint8_t *)(uintptr_t)chunk.payload)[777777] ^= 0x80;
    cr_expect_eq(blob_sink_take(sink, &chunk, &err), WIRE_BAD_FRAME, "not asked for any more");
    unsigned moved = 0;
    cr_assert_eq(move(source, sink, 100, &moved), WIRE_OK, "it can be asked for again: %s", err.text);
    cr_expect(blob_sink_complete(sink));
    blob_sink_close(sink);
    blob_source_close(source);
}

static void limit_files(rlim_t bytes, struct rlimit *old)
{
    struct rlimit r;
    cr_assert_neq(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &r), 0);
    if (old != NULL)
        *old = r;
    r.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* The file size limit stands for a full disk: both the reservation and a later write meet it. */
Test(blob, a_full_disk_is_named_leaves_nothing_and_can_be_resumed)
{
    struct blob_source *source = open_source();
    struct blob_sink *sink = NULL;
    struct rlimit old;
    unsigned moved = 0;
    limit_files(2 * WIRE_PAYLOAD_MAX, &old);
    cr_assert_eq(blob_sink_open(&sink, tempdir_path(dir, "package"), &list, &err), -1);
    cr_expect_eq(err.code, ERR_INTERNAL);
    cr_expect(strstr(err.text, "model.safetensors") != NULL && strstr(err.text, "free some space") != NULL, "%s", err.text);
    cr_expect_not(file_exists(tempdir_path(dir, "package")));
    limit_files(old.rlim_cur, NULL);
    sink = open_sink();
    limit_files(2 * WIRE_PAYLOAD_MAX, NULL);
    cr_expect_eq(move(source, sink, 100, &moved), WIRE_DISK_FULL);
    cr_expect(strstr(err.text, "cannot write") != NULL, "%s", err.text);
    cr_expect_not(file_exists(tempdir_path(dir, "package")));
    limit_files(old.rlim_cur, NULL);
    blob_sink_forget(sink);
    cr_expect_eq(move(source, sink, 100, &moved), WIRE_OK, "%s", err.text);
    cr_expect_eq(blob_sink_install(sink, &err), 0, "%s", err.text);
    expect_whole("package");
    blob_sink_close(sink);
    blob_source_close(source);
}

Test(blob, what_another_attempt_left_does_not_become_part_of_it)
{
    struct blob_source *source = open_source();
    unsigned moved = 0;
    cr_assert_eq(mkdir(tempdir_path(dir, "package.part"), 0700), 0);
    tempdir_spill(tempdir_path(dir, "package.part/stranger"), "x", 1);
    uint8_t *longer = calloc(4, WIRE_PAYLOAD_MAX);
    tempdir_spill(tempdir_path(dir, "package.part/exact"), longer, 4 * (size_t)WIRE_PAYLOAD_MAX);
    free(longer);
    struct blob_sink *sink = open_sink();
    cr_assert_eq(move(source, sink, 100, &moved), WIRE_OK, "%s", err.text);
    cr_assert_eq(blob_sink_install(sink, &err), 0, "%s", err.text);
    expect_whole("package");
    blob_sink_close(sink);
    cr_expect_eq(blob_sink_open(&sink, tempdir_path(dir, "package"), &list, &err), -1);
    cr_expect(strstr(err.text, "exists already") != NULL, "%s", err.text);
    blob_source_close(source);
}

Test(blob, a_link_in_the_way_is_not_followed)
{
    struct blob_sink *sink = NULL;
    cr_assert_eq(mkdir(tempdir_path(dir, "package.part"), 0700), 0);
    tempdir_spill(tempdir_path(dir, "victim"), "precious", 8);
    cr_assert_eq(symlink(tempdir_path(dir, "victim"), tempdir_path(dir, "package.part/exact")), 0);
    cr_expect_eq(blob_sink_open(&sink, tempdir_path(dir, "package"), &list, &err), -1);
    size_t n = 0;
    char *text = tempdir_slurp(tempdir_path(dir, "victim"), &n);
    cr_expect(n == 8 && memcmp(text, "precious", 8) == 0);
    free(text);
}

Test(blob, a_source_answers_only_what_it_has)
{
    struct blob_source *source = open_source();
    struct frame chunk;
    static const struct {
        uint32_t file, chunk;
        enum wire_code code;
    } cases[] = {{0, 0, WIRE_OK}, {0, 1, WIRE_UNKNOWN_FILE}, {1, 0, WIRE_UNKNOWN_FILE}, {2, 5, WIRE_OK}, {2, 6, WIRE_UNKNOWN_FILE},
                 {4, 0, WIRE_UNKNOWN_FILE}, {BLOB_MANIFEST, 0, WIRE_OK}, {BLOB_MANIFEST, 1, WIRE_UNKNOWN_FILE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct frame get = msg_get_encode(cases[i].file, cases[i].chunk);
        cr_expect_eq(blob_source_answer(source, &get, &chunk, &err), cases[i].code, "case %zu", i);
    }
    cr_assert_eq(truncate(tempdir_path(dir, "source/exact"), 100), 0);
    struct frame get = msg_get_encode(3, 2);
    cr_expect_eq(blob_source_answer(source, &get, &chunk, &err), WIRE_INTERNAL);
    cr_expect(strstr(err.text, "exact") != NULL, "%s", err.text);
    blob_source_close(source);
}

/* Mutations: pieces in any order, pieces that nobody asked for, a length that is not the piece's, a size that is not bounded. */
Test(blob, a_manifest_comes_piece_by_piece_in_order)
{
    enum { PIECES = 12 };
    const uint64_t size = (PIECES - 1) * (uint64_t)WIRE_PAYLOAD_MAX + 5;
    struct blob_memory m = {0};
    struct frame get, chunk;
    uint8_t *bytes = malloc(size);
    unsigned asked = 0, taken = 0;
    cr_assert_not_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i / WIRE_PAYLOAD_MAX * 3 + i);
    cr_expect_eq(blob_memory_open(&m, 0, &err), -1);
    cr_expect_eq(blob_memory_open(&m, BLOB_MANIFEST_MAX + 1, &err), -1);
    cr_assert_eq(blob_memory_open(&m, size, &err), 0, "%s", err.text);
    chunk = msg_chunk_encode(BLOB_MANIFEST, 0, bytes, WIRE_PAYLOAD_MAX);
    cr_expect_eq(blob_memory_take(&m, &chunk, &err), WIRE_BAD_FRAME, "not asked for");
    while (!blob_memory_complete(&m)) {
        while (blob_memory_next(&m, &get))
            cr_expect_eq(msg_get_decode(&get).chunk, asked++);
        cr_expect_leq(asked - taken, WIRE_CREDIT);
        const size_t n = taken == PIECES - 1 ? 5 : WIRE_PAYLOAD_MAX;
        const uint8_t *at = bytes + (size_t)taken * WIRE_PAYLOAD_MAX;
        chunk = msg_chunk_encode(BLOB_MANIFEST, taken + 1, at, n);
        cr_expect_eq(blob_memory_take(&m, &chunk, &err), WIRE_BAD_FRAME, "one is skipped");
        chunk = msg_chunk_encode(0, taken, at, n);
        cr_expect_eq(blob_memory_take(&m, &chunk, &err), WIRE_BAD_FRAME, "of a file");
        chunk = msg_chunk_encode(BLOB_MANIFEST, taken, at, n - 1);
        cr_expect_eq(blob_memory_take(&m, &chunk, &err), WIRE_BAD_FRAME, "too short");
        chunk = msg_chunk_encode(BLOB_MANIFEST, taken, at, n);
        cr_assert_eq(blob_memory_take(&m, &chunk, &err), WIRE_OK, "%s", err.text);
        taken++;
    }
    cr_expect_eq(taken, PIECES);
    cr_expect_eq(memcmp(m.data, bytes, size), 0);
    blob_memory_close(&m);
    free(bytes);
}

Test(blob, a_file_list_comes_back_and_every_cut_is_refused)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    struct blob_list back = {0};
    cr_assert_eq(blob_list_encode(&list, &bytes, &len, &err), 0, "%s", err.text);
    cr_assert_eq(blob_list_decode(&back, bytes, len, &err), 0, "%s", err.text);
    cr_expect_eq(back.count, FILE_COUNT);
    cr_expect_eq(blob_list_bytes(&back), blob_list_bytes(&list));
    cr_expect_eq(memcmp(back.file[2].chunk, list.file[2].chunk, 6 * 32), 0);
    blob_list_free(&back);
    for (size_t n = 0; n < len; n++)
        cr_expect_eq(blob_list_decode(&back, bytes, n, &err), -1, "%zu", n);
    free(bytes);
}

Test(blob, names_that_leave_the_folder_are_refused)
{
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", "/etc/passwd", "a\nb", ".hidden", "config.json"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct blob_file f = {.size = 0};
        (void)snprintf(f.name, sizeof f.name, "%s", bad[i]);
        cr_expect_eq(blob_list_add(&list, &f, &err), -1, "\"%s\"", bad[i]);
    }
    struct blob_file f = {.name = "large", .size = UINT64_MAX};
    cr_expect_eq(blob_list_add(&list, &f, &err), -1);
}

/* ------------------------------------------------------------------ with sockets */

static struct identity *server_id, *user_id;
static struct peer_key server_key, user_key;

static void make_parties(void)
{
    cr_assert_eq(identity_generate(&server_id, &err), 0);
    cr_assert_eq(identity_generate(&user_id, &err), 0);
    server_key = identity_public(server_id);
    user_key = identity_public(user_id);
}

struct killer {
    pid_t pid;
    uint64_t at, seen;
};

static void kill_at(void *arg, uint64_t done, uint64_t total)
{
    struct killer *k = arg;
    (void)total;
    k->seen = done;
    if (k->pid > 0 && done >= k->at) {
        (void)kill(k->pid, SIGKILL);
        (void)waitpid(k->pid, NULL, 0);
        k->pid = 0;
    }
}

/* A receiver in its own process; *port 0 picks one. Only while this process has no threads: a child that inherits a lock
 * somebody else held would wait for it forever. */
static pid_t start_receiver(char endpoint[64])
{
    int ready[2];
    cr_assert_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        static struct toy_config config = {.link = PHASE_ADMIN};
        config.folder = dir;
        struct toy_server *s = toy_server_start(endpoint, server_id, &user_key, 1, &config);
        (void)!write(ready[1], toy_server_endpoint(s), strlen(toy_server_endpoint(s)) + 1);
        for (;;)
            pause();
    }
    close(ready[1]);
    cr_assert_gt(read(ready[0], endpoint, 64), 0);
    close(ready[0]);
    return pid;
}

static int push(const char *endpoint, struct blob_source *source, const struct msg_offer *offer, struct killer *killer)
{
    struct transport *t = NULL;
    struct channel *ch = NULL;
    struct msg_hello_ok ok;
    int rc = transport_open(&t, &err);
    if (rc == 0)
        rc = channel_open(&ch, t, endpoint, &server_key, user_id, 5000, &err);
    if (rc == 0)
        rc = client_hello(ch, NULL, &ok, &err);
    if (rc == 0)
        rc = client_push(ch, offer, source, kill_at, killer, blob_list_bytes(&list), &err);
    channel_close(ch);
    transport_close(t);
    return rc;
}

/* kill -9 of the receiver at random points, 20 times. Mutation: blob_sink_check that finds nothing (then the last attempt
 * sends everything). */
Test(blob, a_receiver_that_is_killed_goes_on_where_it_was)
{
    struct blob_source *source = NULL;
    uint8_t *manifest = NULL;
    size_t len = 0;
    char endpoint[64] = "tcp://127.0.0.1:*";
    uint32_t state = 7;
    make_parties();
    cr_assert_eq(blob_list_encode(&list, &manifest, &len, &err), 0);
    cr_assert_eq(blob_source_open(&source, source_dir, &list, manifest, len, &err), 0);
    struct msg_offer offer = {.manifest_bytes = len, .files = FILE_COUNT};
    pid_t pid = start_receiver(endpoint);
    for (int round = 0; round < 20; round++) {
        struct killer killer = {.pid = pid, .at = next_random(&state) % (2 * WIRE_PAYLOAD_MAX)};
        if (push(endpoint, source, &offer, &killer) == 0)
            break;
        cr_expect_eq(err.code, ERR_PEER, "%s", err.text);
        cr_assert_eq(killer.pid, 0, "the receiver lives and refused: %s", err.text);
        cr_expect_not(file_exists(tempdir_path(dir, "package")));
        pid = start_receiver(endpoint);
    }
    struct killer nobody = {.pid = 0};
    if (!file_exists(tempdir_path(dir, "package")))
        cr_assert_eq(push(endpoint, source, &offer, &nobody), 0, "%s", err.text);
    cr_expect_lt(nobody.seen, blob_list_bytes(&list), "the last attempt started from nothing");
    expect_whole("package");
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    blob_source_close(source);
    free(manifest);
    identity_free(server_id);
    identity_free(user_id);
}

/* The grant link, the receiver being the side that connects; then one bit is flipped on the way. */
Test(blob, a_grant_is_pulled_and_a_flipped_bit_in_it_is_named)
{
    struct transport *t = NULL;
    make_parties();
    cr_assert_eq(transport_open(&t, &err), 0);
    for (unsigned corrupt = 0; corrupt <= 7; corrupt += 7) {
        struct toy_config config = {.link = PHASE_GRANT, .folder = source_dir, .list = &list, .corrupt_chunk = corrupt};
        struct toy_server *s = toy_server_start("tcp://127.0.0.1:*", server_id, &user_key, 1, &config);
        struct channel *ch = NULL;
        struct msg_hello_ok ok;
        struct msg_offer offer;
        struct blob_list got = {0};
        struct blob_sink *sink = NULL;
        char *manifest = NULL;
        size_t len = 0;
        const char *name = corrupt == 0 ? "grant" : "bad";
        char into[FILE_PATH_MAX];
        cr_assert_eq(file_join(into, dir, name, &err), 0);
        cr_assert_eq(channel_open(&ch, t, toy_server_endpoint(s), &server_key, user_id, 5000, &err), 0, "%s", err.text);
        cr_assert_eq(client_hello(ch, NULL, &ok, &err), 0, "%s", err.text);
        cr_assert_eq(client_grant(ch, NULL, &offer, &err), 0, "%s", err.text);
        cr_assert_eq(client_manifest(ch, offer.manifest_bytes, &manifest, &len, &err), 0, "%s", err.text);
        cr_assert_eq(blob_list_decode(&got, (uint8_t *)manifest, len, &err), 0, "%s", err.text);
        cr_assert_eq(blob_sink_open(&sink, into, &got, &err), 0, "%s", err.text);
        int rc = client_pull(ch, sink, NULL, NULL, blob_list_bytes(&got), &err);
        if (corrupt == 0) {
            cr_assert_eq(rc, 0, "%s", err.text);
            cr_assert_eq(blob_sink_install(sink, &err), 0, "%s", err.text);
            expect_whole(name);
        } else {
            cr_assert_eq(rc, -1);
            cr_expect_eq(err.code, ERR_PEER);
            cr_expect(strstr(err.text, "model.safetensors") != NULL && strstr(err.text, "SHA-256") != NULL, "%s", err.text);
            cr_expect_not(file_exists(into));
        }
        blob_sink_close(sink);
        blob_list_free(&got);
        free(manifest);
        channel_close(ch);
        toy_server_stop(s);
    }
    transport_close(t);
    identity_free(server_id);
    identity_free(user_id);
}
