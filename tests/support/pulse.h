/* tests/support/pulse.h - how evenly an answer comes: the longest time in which a program wrote nothing.
 *
 * Data flow   program's stdout -> its growth, looked at every millisecond by a process of its own -> pulse_longest.
 * Units       milliseconds, bytes.
 * Errors      what cannot be watched ends the test with a message.
 * Memory      pulse_start gives; pulse_stop releases and ends the watching.
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_PULSE_H
#define STIP_TESTS_SUPPORT_PULSE_H

#include "tests/support/shell.h"

struct pulse;
/* Counts from the first byte on. Forks: before the process has threads. */
struct pulse *pulse_start(const struct shell *s);
/* The longest pause since the last call of this, one under way among them. The first call begins with the first byte. */
double pulse_longest(struct pulse *p);
/* Until more than `bytes` bytes are there; false when the program ended before. */
bool pulse_wait(const struct pulse *p, long bytes);
long pulse_bytes(const struct pulse *p);
/* The program has not ended. */
bool pulse_running(const struct pulse *p);
void pulse_stop(struct pulse *p);

#endif
