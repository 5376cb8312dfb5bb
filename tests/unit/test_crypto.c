/* base/crypto: published vectors, and what happens to changed bytes. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

/* Hex of any length into out; gives the length. */
static size_t hex(const char *text, uint8_t *out)
{
    size_t n = strlen(text) / 2;
    cr_assert(crypto_unhex(text, out, n));
    return n;
}

static void expect_hex(const void *data, size_t n, const char *want)
{
    char text[1024];
    cr_assert_lt(2 * n, sizeof text);
    crypto_hex(data, n, text);
    cr_expect_str_eq(text, want);
}

/* ------------------------------------------------------------------ AES blocks */

Test(crypto, aes_blocks_equal_the_published_example_each_by_itself)
{
    /* FIPS 197, appendix C.1. */
    uint8_t key[CRYPTO_BLOCK_LEN], in[3 * CRYPTO_BLOCK_LEN], out[3 * CRYPTO_BLOCK_LEN];
    struct crypto_blocks *b = NULL;
    hex("000102030405060708090a0b0c0d0e0f", key);
    for (int i = 0; i < 3; i++)
        hex("00112233445566778899aabbccddeeff", in + 16 * i);
    cr_assert_eq(crypto_blocks_new(&b, key, NULL), 0);
    for (int again = 0; again < 2; again++) {
        cr_assert_eq(crypto_blocks_apply(b, in, out, 3, NULL), 0);
        for (int i = 0; i < 3; i++)
            expect_hex(out + 16 * i, 16, "69c4e0d86a7b0430d8cdb78070b4c55a");
    }
    crypto_blocks_free(b);
}

/* ------------------------------------------------------------------ hashes */

Test(crypto, sha256_equals_the_published_digests)
{
    /* FIPS 180-4 examples. */
    static const char *const cases[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < 3; i++) {
        uint8_t digest[CRYPTO_HASH_LEN];
        cr_assert_eq(crypto_sha256(cases[i][0], strlen(cases[i][0]), digest, NULL), 0);
        expect_hex(digest, sizeof digest, cases[i][1]);
    }
}

Test(crypto, hashing_in_pieces_equals_hashing_at_once_and_starts_afresh)
{
    uint8_t data[1000], once[CRYPTO_HASH_LEN], pieces[CRYPTO_HASH_LEN];
    struct crypto_hash *h = NULL;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31);
    cr_assert_eq(crypto_sha256(data, sizeof data, once, NULL), 0);
    cr_assert_eq(crypto_hash_new(&h, NULL), 0);
    for (int round = 0; round < 2; round++) {
        for (size_t at = 0, n = 0; at < sizeof data; at += n) {
            n = (at * 7) % 97 + 1;
            n = n < sizeof data - at ? n : sizeof data - at;
            cr_assert_eq(crypto_hash_add(h, data + at, n, NULL), 0);
        }
        cr_assert_eq(crypto_hash_end(h, pieces, NULL), 0);
        cr_expect_arr_eq(once, pieces, sizeof once);
    }
    crypto_hash_free(h);
    crypto_hash_free(NULL);
}

Test(crypto, hkdf_equals_rfc_5869_case_1)
{
    uint8_t ikm[22], salt[13], out[42];
    hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", ikm);
    hex("000102030405060708090a0b0c", salt);
    cr_assert_eq(crypto_hkdf(ikm, 22, salt, 13, "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9", out, 42, NULL), 0);
    expect_hex(out, 42, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

/* RFC 5869 A.3: no salt, no info. Catches: a salt of a wrong default, and labels that do not matter (both tried). */
Test(crypto, hkdf_without_salt_equals_rfc_5869_case_3_and_labels_separate)
{
    uint8_t ikm[22], out[42], other[42], longest[255 * 32 + 1];
    struct err err = {0};
    hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", ikm);
    cr_assert_eq(crypto_hkdf(ikm, 22, NULL, 0, "", out, 42, &err), 0, "%s", err.text);
    expect_hex(out, 42, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
    cr_assert_eq(crypto_hkdf(ikm, 22, NULL, 0, "x", other, 42, NULL), 0);
    cr_expect_arr_neq(out, other, 42);
    memset(longest, 0xaa, sizeof longest);
    cr_expect_eq(crypto_hkdf(ikm, 22, NULL, 0, "", longest, sizeof longest, &err), -1, "RFC 5869 stops at 255 blocks");
    for (size_t i = 0; i < sizeof longest; i++)
        cr_assert_eq(longest[i], 0, "outputs of a failure are zero");
}

/* ------------------------------------------------------------------ Ed25519, X25519 */

/* RFC 8032, 7.1, tests 1 to 3. */
static const struct {
    const char *key, *pub, *msg, *sig;
} ed25519[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
};

Test(crypto, signatures_equal_rfc_8032)
{
    for (size_t i = 0; i < sizeof ed25519 / sizeof *ed25519; i++) {
        uint8_t key[32], pub[32], msg[8], want[64], sig[64];
        hex(ed25519[i].key, key);
        hex(ed25519[i].pub, pub);
        size_t n = hex(ed25519[i].msg, msg);
        hex(ed25519[i].sig, want);
        cr_assert_eq(crypto_sign(key, msg, n, sig, NULL), 0);
        cr_expect_arr_eq(sig, want, 64);
        cr_expect_eq(crypto_verify(pub, msg, n, sig, NULL), 0);
    }
}

Test(crypto, a_changed_message_signature_or_key_does_not_verify)
{
    uint8_t key[32], pub[32], sig[64], msg[3] = {1, 2, 3};
    struct err err = {0};
    cr_assert_eq(crypto_sign_keypair(pub, key, NULL), 0);
    cr_assert_eq(crypto_sign(key, msg, 3, sig, NULL), 0);
    cr_assert_eq(crypto_verify(pub, msg, 3, sig, NULL), 0);
    for (size_t bit = 0; bit < 512; bit++) {
        sig[bit / 8] = (uint8_t)(sig[bit / 8] ^ 1 << bit % 8);
        cr_assert_eq(crypto_verify(pub, msg, 3, sig, &err), -1);
        cr_assert_eq(err.code, ERR_AUTH);
        sig[bit / 8] = (uint8_t)(sig[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t bit = 0; bit < 24; bit++) {
        msg[bit / 8] = (uint8_t)(msg[bit / 8] ^ 1 << bit % 8);
        cr_assert_eq(crypto_verify(pub, msg, 3, sig, &err), -1);
        msg[bit / 8] = (uint8_t)(msg[bit / 8] ^ 1 << bit % 8);
    }
    cr_expect_eq(crypto_verify(pub, msg, 2, sig, &err), -1);
    pub[0] ^= 1;
    cr_expect_eq(crypto_verify(pub, msg, 3, sig, &err), -1);
    memset(pub, 0xff, sizeof pub);
    cr_expect_eq(crypto_verify(pub, msg, 3, sig, &err), -1, "no point of the curve");
}

/* RFC 7748, 6.1. */
Test(crypto, x25519_equals_rfc_7748)
{
    static const char want[] = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    uint8_t a[32], a_pub[32], b[32], b_pub[32], shared[32];
    hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", a);
    hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", a_pub);
    hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", b);
    hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", b_pub);
    cr_assert_eq(crypto_x25519(a, b_pub, shared, NULL), 0);
    expect_hex(shared, 32, want);
    cr_assert_eq(crypto_x25519(b, a_pub, shared, NULL), 0);
    expect_hex(shared, 32, want);
}

Test(crypto, a_point_of_small_order_gives_no_shared_secret)
{
    uint8_t pub[32], key[32], zero[32] = {0}, shared[32];
    struct err err = {0};
    cr_assert_eq(crypto_x25519_keypair(pub, key, NULL), 0);
    memset(shared, 0xaa, sizeof shared);
    cr_expect_eq(crypto_x25519(key, zero, shared, &err), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    cr_expect_arr_eq(shared, zero, 32, "outputs of a failure are zero");
}

Test(crypto, key_pairs_fit_together_and_differ_each_time)
{
    uint8_t pub[2][32], key[2][32], ab[32], ba[32];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(crypto_x25519_keypair(pub[i], key[i], NULL), 0);
    cr_expect_arr_neq(key[0], key[1], 32);
    cr_assert_eq(crypto_x25519(key[0], pub[1], ab, NULL), 0);
    cr_assert_eq(crypto_x25519(key[1], pub[0], ba, NULL), 0);
    cr_expect_arr_eq(ab, ba, 32);
}

/* ------------------------------------------------------------------ AES-256-GCM */

#define GCM_PLAIN \
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
#define GCM_SEALED \
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16, as NIST republished it. */
Test(crypto, sealing_equals_the_published_gcm_vector)
{
    uint8_t key[32], nonce[12], aad[20], plain[60], sealed[76], back[60];
    hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key);
    hex("cafebabefacedbaddecaf888", nonce);
    hex("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad);
    hex(GCM_PLAIN, plain);
    cr_assert_eq(crypto_aead_seal(key, nonce, aad, 20, plain, 60, sealed, NULL), 0);
    expect_hex(sealed, 76, GCM_SEALED "76fc6ece0f4e1768cddf8853bb2d551b");
    cr_assert_eq(crypto_aead_open(key, nonce, aad, 20, sealed, 60, back, NULL), 0);
    cr_expect_arr_eq(back, plain, 60);
}

/* Catches: a tag that is not checked, extra data that is not bound, plain text given out before the check (all tried). */
Test(crypto, sealed_bytes_that_were_changed_do_not_open)
{
    uint8_t key[32] = {1}, nonce[12] = {2}, aad[2] = {3, 4}, plain[5] = "abcd", sealed[21], back[5], zero[5] = {0};
    struct err err = {0};
    cr_assert_eq(crypto_aead_seal(key, nonce, aad, 2, plain, 5, sealed, NULL), 0);
    for (size_t bit = 0; bit < 8 * sizeof sealed; bit++) {
        sealed[bit / 8] = (uint8_t)(sealed[bit / 8] ^ 1 << bit % 8);
        memset(back, 0xaa, sizeof back);
        cr_assert_eq(crypto_aead_open(key, nonce, aad, 2, sealed, 5, back, &err), -1);
        cr_assert_eq(err.code, ERR_AUTH);
        cr_assert_arr_eq(back, zero, 5);
        sealed[bit / 8] = (uint8_t)(sealed[bit / 8] ^ 1 << bit % 8);
    }
    cr_expect_eq(crypto_aead_open(key, nonce, aad, 1, sealed, 5, back, &err), -1);
    cr_expect_eq(crypto_aead_open(key, nonce, NULL, 0, sealed, 5, back, &err), -1);
    nonce[0] ^= 1;
    cr_expect_eq(crypto_aead_open(key, nonce, aad, 2, sealed, 5, back, &err), -1);
    nonce[0] ^= 1;
    key[31] ^= 1;
    cr_expect_eq(crypto_aead_open(key, nonce, aad, 2, sealed, 5, back, &err), -1);
    key[31] ^= 1;
    cr_expect_eq(crypto_aead_open(key, nonce, aad, 2, sealed, 5, back, &err), 0, "put back, it opens");
}

Test(crypto, nothing_can_be_sealed_too)
{
    uint8_t key[32] = {1}, nonce[12] = {2}, sealed[CRYPTO_TAG_LEN], back[1] = {7};
    struct err err = {0};
    cr_assert_eq(crypto_aead_seal(key, nonce, NULL, 0, "", 0, sealed, &err), 0, "%s", err.text);
    cr_expect_eq(crypto_aead_open(key, nonce, NULL, 0, sealed, 0, back, &err), 0, "%s", err.text);
    sealed[0] ^= 1;
    cr_expect_eq(crypto_aead_open(key, nonce, NULL, 0, sealed, 0, back, &err), -1);
    cr_expect_eq(back[0], 7);
}

/* ------------------------------------------------------------------ ChaCha20, randomness */

/* RFC 8439, A.1: vectors 1 and 2 are blocks 0 and 1 of the zero key; vector 4 is block 2 of another key. */
Test(crypto, the_keystream_equals_rfc_8439_however_it_is_read)
{
    uint8_t key[32] = {0}, out[192], pieces[192];
    struct crypto_stream *s = NULL;
    cr_assert_eq(crypto_stream_new(&s, key, NULL), 0);
    cr_assert_eq(crypto_stream_read(s, out, 128, NULL), 0);
    expect_hex(out, 128,
               "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
               "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f");
    crypto_stream_free(s);

    key[1] = 0xff;
    cr_assert_eq(crypto_stream_new(&s, key, NULL), 0);
    cr_assert_eq(crypto_stream_read(s, out, 192, NULL), 0);
    expect_hex(out + 128, 64,
               "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096");
    crypto_stream_free(s);

    cr_assert_eq(crypto_stream_new(&s, key, NULL), 0);
    for (size_t at = 0, n = 1; at < sizeof pieces; at += n, n = n % 13 + 1) {
        n = n < sizeof pieces - at ? n : sizeof pieces - at;
        cr_assert_eq(crypto_stream_read(s, pieces + at, n, NULL), 0);
    }
    cr_expect_arr_eq(out, pieces, sizeof out);
    crypto_stream_free(s);
    crypto_stream_free(NULL);
}

Test(crypto, random_bytes_fill_the_whole_buffer)
{
    uint8_t a[64] = {0}, b[64] = {0}, seen[64] = {0}, zero[64] = {0};
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(crypto_random(a, sizeof a, NULL), 0);
        for (size_t k = 0; k < sizeof a; k++)
            seen[k] |= a[k];
    }
    cr_assert_eq(crypto_random(b, sizeof b, NULL), 0);
    cr_expect_arr_neq(a, b, sizeof a);
    for (size_t k = 0; k < sizeof seen; k++)
        cr_expect_eq(seen[k], 0xff, "each bit was set once in 100 tries");
    cr_expect_eq(crypto_random(a, 0, NULL), 0);
    cr_expect_arr_neq(a, zero, sizeof a);
}

/* ------------------------------------------------------------------ text forms */

Test(crypto, hex_goes_both_ways_and_takes_nothing_else)
{
    uint8_t data[256], back[256];
    char text[513];
    for (size_t i = 0; i < 256; i++)
        data[i] = (uint8_t)i;
    crypto_hex(data, 256, text);
    cr_expect_eq(strlen(text), 512);
    cr_expect(crypto_unhex(text, back, 256));
    cr_expect_arr_eq(data, back, 256);
    cr_expect(crypto_unhex("aBcD", back, 2));
    cr_expect_eq(back[0], 0xab);
    cr_expect(crypto_unhex("", back, 0));
    static const char *const bad[] = {"abc", "abcde", "abcg", "ab d", "0xab", "+abc", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(crypto_unhex(bad[i], back, 2), "%s", bad[i]);
}

/* RFC 4648, 10; and the texts that OpenSSL's decoder takes although no encoder writes them. */
Test(crypto, base64_has_one_spelling_only)
{
    static const char *const good[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};
    uint8_t back[8];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[16];
        size_t n = strlen(good[i][0]);
        cr_expect_eq(crypto_base64(good[i][0], n, text), strlen(good[i][1]));
        cr_expect_str_eq(text, good[i][1]);
        cr_expect(crypto_unbase64(text, back, n));
        cr_expect_eq(memcmp(back, good[i][0], n), 0);
    }
    static const struct {
        const char *text;
        size_t n;
    } bad[] = {{"Zg==", 2}, {"Zg==", 3}, {"Zg==", 0}, {"Zh==", 1}, {"Zm9=", 2}, {"Z===", 1}, {"====", 1}, {"Z=9v", 3}, {"Zm9", 3},
               {"Zm9v\n", 3}, {" Zm9", 3}, {"Zm-v", 3}, {"Zm9vZm9v", 3}, {"Zm\xc3v", 3}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(crypto_unbase64(bad[i].text, back, bad[i].n), "%s as %zu bytes", bad[i].text, bad[i].n);
}
