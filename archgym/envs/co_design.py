"""archgym/CoDesign-v0: choose a network's cell and the accelerator that it runs on together, for accuracy
within latency, energy and area.

## Description
A large cell is accurate and slow, a large chip is fast and costly: neither is best without the other. The
cell is one of NAS-Bench-201, and its accuracy that of a network that was really trained
(`archgym/NasCell-v0`); latency, energy and area are those of the network whose accuracy is stated, on an
accelerator of `archgym/Accelerator-v0` (`archgym.simulators.co_design`). The network of the digits has a
stage at 8 x 8 pixels and one at 4 x 4, of one cell each, both 16 channels wide: microseconds of work. With
`deploy="cifar"` costs are those of the CIFAR-10 network with the same cell instead (16, 32 and 64 wide, five
cells each), and accuracy is still that of `dataset`.

## Action Space
`MultiDiscrete([5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 9, 6, 7, 1, 2, 5])`: 76,545,000,000 designs, all feasible: no
layer of these networks is too large for the smallest chip. Cells of the same function and numbers of
convolutions are the same.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 to 5 | cell_edge01, ..., cell_edge23 | the five operations of a cell | as in archgym/NasCell-v0 |
| 6 to 15 | chip_dataflow, ..., chip_clock_mhz | as there | as in archgym/Accelerator-v0 |

The precision is fp16 unless `fixed` changes it: the effect of another one on accuracy is not modelled.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | valid_accuracy: accuracy of the network of `dataset` after `epochs` epochs | 1 | higher |
| 1 | latency_s: latency of one image | s | lower |
| 2 | energy_j: energy of one image | J | lower |
| 3 | area_mm2 | mm2 | lower |
| 4 | power_w | W | lower |
| 5 | edp: energy times delay | J s | lower |
| 6 | params: parameters of the deployed network | 1 | lower |
| 7 | macs: multiply-adds of the deployed network for one image | 1 | lower |
| 8 | train_seconds: CPU time of one training up to `epochs`, where the table has it | s | lower |

test_accuracy, after the last epoch of the longest budget, is in `info` and in results; no search sees it.

## Rewards
With specs, NASAIC's penalised objective: valid_accuracy - 10 * sum over specs of max(0, (value - spec) /
(bound - spec)), bound = 4 spec; with form="log", log(valid_accuracy / median over all cells) minus log(value
/ spec) of every spec missed. Without specs, a trade-off: accuracy_weight * log(valid_accuracy / median over
all cells) - log(edp / reference). Other weights are other points of the Pareto front of accuracy and
energy-delay product.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| dataset | str | "digits-0.5" | name of `archgym data list`, for the accuracies |
| deploy | str | "dataset" | network of the costs, "dataset" (the trained one) or "cifar" (for CIFAR-10) |
| epochs | int or None | None | budget of the accuracy that is seen, as in archgym/NasCell-v0 |
| seed | str or int | "mean" | training seeds, as in archgym/NasCell-v0 |
| technology | str | "45nm" | energies and areas, "45nm", "65nm" or the path of a table of yours |
| fixed | dict | {"precision": "fp16"} | accelerator parameters to hold constant, in place of this one |
| specs | dict, str or None | "edge" | limits, e.g. {"latency_s": 4e-6}, "edge" or "tight"; None: no limits |
| form | str | "nasaic" | form of the reward with specs, "nasaic" or "log" |
| accuracy_weight | float | 12 | weight of accuracy against the energy-delay product, without specs |

Presets: `edge`, `tight`, and `cifar` (deploy="cifar", specs="edge"). The specs named so, and the share of
    random designs that meets them at
45 nm (of 100,000):

| Network | edge | | tight | |
|---|---|---|---|---|
| digits | 4 us, 4.5 uJ, 9 mm2 | 1 in 21 | 3 us, 3.2 uJ, 4 mm2 | 1 in 82 |
| CIFAR-10, CIFAR-100 | 500 us, 550 uJ, 9 mm2 | 1 in 22 | 400 us, 400 uJ, 5 mm2 | 1 in 67 |
| ImageNet16-120 | 200 us, 190 uJ, 9 mm2 | 1 in 18 | 160 us, 140 uJ, 5 mm2 | 1 in 54 |

Of 60,000 random chips none ran a cell of four 3x3 convolutions within the digits' "edge", and 15 one of
three; within "tight" none ran three, and 5 ran two. So the most accurate cells are out of reach, and those
within reach take a chip made for them.

## Known optimum
By enumeration of the cells that can be optimal, on every chip: `archgym optimum archgym/CoDesign-v0` takes
about a minute, and is remembered. With a spec of power more cells can be, so that the chips must be fewer:
fix some of their parameters. Under objectives that want accuracy low, or that name train_seconds, no optimum
is known.

## Version History
- v0: first version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.objective import AtMost, Maximize, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulators.accelerator.tiling import compulsory_words
from archgym.simulators.co_design import CoDesign
from archgym.simulators.nas.cells import CONV1, CONV3, NONE, all_cells

LIMITED = ("latency_s", "energy_j", "area_mm2", "power_w")
BOUND = 4.0  # times a spec: where NASAIC's penalty reaches 10

_CIFAR = {
    "edge": {"latency_s": 500e-6, "energy_j": 550e-6, "area_mm2": 9.0},
    "tight": {"latency_s": 400e-6, "energy_j": 400e-6, "area_mm2": 5.0},
}
SPECS: dict[str, dict[str, dict[str, float]]] = {  # of each network
    "digits": {
        "edge": {"latency_s": 4e-6, "energy_j": 4.5e-6, "area_mm2": 9.0},
        "tight": {"latency_s": 3e-6, "energy_j": 3.2e-6, "area_mm2": 4.0},
    },
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "imagenet16-120": {
        "edge": {"latency_s": 200e-6, "energy_j": 190e-6, "area_mm2": 9.0},
        "tight": {"latency_s": 160e-6, "energy_j": 140e-6, "area_mm2": 5.0},
    },
}
FORMS = ("nasaic", "log")  # with specs
PRESETS = {
    "edge": {"specs": "edge"},
    "tight": {"specs": "tight"},
    "cifar": {"deploy": "cifar", "specs": "edge"},
}


def objective(
    simulator: Simulator,
    *,
    specs: Mapping[str, float] | str | None = "edge",
    form: str = "nasaic",
    accuracy_weight: float = 12.0,
) -> Objective:
    """Accuracy within specs, by NASAIC's penalised form or by logarithms; without specs a trade-off with the
    energy-delay product.

    Raises:
        ArchGymError: specs of an unknown name or metric, an unknown form, a limit or a weight that is not a
            positive number.
    """
    if form not in FORMS:
        raise unknown("form of archgym/CoDesign-v0", form, FORMS)
    design = cast(CoDesign, simulator.unwrapped)
    limits = _limits(specs, design.network.name)
    reference = references(design)
    if limits:
        constraints = [AtMost(name, limit, bound=BOUND * limit) for name, limit in limits.items()]
        if form == "log":
            return Objective(Maximize("valid_accuracy"), *constraints, reference=reference)
        return Objective(
            Maximize("valid_accuracy"),
            *constraints,
            reference={**reference, "valid_accuracy": 1.0},
            form="nasaic",
        )
    if not _positive(accuracy_weight):
        raise ArchGymError(f"accuracy_weight must be a positive number, not {accuracy_weight!r}")
    return Objective(Maximize("valid_accuracy", float(accuracy_weight)), Minimize("edp"), reference=reference)


def references(simulator: CoDesign) -> dict[str, float]:
    """Medians over all cells of the table's metrics; costs within a factor of two of the median design's,
    for any network.
    """
    table = simulator.cells.evaluate_indices(all_cells(), np.random.default_rng(0))
    # a cell has 1.2 of each on average
    layers = simulator.network.layers(np.array([CONV1, CONV3, NONE, NONE, NONE, NONE]))
    macs, words = sum(layer.macs for layer in layers), compulsory_words(layers)
    # as of archgym/Accelerator-v0
    latency_s, energy_j = 12e-12 * macs + 250e-12 * words, 8e-12 * macs + 60e-12 * words
    costs = {
        "latency_s": latency_s,
        "energy_j": energy_j,
        "area_mm2": 20.0,
        "power_w": energy_j / latency_s,
        "edp": energy_j * latency_s,
        "params": float(sum(layer.parameters for layer in layers)),
        "macs": float(macs),
    }
    return {
        m.name: costs[m.name] if m.name in costs else float(np.median(table[m.name]))
        for m in simulator.metrics
    }


def _limits(specs: Mapping[str, float] | str | None, network: str) -> dict[str, float]:
    if isinstance(specs, str):
        if specs not in SPECS[network]:
            raise unknown("set of specs", specs, SPECS[network])
        return SPECS[network][specs]
    if specs is not None and not isinstance(specs, Mapping):
        raise ArchGymError(
            'expected specs as a mapping of limits, such as {"latency_s": 4e-6}, or one of '
            f"{', '.join(SPECS[network])}, got {specs!r}"
        )
    for name, limit in (specs or {}).items():
        if name not in LIMITED:
            raise unknown("spec", name, LIMITED)
        if not _positive(limit):
            raise ArchGymError(f"the spec of {name} must be a positive number, not {limit!r}")
    return {name: float(limit) for name, limit in (specs or {}).items()}


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


register_env(
    "archgym/CoDesign-v0",
    simulator="archgym.simulators.co_design:CoDesign",
    objective="archgym.envs.co_design:objective",
    presets=PRESETS,
)
