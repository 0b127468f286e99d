"""archgym/Softmax-v0: write the fastest softmax kernel for one CPU that is still accurate.

## Description
y = exp(x - max(x)) / sum exp(x - max(x)) over `rows` rows of `cols` float32. The arithmetic is small, so that
the kernel is a matter of memory traffic: the three-pass textbook algorithms move 4 or 5 floats per element,
the two-pass ones 3 (Dukhan & Ablavatski, "The Two-Pass Softmax Algorithm", 2020). Which wins depends on the
level of the memory hierarchy that holds a row, and only well-tuned vector code shows the difference. The
simulator is an analytical model on measured curves (`archgym.simulators.softmax`), of a recorded machine or
of yours (`archgym calibrate softmax`); with `backend="measured"` it is your machine itself: every design is
compiled, checked against float64 and timed in a worker process.

## Action Space
`MultiDiscrete([6, 3, 4, 4, 3, 2, 5, 2])`: 17,280 designs. Designs with accumulators > unroll are infeasible.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 | algorithm | six, from three_pass_recompute to tiled_reload | passes over the row |
| 1 | isa | scalar, avx2, avx512 | 1, 8 or 16 float32 per instruction |
| 2 | unroll | 1, 2, 4, 8 | vectors per loop iteration |
| 3 | accumulators | 1, 2, 4, 8 | independent partial results of a reduction |
| 4 | prefetch | 0, 256, 1024 | software prefetch distance, bytes |
| 5 | nontemporal | False, True | stores that bypass the caches |
| 6 | tile | 256, 1024, 4096, 16384, 65536 | elements per tile of the tiled algorithms |
| 7 | threads | 1, 2 | threads |

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | time_s | s | lower |
| 1 | time_per_element_ns | ns | lower |
| 2 | bandwidth_gb_s | GB/s | higher |
| 3 | memory_traffic_bytes | B | lower |
| 4 | passes | 1 | lower |
| 5 | sum_error: abs(sum(y) - 1) | 1 | lower |

`backend="measured"` also reports `relative_time` (over a reference design measured beside it), `noise`
(median over minimum of the rounds, minus 1) and `unreliable` (1 where the measurement was disturbed); agents
do not see them.

## Rewards
-log(time_per_element_ns / 0.75 ns), minus log(sum_error / tolerance) where sum_error exceeds the tolerance.
0.75 ns is near the median design's time over rows from 2^10 to 2^26 elements.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| rows | int | 1 | independent softmaxes |
| cols | int | 65536 | elements per row |
| calibration | str or None | None | "host", recorded name, or path; None: a 2-core Xeon with 2 MB L2 |
| tolerance | float | 1e-5 | limit on sum_error |
| tabulated | bool | True | whether designs are looked up in a table of all of them |
| backend | str | "model" | "model", or "measured" to compile every design and time it on this machine |

Presets name common workloads: `gymnasium.make("archgym/Softmax-v0", preset="attention_4k")`; see `PRESETS`.

## Contexts
| Set | Contexts | Features that differ |
|---|---|---|
| shapes | 78 of 1, 12, 256 or 4,096 rows by 256 to 16.8 M columns, for all levels of caches | rows, cols |

Features are the arguments of the simulator: numbers in log2, words as 0 or 1; and the limit on sum_error.

## Known optimum
By enumeration: the table holds every design. Tiles that an algorithm does not use tie. Unknown where designs
are measured; a search then measures its five best designs again at its end.

## Version History
- v0: first version.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from archgym.errors import ArchGymError, unknown
from archgym.objective import AtMost, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulator_wrappers import Tabulated
from archgym.simulator_wrappers.parallel import Isolated
from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.measured import MeasuredSoftmax
from archgym.simulators.softmax.model import SoftmaxCostModel
from archgym.simulators.softmax.workloads import SHAPES, median_costs
from archgym.simulators.softmax.workloads import WORKLOADS as PRESETS

INTERLEAVED = 8  # designs of a batch that are measured in turns
TIMEOUT_S = 120.0  # time limit of one design: to compile, to check and to measure


def softmax(
    rows: int = 1,
    cols: int = 65536,
    calibration: str | Path | Calibration | None = None,
    tabulated: bool = True,
    backend: str = "model",
) -> Simulator:
    """One workload: the cost model, as a table of all designs unless `tabulated` is False, or kernels
    measured in a worker process.
    """
    if backend == "measured":
        if calibration is not None:
            raise ArchGymError(
                "a calibration goes with backend='model'; backend='measured' measures the kernels themselves"
            )
        return Isolated(MeasuredSoftmax(rows, cols), timeout_s=TIMEOUT_S, rows_at_once=INTERLEAVED)
    if backend != "model":
        raise unknown("backend of archgym/Softmax-v0", backend, ["model", "measured"])
    model = SoftmaxCostModel(rows=rows, cols=cols, calibration=calibration)
    return Tabulated(model) if tabulated else model


def objective(simulator: Simulator, *, tolerance: float = 1e-5) -> Objective:
    """The least time per element among kernels with |sum(y) - 1| <= tolerance."""
    workload = cast(SoftmaxCostModel | MeasuredSoftmax, simulator.unwrapped)
    costs = median_costs(workload.rows * workload.cols)
    # Only the first is rewarded; the others keep the observations of any workload within their bounds.
    # With the tolerance as its reference, the observation of sum_error is the logarithm of its ratio to the
    # limit.
    bandwidth_gb_s = 1e-9 * costs["memory_traffic_bytes"] / costs["time_s"]
    reference = {**costs, "bandwidth_gb_s": bandwidth_gb_s, "sum_error": tolerance}
    return Objective(Minimize("time_per_element_ns"), AtMost("sum_error", tolerance), reference=reference)


register_env(
    "archgym/Softmax-v0",
    simulator="archgym.envs.softmax:softmax",
    objective="archgym.envs.softmax:objective",
    presets=PRESETS,
    contexts={"shapes": SHAPES},
)
