/* transport/bundle: signed or not, no bundle writes outside its folder, and a refused one leaves nothing.
 *
 * Byte 0 chooses: as it is (the signature stops nearly all of them), or header and files signed here (bytes 1 and 2 are the
 * header's length), so that the parser behind the signature is reached. Signatures are hashes here (the linker puts them in the
 * place of base/crypto's, tests/CMakeLists.txt): the real ones took most of the time, and are tested in unit/test_crypto. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "tests/fuzz/folder.h"
#include "transport/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int __wrap_crypto_verify(const uint8_t pub[CRYPTO_KEY_LEN], const void *data, size_t len, const uint8_t sig[CRYPTO_SIG_LEN],
                         struct err *err);

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    struct err err;
    struct buf b;
    if (!made)
        folder_take();
    made = true;
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
    require(!b.failed);
    folder_put("in", b.data, b.len);
    int rc = bundle_unpack(folder_path("in"), folder_path("out"), "grant", pub, &err);
    require(rc == 0 ? folder_count("") == 1 + folder_count("out") : folder_count("") == 1);
    folder_drop("out");
    buf_free(&b);
    return 0;
}
