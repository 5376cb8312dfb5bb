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
    if (sigemptyset(&set) != 0 || sigaddset(&set, SIGTERM) != 0 || sigaddset(&set, SIGINT) != 0 || sigaddset(&set, SIGHUP) != 0 ||
        sigprocmask(SIG_BLOCK, &set, NULL) != 0 || (*fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return err_set(err, ERR_INTERNAL, "cannot wait for signals: %s", strerror(errno));
    return 0;
}

/* What has come is taken; true if it says to end. */
static bool told_to_end(int signals)
{
    struct signalfd_siginfo s;
    bool end = false;
    while (read(signals, &s, sizeof s) == (ssize_t)sizeof s)
        end = end || s.ssi_signo != SIGHUP;
    return end;
}

/* The allow-list of the config as it is now; of the rest nothing. A config that is wrong changes nothing. */
static void read_list_again(struct dev_config *config, const struct cli_cmd *cmd)
{
    struct dev_config now;
    struct err err;
    if (dev_config_open(&now, cmd, &err) != 0) {
        log_error("the allow-list stays as it is: %s", err.text);
        return;
    }
    struct peer_key *const users = config->users;
    config->users = now.users;
    config->user_count = now.user_count;
    now.users = users;
    dev_config_close(&now);
    log_info("allow-list read again: %zu users", config->user_count);
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
    char endpoint[256];
    enum serve_news news;
    bool ready = false, end = false;
    int signals = -1, rc = dev_config_open(&config, cmd, err);
    if (rc == 0)
        rc = kernels_choose(NULL, err);
    if (rc == 0)
        rc = open_signals(&signals, err);
    while (rc == 0 && !end) {
        if (serve == NULL)
            rc = serve_open(&serve, &config, err);
        if (rc == 0)
            rc = serve_run(serve, signals, &news, err);
        if (rc != 0)
            break;
        if (news == SERVE_GRANTS) {
            log_info("the grants are made, for %zu users", config.user_count);
            if (!ready)
                rc = say_ready(serve_endpoint(serve), serve_figures(serve), config.identity, cli_on(cmd, "json"), err);
            ready = true;
            continue;
        }
        /* The same port again, where the config leaves it open. Nobody is to be answered by the old lists and keys any more. */
        (void)snprintf(endpoint, sizeof endpoint, "%s", serve_endpoint(serve));
        config.listen = endpoint;
        serve_close(serve);
        serve = NULL;
        end = news == SERVE_SIGNAL && told_to_end(signals);
        if (news == SERVE_OTHER)
            log_info("another package is here; granting and pushing that one");
        else if (!end)
            read_list_again(&config, cmd);
    }
    serve_close(serve);
    if (rc == 0)
        log_info("stopping");
    if (signals >= 0)
        close(signals);
    dev_config_close(&config);
    return rc;
}
