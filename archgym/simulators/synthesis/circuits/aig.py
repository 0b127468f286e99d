"""And-inverter graphs: a combinational circuit of two-input ANDs and inverters.

A literal is an integer, 2 x node + complement: 0 is false, 1 true, x ^ 1 the inverse of x. Nodes 1..I are the
inputs, those after them ANDs, each of two literals before it, so that a graph has no cycle. Structural
hashing makes one node of ANDs of the same two literals, and none where a rule of one level applies:

    x & 0 = 0    x & 1 = x    x & x = x    x & !x = 0

Files are binary AIGER (Biere, "The AIGER And-Inverter Graph Format", FMV report 07/1, 2007): the header
"aig M I L O A", a literal per output, and two differences per AND as numbers of 7 bits per byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from archgym.errors import ArchGymError
from archgym.space import Array

FALSE, TRUE = 0, 1
Word = list[int]  # literals, the lowest bit first


class Aig:
    """A graph under construction: inputs first, then ANDs, then outputs.

    Attributes:
        inputs: number of inputs.
        ands: the literals of each AND, the larger first.
        outputs: literals of the outputs.
    """

    def __init__(self) -> None:
        self.inputs = 0
        self.ands: list[tuple[int, int]] = []
        self.outputs: list[int] = []
        self._nodes: dict[tuple[int, int], int] = {}

    def word(self, bits: int) -> Word:
        """New inputs, the lowest bit first.

        Raises:
            ArchGymError: there are ANDs already.
        """
        if self.ands:
            raise ArchGymError("expected all inputs before the first AND; declare them first")
        first = self.inputs + 1
        self.inputs += bits
        return [2 * node for node in range(first, first + bits)]

    def output(self, *literals: int) -> None:
        """Literals as further outputs."""
        self.outputs += literals

    def and_(self, a: int, b: int) -> int:
        """The literal of a & b."""
        if a < b:
            a, b = b, a
        if b == FALSE or a == b ^ 1:
            return FALSE
        if b in (TRUE, a):
            return a
        node = self._nodes.get((a, b))
        if node is None:
            self.ands.append((a, b))
            node = self._nodes[a, b] = self.inputs + len(self.ands)
        return 2 * node

    def or_(self, a: int, b: int) -> int:
        """The literal of a | b."""
        return self.and_(a ^ 1, b ^ 1) ^ 1

    def xor(self, a: int, b: int) -> int:
        """The literal of a ^ b: three ANDs."""
        return self.and_(self.and_(a, b) ^ 1, self.or_(a, b))

    def mux(self, select: int, then: int, otherwise: int) -> int:
        """The literal of `then` where `select` is true, else of `otherwise`: three ANDs."""
        return self.or_(self.and_(select, then), self.and_(select ^ 1, otherwise))

    def majority(self, a: int, b: int, c: int) -> int:
        """The literal that is true where two or three of the three are."""
        return self.or_(self.and_(a, b), self.and_(c, self.or_(a, b)))

    def all(self, literals: Iterable[int]) -> int:
        """The conjunction of literals, a chain of ANDs; true of none."""
        result = TRUE
        for literal in literals:
            result = self.and_(result, literal)
        return result

    def any(self, literals: Iterable[int]) -> int:
        """The disjunction of literals, a chain; false of none."""
        return self.all(literal ^ 1 for literal in literals) ^ 1

    def simulate(self, bits: Array) -> Array:
        """The outputs of rows of inputs: bool [rows, inputs] -> bool [rows, outputs]."""
        values = np.zeros((1 + self.inputs + len(self.ands), len(bits)), bool)
        values[1 : 1 + self.inputs] = np.asarray(bits, bool).T
        for node, (a, b) in enumerate(self.ands, start=1 + self.inputs):
            values[node] = (values[a >> 1] ^ (a & 1)) & (values[b >> 1] ^ (b & 1))
        outputs = np.array(self.outputs, np.int64)
        return (values[outputs >> 1] ^ (outputs & 1).astype(bool)[:, None]).T

    def used(self) -> Aig:
        """The graph without ANDs that no output needs; inputs and outputs stay."""
        needed = bytearray(1 + self.inputs + len(self.ands))
        for literal in self.outputs:
            needed[literal >> 1] = 1
        for node in range(len(needed) - 1, self.inputs, -1):
            if needed[node]:
                a, b = self.ands[node - self.inputs - 1]
                needed[a >> 1] = needed[b >> 1] = 1
        kept, place = Aig(), list(range(1 + self.inputs))
        kept.word(self.inputs)
        for node, (a, b) in enumerate(self.ands, start=1 + self.inputs):
            place.append(0)
            if needed[node]:
                kept.ands.append((2 * place[a >> 1] | a & 1, 2 * place[b >> 1] | b & 1))
                place[node] = self.inputs + len(kept.ands)
        kept.outputs = [2 * place[literal >> 1] | literal & 1 for literal in self.outputs]
        return kept

    def to_aiger(self) -> bytes:
        """The graph as a binary AIGER file, all its ANDs included."""
        total = self.inputs + len(self.ands)
        content = bytearray(f"aig {total} {self.inputs} 0 {len(self.outputs)} {len(self.ands)}\n".encode())
        content += "".join(f"{literal}\n" for literal in self.outputs).encode()
        for node, (a, b) in enumerate(self.ands, start=1 + self.inputs):
            for number in (2 * node - a, a - b):
                while number > 0x7F:
                    content.append(number & 0x7F | 0x80)
                    number >>= 7
                content.append(number)
        return bytes(content)


def bits_of(numbers: Sequence[int] | Array, bits: int) -> Array:
    """Whole numbers as rows of bits, the lowest first: [rows] -> bool [rows, bits]."""
    values = np.asarray(numbers, object)
    return np.array([[(int(value) >> k) & 1 for k in range(bits)] for value in values], bool)


def number_of(bits: Array) -> list[int]:
    """Rows of bits, the lowest first, as whole numbers: bool [rows, bits] -> [rows]."""
    return [sum(1 << k for k, bit in enumerate(row) if bit) for row in np.asarray(bits, bool).tolist()]
