"""Pauli terms from a user's file. Nothing in it is evaluated.

CSV: a Pauli string, qubit 0 leftmost, and its coefficient; with or without a header.

    pauli,coefficient
    IZ,0.394
"""

from __future__ import annotations

from archgym.errors import ArchGymError

Terms = list[tuple[str, float]]


def read_terms(content: bytes) -> Terms:
    """Terms of a file: Pauli strings, qubit 0 leftmost, and coefficients.

    Raises:
        ArchGymError: the content is in none of the forms.
    """
    lines = content.decode("utf-8-sig").splitlines()
    rows = [line.split(",") for line in lines if line.strip()]
    if not rows:
        raise ArchGymError("expected terms, got an empty file")
    return [(pauli, float(value)) for pauli, value in rows[rows[0][0] == "pauli" :]]
