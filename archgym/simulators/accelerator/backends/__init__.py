"""Real simulators as backends of the accelerator environments: SCALE-Sim and ZigZag, each in a virtual environment of its own.

Their requirements clash with each other's and with ours, so that each is run by a Python of its own (`environments`), in one process that
lives as long as the simulator (`session`), and asked for one matrix multiplication at a time (`tool`). Results are kept on disk per
multiplication: they serve every design and workload that has it again.
"""

from __future__ import annotations

import os
from typing import Any

from archgym.errors import unknown
from archgym.files.paths import data_folder, make_folder
from archgym.simulator import Simulator
from archgym.simulator_wrappers import Cached
from archgym.simulator_wrappers.parallel import Isolated
from archgym.simulators.accelerator.backends.environments import BACKENDS
from archgym.simulators.accelerator.backends.scalesim import ScaleSim
from archgym.simulators.accelerator.backends.zigzag import ZigZag
from archgym.simulators.accelerator.workloads import Dimensions, Workload

__all__ = ["BACKENDS", "ScaleSim", "ZigZag", "backend_simulator"]

SIMULATORS: dict[str, type[ScaleSim] | type[ZigZag]] = {"scalesim": ScaleSim, "zigzag": ZigZag}
TIMEOUT_S = 1800.0  # for one design, all of its layers


def backend_simulator(
    name: str, workload: str | os.PathLike[str] | Workload = "resnet18", dimensions: Dimensions | None = None
) -> Simulator:
    """A backend in a worker process, with results kept on disk.

    Args:
        name: "scalesim" or "zigzag".
        workload, dimensions: as of `load_workload`.

    Raises:
        ArchGymError: an unknown backend or workload, or a backend that is not installed.
    """
    if name not in SIMULATORS:
        raise unknown("backend", name, SIMULATORS)
    given: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}
    simulator = SIMULATORS[name](workload, **given)
    path = data_folder("cache", f"{name}.sqlite")
    make_folder(path.parent)
    return Cached(Isolated(simulator, timeout_s=TIMEOUT_S), path=path)
