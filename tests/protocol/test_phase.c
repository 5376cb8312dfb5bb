/* Every (link, phase, sender, message): what is legal is listed here once more, in words, and everything else is illegal. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/phase.h"

/* Frames of all kinds: each type, with the flags and codes that the table tells apart. */
struct kind {
    const char *name;
    enum wire_type type;
    uint8_t flags;
    uint16_t code;
};

static const struct kind KINDS[] = {
    {"HELLO", WIRE_HELLO, 3, 0},
    {"HELLO_OK", WIRE_HELLO_OK, 3, 0},
    {"OPEN", WIRE_OPEN, 3, 0},
    {"OPENED", WIRE_OPENED, 3, 0},
    {"CLOSE", WIRE_CLOSE, 3, 0},
    {"CLOSED", WIRE_CLOSED, 3, 0},
    {"CANCEL", WIRE_CANCEL, 3, 0},
    {"CANCELLED", WIRE_CANCELLED, 3, 0},
    {"ROWS.whole", WIRE_ROWS, WIRE_FIRST | WIRE_LAST, 0},
    {"ROWS.first", WIRE_ROWS, WIRE_FIRST, 0},
    {"ROWS.middle", WIRE_ROWS, 0, 0},
    {"ROWS.last", WIRE_ROWS, WIRE_LAST, 0},
    {"OUT.more", WIRE_OUT, WIRE_FIRST, 0},
    {"OUT.last", WIRE_OUT, WIRE_LAST, 0},
    {"OUT.whole", WIRE_OUT, WIRE_FIRST | WIRE_LAST, 0},
    {"ACK", WIRE_ACK, 3, 0},
    {"ERROR.soft", WIRE_ERROR, 3, WIRE_NONFINITE},
    {"ERROR.hard", WIRE_ERROR, 3, WIRE_UNKNOWN_SESSION},
    {"PING", WIRE_PING, 3, 0},
    {"PONG", WIRE_PONG, 3, 0},
    {"GRANT", WIRE_GRANT, 3, 0},
    {"OFFER", WIRE_OFFER, 3, 0},
    {"GET", WIRE_GET, 3, 0},
    {"CHUNK", WIRE_CHUNK, 3, 0},
    {"DONE", WIRE_DONE, 3, 0},
    {"STATS_GET", WIRE_STATS_GET, 3, 0},
    {"STATS", WIRE_STATS, 3, 0},
};
#define KIND_COUNT (sizeof KINDS / sizeof *KINDS)

/* "phase sender message -> next", "-> drop" for what is dropped silently; one string per link. */
#define EVERY_LINK                                                                                                                  \
    "NEW c HELLO GREETED; NEW s ERROR.soft NEW; NEW s ERROR.hard NEW; GREETED s HELLO_OK READY; GREETED s ERROR.soft NEW; "         \
    "GREETED s ERROR.hard NEW; READY s ERROR.soft READY; READY s ERROR.hard READY; "                                                 \
    "NEW c PING NEW; NEW s PONG NEW; GREETED c PING GREETED; GREETED s PONG GREETED; READY c PING READY; READY s PONG READY; "       \
    "ASKED c PING ASKED; ASKED s PONG ASKED; OFFERED c PING OFFERED; OFFERED s PONG OFFERED; "

#define TRANSFER                                                                                                                    \
    "OFFERED s ERROR.soft READY; OFFERED s ERROR.hard READY; OFFERED c ERROR.soft READY; OFFERED c ERROR.hard READY; "               \
    "READY c ERROR.soft drop; READY c ERROR.hard drop; "

static const char *const LEGAL[] = {
    [PHASE_INFER] = EVERY_LINK
    "READY c STATS_GET READY; READY s STATS READY; READY c GET READY; READY s CHUNK READY; "
    "CLOSED c OPEN OPENING; CLOSED s ERROR.soft drop; CLOSED s ERROR.hard drop; "
    "OPENING s OPENED OPEN; OPENING s ERROR.soft CLOSED; OPENING s ERROR.hard CLOSED; "
    "OPEN c ROWS.whole WAITING; OPEN c ROWS.first SENDING; OPEN c ROWS.middle drop; OPEN c ROWS.last drop; OPEN c ACK drop; "
    "OPEN c CANCEL CANCELLING; OPEN c CLOSE CLOSING; OPEN s ERROR.soft OPEN; OPEN s ERROR.hard CLOSED; "
    "SENDING c ROWS.middle SENDING; SENDING c ROWS.last WAITING; SENDING s ACK SENDING; SENDING c CANCEL CANCELLING; "
    "SENDING c CLOSE CLOSING; SENDING s ERROR.soft OPEN; SENDING s ERROR.hard CLOSED; "
    "WAITING s ACK WAITING; WAITING s OUT.more WAITING; WAITING s OUT.last OPEN; WAITING s OUT.whole OPEN; WAITING c ACK WAITING; "
    "WAITING c CANCEL CANCELLING; WAITING c CLOSE CLOSING; WAITING s ERROR.soft OPEN; WAITING s ERROR.hard CLOSED; "
    "CANCELLING s CANCELLED OPEN; CANCELLING s OUT.more drop; CANCELLING s OUT.last drop; CANCELLING s OUT.whole drop; "
    "CANCELLING s ACK drop; CANCELLING s ERROR.soft drop; CANCELLING s ERROR.hard CLOSED; CANCELLING c CLOSE CLOSING; "
    "CLOSING s CLOSED CLOSED; CLOSING s OUT.more drop; CLOSING s OUT.last drop; CLOSING s OUT.whole drop; CLOSING s ACK drop; "
    "CLOSING s CANCELLED drop; CLOSING s ERROR.soft drop; CLOSING s ERROR.hard CLOSED; ",
    [PHASE_ADMIN] = EVERY_LINK TRANSFER
    "READY c STATS_GET READY; READY s STATS READY; READY c OFFER OFFERED; OFFERED s GET OFFERED; OFFERED c CHUNK OFFERED; "
    "OFFERED s DONE READY; READY s GET drop; READY c CHUNK drop; ",
    [PHASE_GRANT] = EVERY_LINK TRANSFER
    "READY c GRANT ASKED; ASKED s OFFER OFFERED; ASKED s ERROR.soft READY; ASKED s ERROR.hard READY; OFFERED c GET OFFERED; "
    "OFFERED s CHUNK OFFERED; OFFERED c DONE READY; READY c GET drop; READY s CHUNK drop; ",
};

/* The next phase's name, "drop", or "" for illegal. */
static void expected(enum phase_link link, enum phase from, enum phase_sender who, const char *kind, char out[16])
{
    char want[64];
    (void)snprintf(want, sizeof want, "%s %c %s ", phase_name(from), who == PHASE_CLIENT ? 'c' : 's', kind);
    out[0] = '\0';
    for (const char *p = LEGAL[link]; (p = strstr(p, want)) != NULL; p++)
        if (p == LEGAL[link] || p[-1] == ' ') {
            size_t n = strcspn(p + strlen(want), ";");
            memcpy(out, p + strlen(want), n);
            out[n] = '\0';
            return;
        }
}

/* 3 links x 12 phases x 2 senders x 27 messages. Mutation: any row of the table changed, taken out or added. */
Test(phase, exactly_the_listed_messages_are_legal)
{
    unsigned legal = 0, dropped = 0, illegal = 0;
    for (enum phase_link link = PHASE_INFER; link <= PHASE_GRANT; link++)
        for (enum phase from = PHASE_NEW; from < PHASE_END; from++)
            for (unsigned who = 0; who < 2; who++)
                for (size_t k = 0; k < KIND_COUNT; k++) {
                    struct wire_header h = {.type = (uint8_t)KINDS[k].type, .flags = KINDS[k].flags, .code = KINDS[k].code};
                    char want[16];
                    enum phase at = from;
                    if (from >= PHASE_CLOSED)
                        h.session[5] = 1;
                    enum phase_verdict v = phase_step(link, &at, (enum phase_sender)who, &h);
                    const char *got = v == PHASE_ILLEGAL ? "" : v == PHASE_IGNORE ? "drop" : phase_name(at);
                    expected(link, from, (enum phase_sender)who, KINDS[k].name, want);
                    cr_expect_str_eq(got, want, "link %u, phase %s, sender %u, %s: \"%s\", expected \"%s\"", (unsigned)link,
                                     phase_name(from), who, KINDS[k].name, got, want);
                    if (v != PHASE_LEGAL)
                        cr_expect_eq(at, from, "the phase moved all the same");
                    legal += v == PHASE_LEGAL;
                    dropped += v == PHASE_IGNORE;
                    illegal += v == PHASE_ILLEGAL;
                }
    cr_expect_eq(legal + dropped + illegal, 3 * 12 * 2 * KIND_COUNT);
    cr_expect_gt(illegal, 1700, "%u legal, %u dropped, %u illegal", legal, dropped, illegal);
}

/* Mutation: phase_step without the comparison of session and phase. */
Test(phase, a_session_message_does_not_move_a_connection_nor_the_other_way_round)
{
    for (enum phase_link link = PHASE_INFER; link <= PHASE_GRANT; link++)
        for (enum phase from = PHASE_NEW; from < PHASE_END; from++)
            for (unsigned who = 0; who < 2; who++)
                for (size_t k = 0; k < KIND_COUNT; k++) {
                    struct wire_header h = {.type = (uint8_t)KINDS[k].type, .flags = KINDS[k].flags, .code = KINDS[k].code};
                    enum phase at = from;
                    if (KINDS[k].type == WIRE_PING || KINDS[k].type == WIRE_PONG)
                        continue;
                    if (from < PHASE_CLOSED)
                        h.session[0] = 1;
                    cr_expect_eq(phase_step(link, &at, (enum phase_sender)who, &h), PHASE_ILLEGAL, "%s in %s", KINDS[k].name,
                                 phase_name(from));
                }
}
