"""A model of the reward over context and design, trained on designs that it ranks best, and the policy that
takes its argmax.

    h(z, x)     : M perceptrons on a context's features z and one-hot designs x, with outputs
      h_0       = (r - best of the context so far) / s, within [-3, 1]     r: reward without its penalties
      h_j       = (m_j - limit_j) / max(|m_j|, |limit_j|)                  each constraint j; > 0: violated
      h_J+1     = 1 of infeasible designs, else -1
    v(z, x)     = mean_m exp(h_0) prod_{j > 0} sigmoid(-h_j / .05)        expected share of the context's best
    archive     = the best designs found in every context
    next        = the designs x of each context c with the largest v(z_c, x), none of them evaluated in c yet:
                  an evolution of designs on v that starts with the archive, in all contexts at once
    policy(z)   = argmax of v(z, x) over the archive

The outputs are smooth where the reward has a cliff, so that the model finds a constraint's boundary, which
often passes beside the optimum. The argmax over all designs would pick those whose value is overestimated
most; those of the archive are good in some context, and training evaluates them in others (elsewhere: a
library of solutions with an algorithm selector, Rice, "The Algorithm Selection Problem", 1976). The rounds
are those of model-based optimisation with an ensemble (White et al., "BANANAS", 2021).

Good for: one policy for tens to hundreds of contexts, ten thousand to some hundred thousand fast samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from archgym.agents._blas import one_thread
from archgym.agents._contextual import ContextualAgent
from archgym.agents._designs import check_listable, crossed, moved
from archgym.agents._perceptrons import Ensemble, Features, Float32
from archgym.contexts.policy import Policy
from archgym.objective import AtLeast, Objective, R
from archgym.space import Array, DesignSpace, Indices, Integer, Ordinal, Real
from archgym.task import EnvSpecification

MAX_VALUES = 20_000  # of all parameters: the first layer has M x `hidden` weights for each
CUT, ABOVE = -3.0, 1.0  # range of h_0: among bad designs the order does not matter
SOFTNESS = 0.05  # error of a predicted h_j: a limit met by 5 % is kept with probability .73
BATCH = 256
LAST_STEPS = 1000  # of the last fit, at least
CHUNK = 1024  # rows predicted at a time, so that layers stay in the cache
WIDTH, GENERATIONS = 64, 8  # of the evolution: designs per context, at least, and generations
MAX_ARCHIVE = 1024
MAX_LISTED = 65_536  # designs of a space in which the policy ranks all, where more than the archive are asked


class Value:
    """v(z, x), the expected share of a context's best.

    Args:
        space: designs x.
        features: length of z.
        outputs: J + 2.
        members: M.
        hidden: width of the layers.
        rng: generator of the first weights.
    """

    def __init__(
        self,
        space: DesignSpace,
        features: int,
        outputs: int,
        members: int,
        hidden: int,
        rng: np.random.Generator,
    ):
        self.encoded = Features(space)
        self.shape = np.array([outputs, members, hidden])
        size = features + self.encoded.size
        self.ensemble = Ensemble(size, rng, outputs=outputs, members=members, hidden=hidden)

    def inputs(self, contexts: Float32, designs: Indices) -> Float32:
        """Inputs of the networks, [B, ...], for features [B, F] and designs [B, P]."""
        return np.concatenate([contexts, self.encoded(designs)], axis=1)

    def __call__(self, context: Float32, designs: Indices) -> Float32:
        """Values [B] of designs [B, P] in one context, [F]."""
        return self.of_each(context[None], designs[None])[0]

    def of_each(self, contexts: Float32, designs: Indices) -> Float32:
        """Values [C, K] of designs [C, K, P] in contexts [C, F]."""
        rows = np.repeat(np.arange(len(designs)), designs.shape[1])
        flat = designs.reshape(-1, designs.shape[2])
        values = np.empty(len(flat), np.float32)
        for first in range(0, len(flat), CHUNK):
            part = slice(first, first + CHUNK)
            h = self.ensemble(self.inputs(contexts[rows[part]], flat[part]))
            loss = np.logaddexp(0, h[..., 1:] / SOFTNESS).sum(axis=-1)  # -log prod sigma
            values[part] = np.exp(np.minimum(h[..., 0], ABOVE) - loss).mean(axis=0)
        return values.reshape(designs.shape[:2])


class ValuePolicy(Policy):
    """The design of the archive with the largest expected share, for each context.

    Args:
        env, space: those of a `Policy`.
        archive: designs to choose from, int64 [A, P].
        weights: weights of the model, flat.
        shape: J + 2, M and the width of the layers.
    """

    def __init__(
        self, env: EnvSpecification, space: DesignSpace, archive: Indices, weights: Float32, shape: Indices
    ):
        super().__init__(env, space)
        self.archive = archive
        outputs, members, hidden = map(int, shape)
        features, rng = len(self.features.names), np.random.default_rng(0)
        self.value = Value(space, features, outputs, members, hidden, rng)
        self.value.ensemble.weights[:] = weights

    @one_thread
    def rank(self, features: Array, n: int) -> Indices:
        ranked = self.archive[_best(self.value(features, self.archive), n)]
        if len(ranked) == n:
            return ranked
        known = {design.tobytes() for design in ranked}
        others = self._others(n)
        others = others[[design.tobytes() not in known for design in others]]
        return np.concatenate([ranked, others[_best(self.value(features, others), n - len(ranked))]])

    def _others(self, n: int) -> Indices:
        """At least n distinct designs: all of a small space, else neighbours of the archive."""
        if self.space.size <= MAX_LISTED:
            return np.concatenate(list(self.space.enumerate()))
        rng, designs = np.random.default_rng(0), self.archive
        while len(designs) < 2 * n + len(self.archive):
            designs = np.unique(np.concatenate([designs, moved(self.space, designs, rng)]), axis=0)
        return designs

    def arrays(self) -> dict[str, Array]:
        return {"archive": self.archive, "weights": self.value.ensemble.weights, "shape": self.value.shape}

    @classmethod
    def from_arrays(cls, env: EnvSpecification, space: DesignSpace, arrays: Mapping[str, Array]) -> Self:
        return cls(env, space, arrays["archive"], arrays["weights"], arrays["shape"])


class ContextualValue(ContextualAgent):
    """Learns the value of designs over contexts, on designs that it chooses itself, and repeats none.

    Args:
        startup: share of the budget for random designs.
        round: designs between two fits (the environment's width); 1/16 of the budget, within 8 to 4096.
        members: perceptrons of the ensemble.
        hidden: width of their layers.
        steps: steps of the fits for each design told; the last fit takes all of them again.
        archive: best designs kept of each context.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "contextual_value", budget=200)  # doctest: +SKIP
    """

    version = 1
    policy_class = ValuePolicy
    num_envs_from = "round"
    hyperparameters = DesignSpace(
        [
            Real("startup", 0.02, 0.95, default=0.3),
            Integer("round", 1, 8192, default=64),
            Integer("members", 1, 8, default=3),
            Ordinal("hidden", [16, 32, 48, 64, 96, 128], default=48),
            Real("steps", 0.005, 2.0, log=True, default=0.0625),
            Integer("archive", 1, 64, default=4),
        ]
    )

    @classmethod
    def defaults_for(cls, budget: int) -> Mapping[str, Any]:
        return {"round": min(max(budget // 16, 8), 4096)}

    def start(
        self,
        space: DesignSpace,
        features: Float32,
        *,
        budget: int,
        rng: np.random.Generator,
    ) -> None:
        check_listable(self, space, MAX_VALUES)
        self.space, self.features, self.rng = space, features, rng
        outputs = len(self.objectives[0].constraints) + 2
        self.value = Value(space, features.shape[1], outputs, self.members, self.hidden, rng)
        self.random = self.startup * budget  # designs before the first fit
        self.contexts, self.designs = np.empty(0, np.int64), np.empty((0, len(space)), np.int64)
        self.outputs = np.empty((0, outputs))  # r, h_1, ..., h_J+1
        self.rewards = np.empty(0)  # r, -inf of designs that are not valid
        self.fitted = 0  # designs at the last fit
        self.queue = np.empty((len(features), 0, len(space)), np.int64)  # next designs of each context
        self.taken = np.zeros(len(features), np.int64)  # of the queue
        self.seen: set[int] = set()
        # keys of designs in contexts are linear, modulo 2^64
        self.factors = rng.integers(2**63, size=1 + len(space)) | 1

    @one_thread
    def ask(self, contexts: Indices) -> Indices:
        told = len(self.designs)
        if told >= self.random and told - self.fitted >= (self.round if self.fitted else 1):
            self._fit(round(self.steps * (told - self.fitted)))
            self._plan()
        designs = self.space.sample(len(contexts), self.rng, per="parameter")
        place = self.taken[contexts] + _occurrence(contexts)
        planned = place < self.queue.shape[1]
        designs[planned] = self.queue[contexts[planned], place[planned]]
        self.taken += np.bincount(contexts, minlength=len(self.taken))
        for _ in range(GENERATIONS):
            keys = self._keys(contexts, designs)
            again = self._known(keys) | (_occurrence(keys) > 0)
            if not again.any():
                break
            designs[again] = moved(self.space, designs[again], self.rng)
        self.seen.update(keys.tolist())
        return designs

    def tell(
        self,
        contexts: Indices,
        indices: Indices,
        rewards: Array,
        feasible: Array,
        valid: Array,
        metrics: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        outputs = np.empty((len(indices), self.outputs.shape[1]))
        for c in np.unique(contexts).tolist():
            rows = contexts == c
            here = {name: column[rows] for name, column in metrics.items()}
            outputs[rows] = outputs_of(self.objectives[c], here, feasible[rows])
        self.contexts = np.concatenate([self.contexts, contexts])
        self.designs = np.concatenate([self.designs, indices])
        self.outputs = np.concatenate([self.outputs, outputs])
        self.rewards = np.concatenate([self.rewards, np.where(valid, outputs[:, 0], -np.inf)])

    @one_thread
    def arrays(self) -> dict[str, Array]:
        self._fit(max(round(self.steps * len(self.designs)), LAST_STEPS))
        return {"archive": self._archive(), "weights": self.value.ensemble.weights, "shape": self.value.shape}

    def _fit(self, steps: int) -> None:
        if not len(self.designs):
            return
        targets = self.outputs.copy()
        best = np.full(len(self.features), -np.inf)
        np.maximum.at(best, self.contexts, self.rewards)
        best = np.where(np.isfinite(best), best, 0.0)[self.contexts]
        spread = 1.0
        if self.objectives[0].form != "log":  # rewards of other forms have any size
            spread = float(np.sqrt(np.mean((self.rewards - best)[np.isfinite(self.rewards)] ** 2))) or 1.0
        targets[:, 0] = np.clip((targets[:, 0] - best) / spread, CUT, ABOVE)
        weights = np.ones(targets.shape, np.float32)
        weights[targets[:, -1] > 0, :-1] = 0  # an infeasible design has no metrics
        inputs = self.value.inputs(self.features[self.contexts], self.designs)
        self.value.ensemble.fit(inputs, targets, steps, self.rng, batch=BATCH, weights=weights, falling=True)
        self.fitted = len(self.designs)

    def _archive(self) -> Indices:
        """The best valid designs of every context, each once, int64 [A, P]; any design if none was valid."""
        kept = min(self.archive, max(MAX_ARCHIVE // len(self.features), 1))
        order = np.lexsort([-self.rewards, self.contexts])
        best = order[_occurrence(self.contexts[order]) < kept]
        best = best[np.isfinite(self.rewards[best])][:MAX_ARCHIVE]
        return (
            np.unique(self.designs[best], axis=0)
            if len(best)
            else self.space.sample(1, self.rng, per="parameter")
        )

    def _plan(self) -> None:
        """Queue the best designs of every context that were not evaluated in it."""
        per_context = -(-self.round // len(self.features))
        width = max(WIDTH, 2 * per_context)
        archive = self._archive()
        first = np.stack([archive[_best(self.value(z, archive), width)] for z in self.features])
        self.queue = self._evolved(first, width)
        self.taken[:] = 0

    def _evolved(self, pool: Indices, width: int) -> Indices:
        """An evolution of designs [C, K, P]: new ones in their contexts, by falling value, [C, width, P]."""
        contexts = np.arange(len(pool))[:, None]
        values = self.value.of_each(self.features, pool)
        for _ in range(GENERATIONS):
            # earlier ones, which are better, more often; half of the children have two parents
            share = self.rng.random((2, len(pool), 2 * width)) ** 2
            one, other = pool[contexts, (share * pool.shape[1]).astype(np.int64)]
            mixed = (self.rng.random(one.shape) < 0.5) & (self.rng.random((*one.shape[:2], 1)) < 0.5)
            mothers, fathers, mix = (rows.reshape(-1, len(self.space)) for rows in (one, other, mixed))
            children = moved(self.space, crossed(self.space, mothers, fathers, mix, self.rng), self.rng)
            twice = self.rng.random(len(children)) < 0.3
            children[twice] = moved(self.space, children[twice], self.rng)
            children = children.reshape(one.shape)
            pool = np.concatenate([pool, children], axis=1)
            values = np.concatenate([values, self.value.of_each(self.features, children)], axis=1)
            keys = self._keys(np.broadcast_to(contexts, values.shape), pool)
            repeated = (self._known(keys.ravel()) | (_occurrence(keys.ravel()) > 0)).reshape(keys.shape)
            best = np.argsort(np.where(repeated, np.inf, -values), axis=1, kind="stable")[:, :width]
            pool, values = pool[contexts, best], np.where(repeated, 0, values)[contexts, best]
        return pool

    def _keys(self, contexts: Indices, designs: Indices) -> Indices:
        """A number for each design in its context, int64 [...]; different ones but for 1 pair in 2^63."""
        return contexts * self.factors[0] + designs @ self.factors[1:]

    def _known(self, keys: Indices) -> Array:
        return np.fromiter((key in self.seen for key in keys.tolist()), bool, len(keys))


def outputs_of(objective: Objective, metrics: Mapping[str, Array], feasible: Array) -> Array:
    """Reward without penalties, relative excess over each limit, and infeasibility, of B designs.

    Args:
        objective: the objective.
        metrics: a column [B] for each metric; anything where infeasible.
        feasible: bool [B].

    Returns:
        float64 [B, J + 2]; all but the last of infeasible designs are 0.
    """
    outputs = np.zeros((len(feasible), len(objective.constraints) + 2))
    columns = {name: metrics[name][feasible] for name in objective.metrics}
    # a metric of 0 or infinity makes rewards infinite
    outputs[feasible, 0] = np.nan_to_num(objective.uncut(columns), nan=-R, posinf=R, neginf=-R)
    for j, constraint in enumerate(objective.constraints, start=1):
        m, limit = columns[constraint.metric], constraint.limit
        with np.errstate(invalid="ignore"):
            excess = np.nan_to_num((m - limit) / np.maximum(np.abs(m), abs(limit)), nan=1.0)
        outputs[feasible, j] = -excess if isinstance(constraint, AtLeast) else excess
    outputs[:, -1] = np.where(feasible, -1.0, 1.0)
    return outputs


def _best(values: Array, n: int) -> Indices:
    """Positions of the n largest values, largest first."""
    return np.argsort(-values, kind="stable")[:n]


def _occurrence(keys: Indices) -> Indices:
    """How often each key occurred before, [B]."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    occurrence = np.empty_like(order)
    occurrence[order] = np.arange(len(keys)) - np.searchsorted(ordered, ordered)
    return occurrence
