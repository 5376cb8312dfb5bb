/* base/secret: memory for keys. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/secret.h"

Test(secret, memory_comes_zeroed_and_aligned)
{
    static const size_t sizes[] = {0, 1, 32, 4095, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *p = secret_alloc(sizes[i]);
        cr_assert_not_null(p);
        cr_expect_eq((uintptr_t)p % 16, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            cr_assert_eq(p[k], 0);
        memset(p, 0xaa, sizes[i]);
        secret_free(p);
    }
    secret_free(NULL);
    cr_expect_null(secret_alloc(SIZE_MAX));
    cr_expect_null(secret_alloc(SIZE_MAX - 100));
}

/* secret_free wipes, then unmaps. munmap is stood in for, so that the bytes can be looked at after the wipe.
 * Catches: leaving secret_wipe out of secret_free (tried). */
static const uint8_t *watched;
static size_t watched_len;
static int left_over = -1;

int munmap(void *p, size_t n)
{
    const uint8_t *bytes = p;
    if (watched != NULL && watched >= bytes && watched < bytes + n) {
        left_over = 0;
        for (size_t i = 0; i < watched_len; i++)
            left_over += watched[i] != 0;
    }
    return 0; /* the pages stay until the test process ends */
}

Test(secret, bytes_are_wiped_before_they_go_back)
{
    uint8_t *p = secret_alloc(5000);
    cr_assert_not_null(p);
    memset(p, 0xaa, 5000);
    watched = p;
    watched_len = 5000;
    secret_free(p);
    cr_expect_eq(left_over, 0, "%d bytes were left", left_over);
}

/* What the kernel was told of the memory around p: two letters for each thing. */
static void flags_of(const void *p, char out[256])
{
    char line[512];
    unsigned long from, to;
    bool here = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    cr_assert_not_null(f);
    out[0] = '\0';
    while (out[0] == '\0' && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (uintptr_t)p >= from && (uintptr_t)p < to;
        else if (here && strncmp(line, "VmFlags: ", 9) == 0)
            (void)snprintf(out, 256, "%.255s", line + 8);
    (void)fclose(f);
}

/* Held against memory of which this test knows what the kernel was told: not every kernel says it, nor lets everybody lock.
 * Mutations: mlock or madvise left out. */
Test(secret, memory_stays_out_of_swap_and_core_dumps)
{
    static const char *const told[] = {" dd", " lo"};
    char flags[256], known[256];
    void *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(own, MAP_FAILED);
    (void)madvise(own, 4096, MADV_DONTDUMP);
    (void)mlock(own, 4096);
    flags_of(own, known);
    uint8_t *p = secret_alloc(32);
    cr_assert_not_null(p);
    flags_of(p, flags);
    for (int i = 0; i < 2; i++)
        cr_expect(strstr(flags, told[i]) != NULL || strstr(known, told[i]) == NULL, "not%s:%s", told[i], flags);
    secret_free(p);
}

Test(secret, wipe_clears_exactly_what_it_is_given)
{
    uint8_t bytes[10];
    memset(bytes, 1, sizeof bytes);
    secret_wipe(bytes + 1, 8);
    cr_expect_arr_eq(bytes, ((uint8_t[10]){1, 0, 0, 0, 0, 0, 0, 0, 0, 1}), 10);
}

Test(secret, equal_sees_a_difference_in_any_bit)
{
    uint8_t a[33], b[33];
    for (size_t i = 0; i < sizeof a; i++)
        a[i] = b[i] = (uint8_t)(i * 7);
    cr_expect(secret_equal(a, b, sizeof a));
    cr_expect(secret_equal(a, b + 1, 0));
    for (size_t i = 0; i < sizeof a; i++)
        for (int bit = 0; bit < 8; bit++) {
            b[i] = (uint8_t)(b[i] ^ 1 << bit);
            cr_assert_not(secret_equal(a, b, sizeof a));
            b[i] = a[i];
        }
}

Test(secret, a_hardened_process_leaves_no_core_and_cannot_be_traced)
{
    struct rlimit core;
    struct err err = {0};
    cr_assert_eq(secret_harden_process(&err), 0, "%s", err.text);
    cr_assert_eq(getrlimit(RLIMIT_CORE, &core), 0);
    cr_expect_eq(core.rlim_max, 0);
    cr_expect_eq(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
}
