/* user/jinja_exec.h - statements of a chat template.
 *
 * Data flow   list of statements + scope -> output of the run.
 * Errors      -1 through the run. Otherwise says whether break or continue is under way.
 * Memory      scopes live in the run's arena.
 * Secrets     reads prompts.
 */
#ifndef STIP_USER_JINJA_EXEC_H
#define STIP_USER_JINJA_EXEC_H

#include "user/jinja_run.h"

enum jinja_exec_result { JINJA_EXEC_FAILED = -1, JINJA_EXEC_DONE, JINJA_EXEC_BREAK, JINJA_EXEC_CONTINUE };

MUST_CHECK enum jinja_exec_result jinja_exec(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *list);
/* Text of a macro or of caller(). */
MUST_CHECK int jinja_exec_macro(struct jinja_run *r, const struct jinja_macro *m, const struct jinja_args *args,
                                struct jinja_value *out);

#endif
