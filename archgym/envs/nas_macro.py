"""archgym/NasMacro-v0: choose the eight blocks of a small image network, looked up in a table of trained
networks.

## Description
Every network of NAS-Bench-Macro (Su et al., CVPR 2021) was trained three times on CIFAR-10, for 50 epochs.
The source states test accuracy alone, the best over the epochs, and no validation accuracy: here a search
sees the test accuracy, so its result looks better than it would on new images. The table is imported once,
from the source's nas-bench-macro_cifar10.json, by `archgym data import nas-bench-macro JSON`; before that,
the environment is not registered.

## Action Space
`MultiDiscrete([3] * 8)`: 6,561 networks, all feasible. 3,969 differ, since the place of identities behind the
first layer of a stage does not matter.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 | layer0 | identity, mb3_k3, mb6_k5 | block of the first stage (64 channels), stride 2 |
| 1 | layer1 | the same | first stage |
| 2 | layer2 | the same | second stage (128 channels), stride 2 |
| 3 | layer3 | the same | second stage |
| 4 | layer4 | the same | second stage |
| 5 | layer5 | the same | third stage (256 channels), stride 2 |
| 6 | layer6 | the same | third stage |
| 7 | layer7 | the same | third stage |

mb3_k3 is an inverted residual block of expansion 3 and kernel 3x3, mb6_k5 one of expansion 6 and kernel 5x5.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | test_accuracy: best accuracy over 50 epochs | 1 | higher |
| 1 | params: parameters of the network | 1 | lower |
| 2 | macs: multiply-adds for one image | 1 | lower |

## Rewards
log(test_accuracy / median over all networks), minus log(value / limit) where parameters or multiply-adds
exceed a limit.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| dataset | str | "nas-bench-macro-cifar10" | name of `archgym data list` whose space is macro |
| seed | str | "mean" | "mean" over the three trainings, or "random" for one of them per query |
| params | float or None | None | limit on params |
| macs | float or None | None | limit on macs |

## Known optimum
Exact, from the table, unless the seed is random.

## Version History
- v0: first version.
"""

from __future__ import annotations

import numpy as np

from archgym.objective import AtMost, Maximize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.nas.macro import NasMacro
from archgym.simulators.nas.requirements import MACRO_TABLE


def nas_macro(dataset: str = MACRO_TABLE, seed: str = "mean") -> Simulator:
    """Networks looked up; tabulated, so that the optimum is known, unless a training is drawn per query."""
    networks = NasMacro(dataset, seed)
    return networks if networks.stochastic else Tabulated(networks)


def objective(simulator: Simulator, *, params: float | None = None, macs: float | None = None) -> Objective:
    """The highest test accuracy within limits; references are medians over all networks."""
    limits = {"params": params, "macs": macs}
    columns = simulator.evaluate_indices(
        simulator.space.from_ordinal(np.arange(simulator.space.size)), np.random.default_rng(0)
    )
    return Objective(
        Maximize("test_accuracy"),
        *(AtMost(name, limit) for name, limit in limits.items() if limit is not None),
        reference={metric.name: float(np.median(columns[metric.name])) for metric in simulator.metrics},
    )


register_env(
    "archgym/NasMacro-v0",
    simulator="archgym.envs.nas_macro:nas_macro",
    objective="archgym.envs.nas_macro:objective",
)
