/* user/torch_file: the archive, byte by byte where a reader looks. torch.load of 1.13 reads the same bytes as the tensor that went in
 * (scripts/engine_check.sh does so in every run, where PyTorch is). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "user/torch_file.h"

static struct buf made(enum dtype dtype, uint32_t n, uint32_t D, const void *rows)
{
    struct buf b;
    struct err err;
    buf_init(&b, 1 << 20);
    cr_assert_eq(torch_file_put(&b, dtype, n, D, rows, &err), 0, "%s", err.text);
    return b;
}

/* CRC-32 as the zip format defines it, bit by bit. */
static uint32_t checksum(const uint8_t *p, size_t n)
{
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (0xedb88320u & (0u - (c & 1)));
    }
    return ~c;
}

/* Mutation: sizes, checksums or offsets of another file; the directory's count. */
Test(torch_file, an_archive_of_three_stored_files_whose_directory_is_right)
{
    static const float rows[6] = {1, 2, 3, 4, 5, 6};
    static const char *const names[] = {"archive/data.pkl", "archive/data/0", "archive/version"};
    struct buf b = made(DTYPE_F32, 2, 3, rows);
    const uint8_t *end = b.data + b.len - 22;
    cr_assert(b.len > 22 && le_get32(end) == 0x06054b50 && le_get16(end + 10) == 3 && le_get16(end + 8) == 3);
    cr_assert_eq(le_get32(end + 12) + le_get32(end + 16), (uint32_t)(b.len - 22), "the directory is all that is left");
    const uint8_t *line = b.data + le_get32(end + 16);
    for (int i = 0; i < 3; i++) {
        const uint8_t *head = b.data + le_get32(line + 42), *data = head + 30 + strlen(names[i]);
        const uint32_t size = le_get32(line + 24);
        cr_assert(le_get32(line) == 0x02014b50 && le_get32(head) == 0x04034b50);
        cr_expect_eq(memcmp(line + 6, head + 4, 26), 0, "both say the same of %s", names[i]);
        cr_expect(le_get16(line + 28) == strlen(names[i]) && memcmp(line + 46, names[i], strlen(names[i])) == 0 &&
                  memcmp(head + 30, names[i], strlen(names[i])) == 0);
        cr_expect(le_get16(head + 8) == 0 && le_get32(head + 18) == size && le_get32(head + 14) == checksum(data, size), "%s", names[i]);
        if (i == 1)
            cr_expect(size == sizeof rows && memcmp(data, rows, size) == 0);
        line += 46 + strlen(names[i]);
    }
    cr_expect_eq(line, end);
    buf_free(&b);
}

/* Mutation: rows and columns the other way round; the wrong storage type. */
Test(torch_file, the_pickle_names_type_count_shape_and_strides)
{
    static const struct {
        enum dtype dtype;
        const char *storage;
    } types[] = {{DTYPE_F32, "FloatStorage"}, {DTYPE_BF16, "BFloat16Storage"}, {DTYPE_F16, "HalfStorage"}};
    static const uint8_t rows[300 * 2 * 4];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct buf b = made(types[i].dtype, 300, 2, rows);
        char want[256];
        int n = snprintf(want, sizeof want, "\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n((X\x07%c%c%cstorage" "ctorch\n%s\nX\x01%c%c%c0X\x03%c%c%c" "cpu"
                         "J\x58\x02%c%ctQJ%c%c%c%cJ\x2c\x01%c%cJ\x02%c%c%c\x86J\x02%c%c%cJ\x01%c%c%c\x86\x89" "ccollections\nOrderedDict\n)RtR.",
                         0, 0, 0, types[i].storage, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        cr_expect_eq(le_get32(b.data + 18), (uint32_t)n);
        cr_expect_eq(memcmp(b.data + 30 + strlen("archive/data.pkl"), want, (size_t)n), 0, "%s", types[i].storage);
        buf_free(&b);
    }
}

Test(torch_file, more_than_32_bits_count_is_refused_before_anything_is_read)
{
    struct buf b;
    struct err err;
    buf_init(&b, 1 << 20);
    cr_expect_eq(torch_file_put(&b, DTYPE_F32, 1u << 16, 1u << 14, NULL, &err), -1);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_eq(b.len, 0);
    buf_free(&b);
}
