"""Moves that grow a plain convolutional network, and paths of them.

    widen n     layer n gets the next of the widths, and with it every layer that a skip ties to it
    deepen n    a layer of 3 x 3 kernels follows layer n, which keeps resolution and width

A path has `steps` parameters, each a move or "stop", after which nothing follows. It starts from the network
3x8-3x16p-3x16. A move on a layer that does not exist, or beyond the last width or depth, is impossible,
and a path that contains it is infeasible.

Source: Cai et al., "Efficient Architecture Search by Network Transformation", AAAI 2018 (moves wider and
deeper).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from archgym.simulators.cnn.layers import Layer
from archgym.space import Categorical, DesignSpace

START: tuple[Layer, ...] = (Layer(3, 8), Layer(3, 16, "pool"), Layer(3, 16))
WIDTHS = (8, 12, 16, 24, 32, 48, 64)
DEEPEST = 5  # layers
STOP = 0
MOVES = (
    "stop",
    *(f"widen {n}" for n in range(1, DEEPEST + 1)),
    *(f"deepen {n}" for n in range(1, DEEPEST)),
)

Path = tuple[int, ...]  # numbers of moves in MOVES, without "stop"


def path_space(steps: int) -> DesignSpace:
    """The paths of at most `steps` moves; "stop" is the inactive value."""
    return DesignSpace(
        [
            Categorical(f"move{n}", MOVES, when={} if n == 1 else {f"move{n - 1}": MOVES[1:]})
            for n in range(1, steps + 1)
        ]
    )


def tied(layers: Sequence[Layer], n: int) -> range:
    """Positions of the layers whose width is that of the layer at position n: skips tie input to output."""
    first, last = n, n
    while layers[first].skip:
        first -= 1
    while last + 1 < len(layers) and layers[last + 1].skip:
        last += 1
    return range(first, last + 1)


def refusal(layers: Sequence[Layer], move: int) -> str:
    """Why a move is impossible for a network; "" if it is possible."""
    kind, _, layer = MOVES[move].partition(" ")
    if kind == "stop":
        return ""
    if int(layer) > len(layers):
        return f"expected a layer in 1..{len(layers)} to {kind}, got {layer}"
    at = layers[int(layer) - 1]
    if kind == "widen" and at.width >= WIDTHS[-1]:
        return f"layer {layer} has {at.width} channels, the most there are"
    if kind == "deepen" and len(layers) >= DEEPEST:
        return f"the network has {len(layers)} layers, the most there are"
    return ""


def moved(layers: Sequence[Layer], move: int) -> tuple[Layer, ...]:
    """The layers after a possible move other than "stop"."""
    kind, _, layer = MOVES[move].partition(" ")
    n, grown = int(layer) - 1, list(layers)
    if kind == "widen":
        for place in tied(layers, n):
            grown[place] = replace(layers[place], width=next_width(layers[n]))
    else:
        grown.insert(n + 1, Layer(3, layers[n].width))
    return tuple(grown)


def next_width(layer: Layer) -> int:
    """The next width of a layer that is not as wide as there is."""
    return next(width for width in WIDTHS if width > layer.width)


class Growth(NamedTuple):
    """A path and its networks.

    Attributes:
        path: the moves.
        networks: the start and the network after each move, up to the first impossible one.
        refusal: why that move is impossible; "" where all are possible.
    """

    path: Path
    networks: tuple[tuple[Layer, ...], ...]
    refusal: str

    @property
    def last(self) -> tuple[Layer, ...]:
        """The last network."""
        return self.networks[-1]


@lru_cache(maxsize=1 << 14)
def growth_of(path: Path) -> Growth:
    """The networks along a path."""
    networks = [START]
    for step, move in enumerate(path, start=1):
        if reason := refusal(networks[-1], move):
            return Growth(path, tuple(networks), f"{MOVES[move]!r} is impossible in step {step}: {reason}")
        networks.append(moved(networks[-1], move))
    return Growth(path, tuple(networks), "")
