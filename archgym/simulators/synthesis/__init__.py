"""Logic synthesis: passes of ABC over circuits, tabulated and live."""

from archgym.simulators.synthesis.circuits import list_circuits, load_circuit
from archgym.simulators.synthesis.simulator import LogicSynthesis
from archgym.simulators.synthesis.space import PASSES
from archgym.simulators.synthesis.table import list_tables
from archgym.simulators.synthesis.tabular import TabularSynthesis

__all__ = ["PASSES", "LogicSynthesis", "TabularSynthesis", "list_circuits", "list_tables", "load_circuit"]
