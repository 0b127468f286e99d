"""archgym/AttentionAccelerator-v0: an accelerator for attention of one sequence length, by energy-delay
product in a given area.

## Description
O = softmax(Q K') V on a square array of multiply-adders with a row of vector lanes. The cascade is the number
of passes of the softmax over the keys: three (textbook, FLAT), two (TileFlow) or one (FlashAttention,
FuseMax). More passes need less arithmetic, but must hold a whole row of scores per query on chip or move it
to memory and back; with one pass the buffer does not grow with the sequence. The softmax runs on the array
itself, or on vector lanes with exponential units. The simulator (`archgym.simulators.accelerator.attention`)
is a closed form that equals the published figures of FuseMax and of the one-pass cascade on FLAT's hardware
(Nayak et al., MICRO 2024) at their designs; other designs, energy and area are not validated. Bandwidth and
clock cost no area.

## Action Space
`MultiDiscrete([3, 2, 2, 6, 7, 10, 6, 3, 4])`: 362,880 designs. Designs whose buffer cannot hold a tile of
`array_dim` queries, keys and values are infeasible.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 | cascade | three_pass, two_pass, one_pass | passes over the keys |
| 1 | softmax | array, vector | unit that computes the softmax |
| 2 | interleaved | False, True | simultaneous work of array and lanes on different tiles |
| 3 | array_dim | 16, 32, 64, 128, 256, 512 | rows and columns of the array |
| 4 | vector_lanes | 32, 64, 128, 256, 512, 1024, 2048 | lanes of the vector unit |
| 5 | buffer_kb | 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768 | buffer, KiB |
| 6 | dram_gb_s | 50, 100, 200, 400, 800, 1600 | memory bandwidth, GB/s |
| 7 | precision | int8, fp16, fp32 | precision of operands and arithmetic |
| 8 | clock_mhz | 470, 705, 940, 1175 | clock frequency, MHz |

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | latency_s | s | lower |
| 1 | cycles | 1 | lower |
| 2 | energy_j | J | lower |
| 3 | area_mm2 | mm2 | lower |
| 4 | power_w | W | lower |
| 5 | edp: energy_j * latency_s | J s | lower |
| 6 | utilization: share of the array's capacity for the two products | 1 | higher |
| 7 | dram_bytes: off-chip traffic | B | lower |
| 8 | bound: busiest part; 1 array, 2 vector lanes, 3 DRAM | 1 | |

## Rewards
-log(edp / reference), minus log(area_mm2 / limit) where the area exceeds the limit. The reference is near the
median design's: 3.3e-24 J s times the square of the multiply-adds, queries and keys rounded up to 64.

## Starting State
Observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| batch | int | 64 | number of sequences |
| heads | int | 12 | heads of queries, each with its own keys and values |
| queries | int | 4096 | queries per head; 1 for a decoding step |
| keys | int | 4096 | keys per head |
| head_dim | int | 64 | dimension of queries and keys |
| value_dim | int | 64 | dimension of values |
| area_mm2 | float | 50.0 | limit on the area, mm2 |
| form | str | "log" | form of the objective: log, linear, nasaic |
| tabulated | bool | True | table of all designs in memory |

Presets name common workloads, `gymnasium.make("archgym/AttentionAccelerator-v0", preset="bert_64k")`: bert,
xlm (batch 64) and llama (batch 1, 32 heads of 128), each at 1k, 4k, 16k, 64k, 256k and 1m tokens; see
`PRESETS`.

## Contexts
| Set | Contexts | Features that differ |
|---|---|---|
| sequence_lengths | 12 lengths from 128 to 1,048,576, of queries and of keys | queries, keys |

Features are the sizes in log2, and the limit on the area.

## Known optimum
By enumeration: the table holds all designs.

## Version History
- v0: first version.
"""

from __future__ import annotations

from math import ceil
from typing import cast

from archgym.objective import AtMost, Form, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.accelerator.attention import AttentionAccelerator
from archgym.simulators.accelerator.fusemax import LENGTHS, WORD_BYTES, compulsory_bytes

PRESETS = {
    f"{name}_{length.lower()}": {
        "batch": batch,
        "heads": heads,
        "queries": n,
        "keys": n,
        "head_dim": dim,
        "value_dim": dim,
    }
    for name, (batch, heads, dim) in {
        "bert": (64, 12, 64),
        "xlm": (64, 16, 128),
        "llama": (1, 32, 128),
    }.items()
    for length, n in LENGTHS.items()
}

SEQUENCE_LENGTHS = (128, 384, 1000, 2048, 3000, 4096, 8192, 12_000, 32_768, 100_000, 262_144, 1_048_576)

# Medians of random feasible designs on workloads from 128 to 2^20 tokens and decoding steps, each within a
# factor of 2.7 of these;
# per multiply-add unless noted.
MEDIAN_LATENCY_S = 6e-13
MEDIAN_CYCLES = 4e-4
MEDIAN_ENERGY_J = 5.5e-12
MEDIAN_EDP = 3.3e-24  # per squared multiply-add
MEDIAN_POWER_W = 9.0  # per design
PADDING = 64  # queries and keys in a median array's tile


def attention_accelerator(
    batch: int = 64,
    heads: int = 12,
    queries: int = 4096,
    keys: int = 4096,
    head_dim: int = 64,
    value_dim: int = 64,
    tabulated: bool = True,
) -> Simulator:
    """One attention: the closed forms, as a table of all designs unless `tabulated` is False."""
    model = AttentionAccelerator(batch, heads, queries, keys, head_dim, value_dim)
    return Tabulated(model) if tabulated else model


def objective(simulator: Simulator, *, area_mm2: float = 50.0, form: Form = "log") -> Objective:
    """The least energy-delay product among accelerators of at most `area_mm2`."""
    attention = cast(AttentionAccelerator, simulator.unwrapped).attention
    scores = (
        attention.batch
        * attention.heads
        * (PADDING * ceil(attention.queries / PADDING))
        * (PADDING * ceil(attention.keys / PADDING))
    )
    macs = float(scores * (attention.head_dim + attention.value_dim))
    # Only edp is rewarded; the other references keep observations of any workload within the bounds of the
    # space.
    reference = {
        "edp": MEDIAN_EDP * macs**2,
        "latency_s": MEDIAN_LATENCY_S * macs,
        "cycles": MEDIAN_CYCLES * macs,
        "energy_j": MEDIAN_ENERGY_J * macs,
        "power_w": MEDIAN_POWER_W,
        "area_mm2": area_mm2,
        # plus scores moved out and in once
        "dram_bytes": float(compulsory_bytes(attention)) + 2.0 * WORD_BYTES * scores,
    }
    return Objective(Minimize("edp"), AtMost("area_mm2", area_mm2), form=form, reference=reference)


register_env(
    "archgym/AttentionAccelerator-v0",
    simulator="archgym.envs.attention_accelerator:attention_accelerator",
    objective="archgym.envs.attention_accelerator:objective",
    presets=PRESETS,
    contexts={"sequence_lengths": [{"queries": n, "keys": n} for n in SEQUENCE_LENGTHS]},
)
