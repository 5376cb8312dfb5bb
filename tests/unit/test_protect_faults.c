/* model_dev/protect when things go wrong: a clear error, nothing half-made, nothing lost. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/net.h"
#include "tests/support/protected.h"
#include "tests/support/tempdir.h"

static const struct synth_shape SHAPE = {.D = 24, .H = 6, .L = 2, .V = 50, .untied = true};

static char dir[FILE_PATH_MAX];
static struct protect_opts opts;
static struct protect_report report;
static struct err err;

static void setup(void)
{
    tempdir_make(dir);
    protected_synth(dir, "LlamaForCausalLM", &SHAPE, 5);
    opts = protected_opts(dir, 1);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(protect_faults, .init = setup, .fini = teardown);

/* The error says `said`, the report is untouched, and there is no output folder. */
static void expect_failure(enum err_code code, const char *said)
{
    report = (struct protect_report){.epoch = 99};
    err = (struct err){0};
    cr_expect_eq(protect_checkpoint(&opts, &report, &err), -1, "expected: %s", said);
    cr_expect_eq(err.code, code, "%d: %s", (int)err.code, err.text);
    cr_expect_not_null(strstr(err.text, said), "expected '%s' in '%s'", said, err.text);
    cr_expect_eq(report.epoch, 99);
    cr_expect_not(file_exists(opts.out), "the output folder was left behind");
}

static void expect_success(void)
{
    cr_assert_eq(protect_checkpoint(&opts, &report, &err), 0, "%s", err.text);
    cr_expect_eq(tempdir_count(report.package), 4);
}

/* ------------------------------------------------------------------ randomness */

/* Stands in front of libcrypto's function of the same name. */
int RAND_bytes(unsigned char *buf, int num);

static bool random_fails;

int RAND_bytes(unsigned char *buf, int num)
{
    int (*real)(unsigned char *, int);
    if (random_fails)
        return 0;
    void *found = dlsym(RTLD_NEXT, "RAND_bytes");
    memcpy(&real, &found, sizeof real);
    return real(buf, num);
}

Test(protect_faults, failed_randomness_is_reported_and_leaves_nothing)
{
    opts.seed = NULL;
    random_fails = true;
    expect_failure(ERR_INTERNAL, "random bytes");
    random_fails = false;
    expect_success();
}

/* ------------------------------------------------------------------ bad checkpoints, bad options */

Test(protect_faults, malformed_checkpoints_are_named_and_leave_nothing)
{
    const char *weights = tempdir_path(dir, "plain/model.safetensors");
    size_t len;
    char *bytes = tempdir_slurp(weights, &len);
    cr_assert_eq(truncate(weights, (off_t)len - 1), 0);
    expect_failure(ERR_INPUT, "model.safetensors");
    cr_assert_eq(truncate(weights, 7), 0);
    expect_failure(ERR_INPUT, "model.safetensors");
    cr_assert_eq(unlink(weights), 0);
    expect_failure(ERR_INPUT, "model.safetensors");
    tempdir_spill(weights, bytes, len);
    char *name = strstr(bytes + 8, "layers.1.mlp.up_proj");
    cr_assert_not_null(name);
    name[7] = '7'; /* a tensor of a layer that is not there */
    tempdir_spill(weights, bytes, len);
    expect_failure(ERR_INPUT, "layers.");
    free(bytes);
    tempdir_spill(tempdir_path(dir, "plain/config.json"), "{", 1);
    expect_failure(ERR_INPUT, "config.json");
    opts.model = tempdir_path(dir, "nowhere");
    expect_failure(ERR_INPUT, "nowhere");
}

/* Puts a float into an element of a tensor on disk. */
static void poke(const char *tensor, size_t element, float value)
{
    const char *path = tempdir_path(dir, "plain/model.safetensors");
    struct safetensors *st = NULL;
    size_t len;
    cr_assert_eq(safetensors_open(&st, path, &err), 0, "%s", err.text);
    const struct tensor *t = safetensors_find(st, tensor);
    cr_assert_not_null(t);
    char *bytes = tempdir_slurp(path, &len);
    uint8_t head[8];
    memcpy(head, bytes, 8);
    /* The map starts with the header, whose length is in the first eight bytes. */
    const struct tensor *first = safetensors_at(st, 0);
    for (size_t i = 1; i < safetensors_count(st); i++)
        if (safetensors_at(st, i)->data < first->data)
            first = safetensors_at(st, i);
    size_t header = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
    memcpy(bytes + 8 + header + (t->data - first->data) + element * sizeof value, &value, sizeof value);
    safetensors_close(st);
    tempdir_spill(path, bytes, len);
    free(bytes);
}

/* Catches a check of the first row or the first block only (tried). */
Test(protect_faults, nan_and_infinity_are_refused_by_tensor_and_leave_nothing)
{
    static const char up[] = "model.layers.1.mlp.up_proj.weight", norm[] = "model.norm.weight";
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        poke(up, 24 * 96 - 1, bad[i]);
        expect_failure(ERR_INPUT, up);
        cr_expect_not_null(strstr(err.text, "element 2303"), "%s", err.text);
        poke(up, 24 * 96 - 1, 0.5f);
    }
    poke(norm, 3, NAN);
    expect_failure(ERR_INPUT, norm);
    poke(norm, 3, 1.0f);
    expect_success();
}

Test(protect_faults, a_value_that_bf16_cannot_hold_is_refused_not_made_infinite)
{
    poke("model.layers.0.mlp.up_proj.weight", 30, 3.4e38f);
    opts.dtype = "bf16";
    expect_failure(ERR_INPUT, "too large for BF16");
    opts.dtype = "keep";
    expect_success();
}

/* A package is a checkpoint with float embeddings left out; with them it could be protected again. */
Test(protect_faults, int8_weights_are_not_protected_a_second_time)
{
    char weights[FILE_PATH_MAX], package[FILE_PATH_MAX];
    opts.head = "server";
    opts.dtype = "int8";
    expect_success();
    cr_assert_eq(file_join(package, report.package, "model.safetensors", &err), 0);
    cr_assert_eq(file_join(weights, opts.model, "model.safetensors", &err), 0);
    char config[FILE_PATH_MAX], *text;
    size_t length;
    cr_assert_eq(file_join(config, report.package, "config.json", &err), 0);
    cr_assert_eq(file_read(config, 1 << 20, &text, &length, &err), 0, "%s", err.text);
    cr_assert_eq(file_join(config, opts.model, "config.json", &err), 0);
    cr_assert_eq(file_write(config, text, length, 0644, &err), 0, "%s", err.text);
    free(text);
    struct safetensors *plain = NULL, *packed = NULL;
    struct safetensors_out *both = NULL;
    const char *name;
    cr_assert_eq(safetensors_open(&plain, weights, &err), 0, "%s", err.text);
    cr_assert_eq(safetensors_open(&packed, package, &err), 0, "%s", err.text);
    cr_assert_eq(safetensors_out_new(&both, &err), 0);
    for (size_t i = 0; i < safetensors_count(packed); i++) {
        const struct tensor *t = safetensors_at(packed, i);
        cr_assert_eq(safetensors_out_declare(both, t->name, t->dtype, t->rank, t->dim, &err), 0, "%s", err.text);
    }
    const struct tensor *embed = safetensors_find(plain, "model.embed_tokens.weight");
    cr_assert_not_null(embed);
    cr_assert_eq(safetensors_out_declare(both, embed->name, embed->dtype, embed->rank, embed->dim, &err), 0);
    cr_assert_eq(safetensors_out_begin(both, tempdir_path(dir, "both"), 0644, &err), 0, "%s", err.text);
    while ((name = safetensors_out_next(both)) != NULL) {
        const struct tensor *t = safetensors_find(packed, name);
        t = t == NULL ? embed : t;
        cr_assert_eq(safetensors_out_write(both, t->data, t->bytes, &err), 0, "%s", err.text);
    }
    cr_assert_eq(safetensors_out_commit(both, &err), 0, "%s", err.text);
    safetensors_out_free(both);
    safetensors_close(plain);
    safetensors_close(packed);
    cr_assert_eq(rename(tempdir_path(dir, "both"), weights), 0);
    cr_assert_eq(file_remove_tree(opts.out, &err), 0);
    expect_failure(ERR_INPUT, "is I8; protect starts from a float checkpoint");
}

/* A longer sum of int8 products could pass 32 bits, and nobody would see it. Catches either check left out (both tried). */
Test(protect_faults, int8_refuses_sums_that_do_not_fit)
{
    const struct synth_shape wide = {.D = 8, .H = 2, .L = 1, .V = 20, .F = 65537};
    struct checkpoint *cp = NULL;
    struct net *net = NULL;
    protected_synth(dir, "LlamaForCausalLM", &wide, 5);
    opts.dtype = "int8";
    expect_failure(ERR_INPUT, "'model.layers.0.mlp.down_proj.weight' has 65537 inputs; --dtype int8 takes at most 65536");
    cr_assert_eq(checkpoint_open(&cp, opts.model, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(net_load(&net, cp, true, COMPUTE_INT8, &err), -1);
    cr_expect(err.code == ERR_INPUT && strstr(err.text, "has 65537 inputs") != NULL, "%s", err.text);
    checkpoint_close(cp);
    opts.dtype = "bf16";
    expect_success();
}

Test(protect_faults, int8_refuses_nan_by_tensor_too)
{
    opts.dtype = "int8";
    poke("model.layers.1.mlp.up_proj.weight", 24 * 96 - 1, NAN);
    expect_failure(ERR_INPUT, "model.layers.1.mlp.up_proj.weight");
}

Test(protect_faults, what_is_not_implemented_is_refused_by_name)
{
    opts.dtype = "int4";
    expect_failure(ERR_USAGE, "'int4' is not known; known: keep, f32, bf16, int8");
    opts.dtype = NULL;
    opts.profile = "cipher";
    expect_failure(ERR_USAGE, "'cipher' is not implemented");
    opts.profile = "stip";
    opts.head = "nobody";
    expect_failure(ERR_USAGE, "'nobody' is not known");
}

/* ------------------------------------------------------------------ disk full, killed, two at once */

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* In the first file, at the start of the weights and in their middle. */
Test(protect_faults, a_full_disk_is_reported_with_the_file_and_leaves_nothing)
{
    static const struct {
        rlim_t limit;
        const char *file;
    } table[] = {{10, "config.json"}, {500, "model.safetensors"}, {20000, "model.safetensors"}};
    cr_assert_neq(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        limit_file_size(table[i].limit);
        report.epoch = 99;
        err = (struct err){0};
        int rc = protect_checkpoint(&opts, &report, &err);
        limit_file_size(RLIM_INFINITY);
        cr_expect_eq(rc, -1);
        cr_expect(strstr(err.text, "cannot write") != NULL && strstr(err.text, table[i].file) != NULL, "%s", err.text);
        cr_expect_not(file_exists(opts.out));
    }
    expect_success();
}

/* The signal of the file size limit kills the process in the middle of the weights. */
static void run_and_die(void)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct rlimit limit = {20000, 20000};
        struct protect_report ignored;
        (void)signal(SIGXFSZ, SIG_DFL);
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        (void)setrlimit(RLIMIT_FSIZE, &limit);
        _exit(protect_checkpoint(&opts, &ignored, NULL) == 0 ? 1 : 2);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ, "status %d", status);
}

Test(protect_faults, a_killed_run_leaves_no_package_and_the_next_one_cleans_up)
{
    run_and_die();
    cr_expect_not(file_exists(tempdir_path(opts.out, "package")));
    cr_expect_not(file_exists(tempdir_path(opts.out, "context.key")));
    cr_expect(file_exists(tempdir_path(opts.out, ".protect.tmp")), "nothing was in the making: the test tests nothing");
    expect_success();
    cr_expect_eq(tempdir_count(opts.out), 2);
}

Test(protect_faults, a_second_run_into_the_same_folder_is_refused_and_disturbs_nothing)
{
    cr_assert_eq(file_mkdirs(opts.out, 0700, &err), 0);
    cr_assert_eq(file_mkdirs(tempdir_path(opts.out, ".protect.tmp"), 0700, &err), 0);
    int fd = open(opts.out, O_RDONLY | O_DIRECTORY);
    cr_assert(fd >= 0 && flock(fd, LOCK_EX) == 0);
    cr_expect_eq(protect_checkpoint(&opts, &report, &err), -1);
    cr_expect(err.code == ERR_USAGE && strstr(err.text, "another protect") != NULL, "%s", err.text);
    cr_expect(file_exists(tempdir_path(opts.out, ".protect.tmp")), "the other run's work was removed");
    close(fd);
    expect_success();
}

/* ------------------------------------------------------------------ what is there already */

Test(protect_faults, an_existing_key_or_package_is_refused_and_stays)
{
    size_t len;
    expect_success();
    char *key = tempdir_slurp(report.key, &len);
    opts.seed = protected_opts(dir, 2).seed;
    cr_expect_eq(protect_checkpoint(&opts, &report, &err), -1);
    cr_expect(err.code == ERR_USAGE && strstr(err.text, "context.key") != NULL && strstr(err.text, "--force") != NULL, "%s",
              err.text);
    char *after = tempdir_slurp(report.key, &len);
    cr_expect_arr_eq(key, after, len);
    cr_expect_eq(tempdir_count(opts.out), 2);
    /* Either one alone is enough. */
    cr_assert_eq(unlink(report.key), 0);
    cr_expect_eq(protect_checkpoint(&opts, &report, &err), -1);
    free(key);
    free(after);
}

/* Catches a rename over the old key (tried): whoever was granted under it would be locked out for ever. */
Test(protect_faults, force_moves_the_old_package_and_key_aside)
{
    size_t len;
    expect_success();
    char *first = tempdir_slurp(report.key, &len);
    opts.force = true;
    for (uint8_t run = 2; run <= 3; run++) {
        opts.seed = protected_opts(dir, run).seed;
        expect_success();
    }
    char *kept = tempdir_slurp(tempdir_path(opts.out, "context.key.1"), &len);
    cr_expect_arr_eq(first, kept, len);
    cr_expect_not(tempdir_same(report.key, tempdir_path(opts.out, "context.key.1")));
    cr_expect_not(tempdir_same(report.key, tempdir_path(opts.out, "context.key.2")));
    cr_expect_eq(tempdir_count(tempdir_path(opts.out, "package.1")), 4);
    cr_expect_eq(tempdir_count(tempdir_path(opts.out, "package.2")), 4);
    cr_expect_eq(tempdir_count(opts.out), 6);
    free(first);
    free(kept);
}

Test(protect_faults, a_folder_with_other_files_keeps_them_after_a_failure)
{
    cr_assert_eq(file_mkdirs(opts.out, 0700, &err), 0);
    tempdir_spill(tempdir_path(opts.out, "identity.json"), "mine", 4);
    poke("model.norm.weight", 0, NAN);
    cr_expect_eq(protect_checkpoint(&opts, &report, &err), -1);
    cr_expect_eq(tempdir_count(opts.out), 1);
    cr_expect(file_exists(tempdir_path(opts.out, "identity.json")));
}
