"""DRAM controllers on traces of memory requests: an event model for any trace, tables of complete grids, and
the cycle-level simulator.
"""

from archgym.simulators.dram.controller import ControllerModel
from archgym.simulators.dram.dramsys import DramSys
from archgym.simulators.dram.memories import DEFAULT_MEMORY, Memory, list_memories, load_memory
from archgym.simulators.dram.model import DramController
from archgym.simulators.dram.table import list_traces

__all__ = [
    "DEFAULT_MEMORY",
    "ControllerModel",
    "DramController",
    "DramSys",
    "Memory",
    "list_memories",
    "list_traces",
    "load_memory",
]
