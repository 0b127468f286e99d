"""Hamiltonians by name or path: `LiH-2.2` is ours, `mine.csv` the user's.

Molecules are in STO-3G; energies are total ones, repulsion of the nuclei included, in hartree.

    H2-2, H2-3, H2-4             H2 at 0.7414 angstrom: 4 qubits by Jordan-Wigner, fewer by symmetries
    LiH-1.2, LiH-2.2, LiH-3.4    LiH at these distances in angstrom: two electrons in three sigma orbitals,
                                 parity mapping, 4 qubits
    LiH-2.2-6                    the same at 2.2 angstrom by Jordan-Wigner, 6 qubits

`derive.py` derives them; molecules/README.md has versions, conventions and energies.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from archgym.errors import ArchGymError, nearest
from archgym.files.archive import reading
from archgym.files.paths import open_regular
from archgym.simulators.quantum.hamiltonians.hamiltonian import Hamiltonian
from archgym.simulators.quantum.hamiltonians.readers import read_terms
from archgym.words import one_line, shown

FOLDER = Path(__file__).parent / "molecules"
MOST_BYTES = 16 << 20  # of a file


def list_molecules() -> list[str]:
    """Names of the molecules that come with archgym."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def load_hamiltonian(source: str | os.PathLike[str]) -> Hamiltonian:
    """A molecule of archgym's by its name, or the user's Hamiltonian from a file.

    Args:
        source: name, such as "LiH-2.2", or path of a CSV file or of text by OpenFermion or Qiskit.

    Raises:
        ArchGymError: an unknown name, or a file that is not a Hamiltonian of 1 to 8 qubits.
    """
    if isinstance(source, str) and source in list_molecules():
        return _molecule(source)
    if not isinstance(source, (str, os.PathLike)) or not os.fspath(source):
        raise ArchGymError(f"expected a molecule or the path of a file, got {shown(source)}")
    try:
        path = Path(source).expanduser()
        missing = not os.path.lexists(path)
    except (OSError, RuntimeError, ValueError) as error:  # a byte 0, a name too long, ~ of nobody
        raise ArchGymError(f"expected a molecule or the path of a file, got {shown(str(source))}") from error
    if missing:
        raise ArchGymError(
            f"no molecule and no file {shown(str(source), 200)}; {nearest(source, list_molecules())}"
        )
    return _read(path)


@cache
def _molecule(name: str) -> Hamiltonian:
    return _read(FOLDER / f"{name}.csv")


def _read(path: Path) -> Hamiltonian:
    with reading(path, "a Hamiltonian"), open_regular(path, follow=True) as file:
        content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB; merge or drop terms")
        return Hamiltonian.from_terms(one_line(path.stem, 100), read_terms(content))
