/* Key files: what is accepted, what is refused and in which words. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "tests/support/tempdir.h"
#include "transport/identity.h"

static struct err err;
static char dir[FILE_PATH_MAX];
static struct identity *id;

static void make(void)
{
    tempdir_make(dir);
    cr_assert_eq(identity_generate(&id, &err), 0, "%s", err.text);
}

static void drop(void)
{
    identity_free(id);
    tempdir_remove(dir);
}

TestSuite(identity, .init = make, .fini = drop);

static const char *home(void)
{
    return tempdir_path(dir, "id");
}

Test(identity, saved_and_loaded_it_is_the_same)
{
    struct identity *back = NULL;
    struct peer_key pub, me = identity_public(id);
    struct stat st;
    cr_assert_eq(identity_save(id, home(), &err), 0, "%s", err.text);
    cr_assert_eq(identity_load(&back, home(), &err), 0, "%s", err.text);
    cr_expect_eq(memcmp(back, id, sizeof *id), 0);
    cr_assert_eq(peer_key_load(&pub, tempdir_path(dir, "id/identity.pub"), &err), 0, "%s", err.text);
    cr_expect(peer_key_equal(&pub, &me));
    cr_assert_eq(stat(tempdir_path(dir, "id/identity.key"), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    cr_assert_eq(stat(tempdir_path(dir, "id/identity.pub"), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0644);
    cr_assert_eq(stat(home(), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0700);
    identity_free(back);
}

Test(identity, an_identity_that_is_there_is_not_replaced)
{
    cr_assert_eq(identity_save(id, home(), &err), 0);
    cr_assert_eq(identity_save(id, home(), &err), -1);
    cr_expect(strstr(err.text, "already") != NULL, "%s", err.text);
}

/* Mutation: identity_parse without the checksum, or without check_pairs. */
Test(identity, every_changed_byte_is_noticed)
{
    cr_assert_eq(identity_save(id, home(), &err), 0);
    size_t n = 0;
    char *good = tempdir_slurp(tempdir_path(dir, "id/identity.key"), &n);
    cr_assert_eq(n, IDENTITY_FILE_BYTES);
    for (size_t i = 0; i < n; i++) {
        struct identity *back = NULL;
        good[i] ^= 4;
        cr_expect_eq(identity_parse(&back, (const uint8_t *)good, n, "f", &err), -1, "byte %zu", i);
        cr_expect_eq(err.code, ERR_INPUT);
        good[i] ^= 4;
    }
    for (size_t len = 0; len < n; len++) {
        struct identity *back = NULL;
        cr_expect_eq(identity_parse(&back, (const uint8_t *)good, len, "f", &err), -1, "length %zu", len);
    }
    free(good);
}

Test(identity, halves_of_two_identities_do_not_make_one)
{
    struct identity *other = NULL, *back = NULL;
    cr_assert_eq(identity_generate(&other, &err), 0);
    memcpy(other->curve_pub, id->curve_pub, sizeof id->curve_pub);
    cr_assert_eq(identity_save(other, home(), &err), 0);
    cr_assert_eq(identity_load(&back, home(), &err), -1);
    cr_expect(strstr(err.text, "do not belong") != NULL, "%s", err.text);
    identity_free(other);
}

Test(identity, a_key_file_open_to_others_is_refused)
{
    struct identity *back = NULL;
    cr_assert_eq(identity_save(id, home(), &err), 0);
    cr_assert_eq(chmod(tempdir_path(dir, "id/identity.key"), 0640), 0);
    cr_assert_eq(identity_load(&back, home(), &err), -1);
    cr_expect(strstr(err.text, "chmod 600") != NULL, "%s", err.text);
    cr_assert_eq(rename(tempdir_path(dir, "id/identity.key"), tempdir_path(dir, "real")), 0);
    cr_assert_eq(chmod(tempdir_path(dir, "real"), 0600), 0);
    cr_assert_eq(symlink(tempdir_path(dir, "real"), tempdir_path(dir, "id/identity.key")), 0);
    cr_expect_eq(identity_load(&back, home(), &err), -1, "a link");
}

Test(identity, a_missing_one_names_the_command_that_makes_it)
{
    struct identity *back = NULL;
    cr_assert_eq(identity_load(&back, tempdir_path(dir, "nothing"), &err), -1);
    cr_expect(strstr(err.text, "keygen") != NULL && strstr(err.text, "nothing/identity.key") != NULL, "%s", err.text);
}

Test(identity, a_key_has_one_text)
{
    struct peer_key me = identity_public(id), back;
    char text[PEER_KEY_TEXT], padded[200], print[FINGERPRINT_TEXT];
    peer_key_text(&me, text);
    cr_expect_eq(strlen(text), 92);
    cr_expect_null(strpbrk(text, "+/="));
    (void)snprintf(padded, sizeof padded, " \t%s \n", text);
    cr_assert_eq(peer_key_parse(&back, padded, &err), 0, "%s", err.text);
    cr_expect(peer_key_equal(&me, &back));
    peer_key_fingerprint(&me, print);
    cr_expect(strlen(print) == 19 && print[4] == '-' && print[9] == '-' && print[14] == '-', "%s", print);
    /* Mutation: a crypto_unbase64 that ignores loose bits. The last character carries two bits; any other with the same two bits must not be a second name of this key. */
    unsigned accepted = 0;
    for (const char *c = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= "; *c != '\0'; c++) {
        text[91] = *c;
        if (peer_key_parse(&back, text, &err) == 0)
            accepted++;
    }
    cr_expect_eq(accepted, 4, "%u last characters were accepted", accepted);
}

Test(identity, a_key_in_another_form_is_refused)
{
    struct peer_key me = identity_public(id), back;
    char text[PEER_KEY_TEXT + 8];
    static const char *const bad[] = {"", "stip1:", "stip1:AAAA", "stip2:AAAA", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(peer_key_parse(&back, bad[i], &err), -1);
        cr_expect_eq(err.code, ERR_INPUT);
    }
    peer_key_text(&me, text);
    text[40] = '!';
    cr_expect_eq(peer_key_parse(&back, text, &err), -1);
    peer_key_text(&me, text);
    strcat(text, "A");
    cr_expect_eq(peer_key_parse(&back, text, &err), -1);
}

Test(identity, a_config_names_a_key_or_a_file)
{
    struct peer_key me = identity_public(id), back;
    char text[PEER_KEY_TEXT];
    cr_assert_eq(identity_save(id, home(), &err), 0);
    peer_key_text(&me, text);
    cr_assert_eq(peer_key_config(&back, text, NULL, &err), 0, "%s", err.text);
    cr_expect(peer_key_equal(&me, &back));
    memset(&back, 0, sizeof back);
    cr_assert_eq(peer_key_config(&back, "@id/identity.pub", dir, &err), 0, "%s", err.text);
    cr_expect(peer_key_equal(&me, &back));
    cr_expect_eq(peer_key_config(&back, "@missing.pub", dir, &err), -1);
    cr_expect(strstr(err.text, "missing.pub") != NULL, "%s", err.text);
}
