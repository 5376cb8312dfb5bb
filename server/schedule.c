#include "server/schedule.h"

static int rest(const struct session *s)
{
    return (int)s->step.rows - s->done;
}

void schedule_init(struct schedule *sc)
{
    for (int i = 0; i < TURNS; i++)
        TAILQ_INIT(&sc->ring[i]);
    sc->rows = 0;
    sc->sessions = 0;
}

void schedule_add(struct schedule *sc, struct session *s)
{
    struct user *u = s->user;
    s->turn = s->step.rows <= SCHEDULE_SHORT && s->step.out_n == s->step.rows ? TURN_SHORT : TURN_LONG;
    if (TAILQ_EMPTY(&u->waiting[s->turn]))
        TAILQ_INSERT_TAIL(&sc->ring[s->turn], u, ring[s->turn]);
    TAILQ_INSERT_TAIL(&u->waiting[s->turn], s, waiting);
    s->queued = true;
    sc->rows += rest(s);
    sc->sessions++;
}

void schedule_remove(struct schedule *sc, struct session *s)
{
    struct user *u = s->user;
    if (!s->queued)
        return;
    TAILQ_REMOVE(&u->waiting[s->turn], s, waiting);
    if (TAILQ_EMPTY(&u->waiting[s->turn]))
        TAILQ_REMOVE(&sc->ring[s->turn], u, ring[s->turn]);
    s->queued = false;
    sc->rows -= rest(s);
    sc->sessions--;
}

bool schedule_watched(const struct schedule *sc)
{
    return !TAILQ_EMPTY(&sc->ring[TURN_SHORT]);
}

struct schedule_pass schedule_begin(int tokens, int prompts, int jobs)
{
    return (struct schedule_pass){.rows = {tokens, prompts}, .jobs = jobs};
}

/* The user whose turn it was goes to the end of the ring. */
static struct session *take(struct schedule *sc, struct schedule_pass *pass, enum turn turn, bool whole, int *rows)
{
    struct user *u = TAILQ_FIRST(&sc->ring[turn]);
    struct session *s = u == NULL ? NULL : TAILQ_FIRST(&u->waiting[turn]);
    if (s == NULL || pass->rows[turn] == 0)
        return NULL;
    int n = rest(s);
    if (n > pass->rows[turn]) {
        if (whole || turn == TURN_SHORT)
            return NULL;
        n = pass->rows[turn];
    }
    schedule_remove(sc, s);
    if (!TAILQ_EMPTY(&u->waiting[turn])) {
        TAILQ_REMOVE(&sc->ring[turn], u, ring[turn]);
        TAILQ_INSERT_TAIL(&sc->ring[turn], u, ring[turn]);
    }
    pass->rows[turn] -= n;
    pass->jobs--;
    *rows = n;
    return s;
}

struct session *schedule_next(struct schedule *sc, struct schedule_pass *pass, bool whole, int *rows)
{
    struct session *s = NULL;
    /* The last place is kept for a long step where one waits. */
    if (pass->jobs > (TAILQ_EMPTY(&sc->ring[TURN_LONG]) ? 0 : 1))
        s = take(sc, pass, TURN_SHORT, whole, rows);
    if (s == NULL && pass->jobs > 0)
        s = take(sc, pass, TURN_LONG, whole, rows);
    return s;
}
