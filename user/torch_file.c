#include "user/torch_file.h"

#include <assert.h>
#include <string.h>
#include <zlib.h>

#include "base/size.h"

#define FILES 3
#define TOP "archive/"
#define PAYLOAD_MAX 0x70000000u /* numbers and bytes fit into signed 32 bits, with room for the rest of the archive */

struct entry {
    const char *name;
    const void *data;
    uint32_t len, crc, at; /* at: where its header begins */
};

/* ------------------------------------------------------------------ the pickle: torch._utils._rebuild_tensor_v2(...) */

static void put_text(struct buf *b, const char *text)
{
    buf_put8(b, 'X');
    buf_put32(b, (uint32_t)strlen(text));
    buf_put_str(b, text);
}

static void put_int(struct buf *b, uint32_t value)
{
    buf_put8(b, 'J');
    buf_put32(b, value);
}

static const char *storage_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? "FloatStorage" : dtype == DTYPE_BF16 ? "BFloat16Storage" : "HalfStorage";
}

static void put_pickle(struct buf *b, enum dtype dtype, uint32_t n, uint32_t D)
{
    buf_put_str(b, "\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(b, "storage");
    buf_printf(b, "ctorch\n%s\n", storage_of(dtype));
    put_text(b, "0");
    put_text(b, "cpu");
    put_int(b, n * D);
    buf_put_str(b, "tQ"); /* the storage, by what names it */
    put_int(b, 0);        /* offset */
    put_int(b, n);
    put_int(b, D);
    buf_put_str(b, "\x86"); /* shape */
    put_int(b, D);
    put_int(b, 1);
    buf_put_str(b, "\x86" "\x89" "ccollections\nOrderedDict\n)RtR."); /* strides; no gradient; no hooks */
}

/* ------------------------------------------------------------------ the zip around it */

/* What the header before a file and the directory's line about it share. */
static void put_about(struct buf *b, const struct entry *e)
{
    buf_put16(b, 20); /* version needed */
    buf_put16(b, 0);
    buf_put16(b, 0); /* stored */
    buf_put16(b, 0);
    buf_put16(b, 1 << 5 | 1); /* 1980-01-01 */
    buf_put32(b, e->crc);
    buf_put32(b, e->len);
    buf_put32(b, e->len);
    buf_put16(b, (uint16_t)strlen(e->name));
    buf_put16(b, 0); /* extra field */
}

static void put_zip(struct buf *b, struct entry files[FILES])
{
    const size_t start = b->len;
    for (int i = 0; i < FILES; i++) {
        struct entry *e = &files[i];
        e->at = (uint32_t)(b->len - start);
        e->crc = (uint32_t)crc32(0, e->data, e->len);
        buf_put32(b, 0x04034b50);
        put_about(b, e);
        buf_put_str(b, e->name);
        buf_put(b, e->data, e->len);
    }
    const uint32_t directory = (uint32_t)(b->len - start);
    for (int i = 0; i < FILES; i++) {
        buf_put32(b, 0x02014b50);
        buf_put16(b, 20); /* version made by */
        put_about(b, &files[i]);
        buf_put16(b, 0); /* comment */
        buf_put16(b, 0); /* disk */
        buf_put16(b, 0); /* attributes */
        buf_put32(b, 0);
        buf_put32(b, files[i].at);
        buf_put_str(b, files[i].name);
    }
    const uint32_t end = (uint32_t)(b->len - start);
    buf_put32(b, 0x06054b50);
    buf_put16(b, 0); /* disks */
    buf_put16(b, 0);
    buf_put16(b, FILES);
    buf_put16(b, FILES);
    buf_put32(b, end - directory);
    buf_put32(b, directory);
    buf_put16(b, 0); /* comment */
}

int torch_file_put(struct buf *out, enum dtype dtype, uint32_t n, uint32_t D, const void *rows, struct err *err)
{
    struct buf pickle;
    size_t bytes;
    assert(dtype_is_float(dtype));
    if (size_mul((size_t)n * D, dtype_size(dtype), &bytes) || bytes > PAYLOAD_MAX)
        return err_set(err, ERR_INPUT, "%u rows of %u numbers are too many for one request", n, D);
    buf_init(&pickle, 1024);
    put_pickle(&pickle, dtype, n, D);
    int rc = buf_check(&pickle, "a tensor's header", err);
    if (rc == 0) {
        struct entry files[FILES] = {{.name = TOP "data.pkl", .data = pickle.data, .len = (uint32_t)pickle.len},
                                     {.name = TOP "data/0", .data = rows, .len = (uint32_t)bytes},
                                     {.name = TOP "version", .data = "3\n", .len = 2}};
        put_zip(out, files);
        rc = buf_check(out, "a tensor", err);
    }
    buf_free(&pickle);
    return rc;
}
