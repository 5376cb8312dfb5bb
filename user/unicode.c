#include "user/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/size.h"
#include "base/utf8.h"
#include "user/unicode_tables.h"

bool unicode_is_space(uint32_t cp)
{
    return (cp >= 0x09 && cp <= 0x0D) || cp == 0x20 || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

static bool in_table(const struct unicode_table *t, uint32_t cp)
{
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (cp > t->ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->n && cp >= t->ranges[low].first;
}

bool unicode_is_numeric(uint32_t cp)
{
    return cp < 0x80 ? cp >= '0' && cp <= '9' : in_table(&unicode_table_numeric, cp);
}

bool unicode_is_punct(uint32_t cp)
{
    return in_table(&unicode_table_punct, cp);
}

bool unicode_is_other(uint32_t cp)
{
    return in_table(&unicode_table_other, cp);
}

bool unicode_is_mark(uint32_t cp)
{
    return cp >= 0x300 && in_table(&unicode_table_mark, cp);
}

bool unicode_is_nonspacing(uint32_t cp)
{
    return cp >= 0x300 && in_table(&unicode_table_nonspacing, cp);
}

bool unicode_is_word(uint32_t cp)
{
    if (cp < 0x80)
        return (cp >= '0' && cp <= '9') || (cp >= 'A' && cp <= 'Z') || cp == '_' || (cp >= 'a' && cp <= 'z');
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    if (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) /* L, M, Nd, Nl: they stand in this order */
        return true;
    if (c == UTF8PROC_CATEGORY_PC)
        return true;
    /* Join_Control, and the symbols that Unicode calls alphabetic: circled and squared letters. */
    return cp == 0x200C || cp == 0x200D || (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
           (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
}

/* Capitals that are younger than utf8proc 2.8's Unicode 15. */
static uint32_t lower_of_young(uint32_t cp)
{
    static const struct {
        uint32_t first, last, step;
        int32_t by;
    } young[] = {
        {0x1C89, 0x1C89, 1, 1}, {0xA7CB, 0xA7CB, 1, 0x264 - 0xA7CB}, {0xA7CC, 0xA7CE, 2, 1},      {0xA7D2, 0xA7D4, 2, 1},
        {0xA7DA, 0xA7DA, 1, 1}, {0xA7DC, 0xA7DC, 1, 0x19B - 0xA7DC}, {0x10D50, 0x10D65, 1, 0x20}, {0x16EA0, 0x16EB8, 1, 0x1B}};
    for (size_t i = 0; i < sizeof young / sizeof *young; i++)
        if (cp >= young[i].first && cp <= young[i].last && (cp - young[i].first) % young[i].step == 0)
            return (uint32_t)((int32_t)cp + young[i].by);
    return cp;
}

size_t unicode_lower(uint32_t cp, uint32_t out[2])
{
    if (cp == 0x130) { /* the only one whose lower case has two code points */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    if (out[0] == cp && cp > 0x7F)
        out[0] = lower_of_young(cp);
    return 1;
}

uint32_t unicode_upper(uint32_t cp)
{
    return (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp);
}

uint32_t unicode_title(uint32_t cp)
{
    return (uint32_t)utf8proc_totitle((utf8proc_int32_t)cp);
}

uint32_t unicode_lower_one(uint32_t cp)
{
    uint32_t out[2];
    return unicode_lower(cp, out) == 1 ? out[0] : cp;
}

bool unicode_has_case(uint32_t cp, bool upper)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    if (upper)
        return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LT || (c != UTF8PROC_CATEGORY_LL && unicode_lower_one(cp) != cp);
    return c == UTF8PROC_CATEGORY_LL || cp == 0xAA || cp == 0xBA || (c != UTF8PROC_CATEGORY_LT && unicode_upper(cp) != cp);
}

bool unicode_case_is_special(uint32_t cp)
{
    utf8proc_int32_t folded[8];
    int boundary = 0;
    if (cp < 0x80)
        return false;
    /* Capital sigma: its small form depends on what follows. */
    return cp == 0x3A3 || utf8proc_decompose_char((utf8proc_int32_t)cp, folded, 8, UTF8PROC_CASEFOLD, &boundary) > 1;
}

bool unicode_is_printable(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return cp == ' ' || !(c == UTF8PROC_CATEGORY_CN || c >= UTF8PROC_CATEGORY_ZS);
}

bool unicode_grapheme_break(uint32_t a, uint32_t b, int32_t *state)
{
    return utf8proc_grapheme_break_stateful((utf8proc_int32_t)a, (utf8proc_int32_t)b, state);
}

/* A mark that utf8proc knows and the original's older normaliser does not: to the latter it is an ordinary character. */
static bool is_young_mark(utf8proc_int32_t cp)
{
    utf8proc_category_t c = utf8proc_category(cp);
    return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME && !unicode_is_mark((uint32_t)cp);
}

static unsigned combining_class(utf8proc_int32_t cp)
{
    unsigned c = (unsigned)utf8proc_get_property(cp)->combining_class & 0xFFu;
    return c != 0 && is_young_mark(cp) ? 0 : c;
}

/* Stable counting sort of one run of marks by combining class. utf8proc's own ordering is quadratic in the run. */
static void order_run(utf8proc_int32_t *run, size_t n, utf8proc_int32_t *spare)
{
    size_t at[257] = {0};
    for (size_t i = 0; i < n; i++)
        at[combining_class(run[i]) + 1]++;
    for (size_t c = 1; c < 257; c++)
        at[c] += at[c - 1];
    for (size_t i = 0; i < n; i++)
        spare[at[combining_class(run[i])]++] = run[i];
    memcpy(run, spare, n * sizeof *run);
}

static void order_marks(utf8proc_int32_t *cps, size_t n, utf8proc_int32_t *spare)
{
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && combining_class(cps[end]) != 0)
            end++;
        if (end - i > 1)
            order_run(cps + i, end - i, spare);
        i = end + 1;
    }
}

/* Composes in place, each stretch between young marks by itself; the new length, or -1. */
static utf8proc_ssize_t compose_all(utf8proc_int32_t *cps, size_t n)
{
    size_t done = 0;
    for (size_t start = 0, end; start < n; start = end) {
        for (end = start + 1; end < n && !is_young_mark(cps[end]);)
            end++;
        utf8proc_ssize_t got = utf8proc_normalize_utf32(cps + start, (utf8proc_ssize_t)(end - start),
                                                        (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
        if (got < 0)
            return got;
        memmove(cps + done, cps + start, (size_t)got * sizeof *cps);
        done += (size_t)got;
    }
    return (utf8proc_ssize_t)done;
}

static bool is_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

/* Characters that the original's older normaliser leaves alone. */
static bool has_young_decomposition(uint32_t cp)
{
    static const struct unicode_range young[] = {{0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xAB69, 0xAB69},   {0x10781, 0x107BA},
                                                 {0x11938, 0x11938}, {0x1E030, 0x1E06D}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};
    for (size_t i = 0; i < sizeof young / sizeof *young; i++)
        if (cp >= young[i].first && cp <= young[i].last)
            return true;
    return false;
}

int unicode_normalize(enum unicode_form form, const char *text, size_t len, struct buf *out, struct err *err)
{
    if (is_ascii(text, len)) {
        buf_put(out, text, len);
        return buf_check(out, "normalised text", err);
    }
    bool compat = form == UNICODE_NFKC || form == UNICODE_NFKD;
    bool compose = form == UNICODE_NFC || form == UNICODE_NFKC;
    utf8proc_option_t how = (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0));
    int rc = -1;
    size_t n = 0, cap = 0, bytes;
    utf8proc_int32_t *cps = NULL, *spare = NULL;
    for (size_t at = 0; at < len;) {
        enum { LONGEST = 32 }; /* the longest decomposition has 18 code points */
        if (cap - n < LONGEST) {
            cap = cap + cap / 2 + len - at + LONGEST;
            utf8proc_int32_t *more = size_mul(cap, sizeof *cps, &bytes) ? NULL : realloc(cps, bytes);
            if (more == NULL) {
                err_oom(err, cap);
                goto done;
            }
            cps = more;
        }
        uint32_t cp = 0;
        at += utf8_decode(text + at, len - at, &cp);
        if (has_young_decomposition(cp)) {
            cps[n++] = (utf8proc_int32_t)cp;
            continue;
        }
        int last = 0;
        utf8proc_ssize_t got = utf8proc_decompose_char((utf8proc_int32_t)cp, cps + n, LONGEST, how, &last);
        if (got < 0 || got > LONGEST) {
            err_set(err, ERR_INTERNAL, "utf8proc cannot decompose U+%04X", (unsigned)cp);
            goto done;
        }
        n += (size_t)got;
    }
    if ((spare = malloc(n * sizeof *spare + 1)) == NULL) {
        err_oom(err, n * sizeof *spare);
        goto done;
    }
    order_marks(cps, n, spare);
    if (compose) {
        utf8proc_ssize_t got = compose_all(cps, n);
        if (got < 0) {
            err_set(err, ERR_INTERNAL, "utf8proc cannot compose: %s", utf8proc_errmsg(got));
            goto done;
        }
        n = (size_t)got;
    }
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        buf_put(out, utf8, utf8_encode((uint32_t)cps[i], utf8));
    }
    rc = buf_check(out, "normalised text", err);
done:
    free(cps);
    free(spare);
    return rc;
}
