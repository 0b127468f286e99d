/* A memory controller on a trace, event by event, for many designs; `controller.py` has the model in words.

   Time is in clock cycles. Three parts exchange messages, as the modules of DRAMSys 4.0 do: the player, which
   sends the trace; the arbiter; the controller. A message without delay arrives in the next round of the same
   cycle, and a round delivers all messages of the round before it. The controller acts once in a round. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NEVER ((int64_t)1 << 60)
#define LONG_AGO (-((int64_t)1 << 40))
#define BANKS 64   /* most banks */
#define MESSAGES 8 /* more than the messages to one part in a round */

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
    Range buffer_size, active, postponed, pulled_in;
} Outcome;

enum { NONE, ACT, RD, RDA, WR, WRA, PRE, COMMANDS, PREAB, REFAB };
enum { BEGIN_REQUEST, ARBITRATE_REQUEST, END_REQUEST, BEGIN_RESPONSE, ARBITRATE_RESPONSE, END_RESPONSE };

typedef struct {
    int32_t kind, request;
} Message;

typedef struct {
    Message list[MESSAGES];
    int count;
} Mail;

typedef struct {
    Cycle at; /* or NEVER */
    int32_t request;
} Later;

typedef struct {
    const Trace *trace;
    const Timing *timing;
    Design design;
    Outcome outcome;
    Cycle now;
    int mixed; /* reads and writes */

    int round, controller_next; /* parity of the round; whether the controller acts in the next one */
    Mail arbiter_mail[2], player_mail[2];
    Later request, response, player; /* messages of later cycles: two to the arbiter, one to the player */
    Cycle offer_at, command_at, data_at; /* times at which the controller acts */

    int32_t sent, received;

    /* arbiter: requests and responses wait in order, so that counts or arrays suffice */
    int32_t active, held, arrived, forwarded, next_returned, first_waiting, last_waiting;
    int channel_busy, player_busy;
    Cycle last_end_request, last_end_response;
    int32_t *waiting;  /* responses, in order of arrival */
    uint8_t *answered; /* by request */

    /* controller: its port, its buffer, its queue of responses */
    int32_t offered, releasing, accepted, stored[2], last_bank;
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
    Cycle may_preab, may_refab, last_acts[4];
    int acts, best, stale; /* bank with the earliest proposal, or -1; whether it must be chosen again */
    Cycle best_at;

    Cycle refresh_at, refresh_proposed;
    int pulling, flexibility, refresh_command;

    Cycle covered, last_command; /* energy: a bank has a row open until `covered`, if it is known */
    int last_kind;
} State;

static inline Cycle later(Cycle a, Cycle b) { return a > b ? a : b; }

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

static inline void send(State *s, Mail *mail, int kind, int32_t request) {
    Mail *next = &mail[s->round ^ 1];
    next->list[next->count++] = (Message){kind, request};
}

/* The controller acts at a cycle; of pending ones the earliest remains. */
static inline void wake(State *s, Cycle *event, Cycle cycle) {
    if (cycle <= s->now) {
        s->controller_next = 1;
        *event = NEVER;
    } else if (cycle < *event) {
        *event = cycle;
    }
}

/* --- buffer and scheduler --- */

static inline int has_space(State *s) {
    int32_t number, *stored = s->stored;
    if (s->design.buffer == BANKWISE)
        number = s->queued[s->last_bank]; /* of the request stored last, not of the one that waits */
    else if (s->design.buffer == READ_WRITE)
        number = stored[0] > stored[1] ? stored[0] : stored[1];
    else
        number = stored[0] + stored[1];
    return below(number, s->design.buffer_size, &s->outcome.buffer_size);
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

/* Whether another stored request hits the row of the one in work. */
static int further_hit(const State *s, int bank) {
    const Trace *t = s->trace;
    if (s->design.scheduler == IN_ORDER) {
        int32_t second = t->in_bank[s->bank_head[bank]];
        return second < s->accepted && t->group[second] == s->open[bank];
    }
    int32_t i = t->in_row[s->row_head[s->open[bank]]];
    while (s->mixed && i < s->accepted && s->served[i]) i = t->in_row[i];
    return i < s->accepted;
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
    if (row >= 0 && s->design.scheduler != IN_ORDER && s->row_head[row] < s->accepted) {
        request = s->row_head[row];
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
    Cycle at = NEVER;
    int32_t oldest = 0;
    int best = -1;
    for (uint64_t banks = s->proposing; banks; banks &= banks - 1) {
        int bank = __builtin_ctzll(banks);
        Cycle cycle = later(later(s->proposed[bank], s->earliest[s->command[bank]]), s->now);
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

static void accept(State *s) {
    if (s->offered < 0 || s->offered_at > s->now || !has_space(s)) return;
    int32_t request = s->offered;
    int bank = s->trace->bank[request];
    s->accepted = request + 1;
    s->last_bank = bank;
    s->queued[bank]++;
    s->stored[s->trace->write[request]]++;
    propose(s, bank);
    s->stale = 1;
    send(s, s->arbiter_mail, END_REQUEST, request);
    s->offered = -1;
}

static void remove_request(State *s, int bank, int32_t request) {
    const Trace *t = s->trace;
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
    if (ready > s->now) wake(s, &s->data_at, ready);
}

static void respond(State *s) {
    if (s->releasing >= 0) {
        if (s->released_at != s->now) return;
        s->releasing = -1;
    }
    Cycle ready = data_time(s);
    if (ready < 0) return;
    if (ready > s->now) {
        wake(s, &s->data_at, ready);
        return;
    }
    int32_t request = s->design.reorder ? s->next_done++ : s->done[s->first_done++];
    s->releasing = request;
    if (s->released_at == s->now) /* one response in a cycle */
        s->response = (Later){s->now + 1, request};
    else
        send(s, s->arbiter_mail, BEGIN_RESPONSE, request);
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
    s->refresh_proposed = later(later(s->open_banks ? s->may_preab : s->may_refab, s->earliest[NONE]), s->now);
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
    for (int i = 0; i < COMMANDS; i++) raise_to(&s->earliest[i], s->now + 1); /* one command in a cycle */
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
    respond(s);
    accept(s);
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
    if (s->refresh_at != NEVER) {
        if (s->now >= s->refresh_at) propose_all(s); /* those of blocked banks end */
        next = refresh(s);
        if (next <= s->now && waits) next = NEVER;
    }
    if (s->stale) choose(s);
    if (s->best_at < next) next = s->best_at;
    if (next < NEVER) wake(s, &s->command_at, next);
}

/* --- arbiter and player --- */

static inline void offer(State *s, int32_t request, int delay) {
    s->offered = request;
    s->offered_at = s->now + delay;
    if (delay)
        s->offer_at = s->offered_at;
    else
        s->controller_next = 1;
}

static inline void answer(State *s, int32_t request, int delay) {
    if (delay)
        s->player = (Later){s->now + 1, request};
    else
        send(s, s->player_mail, BEGIN_RESPONSE, request);
}

static inline void release(State *s) {
    s->released_at = s->now;
    s->controller_next = 1;
}

/* Returns the next response that waits, if there is one. */
static inline int answer_next(State *s, int delay) {
    if (s->design.arbiter == ARBITER_REORDER) {
        if (s->next_returned >= s->trace->count || !s->answered[s->next_returned]) return 0;
        answer(s, s->next_returned++, delay);
    } else {
        if (s->first_waiting == s->last_waiting) return 0;
        answer(s, s->waiting[s->first_waiting++], delay);
    }
    return 1;
}

static inline void wait_for_player(State *s, int32_t request, int delay) {
    if (s->design.arbiter == ARBITER_REORDER)
        s->answered[request] = 1;
    else
        s->waiting[s->last_waiting++] = request;
    if (!s->player_busy) s->player_busy = answer_next(s, delay);
}

static void arbiter(State *s, Message message) {
    int32_t request = message.request;
    int simple = s->design.arbiter == SIMPLE;
    switch (message.kind) {
    case BEGIN_REQUEST:
        if (simple) {
            offer(s, request, 0);
        } else if (below(s->active, s->design.active, &s->outcome.active)) {
            s->active++;
            send(s, s->player_mail, END_REQUEST, request);
            send(s, s->arbiter_mail, ARBITRATE_REQUEST, request);
        } else {
            s->held = request;
        }
        break;
    case ARBITRATE_REQUEST:
        s->arrived++;
        if (!s->channel_busy) {
            s->channel_busy = 1;
            offer(s, s->forwarded++, s->last_end_request == s->now);
        }
        break;
    case END_REQUEST:
        if (simple) {
            send(s, s->player_mail, END_REQUEST, request);
        } else {
            s->last_end_request = s->now;
            if (s->forwarded < s->arrived)
                offer(s, s->forwarded++, 1);
            else
                s->channel_busy = 0;
        }
        break;
    case BEGIN_RESPONSE:
        if (simple) {
            wait_for_player(s, request, 0);
        } else {
            release(s);
            send(s, s->arbiter_mail, ARBITRATE_RESPONSE, request);
        }
        break;
    case ARBITRATE_RESPONSE: wait_for_player(s, request, s->last_end_response == s->now); break;
    case END_RESPONSE:
        if (simple) {
            release(s);
        } else {
            s->last_end_response = s->now;
            if (s->held >= 0) {
                send(s, s->player_mail, END_REQUEST, s->held);
                send(s, s->arbiter_mail, ARBITRATE_REQUEST, s->held);
                s->held = -1;
            } else {
                s->active--;
            }
        }
        s->player_busy = answer_next(s, 1);
        break;
    }
}

static void player(State *s, Message message) {
    const Trace *t = s->trace;
    if (message.kind == BEGIN_RESPONSE) {
        send(s, s->arbiter_mail, END_RESPONSE, message.request);
        s->received++;
    } else if (s->sent < t->count) {
        s->request = (Later){later(s->now + 1, t->cycle[s->sent]), s->sent};
        s->sent++;
    }
}

/* --- a design --- */

static inline Cycle next_event(const State *s) {
    Cycle at = s->request.at;
    if (s->response.at < at) at = s->response.at;
    if (s->player.at < at) at = s->player.at;
    if (s->offer_at < at) at = s->offer_at;
    if (s->command_at < at) at = s->command_at;
    if (s->data_at < at) at = s->data_at;
    return at;
}

/* All rounds of a cycle. */
static void cycle(State *s) {
    int acts = 0;
    Cycle now = s->now, *events[] = {&s->offer_at, &s->command_at, &s->data_at};
    for (int i = 0; i < 3; i++)
        if (*events[i] == now) {
            *events[i] = NEVER;
            acts = 1;
        }
    for (int first = 1;; first = 0) {
        Mail *to_arbiter = &s->arbiter_mail[s->round], *to_player = &s->player_mail[s->round];
        s->controller_next = 0;
        for (int i = 0; i < to_arbiter->count; i++) arbiter(s, to_arbiter->list[i]);
        if (first && s->request.at == now) {
            s->request.at = NEVER;
            arbiter(s, (Message){BEGIN_REQUEST, s->request.request});
        }
        if (first && s->response.at == now) {
            s->response.at = NEVER;
            arbiter(s, (Message){BEGIN_RESPONSE, s->response.request});
        }
        for (int i = 0; i < to_player->count; i++) player(s, to_player->list[i]);
        if (first && s->player.at == now) {
            s->player.at = NEVER;
            player(s, (Message){BEGIN_RESPONSE, s->player.request});
        }
        if (acts) act(s);
        to_arbiter->count = to_player->count = 0;
        if (s->received == s->trace->count) return;
        acts = s->controller_next;
        s->round ^= 1;
        if (!acts && !s->arbiter_mail[s->round].count && !s->player_mail[s->round].count) return;
    }
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
    int32_t *waiting = s->waiting, *done = s->done, *row_head = s->row_head;
    uint8_t *answered = s->answered, *served = s->served;
    Cycle *ready = s->ready;
    int mixed = s->mixed;
    memset(s, 0, sizeof *s);
    s->waiting = waiting, s->done = done, s->row_head = row_head;
    s->answered = answered, s->served = served, s->ready = ready, s->mixed = mixed;
    memset(answered, 0, t->count);
    memset(served, 0, t->count);
    memset(ready, -1, t->count * sizeof *ready);
    memcpy(row_head, t->row_first, t->groups * sizeof *row_head);
    memcpy(s->bank_head, t->bank_first, m->banks * sizeof *s->bank_head);
    s->trace = t, s->timing = m, s->design = *design;
    s->request = (Later){t->cycle[0], 0};
    s->sent = 1;
    s->response.at = s->player.at = s->offer_at = s->command_at = s->data_at = NEVER;
    s->held = s->offered = s->releasing = -1;
    s->last_end_request = s->last_end_response = -1;
    s->released_at = NEVER;
    for (int bank = 0; bank < m->banks; bank++) s->open[bank] = s->current[bank] = -1;
    s->best = -1;
    s->best_at = NEVER;
    s->refresh_at = NEVER;
    if (design->refresh) s->refresh_at = s->command_at = m->refi;
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
    s->waiting = malloc(n * sizeof *s->waiting);
    s->done = malloc(n * sizeof *s->done);
    s->row_head = malloc(trace->groups * sizeof *s->row_head);
    s->answered = malloc(n);
    s->served = malloc(n);
    s->ready = malloc(n * sizeof *s->ready);
    int failure = !(s->waiting && s->done && s->row_head && s->answered && s->served && s->ready);
    for (size_t i = 0; i < n; i++) s->mixed |= trace->write[i] != trace->write[0];
    for (int64_t k = 0; k < count && !failure; k++) {
        start(s, trace, timing, &designs[k]);
        while (s->received < trace->count) {
            s->now = next_event(s);
            if (s->now >= NEVER) {
                failure = 2;
                break;
            }
            cycle(s);
        }
        s->outcome.end = s->now;
        s->outcome.window = s->last_command + completion(timing, s->last_kind) - 1;
        all_precharged_until(s, s->outcome.window);
        outcomes[k] = s->outcome;
    }
    free(s->waiting), free(s->done), free(s->row_head), free(s->answered), free(s->served), free(s->ready);
    free(s);
    return failure;
}
