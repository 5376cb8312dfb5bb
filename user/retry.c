#include "user/retry.h"

#include <time.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"

#define FIRST_WAIT_MS 50
#define LONGEST_WAIT_MS 5000
#define LOOK_MS 50 /* how often it is looked whether the answer is still wanted */

void retry_begin(struct retry *r, int retry_ms)
{
    r->start_ms = clock_ms();
    r->end_ms = r->start_ms + (uint64_t)retry_ms;
    r->wait_ms = 0;
}

static void sleep_ms(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L};
    (void)nanosleep(&t, NULL);
}

int retry_wait(struct retry *r, const atomic_bool *abandoned, struct err *err)
{
    const uint64_t now = clock_ms();
    uint8_t chance;
    struct err no_chance;
    if (now >= r->end_ms)
        return err_wrap(err, "gave up after %.1f s", (double)(now - r->start_ms) / 1000);
    if (r->wait_ms == 0) {
        log_warn("%s; trying again for up to %.0f s", err->text, (double)(r->end_ms - now) / 1000);
        r->wait_ms = FIRST_WAIT_MS;
    } else if ((r->wait_ms *= 2) > LONGEST_WAIT_MS)
        r->wait_ms = LONGEST_WAIT_MS;
    if (crypto_random(&chance, 1, &no_chance) != 0)
        chance = 0;
    uint64_t ms = (uint64_t)(r->wait_ms - r->wait_ms * chance / 512);
    if (ms > r->end_ms - now)
        ms = r->end_ms - now;
    for (const uint64_t end = now + ms; clock_ms() < end;) {
        if (abandoned != NULL && atomic_load(abandoned))
            return err_set(err, ERR_PEER, "nobody waits for the answer any more");
        const uint64_t left = end - clock_ms();
        sleep_ms(left < LOOK_MS ? left : LOOK_MS);
    }
    return 0;
}
