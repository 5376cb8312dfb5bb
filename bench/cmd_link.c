#include <signal.h>
#include <stdio.h>

#include "bench/cmd.h"
#include "bench/link.h"

static volatile sig_atomic_t stop;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stop = 1;
}

int cmd_link(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct link *l;
    const char *to;
    double rtt_ms = 0, rate_mbit = 0;
    (void)argc;
    (void)argv;
    if (cli_need(cmd, "to", &to, err) != 0 || cli_num(cmd, "rtt", 0, 60000, &rtt_ms, err) != 0 ||
        cli_num(cmd, "rate", 0, 1e6, &rate_mbit, err) != 0 ||
        link_open(&l, cli_str(cmd, "listen", "tcp://127.0.0.1:*"), to, rtt_ms, rate_mbit, err) != 0)
        return -1;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    if (cli_on(cmd, "json"))
        printf("{\"event\":\"ready\",\"endpoint\":\"%s\"}\n", link_endpoint(l));
    else
        printf("%s -> %s, %g ms there and back\n", link_endpoint(l), to, rtt_ms);
    (void)fflush(stdout);
    int rc = link_run(l, &stop, err);
    link_close(l);
    return rc;
}
