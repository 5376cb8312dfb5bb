/* user/openai: any body is refused with a status and a message, or gives a request that the gateway can rely on. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "user/openai.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check(const struct openai_request *r, enum openai_kind kind)
{
    const struct sample_opts *s = &r->sample;
    require(r->logprobs >= -1 && r->logprobs <= OPENAI_TOP_MAX && r->stop_count >= 0 && r->stop_count <= OPENAI_STOP_MAX);
    require(s->temperature >= 0 && s->top_p >= 0 && s->top_p <= 1 && s->min_p >= 0 && s->min_p <= 1 && s->repeat_penalty > 0 &&
            s->top_k >= 0);
    require(s->frequency_penalty >= -2 && s->frequency_penalty <= 2 && s->presence_penalty >= -2 && s->presence_penalty <= 2);
    require(r->max_tokens >= 0 && r->max_tokens <= 1 << 24 && r->input_count <= OPENAI_INPUTS_MAX);
    for (int i = 0; i < r->stop_count; i++)
        require(r->stop[i][0] != '\0');
    for (int i = 0; i < s->bias_count; i++)
        require(s->bias[i].id >= 0 && s->bias[i].add >= -1e4f && s->bias[i].add <= 1e4f);
    for (size_t i = 0; i < r->message_count; i++)
        require(r->messages[i].role != NULL && r->messages[i].content != NULL);
    for (size_t i = 0; i < r->input_count; i++)
        require(r->inputs[i].text != NULL || r->inputs[i].n > 0 || kind == OPENAI_DETOKENIZE);
    require(kind == OPENAI_CHAT || kind == OPENAI_TEMPLATE ? r->message_count > 0 : r->input_count > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int kind = OPENAI_CHAT; kind <= OPENAI_TEMPLATE; kind++) {
        struct openai_request r;
        struct openai_error e = {0};
        if (openai_parse(&r, (enum openai_kind)kind, (const char *)data, size, &e) == 0) {
            check(&r, (enum openai_kind)kind);
            openai_request_free(&r);
            continue;
        }
        require(e.status >= 400 && e.status < 600 && e.message[0] != '\0' && e.type != NULL);
        char *text = openai_error_text(&e);
        require(text != NULL);
        free(text);
    }
    return 0;
}
