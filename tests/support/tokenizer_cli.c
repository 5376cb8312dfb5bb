/* tests/support/tokenizer_cli.c - many texts through one tokenizer; the other half of scripts/tokenizer_oracle.mjs.
 *
 *   tokenizer_cli FOLDER < requests > answers
 *
 * A request is the lengths of two texts (u32 little-endian; 0xFFFFFFFF: there is no second one) and their bytes. An
 * answer is one line {"ids":[...],"types":[...],"text":"...","skip":"..."}: the ids with special tokens, and both ways of
 * decoding them, each done id by id. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/le.h"
#include "user/tokenizer.h"

static void check(int rc, const struct err *err)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "%s\n", err->text);
    exit((int)err->code);
}

static char *read_text(uint32_t len)
{
    char *text = len == UINT32_MAX ? NULL : malloc((size_t)len + 1);
    if (text != NULL && fread(text, 1, len, stdin) != len) {
        (void)fprintf(stderr, "a request is cut short\n");
        exit(ERR_INPUT);
    }
    return text;
}

static void print_list(const char *key, const int32_t *list, size_t n)
{
    printf("\"%s\":[", key);
    for (size_t i = 0; i < n; i++)
        printf("%s%d", i == 0 ? "" : ",", (int)list[i]);
    printf("],");
}

static void print_piece(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == '"' || text[i] == '\\')
            printf("\\u%04x", (unsigned)text[i]);
        else
            (void)putchar(text[i]);
}

static void print_decoded(const struct tokenizer *t, const struct token_ids *ids, const char *key, bool skip_special)
{
    struct err err;
    struct tokenizer_stream *s;
    const char *text;
    size_t len;
    check(tokenizer_stream_new(&s, t, skip_special, &err), &err);
    printf("\"%s\":\"", key);
    for (size_t i = 0; i < ids->n; i++) {
        check(tokenizer_stream_feed(s, ids->ids[i], &text, &len, &err), &err);
        print_piece(text, len);
    }
    check(tokenizer_stream_end(s, &text, &len, &err), &err);
    print_piece(text, len);
    tokenizer_stream_free(s);
}

int main(int argc, char **argv)
{
    struct err err;
    struct tokenizer *t;
    uint8_t head[8];
    if (argc != 2) {
        (void)fprintf(stderr, "usage: tokenizer_cli FOLDER < requests > answers\n");
        return ERR_USAGE;
    }
    check(tokenizer_load(&t, argv[1], &err), &err);
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        uint32_t len = le_get32(head), pair_len = le_get32(head + 4);
        char *text = read_text(len), *pair = read_text(pair_len);
        struct token_ids ids = {0};
        check(tokenizer_encode(t, text, len, pair, pair == NULL ? 0 : pair_len, true, &ids, &err), &err);
        printf("{");
        print_list("ids", ids.ids, ids.n);
        print_list("types", ids.type_ids, ids.n);
        print_decoded(t, &ids, "text", false);
        printf("\",");
        print_decoded(t, &ids, "skip", true);
        printf("\"}\n");
        token_ids_free(&ids);
        free(text);
        free(pair);
    }
    tokenizer_free(t);
    return 0;
}
