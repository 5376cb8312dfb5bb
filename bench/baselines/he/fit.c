#include "bench/baselines/he/fit.h"

#include <assert.h>

/* Normal equations by elimination; they are positive definite, so no pivoting. */
int fit_poly(double *c, int degree, const struct fit_sample *s, size_t n, struct err *err)
{
    double a[FIT_DEGREE_MAX + 1][FIT_DEGREE_MAX + 2] = {{0}}, power[FIT_DEGREE_MAX + 1];
    const int terms = degree + 1;
    assert(degree >= 0 && degree <= FIT_DEGREE_MAX);
    for (size_t k = 0; k < n; k++) {
        double square = s[k].weight * s[k].weight;
        power[0] = 1;
        for (int i = 1; i < terms; i++)
            power[i] = power[i - 1] * s[k].z;
        for (int i = 0; i < terms; i++) {
            for (int j = 0; j < terms; j++)
                a[i][j] += square * power[i] * power[j];
            a[i][terms] += square * power[i] * s[k].value;
        }
    }
    const double least = a[0][0] * 1e-14;
    for (int i = 0; i < terms; i++) {
        if (!(a[i][i] > least))
            return err_set(err, ERR_INPUT, "%zu samples do not determine a polynomial of degree %d", n, degree);
        for (int r = 0; r < terms; r++) {
            double by = r == i ? 0 : a[r][i] / a[i][i];
            for (int j = i; by != 0 && j <= terms; j++)
                a[r][j] -= by * a[i][j];
        }
    }
    for (int i = 0; i < terms; i++)
        c[i] = a[i][terms] / a[i][i];
    return 0;
}

double fit_at(const double *c, int degree, double z)
{
    double v = 0;
    for (int i = degree; i >= 0; i--)
        v = v * z + c[i];
    return v;
}
