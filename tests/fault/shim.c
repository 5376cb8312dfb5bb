/* tests/fault/shim.c - preloaded into a program of ours, makes the n-th call of one kind fail.
 *
 * Data flow   STIP_FAULT="KIND N MODE" + calls of the program -> counted; number N fails. STIP_FAULT_COUNT names a file that holds
 *             how many calls there were and whether number N was among them (struct tally).
 *             KIND: memory open read write fsync rename map thread send recv socket. MODE: once, on (N and every later one),
 *             interrupted (EINTR), short (one byte).
 * Errors      a variable that cannot be understood ends the program with 126.
 * Memory      none of its own but the map of the tally.
 * Secrets     none.
 *
 * Only calls out of the program itself and, for memory, out of the parsers that it calls are counted: libzmq ends the process when
 * its memory is out, OpenSSL 3.0 crashes when it is out during its own start, and nothing here can change that.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zmq.h>

#include "tests/fault/tally.h"

#define RANGES 32

enum mode { ONCE, ON, INTERRUPTED, SHORT };

static struct tally none, *tally = &none;
static enum fault_kind kind = FAULT_KINDS;
static enum mode mode;
static uint64_t number;

/* Where the code of the program (first) and of the libraries lies whose calls count. */
static struct {
    uintptr_t from, to;
    bool program;
} range[RANGES];
static size_t ranges;

static int note_object(struct dl_phdr_info *info, size_t size, void *first)
{
    static const char *const libraries[] = {"/libcjson", "/libpcre2-8", "/libutf8proc", "/libmicrohttpd"};
    bool program = *(bool *)first, counts = program;
    (void)size;
    *(bool *)first = false;
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        counts = counts || strstr(info->dlpi_name, libraries[i]) != NULL;
    for (int i = 0; counts && i < info->dlpi_phnum && ranges < RANGES; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X) != 0) {
            range[ranges].from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            range[ranges].to = range[ranges].from + info->dlpi_phdr[i].p_memsz;
            range[ranges++].program = program;
        }
    return 0;
}

__attribute__((constructor)) static void start(void)
{
    const char *want = getenv("STIP_FAULT"), *path = getenv("STIP_FAULT_COUNT");
    char name[16], how[16];
    unsigned long long n;
    bool first = true;
    if (want == NULL)
        return;
    if (path == NULL || sscanf(want, "%15s %llu %15s", name, &n, how) != 3)
        _exit(126);
    enum fault_kind found = FAULT_KINDS;
    for (int i = 0; i < FAULT_KINDS; i++)
        if (strcmp(name, FAULT_NAMES[i]) == 0)
            found = (enum fault_kind)i;
    mode = strcmp(how, "on") == 0 ? ON : strcmp(how, "interrupted") == 0 ? INTERRUPTED : strcmp(how, "short") == 0 ? SHORT : ONCE;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found == FAULT_KINDS || map == MAP_FAILED)
        _exit(126);
    (void)close(fd);
    (void)dl_iterate_phdr(note_object, &first);
    tally = map;
    number = n;
    kind = found;
}

/* True if this call, made from `caller`, is the one that shall fail. */
static bool due(enum fault_kind of, const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    bool counts = false;
    if (of != kind)
        return false;
    for (size_t i = 0; i < ranges && !counts; i++)
        counts = at >= range[i].from && at < range[i].to && (range[i].program || of == FAULT_MEMORY);
    if (!counts)
        return false;
    uint64_t n = atomic_fetch_add(&tally->calls, 1) + 1;
    bool now = number != 0 && (n == number || (n > number && mode == ON));
    if (now)
        atomic_store(&tally->hit, 1);
    return now;
}

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        _exit(126);
    return found;
}

static int fail_with(int error)
{
    errno = mode == INTERRUPTED ? EINTR : error;
    return -1;
}

/* `next`: the function of this name that stands behind ours. */
#define NEXT(name)                                                                                                               \
    static __typeof__(name) *next;                                                                                               \
    if (next == NULL) {                                                                                                          \
        void *found = real(#name);                                                                                               \
        memcpy(&next, &found, sizeof next);                                                                                      \
    }
#define CALLER __builtin_return_address(0)

/* ------------------------------------------------------------------ memory */

void *malloc(size_t n)
{
    NEXT(malloc)
    return due(FAULT_MEMORY, CALLER) ? (errno = ENOMEM, NULL) : next(n);
}

void *calloc(size_t n, size_t size)
{
    NEXT(calloc)
    return due(FAULT_MEMORY, CALLER) ? (errno = ENOMEM, NULL) : next(n, size);
}

void *realloc(void *p, size_t n)
{
    NEXT(realloc)
    return due(FAULT_MEMORY, CALLER) ? (errno = ENOMEM, NULL) : next(p, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    NEXT(aligned_alloc)
    return due(FAULT_MEMORY, CALLER) ? (errno = ENOMEM, NULL) : next(alignment, n);
}

char *strdup(const char *s)
{
    NEXT(strdup)
    return due(FAULT_MEMORY, CALLER) ? (errno = ENOMEM, NULL) : next(s);
}

int asprintf(char **out, const char *format, ...)
{
    va_list args;
    if (due(FAULT_MEMORY, CALLER))
        return fail_with(ENOMEM);
    va_start(args, format);
    int n = vasprintf(out, format, args);
    va_end(args);
    return n;
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    NEXT(mmap)
    return due(FAULT_MAP, CALLER) ? (errno = ENOMEM, MAP_FAILED) : next(at, n, protection, flags, fd, offset);
}

/* ------------------------------------------------------------------ files */

int open(const char *path, int flags, ...)
{
    NEXT(open)
    va_list args;
    va_start(args, flags);
    mode_t bits = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return due(FAULT_OPEN, CALLER) ? fail_with(EMFILE) : next(path, flags, bits);
}

int mkostemps(char *path, int suffix, int flags)
{
    NEXT(mkostemps)
    return due(FAULT_OPEN, CALLER) ? fail_with(ENOSPC) : next(path, suffix, flags);
}

int mkdir(const char *path, mode_t bits)
{
    NEXT(mkdir)
    return due(FAULT_OPEN, CALLER) ? fail_with(ENOSPC) : next(path, bits);
}

ssize_t read(int fd, void *dst, size_t n)
{
    NEXT(read)
    if (due(FAULT_READ, CALLER)) {
        if (mode != SHORT)
            return fail_with(EIO);
        n = n > 1 ? 1 : n;
    }
    return next(fd, dst, n);
}

ssize_t pread(int fd, void *dst, size_t n, off_t at)
{
    NEXT(pread)
    if (due(FAULT_READ, CALLER)) {
        if (mode != SHORT)
            return fail_with(EIO);
        n = n > 1 ? 1 : n;
    }
    return next(fd, dst, n, at);
}

ssize_t write(int fd, const void *src, size_t n)
{
    NEXT(write)
    if (due(FAULT_WRITE, CALLER)) {
        if (mode != SHORT)
            return fail_with(ENOSPC);
        n = n > 1 ? 1 : n;
    }
    return next(fd, src, n);
}

ssize_t pwrite(int fd, const void *src, size_t n, off_t at)
{
    NEXT(pwrite)
    if (due(FAULT_WRITE, CALLER)) {
        if (mode != SHORT)
            return fail_with(ENOSPC);
        n = n > 1 ? 1 : n;
    }
    return next(fd, src, n, at);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    NEXT(writev)
    return due(FAULT_WRITE, CALLER) && mode != SHORT ? fail_with(ENOSPC) : next(fd, parts, n);
}

int ftruncate(int fd, off_t n)
{
    NEXT(ftruncate)
    return due(FAULT_WRITE, CALLER) && mode != SHORT ? fail_with(ENOSPC) : next(fd, n);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
    NEXT(posix_fallocate)
    bool fails = due(FAULT_WRITE, CALLER) && mode != SHORT;
    return fails ? (mode == INTERRUPTED ? EINTR : ENOSPC) : next(fd, at, n);
}

int fsync(int fd)
{
    NEXT(fsync)
    return due(FAULT_FSYNC, CALLER) ? fail_with(EIO) : next(fd);
}

int rename(const char *from, const char *to)
{
    NEXT(rename)
    return due(FAULT_RENAME, CALLER) ? fail_with(EIO) : next(from, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    NEXT(renameat2)
    return due(FAULT_RENAME, CALLER) ? fail_with(EIO) : next(from_dir, from, to_dir, to, flags);
}

/* ------------------------------------------------------------------ threads and sockets */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    NEXT(pthread_create)
    return due(FAULT_THREAD, CALLER) ? EAGAIN : next(thread, attributes, run, arg);
}

int zmq_msg_send(zmq_msg_t *msg, void *socket, int flags)
{
    NEXT(zmq_msg_send)
    return due(FAULT_SEND, CALLER) ? fail_with(EHOSTUNREACH) : next(msg, socket, flags);
}

int zmq_send(void *socket, const void *data, size_t n, int flags)
{
    NEXT(zmq_send)
    return due(FAULT_SEND, CALLER) ? fail_with(EHOSTUNREACH) : next(socket, data, n, flags);
}

int zmq_msg_recv(zmq_msg_t *msg, void *socket, int flags)
{
    NEXT(zmq_msg_recv)
    return due(FAULT_RECV, CALLER) ? fail_with(ENOTSUP) : next(msg, socket, flags);
}

int zmq_recv(void *socket, void *data, size_t n, int flags)
{
    NEXT(zmq_recv)
    return due(FAULT_RECV, CALLER) ? fail_with(ENOTSUP) : next(socket, data, n, flags);
}

void *zmq_socket(void *context, int type)
{
    NEXT(zmq_socket)
    return due(FAULT_SOCKET, CALLER) ? (errno = EMFILE, NULL) : next(context, type);
}

int zmq_setsockopt(void *socket, int option, const void *value, size_t n)
{
    NEXT(zmq_setsockopt)
    return due(FAULT_SOCKET, CALLER) ? fail_with(ENOMEM) : next(socket, option, value, n);
}

int zmq_connect(void *socket, const char *address)
{
    NEXT(zmq_connect)
    return due(FAULT_SOCKET, CALLER) ? fail_with(EMFILE) : next(socket, address);
}

int zmq_bind(void *socket, const char *address)
{
    NEXT(zmq_bind)
    return due(FAULT_SOCKET, CALLER) ? fail_with(EMFILE) : next(socket, address);
}

int zmq_msg_init_size(zmq_msg_t *msg, size_t n)
{
    NEXT(zmq_msg_init_size)
    return due(FAULT_MEMORY, CALLER) ? fail_with(ENOMEM) : next(msg, n);
}
