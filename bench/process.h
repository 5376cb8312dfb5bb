/* bench/process.h - child processes that announce themselves with JSON lines.
 *
 * Data flow   argv -> child; child's stdout -> lines -> events.
 * Units       milliseconds.
 * Errors      a child that cannot be started, ends early or stays silent, with its name and status.
 * Memory      struct is the caller's; process_stop releases. A child dies with its parent.
 * Secrets     none.
 */
#ifndef STIP_BENCH_PROCESS_H
#define STIP_BENCH_PROCESS_H

#include <sys/types.h>

#include "base/err.h"
#include "base/json.h"
#include "bench/tunnel.h"

struct process {
    const char *name;
    pid_t pid;   /* 0 when not running */
    int out;     /* its stdout, -1 when not captured */
    char line[4096];
    size_t have;
};

/* argv ends with NULL; argv[0] is the program's path. log: file for stderr, NULL to share ours. */
MUST_CHECK int process_start(struct process *p, const char *name, char *const argv[], bool capture, const char *log,
                             struct err *err);
/* The same in the working folder `dir` (NULL: ours), for programs that leave files lying about; argv[0] is absolute then. */
MUST_CHECK int process_start_in(struct process *p, const char *name, char *const argv[], const char *dir, bool capture,
                                const char *log, struct err *err);
/* The same with its output captured, at an end of a tunnel (NULL: here). */
MUST_CHECK int process_start_at(struct process *p, const char *name, char *const argv[], const struct tunnel *tunnel, int end, struct err *err);
/* The next line {"event": NAME, ...}; lines of other events are skipped. Gives the document. */
MUST_CHECK int process_event(struct process *p, const char *event, int timeout_ms, struct json_doc **out, struct err *err);
/* Waits for the end and gives the exit status (128 + signal when killed). */
MUST_CHECK int process_wait(struct process *p, int *status, struct err *err);
/* Everything that it prints until it ends, as one text (what does not fit is dropped), and its exit status. One that takes
 * longer is stopped, which is an error. */
MUST_CHECK int process_output(struct process *p, char *out, size_t cap, int timeout_ms, int *status, struct err *err);
/* For a process whose large messages come and go: their pages stay its own. By default each is mapped afresh, and a third of a party's time goes into
 * new pages. Before the first thread. */
void process_keep_pages(void);
/* Then so many bytes have their pages before a clock runs: on a virtual machine the first touch can cost more than a second a gigabyte. */
void process_take_pages(double bytes);
/* SIGTERM, then SIGKILL after 5 s. No-op when not running. Gives the exit status, -1 if it was not running. */
int process_stop(struct process *p);

#endif
