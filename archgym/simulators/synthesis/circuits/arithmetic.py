"""Circuits of arithmetic, on unsigned numbers unless stated; words have the lowest bit first.

adder         a, b of n bits -> a + b, n + 1 bits: a chain of full adders, carry = majority(a, b, carry)
multiplier    a, b of n bits -> a b, 2 n bits: rows of partial products, added one after the other
comparator    a, b of n bits -> a < b, a = b, a > b, from the highest bit down
max           m words of n bits -> the largest word, and the index of its first occurrence
int_to_float  x of n bits, two's complement -> sign, exponent, 3 bits of mantissa:
              x = (-1)^sign (1 + mantissa / 8) 2^(exponent - 1), truncated towards zero; exponent 0 for x = 0
"""

from __future__ import annotations

from archgym.simulators.synthesis.circuits.aig import FALSE, Aig, Word

MANTISSA = 3  # bits of int_to_float


def adder(bits: int) -> Aig:
    """The sum of two words of `bits` bits."""
    graph = Aig()
    a, b = graph.word(bits), graph.word(bits)
    graph.output(*add(graph, a, b))
    return graph


def add(graph: Aig, a: Word, b: Word, carry: int = FALSE) -> Word:
    """The sum of two words of equal length, one bit longer than these."""
    total = []
    for x, y in zip(a, b, strict=True):
        total.append(graph.xor(graph.xor(x, y), carry))
        carry = graph.majority(x, y, carry)
    return [*total, carry]


def multiplier(bits: int) -> Aig:
    """The product of two words of `bits` bits."""
    graph = Aig()
    a, b = graph.word(bits), graph.word(bits)
    low: Word = []
    rest = [FALSE] * bits
    for y in b:
        total = add(graph, rest, [graph.and_(x, y) for x in a])
        low.append(total[0])
        rest = total[1:]
    graph.output(*low, *rest)
    return graph


def comparator(bits: int) -> Aig:
    """Whether a < b, a = b, a > b, of words of `bits` bits."""
    graph = Aig()
    a, b = graph.word(bits), graph.word(bits)
    less, equal = compare(graph, a, b)
    graph.output(less, equal, graph.and_(less ^ 1, equal ^ 1))
    return graph


def compare(graph: Aig, a: Word, b: Word) -> tuple[int, int]:
    """The literals of a < b and a = b."""
    less, equal = FALSE, FALSE ^ 1
    for x, y in zip(reversed(a), reversed(b), strict=True):
        less = graph.or_(less, graph.and_(equal, graph.and_(x ^ 1, y)))
        equal = graph.and_(equal, graph.xor(x, y) ^ 1)
    return less, equal


def maximum(words: int, bits: int) -> Aig:
    """The largest of `words` words of `bits` bits, and its index."""
    graph = Aig()
    candidates = [graph.word(bits) for _ in range(words)]
    width = (words - 1).bit_length()
    best, index = candidates[0], [FALSE] * width
    for number, word in enumerate(candidates[1:], start=1):
        less, _ = compare(graph, best, word)
        best = [graph.mux(less, new, old) for new, old in zip(word, best, strict=True)]
        index = [graph.mux(less, number >> k & 1, old) for k, old in enumerate(index)]
    graph.output(*best, *index)
    return graph


def int_to_float(bits: int) -> Aig:
    """A number of `bits` bits, two's complement, as sign, exponent and mantissa; outputs are the mantissa,
    the exponent and the sign, the lowest bit first.
    """
    graph = Aig()
    x = graph.word(bits)
    sign = x[-1]
    magnitude = negate_where(graph, sign, x)
    mantissa, exponent = [FALSE] * MANTISSA, [FALSE] * bits.bit_length()
    above = FALSE  # whether a higher bit is set
    for place in reversed(range(bits)):
        leads = graph.and_(magnitude[place], above ^ 1)
        above = graph.or_(above, magnitude[place])
        for k in range(MANTISSA):
            below = place - MANTISSA + k
            if below >= 0:
                mantissa[k] = graph.or_(mantissa[k], graph.and_(leads, magnitude[below]))
        exponent = [graph.or_(bit, leads) if (place + 1) >> k & 1 else bit for k, bit in enumerate(exponent)]
    graph.output(*mantissa, *exponent, sign)
    return graph


def negate_where(graph: Aig, condition: int, x: Word) -> Word:
    """x, or -x where the condition is true, modulo 2^bits."""
    carry, result = condition, []
    for bit in x:
        flipped = graph.xor(bit, condition)
        result.append(graph.xor(flipped, carry))
        carry = graph.and_(flipped, carry)
    return result
