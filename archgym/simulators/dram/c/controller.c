/* A memory controller on a trace, event by event, for many designs; `controller.py` has the model in words.

   Time is in clock cycles. Three parts exchange messages, as the modules of DRAMSys 4.0 do: the player, which
   sends the trace; the arbiter; the controller. A message without delay arrives in the next round of the same
   cycle; a round delivers all messages of the round before it, of each kind at most one. A part acts once in a
   round, in the order of the kernel of SystemC, on which it depends whether a request that comes in the cycle of
   a command is seen before it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NEVER ((int64_t)1 << 60) /* and all that is more */
#define LONG_AGO (-((int64_t)1 << 40))
#define BANKS 64 /* most banks */

typedef int64_t Cycle;

/* Orders of the values are those of the design space. */
enum { OPEN, OPEN_ADAPTIVE, CLOSED, CLOSED_ADAPTIVE };
enum { IN_ORDER, GROUPED_HITS_FIRST, HITS_FIRST };
enum { BANKWISE, READ_WRITE, SHARED };
enum { SIMPLE, ARBITER_FIFO, ARBITER_REORDER };

typedef struct {
    int32_t page, scheduler, buffer, buffer_size, reorder, refresh, postponed, pulled_in, arbiter, active;
} Design;

typedef struct {
    int32_t banks, rcd, rp, rl, wl, burst, ccd, rtp, ras, rc, rrd, faw, wtr, wr, refi, rfc;
} Timing;

/* N requests in order of arrival. `group` numbers the rows of all banks; `in_bank` and `in_row` are the next
   request to the same bank and to the same row, or N; `bank_first` and `row_first` the first ones, or N. */
typedef struct {
    int64_t count, groups;
    const int64_t *cycle, *address;
    const uint8_t *write;
    const int32_t *bank, *group, *in_bank, *in_row, *bank_first, *row_first;
} Trace;

/* A limit was compared with numbers: it was above those up to `above`, and not above those from `reached`. Any
   limit in (above, reached] gives the same events. */
typedef struct {
    int64_t above, reached;
} Range;

typedef struct {
    int64_t end;                        /* cycle of the last response */
    int64_t activations, precharges, refreshes;
    int64_t precharged, window;         /* cycles with all banks precharged, and all cycles with a current */
    int64_t stored[3];                  /* most requests in a buffer that took another, by its kind */
    int64_t overtaken, chosen;          /* whether a request overtook another; whether schedulers differ */
    Range buffer_size, active, postponed, pulled_in;
} Outcome;

enum { NONE, ACT, RD, RDA, WR, WRA, PRE, COMMANDS, PREAB, REFAB };

/* Messages, as a bit set. */
enum {
    BEGIN_REQUEST = 1,       /* player to arbiter */
    REQUEST_TAKEN = 4,       /* controller to arbiter */
    NEXT_REQUEST = 8,        /* arbiter to player */
    BEGIN_RESPONSE = 16,     /* controller to arbiter */
    RESPONSE = 64,           /* arbiter to player */
    END_RESPONSE = 128       /* player to arbiter */
};

/* What wakes a part: messages the first two, the others the controller. */
enum { ARBITER, PLAYER, OFFER, RELEASE, COMMAND, DATA, EVENTS };

typedef struct {
    Cycle at;
    int event, number;
} Entry;

typedef struct {
    const Trace *trace;
    const Timing *timing;
    Design design;
    Outcome outcome;
    Cycle now;
    int mixed; /* reads and writes */

    int messages;                             /* of the next round */
    Cycle request_at, response_at, answer_at; /* messages of later cycles, or NEVER */
    Cycle pending[EVENTS];                    /* cycle of each event, or NEVER */
    int number[EVENTS], numbers;              /* of an event's entry in the heap */
    Entry *heap;
    int entries, capacity;
    uint8_t next[EVENTS]; /* events of the next round, in order */
    int nexts, noted;     /* their count, and their bit set */

    int64_t sent, received;
    int failed; /* memory does not suffice */

    /* arbiter: requests and responses wait in order, so that counts or arrays suffice */
    int32_t active, arrived, forwarded, next_returned, first_waiting, last_waiting;
    int held, channel_busy, player_busy;
    Cycle last_end_request, last_end_response;
    uint8_t *answered; /* by request: its response has reached the arbiter */

    /* controller: its port, its buffer, its queue of responses */
    int32_t offered, releasing, accepted, transferred, stored[2], last_bank;
    Cycle offered_at, released_at;
    int32_t bank_head[BANKS], queued[BANKS], *row_head;
    uint8_t *served;
    Cycle *ready; /* by request: the cycle of its data's end, or -1 */
    int32_t *done, first_done, last_done, next_done;

    /* banks: row open (its group, or -1), request in work (or -1), command proposed and its bank's earliest cycle */
    int32_t open[BANKS], current[BANKS];
    uint8_t command[BANKS], blocked[BANKS];
    Cycle proposed[BANKS], may_act[BANKS], may_pre[BANKS], may_cas[BANKS], may_rda[BANKS], acted[BANKS];
    uint64_t proposing; /* bit set of banks with a command */
    int open_banks, busy_banks, last_write;
    Cycle earliest[COMMANDS]; /* of all banks, by command */
    Cycle may_preab, may_refab, bus, last_acts[4]; /* the command bus is free from `bus` */
    int acts, best, stale; /* bank with the earliest proposal, or -1; whether it must be chosen again */
    Cycle best_at;

    Cycle refresh_at, refresh_proposed;
    int pulling, flexibility, refresh_command;

    Cycle covered, last_command; /* energy: a bank has a row open until `covered`, if it is known */
    int last_kind;
} State;

static inline Cycle later(Cycle a, Cycle b) { return a > b ? a : b; }
static inline Cycle sooner(Cycle a, Cycle b) { return a < b ? a : b; }

static inline void raise_to(Cycle *bound, Cycle cycle) {
    if (cycle > *bound) *bound = cycle;
}

/* Whether a limit is above a number; notes both. */
static inline int below(int64_t number, int64_t limit, Range *range) {
    if (number < limit) {
        if (number > range->above) range->above = number;
        return 1;
    }
    if (number < range->reached) range->reached = number;
    return 0;
}

/* Whether a counter that moves by one is at its limit; notes both. */
static inline int at_limit(int64_t number, int64_t limit, Range *range) {
    if (number == limit) {
        range->above = limit - 1;
        range->reached = limit;
        return 1;
    }
    if (number > range->above && range->reached == NEVER) range->above = number;
    return 0;
}

/* --- events, in the order in which the kernel of SystemC delivers them --- */

/* The heap has one entry more than it holds, and remains a heap as SystemC's does, which orders equal cycles. */
static void push(State *s, Cycle at, int event) {
    if (s->entries + 2 > s->capacity) {
        Entry *larger = realloc(s->heap, 2 * s->capacity * sizeof *larger);
        if (!larger) {
            s->failed = 1;
            return;
        }
        s->heap = larger;
        s->capacity *= 2;
    }
    int i = ++s->entries;
    Entry *heap = s->heap;
    for (; i > 1 && heap[i / 2].at > at; i /= 2) heap[i] = heap[i / 2];
    heap[i] = (Entry){at, event, s->number[event] = ++s->numbers};
}

static Entry pop(State *s) {
    Entry *heap = s->heap, top = heap[1];
    heap[1] = heap[s->entries--];
    for (int i = 1, left; (left = 2 * i) <= s->entries;) {
        int first = heap[left].at < heap[i].at ? left : i;
        if (left + 1 <= s->entries && heap[left + 1].at < heap[first].at) first = left + 1;
        if (first == i) break;
        Entry entry = heap[i];
        heap[i] = heap[first];
        heap[first] = entry;
        i = first;
    }
    return top;
}

/* An event has one time, the earliest; a time that is given up leaves its entry in the heap. */
static inline void wake(State *s, int event, Cycle cycle) {
    if (s->noted >> event & 1) return;
    if (cycle <= s->now) {
        s->pending[event] = NEVER;
        s->noted |= 1 << event;
        s->next[s->nexts++] = event;
    } else if (cycle < s->pending[event]) {
        s->pending[event] = cycle;
        push(s, cycle, event);
    }
}

static inline void tell_arbiter(State *s, int message) {
    s->messages |= message;
    wake(s, ARBITER, s->now);
}

static inline void tell_player(State *s, int message) {
    s->messages |= message;
    wake(s, PLAYER, s->now);
}

/* --- buffer and scheduler --- */

/* The requests that a kind of buffer counts: Bankwise those to the bank of the one stored last, not of the next. */
static inline int64_t stored(const State *s, int kind) {
    if (kind == BANKWISE) return s->queued[s->last_bank];
    if (kind == SHARED) return s->stored[0] + s->stored[1];
    return s->stored[0] > s->stored[1] ? s->stored[0] : s->stored[1];
}

/* The first stored request to an open row that is of the last command's kind and overtakes none to its address, else
   the first to the row. */
static int32_t grouped_hit(const State *s, int32_t first) {
    const Trace *t = s->trace;
    for (int32_t i = first; i < s->accepted; i = t->in_row[i]) {
        if (s->served[i] || t->write[i] != s->last_write) continue;
        int32_t j = first;
        while (j < i && (s->served[j] || t->address[j] != t->address[i])) j = t->in_row[j];
        if (j == i) return i;
    }
    return first;
}

/* Whether another stored request hits the row of the one in work; in order, whether the next one does. */
static int further_hit(State *s, int bank) {
    const Trace *t = s->trace;
    int32_t row = s->open[bank], second = t->in_bank[s->bank_head[bank]], other = t->in_row[s->row_head[row]];
    while (s->mixed && other < s->accepted && s->served[other]) other = t->in_row[other];
    int next = second < s->accepted && t->group[second] == row, any = other < s->accepted;
    if (next != any) s->outcome.chosen = 1;
    return s->design.scheduler == IN_ORDER ? next : any;
}

/* A bank's next command and the earliest cycle by the bank's own timing. */
static void propose(State *s, int bank) {
    const Trace *t = s->trace;
    uint64_t bit = (uint64_t)1 << bank;
    int32_t head = s->bank_head[bank], row = s->open[bank], request = head;
    s->proposing &= ~bit;
    s->command[bank] = NONE;
    s->stale = 1;
    if (head >= s->accepted || s->blocked[bank]) return;
    if (row >= 0 && s->row_head[row] < s->accepted) {
        if (s->row_head[row] != head) s->outcome.chosen = 1;
        if (s->design.scheduler != IN_ORDER) request = s->row_head[row];
        if (s->mixed && s->design.scheduler == GROUPED_HITS_FIRST) request = grouped_hit(s, request);
    }
    s->busy_banks += s->current[bank] < 0;
    s->current[bank] = request;
    s->proposing |= bit;
    if (row < 0) {
        s->command[bank] = ACT;
        s->proposed[bank] = s->may_act[bank];
    } else if (t->group[request] != row) {
        s->command[bank] = PRE;
        s->proposed[bank] = s->may_pre[bank];
    } else {
        int close;
        switch (s->design.page) {
        case OPEN: close = 0; break;
        case CLOSED: close = 1; break;
        case OPEN_ADAPTIVE: close = s->queued[bank] >= 2 && !further_hit(s, bank); break;
        default: close = !further_hit(s, bank);
        }
        s->command[bank] = (t->write[request] ? WR : RD) + close;
        s->proposed[bank] = s->may_cas[bank];
        if (s->command[bank] == RDA) s->proposed[bank] = later(s->may_cas[bank], s->may_rda[bank]);
    }
}

static void propose_all(State *s) {
    for (int bank = 0; bank < s->timing->banks; bank++) propose(s, bank);
}

/* The bank with the earliest proposal, of equals that of the oldest request. */
static void choose(State *s) {
    Cycle at = NEVER, free = later(s->bus, s->now);
    int32_t oldest = 0;
    int best = -1;
    for (uint64_t banks = s->proposing; banks; banks &= banks - 1) {
        int bank = __builtin_ctzll(banks);
        Cycle cycle = later(later(s->proposed[bank], s->earliest[s->command[bank]]), free);
        int32_t request = s->current[bank];
        int better = (cycle < at) | ((cycle == at) & (request < oldest));
        at = better ? cycle : at;
        oldest = better ? request : oldest;
        best = better ? bank : best;
    }
    s->best = best;
    s->best_at = at;
    s->stale = 0;
}

static void take(State *s) {
    int32_t request = s->offered;
    for (int kind = 0; kind < 3; kind++) {
        int64_t number = stored(s, kind);
        if (number > s->outcome.stored[kind]) s->outcome.stored[kind] = number;
    }
    int bank = s->trace->bank[request];
    s->accepted = request + 1;
    s->last_bank = bank;
    s->queued[bank]++;
    s->stored[s->trace->write[request]]++;
    propose(s, bank);
    s->stale = 1;
    tell_arbiter(s, REQUEST_TAKEN);
    s->offered = -1;
}

static inline void accept(State *s) {
    if (s->offered < 0 || s->offered_at > s->now) return;
    if (below(stored(s, s->design.buffer), s->design.buffer_size, &s->outcome.buffer_size)) take(s);
}

static void remove_request(State *s, int bank, int32_t request) {
    const Trace *t = s->trace;
    s->outcome.overtaken |= request != s->transferred++;
    s->served[request] = 1;
    s->queued[bank]--;
    s->stored[t->write[request]]--;
    s->last_write = t->write[request];
    int32_t *head = &s->bank_head[bank], *row = &s->row_head[t->group[request]];
    while (*head < t->count && s->served[*head]) *head = t->in_bank[*head];
    while (*row < t->count && s->served[*row]) *row = t->in_row[*row];
}

/* --- responses --- */

static inline Cycle data_time(const State *s) {
    Cycle ready;
    if (s->design.reorder)
        ready = s->next_done < s->trace->count ? s->ready[s->next_done] : -1;
    else
        ready = s->first_done < s->last_done ? s->ready[s->done[s->first_done]] : -1;
    return ready;
}

static inline void wake_for_data(State *s) {
    Cycle ready = data_time(s);
    if (ready > s->now) wake(s, DATA, ready);
}

static void respond(State *s) {
    s->releasing = -1;
    Cycle ready = data_time(s);
    if (ready < 0) return;
    if (ready > s->now) {
        wake(s, DATA, ready);
        return;
    }
    int32_t request = s->design.reorder ? s->next_done++ : s->done[s->first_done++];
    s->releasing = request;
    if (s->released_at == s->now) /* one response in a cycle */
        wake(s, ARBITER, s->response_at = s->now + 1);
    else
        tell_arbiter(s, BEGIN_RESPONSE);
    s->released_at = NEVER;
}

/* --- refreshes --- */

static Cycle refresh(State *s) {
    s->refresh_command = NONE;
    if (s->now < s->refresh_at) return s->refresh_at;
    Cycle interval = s->timing->refi;
    if (s->now >= s->refresh_at + interval) {
        s->refresh_at += interval;
        s->pulling = 0;
    }
    if (s->pulling) {
        if (s->busy_banks) {
            s->pulling = 0;
            s->refresh_at += interval;
            return s->refresh_at;
        }
    } else if (at_limit(s->flexibility, s->design.postponed, &s->outcome.postponed)) {
        for (int bank = 0; bank < s->timing->banks; bank++) s->blocked[bank] = 1; /* proposals remain once */
    } else if (s->busy_banks) {
        s->flexibility++;
        s->refresh_at += interval;
        return s->refresh_at;
    }
    s->refresh_command = s->open_banks ? PREAB : REFAB;
    s->refresh_proposed = later(later(s->open_banks ? s->may_preab : s->may_refab, s->bus), s->now);
    return s->refresh_proposed;
}

/* --- commands --- */

/* Row `open` of a bank ends at a cycle. */
static void close_row(State *s, int bank, Cycle at) {
    s->open[bank] = -1;
    s->open_banks--;
    s->outcome.precharges++;
    raise_to(&s->covered, at);
    if (at >= s->last_command) {
        s->last_command = at;
        s->last_kind = PRE;
    }
}

static void all_precharged_until(State *s, Cycle cycle) {
    if (!s->open_banks && cycle > s->covered) s->outcome.precharged += cycle - s->covered;
}

static void precharge_all(State *s) {
    for (int bank = 0; bank < s->timing->banks; bank++) {
        if (s->open[bank] >= 0) close_row(s, bank, s->now);
        raise_to(&s->may_act[bank], s->now + s->timing->rp);
    }
    raise_to(&s->may_refab, s->now + s->timing->rp);
}

static void refresh_all(State *s) {
    const Timing *m = s->timing;
    s->outcome.refreshes++;
    all_precharged_until(s, s->now);
    raise_to(&s->covered, s->now + m->rfc - m->rp);
    for (int bank = 0; bank < m->banks; bank++) {
        s->blocked[bank] = 0;
        raise_to(&s->may_act[bank], s->now + m->rfc);
    }
    raise_to(&s->may_refab, s->now + m->rfc);
    if (s->pulling)
        s->flexibility--;
    else
        s->pulling = 1;
    if (at_limit(-(int64_t)s->flexibility, s->design.pulled_in, &s->outcome.pulled_in)) {
        s->pulling = 0;
        s->refresh_at += m->refi;
    }
}

static void activate(State *s, int bank) {
    const Timing *m = s->timing;
    Cycle now = s->now;
    all_precharged_until(s, now);
    s->open[bank] = s->trace->group[s->current[bank]];
    s->open_banks++;
    s->outcome.activations++;
    s->acted[bank] = now;
    s->may_cas[bank] = now + m->rcd;
    raise_to(&s->may_act[bank], now + m->rc);
    raise_to(&s->may_pre[bank], now + m->ras);
    raise_to(&s->may_preab, now + m->ras);
    raise_to(&s->may_refab, now + m->rc);
    raise_to(&s->earliest[ACT], now + m->rrd);
    s->last_acts[s->acts++ & 3] = now;
    if (s->acts >= 4) raise_to(&s->earliest[ACT], s->last_acts[s->acts & 3] + m->faw);
}

static void transfer(State *s, int bank, int command) {
    const Timing *m = s->timing;
    int32_t request = s->current[bank];
    Cycle now = s->now, recovery;
    s->current[bank] = -1;
    s->busy_banks--;
    if (command == RD || command == RDA) {
        recovery = now + m->rtp;
        raise_to(&s->earliest[RD], now + m->ccd);
        raise_to(&s->earliest[WR], now + m->rl + m->burst + 2 - m->wl);
        s->ready[request] = now + m->rl + m->burst;
    } else {
        recovery = now + m->wl + m->burst + m->wr;
        raise_to(&s->earliest[RD], now + m->wl + m->burst + m->wtr);
        raise_to(&s->earliest[WR], now + m->ccd);
        if (command == WR) s->may_rda[bank] = recovery - m->rtp;
        s->ready[request] = now + m->wl + m->burst;
    }
    s->earliest[RDA] = s->earliest[RD];
    s->earliest[WRA] = s->earliest[WR];
    raise_to(&s->may_preab, recovery);
    if (command == RDA || command == WRA) {
        raise_to(&s->may_act[bank], recovery + m->rp);
        raise_to(&s->may_refab, recovery + m->rp);
        close_row(s, bank, later(recovery, s->acted[bank] + m->ras));
    } else {
        raise_to(&s->may_pre[bank], recovery);
    }
    remove_request(s, bank, request);
    accept(s);
    if (!s->design.reorder) s->done[s->last_done++] = request;
    wake_for_data(s);
}

static void issue(State *s, int bank, int command) {
    const Timing *m = s->timing;
    s->bus = s->now + 1;
    if (s->now >= s->last_command) {
        s->last_command = s->now;
        s->last_kind = command;
    }
    switch (command) {
    case PREAB: precharge_all(s); break;
    case REFAB: refresh_all(s); break;
    case ACT: activate(s, bank); break;
    case PRE:
        close_row(s, bank, s->now);
        raise_to(&s->may_act[bank], s->now + m->rp);
        raise_to(&s->may_refab, s->now + m->rp);
        break;
    default: transfer(s, bank, command);
    }
    if (command == PREAB || command == REFAB || (s->mixed && s->design.scheduler == GROUPED_HITS_FIRST))
        propose_all(s);
    else
        propose(s, bank);
}

static void act(State *s) {
    if (s->releasing < 0 || s->released_at == s->now) respond(s);
    accept(s);
    if (s->now < s->refresh_at && !s->stale && s->best_at > s->now) { /* no command, and no new proposal */
        Cycle next = s->best_at < s->refresh_at ? s->best_at : s->refresh_at;
        if (next < NEVER) wake(s, COMMAND, next);
        return;
    }
    if (s->now >= s->refresh_at) refresh(s);
    if (s->stale) choose(s);
    int waits = 0; /* a command for which it is too early */
    if (s->refresh_command && s->refresh_proposed <= s->best_at) {
        waits = s->refresh_proposed > s->now;
        if (!waits) issue(s, 0, s->refresh_command);
    } else if (s->best >= 0) {
        waits = s->best_at > s->now;
        if (!waits) issue(s, s->best, s->command[s->best]);
    }
    Cycle next = NEVER;
    if (s->now < s->refresh_at) {
        next = s->refresh_at;
        s->refresh_command = NONE;
    } else {
        propose_all(s); /* those of blocked banks end */
        next = refresh(s);
        if (next <= s->now && waits) next = NEVER;
    }
    if (s->stale) choose(s);
    if (s->best_at < next) next = s->best_at;
    if (next < NEVER) wake(s, COMMAND, next);
}

/* --- arbiter and player --- */

static inline void offer(State *s, int32_t request, int delay) {
    s->offered = request;
    s->offered_at = s->now + delay;
    wake(s, OFFER, s->offered_at);
}

static inline void release(State *s) {
    s->released_at = s->now;
    wake(s, RELEASE, s->now);
}

/* Hands the next response to the player, if one waits. */
static inline int answer_next(State *s, int delay) {
    if (s->design.arbiter == ARBITER_REORDER) {
        if (s->next_returned >= s->trace->count || !s->answered[s->next_returned]) return 0;
        s->next_returned++;
    } else {
        if (s->first_waiting == s->last_waiting) return 0;
        s->first_waiting++;
    }
    if (delay)
        wake(s, PLAYER, s->answer_at = s->now + 1);
    else
        tell_player(s, RESPONSE);
    return 1;
}

static inline void wait_for_player(State *s, int delay) {
    if (s->design.arbiter == ARBITER_REORDER)
        s->answered[s->releasing] = 1;
    else
        s->last_waiting++;
    if (!s->player_busy) s->player_busy = answer_next(s, delay);
}

/* Requests are offered to the controller at once, and wait for it with the player. */
static void arbiter_simple(State *s, int messages) {
    if (messages & BEGIN_REQUEST) offer(s, s->sent - 1, 0);
    if (messages & REQUEST_TAKEN) tell_player(s, NEXT_REQUEST);
    if (messages & BEGIN_RESPONSE) wait_for_player(s, 0);
    if (messages & END_RESPONSE) {
        release(s);
        s->player_busy = answer_next(s, 1);
    }
}

static inline void arrive(State *s) {
    tell_player(s, NEXT_REQUEST);
    s->arrived++;
    if (s->channel_busy) return;
    s->channel_busy = 1;
    offer(s, s->forwarded++, s->last_end_request == s->now);
}

/* Requests wait for the controller in the arbiter, up to a number that is active. */
static void arbiter_active(State *s, int messages) {
    if (messages & BEGIN_REQUEST) {
        if (below(s->active, s->design.active, &s->outcome.active)) {
            s->active++;
            arrive(s);
        } else {
            s->held = 1;
        }
    }
    if (messages & REQUEST_TAKEN) {
        s->last_end_request = s->now;
        if (s->forwarded < s->arrived)
            offer(s, s->forwarded++, 1);
        else
            s->channel_busy = 0;
    }
    if (messages & BEGIN_RESPONSE) {
        wait_for_player(s, s->last_end_response == s->now);
        release(s);
    }
    if (messages & END_RESPONSE) {
        s->last_end_response = s->now;
        if (s->held) {
            s->held = 0;
            arrive(s);
        } else {
            s->active--;
        }
        s->player_busy = answer_next(s, 1);
    }
}

static void player(State *s, int messages) {
    const Trace *t = s->trace;
    if (messages & RESPONSE) {
        tell_arbiter(s, END_RESPONSE);
        s->received++;
    }
    if (messages & NEXT_REQUEST && s->sent < t->count) {
        wake(s, ARBITER, s->request_at = later(s->now + 1, t->cycle[s->sent]));
        s->sent++;
    }
}

/* --- a design --- */

static inline int due(State *s, Cycle *at, int message) {
    if (*at != s->now) return 0;
    *at = NEVER;
    return message;
}

static void arbiter(State *s, int messages) {
    messages |= due(s, &s->request_at, BEGIN_REQUEST) | due(s, &s->response_at, BEGIN_RESPONSE);
    if (s->design.arbiter == SIMPLE)
        arbiter_simple(s, messages);
    else
        arbiter_active(s, messages);
    Cycle next = s->request_at < s->response_at ? s->request_at : s->response_at;
    if (next < NEVER) wake(s, ARBITER, next);
}

static void answered(State *s, int messages) {
    player(s, messages | due(s, &s->answer_at, RESPONSE));
    if (s->answer_at < NEVER) wake(s, PLAYER, s->answer_at);
}

/* A round: each part that an event wakes acts once, at the first of its events; returns whether a round follows. */
static int run_round(State *s, const uint8_t *events, int count, int messages) {
    int acted = 0;
    for (int i = 0; i < count; i++) {
        int part = events[i] < OFFER ? events[i] : OFFER;
        if (acted >> part & 1) continue;
        acted |= 1 << part;
        if (part == ARBITER)
            arbiter(s, messages);
        else if (part == PLAYER)
            answered(s, messages);
        else
            act(s);
    }
    return s->nexts;
}

/* The next cycle with an event, and all its rounds; 0 if there is none. */
static int cycle(State *s) {
    uint8_t events[EVENTS], count = 0;
    while (s->entries && s->number[s->heap[1].event] != s->heap[1].number) pop(s);
    if (!s->entries) return 0;
    s->now = s->heap[1].at;
    while (s->entries && s->heap[1].at == s->now) {
        Entry entry = pop(s);
        if (s->number[entry.event] != entry.number || s->pending[entry.event] != s->now) continue;
        s->pending[entry.event] = NEVER;
        events[count++] = entry.event;
    }
    int messages = 0;
    while (run_round(s, events, count, messages) && s->received < s->trace->count) {
        count = s->nexts;
        for (int i = 0; i < count; i++) events[i] = s->next[count - 1 - i];
        messages = s->messages;
        s->messages = s->nexts = s->noted = 0;
    }
    s->messages = s->nexts = s->noted = 0;
    return 1;
}

/* Cycles after the last command in which it still draws a current. */
static int64_t completion(const Timing *m, int command) {
    switch (command) {
    case RD: case RDA: return m->rl + m->burst + 1;
    case WR: case WRA: return m->wl + m->burst + m->wr;
    case ACT: return m->rcd;
    case REFAB: return m->rfc - m->rp + 1;
    default: return m->rp;
    }
}

static void start(State *s, const Trace *t, const Timing *m, const Design *design) {
    int32_t *done = s->done, *row_head = s->row_head;
    uint8_t *answered = s->answered, *served = s->served;
    Cycle *ready = s->ready;
    Entry *heap = s->heap;
    int mixed = s->mixed, capacity = s->capacity;
    memset(s, 0, sizeof *s);
    s->done = done, s->row_head = row_head;
    s->answered = answered, s->served = served, s->ready = ready, s->mixed = mixed;
    memset(answered, 0, t->count);
    memset(served, 0, t->count);
    memset(ready, -1, t->count * sizeof *ready);
    memcpy(row_head, t->row_first, t->groups * sizeof *row_head);
    memcpy(s->bank_head, t->bank_first, m->banks * sizeof *s->bank_head);
    s->trace = t, s->timing = m, s->design = *design;
    s->heap = heap, s->capacity = capacity;
    for (int event = 0; event < EVENTS; event++) s->pending[event] = NEVER;
    s->response_at = s->answer_at = NEVER;
    s->request_at = t->cycle[0];
    s->sent = 1;
    s->offered = s->releasing = -1;
    s->last_end_request = s->last_end_response = -1;
    s->released_at = NEVER;
    for (int bank = 0; bank < m->banks; bank++) s->open[bank] = s->current[bank] = -1;
    s->best = -1;
    s->best_at = NEVER;
    s->refresh_at = NEVER;
    s->now = -1; /* the first request may come in cycle 0 */
    if (design->refresh) wake(s, COMMAND, s->refresh_at = m->refi);
    wake(s, ARBITER, s->request_at);
    Range any = {-NEVER, NEVER};
    s->outcome.buffer_size = s->outcome.active = s->outcome.postponed = s->outcome.pulled_in = any;
}

/* The outcomes of designs on a trace. Returns 1 if memory does not suffice, 2 if a design came to a halt. */
__attribute__((visibility("default"))) int simulate(
    const Trace *trace, const Timing *timing, int64_t count, const Design *designs, Outcome *outcomes
) {
    size_t n = trace->count;
    State *s = calloc(1, sizeof *s);
    if (!s) return 1;
    s->done = malloc(n * sizeof *s->done);
    s->row_head = malloc(trace->groups * sizeof *s->row_head);
    s->answered = malloc(n);
    s->served = malloc(n);
    s->ready = malloc(n * sizeof *s->ready);
    s->capacity = 1024;
    s->heap = malloc(s->capacity * sizeof *s->heap);
    int failure = !(s->done && s->row_head && s->answered && s->served && s->ready && s->heap);
    for (size_t i = 0; i < n; i++) s->mixed |= trace->write[i] != trace->write[0];
    for (int64_t k = 0; k < count && !failure; k++) {
        start(s, trace, timing, &designs[k]);
        while (s->received < trace->count) {
            failure = s->failed ? 1 : cycle(s) ? 0 : 2;
            if (failure) break;
        }
        s->outcome.end = s->now;
        s->outcome.window = s->last_command + completion(timing, s->last_kind) - 1;
        all_precharged_until(s, s->outcome.window);
        outcomes[k] = s->outcome;
    }
    free(s->done), free(s->row_head), free(s->answered), free(s->served), free(s->ready), free(s->heap);
    free(s);
    return failure;
}
