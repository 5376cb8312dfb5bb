/* user/jinja.h - chat templates in the Jinja language: parsed once, rendered often.
 *
 * Data flow   source -lexer-> tokens -parser-> tree; tree + variables -evaluator-> text.
 * Units       bytes of UTF-8.
 * Errors      every message names template and line. What is not implemented is refused by its name; what Python's Jinja
 *             refuses is refused. Bounded: steps, nesting, memory, length of the text (user/jinja_run.h).
 * Memory      jinja_parse gives (jinja_free; NULL is fine). Rendering appends to the caller's buffer, not at all on an error.
 *             One template may be rendered by several threads.
 * Secrets     variables hold prompts. A message may carry what the template itself passes to raise_exception.
 * Source      Jinja 3.1 as transformers sets it up: ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loopcontrols,
 *             tojson, raise_exception, strftime_now, generation. docs/TEMPLATES.md says what is supported.
 */
#ifndef STIP_USER_JINJA_H
#define STIP_USER_JINJA_H

#include "base/buf.h"
#include "base/json.h"

#define JINJA_SOURCE_MAX ((size_t)1 << 20)

struct jinja;

struct jinja_input {
    const char *name;
    const struct json *value; /* NULL: none */
};

/* `name` is how messages call the template. */
MUST_CHECK int jinja_parse(struct jinja **out, const char *source, size_t len, const char *name, struct err *err);
void jinja_free(struct jinja *t);
/* `now` (seconds since 1970) is the time that strftime_now shows, in the zone of this machine. Of inputs with the same name the
 * last one counts. */
MUST_CHECK int jinja_render(const struct jinja *t, const struct jinja_input *inputs, size_t count, int64_t now, struct buf *out,
                            struct err *err);

#endif
