/* tests/support/shell.h - runs a program as a person in a terminal would, and keeps what it wrote.
 *
 * Data flow   argv -> child -> exit status, all of stdout, all of stderr.
 * Units       milliseconds.
 * Errors      a program that cannot be started, or outlives its time, ends the test with a message.
 * Memory      shell_wait gives the texts; shell_free releases.
 * Secrets     of a test.
 */
#ifndef STIP_TESTS_SUPPORT_SHELL_H
#define STIP_TESTS_SUPPORT_SHELL_H

#include <stddef.h>
#include <sys/types.h>

#include "base/json.h"

#define SHELL_MS 240000 /* no program of a test takes that long, under sanitizers either */

struct shell {
    pid_t pid;
    int out_fd, err_fd;
    char command[256]; /* for messages */
    int status;        /* exit status, 128 + signal when killed */
    char *out, *err;
    size_t out_len;
};

/* argv ends with NULL; argv[0] is a path, or the name of a program of ours. A child dies with the test. */
void shell_start(struct shell *s, const char *const argv[]);
/* The same, where no file may grow beyond `bytes`: a full disk, as far as a program can tell. */
void shell_start_limited(struct shell *s, size_t bytes, const char *const argv[]);
void shell_wait(struct shell *s);
void shell_run(struct shell *s, const char *const argv[]);
void shell_free(struct shell *s);
/* stdout as one JSON document; a failed command or anything else ends the test. */
struct json_doc *shell_json(const struct shell *s);

/* shell_argv("stip-user", "keygen", ...) */
#define SHELL_ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
/* Path of a program of ours, in one of four buffers that take turns. */
const char *shell_program(const char *name);

#endif
