"""Shared by the backends: workloads as matrix multiplications, and batches design by design."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.simulator import Simulator
from archgym.simulators.accelerator.layers import Layer
from archgym.space import Array, Indices


class Gemm(NamedTuple):
    """A matrix multiplication [m, k] x [k, n]."""

    m: int
    n: int
    k: int


def gemms(layers: tuple[Layer, ...]) -> dict[Gemm, int]:
    """The matrix multiplications of layers -> number of computations, one per group and repeat."""
    counts: Counter[Gemm] = Counter()
    for layer in layers:
        counts[Gemm(*layer.shape)] += layer.groups * layer.repeats
    return dict(counts)


def macs(counts: Mapping[Gemm, int]) -> int:
    """Multiply-adds of all multiplications."""
    return sum(count * gemm.m * gemm.n * gemm.k for gemm, count in counts.items())


def design_by_design(
    simulator: Simulator, indices: Indices, simulate: Callable[[Mapping[str, Any]], Mapping[str, float]]
) -> dict[str, Array]:
    """Columns [B] of a batch of designs [B, P], from a function of one design; `failure` has the reason where it raises."""
    columns: dict[str, Array] = {metric.name: np.full(len(indices), np.nan) for metric in simulator.metrics}
    failures = [""] * len(indices)
    for row, design in enumerate(map(simulator.space.design, indices)):
        try:
            for name, value in simulate(design).items():
                columns[name][row] = value
        except SimulatorUnavailable:
            raise
        except ArchGymError as error:
            failures[row] = str(error)
    columns["feasible"] = np.array([not reason for reason in failures], bool)
    if any(failures):
        columns["failure"] = np.array(failures)
    return columns


def require_dataflow(design: Mapping[str, Any], dataflows: tuple[str, ...], why: str) -> str:
    """The design's dataflow.

    Raises:
        ArchGymError: it is not one of `dataflows`.
    """
    dataflow = str(design["dataflow"])
    if dataflow not in dataflows:
        raise ArchGymError(f"{why}; choose dataflow {', '.join(dataflows[:-1])} or {dataflows[-1]}, not {dataflow}")
    return dataflow
