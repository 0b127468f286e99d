"""archgym/SoC-v0: processors, accelerators, memories and buses for the tasks of one application, within
budgets of time, power and area.

## Description
A system on chip runs the tasks of an application: each on a CPU that others share or on an accelerator of its
own, and each writes its data to a memory from which later tasks read over buses. Latency, energy, peak power
and area are those of FARSI, ArchGym's SoC simulator (Boroujerdian et al., ACM TECS 2023), in its phase-driven
model (`archgym.simulators.soc.phases`). Applications are FARSI's three, for augmented reality, or yours, as a
JSON file or a folder of CSV files. Bandwidth is free in this model, and nothing leaks: docs/soc.md has what
was checked and what is absent.

## Action Space
`MultiDiscrete([3, 3, 3, 3, 3, 3, 3, 6, 4, 3, 3, 2, 4, 4])` for hpvm_cava, the default: 11,757,312 designs,
4,628,736 distinct, all feasible.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 to 6 | host_scale, ..., host_descale | cpu0, cpu1, ip | what runs the task; ip: its own accelerator |
| 7 | ip_unroll | 1, 4, 16, 64, 256, 1024 | unroll of all accelerators, at most the task's iterations |
| 8 | ip_mhz | 100, 400, 600, 800 | clock of all accelerators |
| 9 | memories | 1 to 3 | number of memories |
| 10 | placement | alternate, level, largest_alone | memory that each task writes to, if there are several |
| 11 | memory_kind | sram, dram | kind of all memories |
| 12 | memory_gb_s | 1.6, 6.4, 25.6, 102.4 | bandwidth of each memory, in each direction |
| 13 | bus_gb_s | 1.6, 6.4, 25.6, 102.4 | bandwidth of each bus, in each direction |
| 14 | buses | 1 to `max_buses` | buses in a chain; only with `max_buses` above 1 |

Other applications have other tasks; tasks of a group, such as the left and the right channel, share a host.
`archgym.simulators.soc.encoding` has the rules of placement and attachment. Chips that are the same are one
design: CPUs swapped, unroll and clock without accelerators, more buses than memories or processing elements.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | latency_s: completion of the last task | s | lower |
| 1 | energy_j: energy of one run | J | lower |
| 2 | power_w: largest mean power of windows of 10 ms | W | lower |
| 3 | area_mm2 | mm2 | lower |
| 4 | edp: energy times delay | J s | lower |
| 5 | distance: from the budgets, sum of max(0, x / budget - 1) over latency, power and area | 1 | lower |
| 6 | overshoot: 1 + distance | 1 | lower |
| 7 to 9 | bound_compute, bound_memory, bound_bus: shares of the latency that each of them bounds | 1 | |

## Rewards
-log(1 + distance): FARSI's objective, 0 where a design meets all budgets. With `goal="energy_j"` or "edp"
-log(goal / reference), minus log(x / budget) of every budget missed; references are the workload's budgets.
With `goal="farsi_published"` log(1 + distance), which is best for the chip farthest from its budgets: the
direction of the published environment, for comparison only.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| workload | str | "hpvm_cava" | hpvm_cava, edge_detection, audio_decoder, or path of a file or folder |
| max_buses | int | 1 | most buses in a chain, 1 to 3 |
| budgets | dict or None | None | latency_s, power_w, area_mm2 in place of the workload's; absent ones stay |
| literal | bool | False | FARSI's bounds of power windows (they skip phases of no length), or correct ones |
| wire_pj_per_bit_mm | float | 0 | energy of wires in pJ per bit and mm, not part of FARSI and not validated |
| goal | str | "distance" | quantity to improve, "distance", "energy_j", "edp" or "farsi_published" |

| Preset | Arguments | Designs | Distinct |
|---|---|---|---|
| hpvm_cava | the default: a camera pipeline of 7 tasks in a chain | 11,757,312 | 4,628,736 |
| edge_detection | 6 tasks with 6.5 MB between them, a diamond | 3,919,104 | 1,783,040 |
| audio_decoder | 15 tasks, two channels and three rotations | 952,342,272 | |
| hpvm_cava_edp, edge_detection_edp | least energy-delay product within the budgets | as above | |
| edge_detection_buses | up to 3 buses | 11,757,312 | |
| farsi_published | hpvm_cava with the published direction | 11,757,312 | 4,628,736 |

## Contexts
| Set | Contexts | Features that differ |
|---|---|---|
| budgets | edge_detection under 48 budgets | log2 of latency, power and area |

Latency of 1/8, 1/4, 1/2 and 1 times FARSI's, power of 1/4, 1 and 8, area of 1/8 to 1. The set comes with its
exact optima, found by `python -m archgym.envs.contexts.soc`; no design is best in more than 10 contexts.

## Known optimum
For the default goal reward 0, known at once where a chip of accelerators alone meets all budgets. For other
goals by enumeration in a minute, `archgym optimum archgym/SoC-v0`; it is stored. audio_decoder is too large
for that.

## Version History
- v0: first version.
"""

from __future__ import annotations

from typing import Any, cast

from archgym.errors import unknown
from archgym.objective import AtMost, Maximize, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulators.soc.model import SoC

GOALS = ("distance", "energy_j", "edp", "farsi_published")
PRESETS: dict[str, dict[str, Any]] = {
    "hpvm_cava": {"workload": "hpvm_cava"},
    "edge_detection": {"workload": "edge_detection"},
    "audio_decoder": {"workload": "audio_decoder"},
    "hpvm_cava_edp": {"workload": "hpvm_cava", "goal": "edp"},
    "edge_detection_edp": {"workload": "edge_detection", "goal": "edp"},
    "edge_detection_buses": {"workload": "edge_detection", "max_buses": 3},
    "farsi_published": {"workload": "hpvm_cava", "goal": "farsi_published"},
}


def objective(simulator: Simulator, *, goal: str = "distance") -> Objective:
    """The least distance to the budgets, or the least energy or energy-delay product within them.

    Args:
        simulator: the chips and their budgets.
        goal: quantity to improve, "distance", "energy_j", "edp" or "farsi_published".

    Raises:
        ArchGymError: an unknown goal.
    """
    if goal not in GOALS:
        raise unknown("goal of archgym/SoC-v0", goal, GOALS)
    system = cast(SoC, simulator.unwrapped)
    reference = references(system)
    if goal == "distance":
        return Objective(Minimize("overshoot"), reference=reference)
    if goal == "farsi_published":
        return Objective(Maximize("overshoot"), reference=reference)
    limits = [AtMost(name, limit) for name, limit in system.budgets.items()]
    return Objective(Minimize(goal), *limits, reference=reference)


def references(system: SoC) -> dict[str, float]:
    """The budgets of the workload, whatever budgets apply, and energy and energy-delay product at these."""
    budgets = system.workload.budgets
    energy_j = budgets["power_w"] * budgets["latency_s"]
    return {**budgets, "energy_j": energy_j, "edp": energy_j * budgets["latency_s"]}


register_env(
    "archgym/SoC-v0",
    simulator="archgym.simulators.soc.model:SoC",
    objective="archgym.envs.soc:objective",
    presets=PRESETS,
    contexts={"budgets": "archgym.envs.contexts.soc:budgets"},
)
