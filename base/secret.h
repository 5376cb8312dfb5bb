/* base/secret.h - memory for keys: locked, left out of core dumps, wiped.
 *
 * Units       bytes.
 * Errors      secret_alloc fails on memory only; a refused mlock (RLIMIT_MEMLOCK) is not an error.
 * Memory      secret_alloc gives zeroed memory; secret_free wipes and releases, NULL is fine.
 * Secrets     this is where they live.
 */
#ifndef STIP_BASE_SECRET_H
#define STIP_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

void *secret_alloc(size_t n); /* NULL when out of memory */
void secret_free(void *p);
/* Overwrites in a way that the compiler keeps. */
void secret_wipe(void *p, size_t n);
/* Constant time. */
bool secret_equal(const void *a, const void *b, size_t n);
/* First act of a role that holds secrets: no core dumps, no ptrace by others. */
MUST_CHECK int secret_harden_process(struct err *err);

#endif
