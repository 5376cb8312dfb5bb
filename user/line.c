#include "user/line.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "base/buf.h"

#define REMEMBERED 500 /* lines */

struct line {
    EditLine *edit; /* NULL: stdin is no terminal */
    History *history;
    struct buf text;
    const char *prompt;
    char *raw; /* of getline */
    size_t cap;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    if (interrupted) { /* nobody listened to the first */
        (void)signal(signal_number, SIG_DFL);
        (void)raise(signal_number);
    }
    interrupted = 1;
}

bool line_interrupted(void)
{
    const bool was = interrupted != 0;
    interrupted = 0;
    return was;
}

/* ------------------------------------------------------------------ a terminal */

static char *prompt(EditLine *edit)
{
    struct line *l = NULL;
    (void)el_get(edit, EL_CLIENTDATA, &l);
    return (char *)(uintptr_t)l->prompt;
}

/* One character; -1 when Ctrl-C came first, which el_gets alone would sleep through. */
static int read_char(EditLine *edit, wchar_t *out)
{
    mbstate_t state = {0};
    (void)edit;
    for (;;) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        char byte;
        if (interrupted || (poll(&p, 1, -1) < 0 && errno != EINTR))
            return -1;
        if (p.revents == 0)
            continue;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n <= 0)
            return n == 0 ? 0 : -1;
        if (byte == '\0') /* what a Ctrl-D becomes that was typed before the editor took the terminal */
            continue;
        size_t done = mbrtowc(out, &byte, 1, &state);
        if (done != (size_t)-2) {
            *out = done == (size_t)-1 ? L'?' : *out;
            return 1;
        }
    }
}

static int open_editor(struct line *l, struct err *err)
{
    HistEvent event;
    /* Characters of several bytes are edited as one. */
    if (setlocale(LC_CTYPE, "") == NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    l->edit = el_init("stip-user", stdin, stderr, stderr);
    l->history = history_init();
    if (l->edit == NULL || l->history == NULL)
        return err_set(err, ERR_INTERNAL, "cannot set up the terminal");
    (void)history(l->history, &event, H_SETSIZE, REMEMBERED);
    (void)history(l->history, &event, H_SETUNIQUE, 1);
    (void)el_set(l->edit, EL_CLIENTDATA, l);
    (void)el_set(l->edit, EL_PROMPT, prompt);
    (void)el_set(l->edit, EL_EDITOR, "emacs");
    (void)el_set(l->edit, EL_SIGNAL, 0);
    (void)el_set(l->edit, EL_GETCFN, read_char);
    (void)el_set(l->edit, EL_HIST, history, l->history);
    (void)el_set(l->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    return 0;
}

/* A line with its newline. */
static enum line_got edit_line(struct line *l, const char **text, size_t *len)
{
    HistEvent event;
    int n = 0;
    const char *got = el_gets(l->edit, &n);
    if (line_interrupted()) {
        (void)tcflush(STDIN_FILENO, TCIFLUSH); /* what was typed before it, too: libedit has the terminal keep that */
        (void)fprintf(stderr, "^C\n");
        return LINE_DROPPED;
    }
    if (got == NULL || n <= 0) {
        (void)fprintf(stderr, "\n");
        return LINE_END;
    }
    if (got[0] != '\n')
        (void)history(l->history, &event, H_ENTER, got);
    *text = got;
    *len = (size_t)n;
    return LINE_TEXT;
}

/* Lines up to one that ends in """, or as long as lines end in a backslash. */
static enum line_got edit_text(struct line *l)
{
    static const char marks[] = "\"\"\"";
    bool quoted = false, more = true;
    l->prompt = "> ";
    for (bool first = true; more; first = false) {
        const char *text;
        size_t n;
        enum line_got got = edit_line(l, &text, &n);
        if (got != LINE_TEXT)
            return got;
        while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
            n--;
        if (first && n >= 3 && memcmp(text, marks, 3) == 0) {
            quoted = true;
            text += 3;
            n -= 3;
        }
        const bool closed = quoted && n >= 3 && memcmp(text + n - 3, marks, 3) == 0;
        const bool continued = !quoted && n > 0 && text[n - 1] == '\\';
        more = quoted ? !closed : continued;
        buf_put(&l->text, text, n - (closed ? 3 : continued ? 1 : 0));
        if (more && !(quoted && l->text.len == 0))
            buf_put_str(&l->text, "\n");
        l->prompt = "| ";
    }
    return LINE_TEXT;
}

/* ------------------------------------------------------------------ both */

int line_open(struct line **out, struct err *err)
{
    struct line *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_oom(err, sizeof *l);
    buf_init(&l->text, LINE_MOST);
    if (isatty(STDIN_FILENO) == 1 && open_editor(l, err) != 0) {
        line_close(l);
        return -1;
    }
    *out = l;
    return 0;
}

void line_close(struct line *l)
{
    if (l == NULL)
        return;
    if (l->edit != NULL)
        el_end(l->edit);
    if (l->history != NULL)
        history_end(l->history);
    buf_free(&l->text);
    free(l->raw);
    free(l);
}

bool line_terminal(const struct line *l)
{
    return l->edit != NULL;
}

static int read_plain(struct line *l, enum line_got *got, const char **text, size_t *len)
{
    ssize_t n = getline(&l->raw, &l->cap, stdin);
    *got = n < 0 ? LINE_END : LINE_TEXT;
    while (n > 0 && (l->raw[n - 1] == '\n' || l->raw[n - 1] == '\r'))
        l->raw[--n] = '\0';
    *text = l->raw;
    *len = n < 0 ? 0 : (size_t)n;
    return 0;
}

int line_read(struct line *l, enum line_got *got, const char **text, size_t *len, struct err *err)
{
    if (l->edit == NULL)
        return read_plain(l, got, text, len);
    buf_free(&l->text);
    buf_init(&l->text, LINE_MOST);
    *got = edit_text(l);
    buf_put8(&l->text, '\0');
    if (buf_check(&l->text, "text", err) != 0)
        return err_set(err, ERR_INPUT, "a text has at most %zu bytes", LINE_MOST - 1);
    *text = (const char *)l->text.data;
    *len = l->text.len - 1;
    return 0;
}
