#include "bench/interrupt.h"

#include <signal.h>

static volatile sig_atomic_t seen, child;

static void on_signal(int signal_number)
{
    (void)signal_number;
    seen = 1;
    if (child > 0)
        (void)kill((pid_t)child, SIGTERM);
}

void interrupt_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool interrupt_seen(void)
{
    return seen != 0;
}

void interrupt_child(pid_t pid)
{
    child = pid;
    if (seen && pid > 0) /* before we had said whom to end */
        (void)kill(pid, SIGTERM);
}
