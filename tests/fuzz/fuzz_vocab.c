/* The files of older tokenizers: the first byte says which, a NUL stands between vocab.json and merges.txt. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tests/fuzz/folder.h"
#include "user/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tokenizer *t = NULL;
    struct token_ids ids = {0};
    struct err err;
    static bool made;
    if (!made)
        folder_take();
    made = true;
    if (size < 1)
        return 0;
    const uint8_t *nul = memchr(data + 1, 0, size - 1);
    const size_t first = nul == NULL ? size - 1 : (size_t)(nul - data) - 1;
    if (data[0] % 2 == 0) {
        folder_put("vocab.txt", data + 1, size - 1);
    } else {
        folder_put("vocab.json", data + 1, first);
        folder_put("merges.txt", nul == NULL ? data : nul + 1, nul == NULL ? 0 : size - first - 2);
    }
    if (tokenizer_load(&t, folder(), &err) == 0 && tokenizer_encode(t, "a b hello", 9, NULL, 0, true, &ids, &err) == 0)
        token_ids_free(&ids);
    tokenizer_free(t);
    folder_drop("vocab.txt");
    folder_drop("vocab.json");
    folder_drop("merges.txt");
    return 0;
}
