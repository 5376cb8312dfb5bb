/* tests/support/fault.h - programs of ours with one call that fails (tests/fault/shim.c).
 *
 * Data flow   fault_arm -> environment -> a program started now -> its calls are counted, number n fails -> fault_tally.
 * Errors      a step that fails ends the test with a message.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_FAULT_H
#define STIP_TESTS_SUPPORT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/fault/tally.h"

/* Programs started from now on get it. mode: "once", "on" (n and all later ones), "interrupted", "short". n 0: only counted.
 * tally: path of a file that is made. */
void fault_arm(const char *tally, enum fault_kind kind, uint64_t n, const char *mode);
/* No longer; programs that run already keep what they got. */
void fault_disarm(void);
/* Calls so far of the program that was started last. */
uint64_t fault_calls(const char *tally);
bool fault_hit(const char *tally);
/* Whether this number of this kind is to be tried: always, unless STIP_FAULTS=KIND or KIND:I/K wants one kind only, or of it every K-th
 * number from I on. For long runs in pieces. */
bool fault_wanted(enum fault_kind kind, uint64_t n);
/* STIP_LONG is set: everything instead of a sample. */
bool fault_all(void);

#endif
