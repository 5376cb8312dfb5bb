#include "bench/baselines/he/ring.h"

#include <assert.h>
#include <stdlib.h>


uint64_t ring_power(uint64_t base, uint64_t exponent, uint64_t q)
{
    uint64_t result = 1;
    for (base %= q; exponent != 0; exponent >>= 1) {
        if (exponent & 1)
            result = (uint64_t)((ring_wide)result * base % q);
        base = (uint64_t)((ring_wide)base * base % q);
    }
    return result;
}

uint64_t ring_invert(uint64_t a, uint64_t q)
{
    return ring_power(a, q - 2, q);
}

/* Miller-Rabin; these twelve bases decide every number below 2^64. */
static bool is_prime(uint64_t n)
{
    static const uint64_t bases[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
        if (n % bases[i] == 0)
            return n == bases[i];
    int twos = __builtin_ctzll(n - 1);
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        uint64_t x = ring_power(bases[i], (n - 1) >> twos, n);
        bool witness = x != 1 && x != n - 1;
        for (int s = 1; witness && s < twos; s++) {
            x = (uint64_t)((ring_wide)x * x % n);
            witness = x != n - 1;
        }
        if (witness)
            return false;
    }
    return n > 1;
}

static bool has(const uint64_t *list, int n, uint64_t q)
{
    for (int i = 0; i < n; i++)
        if (list[i] == q)
            return true;
    return false;
}

/* Above and below 2^bits in turn, so that products of a few of them stay near the power of two. */
bool ring_primes(int log_n, int bits, int count, const uint64_t *taken, int taken_count, uint64_t *out)
{
    const uint64_t step = (uint64_t)2 << log_n, middle = (uint64_t)1 << bits;
    assert(bits > log_n + 1 && bits < 62);
    int found = 0;
    for (uint64_t away = 0; found < count && away < middle / 2; away += step)
        for (int side = 0; side < 2 && found < count; side++) {
            uint64_t q = side == 0 ? middle + 1 + away : middle + 1 - step - away;
            /* The larger side has one bit more; where that is too many, only the smaller one serves. */
            if ((bits < RING_BITS_MAX || q < middle) && is_prime(q) && !has(taken, taken_count, q))
                out[found++] = q;
        }
    return found == count;
}

static uint32_t reversed(uint32_t i, int bits)
{
    uint32_t r = 0;
    for (int b = 0; b < bits; b++)
        r |= (i >> b & 1) << (bits - 1 - b);
    return r;
}

int ring_init(struct ring *r, int log_n, uint64_t q, struct err *err)
{
    size_t n = (size_t)1 << log_n;
    uint64_t *table = malloc(4 * n * sizeof *table), root;
    if (table == NULL)
        return err_oom(err, 4 * n * sizeof *table);
    *r = (struct ring){.n = n, .log_n = log_n, .bits = 64 - __builtin_clzll(q), .q = q, .root = table, .root_quotient = table + n,
                       .back = table + 2 * n, .back_quotient = table + 3 * n};
    assert(q % (2 * n) == 1 && r->bits <= RING_BITS_MAX + 1);
    r->quotient = (uint64_t)(((ring_wide)1 << (r->bits + 62)) / q);
    /* g^((q-1)/2N) has order 2N exactly when its N-th power is -1. */
    for (uint64_t g = 2; ring_power(root = ring_power(g, (q - 1) / (2 * n), q), n, q) != q - 1; g++)
        ;
    uint64_t inverse = ring_invert(root, q), forth = 1, back = 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = reversed(i, log_n);
        r->root[at] = forth;
        r->back[at] = back;
        forth = (uint64_t)((ring_wide)forth * root % q);
        back = (uint64_t)((ring_wide)back * inverse % q);
    }
    for (size_t i = 0; i < n; i++) {
        r->root_quotient[i] = ring_shoup(r->root[i], q);
        r->back_quotient[i] = ring_shoup(r->back[i], q);
    }
    r->n_inverse = ring_invert(n, q);
    r->n_inverse_quotient = ring_shoup(r->n_inverse, q);
    return 0;
}

void ring_free(struct ring *r)
{
    free(r->root);
    *r = (struct ring){0};
}

/* Values stay below 4q between the stages. */
void ring_forward(const struct ring *r, uint64_t *a)
{
    const uint64_t q = r->q, q2 = 2 * q;
    size_t half = r->n;
    for (size_t groups = 1; groups < r->n; groups *= 2) {
        half /= 2;
        for (size_t g = 0; g < groups; g++) {
            const uint64_t w = r->root[groups + g], wq = r->root_quotient[groups + g];
            uint64_t *x = a + 2 * g * half, *y = x + half;
            for (size_t i = 0; i < half; i++) {
                uint64_t u = x[i] >= q2 ? x[i] - q2 : x[i], v = ring_mul_lazy(y[i], w, wq, q);
                x[i] = u + v;
                y[i] = u + q2 - v;
            }
        }
    }
    for (size_t i = 0; i < r->n; i++) {
        uint64_t v = a[i] >= q2 ? a[i] - q2 : a[i];
        a[i] = v >= q ? v - q : v;
    }
}

/* Values stay below 2q between the stages. */
void ring_inverse(const struct ring *r, uint64_t *a)
{
    const uint64_t q = r->q, q2 = 2 * q;
    size_t half = 1;
    for (size_t groups = r->n / 2; groups >= 1; groups /= 2) {
        for (size_t g = 0; g < groups; g++) {
            const uint64_t w = r->back[groups + g], wq = r->back_quotient[groups + g];
            uint64_t *x = a + 2 * g * half, *y = x + half;
            for (size_t i = 0; i < half; i++) {
                uint64_t u = x[i], v = y[i], s = u + v;
                x[i] = s >= q2 ? s - q2 : s;
                y[i] = ring_mul_lazy(u + q2 - v, w, wq, q);
            }
        }
        half *= 2;
    }
    for (size_t i = 0; i < r->n; i++)
        a[i] = ring_mul_constant(a[i], r->n_inverse, r->n_inverse_quotient, q);
}
