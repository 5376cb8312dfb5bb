/* user/regex.h - the one door to PCRE2: the regular expressions that tokenizer.json files bring.
 *
 * Data flow   tokenizer.json pattern (dialect of Oniguruma, as the original tokenizers read it) -> translation ->
 *             PCRE2 -> where the next match lies in a prompt.
 * Units       bytes.
 * Errors      regex_new: a pattern that does not compile, and every construct whose meaning differs between the two
 *             dialects and is not translated, by name. regex_find: match limit, memory limit, time limit.
 * Memory      regex_new gives (regex_free); regex_scan_new gives (regex_scan_free). A regex may be used from several
 *             threads, a scan belongs to one.
 * Secrets     reads prompts; errors never carry them.
 * Source      pcre2api(3), pcre2pattern(3); Oniguruma doc/RE (Ruby syntax). `\s` is \p{White_Space} here: PCRE2's own
 *             also takes U+180E.
 */
#ifndef STIP_USER_REGEX_H
#define STIP_USER_REGEX_H

#include <stddef.h>

#include "base/err.h"

#define REGEX_PATTERN_MAX ((size_t)16384) /* bytes */
#define REGEX_CPU_SECONDS_MAX 60          /* for one scan; a 10 MB prompt takes about two */

struct regex;
struct regex_scan;

MUST_CHECK int regex_new(struct regex **out, const char *pattern, struct err *err);
void regex_free(struct regex *r);

/* Working memory and the time budget of one text. */
MUST_CHECK int regex_scan_new(struct regex_scan **out, struct err *err);
void regex_scan_free(struct regex_scan *s);

/* First match that starts at `from` or later: 1 and its place, 0 if there is none, -1 on error.
 * The text must be valid UTF-8. */
MUST_CHECK int regex_find(const struct regex *r, struct regex_scan *s, const char *text, size_t len, size_t from, size_t *start,
                          size_t *end, struct err *err);

#endif
