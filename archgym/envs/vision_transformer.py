"""archgym/VisionTransformer-v0: the fastest vision transformer of given capacity, in macro spaces of three
papers.

## Description
Number of blocks, widths, attention or convolutions: the macro spaces of MCUFormer, TurboViT and AsCAN
(`archgym.simulators.transformer.spaces`), for images of 224 x 224 pixels and 1,000 classes. Parameters,
multiply-adds and peak memory of activations are exact; latency is that of the layers on a fixed accelerator,
16 x 16 multiply-adders, by the model of archgym/Accelerator-v0. **Accuracy is not modelled**: tasks are cost
at given capacity (parameters and multiply-adds at least those of a published network), or capacity within
limits of memory and latency. A network that is best here need not learn well.

## Action Space
By `space`; parameters that only some networks have are inactive in others (`archgym describe` has the tree).

| Space | Action space | Distinct designs |
|---|---|---|
| mcuformer | `MultiDiscrete([5, 13, 3, 3, 2, 2, ...])`, 32 parameters | 68,702,699,520 |
| mcuformer_small | `MultiDiscrete([5, 13, 3, 3, 3, 3, ...])`, 32 parameters | 5,011,712,124,855,345 |
| turbovit | `MultiDiscrete([5, 3, 2, 2, 2, 4, 3, 2, 3, 15, 2, 3])` | 324,000 |
| ascan | `MultiDiscrete([2, 3, 4, 2, 2, 4, 2, 2, ...])`, 8 parameters for each stage | 371,504,185,344 |

All networks are feasible. Parameters of the default space, turbovit:

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 | width | 48, 64, 80, 96, 112 | channels in the first stage; each later stage doubles them |
| 1 | heads | 1, 2, 4 | heads in the first stage; each later stage doubles them |
| 2 | mlp_ratio | 3, 4 | hidden channels of the perceptron, times the width |
| 3, 6, 9, 11 | depth1 to depth4 | 1 to 2, 1 to 3, 2 to 16, 1 to 3 | blocks of the stage |
| 4, 7, 10 | attention1 to attention3 | mask_unit, global | tokens that attend to each other; stage 4: all |
| 5, 8 | unit1, unit2 | 4, 8, 14, 28; 2, 4, 14 | side of a mask unit, tokens; where attention is mask_unit |

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | latency_s: latency of one image on the accelerator | s | lower |
| 1 | cycles | 1 | lower |
| 2 | params: parameters of the network | 1 | |
| 3 | macs: multiply-adds for one image | 1 | |
| 4 | peak_memory_bytes: most activations alive at once | B | lower |
| 5 | tokens: tokens of the last block | 1 | |
| 6 | blocks: number of blocks | 1 | |
| 7 | channels: channels of the last block | 1 | |

## Rewards
By default -log(latency_s / reference), minus log(excess) of every limit missed: parameters and multiply-adds
of at least, peak memory of at most a limit. With `goal="params"` or "macs" log(goal / reference) instead,
with "peak_memory_bytes" -log(peak_memory_bytes / reference).

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| space | str | "turbovit" | macro space, "turbovit", "mcuformer", "mcuformer_small" or "ascan" |
| precision | str | "int8" | numbers of weights and activations, "int8" or "fp32" |
| schedule | str | "layer" | activations that are stored, "layer" (whole outputs) or "token" (MCUFormer's) |
| goal | str | "latency_s" | metric to improve, "latency_s", "peak_memory_bytes", "params" or "macs" |
| limits | dict or None | None | limits by metric: costs at most, capacity at least; None: the space's |

Limits of the spaces, unless given; presets have the spaces' names:

| Preset | Schedule | Limits |
|---|---|---|
| mcuformer | layer | 5.7 M parameters and 1.25 G multiply-adds (DeiT-Ti), 320 KiB |
| mcuformer_small | token | 22 M parameters and 4.59 G multiply-adds (DeiT-S), 320 KiB |
| turbovit | layer | 12.7 M parameters and 2.2 G multiply-adds (TurboViT) |
| ascan | layer | 50 M parameters and 8 G multiply-adds (ours) |
| microcontroller | token | mcuformer_small, most multiply-adds within 320 KiB and 40 ms |

## Known optimum
By enumeration for turbovit; for other spaces by enumeration of the networks that no other beats
(`archgym.simulators.transformer.frontier`), in seconds. Objectives that want a metric both high and low, or a
target, have a known optimum for turbovit alone.

## Version History
- v0: first version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from archgym.errors import ArchGymError, unknown
from archgym.objective import AtLeast, AtMost, Maximize, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulators.transformer.model import VisionTransformer

GOALS: dict[str, type[Minimize | Maximize]] = {
    "latency_s": Minimize,
    "peak_memory_bytes": Minimize,
    "params": Maximize,
    "macs": Maximize,
}
COSTS = ("latency_s", "cycles", "peak_memory_bytes")  # limited from above, capacity from below
CAPACITY = ("params", "macs", "tokens", "blocks", "channels")

SRAM = 320 * 1024  # bytes, of MCUFormer's STM32F746
LIMITS: dict[str, dict[str, float]] = {
    "mcuformer": {"params": 5.7e6, "macs": 1.25e9, "peak_memory_bytes": SRAM},
    "mcuformer_small": {"params": 22e6, "macs": 4.59e9, "peak_memory_bytes": SRAM},
    "turbovit": {"params": 12.7e6, "macs": 2.2e9},
    "ascan": {"params": 50e6, "macs": 8e9},
}
PRESETS: dict[str, dict[str, Any]] = {
    "mcuformer": {"space": "mcuformer"},
    "mcuformer_small": {"space": "mcuformer_small", "schedule": "token"},
    "turbovit": {"space": "turbovit"},
    "ascan": {"space": "ascan"},
    "microcontroller": {
        "space": "mcuformer_small",
        "schedule": "token",
        "goal": "macs",
        "limits": {"peak_memory_bytes": SRAM, "latency_s": 0.04},
    },
}

# medians of random designs, int8 and "layer"
_MEDIANS: dict[str, dict[str, float]] = {
    "mcuformer": {"latency_s": 7.2e-3, "params": 6.5e6, "macs": 5.9e8, "peak_memory_bytes": 1.7e5},
    "mcuformer_small": {"latency_s": 2.4e-2, "params": 2.3e7, "macs": 2.1e9, "peak_memory_bytes": 2.3e5},
    "turbovit": {"latency_s": 5.8e-2, "params": 1.9e7, "macs": 5.1e9, "peak_memory_bytes": 1.1e7},
    "ascan": {"latency_s": 0.13, "params": 7.0e7, "macs": 1.8e10, "peak_memory_bytes": 2.1e7},
}
_SIZES: dict[str, dict[str, float]] = {
    "mcuformer": {"tokens": 82, "blocks": 13, "channels": 192},
    "mcuformer_small": {"tokens": 82, "blocks": 13, "channels": 384},
    "turbovit": {"tokens": 49, "blocks": 15, "channels": 640},
    "ascan": {"tokens": 49, "blocks": 16, "channels": 640},
}


def objective(
    simulator: Simulator, *, goal: str = "latency_s", limits: Mapping[str, float] | None = None
) -> Objective:
    """The best value of one metric within limits.

    Raises:
        ArchGymError: an unknown goal or metric, or a limit that is not a positive number.
    """
    if goal not in GOALS:
        raise unknown("goal of archgym/VisionTransformer-v0", goal, GOALS)
    network = cast(VisionTransformer, simulator.unwrapped)
    given = LIMITS[network.name] if limits is None else limits
    if not isinstance(given, Mapping):
        raise ArchGymError(f'expected limits such as {{"params": 5e6}}, or None, got {given!r}')
    return Objective(
        GOALS[goal](goal),
        *(_limit(name, value) for name, value in given.items()),
        reference=references(network),
    )


def references(network: VisionTransformer) -> dict[str, float]:
    """Medians of random designs of the space; costs in fp32 are those of int8 times the bytes of a number."""
    medians = {**_MEDIANS[network.name], **_SIZES[network.name]}
    medians["cycles"] = medians["latency_s"] * network.clock_hz
    return {name: value * (network.bytes if name in COSTS else 1) for name, value in medians.items()}


def _limit(name: str, value: float) -> AtMost | AtLeast:
    if name not in COSTS + CAPACITY:
        raise unknown("limit", name, COSTS + CAPACITY)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ArchGymError(f"expected a positive number as limit of {name}, got {value!r}")
    return AtMost(name, float(value)) if name in COSTS else AtLeast(name, float(value))


register_env(
    "archgym/VisionTransformer-v0",
    simulator="archgym.simulators.transformer.model:VisionTransformer",
    objective="archgym.envs.vision_transformer:objective",
    presets=PRESETS,
)
