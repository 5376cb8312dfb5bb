/* A tokenizer.json and a text, with a NUL between: loads the one, encodes the other, decodes it back both ways.
 * Without a NUL all bytes are the file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "user/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_both_ways(const struct tokenizer *t, const struct token_ids *ids, bool skip)
{
    struct tokenizer_stream *s = NULL;
    char *text = NULL;
    size_t len, at = 0;
    if (tokenizer_decode(t, ids->ids, ids->n, skip, &text, &len, NULL) != 0)
        return;
    if (tokenizer_stream_new(&s, t, skip, NULL) != 0)
        abort();
    for (size_t i = 0; i <= ids->n; i++) {
        const char *piece;
        size_t n;
        if ((i < ids->n ? tokenizer_stream_feed(s, ids->ids[i], &piece, &n, NULL) : tokenizer_stream_end(s, &piece, &n, NULL)) !=
            0)
            abort();
        if (n > len - at || memcmp(text + at, piece, n) != 0)
            abort();
        at += n;
    }
    if (at != len)
        abort();
    tokenizer_stream_free(s);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tokenizer *t = NULL;
    struct token_ids ids = {0};
    struct err err;
    const uint8_t *nul = size == 0 ? NULL : memchr(data, 0, size);
    size_t json_len = nul == NULL ? size : (size_t)(nul - data);
    const char *text = nul == NULL ? "a b" : (const char *)nul + 1;
    size_t len = nul == NULL ? 3 : size - json_len - 1;
    if (tokenizer_parse(&t, (const char *)data, json_len, "fuzz.json", &err) != 0)
        return 0;
    if (tokenizer_encode(t, text, len, text, len / 2, true, &ids, &err) == 0) {
        decode_both_ways(t, &ids, false);
        decode_both_ways(t, &ids, true);
    }
    token_ids_free(&ids);
    tokenizer_free(t);
    return 0;
}
