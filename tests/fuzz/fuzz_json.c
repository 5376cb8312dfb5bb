/* base/json: any bytes either parse, and then print and parse again to the same text, or are refused. The first byte says
 * whether comments are allowed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *print(const struct json_doc *doc)
{
    char *text = NULL;
    struct err err;
    if (json_print(doc, false, &text, &err) != 0)
        abort();
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_doc *doc = NULL, *again = NULL;
    struct err err;
    if (size == 0)
        return 0;
    if (json_parse(&doc, (const char *)data + 1, size - 1, data[0] % 2 == 1, "fuzz", &err) != 0)
        return 0;
    char *first = print(doc);
    if (json_parse(&again, first, strlen(first), false, "again", &err) != 0)
        abort();
    char *second = print(again);
    if (strcmp(first, second) != 0)
        abort();
    free(first);
    free(second);
    json_free(doc);
    json_free(again);
    return 0;
}
