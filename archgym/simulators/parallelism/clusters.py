"""Clusters of GPUs: peak rates with efficiencies, memory, and the networks between GPUs.

A cluster is a JSON file with the keys of `Cluster` and "format": "archgym-cluster/1"; title, source and
power_w are optional. Efficiencies are steps of an operation's own size: [[128, 0.95], [16, 0.9], [0, 0.1]] is
0.95 for 128 and more. Calculon's own files (matrix, vector, mem1, processing_mode, networks) are read too,
for 16-bit numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import reading
from archgym.simulators.parallelism.files import (
    at_least,
    check_format,
    check_keys,
    positive,
    read_json,
    share,
)

FORMAT = "archgym-cluster/1"
FOLDER = Path(__file__).parent / "clusters"
OPERATIONS = ("point_to_point", "all_reduce", "reduce_scatter", "all_gather")
OVERLAPS = ("none", "roofline")
Steps = tuple[tuple[float, float], ...]  # (least size, efficiency), largest size first


@dataclass(frozen=True)
class Network:
    """One network of a cluster: time of an operation on k bytes among n GPUs is

        latency + k scale (1 + offset / n) / (bandwidth efficiency).

    Args:
        gpus: most GPUs that it joins.
        gb_s: bandwidth per GPU and direction in GB/s.
        efficiency: reachable share of the bandwidth.
        latency_s: latency in s.
        operations: (scale, offset) of each of OPERATIONS.
        processor_share: share of a GPU's compute that an operation occupies while it runs.
        divided: whether the GPUs that use it together must divide `gpus`.
        name: its name in texts; "" without one.
    """

    gpus: Any
    gb_s: Any
    efficiency: Any
    latency_s: Any
    operations: Mapping[str, tuple[float, float]]
    processor_share: Any
    divided: bool
    name: str = field(default="", compare=False)


@dataclass(frozen=True)
class Cluster:
    """Equal GPUs and their networks. Numbers may be columns [B], one cluster for each plan.

    Args:
        matrix_tflops: peak of matrix products in Tflop/s.
        matrix_efficiency_from_gflop: reachable share of it, by the product's Gflop.
        vector_tflops: peak of everything else in Tflop/s.
        vector_efficiency_from_gflop: reachable share of it, by the operation's Gflop.
        hbm_gib: memory per GPU in GiB.
        hbm_gb_s: its bandwidth in GB/s.
        hbm_efficiency_from_mb: reachable share of it, by the operation's MB.
        overlap: "none" where compute and memory take turns, "roofline" where the longer one counts.
        networks: fastest first; tensor, then pipeline, then data parallel GPUs fill it.
        power_w: power per GPU in W; None if not given.
    """

    matrix_tflops: Any
    matrix_efficiency_from_gflop: Steps
    vector_tflops: Any
    vector_efficiency_from_gflop: Steps
    hbm_gib: Any
    hbm_gb_s: Any
    hbm_efficiency_from_mb: Steps
    overlap: str
    networks: tuple[Network, ...]
    power_w: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(B,) where any number is a column."""
        own = self.matrix_tflops, self.vector_tflops, self.hbm_gib, self.hbm_gb_s, self.power_w
        links = [(n.gpus, n.gb_s, n.efficiency, n.latency_s, n.processor_share) for n in self.networks]
        return np.broadcast_shapes(*map(np.shape, (*own, *chain.from_iterable(links))))

    @property
    def hbm_bytes(self) -> Any:
        """Memory per GPU in bytes."""
        return self.hbm_gib * 2.0**30

    def matrix_s(self, flop: Any) -> Any:
        """Time of matrix products, s."""
        return flop / (self.matrix_tflops * 1e12 * _step(self.matrix_efficiency_from_gflop, 1e9, flop))

    def vector_s(self, flop: Any) -> Any:
        """Time of other operations, s."""
        return flop / (self.vector_tflops * 1e12 * _step(self.vector_efficiency_from_gflop, 1e9, flop))

    def memory_s(self, moved: Any) -> Any:
        """Time to move bytes to and from memory, s."""
        return moved / (self.hbm_gb_s * 1e9 * _step(self.hbm_efficiency_from_mb, 1e6, moved))

    def processing(self, compute: Any, memory: Any) -> Any:
        """Time of compute and memory accesses, s."""
        return np.maximum(compute, memory) if self.overlap == "roofline" else compute + memory


def _step(steps: Steps, unit: float, size: Any) -> Any:
    """The efficiency of the largest step that a size reaches."""
    efficiency: Any = steps[-1][1]
    for least, higher in reversed(steps[:-1]):
        efficiency = np.where(size >= least * unit, higher, efficiency)
    return efficiency


def list_clusters() -> list[str]:
    """Names of the shipped clusters."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_cluster(source: str | os.PathLike[str] | Cluster) -> Cluster:
    """A shipped cluster by name, or one from a .json file.

    Raises:
        ArchGymError: an unknown name, a file in another format, or a number out of range.
    """
    if isinstance(source, Cluster):
        return source
    name = str(source)
    if name not in list_clusters() and not name.endswith(".json"):
        raise unknown("cluster (or .json file)", name, list_clusters())
    path = FOLDER / f"{name}.json" if name in list_clusters() else Path(name)
    with reading(path, "a cluster"):
        found = read_json(path)
        return _cluster(_of_calculon(found) if "format" not in found and "mem1" in found else found)


_NUMBERS = ("matrix_tflops", "vector_tflops", "hbm_gib", "hbm_gb_s")
_STEPS = ("matrix_efficiency_from_gflop", "vector_efficiency_from_gflop", "hbm_efficiency_from_mb")
_NETWORK = ("gpus", "gb_s", "efficiency", "latency_s", "operations", "processor_share", "divided")


def _cluster(found: Mapping[str, Any]) -> Cluster:
    check_format(found, FORMAT)
    needed = ("format", *_NUMBERS, *_STEPS, "overlap", "networks")
    check_keys("a cluster", found, needed, ("title", "source", "power_w"))
    if found["overlap"] not in OVERLAPS:
        raise unknown("overlap", found["overlap"], OVERLAPS)
    if not isinstance(found["networks"], list) or not found["networks"]:
        raise ArchGymError("expected networks as a list of at least one network")
    numbers: dict[str, Any] = {name: positive(name, found[name]) for name in _NUMBERS}
    steps: dict[str, Any] = {name: _steps(name, found[name]) for name in _STEPS}
    return Cluster(
        **numbers,
        **steps,
        overlap=found["overlap"],
        networks=tuple(_network(f"network {i}", each) for i, each in enumerate(found["networks"])),
        power_w=None if found.get("power_w") is None else positive("power_w", found["power_w"]),
    )


def _network(what: str, found: Any) -> Network:
    check_keys(what, found, _NETWORK, ("name",))
    operations = found["operations"]
    check_keys(f"operations of {what}", operations, OPERATIONS)
    if not isinstance(found["divided"], bool):
        raise ArchGymError(f"expected divided of {what} as true or false, got {found['divided']!r}")
    processor_share = at_least(f"processor_share of {what}", found["processor_share"], 0)
    if processor_share >= 1:
        raise ArchGymError(f"expected processor_share of {what} as a number < 1, got {processor_share:g}")
    return Network(
        gpus=positive(f"gpus of {what}", found["gpus"]),
        gb_s=positive(f"gb_s of {what}", found["gb_s"]),
        efficiency=share(f"efficiency of {what}", found["efficiency"]),
        latency_s=at_least(f"latency_s of {what}", found["latency_s"], 0),
        operations={name: _operation(f"{name} of {what}", operations[name]) for name in OPERATIONS},
        processor_share=processor_share,
        divided=found["divided"],
        name=str(found.get("name", "")),
    )


def _operation(what: str, found: Any) -> tuple[float, float]:
    if not isinstance(found, list) or len(found) != 2:
        raise ArchGymError(f"expected {what} as [scale, offset], got {found!r}")
    return positive(f"scale of {what}", found[0]), at_least(f"offset of {what}", found[1], -1)


def _steps(what: str, found: Any) -> Steps:
    """Steps with falling sizes, the last from 0."""
    if not isinstance(found, list) or not all(isinstance(each, list) and len(each) == 2 for each in found):
        raise ArchGymError(f"expected {what} as a list of [least size, efficiency], got {found!r}")
    steps = tuple((at_least(what, size, 0), share(what, reached)) for size, reached in found)
    sizes = [size for size, _ in steps]
    if not sizes or sizes[-1] != 0 or sorted(set(sizes), reverse=True) != sizes:
        raise ArchGymError(f"expected {what} with falling sizes and the last from 0, got {sizes}")
    return steps


_OF_CALCULON = {"p2p": "point_to_point", **{name: name for name in OPERATIONS[1:]}}
_CALCULON_NETWORK = ("bandwidth", "efficiency", "size", "latency", "ops", "must_be_filled", "processor_usage")


def _of_calculon(found: Mapping[str, Any]) -> dict[str, Any]:
    """A cluster in Calculon's layout, in ours; its second memory is not used."""
    keys = ("matrix", "vector", "mem1", "processing_mode", "networks")
    check_keys("Calculon's system", found, keys, ("mem2",))
    parts: dict[str, Any] = {"format": FORMAT, "networks": []}
    for name in ("matrix", "vector"):
        kind = found[name]
        if not isinstance(kind, dict) or not (kind := kind.get("float16", kind.get("bfloat16"))):
            raise ArchGymError(f"expected the key 'float16' in {name} of Calculon's system")
        check_keys(f"{name} of Calculon's system", kind, ("tflops", "gflops_efficiency"))
        parts |= {
            f"{name}_tflops": kind["tflops"],
            f"{name}_efficiency_from_gflop": kind["gflops_efficiency"],
        }
    check_keys("mem1 of Calculon's system", found["mem1"], ("GiB", "GBps", "MB_efficiency"))
    memory = found["mem1"]
    parts |= {
        "hbm_gib": memory["GiB"],
        "hbm_gb_s": memory["GBps"],
        "hbm_efficiency_from_mb": memory["MB_efficiency"],
    }
    modes = {"no_overlap": "none", "roofline": "roofline"}
    if found["processing_mode"] not in modes:
        raise unknown("processing_mode", found["processing_mode"], modes)
    parts["overlap"] = modes[found["processing_mode"]]
    for number, each in enumerate(found["networks"]):
        what = f"network {number} of Calculon's system"
        check_keys(what, each, _CALCULON_NETWORK)
        check_keys(f"ops of {what}", each["ops"], tuple(_OF_CALCULON))
        parts["networks"].append(
            {
                "gpus": each["size"],
                "gb_s": each["bandwidth"],
                "efficiency": each["efficiency"],
                "latency_s": each["latency"],
                "operations": {
                    _OF_CALCULON[op]: [scale, offset or 0] for op, (scale, offset) in each["ops"].items()
                },
                "processor_share": each["processor_usage"],
                "divided": each["must_be_filled"],
            }
        )
    return parts
