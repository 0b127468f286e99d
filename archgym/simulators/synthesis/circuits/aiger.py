"""AIGER files of the user, binary (.aig) and ASCII (.aag), read into graphs and refused where malformed.

    aig M I L O A     M = I + L + A; then a literal per output, then two differences per AND in 7 bits a byte
    aag M I L O A     then a literal per input and per output, and "lhs rhs0 rhs1" per AND, in any order

Latches and the properties of AIGER 1.9 (B, C, J, F) are refused; names and comments at the end are ignored.
Source: Biere, "The AIGER And-Inverter Graph Format", FMV report 07/1, 2007; 1.9: report 11/2, 2011.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from archgym.errors import ArchGymError
from archgym.simulators.synthesis.circuits.aig import Aig
from archgym.words import shown

MOST_NODES = 1_000_000


def read_binary(content: bytes) -> Aig:
    """The graph of a binary file, each AND where the file has it.

    Raises:
        ArchGymError: the file is malformed, has latches, or is too large.
    """
    place = content.find(b"\n") + 1 or len(content)
    total, inputs, outputs, ands = _header(content[:place], b"aig")
    if total != inputs + ands:
        raise ArchGymError(f"expected a header of M = I + L + A, got {total} with {inputs} and {ands}")
    graph = Aig()
    graph.word(inputs)
    for number in range(outputs):
        start, place = place, content.find(b"\n", place) + 1 or len(content)
        graph.outputs.append(_literal(content[start:place], f"output {number}", total))
    for node in range(inputs + 1, total + 1):
        first, place = _difference(content, place, node)
        second, place = _difference(content, place, node)
        a = 2 * node - first
        if first == 0 or a < 0 or a - second < 0:
            raise ArchGymError(f"AND {node} needs literals below {2 * node}, and differences that are not 0")
        graph.ands.append((a, a - second))
    return graph


def _difference(content: bytes, place: int, node: int) -> tuple[int, int]:
    """A number of 7 bits per byte, and where the next one starts."""
    number = shift = 0
    while shift < 35:
        if place >= len(content):
            raise ArchGymError(f"the file ends within AND {node}; it is truncated")
        byte = content[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
    raise ArchGymError(f"AND {node} has a number of more than five bytes")


def read_ascii(content: bytes) -> Aig:
    """The graph of an ASCII file; ANDs are sorted so that each comes after those it needs.

    Raises:
        ArchGymError: the file is malformed, cyclic, has latches, or is too large.
    """
    lines = content.split(b"\n")
    total, inputs, outputs, ands = _header(lines[0], b"aag")
    if len(lines) < 1 + inputs + outputs + ands:
        expected = f"{inputs} inputs, {outputs} outputs and {ands} ANDs"
        raise ArchGymError(f"expected lines of {expected}, got {len(lines) - 1} lines; it is truncated")
    literals = [_literal(line, f"input {i}", total) for i, line in enumerate(lines[1 : 1 + inputs])]
    place = {0: 0}  # variable -> node
    for literal in literals:
        _define(place, literal, len(place))
    rows = {}
    for number, line in enumerate(lines[1 + inputs + outputs :][:ands]):
        cells = line.split()
        if len(cells) != 3:
            raise ArchGymError(f"expected AND {number} as three literals, got {shown(line.decode('latin1'))}")
        left, *right = (_literal(cell, f"AND {number}", total) for cell in cells)
        _define(place, left, 0)
        rows[left >> 1] = right
    graph = Aig()
    graph.word(inputs)
    for variable in _sorted({left: [r >> 1 for r in right] for left, right in rows.items()}):
        if variable in rows:
            a, b = (2 * place[literal >> 1] | literal & 1 for literal in rows[variable])
            graph.ands.append((max(a, b), min(a, b)))
            place[variable] = inputs + len(graph.ands)
        elif variable not in place:
            raise ArchGymError(f"variable {variable} is neither an input nor an AND")
    for number, line in enumerate(lines[1 + inputs : 1 + inputs + outputs]):
        literal = _literal(line, f"output {number}", total)
        if literal >> 1 not in place:
            raise ArchGymError(f"output {number} has variable {literal >> 1}, neither an input nor an AND")
        graph.outputs.append(2 * place[literal >> 1] | literal & 1)
    return graph


def _sorted(needs: dict[int, list[int]]) -> list[int]:
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        cycle = ", ".join(map(str, error.args[1][:6]))
        raise ArchGymError(f"expected a circuit without cycles, got one through variables {cycle}") from None


def _define(place: dict[int, int], literal: int, node: int) -> None:
    if literal & 1 or literal >> 1 in place:
        raise ArchGymError(f"expected a literal that is even and new, got {literal}")
    place[literal >> 1] = node


def _header(line: bytes, magic: bytes) -> tuple[int, int, int, int]:
    """M, I, O and A."""
    cells = line.split()
    if cells[:1] != [magic] or not 6 <= len(cells) <= 10:
        raise ArchGymError(
            f'expected a header "{magic.decode()} M I L O A", got {shown(line[:80].decode("latin1"))}'
        )
    numbers = [_number(cell, "a number of the header") for cell in cells[1:]]
    total, inputs, latches, outputs, ands = numbers[:5]
    if latches or any(numbers[5:]):
        kind = f"{latches} latches" if latches else "properties of AIGER 1.9"
        raise ArchGymError(f"expected a combinational circuit, got {kind}; cut them to inputs and outputs")
    if not inputs or not outputs:
        raise ArchGymError(f"expected inputs and outputs, got {inputs} and {outputs}")
    if max(numbers) > MOST_NODES:
        raise ArchGymError(f"expected at most {MOST_NODES:,} nodes, got {max(numbers):,}")
    return total, inputs, outputs, ands


def _literal(cell: bytes, what: str, total: int) -> int:
    if not cell.strip():
        raise ArchGymError(f"{what} is missing; the file is truncated")
    literal = _number(cell.strip(), what)
    if literal > 2 * total + 1:
        raise ArchGymError(f"expected {what} as a literal up to {2 * total + 1}, got {literal}")
    return literal


def _number(cell: bytes, what: str) -> int:
    if not cell.isdigit() or len(cell) > 10:
        raise ArchGymError(f"expected {what} as a whole number, got {shown(cell[:60].decode('latin1'))}")
    return int(cell)
