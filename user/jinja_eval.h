/* user/jinja_eval.h - expressions to values.
 *
 * Data flow   expression tree + scope -> value. jinja_exec.c runs statements, jinja_call.c what is called by a name.
 * Errors      through the run, with the line of the expression.
 * Memory      values live in the run's arena.
 * Secrets     reads prompts.
 * Source      Jinja 3.1: attributes before items for ".", items before attributes for "[ ]", Undefined.
 */
#ifndef STIP_USER_JINJA_EVAL_H
#define STIP_USER_JINJA_EVAL_H

#include "user/jinja_run.h"

MUST_CHECK int jinja_eval(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n, struct jinja_value *out);
/* Evaluated arguments of a call, filter or test. */
MUST_CHECK int jinja_eval_args(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *args,
                               struct jinja_args *out);
/* The filters of a filter block or of {% set x | ... %}, applied to a text. */
MUST_CHECK int jinja_eval_filters(struct jinja_run *r, struct jinja_scope *scope, const struct jinja_node *n,
                                  const struct jinja_value *self, struct jinja_value *out);
/* of["name"], as filters with attribute= look things up. */
MUST_CHECK int jinja_eval_item(struct jinja_run *r, const struct jinja_value *of, const struct jinja_value *key,
                               struct jinja_value *out);
MUST_CHECK int jinja_eval_binary(struct jinja_run *r, struct jinja_text op, const struct jinja_value *a, const struct jinja_value *b,
                                 struct jinja_value *out);
MUST_CHECK int jinja_eval_call(struct jinja_run *r, const struct jinja_value *what, const struct jinja_args *args,
                               struct jinja_value *out);
/* Sets a variable of this very scope. */
MUST_CHECK int jinja_eval_set(struct jinja_run *r, struct jinja_scope *scope, struct jinja_text name, struct jinja_value value);
/* "'name' is undefined" */
int jinja_eval_undefined(struct jinja_run *r, const struct jinja_value *v);

#endif
