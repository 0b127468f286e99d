"""Real simulators as backends of the accelerator environments: accelforge, SCALE-Sim and ZigZag, each in its
own virtual environment.

Their requirements conflict with each other's and with archgym's, so each runs under its own Python
(`environments`), in one process per simulator (`session`), one matrix multiplication at a time (`tool`).
Results are stored on disk per multiplication, and serve every design and workload that contains it.
"""

from __future__ import annotations

import os
from typing import Any

from archgym.errors import unknown
from archgym.files.paths import data_folder, make_folder
from archgym.simulator import Simulator
from archgym.simulator_wrappers import Cached
from archgym.simulator_wrappers.parallel import Isolated
from archgym.simulators.accelerator.backends.accelforge import AccelForge
from archgym.simulators.accelerator.backends.environments import BACKENDS
from archgym.simulators.accelerator.backends.scalesim import ScaleSim
from archgym.simulators.accelerator.backends.zigzag import ZigZag
from archgym.simulators.accelerator.workloads import Dimensions, Workload

__all__ = ["BACKENDS", "AccelForge", "ScaleSim", "ZigZag", "backend_simulator"]

SIMULATORS: dict[str, type[AccelForge] | type[ScaleSim] | type[ZigZag]] = {
    "accelforge": AccelForge,
    "scalesim": ScaleSim,
    "zigzag": ZigZag,
}
TIMEOUT_S = 1800.0  # for all layers of one design


def backend_simulator(
    name: str, workload: str | os.PathLike[str] | Workload = "resnet18", dimensions: Dimensions | None = None
) -> Simulator:
    """A backend in a worker process, with results stored on disk.

    Args:
        name: "accelforge", "scalesim" or "zigzag".
        workload, dimensions: arguments of `load_workload`.

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
