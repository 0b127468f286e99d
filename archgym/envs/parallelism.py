"""archgym/Parallelism-v0: the training plan of a large language model on a cluster of GPUs.

## Description
How many GPUs share a matrix product, into how many stages the blocks are cut, how many sequences pass them at
a time, what is computed again instead of stored: the plan decides whether a model fits, and how much of the
time of its GPUs is useful. Step time and memory are Calculon's (Isaev et al., SC 2023; equations in
`archgym.simulators.parallelism`), for models of 22, 175, 530 and 1,000 billion parameters or your own, on
A100, H100 or your own cluster. Times are those of well tuned runs, a fifth to a third below production runs:
**it ranks plans and does not predict dates**. With `cluster_choices` the cluster is chosen too, within a
price in relative units of ours.

## Action Space
`MultiDiscrete([4, 6, 5, 10, 3, 3, 2, 2, 2, 2])` by default: 84,480 designs, of which 27,816 distinct ones
divide. Values depend on model, GPUs and batch:

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 | tensor | 1, 2, 4, 8 | GPUs that share every matrix product |
| 1 | pipeline | 1, 2, 4, 8, 16, 32 | stages into which the blocks are cut |
| 2 | microbatch | 1, 2, 4, 8, 16 | sequences that pass a stage together |
| 3 | interleaving | 1, 2, 3, 4, 6, 8, 12, 24, ... | chunks of blocks on a stage |
| 4 | recompute | none, attention, full | what the backward pass computes again |
| 5 | tensor_communication | all_reduce, scattered_transfers, sequence_parallel | exchange of activations |
| 6 | gather_again | False, True | inputs gathered twice instead of kept; conditional |
| 7 | fuse_activation | False, True | GeLU without its input in memory |
| 8 | shard_optimizer | False, True | optimizer state split among replicas |
| 9 | overlap_data | False, True | gradients exchanged during the backward pass |

tensor are divisors of the fastest network's GPUs, pipeline those of the GPUs up to the blocks, microbatch
those of the batch up to 16, interleaving those of the blocks of a stage. gather_again is active with
sequence_parallel unless recompute is full. There are gpus / (tensor pipeline) replicas. Plans that do not
divide or do not fit are infeasible, with the reason. Fields of the cluster that are chosen come first:
cluster_gpus, cluster_link_gpus, cluster_link_gb_s, cluster_nic_gb_s, cluster_hbm_gib, cluster_hbm_gb_s,
cluster_matrix_tflops.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | step_time_s: time of one step on the batch | s | lower |
| 1 | memory_bytes: memory of a GPU | B | lower |
| 2 | mfu: flop of the model over the peak's; recomputation does not count | 1 | higher |
| 3 | bubble: share of the step in which stages wait | 1 | lower |
| 4 | exposed_communication: share of the step in which communication is not hidden | 1 | lower |
| 5 | tokens_s: tokens per second | 1/s | higher |
| 6 | energy_j: energy of a step at the GPUs' full power; where the cluster gives it | J | lower |
| 7 | gpus: where it is chosen | 1 | lower |
| 8 | price: of the cluster in A100s, where it is chosen | 1 | lower |

## Rewards
By default -log(step_time_s / reference), minus log(excess) of every limit missed. `goal` and `limits` name
other metrics.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| model | str | "22B" | "22B", "175B", "530B", "1T", or a .json file |
| gpus | int | 64 | number of GPUs |
| system | str | "a100" | "a100", "h100", or a .json file |
| batch | int or None | None | sequences per step; None: 512, 1,536, 1,920 and 3,072 for the four models |
| literal | bool | False | Calculon's own window of the overlap of gradients, errors included |
| tensors | list or None | None | values of tensor, for one space of several clusters |
| pipelines | list or None | None | values of pipeline, likewise |
| interleavings | list or None | None | values of interleaving, likewise |
| cluster_choices | dict or None | None | values of the cluster's fields, which become parameters |
| prices | dict or None | None | weights of the price that replace the default ones |
| goal | str | "step_time_s" | or memory_bytes, mfu, tokens_s, energy_j, gpus, price: metric to improve |
| limits | dict or None | None | limits by metric, such as {"memory_bytes": 6e10} |

| Preset | Model | Cluster |
|---|---|---|
| 22B | 22B | 64 A100 |
| 175B | 175B | 1,024 A100 |
| 530B | 530B | 2,240 A100 |
| 1T | 1T | 3,072 A100 |
| 175B-H100 | 175B | 1,024 H100 |
| co-design | 175B | chosen, for the price of 512 A100 |

## Contexts
| Set | Contexts | Features that differ |
|---|---|---|
| cluster_sizes | 14: 22B on 8, 16, ..., 512 A100 or H100 | GPUs, link_gb_s, nic_gb_s, matrix_tflops, ... |

`gymnasium.make("archgym/Parallelism-v0", contexts="cluster_sizes")` draws one for each episode.

## Known optimum
Exact, by enumeration of all plans that divide, once per process (`archgym optimum` adds percentiles). With a
cluster to choose, by branch and bound (`archgym.simulators.parallelism.co_design`), unless `literal`, for
objectives that want time, memory, energy, GPUs and price low, or tokens and MFU high.

## Version History
- v0: first version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from archgym.errors import ArchGymError, unknown
from archgym.objective import AtLeast, AtMost, Maximize, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Metric, Simulator
from archgym.simulators.parallelism.simulator import Parallelism

GOALS = ("step_time_s", "memory_bytes", "mfu", "tokens_s", "energy_j", "gpus", "price")
TYPICAL_MFU = 0.35

CO_DESIGN: dict[str, Any] = {
    "gpus": [256, 512, 1024],
    "link_gpus": [8, 64],
    "link_gb_s": [150, 300, 450, 900],
    "nic_gb_s": [12.5, 25, 50, 100],
    "hbm_gib": [40, 80, 120, 160],
    "hbm_gb_s": [1024, 2048, 3072, 4096],
}
PRESETS: dict[str, dict[str, Any]] = {
    "22B": {"model": "22B", "gpus": 64},
    "175B": {"model": "175B", "gpus": 1024},
    "530B": {"model": "530B", "gpus": 2240},
    "1T": {"model": "1T", "gpus": 3072},
    "175B-H100": {"model": "175B", "gpus": 1024, "system": "h100"},
    "co-design": {"model": "175B", "cluster_choices": CO_DESIGN, "limits": {"price": 512.0}},
}
CLUSTER_SIZES = [
    {"system": system, "gpus": gpus, "pipelines": [1, 2, 4, 8, 16, 32]}
    for system in ("a100", "h100")
    for gpus in (8, 16, 32, 64, 128, 256, 512)
]


def objective(
    simulator: Simulator, *, goal: str = "step_time_s", limits: Mapping[str, float] | None = None
) -> Objective:
    """The best value of one metric within limits.

    Raises:
        ArchGymError: an unknown goal or metric, or a limit that is not a positive number.
    """
    metrics = {metric.name: metric for metric in simulator.metrics}
    goals = [name for name in GOALS if name in metrics]
    if goal not in goals:
        raise unknown("goal of archgym/Parallelism-v0", goal, goals)
    if limits is not None and not isinstance(limits, Mapping):
        raise ArchGymError(f'expected limits such as {{"memory_bytes": 6e10}}, or None, got {limits!r}')
    best = Minimize(goal) if metrics[goal].better == "lower" else Maximize(goal)
    bounds = [_limit(metrics, name, value) for name, value in (limits or {}).items()]
    return Objective(best, *bounds, reference=references(cast(Parallelism, simulator.unwrapped)))


def references(simulator: Parallelism) -> dict[str, float]:
    """Values near those of a plan that fits, on the middle one of several clusters."""
    cluster = {name: float(values[len(values) // 2]) for name, values in simulator.clusters.items()}
    flop_s = cluster["gpus"] * cluster["matrix_tflops"] * 1e12
    step_time_s = simulator.batch * simulator.model.flop_per_sequence / flop_s / TYPICAL_MFU
    values = {
        "step_time_s": step_time_s,
        "memory_bytes": cluster["hbm_gib"] * 2**30 / 2,
        "mfu": TYPICAL_MFU,
        "bubble": 0.1,
        "exposed_communication": 0.1,
        "tokens_s": simulator.batch * simulator.model.sequence / step_time_s,
        "energy_j": step_time_s * cluster["gpus"] * (simulator.cluster.power_w or 1.0),
        "gpus": cluster["gpus"],
        "price": cluster["gpus"],
    }
    return {metric.name: values[metric.name] for metric in simulator.metrics}


def _limit(metrics: Mapping[str, Metric], name: str, value: float) -> AtMost | AtLeast:
    if name not in metrics:
        raise unknown("limit", name, metrics)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ArchGymError(f"expected a positive number as limit of {name}, got {value!r}")
    return AtMost(name, float(value)) if metrics[name].better == "lower" else AtLeast(name, float(value))


register_env(
    "archgym/Parallelism-v0",
    simulator="archgym.simulators.parallelism.simulator:Parallelism",
    objective="archgym.envs.parallelism:objective",
    presets=PRESETS,
    contexts={"cluster_sizes": CLUSTER_SIZES},
)
