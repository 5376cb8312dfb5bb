/* user/serve_stop against the slow way: all that may be shown of a text that comes in pieces. */
#include <criterion/criterion.h>
#include <string.h>

#include "user/serve_stop.h"

static unsigned state = 1;

static unsigned roll(unsigned n)
{
    state = state * 1103515245u + 12345u;
    return (state >> 16) % n;
}

/* Where the first stop text begins, or how much is left when every beginning of one at the end is taken off. */
static size_t slow(const char *text, size_t len, const char *const *stop, int count, bool *found)
{
    *found = false;
    for (size_t at = 0; at < len; at++)
        for (int i = 0; i < count; i++)
            if (len - at >= strlen(stop[i]) && memcmp(text + at, stop[i], strlen(stop[i])) == 0) {
                *found = true;
                return at;
            }
    for (size_t at = 0; at < len; at++)
        for (int i = 0; i < count; i++)
            if (len - at < strlen(stop[i]) && memcmp(text + at, stop[i], len - at) == 0)
                return at;
    return len;
}

/* Mutation: look only at the new piece, hold the shortest beginning back instead of the longest, the last match instead of the
 * first. */
Test(serve_stop, pieces_of_a_text_show_what_the_whole_text_would)
{
    static const char *const stop[] = {"ab", "bba", "aaab", "c"};
    char text[40];
    size_t stopped = 0, held = 0;
    for (int round = 0; round < 20000; round++) {
        int count = (int)roll(5);
        size_t len = 0, seen = 0;
        bool found = false;
        while (len < sizeof text - 4 && !found) {
            for (unsigned n = roll(4); n > 0; n--)
                text[len++] = (char)("aabbd"[roll(5)] + (roll(40) == 0 ? 1 : 0));
            bool expected;
            size_t right = slow(text, len, stop, count, &expected), got = stop_scan(text, len, seen, stop, count, &found);
            cr_assert(got == right && found == expected, "%.*s with %d stops: %zu %d, expected %zu %d", (int)len, text, count,
                      got, found, right, expected);
            held += got < len && !found;
            seen = len;
        }
        stopped += found;
    }
    cr_expect_gt(stopped, 5000);
    cr_expect_gt(held, 5000);
}
