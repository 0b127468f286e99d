"""Sequences of synthesis passes as designs, and what is measured of the circuit that they leave.

    slot_1 ... slot_K    a pass each, or "none", after which nothing follows

A design is a sequence of at most K passes, and every sequence is one design: there are (7^(K+1) - 1) / 6. The
passes are ABC's, on an and-inverter graph: a network of two-input AND gates with inverters on its edges.

    balance          least depth of every AND of many inputs
    rewrite          subgraphs of four inputs replaced by smaller ones; -z also by ones of equal size
    refactor         large cones factored again; -z also where nothing is saved
    resub            gates replaced by functions of gates that exist; -z also where nothing is saved
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from archgym.errors import whole
from archgym.simulator import Metric
from archgym.space import Array, Categorical, DesignSpace, Indices

NONE = 0
PASSES = ("none", "balance", "rewrite", "rewrite -z", "refactor", "refactor -z", "resub", "resub -z")
LUT_INPUTS = 6
METRICS = (
    Metric("and_gates", "1", "lower"),
    Metric("levels", "1", "lower"),
    Metric("luts", "1", "lower"),
    Metric("lut_levels", "1", "lower"),
)
MAPPED = (Metric("area", "units of the library", "lower"), Metric("delay_ps", "ps", "lower"))

SCRIPTS = {  # of ABC's start file
    "resyn": "balance; rewrite; rewrite -z; balance; rewrite -z; balance",
    "resyn2": "balance; rewrite; refactor; balance; rewrite; rewrite -z; balance; refactor -z; rewrite -z; "
    "balance",
}

Sequence = tuple[int, ...]  # places in PASSES, without "none"


def sequence_space(slots: int) -> DesignSpace:
    """The sequences of at most `slots` passes; "none" is the inactive value."""
    return DesignSpace(
        [
            Categorical(f"slot_{k}", PASSES, when={} if k == 1 else {f"slot_{k - 1}": PASSES[1:]})
            for k in range(1, whole("slots", slots, least=1) + 1)
        ]
    )


def sequences(space: DesignSpace, indices: Indices) -> Iterator[Sequence]:
    """The sequences of designs [B, K]."""
    for row in space.canonical(np.asarray(indices, np.int64)).tolist():
        yield tuple(index for index in row if index != NONE)


def prefix_features(sequence: Sequence, slots: int, gates: list[int], levels: list[int]) -> list[float]:
    """What a sequence has made of a circuit, in the manner of DRiLLS (Hosny et al., ASP-DAC 2020) and abcRL
    (Zhu et al., MLCAD 2020).

        log10(1 + gates), log10(1 + levels)         now
        gates / those of the circuit, levels alike  now
        the same                                    before the last pass
        share of slots left
        1 at the place of the last pass in PASSES   0 elsewhere

    Args:
        sequence: passes.
        slots: K.
        gates: AND gates of the circuit and after each pass, or as far as passes succeeded.
        levels: levels alike.
    """
    before = max(len(gates) - 2, 0)
    last = np.zeros(len(PASSES))
    last[sequence[-1] if sequence else NONE] = 1
    return [
        np.log10(1 + gates[-1]),
        np.log10(1 + levels[-1]),
        gates[-1] / max(gates[0], 1),
        levels[-1] / max(levels[0], 1),
        gates[before] / max(gates[0], 1),
        levels[before] / max(levels[0], 1),
        1 - len(sequence) / slots,
        *last,
    ]


def scripts(slots: int) -> dict[str, tuple[Indices, Array]]:
    """ABC's scripts of at most `slots` passes, as a simulator's controls: designs [1, K], priorities [1]."""
    found: dict[str, tuple[Indices, Array]] = {}
    for name, script in SCRIPTS.items():
        passes = [PASSES.index(one) for one in script.split("; ")]
        if len(passes) <= slots:
            row = [*passes, *[NONE] * (slots - len(passes))]
            found[name] = np.array([row], np.int64), np.ones(1)
    return found
