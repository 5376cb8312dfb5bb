/* tests/fault/tally.h - what the preloaded shim and the test that loads it agree on.
 *
 * Data flow   shim -> a mapped file of struct tally -> the test.
 * Errors      none: data only.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_TESTS_FAULT_TALLY_H
#define STIP_TESTS_FAULT_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

enum fault_kind {
    FAULT_MEMORY,
    FAULT_OPEN,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_FSYNC,
    FAULT_RENAME,
    FAULT_MAP,
    FAULT_THREAD,
    FAULT_SEND,
    FAULT_RECV,
    FAULT_SOCKET,
    FAULT_KINDS
};

static const char *const FAULT_NAMES[FAULT_KINDS] = {"memory", "open",   "read", "write", "fsync", "rename",
                                                     "map",    "thread", "send", "recv",  "socket"};

struct tally {
    _Atomic uint64_t calls; /* of the kind asked for */
    _Atomic uint64_t hit;   /* 1: number N was reached */
};

#endif
