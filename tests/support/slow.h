/* tests/support/slow.h - how much longer programs take than usual: STIP_SLOW, which scripts/test-tsan.sh sets.
 *
 * Data flow   environment -> a factor for times that a test waits, or keeps something up for.
 * Units       none.
 * Errors      none; what is no number above 1 is 1.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_SLOW_H
#define STIP_TESTS_SUPPORT_SLOW_H

unsigned slow_times(void);

#endif
