"""DRAM controllers on traces of memory requests: tables of complete grids, and the cycle-level simulator."""

from archgym.simulators.dram.dramsys import DramSys
from archgym.simulators.dram.model import DramController
from archgym.simulators.dram.table import list_traces

__all__ = ["DramController", "DramSys", "list_traces"]
