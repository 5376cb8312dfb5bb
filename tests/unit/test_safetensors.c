/* model/safetensors: what is legal is read, every prefix of a file is refused, what is written reads back. The files that
 * break a rule each are in tests/vectors/malformed (test_checkpoint_malformed.c). */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "model/safetensors.h"
#include "tests/support/tempdir.h"

/* Header (with ' for ") and `body` counting bytes; gives the size. */
static size_t pack(uint8_t *out, const char *header, size_t body)
{
    size_t n = strlen(header);
    le_put64(out, n);
    for (size_t i = 0; i < n; i++)
        out[8 + i] = header[i] == '\'' ? '"' : (uint8_t)header[i];
    for (size_t i = 0; i < body; i++)
        out[8 + n + i] = (uint8_t)i;
    return 8 + n + body;
}

static struct safetensors *parse(const char *header, size_t body)
{
    static uint8_t bytes[4096];
    struct safetensors *st = NULL;
    struct err err = {0};
    size_t n = pack(bytes, header, body);
    cr_assert_eq(safetensors_parse(&st, bytes, n, "t.safetensors", &err), 0, "%s", err.text);
    return st;
}

Test(safetensors, tensors_are_found_by_name_whatever_their_order)
{
    struct safetensors *st = parse("{'z':{'dtype':'F32','shape':[2,1],'data_offsets':[0,8]},"
                                   "'__metadata__':{'format':'pt'},"
                                   "'a':{'shape':[3],'data_offsets':[12,18],'dtype':'F16'},"
                                   "'m':{'dtype':'I32','shape':[],'data_offsets':[8,12]}}   ", 18);
    cr_assert_eq(safetensors_count(st), 3);
    cr_expect_str_eq(safetensors_at(st, 0)->name, "a");
    cr_expect_str_eq(safetensors_at(st, 2)->name, "z");
    const struct tensor *z = safetensors_find(st, "z"), *m = safetensors_find(st, "m");
    cr_assert(z != NULL && m != NULL);
    cr_expect_eq(z->rank, 2);
    cr_expect_eq(z->dim[0], 2);
    cr_expect_eq(z->dim[1], 1);
    cr_expect_eq(z->count, 2);
    cr_expect_eq(z->bytes, 8);
    cr_expect_eq(z->data[0], 0);
    cr_expect_eq(m->rank, 0);
    cr_expect_eq(m->count, 1, "a tensor without axes is one number");
    cr_expect_eq(m->data[0], 8);
    cr_expect_null(safetensors_find(st, "__metadata__"));
    cr_expect_null(safetensors_find(st, ""));
    safetensors_close(st);
}

Test(safetensors, empty_tensors_and_empty_files_are_legal)
{
    struct safetensors *st = parse("{'a':{'dtype':'F32','shape':[0],'data_offsets':[0,0]},"
                                   "'b':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},"
                                   "'c':{'dtype':'F32','shape':[7,0,9],'data_offsets':[4,4]},"
                                   "'d':{'dtype':'U8','shape':[0,9007199254740991],'data_offsets':[4,4]}}", 4);
    cr_expect_eq(safetensors_find(st, "c")->count, 0);
    safetensors_close(st);
    st = parse("{}", 0);
    cr_expect_eq(safetensors_count(st), 0);
    cr_expect_null(safetensors_find(st, "a"));
    safetensors_close(st);
    st = parse("{'__metadata__':{}}", 0);
    safetensors_close(st);
}

Test(safetensors, every_prefix_of_a_file_is_refused)
{
    uint8_t bytes[512];
    size_t n = pack(bytes, "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'b':{'dtype':'U8','shape':[3],'data_offsets':[8,11]}}",
                    11);
    struct safetensors *st = NULL;
    struct err err = {0};
    cr_assert_eq(safetensors_parse(&st, bytes, n, "t", &err), 0, "%s", err.text);
    safetensors_close(st);
    for (size_t cut = 0; cut < n; cut++) {
        /* A copy of just that size, so that the address sanitizer sees a read behind its end. */
        uint8_t *part = malloc(cut == 0 ? 1 : cut);
        cr_assert_not_null(part);
        memcpy(part, bytes, cut);
        err = (struct err){0};
        cr_assert_eq(safetensors_parse(&st, part, cut, "t", &err), -1, "%zu of %zu bytes", cut, n);
        cr_assert_eq(err.code, ERR_INPUT);
        free(part);
    }
}

Test(safetensors, every_header_length_is_safe)
{
    uint8_t bytes[256];
    size_t n = pack(bytes, "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}", 8);
    for (uint64_t len = 0; len < 300; len++) {
        struct safetensors *st = NULL;
        struct err err = {0};
        le_put64(bytes, len);
        int rc = safetensors_parse(&st, bytes, n, "t", &err);
        cr_assert(len <= n - 8 || strstr(err.text, "ends past the file") != NULL, "header length %d: %s", (int)len, err.text);
        cr_assert_eq(rc == 0, len == n - 16, "header length %llu", (unsigned long long)len);
        safetensors_close(rc == 0 ? st : NULL);
    }
    static const uint64_t huge[] = {UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 100000000, 100000001};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        struct safetensors *st = NULL;
        le_put64(bytes, huge[i]);
        cr_expect_eq(safetensors_parse(&st, bytes, n, "t", NULL), -1);
    }
}

/* ------------------------------------------------------------------ writing */

static void write_three(const char *path, bool other_order)
{
    static const uint64_t matrix[] = {2, 3}, vector[] = {4}, nothing[] = {0};
    struct safetensors_out *out = NULL;
    struct err err = {0};
    cr_assert_eq(safetensors_out_new(&out, &err), 0);
    for (int i = 0; i < 4; i++)
        switch (other_order ? 3 - i : i) {
        case 0:
            cr_assert_eq(safetensors_out_declare(out, "w", DTYPE_F32, 2, matrix, &err), 0);
            break;
        case 1:
            cr_assert_eq(safetensors_out_declare(out, "b", DTYPE_BF16, 1, vector, &err), 0);
            break;
        case 2:
            cr_assert_eq(safetensors_out_declare(out, "e", DTYPE_F32, 1, nothing, &err), 0);
            break;
        default:
            cr_assert_eq(safetensors_out_declare(out, "s", DTYPE_F32, 0, NULL, &err), 0);
        }
    cr_assert_eq(safetensors_out_begin(out, path, 0644, &err), 0, "%s", err.text);
    static const char *const order[] = {"e", "s", "w", "b"};
    for (int i = 0; i < 4; i++) {
        const char *name = safetensors_out_next(out);
        cr_assert_str_eq(name, order[i], "larger elements first, then by name");
        uint8_t bytes[24];
        memset(bytes, name[0], sizeof bytes);
        size_t n = name[0] == 'w' ? 24 : name[0] == 'b' ? 8 : name[0] == 's' ? 4 : 0;
        for (size_t at = 0; at < n; at += 4)
            cr_assert_eq(safetensors_out_write(out, bytes + at, 4, &err), 0);
        if (n == 0)
            cr_assert_eq(safetensors_out_write(out, NULL, 0, &err), 0);
    }
    cr_assert_null(safetensors_out_next(out));
    cr_assert_eq(safetensors_out_write(out, "x", 1, &err), -1);
    cr_assert_eq(safetensors_out_commit(out, &err), 0, "%s", err.text);
    safetensors_out_free(out);
}

Test(safetensors, what_is_written_reads_back_and_does_not_depend_on_the_order)
{
    char dir[FILE_PATH_MAX];
    struct safetensors *st = NULL;
    struct err err = {0};
    tempdir_make(dir);
    write_three(tempdir_path(dir, "1"), false);
    write_three(tempdir_path(dir, "2"), true);
    cr_expect(tempdir_same(tempdir_path(dir, "1"), tempdir_path(dir, "2")));
    cr_assert_eq(safetensors_open(&st, tempdir_path(dir, "1"), &err), 0, "%s", err.text);
    cr_expect_eq(safetensors_count(st), 4);
    const struct tensor *w = safetensors_find(st, "w");
    cr_expect_eq(w->dtype, DTYPE_F32);
    cr_expect_eq(w->rank, 2);
    cr_expect_eq(w->dim[1], 3);
    cr_expect_eq(w->data[23], 'w');
    cr_expect_eq((uintptr_t)safetensors_find(st, "e")->data % 8, 0, "data starts at a multiple of 8");
    cr_expect_eq(safetensors_find(st, "b")->data[7], 'b');
    safetensors_release(w);
    cr_expect_eq(w->data[0], 'w', "released pages come back from the file");
    safetensors_close(st);
    safetensors_close(NULL);
    tempdir_remove(dir);
}

Test(safetensors, the_writer_refuses_what_would_not_read_back)
{
    char dir[FILE_PATH_MAX];
    static const uint64_t two[] = {2}, huge[] = {(uint64_t)1 << 62, 8}, five[5] = {1, 1, 1, 1, 1};
    struct safetensors_out *out = NULL;
    struct err err = {0};
    tempdir_make(dir);
    cr_assert_eq(safetensors_out_new(&out, &err), 0);
    cr_expect_eq(safetensors_out_declare(out, "h", DTYPE_F32, 2, huge, &err), -1);
    cr_expect_not_null(strstr(err.text, "tensor 'h': its size overflows"));
    cr_expect_eq(safetensors_out_declare(out, "r", DTYPE_F32, 5, five, &err), -1);
    cr_expect_eq(safetensors_out_declare(out, "a", DTYPE_F32, 1, two, &err), 0);
    cr_assert_eq(safetensors_out_begin(out, tempdir_path(dir, "x"), 0600, &err), 0);
    cr_expect_eq(safetensors_out_write(out, "123456789", 9, &err), -1, "more than declared");
    cr_expect_eq(safetensors_out_write(out, "12345", 5, &err), 0);
    cr_expect_eq(safetensors_out_commit(out, &err), -1);
    cr_expect_not_null(strstr(err.text, "tensor 'a' is incomplete"));
    safetensors_out_free(out);
    safetensors_out_free(NULL);
    cr_expect_eq(tempdir_count(dir), 0, "an uncommitted file leaves nothing");

    /* Catches: looking for twins among neighbours in file order only, where dtypes of two sizes part them (a bug we had). */
    cr_assert_eq(safetensors_out_new(&out, &err), 0);
    cr_expect_eq(safetensors_out_declare(out, "a", DTYPE_F32, 1, two, &err), 0);
    cr_expect_eq(safetensors_out_declare(out, "b", DTYPE_F32, 1, two, &err), 0);
    cr_expect_eq(safetensors_out_declare(out, "a", DTYPE_F16, 1, two, &err), 0);
    cr_expect_eq(safetensors_out_begin(out, tempdir_path(dir, "x"), 0600, &err), -1);
    cr_expect_not_null(strstr(err.text, "tensor 'a' was declared twice"), "%s", err.text);
    safetensors_out_free(out);
    cr_expect_eq(tempdir_count(dir), 0);
    tempdir_remove(dir);
}
