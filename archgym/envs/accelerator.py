"""archgym/Accelerator-v0: design the accelerator that runs one network with the least energy-delay product in a given area.

## Description
An array of processing elements (PEs) with small memories, a global buffer, a network between them and off-chip memory runs a network layer
by layer. What it costs depends on how a layer meets the array (the dataflow), on what can be kept in the buffer, and on which of
computation, network and memory is the slowest. The simulator is an analytical model (`archgym.simulators.accelerator`) whose compute cycles
equal SCALE-Sim's and MAESTRO's; `archgym fidelity accelerator` says how far to trust the rest. With `backend="scalesim"` or "zigzag" the
real tools simulate every design, after `archgym backends install scalesim`.

## Action Space
`MultiDiscrete([6, 6, 6, 6, 9, 6, 7, 3, 2, 5])`: 14,696,640 designs. Infeasible are those whose L1 does not hold what an eyeriss PE needs,
or whose buffer holds no tile of a layer.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 | dataflow | nvdla, shidiannao, eyeriss, systolic_ws, systolic_os, systolic_is | operand that stays in a PE |
| 1 | rows | 8, 16, ..., 256 | rows of PEs |
| 2 | cols | 8, 16, ..., 256 | columns of PEs |
| 3 | l1_bytes | 32, 64, ..., 1024 | memory of a PE, bytes |
| 4 | buffer_kb | 16, 32, ..., 4096 | global buffer, KiB |
| 5 | noc_bytes_per_cycle | 16, 32, ..., 512 | bandwidth between buffer and array, bytes per cycle |
| 6 | dram_gb_s | 4, 8, ..., 256 | off-chip bandwidth, GB/s |
| 7 | precision | int8, fp16, fp32 | type of operands; partial sums have 4 bytes, and bf16 counts as fp16 |
| 8 | double_buffering | False, True | computation during loads, at twice the room in the buffer |
| 9 | clock_mhz | 200, 400, ..., 1000 | clock, MHz |

What a precision costs in accuracy is not modelled: fix it with `fixed={"precision": "fp16"}`.

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
| 8 | compute_cycles: cycles with infinitely fast memory | 1 | lower |
| 9 | bound: slowest part; 1 computation, 2 network, 3 off-chip memory | 1 | |

SCALE-Sim and ZigZag report some of them (`archgym backends list`).

## Rewards
-log(edp / reference), less log(area_mm2 / limit) where the area is above its limit (and likewise power and latency). The reference is near
the median design's for every workload: (12 ps MACs + 250 ps words) * (8 pJ MACs + 60 pJ words), words being operands moved once.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Default | Meaning |
|---|---|---|
| workload | "resnet18" | str: name of `archgym workloads`, or path of an .onnx or .csv file |
| dimensions | None | dict: sizes of dynamic dimensions of an .onnx file, such as {"batch": 1, "height": 224} |
| technology | "45nm" | str: energies and areas, "45nm", "65nm" or the path of a table of yours |
| fixed | None | dict: parameters to hold constant, e.g. {"precision": "fp16"} |
| backend | "model" | str: "model", or a real tool, "scalesim" or "zigzag", of seconds to minutes per design |
| area_mm2 | 16 | float or None: limit on area_mm2; None for no limit. The median design has 17 mm2 |
| power_w | None | float or None: limit on power_w, W |
| latency_s | None | float or None: limit on latency_s, s |

## Known optimum
By enumeration: `archgym optimum archgym/Accelerator-v0` takes about half a minute, and is remembered.

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

BACKENDS = ("scalesim", "zigzag")


def accelerator(
    workload: str = "resnet18",
    technology: str = "45nm",
    fixed: Mapping[str, Any] | None = None,
    backend: str = "model",
    dimensions: Dimensions | None = None,
) -> Simulator:
    """One network on one accelerator: the analytical model, or a real tool that simulates every design."""
    given = {} if dimensions is None else {"dimensions": dimensions}  # passed only where it matters: it identifies results
    if backend == "model":
        return Accelerator(workload, technology, fixed, **given)
    if backend not in BACKENDS:
        raise unknown("backend of archgym/Accelerator-v0", backend, ["model", *BACKENDS])
    if technology != "45nm" or fixed:
        raise ArchGymError("technology and fixed go with backend='model'; the real tools have their own constants and the whole space")
    from archgym.simulators.accelerator.backends import backend_simulator

    return backend_simulator(backend, workload, **given)


def objective(
    simulator: Simulator, *, area_mm2: float | None = 16.0, power_w: float | None = None, latency_s: float | None = None
) -> Objective:
    """The least energy-delay product within limits; the least latency where a tool reports no energy, which then has no limit on area."""
    reported = {metric.name for metric in simulator.metrics}
    limits = {"area_mm2": area_mm2 if "area_mm2" in reported else None, "power_w": power_w, "latency_s": latency_s}
    constraints = [AtMost(name, limit) for name, limit in limits.items() if limit is not None]
    reference = {name: value for name, value in references(cast(Accelerator, simulator.unwrapped)).items() if name in reported}
    return Objective(Minimize("edp" if "edp" in reported else "latency_s"), *constraints, reference=reference)


def references(simulator: Accelerator) -> dict[str, float]:
    """Values near a median design's, for any workload: those of time, energy and their product within five times, where one ships."""
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
        name: {"workload": name} for name in ("resnet18", "resnet50", "mobilenet_v2", "vgg16", "efficientnet_b0", "bert_base", "vit_b_16")
    },
)
