/* user/jinja_call.h - what a template calls by name: filters, tests, methods, global functions.
 *
 * Data flow   name + arguments -> struct jinja_def of one of the tables -> value.
 * Errors      through the run: unknown and not implemented names, arguments that do not fit.
 * Memory      tables are static.
 * Secrets     arguments hold prompts.
 * Source      Jinja 3.1 filters, tests and globals; methods of Python's str, list and dict; transformers' tojson,
 *             raise_exception and strftime_now.
 */
#ifndef STIP_USER_JINJA_CALL_H
#define STIP_USER_JINJA_CALL_H

#include "user/jinja_run.h"

#define JINJA_CALL_PARAMS_MAX 6

/* Each ends with a NULL name. */
extern const struct jinja_def jinja_filters[], jinja_list_filters[], jinja_tests[], jinja_globals[];
extern const struct jinja_def jinja_text_methods[], jinja_list_methods[], jinja_dict_methods[];

const struct jinja_def *jinja_call_find(const struct jinja_def *table, struct jinja_text name);
/* Puts arguments in the order of def->params; what was not given is JV_ABSENT. */
MUST_CHECK int jinja_call_def(struct jinja_run *r, const struct jinja_def *def, const struct jinja_value *self,
                              const struct jinja_args *args, struct jinja_value *out);
MUST_CHECK int jinja_call_filter(struct jinja_run *r, struct jinja_text name, const struct jinja_value *self,
                                 const struct jinja_args *args, struct jinja_value *out);
MUST_CHECK int jinja_call_test(struct jinja_run *r, struct jinja_text name, const struct jinja_value *self,
                               const struct jinja_args *args, bool *out);
/* The method `name` of a value, bound to it; *out is JV_ABSENT if Python's type has none. What would change the value is
 * undefined, as in the sandbox that transformers uses. */
MUST_CHECK int jinja_call_method(struct jinja_run *r, const struct jinja_value *of, struct jinja_text name, struct jinja_value *out);

/* Arguments of the functions in the tables: their type is checked, `fallback` stands for what was not given. */
MUST_CHECK int jinja_call_arg_text(struct jinja_run *r, const struct jinja_args *a, size_t i, const char *fallback,
                                   struct jinja_text *out);
MUST_CHECK int jinja_call_arg_int(struct jinja_run *r, const struct jinja_args *a, size_t i, int64_t fallback, int64_t *out);
bool jinja_call_arg_true(const struct jinja_args *a, size_t i, bool fallback);

#endif
