"""Logic synthesis: passes of ABC over circuits, tabulated and live."""

from archgym.simulators.synthesis.circuits import list_circuits, load_circuit
from archgym.simulators.synthesis.simulator import LogicSynthesis
from archgym.simulators.synthesis.space import PASSES

__all__ = ["PASSES", "LogicSynthesis", "list_circuits", "load_circuit"]
