"""archgym/HeterogeneousAccelerator-v0: share a chip between two sub-accelerators, so that several networks
run on it at once.

## Description
NASAIC (Yang et al., "Co-exploration of neural architectures and heterogeneous ASIC accelerator designs
targeting multiple tasks", DAC 2020). Each sub-accelerator has a dataflow, processing elements (PEs) and
off-chip bandwidth, with a total of up to 4,096 PEs and 64 GB/s. A scheduler assigns the layers of all
networks to sub-accelerators, for the least energy within the latency spec, or the least latency
(`archgym.simulators.accelerator.heterogeneous`). A network given as a list of options is a parameter too:
chip and networks are then searched jointly, for accuracy within the specs.

## Action Space
`MultiDiscrete([3, 16, 16, 3, 16, 16])`: 589,824 chips of two sub-accelerators, and one more parameter for
each network that is searched. Chips beyond a budget are infeasible; about 22 % are feasible. Chips with
exchanged sub-accelerators are equivalent.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 3 a | dataflow{a} | nvdla, shidiannao, eyeriss | dataflow template of sub-accelerator a |
| 3 a + 1 | pes{a} | 256, 512, ..., 4096 | PEs of sub-accelerator a |
| 3 a + 2 | bandwidth{a}_gb_s | 4, 8, ..., 64 | off-chip bandwidth of sub-accelerator a, GB/s |
| 6 + i | network{i} | the options | choice of network i, if it has options |

Every PE has 256 bytes of memory, every sub-accelerator a double-buffered global buffer of 512 KiB with 128
bytes per cycle to its PEs; operands are int8, the clock is 1 GHz.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | latency_s: latency of all networks | s | lower |
| 1 | energy_j: energy of all networks | J | lower |
| 2 | area_mm2 | mm2 | lower |
| 3 | edp: energy times delay | J s | lower |
| 4 | power_w | W | lower |
| 5 | utilization: multiply-adds over cycles and PEs | 1 | higher |

If networks are searched, the first metric is accuracy, the mean of their published ImageNet top-1.

## Rewards
For given networks: -log(energy_j / reference) with specs, -log(edp / reference) without, minus log(value /
spec) for every missed spec. For searched networks, NASAIC's penalised objective: accuracy - 10 * sum over
specs of max(0, (value - spec) / (bound - spec)), bound = 4 spec.

## Starting State
Observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| networks | list | ["resnet18", "mobilenet_v2"] | per network, a workload or a list of options |
| subs | int | 2 | number of sub-accelerators |
| specs | dict or None | None | limits, e.g. {"latency_s": 0.005, "energy_j": 0.008, "area_mm2": 9} |
| technology | str | "45nm" | table of energies and areas: "45nm", "65nm", or the path of your own |
| dimensions | dict or None | None | sizes of dynamic dimensions of all .onnx files, or by file |
| tabulated | bool | False | table of all designs, made at the first use (minutes) and kept |

Presets: `light` (ResNet-18 and MobileNetV2), `medium` (ResNet-50 and EfficientNet-B0), `heavy` (VGG-16 and
    ViT-B/16), each with specs that
about 5 % of the feasible chips meet; `joint` (two networks of six, with specs).

## Known optimum
By enumeration: `archgym optimum archgym/HeterogeneousAccelerator-v0 --set preset=light` takes a minute or two
and keeps the result. It is the optimum under this scheduler, a heuristic: it was within 2 % of the best
schedule in all but one of 30,100 small problems. For 2 x 22 layers it is 2 to 3 % above the result of 25
times the effort.

## Version History
- v0: first version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from archgym.objective import AtMost, Maximize, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulator_wrappers import StoredTable
from archgym.simulators.accelerator.heterogeneous import HeterogeneousAccelerator, ManyDimensions, Networks
from archgym.simulators.accelerator.tiling import compulsory_words

NETWORKS = ["resnet18", "mobilenet_v2"]
CLASSIFIERS = ["resnet18", "resnet50", "mobilenet_v2", "vgg16", "efficientnet_b0", "vit_b_16"]

BOUND = 4.0  # multiple of a spec at which NASAIC's penalty reaches 10

PRESETS: dict[str, dict[str, Any]] = {
    "light": {
        "networks": ["resnet18", "mobilenet_v2"],
        "specs": {"latency_s": 3e-3, "energy_j": 6e-3, "area_mm2": 9.0},
    },
    "medium": {
        "networks": ["resnet50", "efficientnet_b0"],
        "specs": {"latency_s": 7e-3, "energy_j": 14e-3, "area_mm2": 9.0},
    },
    "heavy": {
        "networks": ["vgg16", "vit_b_16"],
        "specs": {"latency_s": 28e-3, "energy_j": 90e-3, "area_mm2": 9.0},
    },
    "joint": {
        "networks": [CLASSIFIERS, CLASSIFIERS],
        "specs": {"latency_s": 7e-3, "energy_j": 14e-3, "area_mm2": 9.0},
    },
}


def heterogeneous_accelerator(
    networks: Networks = NETWORKS,
    subs: int = 2,
    specs: Mapping[str, float] | None = None,
    technology: str = "45nm",
    tabulated: bool = False,
    dimensions: ManyDimensions | None = None,
) -> Simulator:
    """Networks on a chip of sub-accelerators, scheduled at each evaluation or once for a table."""
    # an argument that is passed changes the identity of results
    given = {} if dimensions is None else {"dimensions": dimensions}
    simulator = HeterogeneousAccelerator(networks, subs, specs, technology, **given)
    return StoredTable(simulator) if tabulated else simulator


def objective(simulator: Simulator) -> Objective:
    """Accuracy within specs for searched networks; energy within specs for given ones, or the energy-delay
    product without specs.
    """
    chip = cast(HeterogeneousAccelerator, simulator.unwrapped)
    specs = [AtMost(name, limit, bound=BOUND * limit) for name, limit in chip.specs.items()]
    options = [workload for network in chip.workloads for workload in network]
    share = len(chip.workloads) / len(options)  # a searched network counts as the average of its options
    macs = share * sum(workload.macs for workload in options)
    words = share * sum(compulsory_words(workload.layers) for workload in options)
    # within a factor of 2.5 of the median chip's
    latency_s, energy_j = 2e-12 * macs + 100e-12 * words, 3e-12 * macs + 60e-12 * words
    reference = {
        "latency_s": latency_s,
        "energy_j": energy_j,
        "area_mm2": 10.0,
        "edp": latency_s * energy_j,
        "power_w": energy_j / latency_s,
        "utilization": 0.15,
    }
    if any(metric.name == "accuracy" for metric in simulator.metrics):
        return Objective(
            Maximize("accuracy"), *specs, reference={**reference, "accuracy": 1.0}, form="nasaic"
        )
    return Objective(Minimize("energy_j" if specs else "edp"), *specs, reference=reference)


register_env(
    "archgym/HeterogeneousAccelerator-v0",
    simulator="archgym.envs.heterogeneous_accelerator:heterogeneous_accelerator",
    objective="archgym.envs.heterogeneous_accelerator:objective",
    presets=PRESETS,
)
