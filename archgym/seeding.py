"""Random streams: everything random in a run derives from one seed, domain-separated so that no two parts
share draws.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Part = Literal["agent", "noise", "study", "dataset", "proxy", "contexts"]
_KEYS = {"agent": 1, "noise": 2, "study": 3, "dataset": 4, "proxy": 5, "contexts": 6}


def stream(seed: int, part: Part) -> np.random.Generator:
    """The generator of one part of a run: `default_rng` on `SeedSequence(seed, spawn_key=(part's
    number,))`.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_KEYS[part],)))


def integer_seed(seed: int, part: Part) -> int:
    """A 31-bit seed of one part of a run, for libraries that take an integer."""
    return int(np.random.SeedSequence(seed, spawn_key=(_KEYS[part],)).generate_state(1)[0] >> 1)
