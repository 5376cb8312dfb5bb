/* base/err.h - one error value: which class, and a sentence for a person.
 *
 * Data flow   err_set where found -> err_wrap on the way up -> printed once in main, code becomes the exit status.
 * Errors      the functions here cannot fail; text that does not fit is cut.
 * Memory      the caller owns the struct (usually on the stack); nothing is allocated.
 * Secrets     a text never carries tensor values, tokens, prompts or keys.
 */
#ifndef STIP_BASE_ERR_H
#define STIP_BASE_ERR_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* The values are the documented exit codes of every command. */
enum err_code {
    ERR_NONE = 0,
    ERR_CHECK = 1,    /* a check that was asked for failed (doctor, verify, equality) */
    ERR_USAGE = 2,    /* bad flag, bad config */
    ERR_INPUT = 3,    /* bad input file or text */
    ERR_AUTH = 4,     /* not authorised */
    ERR_PEER = 5,     /* peer or network */
    ERR_INTERNAL = 6, /* memory, randomness, disk, our own fault */
};

struct err {
    enum err_code code;
    char text[1024];
};

/* Both return -1, so that `return err_set(...)` reads as one step. A NULL err is allowed. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts "<fmt>: " in front of the text that is there and keeps the code. */
int err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* err_set for a failed allocation of `bytes` bytes. */
int err_oom(struct err *err, unsigned long long bytes);

#endif
