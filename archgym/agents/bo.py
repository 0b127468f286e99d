"""Bayesian optimisation that models what the objective is made of (Jones, Schonlau & Welch, 1998; Garnett,
2023).

A library's optimiser is told a reward; an agent of this gym is told every metric. So with f_i the merits of
the objective's terms and c_j its constrained metrics, each a Gaussian process of its own
(`archgym.agents._gaussian_process`), a proposal maximises over unseen designs, by turns,

    log EI(sum_i w_i f_i) + sum_j log P(c_j within its limit) + 3 log P(feasible)        models of metrics
    log EI(g) + 3 log P(feasible)                                   every third time, a model of ranks

where g is one process on the normal scores of the designs' ranks (valid ones first), which stays sound where
metrics jump. Sums of independent normals are normal, so that all of it is in closed form. A merit is minus or
plus the logarithm of the metric where the objective takes it; a limit of a positive metric is modelled on the
logarithm, too. P(feasible) is cubed, because a smooth process overestimates it beyond a sharp limit.

For a Pareto front the first line is the expected improvement of a random scalarisation whose mean over
directions l is the hypervolume above the worst merits r (Zhang & Golovin, 2020), by quadrature of

    E max(0, min_i (f_i - r_i) / l_i - best) = integral from best of prod_i P((f_i - r_i) / l_i > t) dt

Candidates are neighbours and heavy-tailed mutations of the best designs, improved by hill climbing. With many
samples the processes are conditioned on a subset: the best, the nearest to the best, the latest, some others;
and every second proposal comes from `tpe`, which receives all samples. Several designs at once (`q`) come one
after the other, each believed by the processes fitted so far to have its predicted metrics. A design of known
meaning (`canonical`) is not proposed again, in spaces of up to 4,096 designs until all are known.

Good for: tens to a thousand samples of simulators that take tens of milliseconds or more; constraints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from scipy.special import ndtri

from archgym.agent import AskTellAgent
from archgym.agents._blas import one_thread
from archgym.agents._designs import mutated, neighbours, random_genes
from archgym.agents._gaussian_process import (
    GaussianProcess,
    log_expected_improvement,
    log_expected_improvement_of_least,
    log_probability_below,
)
from archgym.agents.tpe import TPE
from archgym.objective import AtMost, Objective, R
from archgym.space import Array, Categorical, DesignSpace, Indices, Integer, Ordinal

ELITE = 10  # best designs whose mutants are candidates
CLIMBS, STEPS, NEIGHBOURS = 2, 5, 150  # of the hill climbing: starts, steps of each, neighbours of a step
FIRST_FIT, LATER_FITS = 30, 12  # steps of L-BFGS
RANKS_EVERY = 3  # proposals, of which one follows the model of ranks
CAUTION = 3.0  # exponent of P(feasible), which a smooth process overestimates beyond a sharp limit
APART = 0.1  # least squared distance between two of the best, so that equals do not crowd others out
TPE_FROM, TPE_ATTEMPTS = 200, 8  # samples after which every second proposal is of `tpe`
EXTREMES = 0.25  # share of the directions that follow one merit alone
TINY = 1e-3
LISTED = 4096  # designs of a space that is listed where random ones are all known
GROWTH = 1.15  # of the number of samples, between two fits of the hyperparameters

Predict = Callable[[str], tuple[Array, Array]]
"""Name of a process -> mean and standard deviation at the candidates, [C] each."""

Term = Callable[[Predict], Array]
"""A logarithm that the acquisition adds up: [C]."""


class BayesianOptimization(AskTellAgent):
    """Bayesian optimisation with a Gaussian process for each metric.

    Args:
        q: designs proposed at once.
        startup: random designs before the first fit.
        models: processes of the objective's metrics, one of the rewards' ranks, or both by turns.
        memory: largest number of designs that a process is conditioned on.
        candidates: mutants of the best designs among which climbing starts.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "bo", budget=100)  # doctest: +SKIP
    """

    version = 1
    num_envs_from = "q"
    multi_objective = True
    hyperparameters = DesignSpace(
        [
            Integer("q", 1, 64, default=1),
            Ordinal("startup", [5, 10, 20, 40], default=10),
            Categorical("models", ["both", "metrics", "ranks"], default="both"),
            Ordinal("memory", [50, 100, 200, 400], default=200),
            Ordinal("candidates", [50, 100, 200, 400, 800], default=200),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.free = np.flatnonzero(space.nvec > 1)
        self.merits = _merits(self.objective)
        if self.vector_objective is not None:
            components = self.vector_objective.components
            self.merits = {f"component {i}": (component, 1.0) for i, component in enumerate(components)}
        self.designs = np.empty((0, len(space)), np.int64)
        self.rewards = np.empty(0)
        self.feasible = self.valid = np.empty(0, bool)
        named = [metric for merit, _ in self.merits.values() for metric in merit.metrics]
        named = list(dict.fromkeys([*named, *(limit.metric for limit in self.objective.constraints)]))
        # an objective of hidden metrics leaves the rewards to be modelled
        self.sees = set(named) <= {metric.name for metric in self.metrics}
        self.seeks_front = self.sees and self.vector_objective is not None
        self.columns = {name: np.empty(0) for name in named if self.sees}
        self.seen: set[bytes] = set()
        self.processes: dict[str, tuple[GaussianProcess, int]] = {}  # and the samples at the next fit
        self.latest = GaussianProcess(space)  # the process fitted last, whose distances select designs
        self.turn = 0
        self.tpe = TPE()
        self.tpe.start(space, budget=budget, rng=rng)

    def tell(
        self,
        indices: Indices,
        rewards: Array,
        metrics: Mapping[str, Array],
        feasible: Array,
        valid: Array | None = None,
    ) -> None:
        if valid is None:
            complete = metrics.keys() >= set(self.objective.metrics)  # unless some are hidden
            valid = self.objective(metrics, feasible).valid if complete else feasible
        designs = self.canonical(indices)
        self.seen.update(design.tobytes() for design in designs)
        self.tpe.tell(indices, rewards, metrics, feasible)
        self.designs = np.concatenate([self.designs, designs])
        self.rewards = np.concatenate([self.rewards, rewards])
        self.feasible = np.concatenate([self.feasible, feasible])
        self.valid = np.concatenate([self.valid, valid])
        for name in self.columns:
            self.columns[name] = np.concatenate([self.columns[name], metrics[name]])

    @one_thread
    def ask(self, n: int) -> Indices:
        if len(self.designs) < self.startup or self.feasible.sum() < 2:
            return np.stack(
                [
                    self._noted(self._unseen(self.space.sample(20, self.rng, per="parameter"))[0])
                    for _ in range(n)
                ]
            )
        self.rows = self._memory()
        self.known = self.rows[self.feasible[self.rows]]
        self.fitted: dict[str, GaussianProcess] = {}
        proposals: list[Indices] = []
        for _ in range(n):
            self.turn += 1
            proposals.append(self._noted(self._propose()))
            if n > 1:
                for process in self.fitted.values():
                    process.believe(self.canonical(proposals[-1][None])[0])
        return np.stack(proposals)

    def _propose(self) -> Indices:
        """The next design [P]: of `tpe`, where it is its turn and a few attempts find a new meaning, or where
        the acquisition is largest.
        """
        if self.turn % 2 == 0 and len(self.designs) >= TPE_FROM and not self.seeks_front:
            for _ in range(TPE_ATTEMPTS):
                design = self.tpe.ask(1)
                if self._is_new(design)[0]:
                    return np.asarray(design[0])
        terms, scores = self._acquisition()
        return self._climb(terms, self._elite(scores))

    # --- the acquisition: a sum of terms ---

    def _acquisition(self) -> tuple[list[Term], Array]:
        """The terms that the next proposal maximises, and a score of each sample [N], higher is better."""
        terms = self._feasibility()
        if self.seeks_front:
            return self._front_terms(terms)
        if (
            self.models == "ranks"
            or (self.models == "both" and self.turn % RANKS_EVERY == 0)
            or not self.sees
        ):
            ranks = _normal_scores(self._valid_first(self.rewards)[self.known])
            self._fit("ranks", self.known, ranks)
            best = ranks.max()
            return [*terms, lambda predict: log_expected_improvement(*predict("ranks"), best)], self.rewards
        return [*terms, *self._limits(), *self._improvement()], self.rewards

    def _feasibility(self) -> list[Term]:
        """log P(feasible), where some designs are not."""
        if self.feasible[self.rows].all():
            return []
        self._fit("infeasible", self.rows, 1.0 - self.feasible[self.rows])
        return [lambda predict: CAUTION * np.log(np.clip(1.0 - predict("infeasible")[0], 0.01, 1.0))]

    def _limits(self) -> list[Term]:
        """log P(metric within its limit) of each constraint."""
        terms: list[Term] = []
        for constraint in self.objective.constraints:
            column, limit = self.columns[constraint.metric][self.known], constraint.limit
            if limit > 0 and (column > 0).all():
                column, limit = np.log(column), float(np.log(limit))
            sign = 1.0 if isinstance(constraint, AtMost) else -1.0
            name = f"limit {sign:g} {constraint.metric}"
            self._fit(name, self.known, sign * column)
            terms.append(_within(name, sign * limit))
        return terms

    def _improvement(self) -> list[Term]:
        """log EI of the objective's weighted merits over the best valid design, where there is one."""
        if not self.merits or not self.valid[self.known].any():
            return []
        merits = self._fit_merits()
        weights = np.array([weight for _, weight in self.merits.values()])
        best = float((weights @ merits)[self.valid[self.known]].max())

        def term(predict: Predict) -> Array:
            means, sds = map(np.array, zip(*map(predict, self.merits), strict=True))
            return log_expected_improvement(weights @ means, np.sqrt(weights**2 @ sds**2), best)

        return [term]

    def _front_terms(self, terms: list[Term]) -> tuple[list[Term], Array]:
        """The terms for a random direction in the space of merits, and the samples' scores in it."""
        terms, scores = [*terms, *self._limits()], np.full(len(self.designs), -np.inf)
        if not self.valid[self.known].any():
            return terms, self.rewards
        merits = self._fit_merits()
        valid = merits[:, self.valid[self.known]]
        worst = valid.min(axis=1)
        direction = np.abs(self.rng.standard_normal(len(merits)))
        if self.rng.random() < EXTREMES:
            direction[:] = TINY
            direction[self.rng.integers(len(merits))] = 1.0
        scale = direction / np.linalg.norm(direction) * np.maximum(valid.max(axis=1) - worst, TINY)
        scores[self.known] = ((merits - worst[:, None]) / scale[:, None]).min(axis=0)
        best = float(scores[self.known][self.valid[self.known]].max())

        def term(predict: Predict) -> Array:
            means, sds = map(np.array, zip(*map(predict, self.merits), strict=True))
            means, sds = (means - worst[:, None]) / scale[:, None], sds / scale[:, None]
            return log_expected_improvement_of_least(means, sds, best)

        return [*terms, term], scores

    def _fit_merits(self) -> Array:
        """The merits of feasible designs, float64 [terms, known], with a process of each."""
        columns = {name: column[self.known] for name, column in self.columns.items()}
        merits = np.stack([_finite(merit.uncut(columns)) for merit, _ in self.merits.values()])
        for name, merit in zip(self.merits, merits, strict=True):
            self._fit(name, self.known, merit)
        return merits

    def _fit(self, name: str, rows: Indices, targets: Array) -> None:
        """A process of the targets of these samples; its hyperparameters are fitted again after growth."""
        if name in self.fitted:
            return
        process, fit_at = self.processes.get(name) or (GaussianProcess(self.space), 0)
        samples = len(self.designs)
        due = samples >= fit_at
        process.fit(
            self.designs[rows], targets, iterations=0 if not due else LATER_FITS if fit_at else FIRST_FIT
        )
        self.processes[name] = process, max(samples + 2, int(samples * GROWTH)) if due else fit_at
        self.fitted[name] = self.latest = process

    def _value(self, terms: list[Term], designs: Indices) -> Array:
        """The acquisition at designs [C, P]: float64 [C]."""
        canonical = self.canonical(designs)
        predict = cache(lambda name: self.fitted[name].predict(canonical))
        return np.asarray(sum((term(predict) for term in terms), np.zeros(len(designs))))

    # --- samples ---

    def _on_front(self) -> Array:
        """Minus the number of samples that dominate each one: [N]."""
        merits = np.stack([_finite(merit.uncut(self.columns)) for merit, _ in self.merits.values()], axis=1)
        return -np.sum((merits[:, None] <= merits).all(axis=2), axis=1, dtype=float)

    def _elite(self, scores: Array) -> Indices:
        """The best designs [E, P] that differ from each other in what the model finds important."""
        best = self.designs[self._best_first(scores)[: 10 * ELITE]]
        near = self.latest.squared_distances(best, best) < APART
        elite: list[int] = []
        for i in range(len(best)):
            if not near[i, elite].any():
                elite.append(i)
        return best[elite[:ELITE]]

    def _valid_first(self, scores: Array) -> Array:
        """Scores in which every valid sample exceeds every other."""
        return np.where(self.valid, scores, scores - (np.ptp(scores) + 1.0))

    def _best_first(self, scores: Array) -> Indices:
        """Samples in order: valid ones, feasible ones, others, each by falling score."""
        return np.lexsort([-scores, ~self.feasible, ~self.valid])

    def _memory(self) -> Indices:
        """The samples that the processes are conditioned on: the best third, those nearest to the three
        best, the latest sixth, and others.
        """
        samples, most = len(self.designs), self.memory
        if samples <= most:
            return np.arange(samples)
        best = self._best_first(self._on_front() if self.seeks_front else self.rewards)
        keep = np.zeros(samples, bool)
        keep[best[: most // 3]] = keep[samples - most // 6 :] = True
        distance = self.latest.squared_distances(self.designs, self.designs[best[:3]]).min(axis=1)
        nearest = np.argsort(distance, kind="stable")
        nearest = nearest[~keep[nearest]]
        keep[nearest[: most * 5 // 6 - keep.sum()]] = True
        rest = np.flatnonzero(~keep)
        keep[self.rng.choice(rest, most - keep.sum(), replace=False)] = True
        return np.flatnonzero(keep)

    # --- candidates ---

    def _climb(self, terms: list[Term], elite: Indices) -> Indices:
        """The unseen design [P] with the largest acquisition that climbing finds."""
        near = [neighbours(self.space, design, self.rng) for design in elite[:2]]
        others = (
            self._mutants(elite, self.candidates),
            self.space.sample(self.candidates // 4, self.rng, per="parameter"),
        )
        starts = np.unique(self._unseen(np.concatenate([*near, *others])), axis=0)
        values = self._value(terms, starts)
        order = np.argsort(-values, kind="stable")[:CLIMBS]
        found = [self._hill(terms, starts[i], values[i]) for i in order]
        return max(found, key=lambda one: one[1])[0]

    def _hill(self, terms: list[Term], design: Indices, value: float) -> tuple[Indices, float]:
        for _ in range(STEPS):
            around = neighbours(self.space, design, self.rng)
            if len(around) > NEIGHBOURS:
                around = around[self.rng.choice(len(around), NEIGHBOURS, replace=False)]
            if len(around := around[self._is_new(around)]) == 0:
                break
            values = self._value(terms, around)
            top = int(values.argmax())
            if values[top] <= value + 1e-9:
                break
            design, value = around[top], float(values[top])
        return design, value

    def _mutants(self, parents: Indices, n: int) -> Indices:
        """Mutants of random parents, with m changed parameters: P(m) falls as m^-1.5."""
        designs = parents[self.rng.integers(len(parents), size=n)]
        number = np.arange(1, max(2, len(self.free) // 2) + 1)
        share = number**-1.5
        changes = self.rng.choice(number, size=n, p=share / share.sum())
        mutate = np.zeros(designs.shape, bool)
        mutate[:, self.free] = self.rng.random((n, len(self.free))).argsort(axis=1) < changes[:, None]
        mutate &= self.space.active(designs)
        same = np.flatnonzero(~mutate.any(axis=1))  # inactive genes alone were chosen
        if len(same) and self.space.size > 1:
            mutate[same, random_genes(self.space, designs[same], self.rng)] = True
        return mutated(self.space, designs, mutate, self.rng)

    def _is_new(self, designs: Indices) -> Array:
        """Designs [C, P] of a meaning that no proposal had: bool [C]."""
        return np.array([design.tobytes() not in self.seen for design in self.canonical(designs)], bool)

    def _unseen(self, designs: Indices) -> Indices:
        """The designs of new meaning among [C, P]; if there is none, those of a small space; else all."""
        if (new := self._is_new(designs)).any():
            return designs[new]
        for everything in self.space.enumerate(LISTED) if self.space.size <= LISTED else ():
            if (new := self._is_new(everything)).any():
                return everything[new]
        return designs

    def _noted(self, design: Indices) -> Indices:
        """The design [P], whose meaning is not new from now on."""
        self.seen.add(self.canonical(design[None])[0].tobytes())
        return design


def _merits(objective: Objective) -> dict[str, tuple[Objective, float]]:
    """The objective without constraints as a weighted sum: name -> (objective of one term, weight)."""
    if objective.form == "archgym":  # a product
        return {"merit": (objective, 1.0)}
    return {
        f"{type(term).__name__} {term.metric}": (
            Objective(replace(term, weight=1.0), reference=objective.reference, form=objective.form),
            term.weight,
        )
        for term in objective.terms
        if term.weight
    }


def _within(name: str, limit: float) -> Term:
    """log P(target <= limit) of a process."""
    return lambda predict: log_probability_below(*predict(name), limit)


def _finite(column: Array) -> Array:
    """A column with its infinite values at the ends of its finite ones."""
    finite = column[np.isfinite(column)]
    ends = (finite.min() - R, finite.max() + R) if len(finite) else (-R, R)
    return np.clip(np.nan_to_num(column, nan=-np.inf), *ends)


def _normal_scores(values: Array) -> Array:
    """Quantiles of the standard normal at the values' ranks, equal values at their mean rank: [N] -> [N]."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2
    return np.asarray(ndtri((ranks - 0.5)[place] / len(values)))
