"""archgym/PlainCnn-v0: find the plain convolutional network that learns best, within a memory of 32 KB.

## Description
A plain network is a chain of one to four convolutional layers, and its depth decides which parameters exist.
All 4,398 networks have really been trained on noisy handwritten digits, and a query looks one up: the table
ships with archgym and was trained by `python -m archgym.simulators.cnn.generate`. Parameters, multiply-adds
and peak activation memory are exact (`archgym.simulators.cnn.costs`), with the in-place operators and the
patch-by-patch first stage of MCUNet (Lin et al., NeurIPS 2020 and 2021) as options. With `backend="train"`
PyTorch trains each network at every query, a second for three seeds.

## Action Space
`MultiDiscrete([4, 2, 3, 2, 3, 2, 2, 2, 3, 2, 2, 2, 2])`, conditional: 4,398 networks, all different and
feasible. A parameter that does not exist in a network is ignored.

| Num | Parameter | Values | Exists if | Meaning |
|---|---|---|---|---|
| 0 | depth | 1, 2, 3, 4 | always | number of layers |
| 1 | kernel1 | 3, 5 | always | side of the kernel |
| 2 | width1 | 8, 12, 16 | always | channels |
| 3 | kernel2 | 1, 3 | depth >= 2 | side of the kernel |
| 4 | downsample2 | none, stride, pool | depth >= 2 | how the resolution is halved |
| 5 | width2 | 16, 32 | downsample2 is not none | channels; else those before |
| 6 | skip2 | False, True | downsample2 is none | adds its input to its output |
| 7 | kernel3 | 1, 3 | depth >= 3 | side of the kernel |
| 8 | downsample3 | none, stride, pool | depth >= 3 | how the resolution is halved |
| 9 | width3 | 16, 32 | downsample3 is not none | channels; else those before |
| 10 | skip3 | False, True | downsample3 is none | adds its input to its output |
| 11 | kernel4 | 1, 3 | depth = 4 | side of the kernel |
| 12 | skip4 | False, True | depth = 4 | adds its input to its output |

With `start="inherit"` or "scratch" a design is a path of growth from the network 3x8-3x16p-3x16: `steps`
parameters `move1`, `move2`, ..., each one of

| Num | Value | Meaning |
|---|---|---|
| 0 | stop | the path ends; later moves do not exist |
| 1-5 | widen n | layer n gets the next of 8, 12, 16, 24, 32, 48, 64 channels |
| 6-9 | deepen n | a layer of 3x3 kernels follows layer n, with its width |

Of 66,430 paths of 5 moves, 12,605 are feasible: the others contain a move on a layer that does not exist, or
beyond 64 channels or 5 layers (`archgym.simulators.cnn.growth`). The wrapper `PrefixDesign` makes one move
per step, observes the present network and masks impossible moves.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | valid_accuracy: accuracy on 1,350 validation images | 1 | higher |
| 1 | params: parameters | 1 | lower |
| 2 | macs: multiply-adds for one image | 1 | lower |
| 3 | peak_memory_bytes: most activations that live at once | B | lower |
| 4 | train_macs: multiply-adds of one training, or along a path, forward and backward | 1 | lower |

test_accuracy is in `info` and in results; no search sees it.

## Rewards
log(valid_accuracy / median over all networks), minus log(value / limit) where memory, parameters or
multiply-adds exceed a limit.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| seed | str or int | "mean" | "mean" over a network's trainings; "random": one per query; 0: the first |
| backend | str | "table" | "table", or "train" (at every query), which needs archgym[nas] |
| precision | str | "float32" | type of activations in memory: "float32" or "int8" |
| in_place | bool | False | whether operators that can overwrite an operand do so |
| patches | int | 1 | tiles of the first stage in each direction: 1 (layer by layer), 2, 4, 8 |
| start | str or None | None | paths of growth: "inherit" weights, or "scratch", the control |
| steps | int | 5 | moves of a path at most; with start= |
| epochs | int | 4 | epochs after each move; with start= |
| memory | float or None | None | limit on peak_memory_bytes |
| params | float or None | None | limit on params |
| macs | float or None | None | limit on macs |

A third of the networks, drawn at random, were trained with seeds 0, 1 and 2, the others with 0 alone. "mean"
and "random" use the trainings that a network has, and a query costs those it uses. With `backend="train"`
every network has all three, and `seed` may be any number. So it is with `start=`, which trains at every query
too and refuses "random".

| preset | limit |
|---|---|
| sram-32kb | memory 32,768 bytes |
| sram-16kb | memory 16,384 bytes |

## Known optimum
Exact, from the table, unless the seed is random or networks are trained live or grown.

## Version History
- v0: first version.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.objective import AtMost, Maximize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.cnn.costs import Precision
from archgym.simulators.cnn.layers import SPACE
from archgym.simulators.cnn.tabular import METRICS, TabularCnn

BACKENDS = ("table", "train")
KB = 1024  # bytes


def plain_cnn(
    seed: str | int = "mean",
    backend: str = "table",
    precision: Precision = "float32",
    in_place: bool = False,
    patches: int = 1,
    start: Literal["inherit", "scratch"] | None = None,
    steps: int = 5,
    epochs: int = 4,
) -> Simulator:
    """Networks looked up in the table, trained at every query, or grown along a path."""
    if backend not in BACKENDS:
        raise unknown("backend of archgym/PlainCnn-v0", backend, BACKENDS)
    if start is not None:
        from archgym.simulators.cnn.growth.grown import GrownCnn

        return GrownCnn(start, steps, epochs, seed, precision, in_place, patches)
    if (steps, epochs) != (5, 4):
        raise ArchGymError("expected start='inherit' or 'scratch' with steps= or epochs=, got no start")
    if backend == "table":
        networks = TabularCnn(seed, precision, in_place, patches)
        return networks if networks.stochastic else Tabulated(networks)
    from archgym.simulators.cnn.live import TrainedCnn

    return TrainedCnn(seed, precision, in_place, patches)


def objective(
    simulator: Simulator,
    *,
    memory: float | None = None,
    params: float | None = None,
    macs: float | None = None,
) -> Objective:
    """The highest validation accuracy within limits."""
    limits = {"peak_memory_bytes": memory, "params": params, "macs": macs}
    return Objective(
        Maximize("valid_accuracy"),
        *(AtMost(name, limit) for name, limit in limits.items() if limit is not None),
        reference=references(),
    )


@cache
def references() -> dict[str, float]:
    """The median over all networks of every metric, with float32 activations layer by layer."""
    columns = TabularCnn().evaluate_indices(SPACE.from_ordinal(np.arange(SPACE.size)))
    return {metric.name: float(np.median(columns[metric.name])) for metric in METRICS}


register_env(
    "archgym/PlainCnn-v0",
    simulator="archgym.envs.plain_cnn:plain_cnn",
    objective="archgym.envs.plain_cnn:objective",
    presets={
        "sram-32kb": {"memory": 32 * KB},
        "sram-16kb": {"memory": 16 * KB},
    },
)
