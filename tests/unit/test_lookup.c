/* user/lookup: against a slow twin that knows no end of a match, and the cases that decide what is guessed. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "user/lookup.h"

#define N(list) ((int)(sizeof(list) / sizeof *(list)))

Test(lookup, the_longest_match_wins_and_of_equals_the_latest)
{
    const int32_t longest[] = {1, 2, 3, 7, 9, 3, 8, 1, 2, 3}, latest[] = {5, 1, 5, 2, 5}, fresh[] = {1, 2, 3};
    int32_t out[3];
    cr_expect_eq(lookup_drafts(longest, N(longest), 3, out), 3);
    cr_expect(out[0] == 7 && out[1] == 9 && out[2] == 3, "what followed 1 2 3, not what followed the later 3");
    cr_expect_eq(lookup_drafts(latest, N(latest), 1, out), 1);
    cr_expect_eq(out[0], 2, "the latest 5 that something follows");
    cr_expect_eq(lookup_drafts(fresh, N(fresh), 3, out), 0);
    cr_expect_eq(lookup_drafts(fresh, 1, 3, out), 0);
}

/* Mutation: reading on behind the transcript, or stopping there. */
Test(lookup, a_text_that_repeats_is_guessed_to_go_on_repeating)
{
    const int32_t one[] = {4, 6, 6}, three[] = {1, 2, 3, 1, 2, 3};
    int32_t out[7];
    cr_expect_eq(lookup_drafts(one, N(one), 7, out), 1);
    for (int i = 0; i < 7; i++)
        cr_expect_eq(out[i], 6);
    cr_expect_eq(lookup_drafts(three, N(three), 7, out), 3);
    for (int i = 0; i < 7; i++)
        cr_expect_eq(out[i], i % 3 + 1);
}

static int slow(const int32_t *h, int n, int *next)
{
    for (int length = LOOKUP_LONGEST; length > 0; length--)
        for (int end = n - 1; end >= length; end--)
            if (memcmp(h + end - length, h + n - length, (size_t)length * sizeof *h) == 0) {
                *next = end;
                return length;
            }
    return 0;
}

Test(lookup, random_texts_give_what_the_slow_twin_finds)
{
    uint64_t state = 1;
    int32_t h[60], out[5];
    for (int round = 0; round < 20000; round++) {
        int n = 1 + round % 60, letters = 2 + round % 4, next = 0;
        for (int i = 0; i < n; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            h[i] = (int32_t)((state >> 33) % (unsigned)letters);
        }
        int length = slow(h, n, &next);
        cr_assert_eq(lookup_drafts(h, n, 5, out), length);
        for (int i = 0; length > 0 && i < 5 && next + i < n; i++)
            cr_assert_eq(out[i], h[next + i]);
    }
}
