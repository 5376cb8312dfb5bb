/* tests/support/developer.h - a model developer for one test: an identity, a random checkpoint, its package.
 *
 * Data flow   architecture + shape -> DIR/plain (with small tokenizer files) -> protect -> DIR/out, opened as a release.
 * Errors      a step that fails ends the test with a message.
 * Memory      developer_make fills; developer_free releases.
 * Secrets     of a test.
 */
#ifndef STIP_TESTS_SUPPORT_DEVELOPER_H
#define STIP_TESTS_SUPPORT_DEVELOPER_H

#include "model_dev/release.h"
#include "tests/support/synth.h"
#include "transport/identity.h"

struct developer {
    char plain[FILE_PATH_MAX], out[FILE_PATH_MAX];
    struct identity *identity;
    struct release release;
};

/* head: NULL, "server" or "user". */
void developer_make(struct developer *d, const char *dir, const char *architecture, const struct synth_shape *shape,
                    uint64_t seed, const char *head);
/* Another package of the same checkpoint by the same developer. */
void developer_protect_again(struct developer *d, const char *head);
void developer_free(struct developer *d);

#endif
