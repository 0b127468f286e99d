"""Designs that cannot differ on a trace: which, and simulations that answer for others.

Before anything is simulated (`representatives`), by these rules:

    FrFcfsGrp is FrFcfs, ReadWrite is Shared       where a trace has only reads or only writes
    limits of refreshes have no effect             without refreshes
    max_active_transactions has no effect          under the arbiter Simple
    the arbiter Reorder is Fifo                    where the controller's queue has put responses in order
    a buffer is never full                         with max_active_transactions or more places
    nothing is ever chosen: scheduler, queue of    with a buffer of one place, and with one active transaction
    responses, arbiter's order, adaptive pages

After a simulation, another design with the same pages, refreshes and kind of arbiter had the same events if

    a limit                     lies between the numbers with which it was compared
    a buffer of another kind    never was full, as it would have counted
    another scheduler           would have chosen the same
    another order of responses  puts them in the order that they had

so that few simulations answer for many designs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from archgym.simulators.dram.engines import BUFFERS, DESIGN, LIMITS, OUTCOME, Designs, Outcomes
from archgym.simulators.dram.space import SPACE, canonical
from archgym.space import Indices

Bools = npt.NDArray[np.bool_]

CATEGORIES = tuple(name for name in DESIGN if name not in LIMITS)
NEVER = 1 << 60  # a limit that was never reached
_GRID = {name: SPACE[name].grid.tolist() for name in DESIGN}
_SIMPLE = _GRID["arbiter"].index("Simple")
_GROUPED = _GRID["scheduler"].index("FrFcfsGrp")
_CELLS = 1 << 20  # of the comparison of designs with simulations


def representatives(indices: Indices, mixed: bool) -> Indices:
    """The design that stands for all that cannot differ from it: [B, 10] -> [B, 10], idempotent.

    Args:
        indices: designs.
        mixed: whether the trace has both reads and writes.
    """
    found = canonical(indices)
    column = {name: found[:, SPACE.names.index(name)] for name in DESIGN}

    def put(where: Bools, name: str, value: object, instead_of: object = None) -> None:
        grid = _GRID[name]
        chosen = where if instead_of is None else where & (column[name] == grid.index(instead_of))
        column[name][chosen] = grid.index(value)

    everywhere = np.ones(len(found), bool)
    if not mixed:
        put(everywhere, "scheduler", "FrFcfsGrp", "FrFcfs")
        put(everywhere, "scheduler_buffer", "ReadWrite", "Shared")
    simple = column["arbiter"] == _SIMPLE
    put(simple, "max_active_transactions", 1)
    # both have the grid 1, 2, 4, ...
    sizes, active = column["request_buffer_size"], column["max_active_transactions"]
    never_full = ~simple & (sizes >= active)
    put(never_full, "scheduler_buffer", "Bankwise")
    sizes[never_full] = active[never_full]
    one = sizes == 0
    for name in ("scheduler_buffer", "scheduler", "resp_queue"):
        put(one, name, _GRID[name][0])
    put(one, "page_policy", "Open", "OpenAdaptive")
    put(one, "page_policy", "Closed", "ClosedAdaptive")
    put(one | (column["resp_queue"] == _GRID["resp_queue"].index("Reorder")), "arbiter", "Fifo", "Reorder")
    return found


class Answers:
    """Outcomes of simulated designs, and of all that they answer for.

    Args:
        simulate: function designs int32 [B, 10] -> outcomes int64 [B, 19].
        mixed: whether the trace has both reads and writes.
    """

    def __init__(self, simulate: Callable[[Designs], Outcomes], mixed: bool):
        self.simulate = simulate
        self.mixed = mixed
        self.simulated = 0
        self._groups: dict[bytes, tuple[Designs, Outcomes]] = {}

    def outcomes(self, designs: Designs) -> Outcomes:
        """The outcomes of designs: int32 [B, 10] -> int64 [B, 19].

        Each round simulates one unanswered design of each group: that with the largest limits, which were
        most likely never reached, so that it answers for most.
        """
        found = np.empty((len(designs), len(OUTCOME)), np.int64)
        waiting = self._grouped(designs)
        for key, rows in waiting.items():
            if key in self._groups:
                waiting[key] = self._answer(designs, rows, found, *self._groups[key])
        while waiting := {key: rows for key, rows in waiting.items() if len(rows)}:
            chosen = np.array([rows[0] for rows in waiting.values()])
            outcomes = self.simulate(designs[chosen])
            self.simulated += len(chosen)
            for i, key in enumerate(waiting):
                new = designs[chosen[i : i + 1]], outcomes[i : i + 1]
                old = self._groups.get(key)
                if old is None:
                    self._groups[key] = new
                else:
                    self._groups[key] = np.concatenate([old[0], new[0]]), np.concatenate([old[1], new[1]])
                waiting[key] = self._answer(designs, waiting[key], found, *new)
        return found

    def _grouped(self, designs: Designs) -> dict[bytes, Indices]:
        """Rows of designs by what no simulation answers across, those with the largest limits first."""
        order = np.lexsort([designs[:, DESIGN.index(name)] for name in LIMITS])[::-1]
        column = dict(zip(DESIGN, designs.T, strict=True))
        keys = np.stack(
            [column["page_policy"], column["refresh_policy"], column["arbiter"] == _SIMPLE], axis=1
        ).astype(np.int32)
        names, group = np.unique(keys, axis=0, return_inverse=True)
        return {name.tobytes(): order[group.reshape(-1)[order] == i] for i, name in enumerate(names)}

    def _answer(
        self, designs: Designs, rows: Indices, found: Outcomes, simulated: Designs, outcomes: Outcomes
    ) -> Indices:
        """Fill in what simulations answer; the rows that remain."""
        remaining = []
        step = max(1, _CELLS // len(simulated))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            same = self._same_events(designs[part], simulated, outcomes)
            answered = same.any(axis=1)
            found[part[answered]] = outcomes[same[answered].argmax(axis=1)]
            remaining.append(part[~answered])
        return np.concatenate(remaining) if remaining else rows

    def _same_events(self, designs: Designs, simulated: Designs, outcomes: Outcomes) -> Bools:
        """Whether simulations answer for designs of their group: [R, 10], [K, 10], [K, 19] -> bool [R, K]."""
        design = {name: values[:, None] for name, values in zip(DESIGN, designs.T, strict=True)}
        other = dict(zip(DESIGN, simulated.T, strict=True))
        outcome = dict(zip(OUTCOME, outcomes.T, strict=True))
        equal = {name: design[name] == other[name] for name in CATEGORIES}
        within = {
            name: (design[name] > outcome[f"{name}_above"]) & (design[name] <= outcome[f"{name}_reached"])
            for name in LIMITS
        }
        sizes, kinds = design["request_buffer_size"], design["scheduler_buffer"][:, 0]
        stored = np.stack([outcome[f"stored_{buffer}"] for buffer in BUFFERS])[kinds]
        never_full = (outcome["request_buffer_size_reached"] == NEVER) & (sizes > stored)
        in_order = outcome["overtaken"] == 0
        no_choice = outcome["chosen"] == 0
        if self.mixed:
            no_choice = no_choice & (design["scheduler"] != _GROUPED) & (other["scheduler"] != _GROUPED)
        return (
            ((equal["scheduler_buffer"] & within["request_buffer_size"]) | never_full)
            & (equal["scheduler"] | no_choice)
            & (equal["resp_queue"] | in_order)
            & (equal["arbiter"] | in_order)
            & within["max_active_transactions"]
            & within["refresh_max_postponed"]
            & within["refresh_max_pulledin"]
        )
