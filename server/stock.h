/* server/stock.h - pages for keys and values that are ready before a session asks for them.
 *
 * Data flow   stock_turn, in every turn of the server's loop: what the pool lacks -> thread: kvpage_new -> stock_turn -> kvpool_add.
 * Units       pages.
 * Errors      stock_open: memory, threads. A page that cannot be had is asked for again in the next turn.
 * Memory      the pool is borrowed and outlives the stock; pages become the pool's.
 * Secrets     none: pages that nobody has used.
 *
 * The system clears a page of some megabytes when it is first touched, which takes one to ten milliseconds; 32 sessions that begin together, or
 * reach the end of a page together, made everybody wait that often. The thread gives way to those that compute.
 */
#ifndef STIP_SERVER_STOCK_H
#define STIP_SERVER_STOCK_H

#include "engine/kvcache.h"

#define STOCK_PAGES 64 /* are kept ready, */
#define STOCK_SHARE 16 /* but no more than one part in so many of the budget */

struct stock;
MUST_CHECK int stock_open(struct stock **out, struct kvpool *pool, struct err *err);
void stock_close(struct stock *st); /* waits for the page that is being made */
/* Takes what is made and asks for what the pool lacks, without waiting. By the thread that uses the pool. */
void stock_turn(struct stock *st);

#endif
