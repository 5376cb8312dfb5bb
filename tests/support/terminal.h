/* tests/support/terminal.h - a program on a terminal of its own, and a person who types.
 *
 * Data flow   argv -> child on a pseudo-terminal; terminal_type -> its stdin; stdout and stderr -> terminal_expect.
 * Units       milliseconds.
 * Errors      what does not appear in time fails the test with all that did appear.
 * Memory      the caller owns the struct.
 * Secrets     of a test.
 */
#ifndef STIP_TESTS_SUPPORT_TERMINAL_H
#define STIP_TESTS_SUPPORT_TERMINAL_H

#include <stddef.h>
#include <sys/types.h>

struct terminal {
    pid_t pid;
    int fd;
    char seen[1 << 17]; /* all that was printed, escape sequences included */
    size_t n, from;     /* from: where the next terminal_expect looks */
};

/* argv as for shell_start. */
void terminal_open(struct terminal *t, const char *const argv[]);
void terminal_type(struct terminal *t, const char *keys);
/* Waits until the text stands behind what was expected before. */
void terminal_expect(struct terminal *t, const char *text);
/* Waits until so many more bytes have come. */
void terminal_grows(struct terminal *t, size_t bytes);
/* Waits for the end; the exit status. `keys` are typed until then: a key that comes between two lines, before the editor has taken
 * the terminal, is lost. NULL for none. */
int terminal_end(struct terminal *t, const char *keys);

#endif
