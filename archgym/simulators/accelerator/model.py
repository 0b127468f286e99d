"""The analytical model of a DNN on an accelerator, vectorised over designs and layers.

For every layer, with Br, Bn the bytes per cycle of off-chip memory and of the network between global buffer
and array (NoC),

    cycles  = max(compute, noc bytes / Bn, dram bytes / Br) + first tile / Br   double-buffered; once per
            repeat
            = compute + noc bytes / Bn + dram bytes / Br                                          otherwise
    energy  = MACs e_mac + L1 bytes e_L1 + noc bytes e_noc + buffer bytes e_buffer + dram bytes e_dram +
            leakage * time
    noc     = b (inputs + weights + O) + 2 a O (passes - 1)
    buffer  reads  b (inputs + weights) + a O (passes - 1) + DRAM writes
            writes b O + a O (passes - 1) + DRAM reads

`templates` give compute, inputs, weights and passes of a dataflow, `tiling` the DRAM bytes of the best tile
that fits, `energy` and `area` the costs. Layers and their groups run one after the other; each reads its
operands from off-chip memory and writes its result there.

Validated: compute cycles equal SCALE-Sim's and MAESTRO's; traffic and energy of weight-stationary matrix
    multiplications are close to
accelforge's. Not validated: stalls where bandwidth binds, absolute joules, words of the shidiannao and
eyeriss templates, area beyond memories and multiply-adders. `archgym fidelity accelerator` prints the
figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.simulator import Simulator, argument_features
from archgym.simulators.accelerator.design import (
    KIB,
    PRECISIONS,
    accelerator_space,
    select_metrics,
)
from archgym.simulators.accelerator.energy import EnergyTable, area_mm2, load_energy_table
from archgym.simulators.accelerator.layers import Layer, columns
from archgym.simulators.accelerator.templates import L1_ACCESSES, TEMPLATES, Arrays
from archgym.simulators.accelerator.tiling import Indexed, Tiles, curve
from archgym.simulators.accelerator.workloads import Dimensions, Workload, load_workload
from archgym.simulators.accelerator.workloads.features import layer_features
from archgym.space import Array, Indices

CHUNK = 4096  # designs at a time: a few hundred MB for networks of 100 layers
TERMS = ("compute", "noc", "dram")  # terms that may bind; the metric `bound` numbers them from 1

# Parameters that the mapping of a layer depends on.
_MAPPING = ("dataflow", "rows", "cols", "l1_bytes", "buffer_kb", "precision", "double_buffering")

_PRECISION_INDEX = {name: index for index, name in enumerate(PRECISIONS)}
_BYTES = np.array([(p.operand_bytes, p.accumulator_bytes) for p in PRECISIONS.values()]).T  # [2, precisions]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mappings(Indexed):
    """Layers mapped onto arrays, independent of bandwidths and clock: [B, L], all repeats of a layer
    together.

    Attributes:
        compute: cycles of computation alone.
        noc, dram: traffic of the network and of off-chip memory, bytes.
        first: operands of the first tile, bytes.
        energy: energy without leakage, pJ.
        fits: whether the layer fits buffer and L1.
    """

    compute: Floats
    noc: Floats
    dram: Floats
    first: Floats
    energy: Floats
    fits: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LayerCosts:
    """Costs of L layers on B designs, [B, L], all repeats of a layer together; undefined where not `fits`.

    Attributes:
        cycles: cycles of the layer.
        terms: cycles of computation, NoC and DRAM, [3, B, L].
        energy_j: energy without leakage, J.
        dram_bytes: off-chip traffic, bytes.
        fits: whether the layer fits buffer and L1.
    """

    cycles: Floats
    terms: Floats
    energy_j: Floats
    dram_bytes: Floats
    fits: npt.NDArray[np.bool_]


class LayerModel:
    """Costs of single layers.

    Args:
        layers: the layers, [L].
        table: energies and areas of a technology.
        kinds: precisions, and whether double-buffered, of the designs; all by default.
    """

    def __init__(
        self,
        layers: tuple[Layer, ...],
        table: EnergyTable,
        kinds: Sequence[tuple[str, bool]] = tuple(product(PRECISIONS, (False, True))),
    ):
        self.layers, self.table = layers, table
        self.macs = np.array([layer.macs for layer in layers], float)  # [L], all repeats
        self._columns = columns(layers)
        self._kinds = np.full(2 * len(PRECISIONS), len(kinds))  # place of each kind
        self._kinds[[2 * _PRECISION_INDEX[p] + d for p, d in kinds]] = np.arange(len(kinds))
        curves = [curve(layer, PRECISIONS[p], d) for p, d in kinds for layer in layers]
        sizes = [len(c.need) for c in curves]
        # by kind and layer
        self._offset = np.cumsum([0, *sizes[:-1]]).reshape(len(kinds), len(layers))
        # [fields of Tiles, T]
        self._curves = np.array([np.concatenate([getattr(c, f.name) for c in curves]) for f in fields(Tiles)])
        self._needs = [c.need for c in curves]
        self._places: dict[int, npt.NDArray[np.int64]] = {}

    def least_buffer_bytes(self, layer: int, precision: str, double_buffering: bool) -> int:
        """The smallest global buffer that holds a tile of a layer, bytes."""
        kind = self._kinds[2 * _PRECISION_INDEX[precision] + double_buffering]
        return int(self._needs[kind * len(self.layers) + layer][0])

    def costs(self, designs: Mapping[str, Array]) -> LayerCosts:
        """Costs of every layer on designs, columns [B] (see `design.accelerator_space`)."""
        mapped = self._map(designs) if len(designs["rows"]) == 1 else self._map_distinct(designs)
        clock_hz = 1e6 * designs["clock_mhz"][:, None]
        dram_bytes_per_cycle = 1e9 * designs["dram_gb_s"][:, None] / clock_hz
        terms = np.array(
            [
                mapped.compute,
                mapped.noc / designs["noc_bytes_per_cycle"][:, None],
                mapped.dram / dram_bytes_per_cycle,
            ]
        )
        overlapped = terms.max(axis=0) + mapped.first / dram_bytes_per_cycle
        cycles = np.where(designs["double_buffering"][:, None], overlapped, terms.sum(axis=0))
        return LayerCosts(cycles, terms, 1e-12 * mapped.energy, mapped.dram, mapped.fits)

    def totals(
        self, designs: Mapping[str, Array], costs: LayerCosts, counts: npt.NDArray[np.int64] | None = None
    ) -> dict[str, Array]:
        """One inference of all layers, one after the other.

        Args:
            designs: columns [B].
            costs: costs of the layers on these designs.
            counts: computations of each layer and its repeats by each design, [B, L]; a layer with 0 need not
                fit.

        Returns:
            latency_s, cycles, energy_j, area_mm2, power_w and edp, float64 [B], `feasible`, bool [B], and
            `failure`, str [B], if any design is infeasible.
        """
        cycles, energy_j, fits = costs.cycles, costs.energy_j, costs.fits
        if counts is not None:
            cycles, energy_j, fits = counts * cycles, counts * energy_j, fits | (counts == 0)
        total_cycles = cycles.sum(axis=1)
        latency_s = total_cycles / (1e6 * designs["clock_mhz"])
        leakage_w = self.table.sram_leakage_w(KIB * designs["buffer_kb"])
        leakage_w = leakage_w + designs["rows"] * designs["cols"] * self.table.sram_leakage_w(
            designs["l1_bytes"]
        )
        total_j = energy_j.sum(axis=1) + leakage_w * latency_s
        results: dict[str, Array] = {
            "latency_s": latency_s,
            "cycles": total_cycles,
            "energy_j": total_j,
            "area_mm2": area_mm2(
                self.table,
                designs["rows"],
                designs["cols"],
                designs["l1_bytes"],
                KIB * designs["buffer_kb"],
                designs["noc_bytes_per_cycle"],
                designs["precision"],
            ),
            "power_w": total_j / latency_s,
            "edp": total_j * latency_s,
            "feasible": np.asarray(fits.all(axis=1)),
        }
        if not results["feasible"].all():
            reasons = {
                row: self._reason(designs, row, fits[row])
                for row in np.flatnonzero(~results["feasible"]).tolist()
            }
            results["failure"] = np.array([reasons.get(row, "") for row in range(len(fits))])
        return results

    def _reason(self, designs: Mapping[str, Array], row: int, fits: npt.NDArray[np.bool_]) -> str:
        """The reason why a design is infeasible, by its first layer that does not fit."""
        layer = int(fits.argmin())
        name, precision = self.layers[layer].name, str(designs["precision"][row])
        need = self.least_buffer_bytes(layer, precision, bool(designs["double_buffering"][row]))
        if need > KIB * designs["buffer_kb"][row]:
            return (
                f"a buffer of {designs['buffer_kb'][row]} KiB holds no tile of {name}, which takes {need:,} "
                "bytes: raise buffer_kb"
            )
        dataflow, l1 = designs["dataflow"][row], designs["l1_bytes"][row]
        return (
            f"an L1 of {l1} bytes does not hold a row of the kernel of {name} for dataflow {dataflow} in "
            f"{precision}: raise l1_bytes"
        )

    def _map_distinct(self, designs: Mapping[str, Array]) -> Mappings:
        """Mappings of designs, columns [B], each distinct one made once."""
        _, first, inverse = np.unique(_keys(designs), return_index=True, return_inverse=True)
        return self._map({name: np.asarray(designs[name])[first] for name in _MAPPING})[inverse]

    def _map(self, designs: Mapping[str, Array]) -> Mappings:
        """Mappings of distinct designs, columns [U]."""
        layer, size = self._columns, len(designs["rows"])
        precision = _precision(designs)
        operand, accumulator = _BYTES[:, precision]
        rows, cols, l1_bytes = (np.asarray(designs[name], np.int64) for name in ("rows", "cols", "l1_bytes"))
        arrays = Arrays(*(column[:, None] for column in (rows, cols, l1_bytes, operand, accumulator)))
        held, tiles = self._tiles(designs, precision)
        cycles, inputs, weights, passes = (np.zeros((size, len(self.layers)), np.int64) for _ in range(4))
        fits, l1_words = held, np.zeros((2, size, 1))
        dataflows = set(designs["dataflow"].tolist())
        for dataflow in dataflows:
            if len(dataflows) == 1:
                own: Any = slice(None)
                mapped = TEMPLATES[dataflow](arrays, layer, tiles)
            else:
                own = np.flatnonzero(designs["dataflow"] == dataflow)
                mapped = TEMPLATES[dataflow](arrays[own], layer, tiles[own])
            cycles[own], inputs[own], weights[own], passes[own], _ = mapped
            fits[own] &= mapped.fits
            l1_words[:, own, 0] = np.array(L1_ACCESSES[dataflow])[:, None]
        b, a, count = arrays.operand_bytes, arrays.accumulator_bytes, layer["count"]
        outputs = layer["m"] * layer["n"]
        spilled = a * outputs * (passes - 1)
        operands = b * (inputs + weights)
        noc = operands + b * outputs + 2 * spilled
        buffer_reads = operands + spilled + tiles.writes
        buffer_writes = b * outputs + spilled + tiles.reads
        dram = tiles.reads + tiles.writes

        table = self.table
        buffer_read_pj, buffer_write_pj = table.sram_pj_per_byte(KIB * designs["buffer_kb"])
        l1_read_pj, l1_write_pj = table.sram_pj_per_byte(designs["l1_bytes"])
        l1_pj = (l1_read_pj + l1_write_pj) / 2  # reads equal writes, about
        mac_pj = (
            table.mac_pj(designs["precision"])[:, None] + (l1_words[0] * b + l1_words[1] * a) * l1_pj[:, None]
        )
        energy = (
            self.macs * mac_pj
            + count * noc * table.noc_pj_per_byte
            + count * (buffer_reads * buffer_read_pj[:, None] + buffer_writes * buffer_write_pj[:, None])
            + count * dram * table.dram_pj_per_byte
        )
        return Mappings(
            compute=(count * cycles).astype(np.float64),
            noc=(count * noc).astype(np.float64),
            dram=(count * dram).astype(np.float64),
            first=(layer["repeats"] * tiles.first).astype(np.float64),
            energy=energy,
            fits=fits,
        )

    def _tiles(
        self, designs: Mapping[str, Array], precision: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.bool_], Tiles]:
        """The tile of every layer in every design's buffer, [U, L], and whether there is one."""
        kind = self._kinds[2 * precision + designs["double_buffering"]]
        sizes = (KIB * designs["buffer_kb"]).tolist()
        row = {size: i for i, size in enumerate(dict.fromkeys(sizes))}  # a space has few
        places = np.array([self._place(size) for size in row], np.int64).reshape(-1, *self._offset.shape)
        place = places[np.array([row[size] for size in sizes], np.int64), kind]  # [U, L]
        return place >= 0, Tiles(*self._curves[:, self._offset[kind] + np.maximum(place, 0)])

    def _place(self, buffer_bytes: int) -> npt.NDArray[np.int64]:
        """Place of a buffer on every curve, [precisions x bufferings, L], -1 where no tile fits."""
        if buffer_bytes not in self._places:
            found = [np.searchsorted(need, buffer_bytes, side="right") - 1 for need in self._needs]
            self._places[buffer_bytes] = np.array(found, np.int64).reshape(self._offset.shape)
        return self._places[buffer_bytes]


def _precision(designs: Mapping[str, Array]) -> npt.NDArray[np.int64]:
    """Index of each design's precision in `PRECISIONS`, [B]."""
    return np.array([_PRECISION_INDEX[name] for name in designs["precision"].tolist()], np.int64)


def _keys(designs: Mapping[str, Array]) -> npt.NDArray[np.int64]:
    """A number for every distinct mapping, [B]."""
    key = np.zeros(len(designs["rows"]), np.int64)
    for name in _MAPPING:
        values, codes = np.unique(designs[name], return_inverse=True)
        key = key * len(values) + codes
    return key


class Accelerator(Simulator):
    """One network on one accelerator.

    Args:
        workload: workload by name (`archgym workloads`) or path (.onnx, .csv), or a Workload.
        technology: energy table by name ("45nm", "45nm_banked", "65nm") or path.
        fixed: parameters to hold constant, e.g. {"precision": "fp16"}.
        dimensions: sizes of dynamic dimensions of an .onnx file, e.g. {"batch": 1}; see `load_onnx`.

    Raises:
        ArchGymError: an unknown workload, table, parameter or value, or a file that cannot be read.
    """

    identity = "archgym.simulators.accelerator.model:Accelerator"

    metrics = select_metrics(
        "latency_s",
        "cycles",
        "energy_j",
        "area_mm2",
        "power_w",
        "edp",
        "utilization",
        "dram_bytes",
        "compute_cycles",
        "bound",
    )

    def __init__(
        self,
        workload: str | Workload = "resnet18",
        technology: str = "45nm",
        fixed: Mapping[str, Any] | None = None,
        dimensions: Dimensions | None = None,
    ):
        self.workload = load_workload(workload, dimensions)
        self.table = load_energy_table(technology)
        self.table.mac_pj(list(PRECISIONS))  # refuses a table without one of them
        self.space = accelerator_space(fixed)
        self.model = LayerModel(self.workload.layers, self.table)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and digests of the files that they name."""
        return {**super().specification, "workload": self.workload.digest, "table": self.table.digest}

    def context_features(self) -> dict[str, float]:
        """The arguments, and statistics of the layers (`layer_features`)."""
        return {
            **argument_features(self, but=("workload", "dimensions")),
            **layer_features(self.workload.layers),
        }

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, 10] -> every metric, float64 [B], `feasible`, bool [B], and `failure`, str [B], if
        any design is infeasible.
        """
        return in_chunks(lambda chunk: self._evaluate(self.space.decode(chunk)), indices)

    def _evaluate(self, designs: dict[str, Array]) -> dict[str, Array]:
        costs = self.model.costs(designs)
        results = self.model.totals(designs, costs)
        binds = costs.terms.argmax(axis=0) == np.arange(len(TERMS))[:, None, None]
        share = np.where(binds, costs.cycles, 0).sum(axis=2)  # [3, B]
        return results | {
            "utilization": self.model.macs.sum() / (results["cycles"] * designs["rows"] * designs["cols"]),
            "dram_bytes": costs.dram_bytes.sum(axis=1),
            "compute_cycles": costs.terms[0].sum(axis=1),
            "bound": 1.0 + share.argmax(axis=0),
        }


def in_chunks(evaluate: Callable[[Indices], dict[str, Array]], indices: Indices) -> dict[str, Array]:
    """Evaluate designs [B, P], `CHUNK` at a time: columns [B], with `failure` if any chunk has it."""
    parts = [evaluate(indices[start : start + CHUNK]) for start in range(0, max(len(indices), 1), CHUNK)]
    if len(parts) == 1:
        return parts[0]
    results = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "failure"}
    if any("failure" in part for part in parts):
        results["failure"] = np.concatenate(
            [part.get("failure", np.full(len(part["feasible"]), "")) for part in parts]
        )
    return results
