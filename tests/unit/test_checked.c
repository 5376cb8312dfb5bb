/* model/checked, signed checkpoints: what is used are the bytes that were compared with what was signed, whatever becomes of the file. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/net.h"
#include "model/checked.h"
#include "model/checkpoint.h"
#include "tests/support/protected.h"
#include "tests/support/tempdir.h"

enum { MIB = 1 << 20, LONG = 5 * MIB + 17 };

static char dir[FILE_PATH_MAX];
static struct err err;
static uint8_t *bytes;
static struct manifest m;

static void setup(void)
{
    tempdir_make(dir);
    bytes = malloc(LONG);
    for (size_t i = 0; i < LONG; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 4099);
    tempdir_spill(tempdir_path(dir, "long"), bytes, LONG);
    tempdir_spill(tempdir_path(dir, "empty"), bytes, 0);
    m = (struct manifest){0};
    cr_assert_eq(manifest_build(&m, dir, &err), 0, "%s", err.text);
}

static void teardown(void)
{
    manifest_free(&m);
    free(bytes);
    tempdir_remove(dir);
}

TestSuite(checked, .init = setup, .fini = teardown);

static void put(const char *path, size_t at, const void *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert(fd >= 0 && pwrite(fd, data, n, (off_t)at) == (ssize_t)n && close(fd) == 0, "%s", path);
}

/* Catches a window whose kept chunks are not moved to its start, or are moved from the wrong place (both tried). */
Test(checked, gives_every_piece_wherever_the_one_before_was)
{
    static const size_t pieces[][2] = {{0, 8}, {0, 40}, {3, 2 * MIB}, {2 * MIB - 1, 2}, {2 * MIB, 3 * MIB}, {LONG - 1, 1}, {0, LONG},
                                       {MIB, MIB}, {5, 0}, {LONG, 0}, {4 * MIB, MIB + 17}, {4 * MIB + 5, MIB}, {MIB - 1, 1}};
    struct checked *c;
    const uint8_t *got;
    cr_assert_eq(checked_open(&c, &m, dir, "long", &err), 0, "%s", err.text);
    cr_expect_eq(checked_size(c), LONG);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        cr_assert_eq(checked_read(c, pieces[i][0], pieces[i][1], &got, &err), 0, "%s", err.text);
        cr_expect_eq(memcmp(got, bytes + pieces[i][0], pieces[i][1]), 0, "piece %zu", i);
    }
    checked_close(c);
    cr_assert_eq(checked_open(&c, &m, dir, "empty", &err), 0, "%s", err.text);
    cr_expect_eq(checked_read(c, 0, 0, &got, &err), 0);
    checked_close(c);
}

/* Catches a window that is thought to hold what a read that failed has overwritten (tried: c->to moved in that case too). */
Test(checked, a_file_that_changes_between_two_looks_changes_nothing_or_is_refused)
{
    struct checked *c;
    const uint8_t *got;
    const char *path = tempdir_path(dir, "long");
    cr_assert_eq(checked_open(&c, &m, dir, "long", &err), 0, "%s", err.text);
    cr_assert_eq(checked_read(c, 0, 2 * MIB, &got, &err), 0, "%s", err.text);
    put(path, 7, "changed", 7);
    put(path, 3 * MIB + 7, "changed", 7);
    cr_expect_eq(memcmp(got, bytes, 2 * MIB), 0);
    cr_assert_eq(checked_read(c, 0, 2 * MIB, &got, &err), 0, "what was compared is not read again");
    cr_expect_eq(memcmp(got, bytes, 2 * MIB), 0);
    cr_assert_eq(checked_read(c, MIB, 3 * MIB, &got, &err), -1);
    cr_expect(err.code == ERR_CHECK && strstr(err.text, "MiB 3 is not what was signed") != NULL, "%s", err.text);
    cr_assert_eq(checked_read(c, 3 * MIB, 1, &got, &err), -1, "what was refused is not there");
    cr_assert_eq(checked_read(c, 0, 1, &got, &err), -1, "the first chunk is gone from memory, and is another now");
    cr_expect_not_null(strstr(err.text, "MiB 0 is not what was signed"), "%s", err.text);
    cr_assert_eq(checked_read(c, 4 * MIB, MIB, &got, &err), 0, "%s", err.text);
    cr_assert_eq(truncate(path, 4 * MIB + 5), 0);
    cr_assert_eq(checked_read(c, 2 * MIB, 3 * MIB, &got, &err), -1);
    cr_assert_eq(checked_read(c, 5 * MIB, 17, &got, &err), -1, "an error, not a signal");
    cr_expect_not_null(strstr(err.text, "became shorter"), "%s", err.text);
    checked_close(c);
    cr_assert_eq(checked_open(&c, &m, dir, "long", &err), -1);
    cr_expect(err.code == ERR_CHECK && strstr(err.text, "expected 5242897 bytes, found 4194309") != NULL, "%s", err.text);
    cr_assert_eq(checked_open(&c, &m, dir, "other", &err), -1);
    cr_expect(err.code == ERR_CHECK && strstr(err.text, "other is not in the signed manifest") != NULL, "%s", err.text);
}

/* Every tensor, the header and config.json. Catches weights that are read from a map of the file, where `examine` has just checked it
 * (tried: safetensors_open in place of safetensors_open_checked), and a config.json that is read past the check. */
Test(checked, a_package_that_is_changed_while_it_is_loaded_is_refused)
{
    const struct synth_shape s = {.D = 24, .H = 6, .L = 2, .V = 50, .F = 40, .untied = true};
    char package[FILE_PATH_MAX];
    struct protect_report report;
    struct manifest signed_files = {0};
    struct checkpoint *cp;
    struct net *net;
    char *text;
    uint8_t sig[CRYPTO_SIG_LEN];
    size_t len;
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    struct protect_opts o = protected_opts(dir, 9);
    cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
    (void)strcpy(package, report.package);
    cr_assert_eq(manifest_load(&signed_files, package, &text, &len, sig, &err), 0, "%s", err.text);
    free(text);
    const char *weights = tempdir_path(package, "model.safetensors"), *config = tempdir_path(package, "config.json");
    char *all = tempdir_slurp(weights, &len);
    cr_assert_eq(checkpoint_open_signed(&cp, package, CHECKPOINT_CORE | CHECKPOINT_HEAD, &signed_files, &err), 0, "%s", err.text);
    cr_assert_eq(net_load(&net, cp, true, COMPUTE_F32, &err), 0, "%s", err.text);
    net_free(net);
    checkpoint_close(cp);

    /* This file is one chunk, which stays in memory: a change after it was opened is not seen, one before it is. */
    cr_assert_eq(checkpoint_open_signed(&cp, package, CHECKPOINT_CORE | CHECKPOINT_HEAD, &signed_files, &err), 0, "%s", err.text);
    float before[24], after[24];
    const struct tensor *t = checkpoint_tensor(cp, ROLE_O, 1);
    struct tensor view;
    cr_assert_eq(checkpoint_view(&view, cp, t, 0, 24, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_rows_f32(&view, 3, 1, before, &err), 0, "%s", err.text);
    memset(all + len / 2, 0x3c, len / 4);
    tempdir_spill(weights, all, len);
    cr_assert_eq(checkpoint_view(&view, cp, t, 0, 24, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_rows_f32(&view, 3, 1, after, &err), 0, "%s", err.text);
    cr_expect_arr_eq(before, after, sizeof before);
    checkpoint_close(cp);
    cr_assert_eq(checkpoint_open_signed(&cp, package, CHECKPOINT_CORE | CHECKPOINT_HEAD, &signed_files, &err), -1);
    cr_expect(err.code == ERR_CHECK && strstr(err.text, "MiB 0 is not what was signed") != NULL, "%s", err.text);
    free(all);

    all = tempdir_slurp(config, &len);
    all[len - 1] = ' ';
    tempdir_spill(config, all, len);
    free(all);
    cr_assert_eq(checkpoint_open_signed(&cp, package, CHECKPOINT_CORE | CHECKPOINT_HEAD, &signed_files, &err), -1);
    cr_expect(err.code == ERR_CHECK && strstr(err.text, "config.json: MiB 0 is not") != NULL, "%s", err.text);
    manifest_free(&signed_files);
}
