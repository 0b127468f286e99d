"""Designs that cannot differ on a trace: which, and simulations that answer for others.

Before anything is simulated (`representatives`), by these rules:

    a scheduler groups reads and writes     only where a trace has both
    a buffer divides reads and writes       only where a trace has both
    refreshes' limits                       only with refreshes
    the arbiter's active transactions       only where it counts them, not under Simple
    the arbiter's order of responses        only where the controller's queue does not restore it already
    a buffer that takes a request           only when it is empty (size 1), or with one active transaction, has
                                            nothing to choose from: scheduler, queue of responses, order of the
                                            arbiter and adaptive pages have no effect
    a buffer of the active transactions     or more is never full, whatever it counts

After a simulation: each limit was compared with numbers, and any limit between the same numbers gives the same
events (`archgym.simulators.dram.engines`). So few simulations answer for many designs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from archgym.simulators.dram.engines import DESIGN, LIMITS, OUTCOME, Designs, Outcomes
from archgym.simulators.dram.space import SPACE, canonical
from archgym.space import Indices

_COLUMN = {name: DESIGN.index(name) for name in DESIGN}
_LIMITS = [_COLUMN[name] for name in LIMITS]
_KINDS = [column for column in range(len(DESIGN)) if column not in _LIMITS]
_ABOVE = [OUTCOME.index(f"{name}_above") for name in LIMITS]
_REACHED = [OUTCOME.index(f"{name}_reached") for name in LIMITS]
_GRID = {name: SPACE[name].grid.tolist() for name in DESIGN}


def representatives(indices: Indices, mixed: bool) -> Indices:
    """The design that stands for all that cannot differ from it: [B, 10] -> [B, 10], idempotent.

    Args:
        indices: designs.
        mixed: whether the trace has both reads and writes.
    """
    found = canonical(indices)

    def column(name: str) -> npt.NDArray[np.int64]:
        return found[:, SPACE.names.index(name)]

    def put(name: str, value: object, where: npt.NDArray[np.bool_], instead_of: object = None) -> None:
        grid = _GRID[name]
        chosen = where if instead_of is None else where & (column(name) == grid.index(instead_of))
        column(name)[chosen] = grid.index(value)

    everywhere = np.ones(len(found), bool)
    if not mixed:
        put("scheduler", "FrFcfsGrp", everywhere, "FrFcfs")
        put("scheduler_buffer", "ReadWrite", everywhere, "Shared")
    simple = column("arbiter") == _GRID["arbiter"].index("Simple")
    put("max_active_transactions", 1, simple)
    sizes = np.array(_GRID["request_buffer_size"])[column("request_buffer_size")]
    active = np.array(_GRID["max_active_transactions"])[column("max_active_transactions")]
    never_full = ~simple & (sizes >= active)
    put("scheduler_buffer", "Bankwise", never_full)
    column("request_buffer_size")[never_full] = column("max_active_transactions")[never_full]
    one = (sizes == 1) | (~simple & (active == 1))
    put("request_buffer_size", 1, one)
    for name, first in (("scheduler_buffer", "Bankwise"), ("scheduler", "Fifo"), ("resp_queue", "Fifo")):
        put(name, first, one)
    put("page_policy", "Open", one, "OpenAdaptive")
    put("page_policy", "Closed", one, "ClosedAdaptive")
    in_order = one | (column("resp_queue") == _GRID["resp_queue"].index("Reorder"))
    put("arbiter", "Fifo", in_order, "Reorder")
    return found


class Answers:
    """Outcomes of simulated designs, and of all that they answer for.

    Args:
        simulate: function designs int32 [B, 10] -> outcomes int64 [B, 14].
    """

    def __init__(self, simulate: Callable[[Designs], Outcomes]):
        self.simulate = simulate
        self.simulated = 0
        self._groups: dict[bytes, tuple[Designs, Outcomes]] = {}

    def outcomes(self, designs: Designs) -> Outcomes:
        """The outcomes of designs: int32 [B, 10] -> int64 [B, 14].

        Each round simulates one design of each group that has unanswered ones: that with the largest limits,
        which were most likely never reached, so that it answers for most.
        """
        found = np.empty((len(designs), len(OUTCOME)), np.int64)
        kinds, group = np.unique(designs[:, _KINDS], axis=0, return_inverse=True)
        order = np.lexsort([*designs[:, _LIMITS].T[::-1], group.reshape(-1)])[::-1]
        bounds = np.searchsorted(-group.reshape(-1)[order], -np.arange(len(kinds)), side="left")
        ends = np.append(bounds[:-1], 0)
        waiting = {}
        for number, kind in enumerate(kinds):
            rows = order[bounds[number] : (ends[number - 1] if number else len(order))]
            waiting[kind.tobytes()] = rows
        for key, rows in waiting.items():
            if key in self._groups:
                waiting[key] = self._answer(designs, rows, found, *self._groups[key])
        while waiting := {key: rows for key, rows in waiting.items() if len(rows)}:
            chosen = np.array([rows[0] for rows in waiting.values()])
            outcomes = self.simulate(designs[chosen])
            self.simulated += len(chosen)
            for (key, rows), outcome, number in zip(list(waiting.items()), outcomes, chosen, strict=True):
                new = designs[number][None], outcome[None]
                old = self._groups.get(key)
                self._groups[key] = new if old is None else tuple(map(np.concatenate, zip(old, new)))
                waiting[key] = self._answer(designs, rows, found, *new)
        return found

    @staticmethod
    def _answer(
        designs: Designs, rows: Indices, found: Outcomes, simulated: Designs, outcomes: Outcomes
    ) -> Indices:
        """Fill in what simulations answer; the rows that remain."""
        for outcome in outcomes:
            limits = designs[rows][:, _LIMITS]
            answered = ((limits > outcome[_ABOVE]) & (limits <= outcome[_REACHED])).all(axis=1)
            found[rows[answered]] = outcome
            rows = rows[~answered]
        return rows
