/* server/loader: a package is loaded beside the loop; what does not fit the machine is refused before, with the numbers. */
#include <criterion/criterion.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "model_dev/protect.h"
#include "server/loader.h"
#include "base/memory.h"
#include "tests/support/protected.h"
#include "tests/support/tempdir.h"
#include "transport/msg_error.h"

static char dir[FILE_PATH_MAX];
static struct err err;
static struct settings set;
static struct peer_key developer;
static struct loader *loader;
static int wake_fd;

static void make(void)
{
    const struct synth_shape shape = {.D = 16, .H = 4, .G = 2, .L = 2, .V = 40, .F = 24, .positions = 128};
    tempdir_make(dir);
    protected_synth(dir, "LlamaForCausalLM", &shape, 5);
    struct protect_opts opts = protected_opts(dir, 1);
    struct protect_report report;
    cr_assert_eq(protect_checkpoint(&opts, &report, &err), 0, "%s", err.text);
    memcpy(developer.sign_pub, protected_signer(), sizeof developer.sign_pub);
    set = (struct settings){.developers = &developer,
                            .developer_count = 1,
                            .limits = {.context = 100, .rows = 50, .chunk_rows = 32, .steps = 1 << 20},
                            .kv_bytes = 1 << 20,
                            .kv_dtype = KV_F32};
    (void)snprintf(set.package, sizeof set.package, "%s", tempdir_path(dir, "out/package"));
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    cr_assert_geq(wake_fd, 0);
    cr_assert_eq(loader_open(&loader, &set, wake_fd, &err), 0, "%s", err.text);
}

static void drop(void)
{
    loader_close(loader);
    (void)close(wake_fd);
    tempdir_remove(dir);
}

TestSuite(loader, .init = make, .fini = drop);

/* Waits as the server's loop does. */
static int load(struct loaded *m, size_t held)
{
    struct pollfd p = {.fd = wake_fd, .events = POLLIN};
    int rc = 1;
    uint64_t count;
    cr_assert_eq(loader_start(loader, held, &err), 0, "%s", err.text);
    cr_expect(loader_busy(loader), "until it is taken");
    cr_assert_eq(poll(&p, 1, 30000), 1, "the loop is woken");
    cr_assert_eq(read(wake_fd, &count, sizeof count), (ssize_t)sizeof count);
    cr_assert(loader_take(loader, m, &rc, &err));
    cr_expect(!loader_busy(loader));
    cr_expect(!loader_take(loader, m, &rc, &err), "once");
    return rc;
}

static enum listener_sent record(void *arg, const struct listener_peer *peer, const struct frame *f)
{
    (void)peer;
    struct frame *last = arg;
    static char text[WIRE_TEXT_MAX + 1];
    *last = *f;
    if (f->h.type == WIRE_ERROR) {
        memcpy(text, f->payload, f->h.length);
        text[f->h.length] = '\0';
        last->payload = (const uint8_t *)text;
    }
    return LISTENER_SENT;
}

static void greet(struct core *c)
{
    uint8_t body[MSG_HELLO_BYTES];
    struct msg_hello hello = {.protocol_min = 1, .protocol_max = 1};
    struct listener_peer peer = {.rid = {1}, .rid_len = 1};
    struct frame f = msg_hello_encode(&hello, body);
    core_frame(c, 1, &peer, &f);
}

/* Mutation: a load that the caller waits for. */
Test(loader, users_are_answered_while_a_package_is_loaded)
{
    struct loaded m = {0};
    struct core *c;
    struct frame said = {0};
    int rc = 1;
    struct core_limits limits = set.limits;
    limits.sessions = limits.user_sessions = 4;
    limits.ttl_ms = 1000;
    cr_assert_eq(core_new(&c, &limits, NULL, (struct core_sender){record, &said}, &err), 0, "%s", err.text);
    greet(c);
    cr_expect(said.h.code == WIRE_NO_MODEL && strstr((const char *)said.payload, "has to push") != NULL);
    cr_assert_eq(loader_start(loader, 0, &err), 0, "%s", err.text);
    core_set_loading(c, loader_busy(loader));
    greet(c);
    cr_expect(said.h.code == WIRE_NO_MODEL && strstr((const char *)said.payload, "being loaded") != NULL);
    struct pollfd p = {.fd = wake_fd, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 30000), 1);
    cr_assert(loader_take(loader, &m, &rc, &err));
    cr_assert_eq(rc, 0, "%s", err.text);
    struct core_model model = package_model(m.package, m.pool);
    core_set_model(c, &model);
    greet(c);
    cr_expect_eq(said.h.type, WIRE_HELLO_OK);
    core_free(c);
    loaded_free(&m);
}

static void refused(const char *a, const char *b)
{
    struct loaded m = {0};
    cr_expect_eq(load(&m, 0), -1);
    cr_expect(strstr(err.text, a) != NULL && strstr(err.text, b) != NULL, "%s", err.text);
    cr_expect(m.package == NULL && m.pool == NULL && m.worker == NULL);
}

/* Mutations: limits of sessions not counted; the model that stays meanwhile not counted. */
Test(loader, what_does_not_fit_the_machine_is_refused_before_it_is_loaded_with_the_numbers)
{
    struct loaded m = {0};
    char number[32];
    set.kv_bytes = (size_t)memory_physical();
    (void)snprintf(number, sizeof number, "%zu that", set.kv_bytes + set.limits.steps);
    refused("limits.memory_mb", number);
    cr_expect_eq(err.code, ERR_INTERNAL);
    set.kv_bytes = 1 << 20;
    cr_expect_eq(load(&m, (size_t)memory_physical() - (1 << 20)), -1);
    cr_expect_not_null(strstr(err.text, "served meanwhile"), "%s", err.text);
    set.weights_bytes = 100;
    refused("limits.weights_mb", "100");
    set.weights_bytes = 0;
    set.kv_bytes = 4096;
    refused("limits.memory_mb is 4096", "64 tokens");
    set.kv_bytes = 1 << 20;
    set.kv_dtype = KV_INT8;
    cr_assert_eq(load(&m, 0), 0, "%s", err.text);
    cr_expect(kvpool_dtype(m.pool) == KV_INT8 && kvpool_budget(m.pool) == 1 << 20);
    cr_expect_gt(m.package->bytes, 100);
    loaded_free(&m);
}

Test(loader, a_package_that_is_not_sound_is_refused_and_the_next_one_loaded)
{
    struct loaded m = {0};
    developer.sign_pub[0] ^= 1;
    refused("signed by none", set.package);
    developer.sign_pub[0] ^= 1;
    cr_expect_eq(load(&m, 0), 0, "%s", err.text);
    loaded_free(&m);
    cr_assert_eq(loader_start(loader, 0, &err), 0); /* never taken: the end waits for it and frees it */
}

/* The linker puts this in the place of base/file.c's: one piece of the weights is held until the test goes on. */
static sem_t reached, go_on;
static int hold; /* which one, from 1; 0: none */
static int reads; /* of the weights */

int __real_file_in_read(const struct file_in *in, uint64_t at, void *dst, size_t n, struct err *e);
int __wrap_file_in_read(const struct file_in *in, uint64_t at, void *dst, size_t n, struct err *e);

int __wrap_file_in_read(const struct file_in *in, uint64_t at, void *dst, size_t n, struct err *e)
{
    const bool weights = strstr(in->path, ".safetensors") != NULL;
    reads += weights ? 1 : 0;
    if (weights && reads == hold) {
        (void)sem_post(&reached);
        (void)sem_wait(&go_on);
    }
    return __real_file_in_read(in, at, dst, n, e);
}

/* Weights of six MiB, which are read one by one.
 * Mutation: what is looked at is whether to begin a load, and not whether to go on with it. */
Test(loader, a_load_that_nobody_waits_for_any_more_ends_at_the_next_piece)
{
    const struct synth_shape shape = {.D = 16, .H = 4, .G = 2, .L = 2, .V = 40, .F = 16384, .positions = 128};
    struct pollfd p = {.fd = wake_fd, .events = POLLIN};
    struct loaded m = {0};
    int rc = 1;
    protected_synth(dir, "LlamaForCausalLM", &shape, 5);
    struct protect_opts opts = protected_opts(dir, 1);
    struct protect_report report;
    opts.force = true;
    cr_assert_eq(protect_checkpoint(&opts, &report, &err), 0, "%s", err.text);
    cr_assert_eq(sem_init(&reached, 0, 0) | sem_init(&go_on, 0, 0), 0);
    reads = 0;
    cr_assert_eq(load(&m, 0), 0, "%s", err.text);
    const int whole = reads;
    cr_expect_gt(whole, 5);
    loaded_free(&m);
    reads = 0;
    hold = 3; /* the first is of the header, the second begins the weights */
    cr_assert_eq(loader_start(loader, 0, &err), 0, "%s", err.text);
    (void)sem_wait(&reached);
    loader_stop(loader);
    (void)sem_post(&go_on);
    cr_assert_eq(poll(&p, 1, -1), 1);
    cr_assert(loader_take(loader, &m, &rc, &err));
    cr_expect(rc == -1 && strstr(err.text, "stopped") != NULL, "%s", err.text);
    cr_expect_lt(reads, 5, "%d of %d", reads, whole); /* a piece may be two reads */
    cr_expect(m.package == NULL && m.pool == NULL && m.worker == NULL);
}
