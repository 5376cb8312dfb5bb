#include "transport/role_keygen.h"

#include <stdio.h>

#include "transport/identity.h"

int role_keygen(const char *dir, bool json, struct err *err)
{
    struct identity *id;
    char text[PEER_KEY_TEXT], fingerprint[FINGERPRINT_TEXT];
    if (identity_generate(&id, err) != 0)
        return -1;
    int rc = identity_save(id, dir, err);
    if (rc == 0) {
        struct peer_key key = identity_public(id);
        peer_key_text(&key, text);
        peer_key_fingerprint(&key, fingerprint);
        printf(json ? "{\"key\":\"%s\",\"fingerprint\":\"%s\",\"folder\":\"%s\"}\n"
                    : "%s\nfingerprint %s\nwritten to %s: give identity.pub to the other parties, keep identity.key\n",
               text, fingerprint, dir);
    }
    identity_free(id);
    return rc;
}
