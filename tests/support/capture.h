/* tests/support/capture.h - what a piece of code writes to stdout or stderr.
 *
 * Data flow   capture_begin -> the code under test -> capture_end -> text.
 * Errors      a failed step fails the test.
 * Memory      capture_end gives the text (free()).
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_CAPTURE_H
#define STIP_TESTS_SUPPORT_CAPTURE_H

struct capture {
    int fd, kept, temp;
};

/* fd is STDOUT_FILENO or STDERR_FILENO. */
void capture_begin(struct capture *c, int fd);
char *capture_end(struct capture *c);

#endif
