"""archgym/NKLandscape-v0: a benchmark whose difficulty is one number and whose optimum is known.

## Description
NK landscapes (Kauffman & Weinberger, 1989): the fitness of n loci is the mean of n contributions, each a
random function of one locus and k others. k = 0 is separable, k = n - 1 is uncorrelated noise.

## Action Space
`MultiDiscrete([alleles] * n)`: alleles^n designs, all feasible.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| i = 0 ... n - 1 | x{i} | 0 ... alleles - 1 | allele at locus i |

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metric:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | fitness, in (0, 1) | 1 | higher |

## Rewards
log(fitness / 0.5); 0.5 is the expected fitness of a random design.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| n | int | 20 | number of loci |
| k | int | 2 | number of other loci that a contribution depends on, 0 <= k < n |
| alleles | int | 4 | values per locus |
| seed | int | 0 | seed of the landscape |
| neighbourhood | str | "adjacent" | "adjacent", the k loci that follow on the ring, or "random" |

Presets: `easy` (k = 0), `rugged` (k = 5), `random` (k = 4 random loci).

## Contexts
| Set | Contexts | Features that differ |
|---|---|---|
| landscapes | 48 landscapes of n = 12 and k = 4, seeds 1 to 48 | seed |

Features are the arguments: numbers in log2, words as 0 or 1. Landscapes of different seeds have nothing in
common, so that no policy can be better than a random design on a landscape that it did not see: a control.

## Known optimum
Exact for adjacent neighbourhoods, by dynamic programming (up to about 10^8 steps); unknown for random ones,
where finding it is NP-hard.

## Version History
- v0: first version.
"""

from archgym.objective import Maximize, Objective
from archgym.registry import register_env

register_env(
    "archgym/NKLandscape-v0",
    simulator="archgym.simulators.nk:NKLandscape",
    objective=Objective(Maximize("fitness"), reference={"fitness": 0.5}),
    presets={"easy": {"k": 0}, "rugged": {"k": 5}, "random": {"k": 4, "neighbourhood": "random"}},
    contexts={"landscapes": {"n": 12, "k": 4, "seed": list(range(1, 49))}},
)
