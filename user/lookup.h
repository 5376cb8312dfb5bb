/* user/lookup.h - guesses by looking up: what followed the last time that the text ended as it ends now.
 *
 * Data flow   transcript (prompt, then what was generated) -> longest earlier match of its end -> the tokens behind that.
 * Units       tokens.
 * Errors      none.
 * Memory      none: the transcript is searched anew for every step, in time proportional to its length; that is some
 *             microseconds for thousands of tokens and keeps no index that could disagree with a text that was cut.
 * Secrets     reads the transcript; keeps nothing.
 * Source      prompt look-up decoding (Saxena 2023), a special case of speculative decoding.
 */
#ifndef STIP_USER_LOOKUP_H
#define STIP_USER_LOOKUP_H

#include <stdint.h>

#define LOOKUP_LONGEST 8 /* matches are not compared further back */

/* Fills drafts [k] and gives the length of the match, or gives 0 when the last token is new. Of matches of one length the
 * latest counts. Where the earlier text ends, the guesses go on with themselves: a text that repeats goes on repeating. */
int lookup_drafts(const int32_t *history, int n, int k, int32_t *drafts);

#endif
