#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/kernels/table.h"
#include "model_dev/cmd.h"
#include "model_dev/serve.h"
#include "transport/role_banner.h"

/* Blocked in every thread that starts later, so that a signal is only ever a readable descriptor. */
static int open_signals(int *fd, struct err *err)
{
    sigset_t set;
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigemptyset(&set) != 0 || sigaddset(&set, SIGTERM) != 0 || sigaddset(&set, SIGINT) != 0 ||
        sigprocmask(SIG_BLOCK, &set, NULL) != 0 || (*fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return err_set(err, ERR_INTERNAL, "cannot wait for signals: %s", strerror(errno));
    return 0;
}

static int say_ready(const char *endpoint, const char *figures, const struct identity *id, bool as_json, struct err *err)
{
    struct peer_key self = identity_public(id);
    char fingerprint[FINGERPRINT_TEXT];
    peer_key_fingerprint(&self, fingerprint);
    log_info("ready: grants at %s, key %s", endpoint, fingerprint);
    role_banner("user.json", "\"model_dev\": ", endpoint, id);
    if (figures[0] != '\0')
        log_info("figures at http://%s/metrics, health at /health", figures);
    if (!as_json)
        return 0;
    struct json_doc *doc = json_new_object("serve");
    json_put_str(doc, json_node(doc), "event", "ready");
    json_put_str(doc, json_node(doc), "endpoint", endpoint);
    json_put_str(doc, json_node(doc), "metrics", figures);
    int rc = cmd_print(doc, err);
    json_free(doc);
    return rc;
}

int cmd_serve(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    struct dev_config config = {0};
    struct serve *serve = NULL;
    char endpoint[256] = "";
    bool again = true;
    int signals = -1, rc = dev_config_open(&config, cmd, err);
    if (rc == 0)
        rc = kernels_choose(NULL, err);
    if (rc == 0)
        rc = open_signals(&signals, err);
    while (rc == 0 && again) {
        rc = serve_open(&serve, &config, err);
        if (rc == 0 && endpoint[0] != '\0')
            log_info("another package is here; granting and pushing that one");
        if (rc == 0 && endpoint[0] == '\0') {
            (void)snprintf(endpoint, sizeof endpoint, "%s", serve_endpoint(serve));
            config.listen = endpoint; /* the same port again, where the config leaves it open */
            rc = say_ready(endpoint, serve_figures(serve), config.identity, cli_on(cmd, "json"), err);
        }
        if (rc == 0)
            rc = serve_run(serve, signals, &again, err);
        serve_close(serve);
        serve = NULL;
    }
    if (rc == 0)
        log_info("stopping");
    if (signals >= 0)
        close(signals);
    dev_config_close(&config);
    return rc;
}
