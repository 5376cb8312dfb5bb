#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/kernels/levels.h"
#include "engine/kernels/products.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum level { PORTABLE, AVX2, AVX512, AVX512VNNI, AVX512BF16, AMX, LEVELS };

static const char *const level_names[LEVELS] = {"portable", "avx2", "avx512", "avx512vnni", "avx512bf16", "amx"};

/* ------------------------------------------------------------------ what this CPU has */

#if defined(__x86_64__)

/* Tile registers have to be asked for, once per process. */
static bool tiles_granted(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_TILES = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILES) == 0;
}

static enum level best_level(void)
{
    unsigned a, b, c, d, leaf1_a, leaf1_b, leaf1_c, leaf1_d;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return PORTABLE;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return AVX2;
    if (!__builtin_cpu_supports("avx512vnni") || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return AVX512;
    bool tile = (d >> 24 & 1) != 0, tile_bf16 = (d >> 22 & 1) != 0, tile_int8 = (d >> 25 & 1) != 0;
    if (!__get_cpuid_count(7, 1, &leaf1_a, &leaf1_b, &leaf1_c, &leaf1_d) || (leaf1_a >> 5 & 1) == 0)
        return AVX512VNNI;
    return tile && tile_bf16 && tile_int8 && tiles_granted() ? AMX : AVX512BF16;
}

#else

static enum level best_level(void)
{
    return PORTABLE;
}

#endif

/* ------------------------------------------------------------------ the choice */

static struct kernels chosen;
static const struct kernels *_Atomic current;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
/* Tile units are rare, and their registers belong to the kernel's state as well as to the CPU: before they are used, a small product has
 * to come out as it does without them. */
static bool tiles_work(void)
{
    enum { ROWS = 40, OUT = 70, IN = 200 };
    static float x[ROWS * IN], w[OUT * IN];
    uint32_t state = 1;
    for (int i = 0; i < ROWS * IN + OUT * IN; i++) {
        state = state * 1664525u + 1013904223u;
        *(i < ROWS * IN ? &x[i] : &w[i - ROWS * IN]) = (float)(state >> 8) / 16777216.0f - 0.5f;
    }
    return product_agree(&product_amx_bf16, &product_bf16dot, WEIGHT_BF16, x, w, ROWS, OUT, IN) < 1e-4 &&
           product_agree(&product_amx_int8, &product_vnni, WEIGHT_INT8, x, w, ROWS, OUT, IN) == 0;
}
#endif

static void take(enum level level)
{
#if defined(__x86_64__)
    chosen = level >= AVX512 ? level_avx512 : level == AVX2 ? level_avx2 : level_portable;
    if (level >= AVX512VNNI)
        chosen.int8 = product_vnni;
    if (level >= AVX512BF16)
        chosen.bf16 = product_bf16dot;
    if (level >= AMX && !tiles_work()) {
        log_warn("this CPU's tile units (AMX) give wrong products here; not using them");
        level = AVX512BF16;
    }
    if (level >= AMX) {
        chosen.int8 = product_amx_int8;
        chosen.bf16 = product_amx_bf16;
    }
#else
    chosen = level_portable;
#endif
    if (level == PORTABLE) {
        chosen.f32_by_blas = true;
        chosen.f32 = product_blas;
    }
    chosen.name = level_names[level];
    current = &chosen;
}

static enum level find(const char *name)
{
    for (int l = 0; l < LEVELS; l++)
        if (strcmp(name, level_names[l]) == 0)
            return (enum level)l;
    return LEVELS;
}

static void take_best(void)
{
    const char *name = getenv("STIP_ISA");
    enum level best = best_level(), asked = name == NULL ? LEVELS : find(name);
    take(asked <= best ? asked : best);
}

int kernels_choose(const char *name, struct err *err)
{
    const char *from = name != NULL ? name : getenv("STIP_ISA");
    enum level best = best_level();
    if (from == NULL || from[0] == '\0') {
        take(best);
        return 0;
    }
    enum level asked = find(from);
    if (asked == LEVELS)
        return err_set(err, ERR_USAGE, "STIP_ISA: '%.20s' is none of portable, avx2, avx512, avx512vnni, avx512bf16, amx", from);
    if (asked > best)
        return err_set(err, ERR_USAGE, "STIP_ISA: this CPU does not have %s; its best is %s", from, level_names[best]);
    take(asked);
    return 0;
}

const struct kernels *kernels_get(void)
{
    const struct kernels *k = current;
    if (k != NULL)
        return k;
    (void)pthread_once(&once, take_best);
    return current;
}

const char *kernels_level(int i)
{
    return i >= 0 && i <= (int)best_level() ? level_names[i] : NULL;
}
