"""The event loop of the controller model in Python, where no C compiler works: statement by statement that of
`c/controller.c`, whose comments hold here too, with equal results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archgym.simulators.dram.engines import DESIGN, OUTCOME, Designs, Outcomes, Requests

NEVER = 1 << 60
OPEN, OPEN_ADAPTIVE, CLOSED, CLOSED_ADAPTIVE = range(4)
IN_ORDER, GROUPED_HITS_FIRST, HITS_FIRST = range(3)
BANKWISE, READ_WRITE, SHARED = range(3)
SIMPLE, ARBITER_FIFO, ARBITER_REORDER = range(3)
NONE, ACT, RD, RDA, WR, WRA, PRE, PREAB, REFAB = range(9)
# messages, as a bit set
BEGIN_REQUEST, ARBITRATE_REQUEST, REQUEST_TAKEN, NEXT_REQUEST = 1, 2, 4, 8
BEGIN_RESPONSE, ARBITRATE_RESPONSE, RESPONSE, END_RESPONSE, ACT_NOW = 16, 32, 64, 128, 256
_TO_ARBITER = (
    BEGIN_REQUEST | ARBITRATE_REQUEST | REQUEST_TAKEN | BEGIN_RESPONSE | ARBITRATE_RESPONSE | END_RESPONSE
)
_TIMING = ("banks", "rcd", "rp", "rl", "wl", "burst", "ccd", "rtp", "ras", "rc", "rrd", "faw", "wtr", "wr")
_LIMITS = OUTCOME[-8:]


def simulate_interpreted(requests: Requests, designs: Designs) -> Outcomes:
    """What designs did, in Python: int32 [B, 10] -> int64 [B, 19]."""
    lists = _Lists.of(requests)
    rows = [_Controller(lists, design).run() for design in designs.tolist()]
    return np.array(rows, np.int64).reshape(len(rows), len(OUTCOME))


@dataclass(frozen=True)
class _Lists:
    """`Requests` as lists, which Python reads faster than arrays."""

    cycle: list[int]
    address: list[int]
    write: list[int]
    bank: list[int]
    group: list[int]
    in_bank: list[int]
    in_row: list[int]
    bank_first: list[int]
    row_first: list[int]
    timing: list[int]
    mixed: bool

    @classmethod
    def of(cls, requests: Requests) -> _Lists:
        arrays = (requests.cycle, requests.address, requests.write, requests.bank, requests.group)
        chains = (requests.next_in_bank, requests.next_in_group)
        firsts = (requests.first_in_bank, requests.first_in_group)
        return cls(*(a.tolist() for a in (*arrays, *chains, *firsts, requests.timing)), requests.mixed)


class _Limit:
    """A limit, and the numbers that it was compared with."""

    __slots__ = ("above", "limit", "reached")

    def __init__(self, limit: int):
        self.limit, self.above, self.reached = limit, -NEVER, NEVER

    def below(self, number: int) -> bool:
        if number < self.limit:
            if number > self.above:
                self.above = number
            return True
        if number < self.reached:
            self.reached = number
        return False

    def at(self, number: int) -> bool:
        if number == self.limit:
            self.above, self.reached = self.limit - 1, self.limit
            return True
        if number > self.above and self.reached == NEVER:
            self.above = number
        return False


class _Banks:
    """Proposals of the banks and the timing of commands."""

    def __init__(self, trace: _Lists, design: dict[str, int]):
        self.t = trace
        self.now = self.accepted = self.transferred = self.last_write = self.last_bank = 0
        self.page, self.scheduler = design["page_policy"], design["scheduler"]
        self.grouped = trace.mixed and self.scheduler == GROUPED_HITS_FIRST
        (self.banks, self.rcd, self.rp, self.rl, self.wl, self.burst, self.ccd, self.rtp) = trace.timing[:8]
        (self.ras, self.rc, self.rrd, self.faw, self.wtr, self.wr, self.refi, self.rfc) = trace.timing[8:]
        count = len(trace.cycle)
        self.count = count
        self.head, self.row_head = list(trace.bank_first), list(trace.row_first)
        self.served, self.ready = [False] * count, [-1] * count
        self.queued, self.stored = [0] * self.banks, [0, 0]
        self.open, self.current = [-1] * self.banks, [-1] * self.banks
        self.command, self.proposed = [NONE] * self.banks, [0] * self.banks
        self.blocked = [False] * self.banks
        self.may_act, self.may_pre, self.may_cas, self.may_rda, self.acted = (
            [0] * self.banks for _ in range(5)
        )
        self.earliest = [0] * 7
        self.may_preab = self.may_refab = self.bus = self.covered = self.last_command = 0
        self.acts: list[int] = []
        self.open_banks = self.last_kind = 0
        self.stale, self.best, self.best_at = False, -1, NEVER
        self.activations = self.precharges = self.refreshes = self.precharged = 0
        self.overtaken = self.chosen = 0

    def grouped_hit(self, first: int) -> int:
        t, i = self.t, first
        while i < self.accepted:
            if not self.served[i] and t.write[i] == self.last_write:
                j = first
                while j < i and (self.served[j] or t.address[j] != t.address[i]):
                    j = t.in_row[j]
                if j == i:
                    return i
            i = t.in_row[i]
        return first

    def further_hit(self, bank: int) -> bool:
        t, row = self.t, self.open[bank]
        second, other = t.in_bank[self.head[bank]], t.in_row[self.row_head[row]]
        while t.mixed and other < self.accepted and self.served[other]:
            other = t.in_row[other]
        following = second < self.accepted and t.group[second] == row
        some = other < self.accepted
        if following != some:
            self.chosen = 1
        return following if self.scheduler == IN_ORDER else some

    def propose(self, bank: int) -> None:
        self.stale = True
        head, row = self.head[bank], self.open[bank]
        if head >= self.accepted or self.blocked[bank]:
            self.command[bank] = NONE
            return
        request = head
        if row >= 0 and self.row_head[row] < self.accepted:
            if self.row_head[row] != head:
                self.chosen = 1
            if self.scheduler != IN_ORDER:
                request = self.row_head[row]
            if self.grouped:
                request = self.grouped_hit(request)
        self.current[bank] = request
        if row < 0:
            self.command[bank], self.proposed[bank] = ACT, self.may_act[bank]
        elif self.t.group[request] != row:
            self.command[bank], self.proposed[bank] = PRE, self.may_pre[bank]
        else:
            command = (WR if self.t.write[request] else RD) + self.closes(bank)
            self.command[bank], self.proposed[bank] = command, self.may_cas[bank]
            if command == RDA:
                self.proposed[bank] = max(self.may_cas[bank], self.may_rda[bank])

    def closes(self, bank: int) -> bool:
        if self.page == OPEN_ADAPTIVE:
            return self.queued[bank] >= 2 and not self.further_hit(bank)
        return self.page == CLOSED or (self.page == CLOSED_ADAPTIVE and not self.further_hit(bank))

    def propose_all(self) -> None:
        for bank in range(self.banks):
            self.propose(bank)

    def choose(self) -> None:
        best, at, oldest, free = -1, NEVER, 0, max(self.bus, self.now)
        proposed, earliest, current = self.proposed, self.earliest, self.current
        for bank, command in enumerate(self.command):
            if command:
                cycle = proposed[bank]
                if earliest[command] > cycle:
                    cycle = earliest[command]
                if free > cycle:
                    cycle = free
                if cycle < at or (cycle == at and current[bank] < oldest):
                    best, at, oldest = bank, cycle, current[bank]
        self.best, self.best_at, self.stale = best, at, False

    def close_row(self, bank: int, at: int) -> None:
        self.open[bank] = -1
        self.open_banks -= 1
        self.precharges += 1
        self.covered = max(self.covered, at)
        if at >= self.last_command:
            self.last_command, self.last_kind = at, PRE

    def all_precharged_until(self, cycle: int) -> None:
        if not self.open_banks and cycle > self.covered:
            self.precharged += cycle - self.covered

    def precharge_all(self) -> None:
        for bank in range(self.banks):
            if self.open[bank] >= 0:
                self.close_row(bank, self.now)
            self.may_act[bank] = max(self.may_act[bank], self.now + self.rp)
        self.may_refab = max(self.may_refab, self.now + self.rp)

    def precharge(self, bank: int) -> None:
        self.close_row(bank, self.now)
        self.may_act[bank] = max(self.may_act[bank], self.now + self.rp)
        self.may_refab = max(self.may_refab, self.now + self.rp)

    def activate(self, bank: int) -> None:
        now = self.now
        self.all_precharged_until(now)
        self.open[bank] = self.t.group[self.current[bank]]
        self.open_banks += 1
        self.activations += 1
        self.acted[bank], self.may_cas[bank] = now, now + self.rcd
        self.may_act[bank] = max(self.may_act[bank], now + self.rc)
        self.may_pre[bank] = max(self.may_pre[bank], now + self.ras)
        self.may_preab = max(self.may_preab, now + self.ras)
        self.may_refab = max(self.may_refab, now + self.rc)
        self.earliest[ACT] = max(self.earliest[ACT], now + self.rrd)
        self.acts.append(now)
        if len(self.acts) >= 4:
            self.earliest[ACT] = max(self.earliest[ACT], self.acts.pop(0) + self.faw)

    def transfer(self, bank: int, command: int) -> int:
        request, now, earliest = self.current[bank], self.now, self.earliest
        self.current[bank] = -1
        if command in (RD, RDA):
            recovery = now + self.rtp
            earliest[RD] = max(earliest[RD], now + self.ccd)
            earliest[WR] = max(earliest[WR], now + self.rl + self.burst + 2 - self.wl)
            self.ready[request] = now + self.rl + self.burst
        else:
            recovery = now + self.wl + self.burst + self.wr
            earliest[RD] = max(earliest[RD], now + self.wl + self.burst + self.wtr)
            earliest[WR] = max(earliest[WR], now + self.ccd)
            if command == WR:
                self.may_rda[bank] = recovery - self.rtp
            self.ready[request] = now + self.wl + self.burst
        earliest[RDA], earliest[WRA] = earliest[RD], earliest[WR]
        self.may_preab = max(self.may_preab, recovery)
        if command in (RDA, WRA):
            self.may_act[bank] = max(self.may_act[bank], recovery + self.rp)
            self.may_refab = max(self.may_refab, recovery + self.rp)
            self.close_row(bank, max(recovery, self.acted[bank] + self.ras))
        else:
            self.may_pre[bank] = max(self.may_pre[bank], recovery)
        self.remove(bank, request)
        return request

    def remove(self, bank: int, request: int) -> None:
        t, served = self.t, self.served
        if request != self.transferred:
            self.overtaken = 1
        self.transferred += 1
        served[request] = True
        self.queued[bank] -= 1
        self.last_write = t.write[request]
        self.stored[self.last_write] -= 1
        while self.head[bank] < self.count and served[self.head[bank]]:
            self.head[bank] = t.in_bank[self.head[bank]]
        row = t.group[request]
        while self.row_head[row] < self.count and served[self.row_head[row]]:
            self.row_head[row] = t.in_row[self.row_head[row]]

    def window(self) -> int:
        rl, wl, burst = self.rl, self.wl, self.burst
        completion = {
            **dict.fromkeys((RD, RDA), rl + burst + 1),
            **dict.fromkeys((WR, WRA), wl + burst + self.wr),
            **{ACT: self.rcd, REFAB: self.rfc - self.rp + 1},
        }.get(self.last_kind, self.rp)
        return self.last_command + completion - 1


class _Controller(_Banks):
    """Player, arbiter and controller."""

    def __init__(self, trace: _Lists, design: Sequence[int]):
        named = dict(zip(DESIGN, design, strict=True))
        super().__init__(trace, named)
        self.buffer, self.arbiter_kind = named["scheduler_buffer"], named["arbiter"]
        self.reorder, self.returns_in_order = named["resp_queue"], named["arbiter"] == ARBITER_REORDER
        self.size, self.most_active, self.postponed, self.pulled_in = (
            _Limit(named[name])
            for name in (
                *("request_buffer_size", "max_active_transactions"),
                *("refresh_max_postponed", "refresh_max_pulledin"),
            )
        )
        self.most_stored = [0, 0, 0]
        self.messages = 0
        self.request_at, self.sent, self.received = trace.cycle[0], 1, 0
        self.response_at = self.answer_at = self.offer_at = self.command_at = self.data_at = NEVER
        self.active = self.arrived = self.forwarded = self.response = self.next_returned = self.waiting = 0
        self.held = self.channel_busy = self.player_busy = False
        self.last_end_request = self.last_end_response = -1
        self.answered = [False] * (self.count + 1)
        self.offered, self.offered_at, self.releasing, self.released_at = -1, 0, -1, NEVER
        self.done: list[int] = []
        self.first_done = 0
        self.flexibility, self.pulling, self.refresh_command, self.refresh_proposed = 0, False, NONE, 0
        self.refresh_at = NEVER
        if named["refresh_policy"]:
            self.refresh_at = self.command_at = self.refi

    def run(self) -> list[int]:
        """A row of `OUTCOME`."""
        while self.received < self.count:
            self.now = min(
                *(self.request_at, self.response_at, self.answer_at),
                *(self.offer_at, self.command_at, self.data_at),
            )
            self.cycle()
        window = self.window()
        self.all_precharged_until(window)
        limits: list[Any] = [self.size, self.most_active, self.postponed, self.pulled_in]
        return [
            *(self.now, self.activations, self.precharges, self.refreshes, self.precharged, window),
            *(*self.most_stored, self.overtaken, self.chosen),
            *(number for limit in limits for number in (limit.above, limit.reached)),
        ]

    def cycle(self) -> None:
        now = self.now
        messages = 0
        if self.request_at == now:
            self.request_at, messages = NEVER, BEGIN_REQUEST
        if self.response_at == now:
            self.response_at, messages = NEVER, messages | BEGIN_RESPONSE
        if self.answer_at == now:
            self.answer_at, messages = NEVER, messages | RESPONSE
        if self.offer_at == now:
            self.offer_at, messages = NEVER, messages | ACT_NOW
        if self.command_at == now:
            self.command_at, messages = NEVER, messages | ACT_NOW
        if self.data_at == now:
            self.data_at, messages = NEVER, messages | ACT_NOW
        arbiter = self.arbiter_simple if self.arbiter_kind == SIMPLE else self.arbiter_active
        while messages:
            self.messages = 0
            if messages & _TO_ARBITER:
                arbiter(messages)
            if messages & (RESPONSE | NEXT_REQUEST):
                self.player(messages)
            if messages & ACT_NOW:
                self.act()
            if self.received == self.count:
                return
            messages = self.messages

    # --- player and arbiter ---

    def player(self, messages: int) -> None:
        if messages & RESPONSE:
            self.messages |= END_RESPONSE
            self.received += 1
        if messages & NEXT_REQUEST and self.sent < self.count:
            self.request_at = max(self.now + 1, self.t.cycle[self.sent])
            self.sent += 1

    def offer(self, request: int, delay: bool) -> None:
        self.offered, self.offered_at = request, self.now + delay
        if delay:
            self.offer_at = self.offered_at
        else:
            self.messages |= ACT_NOW

    def release(self) -> None:
        self.released_at = self.now
        self.messages |= ACT_NOW

    def answer_next(self, delay: bool) -> bool:
        if self.returns_in_order:
            if not self.answered[self.next_returned]:
                return False
            self.next_returned += 1
        else:
            if not self.waiting:
                return False
            self.waiting -= 1
        if delay:
            self.answer_at = self.now + 1
        else:
            self.messages |= RESPONSE
        return True

    def wait_for_player(self, delay: bool) -> None:
        if self.returns_in_order:
            self.answered[self.response] = True
        else:
            self.waiting += 1
        if not self.player_busy:
            self.player_busy = self.answer_next(delay)

    def arbiter_simple(self, messages: int) -> None:
        if messages & BEGIN_REQUEST:
            self.offer(self.sent - 1, False)
        if messages & REQUEST_TAKEN:
            self.messages |= NEXT_REQUEST
        if messages & BEGIN_RESPONSE:
            self.wait_for_player(False)
        if messages & END_RESPONSE:
            self.release()
            self.player_busy = self.answer_next(True)

    def arbiter_active(self, messages: int) -> None:
        now = self.now
        if messages & BEGIN_REQUEST:
            if self.most_active.below(self.active):
                self.active += 1
                self.messages |= NEXT_REQUEST | ARBITRATE_REQUEST
            else:
                self.held = True
        if messages & ARBITRATE_REQUEST:
            self.arrived += 1
            if not self.channel_busy:
                self.channel_busy = True
                self.forward(self.last_end_request == now)
        if messages & REQUEST_TAKEN:
            self.last_end_request = now
            if self.forwarded < self.arrived:
                self.forward(True)
            else:
                self.channel_busy = False
        if messages & ARBITRATE_RESPONSE:
            self.wait_for_player(self.last_end_response == now)
        if messages & BEGIN_RESPONSE:
            self.response = self.releasing
            self.messages |= ARBITRATE_RESPONSE
            self.release()
        if messages & END_RESPONSE:
            self.end_response()

    def forward(self, delay: bool) -> None:
        self.forwarded += 1
        self.offer(self.forwarded - 1, delay)

    def end_response(self) -> None:
        self.last_end_response = self.now
        if self.held:
            self.held = False
            self.messages |= NEXT_REQUEST | ARBITRATE_REQUEST
        else:
            self.active -= 1
        self.player_busy = self.answer_next(True)

    # --- controller ---

    def stored_in(self, kind: int) -> int:
        if kind == BANKWISE:
            return self.queued[self.last_bank]
        reads, writes = self.stored
        return reads + writes if kind == SHARED else max(reads, writes)

    def accept(self) -> None:
        if self.offered < 0 or self.offered_at > self.now:
            return
        if not self.size.below(self.stored_in(self.buffer)):
            return
        for kind in range(3):
            self.most_stored[kind] = max(self.most_stored[kind], self.stored_in(kind))
        request = self.offered
        bank = self.t.bank[request]
        self.accepted = request + 1
        self.last_bank = bank
        self.queued[bank] += 1
        self.stored[self.t.write[request]] += 1
        self.propose(bank)
        self.messages |= REQUEST_TAKEN
        self.offered = -1

    def data_time(self) -> int:
        if self.reorder:
            return self.ready[self.first_done] if self.first_done < self.count else -1
        return self.ready[self.done[self.first_done]] if self.first_done < len(self.done) else -1

    def wake_for_data(self, ready: int) -> None:
        if self.now < ready < self.data_at:
            self.data_at = ready

    def respond(self) -> None:
        self.releasing = -1
        ready = self.data_time()
        if ready < 0:
            return
        if ready > self.now:
            self.wake_for_data(ready)
            return
        self.releasing = self.first_done if self.reorder else self.done[self.first_done]
        self.first_done += 1
        if self.released_at == self.now:
            self.response_at = self.now + 1
        else:
            self.messages |= BEGIN_RESPONSE
        self.released_at = NEVER

    def refresh(self) -> int:
        self.refresh_command = NONE
        now = self.now
        if now < self.refresh_at:
            return self.refresh_at
        if now >= self.refresh_at + self.refi:
            self.refresh_at += self.refi
            self.pulling = False
        busy = max(self.current) >= 0
        if self.pulling:
            if busy:
                self.pulling = False
                self.refresh_at += self.refi
                return self.refresh_at
        elif self.postponed.at(self.flexibility):
            self.blocked = [True] * self.banks
        elif busy:
            self.flexibility += 1
            self.refresh_at += self.refi
            return self.refresh_at
        self.refresh_command = PREAB if self.open_banks else REFAB
        self.refresh_proposed = max(self.may_preab if self.open_banks else self.may_refab, self.bus, now)
        return self.refresh_proposed

    def refresh_all(self) -> None:
        self.refreshes += 1
        self.all_precharged_until(self.now)
        self.covered = max(self.covered, self.now + self.rfc - self.rp)
        self.blocked = [False] * self.banks
        self.may_act = [max(cycle, self.now + self.rfc) for cycle in self.may_act]
        self.may_refab = max(self.may_refab, self.now + self.rfc)
        if self.pulling:
            self.flexibility -= 1
        else:
            self.pulling = True
        if self.pulled_in.at(-self.flexibility):
            self.pulling = False
            self.refresh_at += self.refi

    def issue(self, bank: int, command: int) -> None:
        now = self.now
        self.bus = now + 1
        if now >= self.last_command:
            self.last_command, self.last_kind = now, command
        if command == ACT:
            self.activate(bank)
        elif command == PRE:
            self.precharge(bank)
        elif command == PREAB:
            self.precharge_all()
        elif command == REFAB:
            self.refresh_all()
        else:
            request = self.transfer(bank, command)
            self.accept()
            if not self.reorder:
                self.done.append(request)
            self.wake_for_data(self.data_time())
        if command in (PREAB, REFAB) or self.grouped:
            self.propose_all()
        else:
            self.propose(bank)

    def act(self) -> None:
        now = self.now
        if self.releasing < 0 or self.released_at == now:
            self.respond()
        self.accept()
        if now < self.refresh_at and not self.stale and self.best_at > now:
            self.wake(min(self.best_at, self.refresh_at))
            return
        if now >= self.refresh_at:
            self.refresh()
        if self.stale:
            self.choose()
        waits = False
        if self.refresh_command and self.refresh_proposed <= self.best_at:
            waits = self.refresh_proposed > now
            if not waits:
                self.issue(0, self.refresh_command)
        elif self.best >= 0:
            waits = self.best_at > now
            if not waits:
                self.issue(self.best, self.command[self.best])
        at = self.refresh_at
        if now < at:
            self.refresh_command = NONE
        else:
            self.propose_all()
            at = self.refresh()
            if at <= now and waits:
                at = NEVER
        if self.stale:
            self.choose()
        self.wake(min(at, self.best_at))

    def wake(self, cycle: int) -> None:
        if cycle <= self.now:
            self.messages |= ACT_NOW
            self.command_at = NEVER
        elif cycle < self.command_at:
            self.command_at = cycle
