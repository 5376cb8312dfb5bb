/* transport/blob.h - a folder of files that travels: what it holds, how it is sent, how it is received.
 *
 * Data flow   sender: folder -> blob_list -> blob_source_read answers each GET.
 *             receiver: list (from the checked manifest) -> blob_sink -> FOLDER.part/ -> all chunks right -> fsync ->
 *             rename to FOLDER. After a crash the same list finds what is in FOLDER.part by hashing it again.
 * Units       bytes; chunks of WIRE_PAYLOAD_MAX.
 * Errors      a chunk whose SHA-256 differs names file and chunk (ERR_PEER); disk full and failed fsync (ERR_INTERNAL)
 *             leave nothing under FOLDER; a failed fsync throws FOLDER.part away and is never retried.
 * Memory      blob_list_*, blob_source_open, blob_sink_open give.
 * Secrets     files are made 0600 in a 0700 folder.
 */
#ifndef STIP_TRANSPORT_BLOB_H
#define STIP_TRANSPORT_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "transport/wire.h"

#define BLOB_NAME_MAX 200
#define BLOB_FILES_MAX 65535u

struct blob_file {
    char name[BLOB_NAME_MAX + 1]; /* plain file name (file_name_ok) */
    uint64_t size;
    uint8_t sha256[32]; /* of the whole file, for people and sha256sum; chunks are what is checked */
    uint8_t *chunk;     /* [blob_chunks(size)][32], SHA-256 of each chunk */
};

struct blob_list {
    struct blob_file *file;
    size_t count;
};

uint32_t blob_chunks(uint64_t size);
/* Bytes of chunk i of a file of that size. */
size_t blob_chunk_bytes(uint64_t size, uint32_t chunk);

/* Hashes one file on disk. Gives out->chunk. */
MUST_CHECK int blob_file_hash(struct blob_file *out, const char *dir, const char *name, struct err *err);
/* Appends (takes over file->chunk). Refuses bad or doubled names and sizes above 2^51. */
MUST_CHECK int blob_list_add(struct blob_list *list, struct blob_file *file, struct err *err);
/* The same from hashes that are known: of the file, and [n][32] of its chunks. Copies. */
MUST_CHECK int blob_list_known(struct blob_list *list, const char *name, uint64_t size, const uint8_t sha256[32], const uint8_t *chunks, size_t n,
                               struct err *err);
void blob_list_free(struct blob_list *list);
uint64_t blob_list_bytes(const struct blob_list *list);

/* A plain binary manifest for links that authenticate the sender already (grants). encode gives (free()). */
MUST_CHECK int blob_list_encode(const struct blob_list *list, uint8_t **out, size_t *len, struct err *err);
MUST_CHECK int blob_list_decode(struct blob_list *out, const uint8_t *data, size_t len, struct err *err);

/* ---- sending */
struct blob_source;
/* Borrows list, manifest and dir for its life. */
MUST_CHECK int blob_source_open(struct blob_source **out, const char *dir, const struct blob_list *list,
                                const uint8_t *manifest, size_t manifest_len, struct err *err);
/* The CHUNK that answers a GET; its payload is borrowed until the next call. WIRE_UNKNOWN_FILE for what is not there. */
MUST_CHECK enum wire_code blob_source_answer(struct blob_source *s, const struct frame *get, struct frame *chunk,
                                             struct err *err);
void blob_source_close(struct blob_source *s);

/* ---- receiving a manifest, into memory */
struct blob_memory {
    uint8_t *data; /* size bytes and a NUL */
    size_t size;
    uint32_t asked, have; /* chunks; they come in the order they were asked for */
};
/* 1..BLOB_MANIFEST_MAX bytes. */
MUST_CHECK int blob_memory_open(struct blob_memory *m, uint64_t size, struct err *err);
bool blob_memory_next(struct blob_memory *m, struct frame *get);
MUST_CHECK enum wire_code blob_memory_take(struct blob_memory *m, const struct frame *chunk, struct err *err);
bool blob_memory_complete(const struct blob_memory *m);
void blob_memory_close(struct blob_memory *m);

/* ---- receiving a folder */
struct blob_sink;
/* FOLDER must not exist. Reserves the disk space. Borrows list for its life. */
MUST_CHECK int blob_sink_open(struct blob_sink **out, const char *folder, const struct blob_list *list, struct err *err);
/* Hashes at most `chunks` more chunks that an earlier attempt left; call until *done. */
MUST_CHECK int blob_sink_check(struct blob_sink *s, uint32_t chunks, bool *done, struct err *err);
/* True with the next GET to send while fewer than WIRE_CREDIT are on their way. */
bool blob_sink_next(struct blob_sink *s, struct frame *get);
/* Takes a CHUNK. WIRE_BAD_CHUNK: wrong hash; WIRE_BAD_FRAME: not asked for; WIRE_DISK_FULL, WIRE_INTERNAL: ours. */
MUST_CHECK enum wire_code blob_sink_take(struct blob_sink *s, const struct frame *chunk, struct err *err);
bool blob_sink_complete(const struct blob_sink *s);
uint64_t blob_sink_bytes(const struct blob_sink *s); /* in place so far */
/* The requests on their way are lost (new connection): they will be asked for again. */
void blob_sink_forget(struct blob_sink *s);
/* FOLDER.part, for files that the caller adds (the manifest) before blob_sink_install. */
const char *blob_sink_folder(const struct blob_sink *s);
/* fsync of all files, rename, fsync of the parent folder. Only when complete. */
MUST_CHECK int blob_sink_install(struct blob_sink *s, struct err *err);
/* Keeps FOLDER.part for the next attempt. */
void blob_sink_close(struct blob_sink *s);

#endif
