/* Events of a stream: the short way of writing one gives what the document gives. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "user/serve_chunk.h"

/* Mutations: the name of the member looked for alone, without quotes (the model's name holds it); the two quotes of the empty text left in. */
Test(serve_chunk, a_framed_event_is_the_document_of_the_same_text)
{
    static const char *const texts[] = {"", "plain", "a \"quoted\" \\ line\nand\ttab\x01", "caf\xc3\xa9 \xf0\x9f\xa6\x8a", "\"content\":\"\""};
    static const uint8_t context[32] = {0xab, 0xcd};
    for (int chat = 0; chat < 2; chat++) {
        const struct chunk_head h = {.chat = chat != 0, .id = "cmpl-1", .model = "\"content\":\"\" \"text\":\"\"", .created = 1790000000, .context = context};
        struct chunk_frame f;
        cr_assert_eq(chunk_frame(&f, &h, 3), 0);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            struct json_doc *doc = chunk_text(&h, 3, texts[i], strlen(texts[i]), NULL, 0, -1, 0);
            char *printed = NULL;
            struct err err;
            struct buf b;
            cr_assert_eq(json_print(doc, false, &printed, &err), 0);
            buf_init(&b, 4096);
            chunk_framed(&f, texts[i], strlen(texts[i]), &b);
            buf_put8(&b, 0);
            cr_expect_str_eq((const char *)b.data, printed);
            buf_free(&b);
            free(printed);
            json_free(doc);
        }
        chunk_frame_free(&f);
    }
}
