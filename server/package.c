#include "server/package.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static int check_signer(const char *text, size_t len, const uint8_t sig[CRYPTO_SIG_LEN], const struct peer_key *developers,
                        size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct err wrong;
        if (manifest_verify(text, len, sig, developers[i].sign_pub, &wrong) == 0)
            return 0;
    }
    return err_set(err, ERR_AUTH, "the manifest is signed by none of the %zu developers in allow.model_devs", n);
}

static bool head_here(const struct package *p)
{
    return strcmp(p->manifest.head, "server") == 0;
}

static int check_memory(const char *dir, size_t bytes, const struct package_limits *limits, struct err *err)
{
    if (limits->weights != 0 && bytes > limits->weights)
        return err_set(err, ERR_INTERNAL, "%s: the weights need %zu bytes in memory, the limit (limits.weights_mb) is %zu", dir,
                       bytes, limits->weights);
    const uint64_t machine = memory_physical(), all = (uint64_t)bytes + limits->held + limits->others;
    if (all > machine)
        return err_set(err, ERR_INTERNAL,
                       "%s: the weights need %zu bytes in memory; with %zu of the model that is served meanwhile and %zu that "
                       "limits.memory_mb and limits.steps_mb allow to sessions that is more than the %" PRIu64
                       " of this machine; lower the limits",
                       dir, bytes, limits->held, limits->others, machine);
    return 0;
}

/* Signature, files, tensors; all that can be known before weights are loaded. `hashes`: of every file now; without, each piece's when
 * it is read, which is all that a load needs and reads the files once. */
static int examine(struct package *p, struct checkpoint **out, const char *dir, const struct peer_key *developers, size_t n, bool hashes,
                   struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    uint8_t sig[CRYPTO_SIG_LEN];
    int rc = -1;
    if (manifest_load(&p->manifest, dir, &text, &len, sig, err) != 0)
        return -1;
    if (check_signer(text, len, sig, developers, n, err) != 0 || manifest_for_server(&p->manifest, err) != 0 || manifest_context_id(text, len, p->context, err) != 0 ||
        (hashes ? manifest_check_files : manifest_check_list)(&p->manifest, dir, err) != 0)
        goto done;
    if ((p->proof = malloc(len + sizeof sig)) == NULL) {
        err_oom(err, len + sizeof sig);
        goto done;
    }
    memcpy(p->proof, text, len);
    memcpy(p->proof + len, sig, sizeof sig);
    p->proof_len = len + sizeof sig;
    if (checkpoint_open_signed(out, dir, CHECKPOINT_CORE | (head_here(p) ? CHECKPOINT_HEAD : 0), &p->manifest, err) != 0)
        goto done;
    p->bytes = net_bytes(*out, head_here(p), p->manifest.compute);
    rc = 0;
done:
    free(text);
    return rc;
}

static int load(struct package *p, struct checkpoint *checkpoint, const char *dir, const struct package_limits *limits,
                struct err *err)
{
    if (limits == NULL)
        return 0;
    checkpoint_heed(checkpoint, limits->stop);
    return check_memory(dir, p->bytes, limits, err) != 0 ? -1 : net_load(&p->net, checkpoint, head_here(p), p->manifest.compute, err);
}

/* limits NULL: the weights are not loaded. */
static int open_package(struct package **out, const char *dir, const struct peer_key *developers, size_t n,
                        const struct package_limits *limits, struct err *err)
{
    struct checkpoint *checkpoint = NULL;
    struct package *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_oom(err, sizeof *p);
    int rc = examine(p, &checkpoint, dir, developers, n, limits == NULL, err);
    if (rc == 0)
        rc = load(p, checkpoint, dir, limits, err);
    checkpoint_close(checkpoint); /* the net holds copies */
    if (rc != 0) {
        package_free(p);
        return err_wrap(err, "package %s", dir);
    }
    *out = p;
    return 0;
}

int package_load(struct package **out, const char *dir, const struct peer_key *developers, size_t n,
                 const struct package_limits *limits, struct err *err)
{
    return open_package(out, dir, developers, n, limits, err);
}

int package_examine(struct package **out, const char *dir, const struct peer_key *developers, size_t n, struct err *err)
{
    return open_package(out, dir, developers, n, NULL, err);
}

void package_free(struct package *p)
{
    if (p == NULL)
        return;
    net_free(p->net);
    manifest_free(&p->manifest);
    free(p->proof);
    free(p);
}

struct core_model package_model(const struct package *p, struct kvpool *pool)
{
    struct core_model m = {.net = p->net, .pool = pool, .manifest = p->proof};
    m.hello.head_kind = (uint8_t)p->net->config.head;
    m.hello.head_at_server = p->net->head != NULL;
    m.hello.D = (uint32_t)p->net->config.D;
    m.hello.out_width = (uint32_t)net_outputs(p->net);
    m.hello.epoch = p->manifest.epoch;
    m.hello.manifest_bytes = p->proof_len;
    memcpy(m.hello.context, p->context, sizeof m.hello.context);
    return m;
}
