"""Events of the controller model in Python, in the order in which the kernel of SystemC delivers them.
Part of `interpreted.py`.

A heap orders events by cycle, and those of equal cycles as SystemC's binary heap happens to; a time that is
given up leaves its entry. Events of the same cycle are delivered in rounds, the last notified first.
"""

from __future__ import annotations

NEVER = 1 << 60
# what wakes a part: messages the first two, the others the controller
ARBITER, PLAYER, OFFER, RELEASE, COMMAND, DATA, EVENTS = range(7)

Entry = tuple[int, int, int]  # cycle, event, number


class Events:
    """Pending events."""

    def __init__(self) -> None:
        self.now = -1  # the first request may come in cycle 0
        self.pending, self.number, self.numbers = [NEVER] * EVENTS, [0] * EVENTS, 0
        self.heap: list[Entry] = [(0, 0, 0)]  # its first place is not used
        self.next: list[int] = []

    def wake(self, event: int, cycle: int) -> None:
        """Deliver an event in a cycle; of several only the earliest remains."""
        if event in self.next:
            return
        if cycle <= self.now:
            self.pending[event] = NEVER
            self.next.append(event)
        elif cycle < self.pending[event]:
            self.pending[event] = cycle
            self.numbers += 1
            self.number[event] = self.numbers
            self._push((cycle, event, self.numbers))

    def advance(self) -> list[int]:
        """The events of the next cycle that has an entry, which becomes `now`."""
        heap = self.heap
        while self.number[heap[1][1]] != heap[1][2]:
            self._pop()
        self.now = heap[1][0]
        found = []
        while len(heap) > 1 and heap[1][0] == self.now:
            _, event, number = self._pop()
            if self.number[event] == number and self.pending[event] == self.now:
                self.pending[event] = NEVER
                found.append(event)
        return found

    def _push(self, entry: Entry) -> None:
        heap = self.heap
        heap.append(entry)
        i = len(heap) - 1
        while i > 1 and heap[i // 2][0] > entry[0]:
            heap[i] = heap[i // 2]
            i //= 2
        heap[i] = entry

    def _pop(self) -> Entry:
        heap = self.heap
        top, last = heap[1], heap.pop()
        count = len(heap) - 1
        if not count:
            return top
        heap[1] = last
        i = 1
        while (left := 2 * i) <= count:
            first = left if heap[left][0] < heap[i][0] else i
            if left < count and heap[left + 1][0] < heap[first][0]:
                first = left + 1
            if first == i:
                break
            heap[i], heap[first] = heap[first], heap[i]
            i = first
        return top
