/* user/chat_template: where the template is found, and what it is given, as transformers does it. Mutations caught, each tried:
 * the jinja file behind tokenizer_config.json; tools left undefined instead of none; the tools template without tools;
 * special tokens not read from {"content"}. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/tempdir.h"
#include "user/chat_template.h"

static char dir[FILE_PATH_MAX];
static struct err err;

static void setup(void)
{
    tempdir_make(dir);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(chat_template, .init = setup, .fini = teardown);

static void file(const char *name, const char *text)
{
    tempdir_spill(tempdir_path(dir, name), text, strlen(text));
}

/* Gives the text, or NULL with the reason in err. */
static char *render(const char *messages, bool prompt, const char *extra)
{
    struct chat_template *t = NULL;
    struct json_doc *doc = NULL, *more = NULL;
    struct buf out;
    char *text = NULL;
    buf_init(&out, 1 << 20);
    cr_assert_eq(json_parse(&doc, messages, strlen(messages), false, "messages", &err), 0, "%s", err.text);
    if (extra != NULL)
        cr_assert_eq(json_parse(&more, extra, strlen(extra), false, "extra", &err), 0, "%s", err.text);
    if (chat_template_load(&t, dir, &err) == 0) {
        cr_assert_not_null(t);
        if (chat_template_render(t, json_root(doc), prompt, json_root(more), &out, &err) == 0)
            text = buf_take(&out, NULL);
    }
    chat_template_free(t);
    buf_free(&out);
    json_free(doc);
    json_free(more);
    return text;
}

static void gives(const char *messages, bool prompt, const char *extra, const char *expected)
{
    err = (struct err){0};
    char *text = render(messages, prompt, extra);
    cr_expect(text != NULL && strcmp(text, expected) == 0, "expected '%s', found '%s' %s", expected, text, err.text);
    free(text);
}

static void refuses(const char *messages, const char *extra, const char *why)
{
    char *text = render(messages, true, extra);
    cr_expect_null(text, "found '%s'", text);
    cr_expect(strstr(err.text, why) != NULL, "expected '%s' in: %s", why, err.text);
    free(text);
}

#define USER "[{\"role\":\"user\",\"content\":\"hi\"}]"

Test(chat_template, a_model_without_one_has_none)
{
    struct chat_template *t = (struct chat_template *)(void *)dir;
    cr_assert_eq(chat_template_load(&t, dir, &err), 0, "%s", err.text);
    cr_expect_null(t);
    file("tokenizer_config.json", "{\"bos_token\":\"<s>\",\"chat_template\":null}");
    cr_assert_eq(chat_template_load(&t, dir, &err), 0, "%s", err.text);
    cr_expect_null(t);
}

Test(chat_template, special_tokens_and_the_prompt_are_variables)
{
    file("tokenizer_config.json",
         "{\"bos_token\":{\"content\":\"<s>\",\"lstrip\":false},\"eos_token\":\"</s>\",\"pad_token\":null,"
         "\"additional_special_tokens\":[\"<x>\",{\"content\":\"<y>\"}],"
         "\"chat_template\":\"{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token is defined }}{{ unk_token }}"
         "{{ additional_special_tokens }}{{ add_generation_prompt }}{{ tools is none }}{{ documents is none }}{{ tool is defined }}\"}");
    file("special_tokens_map.json", "{\"unk_token\":\"<unk>\",\"eos_token\":\"</wrong>\",\"pad_token\":\"<pad>\"}");
    gives(USER, true, NULL, "<s>hi</s>False<unk>['<x>', '<y>']TrueTrueTrueFalse");
    gives(USER, false, "{}", "<s>hi</s>False<unk>['<x>', '<y>']FalseTrueTrueFalse");
}

Test(chat_template, extra_members_are_variables_and_win_over_special_tokens)
{
    file("tokenizer_config.json", "{\"bos_token\":\"<s>\",\"chat_template\":\"{{ bos_token }}{{ tools|length }}{{ enable_thinking }}\"}");
    gives(USER, true, "{\"tools\":[{}],\"enable_thinking\":false,\"bos_token\":\"B\"}", "B1False");
    refuses(USER, "{\"messages\":[]}", "'messages' is given elsewhere");
    refuses(USER, "[1]", "expected an object, found a list");
    refuses("{\"role\":\"user\"}", NULL, "messages: expected a list, found an object");
}

Test(chat_template, the_file_comes_first_then_the_config_then_the_old_file)
{
    file("chat_template.json", "{\"chat_template\":\"old\"}");
    gives(USER, true, NULL, "old");
    file("tokenizer_config.json", "{\"chat_template\":\"config\"}");
    gives(USER, true, NULL, "config");
    file("chat_template.jinja", "file\n");
    gives(USER, true, NULL, "file");
}

Test(chat_template, a_list_of_templates_is_chosen_from_by_name)
{
    file("tokenizer_config.json", "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"T{{ tools|length }}\"},"
                                  "{\"name\":\"rag\",\"template\":\"{% nonsense %}\"},{\"name\":\"default\",\"template\":\"D\"}]}");
    gives(USER, true, NULL, "D");
    gives(USER, true, "{\"tools\":null}", "D");
    gives(USER, true, "{\"tools\":[{},{}]}", "T2");
    file("tokenizer_config.json", "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"R\"},{\"name\":\"tool_use\",\"template\":\"T\"}]}");
    gives(USER, true, "{\"tools\":[]}", "T");
    refuses(USER, NULL, "the model's chat templates are called rag, tool_use; none is called 'default'");
    file("tokenizer_config.json", "{\"chat_template\":[{\"name\":\"default\"}]}");
    refuses(USER, NULL, "field 'template': expected a string");
    file("tokenizer_config.json", "{\"chat_template\":7}");
    refuses(USER, NULL, "field 'chat_template': expected a text or a list, found a number");
}

Test(chat_template, templates_beside_the_jinja_file_serve_for_tools)
{
    cr_assert_eq(file_mkdirs(tempdir_path(dir, "additional_chat_templates"), 0700, &err), 0);
    file("chat_template.jinja", "plain");
    file("additional_chat_templates/tool_use.jinja", "tools");
    gives(USER, true, NULL, "plain");
    gives(USER, true, "{\"tools\":[{}]}", "tools");
}

Test(chat_template, mistakes_name_file_and_line)
{
    file("chat_template.jinja", "line one\n{{ messages[0].nope.nope }}");
    refuses(USER, NULL, "chat_template.jinja: line 2: 'nope' is undefined");
    file("chat_template.jinja", "{% import 'x' as y %}");
    refuses(USER, NULL, "chat_template.jinja: line 1: the tag 'import' is not implemented");
}
