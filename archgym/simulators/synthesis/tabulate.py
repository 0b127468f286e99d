"""Make the table of a circuit: python -m archgym.simulators.synthesis.tabulate CIRCUIT OUT [--slots K].

Every state that some sequence reaches is made once, whatever sequences lead to it, and every result is proven
equivalent to the circuit. Passes that were carried out are kept in the data folder, so an interrupted run
goes on where it was. OUT is an .npz file named after the circuit.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, reason_of
from archgym.processes.exits import BAD_INPUT
from archgym.progress import Progress, silent
from archgym.simulators.synthesis.simulator import LogicSynthesis
from archgym.simulators.synthesis.space import PASSES, Sequence, sequence_space
from archgym.simulators.synthesis.table import Table, save_table


class Merged:
    """The states of a circuit by number, in the order in which they are met.

    Args:
        simulator: the circuit with its ABC.
    """

    def __init__(self, simulator: LogicSynthesis):
        self.simulator = simulator
        self.paths: list[Sequence] = []  # a sequence that leads to each state
        self.figures: list[tuple[int, ...]] = []
        self._numbers: dict[bytes, int] = {}
        self.add(())

    def add(self, sequence: Sequence) -> int:
        """The number of the state that a sequence leads to.

        Raises:
            ArchGymError: a pass failed, or the result is not equivalent to the circuit.
        """
        tree = self.simulator.tree
        state = tree.walk(sequence)[-1]
        if state.digest not in self._numbers:
            if reason := tree.check(state, sequence):
                raise ArchGymError(f"after {', '.join(PASSES[n] for n in sequence)} {reason}")
            self._numbers[state.digest] = len(self.paths)
            self.paths.append(sequence)
            self.figures.append((state.and_gates, state.levels, *tree.luts(state, sequence)))
        return self._numbers[state.digest]


def tabulate(simulator: LogicSynthesis, slots: int, progress: Progress = silent) -> Table:
    """The outcomes of all sequences of at most `slots` passes.

    Args:
        progress: a function of (what is being done, the share that is done), called after each length.

    Raises:
        ArchGymError: a pass failed, a result is not equivalent to the circuit, or there are more than 65,535
            distinct outcomes.
    """
    start = time.monotonic()
    merged, children = Merged(simulator), np.zeros((0, len(PASSES)), np.int64)
    reached = np.zeros(1, np.int64)  # state of each sequence of one length, in lexicographic order
    outcome = np.zeros(sequence_space(slots).size, np.int64)
    for length in range(slots + 1):
        outcome[_ordinals(length, slots)] = reached
        if length < slots:
            more = [
                [0, *(merged.add((*merged.paths[state], number)) for number in range(1, len(PASSES)))]
                for state in range(len(children), int(reached.max()) + 1)
            ]
            children = np.concatenate([children, np.array(more, np.int64).reshape(-1, len(PASSES))])
            reached = children[reached, 1:].reshape(-1)
            what = f"{len(merged.paths):,} graphs after sequences of up to {length + 1} passes"
            progress(what, (length + 1) / slots)
    figures, number = np.unique(np.array(merged.figures, np.int32), axis=0, return_inverse=True)
    if len(figures) > np.iinfo(np.uint16).max:
        raise ArchGymError(f"expected at most 65,535 distinct outcomes, got {len(figures):,}; lower --slots")
    graph = simulator.tree.graph(simulator.tree.root)
    assert graph is not None  # the root is kept
    provenance = {
        "circuit": simulator.circuit.name,
        "circuit_digest": simulator.circuit.digest,
        "tool": simulator.version,
        "graphs": len(merged.paths),
        "passes": (len(PASSES) - 1) * len(children),
        "passes_in_this_run": simulator.tree.runs,
        "seconds": round(time.monotonic() - start, 1),
    }
    by_ordinal = number.reshape(-1)[outcome].astype(np.uint16)
    return Table(slots, by_ordinal, figures, np.frombuffer(graph, np.uint8).copy(), provenance)


def _ordinals(length: int, slots: int) -> npt.NDArray[Any]:
    """Ordinals of the sequences of one length in lexicographic order, [7^length]."""
    passes = len(PASSES) - 1
    rows = np.zeros((passes**length, slots), np.int64)
    for place in range(length):
        rows[:, place] = np.arange(len(rows)) // passes ** (length - 1 - place) % passes + 1
    return sequence_space(slots).to_ordinal(rows)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m archgym.simulators.synthesis.tabulate",
        description="Make the table of all sequences of passes on a circuit.",
    )
    parser.add_argument("circuit", help="name of a circuit, or a file .aig, .blif, .bench or .v")
    parser.add_argument("out", type=Path, help="file for the table, NAME.npz")
    parser.add_argument("--slots", type=int, default=6, help="passes of a sequence at most (default: 6)")
    options = parser.parse_args(arguments)
    try:
        if options.out.suffix != ".npz":
            raise ArchGymError(f"the table is an .npz file named after its circuit, not {options.out.name}")
        simulator = LogicSynthesis(options.circuit, slots=options.slots)
        try:
            table = tabulate(simulator, options.slots, lambda what, share: print(what, flush=True))
        finally:
            simulator.close()
        save_table(table, options.out)
    except ArchGymError as error:
        print(f"error: {reason_of(error)}", file=sys.stderr)
        return BAD_INPUT
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
