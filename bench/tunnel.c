#include "bench/tunnel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
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

#define PACKET_MAX 65536
#define PARTS_OF_ONE 1000000.0
#define IDLE_US 100000
#define BURST 16 /* packets of one device, before another's turn */

/* Between the process that opened and the one that is the line. */
struct shared {
    atomic_uint_least64_t delay_us, jitter_us, loss_ppm, rate_kbit, hole, ends;
    atomic_uint_least64_t packets, bytes, lost, dropped;
};

struct tunnel {
    int home, ends, space[TUNNEL_ENDS_MAX], device[TUNNEL_ENDS_MAX];
    bool segments;
    pid_t relay;
    struct shared *shared;
};

/* ------------------------------------------------------------------ the lines, in a process of their own */

struct packet {
    uint64_t due_us, number;
    int to;
    size_t len;
    uint8_t bytes[sizeof(struct virtio_net_hdr) + PACKET_MAX];
};

struct relay {
    struct shared *shared;
    int ends, device[TUNNEL_ENDS_MAX];
    size_t head; /* bytes that stand before each packet */
    uint64_t free_us[TUNNEL_ENDS_MAX][TUNNEL_ENDS_MAX]; /* from, to: when the direction has sent what it has */
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

/* Bytes of a packet on the line: one of several segments is cut there, and its headers stand before each. */
static size_t on_the_line(const struct relay *r, const struct packet *p)
{
    struct virtio_net_hdr h = {0};
    const uint8_t *ip = p->bytes + r->head;
    const size_t len = p->len - r->head, head = (size_t)(ip[0] & 15) * 4;
    memcpy(&h, p->bytes, r->head);
    if (h.gso_type == VIRTIO_NET_HDR_GSO_NONE || h.gso_size == 0 || len < head + 20)
        return len;
    const size_t headers = head + (size_t)(ip[head + 12] >> 4) * 4;
    return len <= headers ? len : len + ((len - headers + h.gso_size - 1) / h.gso_size - 1) * headers;
}

/* Which end it is for: addresses end with the end's number plus one. */
static int goes_to(const struct relay *r, const struct packet *p, int from)
{
    const uint8_t *ip = p->bytes + r->head;
    if (p->len < r->head + 20 || ip[0] >> 4 != 4) /* IPv6 looks for routers by itself; it shall not draw lots */
        return -1;
    const int to = ip[19] - 1;
    return to >= 0 && to < r->ends && to != from ? to : -1;
}

/* What came in at one end: when it leaves at the other, if it does. False: nothing came. */
static bool take(struct relay *r, int from)
{
    static struct packet spare;
    struct shared *s = r->shared;
    struct packet *p = r->count < TUNNEL_PACKETS ? r->heap[r->count] : &spare;
    const ssize_t n = read(r->device[from], p->bytes, sizeof p->bytes);
    if (n <= 0)
        return false;
    p->len = (size_t)n;
    p->to = goes_to(r, p, from);
    if (p->to < 0)
        return true;
    const size_t size = on_the_line(r, p);
    atomic_fetch_add(&s->packets, 1);
    atomic_fetch_add(&s->bytes, size);
    const uint64_t fate = draw(r) % (uint64_t)PARTS_OF_ONE, jitter = s->jitter_us, chance = draw(r), ends = s->ends;
    const bool slow = (uint64_t)from < ends && (uint64_t)p->to < ends;
    const uint64_t rate = slow ? s->rate_kbit : 0;
    if (slow && (s->hole != 0 || fate < s->loss_ppm)) {
        atomic_fetch_add(&s->lost, 1);
        return true;
    }
    if (p == &spare) {
        atomic_fetch_add(&s->dropped, 1);
        return true;
    }
    p->due_us = clock_us();
    if (rate > 0) {
        uint64_t *free_us = &r->free_us[from][p->to];
        if (*free_us > p->due_us)
            p->due_us = *free_us;
        *free_us = p->due_us += size * 8000 / rate;
    }
    if (slow)
        p->due_us += s->delay_us + (jitter > 0 ? chance % (2 * jitter + 1) : 0) - jitter;
    p->number = r->numbers++;
    push(r);
    return true;
}

static void run(struct relay *r)
{
    for (;;) {
        uint64_t now = clock_us();
        for (; r->count > 0 && r->heap[0]->due_us <= now; pop(r))
            (void)!write(r->device[r->heap[0]->to], r->heap[0]->bytes, r->heap[0]->len);
        const uint64_t wait = r->count > 0 ? r->heap[0]->due_us - now : IDLE_US;
        const struct timespec t = {.tv_sec = (time_t)(wait / 1000000), .tv_nsec = (long)(wait % 1000000) * 1000};
        struct pollfd fd[TUNNEL_ENDS_MAX];
        for (int end = 0; end < r->ends; end++)
            fd[end] = (struct pollfd){.fd = r->device[end], .events = POLLIN};
        if (ppoll(fd, (nfds_t)r->ends, &t, NULL) <= 0)
            continue;
        for (int end = 0; end < r->ends; end++)
            for (int i = 0; fd[end].revents & POLLIN && i < BURST && take(r, end); i++)
                continue;
    }
}

static void relay(const struct tunnel *t, uint64_t seed, pid_t parent)
{
    static struct relay r;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    (void)signal(SIGINT, SIG_IGN); /* of a terminal, to all: who opened the line closes it */
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    /* A line is not late because programs compute. Where that may not be asked for, it is one of them. */
    (void)sched_setscheduler(0, SCHED_RR, &(struct sched_param){.sched_priority = 1});
    struct packet *packets = mmap(NULL, TUNNEL_PACKETS * sizeof *packets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (packets == MAP_FAILED || getppid() != parent)
        _exit(1);
    r.shared = t->shared;
    r.random = seed;
    r.ends = t->ends;
    r.head = t->segments ? sizeof(struct virtio_net_hdr) : 0;
    for (int end = 0; end < t->ends; end++)
        r.device[end] = t->device[end];
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
static int make_end(struct tunnel *t, int end)
{
    struct ifreq ask = {.ifr_name = "tun0", .ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (t->segments ? IFF_VNET_HDR : 0))};
    int ctl = -1, rc = -1;
    if (unshare(CLONE_NEWNET) == 0 && (t->space[end] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) >= 0 &&
        (t->device[end] = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)) >= 0 && ioctl(t->device[end], TUNSETIFF, &ask) == 0 &&
        (!t->segments || ioctl(t->device[end], TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) == 0) &&
        (ctl = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) >= 0 && set_address(ctl, SIOCSIFADDR, tunnel_address(end)) == 0 &&
        set_address(ctl, SIOCSIFNETMASK, "255.255.255.0") == 0 && lengthen_queue(ctl) == 0 && flag_up(ctl, "tun0") == 0)
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
        (void)fprintf(stderr, "bench/tunnel: cannot enter a namespace: %s\n", strerror(errno));
        abort();
    }
}

int tunnel_open(struct tunnel **out, const struct tunnel_opts *opts, struct err *err)
{
    const pid_t self = getpid();
    bool made = true;
    struct tunnel *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_oom(err, sizeof *t);
    t->ends = opts->ends == 0 ? TUNNEL_SIDES : opts->ends;
    t->segments = opts->segments;
    t->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    for (int end = 0; end < TUNNEL_ENDS_MAX; end++)
        t->space[end] = t->device[end] = -1;
    t->shared = mmap(NULL, sizeof *t->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int end = 0; made && end < t->ends; end++)
        made = t->home >= 0 && t->shared != MAP_FAILED && make_end(t, end) == 0;
    if (!made || (t->relay = fork()) < 0) {
        err_set(err, ERR_INTERNAL, "no network namespaces with TUN devices here (needs root): %s", strerror(errno));
        tunnel_close(t);
        return -1;
    }
    if (t->relay == 0)
        relay(t, opts->seed, self);
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
    for (int end = 0; end < TUNNEL_ENDS_MAX; end++) {
        if (t->space[end] >= 0)
            (void)close(t->space[end]);
        if (t->device[end] >= 0)
            (void)close(t->device[end]);
    }
    if (t->home >= 0)
        (void)close(t->home);
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
    t->shared->ends = (uint64_t)(line->ends == 0 ? t->ends : line->ends);
}

void tunnel_enter(const struct tunnel *t, int end)
{
    enter(t->space[end]);
}

void tunnel_leave(const struct tunnel *t)
{
    enter(t->home);
}

const char *tunnel_address(int end)
{
    static const char *const address[TUNNEL_ENDS_MAX] = {TUNNEL_USER_ADDRESS, TUNNEL_SERVER_ADDRESS, TUNNEL_NET "3", TUNNEL_NET "4"};
    return address[end];
}

struct tunnel_counts tunnel_counts(const struct tunnel *t)
{
    return (struct tunnel_counts){t->shared->packets, t->shared->bytes, t->shared->lost, t->shared->dropped};
}
