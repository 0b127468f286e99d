"""Heterogeneous accelerators: several sub-accelerators on one chip run several networks at once (NASAIC, Yang
et al., DAC 2020).

A sub-accelerator has a dataflow template, PEs and a share of the off-chip bandwidth; the chip has a budget of
both. A scheduler (`scheduler.schedule`) assigns the layers of the networks, in order, to sub-accelerators:

    energy  = sum over layers of energy(layer, its sub-accelerator) + leakage * latency
    latency = the end of the last layer
    minimise energy with latency <= spec, or latency if no schedule meets the spec or there is none

The analytical model (`model.LayerModel`) gives time and energy of a layer. PEs are arranged as in MAESTRO:
nvdla 64 x P / 64, shidiannao P / 8 x 8, eyeriss 16 x P / 16. The unit of assignment is a row of a workload's
file with all its repeats.

Networks may be parameters too, each with several options of published accuracy: chip and networks are then
searched jointly. Budgets, templates and the form of the objective are NASAIC's; the specs are not, as
NASAIC's depend on MAESTRO's area.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown, whole
from archgym.simulator import Metric, Simulator, argument_features
from archgym.simulators.accelerator.design import KIB, select_metrics
from archgym.simulators.accelerator.energy import Floats, area_mm2, load_energy_table
from archgym.simulators.accelerator.model import LayerModel
from archgym.simulators.accelerator.scheduler import schedule
from archgym.simulators.accelerator.workloads import Dimensions, Workload, load_workload
from archgym.simulators.accelerator.workloads.features import layer_features
from archgym.space import Array, Categorical, DesignSpace, Indices, Integer, Parameter

Network = str | os.PathLike[str] | Workload
Networks = Sequence[Network | Sequence[Network]]
# sizes for all networks, and for one by its path
ManyDimensions = Mapping[str, int | Sequence[int] | Dimensions]

TEMPLATES = ("nvdla", "shidiannao", "eyeriss")
PE_STEP, PE_BUDGET = 256, 4096
BANDWIDTH_STEP, BANDWIDTH_BUDGET = 4, 64  # GB/s
SPECS = ("latency_s", "energy_j", "area_mm2")

# Constant parameters, as in NASAIC.
PER_SUB = {
    "l1_bytes": 256,
    "buffer_kb": 512,
    "noc_bytes_per_cycle": 128,
    "precision": "int8",
    "double_buffering": True,
    "clock_mhz": 1000,
}


class HeterogeneousAccelerator(Simulator):
    """Several networks at once on a chip of sub-accelerators.

    Args:
        networks: one entry per network: a workload (name, path or Workload), or a list of options with
            published accuracies.
        subs: number of sub-accelerators.
        specs: limits on latency_s, energy_j and area_mm2; the schedule minimises energy within the latency.
        technology: energy table by name or path.
        dimensions: sizes of dynamic dimensions of .onnx files (see `load_onnx`): for all, {"batch": 1}, or
            for one, {"detector.onnx": {"height": 320, "width": 320}}.

    Raises:
        ArchGymError: an empty list, an unknown network, an option without an accuracy, a spec that is not a
            positive number.
    """

    identity = "archgym.simulators.accelerator.heterogeneous:HeterogeneousAccelerator"

    metrics: tuple[Metric, ...] = select_metrics(
        "latency_s", "energy_j", "area_mm2", "edp", "power_w", "utilization"
    )

    def __init__(
        self,
        networks: Networks = ("resnet18", "mobilenet_v2"),
        subs: int = 2,
        specs: Mapping[str, float] | None = None,
        technology: str = "45nm",
        dimensions: ManyDimensions | None = None,
    ):
        self.subs, self.specs = whole("subs", subs, least=1), _checked_specs(specs)
        self.workloads = _checked_networks(networks, {} if dimensions is None else dimensions)
        self.table = load_energy_table(technology)
        self._sub = DesignSpace(_parameters(""))
        chip = [parameter for a in range(subs) for parameter in _parameters(str(a))]
        choice = {
            f"network{i}": [w.name for w in options]
            for i, options in enumerate(self.workloads)
            if len(options) > 1
        }
        self.space = DesignSpace([*chip, *(Categorical(name, names) for name, names in choice.items())])
        if choice:
            self.metrics = (Metric("accuracy", unit="1", better="higher"), *type(self).metrics)
        # All possible sub-accelerators: columns [S], times and energies of each network's layers [S, L].
        self._designs = _sub_accelerators(self._sub)
        self._costs = {w.name: self._cost_layers(w) for options in self.workloads for w in options}
        of = self._designs
        buffer_bytes = KIB * of["buffer_kb"]
        self._area_mm2 = area_mm2(
            self.table,
            of["rows"],
            of["cols"],
            of["l1_bytes"],
            buffer_bytes,
            of["noc_bytes_per_cycle"],
            of["precision"],
        )
        self._leakage_w = self.table.sram_leakage_w(buffer_bytes) + of["pes"] * self.table.sram_leakage_w(
            of["l1_bytes"]
        )

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and digests of the files that they name."""
        workloads = [workload.digest for options in self.workloads for workload in options]
        return {**super().specification, "workloads": workloads, "table": self.table.digest}

    def context_features(self) -> dict[str, float]:
        """The arguments, the numbers of networks and of options, and statistics of all their layers
        (`layer_features`).
        """
        networks = [workload for options in self.workloads for workload in options]
        return {
            **argument_features(self, but=("networks", "dimensions")),
            "networks": float(np.log2(len(self.workloads))),
            "options": float(np.log2(len(networks))),
            **layer_features(tuple(layer for workload in networks for layer in workload.layers)),
        }

    def _cost_layers(self, workload: Workload) -> tuple[Floats, Floats]:
        """Time (s; inf where a layer does not fit) and energy (J) of layers on sub-accelerators, [S, L]
        each.
        """
        costs = LayerModel(workload.layers, self.table).costs(self._designs)
        return np.where(
            costs.fits, costs.cycles / (1e6 * self._designs["clock_mhz"][:, None]), np.inf
        ), costs.energy_j

    def canonical(self, indices: Indices) -> Indices:
        """Sort sub-accelerators, and networks where all have the same options: [B, P] -> [B, P]."""
        parts = indices[:, : 3 * self.subs].reshape(-1, self.subs, 3)
        order = np.argsort(
            -self._sub.to_ordinal(parts.reshape(-1, 3)).reshape(-1, self.subs), axis=1, kind="stable"
        )
        chosen = indices[:, 3 * self.subs :]
        if all(options == self.workloads[0] for options in self.workloads):
            chosen = np.sort(chosen, axis=1)
        return np.concatenate(
            [np.take_along_axis(parts, order[:, :, None], axis=1).reshape(len(indices), -1), chosen], axis=1
        )

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, P] -> every metric, float64 [B], and `feasible`, bool [B]: within the budgets, and
        every layer fits somewhere.
        """
        size = len(indices)
        indices = self.canonical(indices)  # equivalent designs get the same schedule
        subs = self._chips(indices)
        pes = self._designs["pes"][subs].sum(axis=1)
        affordable = self.affordable(indices)
        latency, energy, accuracy, macs = (np.full(size, np.nan) for _ in range(4))
        for networks, rows in self._groups(indices, np.flatnonzero(affordable)):
            latency[rows], energy[rows] = self._run(networks, subs[rows])
            accuracy[rows] = np.mean([w.accuracy or np.nan for w in networks])
            macs[rows] = sum(w.macs for w in networks)
        feasible = affordable & np.isfinite(latency)
        with np.errstate(invalid="ignore"):
            energy = energy + self._leakage_w[subs].sum(axis=1) * latency
            results: dict[str, Array] = {
                **({"accuracy": accuracy} if self.metrics[0].name == "accuracy" else {}),
                "latency_s": latency,
                "energy_j": energy,
                "area_mm2": self._area_mm2[subs].sum(axis=1),
                "edp": energy * latency,
                "power_w": energy / latency,
                "utilization": macs / (latency * 1e6 * self._designs["clock_mhz"][0] * pes),
                "feasible": feasible,
            }
        if not feasible[affordable].all():
            reason = "a layer fits none of the sub-accelerators: choose another dataflow for one of them"
            results["failure"] = np.where(affordable & ~feasible, reason, "")
        return results

    def affordable(self, indices: Indices) -> npt.NDArray[np.bool_]:
        """Whether PEs and bandwidth are within their budgets: [B, P] -> bool [B]."""
        subs = self._chips(indices)
        pes, bandwidth = (self._designs[name][subs].sum(axis=1) for name in ("pes", "dram_gb_s"))
        return (pes <= PE_BUDGET) & (bandwidth <= BANDWIDTH_BUDGET)

    def _chips(self, indices: Indices) -> Indices:
        """The sub-accelerators of designs [B, P] as rows of `_designs`, [B, subs]."""
        return self._sub.to_ordinal(indices[:, : 3 * self.subs].reshape(-1, 3)).reshape(
            len(indices), self.subs
        )

    def _run(self, networks: tuple[Workload, ...], subs: Indices) -> tuple[Floats, Floats]:
        """Latency (s; inf where a layer fits nowhere) and energy (J, without leakage) of networks on chips
        [B, subs], [B] each.
        """
        time, energy = (
            np.concatenate([self._costs[w.name][which][subs] for w in networks], axis=2) for which in (0, 1)
        )
        network = np.repeat(np.arange(len(networks)), [len(w.layers) for w in networks])
        plan = schedule(time.swapaxes(1, 2), energy.swapaxes(1, 2), network, self.specs.get("latency_s"))
        return plan.latency, plan.energy

    def _groups(self, indices: Indices, rows: Indices) -> Iterator[tuple[tuple[Workload, ...], Indices]]:
        """Networks, and the rows of the designs that choose them."""
        chosen = np.zeros((len(indices), len(self.workloads)), np.int64)
        chosen[:, [i for i, options in enumerate(self.workloads) if len(options) > 1]] = indices[
            :, 3 * self.subs :
        ]
        distinct, group = np.unique(chosen[rows], axis=0, return_inverse=True)
        for g, choice in enumerate(distinct.tolist()):
            yield (
                tuple(options[c] for options, c in zip(self.workloads, choice, strict=True)),
                rows[group.reshape(-1) == g],
            )


def _parameters(which: str) -> list[Parameter]:
    """The parameters of one sub-accelerator, with its number in their names."""
    return [
        Categorical(f"dataflow{which}", TEMPLATES),
        Integer(f"pes{which}", PE_STEP, PE_BUDGET, PE_STEP, default=PE_BUDGET // 2),
        Integer(
            f"bandwidth{which}_gb_s",
            BANDWIDTH_STEP,
            BANDWIDTH_BUDGET,
            BANDWIDTH_STEP,
            default=BANDWIDTH_BUDGET // 2,
        ),
    ]


def _sub_accelerators(space: DesignSpace) -> dict[str, Array]:
    """All sub-accelerators as designs of `design.accelerator_space`: columns [S], in the order of the
    space.
    """
    every = space.decode(np.concatenate(list(space.enumerate())))
    dataflow, pes = every["dataflow"], every["pes"]
    rows = np.select([dataflow == "nvdla", dataflow == "shidiannao"], [64, pes // 8], 16)
    designs = {
        "dataflow": dataflow,
        "pes": pes,
        "rows": rows,
        "cols": pes // rows,
        "dram_gb_s": every["bandwidth_gb_s"],
    }
    return designs | {name: np.full(len(pes), value) for name, value in PER_SUB.items()}


def _checked_networks(networks: Networks, dimensions: ManyDimensions) -> tuple[tuple[Workload, ...], ...]:
    """The options of each network."""
    if not isinstance(dimensions, Mapping):
        raise ArchGymError(
            f'dimensions must be a mapping of names to sizes, such as {{"batch": 1}}, not {dimensions!r}'
        )
    if isinstance(networks, str) or not isinstance(networks, Sequence) or not networks:
        raise ArchGymError(
            "networks must be a list of workloads or lists of options, such as ['resnet18', 'vgg16'], not "
            f"{networks!r}"
        )
    lists = [
        _paths_as_text(entry) if isinstance(entry, (list, tuple)) else _paths_as_text([entry])
        for entry in networks
    ]
    models = {w for each in lists for w in each if isinstance(w, str) and w.lower().endswith(".onnx")}
    shared: dict[str, Any] = {key: size for key, size in dimensions.items() if not isinstance(size, Mapping)}
    own: dict[str, Any] = {str(key): sizes for key, sizes in dimensions.items() if isinstance(sizes, Mapping)}
    if (shared and not models) or own.keys() - models:
        raise ArchGymError(
            f"dimensions are for .onnx files among the networks ({', '.join(sorted(models)) or 'none'}), not "
            f"{dimensions!r}"
        )
    options = tuple(
        tuple(
            load_workload(w, shared | own.get(w, {}) if isinstance(w, str) and w in models else None)
            for w in each
        )
        for each in lists
    )
    for each in options:
        unrated = [w.name for w in each if w.accuracy is None]
        if not each:
            raise ArchGymError("a list of options is empty; give at least one workload")
        if len(each) > 1 and unrated:
            raise ArchGymError(
                f"{unrated[0]} has no published accuracy, so it cannot be one of several options"
            )
    return options


def _paths_as_text(networks: Sequence[Any]) -> list[Any]:
    return [os.fspath(network) if isinstance(network, os.PathLike) else network for network in networks]


def _checked_specs(specs: Mapping[str, float] | None) -> dict[str, float]:
    if specs is not None and not isinstance(specs, Mapping):
        raise ArchGymError(f'specs must be a mapping of limits, such as {{"latency_s": 0.01}}, not {specs!r}')
    for name, limit in (specs or {}).items():
        if name not in SPECS:
            raise unknown("spec", name, SPECS)
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
            raise ArchGymError(f"the spec of {name} must be a positive number, not {limit!r}")
    return {name: float(limit) for name, limit in (specs or {}).items()}
