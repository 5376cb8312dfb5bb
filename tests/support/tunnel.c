#include "tests/support/tunnel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define PACKET_MAX 1500
#define PARTS_OF_ONE 1000000.0
#define IDLE_US 100000

/* Between the test and the process that is the line. */
struct shared {
    atomic_uint_least64_t delay_us, jitter_us, loss_ppm, rate_kbit, hole;
    atomic_uint_least64_t packets, lost, dropped;
};

struct tunnel {
    int home, space[TUNNEL_SIDES], device[TUNNEL_SIDES];
    pid_t relay;
    struct shared *shared;
};

/* ------------------------------------------------------------------ the line, in a process of its own */

struct packet {
    uint64_t due_us, number;
    int to;
    size_t len;
    uint8_t bytes[PACKET_MAX];
};

struct relay {
    struct shared *shared;
    int device[TUNNEL_SIDES];
    uint64_t free_us[TUNNEL_SIDES]; /* when a direction has sent what it has */
    uint64_t random, numbers;
    struct packet *heap[TUNNEL_PACKETS]; /* the first is the next to leave; behind the heap: free ones */
    size_t count;
};

static uint64_t draw(struct relay *r)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    return r->random >> 33;
}

static bool sooner(const struct packet *a, const struct packet *b)
{
    return a->due_us < b->due_us || (a->due_us == b->due_us && a->number < b->number);
}

static void swap(struct relay *r, size_t a, size_t b)
{
    struct packet *p = r->heap[a];
    r->heap[a] = r->heap[b];
    r->heap[b] = p;
}

/* The packet behind the heap becomes one of it. */
static void push(struct relay *r)
{
    for (size_t i = r->count++; i > 0 && sooner(r->heap[i], r->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(r, i, (i - 1) / 2);
}

/* The first leaves the heap and lies behind it. */
static void pop(struct relay *r)
{
    swap(r, 0, --r->count);
    for (size_t i = 0, child; (child = 2 * i + 1) < r->count; i = child) {
        if (child + 1 < r->count && sooner(r->heap[child + 1], r->heap[child]))
            child++;
        if (!sooner(r->heap[child], r->heap[i]))
            break;
        swap(r, i, child);
    }
}

/* What came in on one side: when it leaves on the other, if it does. */
static void take(struct relay *r, int from)
{
    struct shared *s = r->shared;
    uint8_t spare[PACKET_MAX];
    struct packet *p = r->count < TUNNEL_PACKETS ? r->heap[r->count] : NULL;
    const ssize_t n = read(r->device[from], p == NULL ? spare : p->bytes, PACKET_MAX);
    if (n <= 0 || (p == NULL ? spare : p->bytes)[0] >> 4 != 4) /* IPv6 looks for routers by itself; it shall not draw lots */
        return;
    atomic_fetch_add(&s->packets, 1);
    const uint64_t fate = draw(r) % (uint64_t)PARTS_OF_ONE, jitter = s->jitter_us, chance = draw(r), rate = s->rate_kbit;
    if (s->hole != 0 || fate < s->loss_ppm) {
        atomic_fetch_add(&s->lost, 1);
        return;
    }
    if (p == NULL) {
        atomic_fetch_add(&s->dropped, 1);
        return;
    }
    uint64_t leave = clock_us();
    if (rate > 0) {
        if (r->free_us[from] > leave)
            leave = r->free_us[from];
        r->free_us[from] = leave += (uint64_t)n * 8000 / rate;
    }
    p->due_us = leave + s->delay_us + (jitter > 0 ? chance % (2 * jitter + 1) : 0) - jitter;
    p->number = r->numbers++;
    p->to = 1 - from;
    p->len = (size_t)n;
    push(r);
}

static void run(struct relay *r)
{
    for (;;) {
        uint64_t now = clock_us();
        for (; r->count > 0 && r->heap[0]->due_us <= now; pop(r))
            (void)!write(r->device[r->heap[0]->to], r->heap[0]->bytes, r->heap[0]->len);
        const uint64_t wait = r->count > 0 ? r->heap[0]->due_us - now : IDLE_US;
        const struct timespec t = {.tv_sec = (time_t)(wait / 1000000), .tv_nsec = (long)(wait % 1000000) * 1000};
        struct pollfd fd[TUNNEL_SIDES] = {{.fd = r->device[0], .events = POLLIN}, {.fd = r->device[1], .events = POLLIN}};
        if (ppoll(fd, TUNNEL_SIDES, &t, NULL) <= 0)
            continue;
        for (int side = 0; side < TUNNEL_SIDES; side++)
            if (fd[side].revents & POLLIN)
                take(r, side);
    }
}

static void relay(const struct tunnel *t, uint64_t seed, pid_t parent)
{
    static struct relay r;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    struct packet *packets = calloc(TUNNEL_PACKETS, sizeof *packets);
    if (packets == NULL || getppid() != parent)
        _exit(1);
    r.shared = t->shared;
    r.random = seed;
    for (int side = 0; side < TUNNEL_SIDES; side++)
        r.device[side] = t->device[side];
    for (size_t i = 0; i < TUNNEL_PACKETS; i++)
        r.heap[i] = &packets[i];
    run(&r);
}

/* ------------------------------------------------------------------ its ends */

static int flag_up(int ctl, const char *name)
{
    struct ifreq ask = {0};
    (void)snprintf(ask.ifr_name, sizeof ask.ifr_name, "%s", name);
    if (ioctl(ctl, SIOCGIFFLAGS, &ask) != 0)
        return -1;
    ask.ifr_flags = (short)(ask.ifr_flags | IFF_UP | IFF_RUNNING);
    return ioctl(ctl, SIOCSIFFLAGS, &ask);
}

/* What waits to be read by the relay, else a burst is lost before it is counted. */
static int lengthen_queue(int ctl)
{
    struct ifreq ask = {.ifr_name = "tun0", .ifr_qlen = TUNNEL_PACKETS};
    return ioctl(ctl, SIOCSIFTXQLEN, &ask);
}

static int set_address(int ctl, unsigned long what, const char *address)
{
    struct ifreq ask = {.ifr_name = "tun0"};
    struct sockaddr_in a = {.sin_family = AF_INET};
    (void)inet_pton(AF_INET, address, &a.sin_addr);
    memcpy(&ask.ifr_addr, &a, sizeof a);
    return ioctl(ctl, what, &ask);
}

/* In a new namespace, which this process is in then. */
static int make_end(struct tunnel *t, enum tunnel_side side)
{
    static const char *const address[TUNNEL_SIDES] = {TUNNEL_USER_ADDRESS, TUNNEL_SERVER_ADDRESS};
    struct ifreq ask = {.ifr_name = "tun0", .ifr_flags = IFF_TUN | IFF_NO_PI};
    int ctl = -1, rc = -1;
    if (unshare(CLONE_NEWNET) == 0 && (t->space[side] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) >= 0 &&
        (t->device[side] = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)) >= 0 && ioctl(t->device[side], TUNSETIFF, &ask) == 0 &&
        (ctl = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) >= 0 && set_address(ctl, SIOCSIFADDR, address[side]) == 0 &&
        set_address(ctl, SIOCSIFDSTADDR, address[1 - side]) == 0 && lengthen_queue(ctl) == 0 &&
        flag_up(ctl, "tun0") == 0)
        rc = flag_up(ctl, "lo");
    const int error = errno;
    if (ctl >= 0)
        (void)close(ctl);
    errno = error;
    return rc;
}

static void enter(int space)
{
    if (space >= 0 && setns(space, CLONE_NEWNET) != 0) {
        (void)fprintf(stderr, "tests/support/tunnel: cannot enter a namespace: %s\n", strerror(errno));
        abort();
    }
}

int tunnel_open(struct tunnel **out, uint64_t seed, struct err *err)
{
    const pid_t self = getpid();
    struct tunnel *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_oom(err, sizeof *t);
    *t = (struct tunnel){.home = -1, .space = {-1, -1}, .device = {-1, -1}};
    t->shared = mmap(NULL, sizeof *t->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t->shared == MAP_FAILED || (t->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0 || make_end(t, TUNNEL_USER) != 0 ||
        make_end(t, TUNNEL_SERVER) != 0 || (t->relay = fork()) < 0) {
        err_set(err, ERR_INTERNAL, "no network namespaces with TUN devices here (needs root): %s", strerror(errno));
        tunnel_close(t);
        return -1;
    }
    if (t->relay == 0)
        relay(t, seed, self);
    enter(t->home);
    *out = t;
    return 0;
}

void tunnel_close(struct tunnel *t)
{
    if (t == NULL)
        return;
    if (t->relay > 0) {
        (void)kill(t->relay, SIGKILL);
        (void)waitpid(t->relay, NULL, 0);
    }
    enter(t->home);
    const int fds[] = {t->home, t->space[0], t->space[1], t->device[0], t->device[1]};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    if (t->shared != MAP_FAILED)
        (void)munmap(t->shared, sizeof *t->shared);
    free(t);
}

void tunnel_set(struct tunnel *t, const struct tunnel_line *line)
{
    t->shared->delay_us = (uint64_t)(line->delay_ms * 1000);
    t->shared->jitter_us = (uint64_t)(line->jitter_ms * 1000);
    t->shared->loss_ppm = (uint64_t)(line->loss * PARTS_OF_ONE);
    t->shared->rate_kbit = (uint64_t)(line->rate_mbit * 1000);
    t->shared->hole = line->hole;
}

void tunnel_enter(const struct tunnel *t, enum tunnel_side side)
{
    enter(t->space[side]);
}

struct tunnel_counts tunnel_counts(const struct tunnel *t)
{
    return (struct tunnel_counts){t->shared->packets, t->shared->lost, t->shared->dropped};
}
