"""Circuits of control logic; words have the lowest bit first.

decoder           n bits -> 2^n outputs, output i true for the number i: products of two decoders of half
priority_encoder  n requests -> the index of the highest one that is set (0 where none is), and whether any is
barrel_shifter    n bits of data, ceil(log2 n) bits of distance -> the data rotated towards the high bits
random            a block of control logic that a seed draws (`random_block`)

A random block has products of 2 to 4 inputs or their inverses. An output is a sum of 2 to 5 products, or a
decision list: the value of the first product that is true, "if p1 then q1 else if p2 then q2 else q3",
where the values q are products as well. Blocks are the same on every machine: all draws come from
`random.Random(seed).random()`, whose sequence Python's documentation guarantees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from archgym.simulators.synthesis.circuits.aig import FALSE, TRUE, Aig, Word


def decoder(bits: int) -> Aig:
    """One output for each number of `bits` bits."""
    graph = Aig()
    graph.output(*decode(graph, graph.word(bits)))
    return graph


def decode(graph: Aig, word: Word) -> Word:
    """A literal for each value of a word, true for this value."""
    if not word:
        return [TRUE]
    if len(word) == 1:
        return [word[0] ^ 1, word[0]]
    half = len(word) // 2
    low, high = decode(graph, word[:half]), decode(graph, word[half:])
    return [graph.and_(x, y) for y in high for x in low]


def priority_encoder(requests: int) -> Aig:
    """The index of the highest of `requests` requests, and whether there is any."""
    graph = Aig()
    x = graph.word(requests)
    index, above = [FALSE] * (requests - 1).bit_length(), FALSE
    for place in reversed(range(requests)):
        first = graph.and_(x[place], above ^ 1)
        index = [graph.or_(bit, first) if place >> k & 1 else bit for k, bit in enumerate(index)]
        above = graph.or_(above, x[place])
    graph.output(*index, above)
    return graph


def barrel_shifter(bits: int) -> Aig:
    """Data of `bits` bits, rotated by a distance of ceil(log2 bits) bits: bit i moves to (i + distance) mod
    `bits`.
    """
    graph = Aig()
    data, distance = graph.word(bits), graph.word((bits - 1).bit_length())
    for k, select in enumerate(distance):
        data = [graph.mux(select, data[(i - (1 << k)) % bits], data[i]) for i in range(bits)]
    graph.output(*data)
    return graph


# --- random logic ---

Product = tuple[tuple[int, bool], ...]  # inputs, and whether each is inverted


@dataclass(frozen=True)
class Block:
    """A random block, before it becomes a graph.

    Attributes:
        inputs: number of inputs.
        sums: products of each sum; None for an output that is a decision list.
        decisions: conditions and values of each decision list, and its last value.
    """

    inputs: int
    sums: tuple[tuple[Product, ...] | None, ...]
    decisions: tuple[tuple[tuple[tuple[Product, Product], ...], Product] | None, ...]

    def evaluate(self, row: Sequence[bool]) -> list[bool]:
        """The outputs for one row of inputs, by definition."""

        def product(literals: Product) -> bool:
            return all(bool(row[place]) != inverted for place, inverted in literals)

        outputs = []
        for terms, decision in zip(self.sums, self.decisions, strict=True):
            if terms is not None:
                outputs.append(any(product(term) for term in terms))
            elif decision is not None:
                rules, last = decision
                value = next((value for condition, value in rules if product(condition)), last)
                outputs.append(product(value))
        return outputs


def random_block(seed: int, inputs: int, outputs: int) -> Block:
    """A random block: a pool of products, sums and decision lists over it."""
    draw = Random(seed).random

    def below(count: int) -> int:
        return int(draw() * count)

    def product() -> Product:
        places = list(range(inputs))
        picked = [places.pop(below(len(places))) for _ in range(min(inputs, 2 + below(3)))]
        return tuple((place, below(2) == 1) for place in sorted(picked))

    pool = [product() for _ in range(3 * outputs)]
    sums: list[tuple[Product, ...] | None] = []
    decisions: list[tuple[tuple[tuple[Product, Product], ...], Product] | None] = []
    for _ in range(outputs):
        if below(2):
            sums.append(tuple(pool[below(len(pool))] for _ in range(2 + below(4))))
            decisions.append(None)
        else:
            count = 2 + below(3)
            rules = tuple((pool[below(len(pool))], pool[below(len(pool))]) for _ in range(count))
            sums.append(None)
            decisions.append((rules, pool[below(len(pool))]))
    return Block(inputs, tuple(sums), tuple(decisions))


def random_logic(seed: int, inputs: int = 12, outputs: int = 12) -> Aig:
    """A random block as a graph."""
    block, graph = random_block(seed, inputs, outputs), Aig()
    x = graph.word(inputs)

    def product(literals: Product) -> int:
        return graph.all(x[place] ^ inverted for place, inverted in literals)

    for terms, decision in zip(block.sums, block.decisions, strict=True):
        if terms is not None:
            graph.output(graph.any(product(term) for term in terms))
        elif decision is not None:
            rules, last = decision
            value = product(last)
            for condition, then in reversed(rules):
                value = graph.mux(product(condition), product(then), value)
            graph.output(value)
    return graph
