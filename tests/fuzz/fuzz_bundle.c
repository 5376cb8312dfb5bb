/* transport/bundle: signed or not, no bundle writes outside its folder, and a refused one leaves nothing.
 *
 * Byte 0 chooses: as it is (the signature stops nearly all of them), or header and files signed here (bytes 1 and 2 are the
 * header's length), so that the parser behind the signature is reached. Signatures are hashes here (the linker puts them in the
 * place of base/crypto's, tests/CMakeLists.txt): the real ones took most of the time, and are tested in unit/test_crypto. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/file.h"
#include "transport/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int __wrap_crypto_verify(const uint8_t pub[CRYPTO_KEY_LEN], const void *data, size_t len, const uint8_t sig[CRYPTO_SIG_LEN],
                         struct err *err);

static char dir[64];
static uint8_t pub[CRYPTO_KEY_LEN];

static void require(int holds)
{
    if (!holds)
        abort();
}

static void sign(const void *data, size_t len, uint8_t sig[CRYPTO_SIG_LEN])
{
    memset(sig, 0, CRYPTO_SIG_LEN);
    require(crypto_sha256(data, len, sig, NULL) == 0);
}

int __wrap_crypto_verify(const uint8_t key[CRYPTO_KEY_LEN], const void *data, size_t len, const uint8_t sig[CRYPTO_SIG_LEN],
                         struct err *err)
{
    uint8_t right[CRYPTO_SIG_LEN];
    (void)key;
    sign(data, len, right);
    return memcmp(sig, right, sizeof right) == 0 ? 0 : err_set(err, ERR_AUTH, "wrong signature");
}

static void clean_up(void)
{
    (void)!file_remove_tree(dir, NULL);
}

static void start(void)
{
    /* Memory, so that the fsyncs cost nothing. */
    (void)snprintf(dir, sizeof dir, "%s/stip-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    require(mkdtemp(dir) != NULL);
    (void)atexit(clean_up);
}

static int entries(const char *path)
{
    DIR *d = opendir(path);
    int n = 0;
    require(d != NULL);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char in[128], out[128];
    struct err err;
    struct buf b;
    if (dir[0] == '\0')
        start();
    (void)snprintf(in, sizeof in, "%s/in", dir);
    (void)snprintf(out, sizeof out, "%s/out", dir);
    buf_init(&b, 1 << 20);
    if (size < 3 || data[0] % 4 == 0) {
        buf_put(&b, data, size);
    } else {
        uint8_t sig[CRYPTO_SIG_LEN];
        size_t len = (size_t)(data[1] | data[2] << 8);
        len = len < size - 3 ? len : size - 3;
        buf_put_str(&b, "STIPBDL1");
        buf_put32(&b, (uint32_t)len);
        buf_put(&b, data + 3, len);
        sign(b.data, b.len, sig);
        buf_put(&b, sig, sizeof sig);
        buf_put(&b, data + 3 + len, size - 3 - len);
    }
    const int fd = open(in, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0 && (b.len == 0 || write(fd, b.data, b.len) == (ssize_t)b.len) && close(fd) == 0);
    int rc = bundle_unpack(in, out, "grant", pub, &err);
    require(entries(dir) == (rc == 0 ? 2 : 1));
    require(file_remove_tree(out, NULL) == 0);
    buf_free(&b);
    return 0;
}
