"""The banks of the controller model in Python: proposals, timing of commands, and cycles with a current.
Part of `interpreted.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from archgym.simulators.dram.engines import Requests

NEVER = 1 << 60
OPEN, OPEN_ADAPTIVE, CLOSED, CLOSED_ADAPTIVE = range(4)
IN_ORDER, GROUPED_HITS_FIRST, HITS_FIRST = range(3)
NONE, ACT, RD, RDA, WR, WRA, PRE, PREAB, REFAB = range(9)


@dataclass(frozen=True)
class Lists:
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
    def of(cls, requests: Requests) -> Lists:
        return cls(
            cycle=requests.cycle.tolist(),
            address=requests.address.tolist(),
            write=requests.write.tolist(),
            bank=requests.bank.tolist(),
            group=requests.group.tolist(),
            in_bank=requests.next_in_bank.tolist(),
            in_row=requests.next_in_group.tolist(),
            bank_first=requests.first_in_bank.tolist(),
            row_first=requests.first_in_group.tolist(),
            timing=requests.timing.tolist(),
            mixed=requests.mixed,
        )


class Banks:
    """Proposals of the banks and the timing of commands."""

    def __init__(self, trace: Lists, design: dict[str, int]):
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
