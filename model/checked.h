/* model/checked.h - a file of a package, read into memory of our own and compared there with what was signed.
 *
 * Data flow   file -> read -> memory of ours -> hash of each chunk against the manifest -> the caller, from that very memory.
 *             What a caller sees is what was hashed: a file that is changed afterwards, or between two looks, changes nothing (a
 *             mapped file would).
 * Units       bytes of the file; chunks of MANIFEST_CHUNK, read and hashed by all threads.
 * Errors      ERR_CHECK: the file is not in the manifest, has another size or other bytes (names the MiB); reading; memory.
 * Memory      checked_open gives and borrows the manifest. As much as the largest piece that is read at once.
 * Secrets     none of its own.
 */
#ifndef STIP_MODEL_CHECKED_H
#define STIP_MODEL_CHECKED_H

#include "model/manifest.h"

struct checked;
MUST_CHECK int checked_open(struct checked **out, const struct manifest *m, const char *dir, const char *name, struct err *err);
void checked_close(struct checked *c);
size_t checked_size(const struct checked *c);
/* Addresses as many as the file has bytes, for reckoning with places in it. Nothing can be read there. */
const uint8_t *checked_place(const struct checked *c);
/* Bytes at..at+n-1, which must lie inside the file; they stay until the next call. */
MUST_CHECK int checked_read(struct checked *c, size_t at, size_t n, const uint8_t **bytes, struct err *err);

#endif
