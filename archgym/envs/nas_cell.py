"""archgym/NasCell-v0: find the cell whose network learns best, among the 15,625 of NAS-Bench-201.

## Description
A cell is a small graph of operations that a network repeats (Dong & Yang, "NAS-Bench-201", ICLR 2020). Every
cell has really been trained, several times, and a query looks it up: the table of the default task, noisy
handwritten digits, ships with archgym and was trained by `python -m archgym.simulators.nas.generate`; tables
of CIFAR-10, CIFAR-100 and ImageNet16-120 are imported with `archgym data import`. With `backend="train"`
nothing is looked up: PyTorch trains each cell at every query, for a few seconds. With `backend="shared"`
weights that all cells share are trained once, and a query estimates a cell with them: cheap, and less true.

## Action Space
`MultiDiscrete([5, 5, 5, 5, 5, 5])`: 15,625 cells, all feasible. Many are the same function: 5,044 differ, and
5,364 where cells with different numbers of convolutions count as different, as they do here, since their
costs differ. In an imported table that trained every cell by itself all 15,625 differ.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 | edge01 | none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3 | edge to node 1 from the input |
| 1 | edge02 | the same | edge to node 2 from 0 |
| 2 | edge12 | the same | edge to node 2 from 1 |
| 3 | edge03 | the same | edge to node 3, the output, from 0 |
| 4 | edge13 | the same | edge to node 3 from 1 |
| 5 | edge23 | the same | edge to node 3 from 2 |

With `epochs="chosen"` a seventh parameter, `epochs` (digits: 1, 2, 4, 8, 16), sets the length of training.
A cost budget then counts multiply-adds of training.

`archgym.simulators.nas.cells.format` and `parse` convert between a row of indices and the string of
NAS-Bench-201.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | valid_accuracy: accuracy after `epochs` epochs | 1 | higher |
| 1 | params: parameters of the network | 1 | lower |
| 2 | macs: multiply-adds for one image | 1 | lower |
| 3 | train_seconds: CPU time of one training up to `epochs` | s | lower |
| 4 | train_macs: multiply-adds of one training up to `epochs`, forward and backward | 1 | lower |

test_accuracy, after the last epoch of the longest budget, is in `info` and in results; no search sees it.
Tables without training times have no train_seconds. With `backend="shared"` the metrics are:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | shared_accuracy: accuracy with the shared weights on `images` validation images | 1 | higher |
| 1 | params | 1 | lower |
| 2 | macs | 1 | lower |
| 3 | eval_macs: multiply-adds of the estimate | 1 | lower |

There valid_accuracy of the table is in `info` and in results alone, as test_accuracy is.

## Rewards
log(valid_accuracy / median over all cells), or of shared_accuracy with `backend="shared"`, minus
log(value / limit) where parameters or multiply-adds exceed a limit.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| dataset | str | "digits-0.5" | name of `archgym data list` |
| epochs | int, str or None | None | before validation; digits: 1, 2, 4, 8, 16; None: the last; "chosen" |
| seed | str or int | "mean" | "mean" over training seeds; "random": one per query; or the number of one |
| backend | str | "table" | "table"; "train" (at every query) and "shared" (weights) need archgym[nas] |
| paths | int | 700 | training steps of shared weights; with backend="shared" |
| images | int | 450 | validation images of an estimate; with backend="shared" |
| net_seed | int | 0 | seed for shared weights; with backend="shared" |
| params | float or None | None | limit on params |
| macs | float or None | None | limit on macs |

## Known optimum
Exact, from the table, unless the seed is random, cells are trained live, or weights are shared.

## Version History
- v0: first version.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.objective import AtMost, Maximize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.nas.cells import all_cells
from archgym.simulators.nas.fidelities import CellFidelities
from archgym.simulators.nas.tabular import NasCell, digits_noise

BACKENDS = ("table", "train", "shared")


def nas_cell(
    dataset: str = "digits-0.5",
    epochs: int | Literal["chosen"] | None = None,
    seed: str | int = "mean",
    backend: str = "table",
    paths: int = 700,
    images: int = 450,
    net_seed: int = 0,
) -> Simulator:
    """Cells looked up in a table, trained at every query, or judged by shared weights."""
    if backend not in BACKENDS:
        raise unknown("backend of archgym/NasCell-v0", backend, BACKENDS)
    if backend == "shared":
        if epochs is not None or seed != "mean":
            raise ArchGymError(
                "expected no epochs and no seed with backend='shared', whose cells are not trained one by "
                "one; use paths= and net_seed="
            )
        from archgym.simulators.nas.shared import SharedCell

        return SharedCell(dataset, paths, images, net_seed)
    if (paths, images, net_seed) != (700, 450, 0):
        raise ArchGymError(
            f"expected backend='shared' with paths=, images= or net_seed=, got backend={backend!r}"
        )
    if backend == "table":
        cells: NasCell | CellFidelities
        if epochs == "chosen":
            cells = CellFidelities(dataset, seed)
        elif isinstance(epochs, str):
            raise ArchGymError(f"expected a number of epochs, None or 'chosen', got {epochs!r}")
        else:
            cells = NasCell(dataset, epochs, seed)
        return cells if cells.stochastic else Tabulated(cells)
    if isinstance(epochs, str):
        raise ArchGymError(f"expected a number of epochs, or None, with backend='train', got {epochs!r}")
    from archgym.simulators.nas.live import TrainedCell

    noise = digits_noise(str(dataset))
    if noise is None:
        raise ArchGymError(
            "cells are trained on noisy digits: dataset='digits-0.5', or another level of noise, not "
            f"{dataset!r}"
        )
    return TrainedCell(noise, **({} if epochs is None else {"epochs": epochs}), seed=seed)


def objective(simulator: Simulator, *, params: float | None = None, macs: float | None = None) -> Objective:
    """The highest validation accuracy, or that with shared weights, within limits."""
    limits = {"params": params, "macs": macs}
    shared = any(metric.name == "shared_accuracy" for metric in simulator.metrics)
    return Objective(
        Maximize("shared_accuracy" if shared else "valid_accuracy"),
        *(AtMost(name, limit) for name, limit in limits.items() if limit is not None),
        reference=references(simulator),
    )


def references(simulator: Simulator) -> dict[str, float]:
    """The median over all cells of every metric that a table has; for cells that are trained or share
    weights, near that of the digits.
    """
    cells = simulator.unwrapped
    if isinstance(cells, CellFidelities):
        cells = cells.full
    if isinstance(cells, NasCell):
        columns = cells.evaluate_indices(all_cells(), np.random.default_rng(0))
        return {metric.name: float(np.median(columns[metric.name])) for metric in simulator.metrics}
    near = {
        "shared_accuracy": 0.3,
        "valid_accuracy": 0.5,
        "test_accuracy": 0.5,
        "params": 7_100.0,
        "macs": 270_000.0,
        "train_seconds": 0.6,
        "train_macs": 1.2e10,
        "eval_macs": 9.8e7,
    }
    return {metric.name: near[metric.name] for metric in simulator.metrics}


register_env(
    "archgym/NasCell-v0",
    simulator="archgym.envs.nas_cell:nas_cell",
    objective="archgym.envs.nas_cell:objective",
)
