#include "user/splitter.h"

#include <string.h>

int splitter_read_behavior(const struct json_doc *doc, const struct json *step, bool required, enum split_behavior *out,
                           struct err *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name = NULL;
    if ((required ? json_get_str : json_opt_str)(doc, step, "behavior", &name, err) != 0)
        return -1;
    for (size_t i = 0; name != NULL && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum split_behavior)i;
            return 0;
        }
    if (name == NULL)
        return 0;
    return err_set(
        err, ERR_INPUT,
        "%s: field 'behavior': expected Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous, found '%.40s'",
        json_name(doc), name);
}

static int emit(struct splitter *s, size_t start, size_t end, struct err *err)
{
    return end > start ? s->fn(s->ctx, s->text, start, end, err) : 0;
}

/* Does this range belong to the one that is held? */
static bool joins(const struct splitter *s, bool match)
{
    switch (s->behavior) {
    case SPLIT_CONTIGUOUS:
        return match == s->last_matched;
    case SPLIT_MERGED_WITH_PREVIOUS:
        return match && !s->last_matched;
    case SPLIT_MERGED_WITH_NEXT:
        return !match && s->last_matched;
    case SPLIT_ISOLATED:
    case SPLIT_REMOVED:
        break;
    }
    return false;
}

int splitter_put(struct splitter *s, size_t start, size_t end, bool match, struct err *err)
{
    if (s->behavior == SPLIT_ISOLATED)
        return emit(s, start, end, err);
    if (s->behavior == SPLIT_REMOVED)
        return match ? 0 : emit(s, start, end, err);
    if (s->holding && joins(s, match)) {
        s->end = end;
    } else {
        if (splitter_end(s, err) != 0)
            return -1;
        s->start = start;
        s->end = end;
        s->holding = true;
    }
    s->last_matched = match;
    return 0;
}

int splitter_end(struct splitter *s, struct err *err)
{
    bool held = s->holding;
    s->holding = false;
    return held ? emit(s, s->start, s->end, err) : 0;
}
