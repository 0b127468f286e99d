"""archgym/SoftmaxLibrary-v0: the fastest softmax kernels for several workloads at once, one kernel each, all
of them accurate.

## Description
A program has more than one softmax: rows that fit the first cache and rows that fill memory, attention
matrices and vocabularies. A library holds one kernel for each. Its time is the geometric mean over the
workloads, as benchmark suites have it, so that no workload dominates (`archgym.simulators.softmax.library`).
The kernels do not interact, but agents do not see that: the space is that of `archgym/Softmax-v0` to the
power of the number of workloads, its optimum is known, and a thousand samples do not exhaust it.

## Action Space
`MultiDiscrete([6, 3, 4, 4, 3, 2, 5, 2] * W)`: 17,280^W designs for W workloads. A library with an infeasible
kernel is infeasible.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 8 w + i | kernel{w}_{parameter} | as in archgym/Softmax-v0 | parameter i of the kernel for workload w |

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | time_per_element_ns: geometric mean over the workloads | ns | lower |
| 1 | time_s: time of all workloads, once each | s | lower |
| 2 | memory_traffic_bytes | B | lower |
| 3 | sum_error: the largest abs(sum(y) - 1) | 1 | lower |

## Rewards
-log(time_per_element_ns / 0.75 ns), minus log(sum_error / tolerance) where sum_error exceeds the tolerance.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| workloads | list | [[1, 4096], [1, 65536], [1, 1048576], [1, 16777216]] | [rows, columns] of each |
| calibration | str or None | None | recorded name or path; None: a 2-core Xeon with 2 MB of L2 per core |
| tolerance | float | 1e-5 | limit on sum_error |

Presets: `hierarchy` (a row in each level of the memory), `transformer` (attention and vocabularies), `suite`
    (both).

## Known optimum
Exact: the best kernel of every workload, each by enumeration.

## Version History
- v0: first version.
"""

from __future__ import annotations

from typing import cast

from archgym.objective import AtMost, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulators.softmax.library import SoftmaxLibrary
from archgym.simulators.softmax.workloads import WORKLOADS, median_costs

_HIERARCHY = ("l1", "l2", "l3", "memory")
_TRANSFORMER = ("attention_1k", "attention_4k", "gpt2_vocabulary", "gemma_vocabulary")


def _workloads(*names: str) -> list[list[int]]:
    return [[WORKLOADS[name]["rows"], WORKLOADS[name]["cols"]] for name in names]


PRESETS = {
    "hierarchy": {"workloads": _workloads(*_HIERARCHY)},
    "transformer": {"workloads": _workloads(*_TRANSFORMER)},
    "suite": {"workloads": _workloads(*_HIERARCHY, *_TRANSFORMER)},
}


def objective(simulator: Simulator, *, tolerance: float = 1e-5) -> Objective:
    """The least time per element among libraries whose every kernel has |sum(y) - 1| <= tolerance."""
    elements = float(cast(SoftmaxLibrary, simulator.unwrapped).elements.sum())
    reference = {**median_costs(elements), "sum_error": tolerance}
    return Objective(Minimize("time_per_element_ns"), AtMost("sum_error", tolerance), reference=reference)


register_env(
    "archgym/SoftmaxLibrary-v0",
    simulator="archgym.simulators.softmax.library:SoftmaxLibrary",
    objective="archgym.envs.softmax_library:objective",
    presets=PRESETS,
    workloads=PRESETS["hierarchy"]["workloads"],
)
