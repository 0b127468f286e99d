"""Costs of vision transformers of a macro space, vectorised over designs.

    params, macs, cycles    sums over a network's parts of those of their layers (`blocks`)
    peak_memory_bytes       largest number of activations alive at once, times bytes of one
    latency_s             = cycles / clock
    blocks                  number of transformer and convolution blocks
    tokens, channels        tokens of the last block, and their channels

Parameters, multiply-adds and peak memory are exact for the networks that `blocks` and `spaces` describe.
Cycles are those of the analytical model of an accelerator (`accelerator.model`) on the default design of
archgym/Accelerator-v0, ACCELERATOR below: layers run one after the other, and every layer reads its operands
from off-chip memory and writes its result there, whatever the schedule of memory. Normalisations, softmax,
activation functions, pooling and additions take no cycles. Accuracy is not modelled.

Each part's costs are computed once for every setting of its parameters that is met, and each distinct layer
once, for all simulators of a process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import unknown
from archgym.objective import AtLeast, AtMost, Maximize, Minimize, Objective
from archgym.simulator import Candidates, Metric, Simulator
from archgym.simulators.accelerator.design import PRECISIONS
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.model import LayerModel
from archgym.simulators.transformer.blocks import Block, joined
from archgym.simulators.transformer.frontier import Limits, Settings, frontier
from archgym.simulators.transformer.spaces import SPACES, Part
from archgym.space import Array, DesignSpace, Indices

ACCELERATOR: dict[str, Any] = {
    "dataflow": "nvdla",
    "rows": 16,
    "cols": 16,
    "l1_bytes": 256,
    "buffer_kb": 128,
    "noc_bytes_per_cycle": 64,
    "dram_gb_s": 16,
    "double_buffering": True,
    "clock_mhz": 800,
}
TECHNOLOGY = "45nm"  # whose energies are not used
PRECISION_NAMES = ("int8", "fp32")
SCHEDULES = ("layer", "token")

QUANTITIES = ("params", "macs", "cycles", "blocks", "tokens", "channels", "peak")
PEAK = QUANTITIES.index("peak")  # the largest of the parts'; others are summed

_SIGNS = {Minimize: 1.0, AtMost: 1.0, Maximize: -1.0, AtLeast: -1.0}

Floats = npt.NDArray[np.float64]


class VisionTransformer(Simulator):
    """Networks of a macro space: parameters, multiply-adds, peak memory and latency.

    Args:
        space: macro space, "mcuformer", "mcuformer_small", "turbovit" or "ascan".
        precision: numbers of activations and weights, "int8" or "fp32".
        schedule: what is stored of activations, "layer" (whole outputs of layers) or "token" (MCUFormer's).

    Raises:
        ArchGymError: an unknown space, precision or schedule.
    """

    identity = "archgym.simulators.transformer.model:VisionTransformer"

    metrics = (
        Metric("latency_s", "s", "lower"),
        Metric("cycles", "1", "lower"),
        Metric("params", "1"),
        Metric("macs", "1"),
        Metric("peak_memory_bytes", "B", "lower"),
        Metric("tokens", "1"),
        Metric("blocks", "1"),
        Metric("channels", "1"),
    )

    def __init__(self, space: str = "turbovit", precision: str = "int8", schedule: str = "layer"):
        if space not in SPACES:
            raise unknown("macro space", space, SPACES)
        if precision not in PRECISION_NAMES:
            raise unknown("precision", precision, PRECISION_NAMES)
        if schedule not in SCHEDULES:
            raise unknown("schedule", schedule, SCHEDULES)
        self.name, self.precision, self.schedule = space, precision, schedule
        self.space = SPACES[space]().space
        self.bytes = PRECISIONS[precision].operand_bytes  # of a number
        self.clock_hz = 1e6 * ACCELERATOR["clock_mhz"]

    @property
    def _scales(self) -> dict[str, tuple[str, float]]:
        """Metrics that are a quantity times a unit."""
        return {"latency_s": ("cycles", 1 / self.clock_hz), "peak_memory_bytes": ("peak", float(self.bytes))}

    @property
    def _tables(self) -> list[_Table]:
        return _tables(self.name, self.precision, self.schedule)

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, P] -> every metric, float64 [B], and `feasible`, bool [B]."""
        totals = np.zeros((len(indices), len(QUANTITIES)))
        for table in self._tables:
            own = table.costs(indices)
            peak = np.maximum(totals[:, PEAK], own[:, PEAK])
            totals += own
            totals[:, PEAK] = peak
        columns: dict[str, Array] = dict(zip(QUANTITIES, totals.T, strict=True))
        return {
            **{metric.name: columns[metric.name] for metric in self.metrics if metric.name in columns},
            "latency_s": columns["cycles"] / self.clock_hz,
            "peak_memory_bytes": self.bytes * columns["peak"],
            "feasible": np.ones(len(indices), bool),
        }

    def candidates(self, objective: Objective) -> Candidates | None:
        """Designs that no other beats in what the objective wants low or high; None where it wants something
        both, or near a target.
        """
        wanted: dict[str, tuple[float, float, bool]] = {}  # sign, limit and whether lower is better
        for part in (*objective.terms, *objective.constraints):
            sign = _SIGNS.get(type(part), 0.0)
            name, unit = self._scales.get(part.metric, (part.metric, 1.0))
            before, limit, lower = wanted.get(name, (sign, math.inf, False))
            if not sign or part.weight < 0 or before != sign or (name == "peak" and sign < 0):
                return None
            if isinstance(part, (AtMost, AtLeast)):
                limit = min(limit, sign * part.limit / unit)
            wanted[name] = sign, limit, lower or isinstance(part, (Minimize, Maximize))
        names = [name for name in QUANTITIES if name in wanted]
        signs, most, lower_better = zip(*(wanted[name] for name in names), strict=True)
        places = [QUANTITIES.index(name) for name in names]
        found = frontier(
            self.space,
            [
                Settings(table.places, table.rows, table.all_costs()[:, places] * signs)
                for table in self._tables
            ],
            Limits(np.array(names) == "peak", np.array(most), np.array(lower_better)),
        )
        return Candidates(
            len(found), lambda chunk: (found[start : start + chunk] for start in range(0, len(found), chunk))
        )


class Cycles:
    """Cycles of layers on the accelerator, each distinct layer computed once.

    Args:
        precision: numbers of operands.
    """

    def __init__(self, precision: str):
        self.design = {
            name: np.array([value]) for name, value in {**ACCELERATOR, "precision": precision}.items()
        }
        self._kind = (precision, bool(ACCELERATOR["double_buffering"]))
        self._known: dict[Layer, float] = {}

    def of(self, layers: Sequence[Layer]) -> list[float]:
        """Cycles of each layer, all of which fit the buffer."""
        new = tuple(layer for layer in dict.fromkeys(layers) if layer not in self._known)
        if new:
            costs = LayerModel(new, load_energy_table(TECHNOLOGY), [self._kind]).costs(self.design)
            self._known.update(zip(new, costs.cycles[0].tolist(), strict=True))
        return [self._known[layer] for layer in layers]


class _Table:
    """Costs of one part by its own parameters, filled as its settings are met.

    Attributes:
        places: places of its parameters in the space, [Q].
        rows: indices of all settings, int64 [R, Q].
    """

    def __init__(self, space: DesignSpace, part: Part, schedule: str, cycles: Cycles):
        self._parameters = [space[name] for name in part.names]
        self._part, self._schedule, self._cycles = part, schedule, cycles
        self.places = np.array([space.names.index(name) for name in part.names], np.int64)
        self._shape = tuple(len(parameter) for parameter in self._parameters)
        size = math.prod(self._shape)
        self.rows = (
            np.stack(np.unravel_index(np.arange(size), self._shape), axis=1)
            if self._shape
            else (np.zeros((1, 0), np.int64))
        )
        self._values = np.full((size, len(QUANTITIES)), np.nan)

    def costs(self, indices: Indices) -> Floats:
        """`QUANTITIES` of the part in designs [B, P], [B, Q]."""
        if not self._shape:
            settings = np.zeros(len(indices), np.int64)
        else:
            settings = np.ravel_multi_index(tuple(indices[:, self.places].T), self._shape)
        values = self._values[settings]
        if np.isnan(values[:, 0]).any():
            self._fill(np.unique(settings[np.isnan(values[:, 0])]))
            values = self._values[settings]
        return values

    def all_costs(self) -> Floats:
        """`QUANTITIES` of all settings, [R, Q]."""
        self._fill(np.flatnonzero(np.isnan(self._values[:, 0])))
        return self._values

    def _fill(self, settings: Indices) -> None:
        networks = [self._block(setting) for setting in settings.tolist()]
        cycles = iter(self._cycles.of([layer for block in networks for layer in block.layers]))
        for setting, block in zip(settings.tolist(), networks, strict=True):
            self._values[setting] = (
                block.parameters,
                block.macs,
                sum(next(cycles) for _ in block.layers),
                block.blocks,
                block.tokens,
                block.channels,
                block.by_layer if self._schedule == "layer" else block.by_token,
            )

    def _block(self, setting: int) -> Block:
        values: Mapping[str, Any] = {
            parameter.name: parameter.value(index)
            for parameter, index in zip(self._parameters, self.rows[setting].tolist(), strict=True)
        }
        return joined(self._part.build(values))


@cache
def _tables(space: str, precision: str, schedule: str) -> list[_Table]:
    """Tables of all parts of a space."""
    macro = SPACES[space]()
    return [_Table(macro.space, part, schedule, _cycles(precision)) for part in macro.parts]


@cache
def _cycles(precision: str) -> Cycles:
    return Cycles(precision)
