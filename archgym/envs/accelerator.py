"""archgym/Accelerator-v0: design the accelerator that runs one network with the least energy-delay product in
a given area.

## Description
An array of processing elements (PEs) with small memories, a global buffer, an on-chip network and off-chip
memory runs a neural network layer by layer. Its costs depend on the mapping of a layer to the array (the
dataflow), the data that fit the buffer, and the bottleneck among computation, on-chip network and memory. The
simulator is an analytical model (`archgym.simulators.accelerator`) whose compute cycles equal SCALE-Sim's and
MAESTRO's; `archgym fidelity accelerator` shows the accuracy of the rest. With `backend="accelforge"`
(Timeloop's successor), "scalesim" or "zigzag" the real tools simulate every design, after `archgym backends
install accelforge`.

## Action Space
`MultiDiscrete([6, 6, 6, 6, 9, 6, 7, 3, 2, 5])`: 14,696,640 designs. Designs are infeasible if L1 is too small
for an eyeriss PE, or the buffer for every tile of a layer.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 | dataflow | nvdla, shidiannao, eyeriss, systolic_ws, systolic_os, systolic_is | data that stays in a PE |
| 1 | rows | 8, 16, ..., 256 | rows of PEs |
| 2 | cols | 8, 16, ..., 256 | columns of PEs |
| 3 | l1_bytes | 32, 64, ..., 1024 | memory of a PE, bytes |
| 4 | buffer_kb | 16, 32, ..., 4096 | global buffer, KiB |
| 5 | noc_bytes_per_cycle | 16, 32, ..., 512 | bandwidth between buffer and array, bytes per cycle |
| 6 | dram_gb_s | 4, 8, ..., 256 | off-chip bandwidth, GB/s |
| 7 | precision | int8, fp16, fp32 | precision of operands (fp16 includes bf16); partial sums have 4 bytes |
| 8 | double_buffering | False, True | simultaneous computing and loading, at twice the buffer space |
| 9 | clock_mhz | 200, 400, ..., 1000 | clock frequency, MHz |

The accuracy of a precision is not modelled: fix it with `fixed={"precision": "fp16"}`.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | latency_s: latency of one inference | s | lower |
| 1 | cycles | 1 | lower |
| 2 | energy_j: energy of one inference | J | lower |
| 3 | area_mm2 | mm2 | lower |
| 4 | power_w | W | lower |
| 5 | edp: energy times delay | J s | lower |
| 6 | utilization: multiply-adds over cycles and PEs | 1 | higher |
| 7 | dram_bytes: off-chip traffic | B | lower |
| 8 | compute_cycles: cycles of computation alone | 1 | lower |
| 9 | bound: main bottleneck; 1 computation, 2 on-chip network, 3 off-chip memory | 1 | |

accelforge, SCALE-Sim and ZigZag report some of them (`archgym backends list`).

## Rewards
-log(edp / reference), minus log(area_mm2 / limit) where the area exceeds its limit (likewise power and
latency). The reference is near the median design's for every workload: (12 ps MACs + 250 ps words) * (8 pJ
MACs + 60 pJ words), where words are operands moved once.

## Starting State
Observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| workload | str or Workload | "resnet18" | name from `archgym workloads`, or path of an .onnx or .csv file |
| dimensions | dict or None | None | sizes of dynamic dimensions of an .onnx file, e.g. {"batch": 1} |
| technology | str | "45nm" | energies and areas: "45nm", "45nm_banked", "65nm", or a path |
| fixed | dict or None | None | parameters to hold constant, e.g. {"precision": "fp16"} |
| backend | str | "model" | analytical model, or a tool ("accelforge", "scalesim", "zigzag"), slower |
| area_mm2 | float or None | 16.0 | limit on area_mm2 (the median design has 17 mm2); None for no limit |
| power_w | float or None | None | limit on power_w |
| latency_s | float or None | None | limit on latency_s |

`workload="resnet18:layer1.0.conv1"` is one layer of a workload or of a file, once.

## Contexts
| Set | Contexts | Features that differ |
|---|---|---|
| layers | the 188 distinct layers of the shipped workloads, in groups by workload | sizes of the layer |
| networks | the 17 shipped workloads as a whole | statistics of their layers |

Features of a workload are means of sizes over its layers, weighted by multiply-adds: M, N and K of the matrix
multiplications, groups, batch, kernel, stride, image, zeros, output and intensity; deviations of some; the
largest operands; totals of multiply-adds, words and layers; and shares of the kinds of layers
(`archgym.simulators.accelerator.workloads.features`). For one layer they determine the costs of every design.
Others are technology, fixed parameters and limits. The sets come with their exact optima for the default
arguments and limits, found by `python -m archgym.envs.contexts.accelerator`.

## Known optimum
By enumeration: `archgym optimum archgym/Accelerator-v0` takes about half a minute and keeps the result.

## Version History
- v0: first version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from archgym.errors import ArchGymError, unknown
from archgym.objective import AtMost, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulators.accelerator.model import Accelerator
from archgym.simulators.accelerator.tiling import compulsory_words
from archgym.simulators.accelerator.workloads import Dimensions

BACKENDS = ("accelforge", "scalesim", "zigzag")


def accelerator(
    workload: str = "resnet18",
    technology: str = "45nm",
    fixed: Mapping[str, Any] | None = None,
    backend: str = "model",
    dimensions: Dimensions | None = None,
) -> Simulator:
    """One network on one accelerator: the analytical model, or a real tool that simulates every design."""
    # an argument that is passed changes the identity of results
    given = {} if dimensions is None else {"dimensions": dimensions}
    if backend == "model":
        return Accelerator(workload, technology, fixed, **given)
    if backend not in BACKENDS:
        raise unknown("backend of archgym/Accelerator-v0", backend, ["model", *BACKENDS])
    if technology != "45nm" or fixed:
        raise ArchGymError(
            "technology and fixed go with backend='model'; the real tools have their own constants and the "
            "whole space"
        )
    from archgym.simulators.accelerator.backends import backend_simulator

    return backend_simulator(backend, workload, **given)


def objective(
    simulator: Simulator,
    *,
    area_mm2: float | None = 16.0,
    power_w: float | None = None,
    latency_s: float | None = None,
) -> Objective:
    """The least energy-delay product within limits; the least latency if a tool reports neither energy nor
    area.
    """
    reported = {metric.name for metric in simulator.metrics}
    limits = {
        "area_mm2": area_mm2 if "area_mm2" in reported else None,
        "power_w": power_w,
        "latency_s": latency_s,
    }
    constraints = [AtMost(name, limit) for name, limit in limits.items() if limit is not None]
    reference = {
        name: value
        for name, value in references(cast(Accelerator, simulator.unwrapped)).items()
        if name in reported
    }
    return Objective(Minimize("edp" if "edp" in reported else "latency_s"), *constraints, reference=reference)


def references(simulator: Accelerator) -> dict[str, float]:
    """Values near the median design's for any workload; time, energy and their product are within a factor
    of 5 for shipped workloads.
    """
    macs, words = simulator.workload.macs, compulsory_words(simulator.workload.layers)
    latency_s, energy_j = 12e-12 * macs + 250e-12 * words, 8e-12 * macs + 60e-12 * words
    cycles = 600e6 * latency_s
    return {
        "latency_s": latency_s,
        "cycles": cycles,
        "energy_j": energy_j,
        "area_mm2": 17.0,
        "power_w": energy_j / latency_s,
        "edp": energy_j * latency_s,
        "utilization": 0.08,
        "dram_bytes": 3.0 * words,
        "compute_cycles": 0.5 * cycles,
        "bound": 2.0,
    }


register_env(
    "archgym/Accelerator-v0",
    simulator="archgym.envs.accelerator:accelerator",
    objective="archgym.envs.accelerator:objective",
    presets={
        name: {"workload": name}
        for name in (
            "resnet18",
            "resnet50",
            "mobilenet_v2",
            "vgg16",
            "efficientnet_b0",
            "bert_base",
            "vit_b_16",
        )
    },
    contexts={
        "layers": "archgym.envs.contexts.accelerator:layers",
        "networks": "archgym.envs.contexts.accelerator:networks",
    },
)
