/* base/json_scan.h - refuses what cJSON would let through, before it sees the text.
 *
 * Data flow   text -> json_scan -> cJSON (base/json.c).
 * Units       bytes.
 * Errors      ERR_INPUT with name and byte: invalid UTF-8, NUL, control characters and "\u0000" inside strings, numbers with
 *             leading zeros or missing digits. Structure is cJSON's business.
 * Memory      none.
 * Secrets     none kept.
 * Source      RFC 8259.
 */
#ifndef STIP_BASE_JSON_SCAN_H
#define STIP_BASE_JSON_SCAN_H

#include <stddef.h>

#include "base/err.h"

MUST_CHECK int json_scan(const char *text, size_t len, const char *name, struct err *err);

#endif
