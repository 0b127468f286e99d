"""Simulators around other simulators: tabulated, cached, noisy, in worker processes.

Each is a `Simulator` with the space and the metrics of the one it wraps, so they compose:

    Noisy(Tabulated(simulator))         a noisy benchmark at the speed of a table
    Cached(Parallel(simulator), path)   a slow search over worker processes that can be interrupted and
                                        replayed
"""

from archgym.simulator_wrappers.base import SimulatorWrapper
from archgym.simulator_wrappers.cached import Cached
from archgym.simulator_wrappers.noisy import Noisy
from archgym.simulator_wrappers.parallel import Isolated, Parallel
from archgym.simulator_wrappers.tabulated import StoredTable, Tabulated

__all__ = ["Cached", "Isolated", "Noisy", "Parallel", "SimulatorWrapper", "StoredTable", "Tabulated"]
