"""Pauli terms of the molecules that ship: `python -m archgym.simulators.quantum.hamiltonians.derive FOLDER`
writes their CSV files.

It needs PySCF and OpenFermion, which archgym does not depend on: `pip install pyscf==2.14.0
openfermion==1.8.1` (these versions wrote the files).

1. Restricted Hartree-Fock in STO-3G. H2 keeps both orbitals; LiH freezes the core (Li 1s) and keeps the
   three sigma orbitals with two electrons (the active space of Patel et al., "Curriculum reinforcement
   learning for quantum architecture search under hardware errors", ICLR 2024):

       E_core = E_nuc + sum_ab D_ab (h_ab + V_ab / 2),   h_pq <- h_pq + V_pq,    V = J(D) - K(D) / 2

   with the density D of the frozen electrons.
2. H = E_core + sum_pq h_pq a_p^+ a_q + 1/2 sum_pqrs (pq|rs) a_p^+ a_r^+ a_s a_q over spin orbitals, as Pauli
   terms by Jordan-Wigner. Spin orbitals of H2 alternate (up, down, up, down); LiH has all up first.
3. Parity mapping: qubit i holds the parity of spin orbitals 0 to i, as CNOTs i -> i+1 in turn do to
   Jordan-Wigner. Up electrons and all electrons are conserved, hence Z of qubits n/2-1 and n-1 (-1 and +1 for
   one electron of either spin), which go (Bravyi et al., "Tapering off qubits to simulate fermionic
   Hamiltonians", 2017; Seeley, Richard and Love, J. Chem. Phys. 137, 2012).
4. H2-3: the parity of all electrons (even) is Z of qubit 3 after CNOTs onto it, and goes. H2-2: parity
   mapping, with X on its qubit 1: a qubit is 1 where the electron of its spin is in the lower orbital.

An orbital's sign is free: its largest coefficient in atomic orbitals is positive. The bohr is CODATA 2022's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import MissingDependency
from archgym.files.paths import make_folder, write_atomically
from archgym.simulators.quantum.hamiltonians.hamiltonian import Hamiltonian
from archgym.space import Array

BOHR = 0.529177210544  # angstrom, CODATA 2022
SMALLEST = 1e-12  # hartree; below are rounding errors of the integrals
H2_DISTANCE = 0.7414  # angstrom, between the nuclei
LIH_DISTANCES = (1.2, 2.2, 3.4)
LIH_CORE, LIH_ACTIVE = (0,), (1, 2, 5)  # by energy; 3 and 4 are the pi orbitals
Terms = dict[str, float]


def integrals(
    atoms: str, distance: float, core: tuple[int, ...], active: tuple[int, ...], bohr: float = BOHR
) -> tuple[float, Array, Array]:
    """Constant energy, and integrals of the active orbitals in a molecule of two atoms.

    Args:
        atoms: both elements, such as "Li H".
        distance: angstrom between the nuclei.
        core: orbitals with two frozen electrons.
        active: orbitals that stay.
        bohr: angstrom per bohr.

    Returns:
        E_core, h [active, active] and (pq|rs) [active, active, active, active], hartree.

    Raises:
        MissingDependency: PySCF is not installed.
    """
    try:
        from pyscf import ao2mo, gto, scf
    except ImportError as error:
        raise MissingDependency(
            "deriving needs PySCF and OpenFermion: pip install pyscf openfermion"
        ) from error
    one, other = atoms.split()
    molecule = gto.M(
        atom=[(one, (0, 0, 0)), (other, (0, 0, distance / bohr))], unit="Bohr", basis="sto-3g",
        symmetry=True, verbose=0,
    )  # fmt: skip
    field = scf.RHF(molecule)
    field.conv_tol, field.conv_tol_grad = 1e-14, 1e-10
    field.kernel()
    orbitals = field.mo_coeff * np.sign(
        field.mo_coeff[np.abs(field.mo_coeff).argmax(0), np.arange(field.mo_coeff.shape[1])]
    )
    h = field.get_hcore()
    density = 2 * orbitals[:, core] @ orbitals[:, core].T
    repulsion = field.get_veff(molecule, density) if core else np.zeros_like(h)
    constant = molecule.energy_nuc() + (density * (h + repulsion / 2)).sum()
    kept = orbitals[:, active]
    two = ao2mo.restore(1, ao2mo.kernel(molecule, kept), len(active))
    return float(constant), kept.T @ (h + repulsion) @ kept, two


def jordan_wigner(constant: float, h: Array, two: Array, *, alternate: bool) -> Terms:
    """Pauli terms of a Hamiltonian by Jordan-Wigner, qubit 0 leftmost.

    Args:
        constant: constant energy, hartree.
        h: integrals of one electron, [orbitals, orbitals], hartree.
        two: integrals (pq|rs) of two electrons, [orbitals] * 4, hartree.
        alternate: spins alternate from qubit to qubit; otherwise all up come first.

    Raises:
        MissingDependency: OpenFermion is not installed.
    """
    try:
        import openfermion
    except ImportError as error:
        raise MissingDependency("deriving needs OpenFermion: pip install pyscf openfermion") from error
    orbitals = len(h)
    qubit = [[2 * p + s if alternate else p + s * orbitals for s in (0, 1)] for p in range(orbitals)]
    fermions: Any = openfermion.FermionOperator((), constant)
    for p, q in np.ndindex(h.shape):
        for s in (0, 1):
            fermions += openfermion.FermionOperator(((qubit[p][s], 1), (qubit[q][s], 0)), h[p, q])
    for p, q, r, t in np.ndindex(two.shape):
        for a, b in np.ndindex(2, 2):
            product = ((qubit[p][a], 1), (qubit[r][b], 1), (qubit[t][b], 0), (qubit[q][a], 0))
            fermions += openfermion.FermionOperator(product, two[p, q, r, t] / 2)
    terms = {}
    for letters, value in openfermion.jordan_wigner(fermions).terms.items():
        found = dict(letters)
        terms["".join(found.get(i, "I") for i in range(2 * orbitals))] = value.real
    return terms


def cnot(terms: Terms, control: int, target: int) -> Terms:
    """Terms of CNOT H CNOT."""
    letters = {"I": (0, 0), "X": (1, 0), "Y": (1, 1), "Z": (0, 1)}  # masks x and z
    names = {masks: letter for letter, masks in letters.items()}
    found = {}
    for pauli, value in terms.items():
        (x, z), (x2, z2) = letters[pauli[control]], letters[pauli[target]]
        changed = list(pauli)
        changed[control], changed[target] = names[x, z ^ z2], names[x2 ^ x, z2]
        found["".join(changed)] = -value if x and z2 and x2 == z else value
    return found


def flip(terms: Terms, qubit: int) -> Terms:
    """Terms of X H X, X on a qubit."""
    return {pauli: -value if pauli[qubit] in "YZ" else value for pauli, value in terms.items()}


def taper(terms: Terms, qubit: int, sign: int) -> Terms:
    """Terms without a qubit on which they have I and Z only, where its Z is `sign`."""
    found: Terms = {}
    for pauli, value in terms.items():
        rest = pauli[:qubit] + pauli[qubit + 1 :]
        found[rest] = found.get(rest, 0.0) + value * {"I": 1, "Z": sign}[pauli[qubit]]
    return found


def parity(terms: Terms) -> Terms:
    """Terms by the parity mapping, without its two conserved qubits, from Jordan-Wigner with all up first."""
    qubits = len(next(iter(terms)))
    for i in range(qubits - 1):
        terms = cnot(terms, i, i + 1)
    return taper(taper(terms, qubits - 1, 1), qubits // 2 - 1, -1)


def molecules(bohr: float = BOHR) -> dict[str, Hamiltonian]:
    """All molecules that ship, derived.

    Args:
        bohr: angstrom per bohr.
    """
    parts = integrals("H H", H2_DISTANCE, (), (0, 1), bohr)
    pairs = jordan_wigner(*parts, alternate=True)
    even = pairs
    for qubit in range(3):
        even = cnot(even, qubit, 3)
    found = {
        "H2-2": flip(parity(jordan_wigner(*parts, alternate=False)), 1),
        "H2-3": taper(even, 3, 1),
        "H2-4": pairs,
    }
    for distance in LIH_DISTANCES:
        parts = integrals("Li H", distance, LIH_CORE, LIH_ACTIVE, bohr)
        terms = jordan_wigner(*parts, alternate=False)
        found[f"LiH-{distance}"] = parity(terms)
        if distance == 2.2:
            found[f"LiH-{distance}-6"] = terms
    return {
        name: Hamiltonian.from_terms(name, ((p, v) for p, v in terms.items() if abs(v) > SMALLEST))
        for name, terms in found.items()
    }


def main(arguments: list[str]) -> None:
    """Write the CSV files and print each molecule's energies."""
    parser = argparse.ArgumentParser(description="Derive the molecules that ship and write their CSV files.")
    parser.add_argument("folder", type=Path)
    folder = make_folder(parser.parse_args(arguments).folder)
    try:
        derived = molecules()
    except MissingDependency as error:
        raise SystemExit(f"error: {error}") from None
    for name, found in derived.items():
        rows = "".join(f"{pauli},{value!r}\n" for pauli, value in found.terms.items())
        write_atomically(folder / f"{name}.csv", f"pauli,coefficient\n{rows}".encode())
        print(
            f"{name:10} {len(found.paulis):4} terms, ground {found.ground_energy:.12f}, gap {found.gap:.9f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
