/* transport/allow: who is on the list, and who is the probe. */
#include <criterion/criterion.h>
#include <string.h>

#include "transport/allow.h"

enum { MANY = 300 };

static struct err err;

/* Keys that differ in their last byte and the one before only, so that a comparison that ends early shows. */
static struct peer_key key_of(int i)
{
    struct peer_key k = {0};
    k.curve_pub[31] = (uint8_t)(i * 37 % MANY);
    k.curve_pub[30] = (uint8_t)(i * 37 % MANY >> 8);
    k.sign_pub[0] = (uint8_t)i;
    k.sign_pub[1] = (uint8_t)(i >> 8);
    return k;
}

/* Mutations: the list is not sorted; only the beginning of a key is compared; a shorter list keeps the end of the longer one. */
Test(allow, everybody_on_the_list_is_found_and_nobody_else)
{
    static struct peer_key keys[MANY];
    struct allow *a = NULL;
    struct peer_key found;
    for (int i = 0; i < MANY; i++)
        keys[i] = key_of(i);
    cr_assert_eq(allow_new(&a, &err), 0);
    cr_expect_not(allow_find(a, keys[0].curve_pub, &found), "a list without keys admits nobody");
    for (int n = MANY; n >= 0; n -= 75) {
        cr_assert_eq(allow_set(a, keys, (size_t)n, &err), 0);
        for (int i = 0; i < MANY; i++) {
            memset(&found, 0, sizeof found);
            cr_expect_eq(allow_find(a, keys[i].curve_pub, &found), i < n, "key %d of %d", i, n);
            cr_expect(i >= n || peer_key_equal(&found, &keys[i]), "key %d", i);
        }
    }
    allow_free(a);
}

/* Mutations: whoever comes while there is a probe is taken for it; the probe is counted as a stranger; it is never said. */
Test(allow, the_probe_is_told_from_strangers)
{
    const struct peer_key probe = key_of(1), stranger = key_of(2);
    struct allow *a = NULL;
    cr_assert_eq(allow_new(&a, &err), 0);
    cr_expect(allow_count_refused(a, stranger.curve_pub));
    allow_probe(a, probe.curve_pub);
    cr_expect(allow_count_refused(a, stranger.curve_pub));
    cr_expect_not(allow_probe_refused(a), "a stranger was taken for the probe");
    cr_expect_not(allow_count_refused(a, probe.curve_pub), "not worth a line in the log");
    cr_expect(allow_probe_refused(a));
    cr_expect_eq(allow_refused(a), 2);
    allow_probe(a, probe.curve_pub);
    cr_expect_not(allow_probe_refused(a), "of the probe before");
    allow_free(a);
}
