/* user/splitter.h - what becomes of the delimiters when text is split: the "behavior" of tokenizer.json.
 *
 * Data flow   ranges of a text in order, each "match" or "no match" -> joined or dropped -> callback per piece.
 * Units       byte offsets into the text.
 * Errors      reading: a behaviour that is unknown. Otherwise whatever the callback reports.
 * Memory      none; borrows the text.
 * Secrets     reads prompts; keeps nothing.
 * Source      SplitDelimiterBehavior of Hugging Face tokenizers.
 */
#ifndef STIP_USER_SPLITTER_H
#define STIP_USER_SPLITTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"

enum split_behavior {
    SPLIT_ISOLATED,             /* a-b -> a, -, b */
    SPLIT_REMOVED,              /* a-b -> a, b */
    SPLIT_MERGED_WITH_PREVIOUS, /* a-b -> a-, b */
    SPLIT_MERGED_WITH_NEXT,     /* a-b -> a, -b */
    SPLIT_CONTIGUOUS,           /* a--b -> a, --, b */
};

/* Member "behavior"; when it may be absent, *out keeps its value then. */
MUST_CHECK int splitter_read_behavior(const struct json_doc *doc, const struct json *step, bool required,
                                      enum split_behavior *out, struct err *err);

typedef int (*splitter_fn)(void *ctx, const char *text, size_t start, size_t end, struct err *err);

struct splitter {
    enum split_behavior behavior;
    const char *text;
    splitter_fn fn;
    void *ctx;
    size_t start, end; /* held back, because the next range may join it */
    bool holding;
    bool last_matched;
};

MUST_CHECK int splitter_put(struct splitter *s, size_t start, size_t end, bool match, struct err *err);
MUST_CHECK int splitter_end(struct splitter *s, struct err *err);

#endif
