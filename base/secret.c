#include "base/secret.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/size.h"

/* The length stands in front of the bytes; 64 keeps the caller's part aligned for any type. */
#define HEAD ((size_t)64)

void *secret_alloc(size_t n)
{
    size_t total;
    if (size_add(n, HEAD, &total))
        return NULL;
    uint8_t *p = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    (void)mlock(p, total);
    (void)madvise(p, total, MADV_DONTDUMP);
    memcpy(p, &total, sizeof total);
    return p + HEAD;
}

void secret_free(void *ptr)
{
    if (ptr == NULL)
        return;
    uint8_t *p = (uint8_t *)ptr - HEAD;
    size_t total;
    memcpy(&total, p, sizeof total);
    secret_wipe(p, total);
    munmap(p, total);
}

void secret_wipe(void *p, size_t n)
{
    explicit_bzero(p, n);
}

bool secret_equal(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t diff = 0;
    for (size_t i = 0; i < n; i++)
        diff = (uint8_t)(diff | (x[i] ^ y[i]));
    return diff == 0;
}

int secret_harden_process(struct err *err)
{
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_set(err, ERR_INTERNAL, "cannot switch off core dumps: %s", strerror(errno));
    return 0;
}
