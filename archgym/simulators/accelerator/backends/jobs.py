"""Shared by the backends: workloads as matrix multiplications, and supported dataflows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.layers import Layer


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


def require_dataflow(design: Mapping[str, Any], dataflows: tuple[str, ...], why: str) -> str:
    """The design's dataflow.

    Raises:
        ArchGymError: it is not one of `dataflows`.
    """
    dataflow = str(design["dataflow"])
    if dataflow not in dataflows:
        raise ArchGymError(
            f"{why}; choose dataflow {', '.join(dataflows[:-1])} or {dataflows[-1]}, not {dataflow}"
        )
    return dataflow
