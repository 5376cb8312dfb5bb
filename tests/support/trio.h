/* tests/support/trio.h - the three roles as three processes on loopback, each in a state that the test chooses.
 *
 * Data flow   checkpoint -> three identities, protect, configs -> daemons -> join -> trio_user(command) -> shell.
 *             Folder: model_dev.id server.id user.id other.id protected server.package user.grant, their .json and .log.
 *             Tests change what they want in there.
 * Errors      a step that fails ends the test with a message; steps that shall fail are run through shell.h by the test.
 * Memory      the caller owns the struct; trio_close ends the processes and removes the folder.
 * Secrets     of a test.
 */
#ifndef STIP_TESTS_SUPPORT_TRIO_H
#define STIP_TESTS_SUPPORT_TRIO_H

#include "base/file.h"
#include "bench/process.h"
#include "tests/support/shell.h"

struct trio {
    char dir[FILE_PATH_MAX - 64], model[FILE_PATH_MAX - 64];
    struct process server, model_dev, second;
    int retry_s; /* of the user configs; 0, so that an error shows at once */
    bool metrics; /* set before a daemon is started: it has figures then, at these */
    char server_metrics[128], model_dev_metrics[128]; /* ADDRESS:PORT */
    char users_at[128], developers_at[128], grants_at[128]; /* endpoints; "tcp://127.0.0.1:1" while not serving */
    char second_at[128];  /* of the second server; "" while there never was one */
    char package[64];     /* folder of the server's package in DIR, "server.package"; may be changed before the first start */
};

/* head: "auto", "server" or "user". Identities and package are made, nothing runs yet. */
void trio_make(struct trio *t, const char *model, const char *head);
void trio_close(struct trio *t);
/* limits: what stands in the config's `limits`, NULL for none. Waits until it is ready. A second start is at the same address. */
void trio_start_server(struct trio *t, const char *limits);
void trio_start_model_dev(struct trio *t);
/* Another server with the same identity and a copy of the package as it is now, for `user`; again at the same address. */
void trio_start_second(struct trio *t);
/* Until the server says that it serves a package. */
void trio_wait_serving(struct trio *t);
/* Writes NAME.json of "user" or "other", who are both allowed, for the endpoints known now, the second server's among them. */
void trio_write_user(const struct trio *t, const char *name);
/* All of it: both daemons, the package pushed, the user joined. limits as for trio_start_server. */
void trio_open_limited(struct trio *t, const char *model, const char *head, const char *limits);
/* The same with more flags for protect. */
void trio_open_protected(struct trio *t, const char *model, const char *const flags[]);
void trio_open(struct trio *t, const char *model, const char *head);
/* The same with users served at that endpoint. */
void trio_open_at(struct trio *t, const char *model, const char *head, const char *users_at);
/* stip-user COMMAND --config DIR/NAME.json WORDS... */
void trio_start_as(const struct trio *t, const char *name, struct shell *s, const char *const words[]);
/* The same as "user", to its end. */
void trio_user(const struct trio *t, struct shell *s, const char *const words[]);
/* DIR/slow: random weights, a given tokenizer.json, a long context; an answer takes seconds and can be caught in the middle. */
void trio_slow_model(char model[FILE_PATH_MAX], const char *dir, const char *tokenizer_path);
/* DIR/name, as tempdir_path. */
const char *trio_path(const struct trio *t, const char *name);

#endif
