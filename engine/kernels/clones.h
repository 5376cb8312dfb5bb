/* engine/kernels/clones.h - one binary, several instruction sets.
 *
 * Data flow   a function marked KERNEL is compiled once per instruction set; the loader picks the best that this CPU has.
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 *
 * Results may differ in the last bit between CPUs, never between two runs on one. Two builds get the portable code only:
 * sanitizers, which would instrument the resolver before they are set up, and clang 14, whose resolver has another name than
 * the one that callers in other files use.
 */
#ifndef STIP_ENGINE_KERNELS_CLONES_H
#define STIP_ENGINE_KERNELS_CLONES_H

#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KERNEL __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KERNEL
#endif

#endif
