"""A workload by a backend, one matrix multiplication at a time.

a total of the workload = sum over its multiplications [M, Kd] x [Kd, N] of groups * repeats * their own
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from archgym.simulator import Simulator, argument_features, design_by_design
from archgym.simulators.accelerator.backends.jobs import Gemm, gemms
from archgym.simulators.accelerator.backends.tool import Tool
from archgym.simulators.accelerator.design import accelerator_space
from archgym.simulators.accelerator.workloads import Dimensions, Workload, load_workload
from archgym.simulators.accelerator.workloads.features import layer_features
from archgym.space import Array, Indices


class WorkloadByTool(Simulator):
    """Accelerators for one workload. A subclass names its tool, and has the metrics of a design and the job
    of a multiplication.

    Args:
        workload, dimensions: arguments of `load_workload`.

    Raises:
        ArchGymError: an unknown workload, or a tool that is not installed.
    """

    tool_name: ClassVar[str]

    def __init__(
        self, workload: str | os.PathLike[str] | Workload = "resnet18", dimensions: Dimensions | None = None
    ):
        self.space = accelerator_space()
        self.workload = load_workload(workload, dimensions)
        self.gemms = gemms(self.workload.layers)
        self.tool = Tool(self.tool_name)

    @abstractmethod
    def simulate(self, design: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of one design.

        Raises:
            ArchGymError: the tool cannot simulate it, or failed.
        """

    @abstractmethod
    def job(self, design: Mapping[str, Any], gemm: Gemm) -> dict[str, Any]:
        """What the tool's process is sent for one multiplication."""

    def example(self) -> dict[str, Any]:
        """A design whose jobs identify the simulator."""
        return self.space.design(np.zeros(len(self.space.names), np.int64))

    def context_features(self) -> dict[str, float]:
        """The arguments, and statistics of the layers (`layer_features`)."""
        return {
            **argument_features(self, but=("workload", "dimensions")),
            **layer_features(self.workload.layers),
        }

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Simulate designs, int64 [B, 10] -> columns [B], with `failure` if any failed; stored
        multiplications are not run again.
        """
        return design_by_design(self, indices, self.simulate)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and a digest of the tool's jobs."""
        design = self.example()
        jobs = [self.job(design, gemm) | {"count": count} for gemm, count in self.gemms.items()]
        return {**super().specification, "jobs": self.tool.digest(jobs)}

    def close(self) -> None:
        """End the tool's process."""
        self.tool.close()
