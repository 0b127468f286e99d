"""Pauli terms from a user's text, in one of four forms. Nothing in it is evaluated.

CSV: a Pauli string, qubit 0 leftmost, and its coefficient. The header may be absent; it may also name the
columns in the other order. Delimiters are commas, semicolons or tabs; lines from # on are comments.

    pauli,coefficient
    IZ,0.394
    XX,-0.181

OpenFermion, `print(operator)` of a QubitOperator; qubits that no term names are absent above the largest one:

    0.394 [Z1] +
    (-0.181+0j) [X0 X1]

Qiskit, `print(operator)` of a SparsePauliOp, which rounds to 8 digits and shortens long lists, or
`print(operator.to_list())`, which does neither. Qiskit's rightmost letter is qubit 0:

    SparsePauliOp(['ZI', 'XX'],
                  coeffs=[ 0.394+0.j, -0.181+0.j])
    [('ZI', (0.394+0j)), ('XX', (-0.181+0j))]

Coefficients are real: an imaginary part within rounding, 1e-12 relative to the largest coefficient, is
dropped, any other refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import numpy as np

from archgym.errors import ArchGymError
from archgym.files.csv import delimiter_of
from archgym.simulators.quantum.hamiltonians.hamiltonian import check_pauli, check_qubits
from archgym.words import one_line, shown

COLUMNS = ["pauli", "coefficient"]
ROUNDING = 1e-12  # of imaginary parts, relative to the largest coefficient
LINE = 1000  # characters of a CSV file's line
# where a term is ("line 3"), its Pauli string with qubit 0 leftmost, its coefficient
Items = Iterator[tuple[str, str, complex]]

_NUMBER = re.compile(r"(?:np\.(?:float|complex)[0-9]{2,3}(?=\())?(\([^()]+\)|[^()]+)")
_SIGN = re.compile(r" ?([+-]) ?")
# Each pattern matches from a given place on and never tries a character twice, whatever the text.
_TERM = re.compile(r"([^\[\]]*)\[([^\[\]]*)\]")
_FACTOR = re.compile(r"([XYZ])([0-9]{1,9})")
_PAIR = re.compile(
    r"""\s*\(\s*(['"])([^'"\\\n]*)\1\s*,([^(),'"]*(?:\([^(),'"]*\)[^(),'"]*)?)\)\s*(?:,|(?=\]))"""
)
_OPERATOR = re.compile(
    r"SparsePauliOp\s*\(\s*\[([^\[\]]*)\]\s*,\s*(?:coeffs\s*=\s*)?\[([^\[\]]*)\]\s*,?\s*\)"
)
_LABEL = re.compile(r"""(['"])([^'"]*)\1""")


def read_terms(content: bytes) -> list[tuple[str, float]]:
    """Terms of a file in any of the forms, in their order.

    Args:
        content: the file.

    Returns:
        Pauli strings of one length, qubit 0 leftmost, and finite coefficients, hartree.

    Raises:
        ArchGymError: the content is in none of the forms, or not a Hamiltonian.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArchGymError(
            f"expected text in UTF-8, got the byte {content[error.start]:#04x} at {error.start:,}; "
            "save it as UTF-8 text"
        ) from None
    if "\0" in text:
        raise ArchGymError("expected text, got binary data; save it as text")
    begin = text.lstrip()
    first = begin[:200].partition("\n")[0]
    if begin.startswith("SparsePauliOp"):
        items = _qiskit_operator(text)
    elif begin.startswith("["):
        items = _qiskit_list(text)
    elif "[" in first.partition("#")[0] or first.strip() == "0":  # OpenFermion's text of no term is 0
        items = _openfermion(text)
    else:
        items = _csv(text)
    return _checked(list(items))


def _checked(items: list[tuple[str, str, complex]]) -> list[tuple[str, float]]:
    """The terms, if all have one length and real, finite coefficients."""
    if not items:
        raise ArchGymError("expected terms, such as a line IZ,0.394, got none")
    values = np.array([value for *_, value in items])
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.abs(values)
        refused = np.flatnonzero(~np.isfinite(values))
        if not refused.size:
            refused = np.flatnonzero(np.abs(values.imag) > ROUNDING * size.max())
    qubits = len(items[0][1])
    for where, pauli, _ in items:
        try:
            check_pauli(pauli, qubits)
        except ArchGymError as error:
            raise ArchGymError(f"{where}: {error}") from None
    if refused.size:
        where, pauli, value = items[refused[0]]
        kind, remedy = (
            ("real", "a Hamiltonian is Hermitian: correct or drop the imaginary part")
            if np.isfinite(value)
            else ("finite", "correct or drop the term")
        )
        raise ArchGymError(f"{where}: expected a {kind} coefficient of {pauli}, got {value:g}; {remedy}")
    return [(pauli, value.real) for _, pauli, value in items]


def _number(text: str, where: str) -> complex:
    """A number as Python, NumPy or a CSV file writes it."""
    joined = _SIGN.sub(r"\1", " ".join(text[:200].split()))  # NumPy pads its columns: "0.5 +0.j"
    found = _NUMBER.fullmatch(joined) if len(text) <= 200 else None
    try:
        if found and found[1].isascii() and "_" not in found[1]:
            return complex(found[1])
    except ValueError:
        pass
    raise ArchGymError(f"{where}: expected a number as the coefficient, got {_quoted(text)}")


def _quoted(text: str) -> str:
    return shown(one_line(text, 60))


def _csv(text: str) -> Items:
    lines = text.splitlines()
    start = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    order = [0, 1]
    named = False
    # Quotes never span lines here, so that row and line are one.
    for number, line in enumerate(lines, 1):
        content = line.partition("#")[0]
        if not content.strip():
            continue
        where = f"line {number}"
        cells = [cell.strip() for cell in next(csv.reader([content[:LINE]], delimiter=delimiter_of(start)))]
        if len(cells) != 2 or len(content) > LINE:
            raise ArchGymError(
                f"{where}: expected a Pauli string and its coefficient, such as IZ,0.394, got {_quoted(line)}"
            )
        if not named:
            named = True
            names = [cell.lower() for cell in cells]
            if sorted(names) == sorted(COLUMNS):
                order = [names.index(column) for column in COLUMNS]
                continue
            if all(name.isidentifier() and set(name) - set("ixyz") for name in names):
                raise ArchGymError(f"{where}: expected the header {','.join(COLUMNS)}, got {_quoted(line)}")
        pauli, value = (cells[i] for i in order)
        yield where, pauli, _number(value, where)


def _openfermion(text: str) -> Items:
    """Terms "0.5 [X0 Y1] +", with as many qubits as the largest index needs."""
    place, line = 0, 1
    found = []
    qubits = 1
    while term := _TERM.match(text, place):
        line += text.count("\n", place, term.end())
        where, coefficient = f"line {line}", term[1].strip()
        if place:
            if not coefficient.startswith("+"):
                raise ArchGymError(f"{where}: expected + between terms, got {_quoted(coefficient)}")
            coefficient = coefficient[1:]
        letters: dict[int, str] = {}
        for factor in term[2].split():
            match = _FACTOR.fullmatch(factor)
            if match is None or int(match[2]) in letters:
                raise ArchGymError(
                    f"{where}: expected X, Y or Z and a qubit, such as X0, each qubit once, got "
                    f"{_quoted(factor)}; map fermions to qubits first (jordan_wigner)"
                )
            letters[int(match[2])] = match[1]
        qubits = max(qubits, *(qubit + 1 for qubit in letters), 1)
        check_qubits(qubits)
        found.append((where, letters, _number(coefficient, where)))
        place = term.end()
    if (rest := text[place:].strip()) and (place or rest != "0"):
        line += text.count("\n", place, len(text) - len(text[place:].lstrip()))
        raise ArchGymError(f"line {line}: expected a term such as 0.5 [X0 Y1], got {_quoted(rest)}")
    for where, letters, value in found:
        yield where, "".join(letters.get(qubit, "I") for qubit in range(qubits)), value


def _qiskit_list(text: str) -> Items:
    """Pairs [('ZI', (0.394+0j)), ...]."""
    place, number = text.index("[") + 1, 0
    while pair := _PAIR.match(text, place):
        number += 1
        where = f"term {number}"
        yield where, pair[2][::-1], _number(pair[3], where)
        place = pair.end()
    if text[place:].strip() != "]":
        raise ArchGymError(
            f"term {number + 1}: expected a pair such as ('ZI', 0.5) and ] at the end, got "
            f"{_quoted(text[place : place + 60])}"
        )


def _qiskit_operator(text: str) -> Items:
    """SparsePauliOp([labels], coeffs=[numbers])."""
    match = _OPERATOR.fullmatch(text.strip())
    if match is None:
        raise ArchGymError(
            f"expected SparsePauliOp(['ZI', ...], coeffs=[0.5+0.j, ...]), got {_quoted(text.strip())}"
        )
    labels, numbers = (part.removesuffix(",").split(",") if part.strip() else [] for part in match.groups())
    if "..." in match[1] or "..." in match[2]:
        raise ArchGymError(
            "expected all coefficients, got a list that Qiskit shortened with ...; write "
            "print(operator.to_list()) to the file"
        )
    if len(labels) != len(numbers):
        raise ArchGymError(
            f"expected a coefficient for each of {len(labels)} Pauli strings, got {len(numbers)}"
        )
    for number, (label, value) in enumerate(zip(labels, numbers, strict=True), 1):
        where = f"term {number}"
        quoted = _LABEL.fullmatch(label.strip())
        if quoted is None:
            raise ArchGymError(f"{where}: expected a label such as 'ZI', got {_quoted(label)}")
        yield where, quoted[2][::-1], _number(value, where)
