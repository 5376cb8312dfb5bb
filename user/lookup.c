#include "user/lookup.h"

/* How many tokens before `end` are those at the end of the history. */
static int match_at(const int32_t *history, int n, int end)
{
    int length = 0;
    while (length < LOOKUP_LONGEST && length < end && history[end - 1 - length] == history[n - 1 - length])
        length++;
    return length;
}

int lookup_drafts(const int32_t *history, int n, int k, int32_t *drafts)
{
    int best = 0, next = 0;
    for (int end = n - 1; end > 0 && best < LOOKUP_LONGEST; end--) {
        int length = match_at(history, n, end);
        if (length > best) {
            best = length;
            next = end;
        }
    }
    for (int i = 0; best > 0 && i < k; i++)
        drafts[i] = next + i < n ? history[next + i] : drafts[next + i - n];
    return best;
}
