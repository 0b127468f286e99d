"""A neural predictor of the reward, fitted to the designs told, that ranks proposals (White et al., 2021).

    y    = (r - median) / s, at least -2        s: root mean square of r - median over the better half; an
                                                infeasible design counts as the worst feasible one
    f_m  : one of 4 perceptrons with two hidden layers, on one-hot designs, each with batches of its own
    next = the `round` proposals x with the largest  mean_m f_m(x) + std_m f_m(x) / 2,  none of them seen

Proposals are random designs, mutants of the best ten, or guided diffusion (An et al., "DiffusionNAG", 2024).
In a product space the uniform prior of designs is exact, so that no generator is trained. Forward, each value
is kept with probability a_t or else redrawn uniformly; the reverse step has a closed form, and the gradient
by the one-hot values guides it (Dhariwal & Nichol, 2021):

    p(x_{t-1} = v | x_t) ~ (a_t 1{v = x_t} + (1 - a_t) / n) exp(scale df(x_t) / d1_v)        per parameter
    a_t = A_t / A_{t-1},   A_t = cos^2(pi t / 2 steps)                                   t = steps, ..., 1

Perceptrons rather than a forest because guidance needs gradients. An ordered parameter of more than 16
values enters by its distances from 16 knots (piecewise linear), so that near values have near predictions.

Good for: a hundred to a thousand samples of simulators that take 10 ms or more, many interacting parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._blas import one_thread
from archgym.agents._designs import check_listable, draw, moved, redraw_until_new
from archgym.agents._perceptrons import Ensemble, Features
from archgym.space import Array, Categorical, DesignSpace, Indices, Integer, Ordinal, Real
from archgym.space.orders import draw_each

MAX_VALUES = 20_000  # of all parameters: the first layer has 4 x 48 weights for each
PARENTS = 10
OPTIMISM = 0.5  # standard deviations of the ensemble added to its mean
LOWEST = -2.0  # smallest y: among bad designs the order does not matter
STEPS_PER_DESIGN = 12  # steps of the fit for each new design


class Predictor(AskTellAgent):
    """Ranks proposals by an ensemble of small neural networks and repeats no design.

    Args:
        startup: random designs before the first fit.
        round: designs between two fits (the environment's width).
        candidates: proposals among which the best are chosen.
        proposals: "mutation", "random" or "diffusion".
        steps: steps of the diffusion.
        scale: strength of the guidance of the diffusion; 0 proposes random designs.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "predictor", budget=100)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = "round"
    hyperparameters = DesignSpace(
        [
            Ordinal("startup", [5, 10, 20, 40, 80], default=10),
            Integer("round", 1, 64, default=5),
            Ordinal("candidates", [16, 32, 64, 128, 256, 512], default=64),
            Categorical("proposals", ["mutation", "random", "diffusion"], default="diffusion"),
            Integer("steps", 1, 100, default=10),
            Real("scale", 0.0, 30.0, default=10.0),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        check_listable(self, space, MAX_VALUES)
        self.space, self.rng = space, rng
        self.features = Features(space)
        self.ensemble = Ensemble(self.features.size, rng)
        self.seen: set[bytes] = set()
        self.designs, self.rewards = np.empty((0, len(space)), np.int64), np.empty(0)
        self.fitted = 0  # designs at the last fit

    @one_thread
    def ask(self, n: int) -> Indices:
        told = len(self.designs)
        if told < self.startup or self.space.size == 1:
            return self._unseen(self.space.sample(n, self.rng, per="parameter"), n)
        if told - self.fitted >= self.round or not self.fitted:
            steps = STEPS_PER_DESIGN * (told - self.fitted)
            self.ensemble.fit(self.features(self.designs), self._targets()[:, None], steps, self.rng)
            self.fitted = told
        proposals = self._propose(max(self.candidates, n))
        predicted = self.ensemble(self.features(proposals))[..., 0]  # [M, C]
        merit = predicted.mean(axis=0) + OPTIMISM * predicted.std(axis=0)
        return self._unseen(proposals[np.argsort(-merit, kind="stable")], n)

    def warm(
        self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array, valid: Array
    ) -> None:
        self.seen.update(design.tobytes() for design in indices)
        super().warm(indices, rewards, metrics, feasible, valid)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        self.designs = np.concatenate([self.designs, indices])
        self.rewards = np.concatenate([self.rewards, np.where(feasible, rewards, -np.inf)])

    def _targets(self) -> Array:
        """y of the designs told, float64 [N]."""
        feasible = np.isfinite(self.rewards)
        worst = self.rewards[feasible].min() if feasible.any() else 0.0
        rewards = np.where(feasible, self.rewards, worst)
        above = rewards - np.median(rewards)
        spread = np.sqrt(np.mean(above[above >= 0] ** 2))
        return np.maximum(above / (spread or 1.0), LOWEST)

    def _propose(self, n: int) -> Indices:
        """Proposals to rank: int64 [n, P]."""
        if self.proposals == "random":
            return self.space.sample(n, self.rng, per="parameter")
        if self.proposals == "diffusion":
            return self._diffused(n)
        best = np.argsort(-self.rewards, kind="stable")[:PARENTS]
        once = moved(self.space, self.designs[best[self.rng.integers(len(best), size=n)]], self.rng)
        return np.where(self.rng.random((n, 1)) < 0.5, moved(self.space, once, self.rng), once)

    def _diffused(self, n: int) -> Indices:
        """Draws of the reverse chain, guided by the gradient of the predicted reward: int64 [n, P]."""
        kept = np.cos(np.linspace(0, np.pi / 2, self.steps + 1)) ** 2  # A_t
        nvec = self.space.nvec
        x = draw_each(n, nvec, self.rng)
        for before, after in pairwise(kept[::-1]):
            slopes = self.features.by_value(self.ensemble.gradient(self.features(x)))
            slopes *= np.repeat(self.space.active(x), nvec, axis=1)  # inactive parameters stay random
            x = reverse_step(x, before / after, self.scale * slopes, nvec, self.rng)
        return self.space.canonical(x)

    def _unseen(self, proposals: Indices, n: int) -> Indices:
        """The first n proposals [C, P] not seen yet: int64 [n, P]. Where there are fewer, repeated ones have
        random parameters redrawn one by one until they are new.
        """
        keys = [proposal.tobytes() for proposal in proposals]
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        repeated = [key in self.seen or first[key] != row for row, key in enumerate(keys)]
        chosen = proposals[np.argsort(repeated, kind="stable")[:n]]
        new = len(keys) - sum(repeated)
        self.seen.update(design.tobytes() for design in chosen[:new])
        for design in chosen[new:]:
            redraw_until_new(self.space, design, self.seen, self.rng)
            self.seen.add(design.tobytes())
        return chosen


def reverse_step(x: Indices, kept: float, slopes: Array, nvec: Indices, rng: np.random.Generator) -> Indices:
    """One step of the reverse chain, from x_t to x_{t-1}.

    Args:
        x: designs, int64 [C, P].
        kept: a_t, probability that the forward step keeps a value.
        slopes: scale times the gradient of the reward by each value, [C, sum(nvec)].
        nvec: values per parameter, [P].
        rng: generator of the draws.

    Returns:
        int64 [C, P].
    """
    first = np.cumsum(nvec) - nvec
    prior = np.tile(np.repeat((1 - kept) / nvec, nvec), (len(x), 1))
    np.put_along_axis(prior, x + first, np.take_along_axis(prior, x + first, 1) + kept, 1)
    largest = np.repeat(np.maximum.reduceat(slopes, first, axis=1), nvec, axis=1)
    weight = prior * np.exp(slopes - largest)
    probability = weight / np.repeat(np.add.reduceat(weight, first, axis=1), nvec, axis=1)
    return draw(probability.ravel(), np.tile(nvec, len(x)), 1, rng).reshape(x.shape)
