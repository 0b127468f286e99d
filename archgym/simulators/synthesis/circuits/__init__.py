"""Circuits: our generators, and the user's files after a check.

aig         Aig: and-inverter graphs under construction, their simulation and binary AIGER
arithmetic  adders, multipliers, comparators, maxima, conversion to floating point
control     decoders, priority encoders, shifters, random control logic
circuit     Circuit, load_circuit, list_circuits
aiger, netlists, verilog    checks of the user's files, before a tool reads them
"""

from archgym.simulators.synthesis.circuits.aig import Aig
from archgym.simulators.synthesis.circuits.circuit import (
    Circuit,
    build_circuit,
    list_circuits,
    load_circuit,
)

__all__ = ["Aig", "Circuit", "build_circuit", "list_circuits", "load_circuit"]
