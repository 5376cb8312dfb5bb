/* Any bytes as a key line and as a key file: refused, or a key whose text reads back as the same key. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "transport/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err;
    struct peer_key key, back;
    struct identity *id = NULL;
    char *text = malloc(size + 1), again[PEER_KEY_TEXT];
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (peer_key_parse(&key, text, &err) == 0) {
        peer_key_text(&key, again);
        assert(strstr(text, again) != NULL);
        assert(peer_key_parse(&back, again, &err) == 0 && peer_key_equal(&key, &back));
    }
    free(text);
    if (identity_parse(&id, data, size, "fuzz", &err) == 0)
        identity_free(id);
    return 0;
}
