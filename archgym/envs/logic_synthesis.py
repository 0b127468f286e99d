"""archgym/LogicSynthesis-v0: order the passes of logic synthesis, so that a circuit gets small or fast.

## Description
A synthesis program restructures a circuit by passes, each a heuristic: which passes help, how often and in
which order depends on the circuit. The passes are those of ABC (Berkeley), on and-inverter graphs. By default
results come from a table of all sequences of at most six passes, made with ABC; with `backend="abc"` ABC
itself runs, for any circuit, own files included, any number of slots, and cells of your library. It comes
with `pip install "archgym[synthesis]"`. Every result is proven equivalent to the circuit. docs/synthesis.md
has circuits, tables and rates.

## Action Space
`MultiDiscrete([8] * slots)`: 137,257 sequences of at most six passes, (7^(slots + 1) - 1) / 6 in general.

| Num | Parameter | Values | Exists if | Meaning |
|---|---|---|---|---|
| 0 | slot_1 | none, balance, rewrite, rewrite -z, refactor, ... | always | first pass |
| k - 1 | slot_k | the same | slot_(k-1) is not none | pass k; "none" ends the sequence |

| Pass | Meaning |
|---|---|
| balance | least depth of every AND of many inputs |
| rewrite | subgraphs of four inputs replaced by smaller ones; -z also by ones of equal size |
| refactor | large cones factored again; -z also where nothing is saved |
| resub | gates replaced by functions of gates that exist; -z also where nothing is saved |

With `archgym.PrefixDesign` and `horizon=slots` an action is a pass that is carried out at once, and the
observation has statistics of the graph after it, as in DRiLLS (Hosny et al., ASP-DAC 2020) and abcRL (Zhu et
al., MLCAD 2020): `archgym.simulators.synthesis.space.prefix_features`. Every step is a sample.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | and_gates: AND gates of the graph | 1 | lower |
| 1 | levels: AND gates on the longest path | 1 | lower |
| 2 | luts: look-up tables of six inputs, after `if -K 6` | 1 | lower |
| 3 | lut_levels: these on the longest path | 1 | lower |
| 4 | area: of the cells, after `map`; with liberty= | of the library | lower |
| 5 | delay_ps: of the longest path of cells; with liberty= | ps | lower |

## Rewards
-log(goal / reference), minus log(value / limit) of every limit missed; for "product" the sum of both
logarithms. References are the metrics after ABC's script resyn, of which the first `slots` passes: balance,
rewrite, rewrite -z, balance, rewrite -z, balance. So a reward of 0.1 is about 10 % better than resyn.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| circuit | str or path | "int_to_float-11" | name, or file .aig, .aag, .blif, .bench or .v |
| slots | int | 6 | passes of a sequence at most |
| backend | str | "table" | source of results: "table", or "abc" for a run per design |
| liberty | path or None | None | Liberty file of the cells for area and delay, with "abc" |
| timeout_s | float | 60.0 | time limit of a pass, seconds, with "abc" |
| workers | int | 1 | number of ABC processes at once, with "abc" |
| goal | str | "and_gates" | quantity to improve: "and_gates", "luts", "product", "area" or "delay" |
| max_levels | float or None | None | limit on levels |
| max_lut_levels | float or None | None | limit on lut_levels |
| max_delay_ps | float or None | None | limit on delay_ps, with liberty= |

"product" is AND gates times levels.

| Preset | Circuit | Slots | Goal | Results |
|---|---|---|---|---|
| int_to_float-11 | 11-bit integer to floating point | 6 | and_gates | table |
| priority_encoder-32 | index of the highest of 32 requests | 6 | and_gates | table |
| random-7 | random control logic, 12 inputs and outputs | 6 | and_gates | table |
| max-4x8 | the largest of four bytes, and its index | 6 | and_gates | table |
| random-7-luts | random-7 | 6 | luts | table |
| random-7-product | the same | 6 | product | table |
| random-7-long, random-7-20 | random-7 | 10, 20 | and_gates | ABC |
| max-4x8-long | max-4x8 | 10 | and_gates | ABC |
| multiplier-8-long | 8-bit multiplier | 10 | product | ABC |

## Contexts
| Set | Contexts | Features that differ |
|---|---|---|
| random_blocks | 32: random control logic, seeds 0 to 31, 4 slots, tables | gates, levels, inverted, ... |

Exact optima come from the tables. Features are statistics of the circuit's graph
(`archgym.simulators.synthesis.graph`), so any own circuits make contexts.

## Known optimum
Exact for every objective, from the table. Unknown with "abc", except that no sequence of a tabulated circuit
with at most the table's passes is better than the table's optimum.

## Version History
- v0: first version.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.objective import AtMost, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulator_wrappers.parallel import Parallel
from archgym.simulators.synthesis import LogicSynthesis, TabularSynthesis, list_tables, load_circuit
from archgym.simulators.synthesis.space import PASSES, SCRIPTS

GOALS = {
    "and_gates": ("and_gates",),
    "luts": ("luts",),
    "product": ("and_gates", "levels"),
    "area": ("area",),
    "delay": ("delay_ps",),
}
BACKENDS = ("table", "abc")
PRESETS: dict[str, dict[str, Any]] = {
    "int_to_float-11": {"circuit": "int_to_float-11"},
    "priority_encoder-32": {"circuit": "priority_encoder-32"},
    "random-7": {"circuit": "random-7"},
    "max-4x8": {"circuit": "max-4x8"},
    "random-7-luts": {"circuit": "random-7", "goal": "luts"},
    "random-7-product": {"circuit": "random-7", "goal": "product"},
    "random-7-long": {"circuit": "random-7", "slots": 10, "backend": "abc"},
    "random-7-20": {"circuit": "random-7", "slots": 20, "backend": "abc"},
    "max-4x8-long": {"circuit": "max-4x8", "slots": 10, "backend": "abc"},
    "multiplier-8-long": {"circuit": "multiplier-8", "slots": 10, "backend": "abc", "goal": "product"},
}


def logic_synthesis(
    circuit: str | os.PathLike[str] = "int_to_float-11",
    slots: int = 6,
    backend: str = "table",
    liberty: str | os.PathLike[str] | None = None,
    timeout_s: float = 60.0,
    workers: int = 1,
) -> Simulator:
    """Sequences of passes on a circuit, from its table or carried out by ABC."""
    if backend not in BACKENDS:
        raise unknown("backend of archgym/LogicSynthesis-v0", backend, BACKENDS)
    if backend == "abc":
        simulator = LogicSynthesis(circuit, slots, liberty, timeout_s)
        return simulator if workers == 1 else Parallel(simulator, workers=workers)
    if liberty is not None:
        raise ArchGymError("liberty= goes with backend='abc'; tables have no cells")
    if str(circuit) not in list_tables():
        name = load_circuit(circuit).name
        raise ArchGymError(
            f"circuit {name!r} has no table; use backend='abc', or make one with `python -m "
            "archgym.simulators.synthesis.tabulate`"
        )
    return TabularSynthesis(str(circuit), slots)


def objective(
    simulator: Simulator,
    *,
    goal: str = "and_gates",
    max_levels: float | None = None,
    max_lut_levels: float | None = None,
    max_delay_ps: float | None = None,
) -> Objective:
    """The least of a goal's metrics within limits, over those of ABC's resyn."""
    if goal not in GOALS:
        raise unknown("goal of archgym/LogicSynthesis-v0", goal, GOALS)
    limits = {"levels": max_levels, "lut_levels": max_lut_levels, "delay_ps": max_delay_ps}
    known = {metric.name for metric in simulator.metrics}
    wanted = {*GOALS[goal], *(name for name, limit in limits.items() if limit is not None)}
    if absent := sorted(wanted - known):
        raise ArchGymError(f"{', '.join(absent)} needs backend='abc' and liberty=, a Liberty file of cells")
    return Objective(
        *(Minimize(name) for name in GOALS[goal]),
        *(AtMost(name, limit) for name, limit in limits.items() if limit is not None),
        reference=references(simulator.unwrapped),
    )


def references(simulator: Simulator) -> dict[str, float]:
    """The metrics after ABC's script resyn, as far as slots go; of the circuit itself, if this fails."""
    script = [PASSES.index(name) for name in SCRIPTS["resyn"].split("; ")]
    designs = np.zeros((2, len(simulator.space)), np.int64)
    length = min(len(script), len(simulator.space))
    designs[0, :length] = script[:length]
    columns = simulator.evaluate_indices(designs)
    if not columns["feasible"].any():
        raise ArchGymError(f"ABC leaves no result of the circuit: {columns['failure'][1]}")
    row = int(np.argmax(columns["feasible"]))
    # a circuit without a gate has nothing to improve, but a logarithm needs a reference above 0
    return {metric.name: max(float(columns[metric.name][row]), 1e-9) for metric in simulator.metrics}


register_env(
    "archgym/LogicSynthesis-v0",
    simulator="archgym.envs.logic_synthesis:logic_synthesis",
    objective="archgym.envs.logic_synthesis:objective",
    presets=PRESETS,
    contexts={"random_blocks": "archgym.envs.contexts.synthesis:random_blocks"},
)
