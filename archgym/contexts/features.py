"""Features: what an agent sees of a context, as numbers of about unit size.

    z_i = clip((f_i - mean_i) / std_i, -R, R)        mean and std over the contexts that are trained on

Features that are the same in all of these are left out: nothing can be learned from them. A context that
differs in one of them is outside of what was trained, and gets a warning.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError
from archgym.objective import Objective, R
from archgym.simulator import Simulator
from archgym.words import plain

WORD = "="  # in the name of a feature that is 1 for one word and 0 for others, "technology=45nm"


def context_features(simulator: Simulator, objective: Objective) -> dict[str, float]:
    """A task's features by name: those of its simulator, and the positive limits of its objective in log2.

    Raises:
        ArchGymError: a feature that is not a finite number.
    """
    found = dict(simulator.unwrapped.context_features())
    found |= {f"limit {c.metric}": math.log2(c.limit) for c in objective.constraints if c.limit > 0}
    for name, value in found.items():
        if not np.isfinite(value):
            raise ArchGymError(
                f"expected a finite number as the feature {name!r} of a context, got {value!r}"
            )
    return {name: float(value) for name, value in found.items()}


@dataclass(frozen=True)
class Features:
    """The features of a set of contexts, standardised.

    Attributes:
        constants: feature -> (mean, scale); a scale of 0 marks a feature that does not vary.
    """

    constants: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, contexts: Sequence[Mapping[str, float]]) -> Features:
        """The features of contexts, each with its features by name; words that a context lacks are 0 there.

        Raises:
            ArchGymError: a context lacks a feature that is not a word.
        """
        names = list(dict.fromkeys(name for each in contexts for name in each))
        table = np.array([[_value(each, name) for name in names] for each in contexts]).reshape(
            len(contexts), len(names)
        )
        mean, std = table.mean(axis=0), table.std(axis=0)
        varies = np.ptp(table, axis=0) > 0
        scale = np.where(varies, std, 0.0)
        mean = np.where(varies, mean, table[0])  # a mean of equal numbers is rounded
        return cls(dict(zip(names, zip(mean.tolist(), scale.tolist(), strict=True), strict=True)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the F features that vary."""
        return tuple(name for name, (_, scale) in self.constants.items() if scale)

    def vector(self, context: Mapping[str, float]) -> npt.NDArray[np.float32]:
        """A context's standardised features, float32 [F].

        Raises:
            ArchGymError: the context lacks a feature.

        Warns:
            UserWarning: a feature that does not vary here, or is not one of these, has another value.
        """
        values = [_value(context, name) for name in self.constants]
        foreign = [name for name, value in context.items() if name not in self.constants and value]
        for (name, (mean, scale)), value in zip(self.constants.items(), values, strict=True):
            if not scale and not np.isclose(value, mean, rtol=1e-9, atol=1e-12):
                foreign.append(f"{name} = {plain(value)} instead of {plain(mean)}")
        if foreign:
            warnings.warn(
                f"the context differs in what no trained one differs in: {', '.join(foreign)}; expect poor "
                "designs, or train on such contexts",
                stacklevel=2,
            )
        z = [
            (v - mean) / scale
            for v, (mean, scale) in zip(values, self.constants.values(), strict=True)
            if scale
        ]
        return np.clip(np.array(z, float), -R, R).astype(np.float32)


def _value(context: Mapping[str, float], name: str) -> float:
    if name not in context and WORD not in name:
        raise ArchGymError(
            f"expected every context to have the feature {name!r}, got one without it; give all contexts "
            "simulators of one kind"
        )
    return context.get(name, 0.0)
