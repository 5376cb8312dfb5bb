/* user/serve_chunk.h - answers in the form of the OpenAI API: whole ones, and the chunks of a stream.
 *
 * Data flow   text, tokens, figures of a job -> JSON document -> HTTP body or event.
 * Units       milliseconds, tokens, bytes.
 * Errors      out of memory shows when the document is printed.
 * Memory      each function gives a document that the caller prints and frees.
 * Secrets     the answer, for the client only.
 * Source      OpenAI API reference; `timings` as llama.cpp's server names them, `stip` is ours.
 */
#ifndef STIP_USER_SERVE_CHUNK_H
#define STIP_USER_SERVE_CHUNK_H

#include "user/serve_job.h"

struct chunk_head {
    bool chat;
    char id[48];
    const char *model;
    int64_t created;
    const uint8_t *context; /* of the package, for the system fingerprint */
    const struct tokenizer *tokenizer;
};

struct chunk_usage {
    int64_t prompt, completion;
};

/* A choice of a whole answer. */
struct chunk_choice {
    struct buf text;
    const struct job_token *tokens; /* [count], borrowed from job */
    int count;
    int32_t previous; /* the prompt's last token */
    struct job_result result;
    struct job *job;
};

struct json_doc *chunk_whole(const struct chunk_head *h, const struct chunk_choice *choices, int count, int logprobs,
                             const struct chunk_usage *usage);
struct json_doc *chunk_role(const struct chunk_head *h, int index);
/* previous: the token before the first of these. */
struct json_doc *chunk_text(const struct chunk_head *h, int index, const char *text, size_t len, const struct job_token *tokens,
                            int count, int logprobs, int32_t previous);
/* The same without log-probabilities, for each token of a stream: chunk_text once, written around the text of each.
 * chunk_frame: 0, or -1 when out of memory; gives text that chunk_frame_free releases. */
struct chunk_frame {
    char *text;
    size_t split; /* where the text of a token goes, with its quotes */
};
int chunk_frame(struct chunk_frame *out, const struct chunk_head *h, int index);
void chunk_framed(const struct chunk_frame *f, const char *text, size_t len, struct buf *to);
void chunk_frame_free(struct chunk_frame *f);
struct json_doc *chunk_finish(const struct chunk_head *h, int index, const struct job_result *result);
struct json_doc *chunk_usage(const struct chunk_head *h, const struct chunk_usage *usage);

#endif
