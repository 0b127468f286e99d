"""The event loop of the controller model in Python, where no C compiler works: statement by statement that of
`c/controller.c`, whose comments hold here too, with equal results.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archgym.simulators.dram.banks import ACT, NEVER, NONE, PRE, PREAB, REFAB, Banks, Lists
from archgym.simulators.dram.engines import DESIGN, OUTCOME, Designs, Outcomes, Requests
from archgym.simulators.dram.events import ARBITER, COMMAND, DATA, OFFER, PLAYER, RELEASE, Events

BANKWISE, READ_WRITE, SHARED = range(3)
SIMPLE, ARBITER_FIFO, ARBITER_REORDER = range(3)
# messages, as a bit set
BEGIN_REQUEST, REQUEST_TAKEN, NEXT_REQUEST, BEGIN_RESPONSE, RESPONSE, END_RESPONSE = 1, 4, 8, 16, 64, 128


def simulate_interpreted(requests: Requests, designs: Designs) -> Outcomes:
    """What designs did, in Python: int32 [B, 10] -> int64 [B, 19]."""
    lists = Lists.of(requests)
    rows = [_Controller(lists, design).run() for design in designs.tolist()]
    return np.array(rows, np.int64).reshape(len(rows), len(OUTCOME))


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


class _Controller(Banks):
    """Player, arbiter and controller."""

    def __init__(self, trace: Lists, design: Sequence[int]):
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
        self.events, self.messages = Events(), 0
        self.request_at, self.sent, self.received = trace.cycle[0], 1, 0
        self.response_at = self.answer_at = NEVER
        self.active = self.arrived = self.forwarded = self.next_returned = self.waiting = 0
        self.held = self.channel_busy = self.player_busy = False
        self.last_end_request = self.last_end_response = -1
        self.answered = [False] * (self.count + 1)
        self.offered, self.offered_at, self.releasing, self.released_at = -1, 0, -1, NEVER
        self.done: list[int] = []
        self.first_done = 0
        self.flexibility, self.pulling, self.refresh_command, self.refresh_proposed = 0, False, NONE, 0
        self.refresh_at = NEVER
        if named["refresh_policy"]:
            self.refresh_at = self.refi
            self.events.wake(COMMAND, self.refresh_at)
        self.events.wake(ARBITER, self.request_at)

    def run(self) -> list[int]:
        """A row of `OUTCOME`."""
        while self.received < self.count:
            self.cycle()
        window = self.window()
        self.all_precharged_until(window)
        limits = [self.size, self.most_active, self.postponed, self.pulled_in]
        return [
            *(self.now, self.activations, self.precharges, self.refreshes, self.precharged, window),
            *(*self.most_stored, self.overtaken, self.chosen),
            *(number for limit in limits for number in (limit.above, limit.reached)),
        ]

    def cycle(self) -> None:
        woken, messages = self.events.advance(), 0
        self.now = self.events.now
        while woken and self.received < self.count:
            acted = set()
            for event in woken:
                part = min(event, OFFER)
                if part in acted:
                    continue
                acted.add(part)
                if part == ARBITER:
                    self.arbiter(messages)
                elif part == PLAYER:
                    self.player(messages)
                else:
                    self.act()
            woken, messages = self.events.next[::-1], self.messages
            self.events.next, self.messages = [], 0

    def wake(self, event: int, cycle: int) -> None:
        self.events.wake(event, cycle)

    def tell(self, part: int, message: int) -> None:
        self.messages |= message
        self.events.wake(part, self.now)

    # --- player and arbiter ---

    def player(self, messages: int) -> None:
        if self.answer_at == self.now:
            self.answer_at = NEVER
            messages |= RESPONSE
        if messages & RESPONSE:
            self.tell(ARBITER, END_RESPONSE)
            self.received += 1
        if messages & NEXT_REQUEST and self.sent < self.count:
            self.request_at = max(self.now + 1, self.t.cycle[self.sent])
            self.sent += 1
            self.wake(ARBITER, self.request_at)
        if self.answer_at < NEVER:
            self.wake(PLAYER, self.answer_at)

    def arbiter(self, messages: int) -> None:
        if self.request_at == self.now:
            self.request_at = NEVER
            messages |= BEGIN_REQUEST
        if self.response_at == self.now:
            self.response_at = NEVER
            messages |= BEGIN_RESPONSE
        if self.arbiter_kind == SIMPLE:
            self.arbiter_simple(messages)
        else:
            self.arbiter_active(messages)
        if (at := min(self.request_at, self.response_at)) < NEVER:
            self.wake(ARBITER, at)

    def offer(self, request: int, delay: bool) -> None:
        self.offered, self.offered_at = request, self.now + delay
        self.wake(OFFER, self.offered_at)

    def release(self) -> None:
        self.released_at = self.now
        self.wake(RELEASE, self.now)

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
            self.wake(PLAYER, self.answer_at)
        else:
            self.tell(PLAYER, RESPONSE)
        return True

    def wait_for_player(self, delay: bool) -> None:
        if self.returns_in_order:
            self.answered[self.releasing] = True
        else:
            self.waiting += 1
        if not self.player_busy:
            self.player_busy = self.answer_next(delay)

    def arbiter_simple(self, messages: int) -> None:
        if messages & BEGIN_REQUEST:
            self.offer(self.sent - 1, False)
        if messages & REQUEST_TAKEN:
            self.tell(PLAYER, NEXT_REQUEST)
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
                self.arrive()
            else:
                self.held = True
        if messages & REQUEST_TAKEN:
            self.last_end_request = now
            if self.forwarded < self.arrived:
                self.forward(True)
            else:
                self.channel_busy = False
        if messages & BEGIN_RESPONSE:
            self.wait_for_player(self.last_end_response == now)
            self.release()
        if messages & END_RESPONSE:
            self.end_response()

    def arrive(self) -> None:
        self.tell(PLAYER, NEXT_REQUEST)
        self.arrived += 1
        if not self.channel_busy:
            self.channel_busy = True
            self.forward(self.last_end_request == self.now)

    def forward(self, delay: bool) -> None:
        self.forwarded += 1
        self.offer(self.forwarded - 1, delay)

    def end_response(self) -> None:
        self.last_end_response = self.now
        if self.held:
            self.held = False
            self.arrive()
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
        self.tell(ARBITER, REQUEST_TAKEN)
        self.offered = -1

    def data_time(self) -> int:
        if self.reorder:
            return self.ready[self.first_done] if self.first_done < self.count else -1
        return self.ready[self.done[self.first_done]] if self.first_done < len(self.done) else -1

    def wake_for_data(self, ready: int) -> None:
        if ready > self.now:
            self.wake(DATA, ready)

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
            self.wake(ARBITER, self.response_at)
        else:
            self.tell(ARBITER, BEGIN_RESPONSE)
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
            self.wake_for_command(min(self.best_at, self.refresh_at))
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
        self.wake_for_command(min(at, self.best_at))

    def wake_for_command(self, cycle: int) -> None:
        if cycle < NEVER:
            self.wake(COMMAND, cycle)
