"""DRAM controllers on traces of memory requests: complete grids of a cycle-level simulator, and the simulator itself."""

from archgym.simulators.dram.dramsys import DramSys
from archgym.simulators.dram.model import DramController
from archgym.simulators.dram.table import list_traces

__all__ = ["DramController", "DramSys", "list_traces"]
