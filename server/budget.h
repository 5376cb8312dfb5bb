/* server/budget.h - how many rows of prompts a pass may take while somebody waits for tokens.
 *
 * Data flow   what passes took -> budget_learn -> budget_rows -> server/schedule.h.
 * Units       rows, microseconds.
 * Errors      none.
 * Memory      none of its own.
 * Secrets     none: times and counts.
 *
 * A pass of tokens alone is the time that users wait between two of them. Rows of prompts make it longer; at most by
 * BUDGET_STRETCH times that, as far as the passes before can tell. So the slowest tokens take about 1 + BUDGET_STRETCH times as
 * long as the others however long prompts are, and prompts still get more than half of the machine.
 */
#ifndef STIP_SERVER_BUDGET_H
#define STIP_SERVER_BUDGET_H

#include <stdint.h>

#define BUDGET_STRETCH 1.25
#define BUDGET_LEAST 16 /* rows, or a prompt would never end */

struct budget {
    double pass_us; /* of a pass of tokens alone; 0: not seen yet */
    double row_us;  /* that each row of a prompt adds; 0: not seen yet */
};

/* A pass of so many rows of tokens and of prompts is done. */
void budget_learn(struct budget *b, int tokens, int prompts, uint32_t us);
/* chunk: the most that a pass takes at all, and what it takes while too little is known. */
int budget_rows(const struct budget *b, int chunk);

#endif
