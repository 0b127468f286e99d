"""Logic synthesis: ten-pass sequences per second, uncached, in search, and with a process per design.

python benchmarks/synthesis.py rates       sequences/s side by side, in rounds that alternate, and passes run
python benchmarks/synthesis.py parts       time of each pass, of the checks and of the mapping
python benchmarks/synthesis.py versions [PROGRAM ...]    share of sequences whose metrics differ between
                                           versions of ABC, and without the copy after each pass

Rates are per second of CPU time, this process's and ABC's, and per second that went by.

    uncached           random sequences, nothing kept between them: all ten passes of each run
    random             the same, with the tree: they share prefixes only by chance
    AGENT              archgym.search with an empty cache: sequences share prefixes as that search proposes
                       them, and equal graphs are merged
    again              the last search once more, with the file that it left
    a process each     `abc -q "read ...; PASSES; ..."` with the same check and mapping
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import psutil

import archgym
from archgym.simulators.synthesis import PASSES, LogicSynthesis
from archgym.simulators.synthesis.abc import Abc, find_abc, version_of
from archgym.simulators.synthesis.space import LUT_INPUTS

CIRCUITS = ("int_to_float-11", "random-7", "max-4x8", "multiplier-8")
AGENTS = ("local_search", "aging_evolution", "genetic", "mcts")
SLOTS, SEQUENCES, ROUNDS, BUDGET = 10, 20, 5, 1000


class Spent(NamedTuple):
    """What some designs cost: CPU seconds, seconds that went by, passes that were run."""

    designs: int
    cpu_s: float
    wall_s: float
    passes: int


def sequences(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, len(PASSES), (SEQUENCES, SLOTS))


def cpu_s() -> float:
    """CPU time of this process and of those below it, ended ones included."""
    below = psutil.Process().children(recursive=True)
    ended = os.times()
    return (
        process_time()
        + ended.children_user
        + ended.children_system
        + sum(sum(one.cpu_times()[:4]) for one in below)
    )


def spent(simulator: LogicSynthesis, evaluate: Callable[[], object], designs: int) -> Spent:
    runs, cpu, start = simulator.tree.runs, cpu_s(), perf_counter()
    evaluate()
    end = perf_counter()
    return Spent(designs, cpu_s() - cpu, end - start, simulator.tree.runs - runs)


def uncached(circuit: str, seed: int) -> Spent:
    """Every sequence with an empty tree, and the program running."""
    simulator = LogicSynthesis(circuit, SLOTS, cache=False)
    total = Spent(0, 0.0, 0.0, 0)
    for row in sequences(seed):
        simulator.tree.forget()
        one = spent(simulator, lambda row=row: simulator.evaluate_indices(row[None]), 1)
        total = Spent(*(a + b for a, b in zip(total, one, strict=True)))
    simulator.close()
    return total


def with_tree(circuit: str, seed: int) -> Spent:
    simulator = LogicSynthesis(circuit, SLOTS, cache=False)
    rows = sequences(seed)
    found = spent(simulator, lambda: simulator.evaluate_indices(rows), len(rows))
    simulator.close()
    return found


def process_each(circuit: str, seed: int) -> Spent:
    """A new process per sequence, with the same check and mapping."""
    simulator = LogicSynthesis(circuit, SLOTS, cache=False)
    cpu, start = cpu_s(), perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "circuit.aig").write_bytes(simulator.circuit.content)
        for row in sequences(seed):
            script = (
                f"{simulator.script(row)}; print_stats; &get; &cec circuit.aig; if -K {LUT_INPUTS}; "
                "print_stats"
            )
            done = subprocess.run(
                [str(simulator.program), "-s", "-q", script], cwd=folder, capture_output=True, text=True
            )
            assert "Networks are equivalent" in done.stdout, done.stdout
    found = Spent(SEQUENCES, cpu_s() - cpu, perf_counter() - start, SEQUENCES * SLOTS)
    simulator.close()
    return found


def searched(circuit: str, agent: str, again: bool = False) -> Spent:
    """A search with an empty cache; `again`: once more with the file that it left."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["ARCHGYM_HOME"] = home
        for _ in range(2 if again else 1):
            arguments = {"circuit": circuit, "slots": SLOTS, "backend": "abc"}
            cpu, start = cpu_s(), perf_counter()
            search = archgym.search(
                "archgym/LogicSynthesis-v0", agent, budget=BUDGET, seed=0, env_kwargs=arguments
            )
            found = Spent(search.samples, cpu_s() - cpu, perf_counter() - start, 0)
        return found


def show(what: str, rounds: list[Spent]) -> None:
    by_cpu = np.median([one.designs / one.cpu_s for one in rounds])
    by_wall = np.median([one.designs / one.wall_s for one in rounds])
    passes = sum(one.passes for one in rounds) / sum(one.designs for one in rounds)
    shown = f"{passes:5.1f} passes run each" if passes else ""
    print(f"  {what:28}{by_cpu:9.1f} /s of CPU{by_wall:9.1f} /s  {shown}", flush=True)


def rates() -> None:
    """Sequences per second, the median of rounds."""
    print(f"{version_of(find_abc())}; {SLOTS} passes a sequence")
    for circuit in CIRCUITS:
        root = LogicSynthesis(circuit, SLOTS, cache=False)
        print(f"{circuit}: {root.tree.root.and_gates} AND gates, {root.tree.root.levels} levels")
        root.close()
        found: dict[str, list[Spent]] = defaultdict(list)
        for seed in range(ROUNDS):
            for what, measure in (
                ("a process each", process_each),
                ("uncached", uncached),
                ("random", with_tree),
            ):
                found[what].append(measure(circuit, seed))
        for what, rounds in found.items():
            show(what, rounds)
        ratio = np.median(
            [a.cpu_s / b.cpu_s for a, b in zip(found["a process each"], found["uncached"], strict=True)]
        )
        print(f"  a process each takes {ratio:.1f} times the CPU time of uncached")
        if circuit == CIRCUITS[0]:
            for agent in AGENTS:
                show(f"{agent}, {BUDGET} samples", [searched(circuit, agent)])
            show(f"{AGENTS[-1]}, again", [searched(circuit, AGENTS[-1], again=True)])


def parts() -> None:
    """Milliseconds of each command, with the answer's way."""
    for circuit in CIRCUITS:
        print(circuit)
        for what, seconds in sorted(times_of(circuit).items()):
            print(f"  {what:20}{1e3 * np.median(seconds):8.2f} ms, {len(seconds)} times")


def times_of(circuit: str) -> dict[str, list[float]]:
    """Seconds of every command, by its first word."""
    found: dict[str, list[float]] = defaultdict(list)
    asked = Abc.run

    def timed(self: Abc, command: str, timeout_s: float | None = None) -> str:
        start = perf_counter()
        answer = asked(self, command, timeout_s)
        what = command.removeprefix("backup; ").partition(";")[0]
        found[re.sub(r" (now|circuit)\S*", "", what)].append(perf_counter() - start)
        return answer

    Abc.run = timed
    try:
        simulator = LogicSynthesis(circuit, SLOTS, cache=False)
        simulator.evaluate_indices(np.concatenate([sequences(seed) for seed in range(3)]))
        simulator.close()
    finally:
        Abc.run = asked
    return found


def versions(programs: list[str]) -> None:
    """Shares of ten-pass sequences with other metrics than those of the program that is found first."""
    for circuit in CIRCUITS[:3]:
        rows = np.concatenate([sequences(seed) for seed in range(10)])
        found = {}
        for program in ("", *programs):
            if program:
                os.environ["ARCHGYM_ABC"] = program
            simulator = LogicSynthesis(circuit, SLOTS, cache=False)
            found[simulator.version] = simulator.evaluate_indices(rows)
            simulator.close()
        os.environ.pop("ARCHGYM_ABC", None)
        first, *others = found
        print(f"{circuit}, {len(rows)} sequences, against {first}")
        for version in others:
            shares = ", ".join(
                f"{name} {100 * np.mean(found[version][name] != found[first][name]):.1f} %"
                for name in ("and_gates", "levels", "luts", "lut_levels")
            )
            print(f"  {version}: {shares} differ")
        simulator = LogicSynthesis(circuit, SLOTS, cache=False)
        plain = []
        for row in rows:
            passes = "; ".join(PASSES[number] for number in row)
            answer = simulator.tree.abc.run(f"read circuit.aig; strash; {passes}; print_stats")
            plain.append(int(re.findall(r"and\s*=\s*(\d+)", answer)[-1]))
        simulator.close()
        share = 100 * np.mean(np.array(plain) != found[first]["and_gates"])
        print(f"  without the copy after each pass: and_gates {share:.1f} % differ")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rates"]:
            rates()
        case ["parts"]:
            parts()
        case ["versions", *programs]:
            versions(programs)
        case _:
            print(__doc__)
            sys.exit(2)
