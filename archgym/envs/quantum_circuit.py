"""archgym/QuantumCircuit-v0: find circuits of few gates whose energy is a molecule's ground energy.

## Description
A variational quantum algorithm prepares a state by a circuit of rotations and CNOTs and lowers its energy by
the angles. The circuit itself decides what is reachable, and each CNOT adds noise: quantum architecture
search looks for short circuits within chemical accuracy, 1.6e-3 hartree, of the ground energy (Ostaszewski et
al., NeurIPS 2021; CRLQAS: Patel et al., ICLR 2024). Here each circuit gets its best angles by exact
coordinate optimisation, the simulation is exact, with or without noise, and the ground energy is known by
diagonalisation. docs/quantum.md has equations, accuracy and rates.

## Action Space
`MultiDiscrete([1 + 3 n + pairs] * slots)`: 25 gates on the default's n = 4 qubits with all 12 pairs, 25^20
circuits.

| Num | Parameter | Values | Exists if | Meaning |
|---|---|---|---|---|
| k - 1 | slot_k | none, rx 0, ry 0, rz 0, rx 1, ..., cx 0 1, cx 0 2, ... | always | gate k |

"none" leaves any slot empty; rx, ry, rz rotate one qubit; cx is a CNOT with control and target. With
`archgym.PrefixDesign` and `horizon=slots` an action is a gate, as in CRLQAS: observations hold the circuit so
far as a binary tensor [slots, n + 3, n] (`archgym.simulators.quantum.space.GateSet.encoding`), and gates that
undo or repeat the one before are masked. Every step is a sample. `archgym.Curriculum` and
`archgym.RandomHalting` add the moving threshold and random halting of CRLQAS.

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. A negative energy has no
logarithm and stands at -10; agents see it by its error. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | energy_hartree: with the best angles | hartree | lower |
| 1 | error_hartree: above the lowest eigenvalue | hartree | lower |
| 2 | cnots | 1 | lower |
| 3 | depth: layers of gates on different qubits | 1 | lower |
| 4 | parameters: rotations | 1 | lower |
| 5 | chemical_accuracy: 1 where the error is at most 1.6e-3 hartree | 1 | higher |

## Rewards
"error": -log(error / 1.6e-3 hartree), minus log(cnots / max_cnots) where there are more. 0 is chemical
accuracy; errors below 1e-7 hartree count as 1e-7, which the reward 9.68 stands for. "cnots": -log(cnots),
where none counts as half a CNOT, minus 2 log(error / max_error) where the error is larger.

## Starting State
No design: an observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| molecule | str or path | "LiH-2.2" | name, or file of a Hamiltonian of at most 8 qubits |
| slots | int | 20 | gates of a circuit at most |
| coupling | str or pairs | "full" | pairs for CNOTs: "full", "linear", "ring", or [[control, target], ...] |
| p1 | float | 0.0 | chance of a Pauli error after a rotation |
| p2 | float | 0.0 | chance of a Pauli error after a CNOT |
| starts | int | 8 | number of starts of the optimisation of angles |
| shots | int or None | None | measurements of each Pauli string; None for exact energies |
| goal | str | "error" | quantity to improve: "error" or "cnots" |
| max_cnots | int or None | 8 | limit on cnots with the goal "error"; None for none |
| max_error | float | 0.0016 | limit on error_hartree with the goal "cnots", hartree |

| Preset | Molecule | Slots | Noise p1, p2 | Goal |
|---|---|---|---|---|
| LiH-2.2 | LiH, 2.2 angstrom, 4 qubits | 20 | 0, 0 | error, 8 CNOTs |
| LiH-1.2, LiH-3.4 | other distances | 20 | 0, 0 | error, 8 CNOTs |
| LiH-2.2-4-cnots | LiH, 2.2 angstrom | 20 | 0, 0 | error, 4 CNOTs |
| LiH-2.2-40 | LiH, 2.2 angstrom, 32 starts | 40 | 0, 0 | error, 16 CNOTs |
| LiH-2.2-cnots | LiH, 2.2 angstrom | 20 | 0, 0 | cnots |
| LiH-2.2-linear | the same, linear coupling | 20 | 0, 0 | error, 8 CNOTs |
| LiH-2.2-noisy | the same, all pairs | 20 | 0.001, 0.01 | error, 8 CNOTs |
| LiH-2.2-6 | LiH, 2.2 angstrom, 6 qubits | 20 | 0, 0 | error, 12 CNOTs |
| H2-2 | H2, 2 qubits | 5 | 0, 0 | error, 2 CNOTs |
| H2-2-noisy | the same | 5 | 0.001, 0.01 | error, 2 CNOTs |
| H2-3, H2-4 | H2, 3 and 4 qubits | 12 | 0, 0 | error, 4 CNOTs |

## Known optimum
Exact for H2 on 2 qubits with at most six slots, without noise and with the noise of the preset: a table has
all circuits (`archgym.simulators.quantum.tabular`). Otherwise unknown; the reward of the ground energy is a
bound, and results state the regret against it as such.

## Version History
- v0: first version.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from archgym.errors import ArchGymError, unknown
from archgym.objective import AtMost, Minimize, Objective
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulators.quantum import Hamiltonian, QuantumCircuit
from archgym.simulators.quantum.space import CHEMICAL_ACCURACY
from archgym.simulators.quantum.tabular import TabularQuantumCircuit, table_of

GOALS = ("error", "cnots")
RESOLUTION = 1e-7  # hartree; smaller errors are the inner optimisation's
NOISY = {"p1": 0.001, "p2": 0.01}
PRESETS: dict[str, dict[str, Any]] = {
    "LiH-2.2": {"molecule": "LiH-2.2"},
    "LiH-1.2": {"molecule": "LiH-1.2"},
    "LiH-3.4": {"molecule": "LiH-3.4"},
    "LiH-2.2-4-cnots": {"molecule": "LiH-2.2", "max_cnots": 4},
    "LiH-2.2-40": {"molecule": "LiH-2.2", "slots": 40, "max_cnots": 16, "starts": 32},
    "LiH-2.2-cnots": {"molecule": "LiH-2.2", "goal": "cnots"},
    "LiH-2.2-linear": {"molecule": "LiH-2.2", "coupling": "linear"},
    "LiH-2.2-noisy": {"molecule": "LiH-2.2", **NOISY},
    "LiH-2.2-6": {"molecule": "LiH-2.2-6", "max_cnots": 12},
    "H2-2": {"molecule": "H2-2", "slots": 5, "max_cnots": 2},
    "H2-2-noisy": {"molecule": "H2-2", "slots": 5, "max_cnots": 2, **NOISY},
    "H2-3": {"molecule": "H2-3", "slots": 12, "max_cnots": 4},
    "H2-4": {"molecule": "H2-4", "slots": 12, "max_cnots": 4},
}


def quantum_circuit(
    molecule: str | os.PathLike[str] | Hamiltonian = "LiH-2.2",
    slots: int = 20,
    coupling: str | Iterable[Sequence[int]] = "full",
    p1: float = 0.0,
    p2: float = 0.0,
    starts: int = 8,
    shots: int | None = None,
) -> Simulator:
    """Circuits on a molecule, from a table where there is one, with the same results."""
    simulator = QuantumCircuit(molecule, slots, coupling, p1, p2, starts, shots)
    if table_of(simulator) is None:
        return simulator
    return TabularQuantumCircuit(simulator.hamiltonian, slots, simulator.gates.pairs, p1, p2, starts)


def objective(
    simulator: Simulator,
    *,
    goal: str = "error",
    max_cnots: float | None = 8,
    max_error: float = CHEMICAL_ACCURACY,
) -> Objective:
    """The least error with few CNOTs, or the fewest CNOTs within an error."""
    if goal not in GOALS:
        raise unknown("goal of archgym/QuantumCircuit-v0", goal, GOALS)
    reference = {"error_hartree": CHEMICAL_ACCURACY}
    if goal == "cnots":
        limit = AtMost("error_hartree", max_error, weight=2.0)
        return Objective(Minimize("cnots", floor=0.5), limit, reference=reference)
    if max_error != CHEMICAL_ACCURACY:
        raise ArchGymError(f"max_error goes with goal='cnots', got {max_error!r} with goal='error'")
    limits = [] if max_cnots is None else [AtMost("cnots", max_cnots)]
    if max_cnots is not None and not max_cnots > 0:
        raise ArchGymError(f"expected max_cnots above 0, got {max_cnots!r}; None for no limit")
    return Objective(Minimize("error_hartree", floor=RESOLUTION), *limits, reference=reference)


register_env(
    "archgym/QuantumCircuit-v0",
    simulator="archgym.envs.quantum_circuit:quantum_circuit",
    objective="archgym.envs.quantum_circuit:objective",
    presets=PRESETS,
)
