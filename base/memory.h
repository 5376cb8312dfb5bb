/* base/memory.h - how much memory this machine has, how much of it this process may take, and what it keeps of what it took.
 *
 * Data flow   the kernel -> default and check of limits.memory_mb; doctor.
 * Units       bytes.
 * Errors      none: UINT64_MAX where the kernel does not say.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_BASE_MEMORY_H
#define STIP_BASE_MEMORY_H

#include <stdint.h>
#include <unistd.h>

/* Of the whole machine; limits of containers do not show here. */
static inline uint64_t memory_physical(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    return pages <= 0 || bytes <= 0 ? UINT64_MAX : (uint64_t)pages * (uint64_t)bytes;
}

/* The smallest memory.max of the control groups that this process is in (version 2); UINT64_MAX for none. */
uint64_t memory_group_limit(void);

/* For a process through which large messages run: what is freed stays its own, up to MEMORY_KEEP bytes. By default pages go back to
 * the system with every message, and each is cleared and mapped again for the next one. Before the first thread. */
#define MEMORY_KEEP (32 << 20)
void memory_keep_freed(void);

#endif
