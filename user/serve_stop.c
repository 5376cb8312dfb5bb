#include "user/serve_stop.h"

#include <string.h>

size_t stop_scan(const char *text, size_t len, size_t seen, const char *const *stop, int count, bool *found)
{
    size_t safe = len;
    *found = false;
    for (int i = 0; i < count; i++) {
        size_t n = strlen(stop[i]), from = seen >= n ? seen - n + 1 : 0;
        const char *at = n > 0 && len - from >= n ? memmem(text + from, len - from, stop[i], n) : NULL;
        if (at != NULL && (!*found || (size_t)(at - text) < safe)) {
            safe = (size_t)(at - text);
            *found = true;
        }
    }
    for (int i = 0; i < count && !*found; i++) {
        size_t n = strlen(stop[i]);
        for (size_t tail = n - 1 < len ? n - 1 : len; n > 0 && tail > 0; tail--)
            if (memcmp(text + len - tail, stop[i], tail) == 0) {
                safe = len - tail < safe ? len - tail : safe;
                break;
            }
    }
    return safe;
}
