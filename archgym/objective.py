"""Objectives: what a search is after, stated once per task and shared by all agents.

With metrics m_i, references r_i, weights w_i and signs s_i (+1 where lower is better, -1 where higher is), R
= 10:

    base       = - sum_i w_i s_i log(m_i / r_i)                so a reward of +0.69 is "twice as good as the
                                                               reference"
    valid      : clip(base, -R, R)
    violating  : clip(base - sum_j w_j log(excess_j), -R, R)   excess = m/limit for AtMost, limit/m for
                                                               AtLeast, where above 1
    infeasible : -R - 1

"Best" and "optimum" range over valid designs. No value ends a search: the logarithm of 0 is -inf and rewards
are clipped, so that

    minimised 0               +R        the best reward
    maximised 0, targeted 0   -R        the worst of valid designs
    AtLeast violated by 0     the largest penalty: -R, under `strict` the end of the violating range
    both +inf and -inf        -R        where one part could not be worse, no other part makes up for it
    below 0                   infeasible: the logarithm does not exist, and the reason is recorded
                              (`Objective.judge`), unless the metric has a floor (`Minimize`)

The other forms replace the logarithms, and take any finite number:

    linear    base = - sum_i w_i s_i m_i / r_i,    penalty_j = w_j |m - limit| / |limit|
    nasaic    base as linear,                      penalty_j = 10 w_j (m - limit) / (bound - limit)   (Yang et
                                                   al., DAC 2020)
    archgym   base = prod_i (T_i / |m_i - T_i|)^w_i over targets T_i
              (Krishnan et al., ISCA 2023)

The archgym form has no upper clip, or all designs within 10 % of a target would tie; its factors end at 10^6,
which an exact hit gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.space import Array, all_true

R = 10.0
INFEASIBLE_REWARD = -R - 1
NASAIC_PENALTY = 10.0  # rho of Yang et al. (2020), section III-B
HIT = 1e6  # the largest T / |x - T|

Form = Literal["log", "linear", "nasaic", "archgym"]
FORMS = ("log", "linear", "nasaic", "archgym")


@dataclass(frozen=True)
class Minimize:
    """Lower is better. `floor`: a value below which differences do not count, such as a tolerance; 0 for
    none, and negative values have no logarithm then.
    """

    metric: str
    weight: float = 1.0
    floor: float = 0.0
    sign: ClassVar[float] = 1.0


@dataclass(frozen=True)
class Maximize:
    """Higher is better."""

    metric: str
    weight: float = 1.0
    sign: ClassVar[float] = -1.0


@dataclass(frozen=True)
class Target:
    """Closer to `value` is better, from either side: contributes -weight * |log(metric / value)|."""

    metric: str
    value: float
    weight: float = 1.0


@dataclass(frozen=True)
class AtMost:
    """A design above `limit` violates. `bound`: where the nasaic form's penalty reaches its weight
    (default twice the limit).
    """

    metric: str
    limit: float
    weight: float = 1.0
    bound: float | None = None


@dataclass(frozen=True)
class AtLeast:
    """A design below `limit` violates. `bound`: where the nasaic form's penalty reaches its weight
    (default 0).
    """

    metric: str
    limit: float
    weight: float = 1.0
    bound: float | None = None


Term = Minimize | Maximize | Target
Constraint = AtMost | AtLeast


def clipping(share: float) -> str:
    """A warning for this share of clipped valid rewards; "" below one half."""
    if share < 0.5:
        return ""
    return (
        f"{100 * share:.0f} % of the valid rewards are clipped at +-{R:g}, so agents cannot tell designs "
        "apart: give the objective a reference near a typical design"
    )


CAPPED = (
    f"the optimum's reward is clipped at {R:g}; give the objective a reference near a typical design, "
    "or form='linear' where a metric is 0 at the optimum"
)
"""Why nothing can be measured by an optimum (`Objective.caps`)."""


class Outcome(Protocol):
    """What `Objective.judge` needs of a simulator's results (`archgym.simulator.Outcome`)."""

    values: Array
    feasible: Array

    def fail(self, row: int, reason: str) -> None:
        """Make a design infeasible, with the reason."""


class Rewards(NamedTuple):
    """Rewards float64 [B] and whether each design is valid, bool [B]."""

    reward: npt.NDArray[np.float64]
    valid: npt.NDArray[np.bool_]


class Objective:
    """Metrics to rewards; immutable and hashable.

    Args:
        *parts: at least one of Minimize, Maximize, Target; any number of AtMost, AtLeast.
        reference: metric -> positive number, in the metric's unit, that its logarithm (or its linear form) is
            taken against; default 1.
        form: "log" (scale-free), "linear", "nasaic" or "archgym".
        strict: every violating design ranks below every valid one: -R - v / (1 + v), v the summed weighted
            excess.

    Raises:
        ArchGymError: no term, a part of another type, a reference or limit that a logarithm does not admit,
            an unknown form.

    Examples:
        >>> small = AtMost("area_mm2", 4.0)
        >>> objective = Objective(Minimize("latency_s"), small, reference={"latency_s": 1e-3})
    """

    def __init__(
        self,
        *parts: Term | Constraint,
        reference: Mapping[str, float] | None = None,
        form: Form = "log",
        strict: bool = False,
    ):
        for part in parts:
            if not isinstance(part, Term | Constraint):
                raise ArchGymError(f"expected Minimize, Maximize, Target, AtMost or AtLeast, got {part!r}")
        exact = [_with_numbers(part) for part in parts]
        # in the order of `to_dict`, since sums of another order differ in their last bits
        self.terms: tuple[Term, ...] = _joined(
            [p for kind in (Minimize, Maximize, Target) for p in exact if isinstance(p, kind)]
        )
        self.constraints: tuple[Constraint, ...] = tuple(
            p for kind in (AtMost, AtLeast) for p in exact if isinstance(p, kind)
        )
        self.reference = _reference(reference)
        self.form = form
        self.strict = bool(strict)
        self._check_itself()

    def _check_itself(self) -> None:
        named = [(part.metric, type(part).__name__) for part in (*self.terms, *self.constraints)]
        for metric, kind in named:
            if named.count((metric, kind)) > 1:
                raise ArchGymError(
                    f"expected at most one {kind} of {metric!r}, got several; give one, with a weight"
                )
        if not self.terms:
            raise ArchGymError("expected at least one Minimize, Maximize or Target, got none")
        if self.form not in FORMS:
            raise unknown("form of objective", self.form, FORMS)
        for metric, value in self.reference.items():
            if not (np.isfinite(value) and value > 0):
                raise ArchGymError(f"expected a positive number as reference of {metric!r}, got {value}")
        for term in self.terms:
            if isinstance(term, Minimize) and not term.floor >= 0:
                raise ArchGymError(f"expected a floor of {term.metric!r} of at least 0, got {term.floor}")
            if isinstance(term, Target) and not term.value > 0:
                raise ArchGymError(
                    f"expected a positive number as target of {term.metric!r}, got {term.value}"
                )
            if self.form == "archgym" and not isinstance(term, Target):
                raise ArchGymError("form='archgym' is T / |x - T|: give Target(metric, T) terms only")
        for constraint in self.constraints:
            if not constraint.limit > 0 and (self.form == "log" or constraint.limit == 0):
                raise ArchGymError(
                    f"expected a positive limit of {constraint.metric!r} under form={self.form!r}, got "
                    f"{constraint.limit}"
                )
            if self._bound(constraint) == constraint.limit:
                raise ArchGymError(
                    f"expected a bound of {constraint.metric!r} that differs from its limit, got "
                    f"{constraint.limit} twice"
                )

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics it names, each once."""
        return tuple(dict.fromkeys(part.metric for part in (*self.terms, *self.constraints)))

    def check(self, known: Iterable[str]) -> None:
        """Refuse metrics that a simulator lacks.

        Raises:
            ArchGymError: a term, constraint or reference names a metric not in `known`; the message gives the
                nearest.
        """
        names = tuple(known)
        for metric in (*self.metrics, *self.reference):
            if metric not in names:
                raise unknown("metric", metric, names)

    def __call__(self, metrics: Mapping[str, Array], feasible: Array) -> Rewards:
        """Reward a batch.

        Args:
            metrics: a column [B] for each metric named; finite where feasible.
            feasible: bool [B].

        A design whose metric is below 0 although the form takes its logarithm is rewarded as an infeasible
        one.
        """
        columns = {name: np.asarray(metrics[name], float) for name in self.metrics}
        return self._reward(columns, self._has_logarithms(columns, np.asarray(feasible, bool)))

    def judge(self, outcome: Outcome, names: Sequence[str]) -> Rewards:
        """Reward a simulator's results; designs that the form cannot reward become infeasible in them, with
        the reason.

        Args:
            outcome: results for B designs; changed in place.
            names: the metrics in the order of its columns.
        """
        columns = {name: outcome.values[:, names.index(name)] for name in self.metrics}
        left = self._has_logarithms(columns, outcome.feasible)
        if left is not outcome.feasible:
            for row in np.flatnonzero(outcome.feasible & ~left).tolist():
                outcome.fail(
                    row, self._no_logarithm({name: float(column[row]) for name, column in columns.items()})
                )
        return self(columns, left)

    def _has_logarithms(self, columns: Mapping[str, Array], feasible: Array) -> Array:
        """The feasible designs without those whose logarithm does not exist; `feasible` itself if all
        exist.
        """
        for name in self._logarithmic:
            column = columns[name]
            if not all_true(column >= 0):
                exists = (column >= 0) | ~feasible
                feasible = feasible if all_true(exists) else feasible & exists
        return feasible

    @cached_property
    def _logarithmic(self) -> tuple[str, ...]:
        """The metrics whose logarithm the form takes; of AtMost it takes only that of larger ones than the
        limit.
        """
        if self.form != "log":
            return ()
        terms = [t for t in self.terms if not (isinstance(t, Minimize) and t.floor)]
        parts = (*terms, *(c for c in self.constraints if isinstance(c, AtLeast)))
        return tuple(dict.fromkeys(part.metric for part in parts))

    def _no_logarithm(self, metrics: Mapping[str, float]) -> str:
        """Why a design is infeasible to this objective."""
        below = ", ".join(
            f"{name} = {metrics[name]!r}" for name in self._logarithmic if not metrics[name] >= 0
        )
        return f"expected metrics of at least 0 under a logarithm, got {below}; use form='linear'"

    @np.errstate(all="ignore")
    def _reward(self, columns: Mapping[str, Array], feasible: Array) -> Rewards:
        everything = all_true(feasible)
        if not everything:
            columns = {name: column[feasible] for name, column in columns.items()}
        base = self._base(columns)
        valid: Array = np.ones(len(base), bool)
        for constraint in self.constraints:
            valid = valid & self._satisfied(constraint, columns[constraint.metric])
        if self.constraints and not all_true(valid):
            bad = ~valid
            excess = self._penalty({name: column[bad] for name, column in columns.items()})
            base[bad] = _below_valid(excess) if self.strict else self._clip(base[bad] - excess)
            base[valid] = self._clip(base[valid])
        else:
            base = self._clip(base)
        if everything:
            return Rewards(base, valid)
        reward = np.full(len(feasible), INFEASIBLE_REWARD)
        reward[feasible] = base
        all_valid = np.zeros(len(feasible), bool)
        all_valid[feasible] = valid
        return Rewards(reward, all_valid)

    def _base(self, columns: Mapping[str, Array]) -> npt.NDArray[np.float64]:
        if self.form == "archgym":
            factors = [
                (t.value / np.abs(columns[t.metric] - t.value)) ** t.weight
                for t in self.terms
                if isinstance(t, Target)
            ]
            product: npt.NDArray[np.float64] = np.prod(np.minimum(factors, HIT), axis=0)
            return product
        total: Array = np.zeros(len(next(iter(columns.values()))))
        for term in self.terms:
            column = columns[term.metric]
            if isinstance(term, Minimize) and term.floor:
                column = np.maximum(column, term.floor)
            if isinstance(term, Target):
                merit = -np.abs(
                    np.log(column / term.value) if self.form == "log" else (column - term.value) / term.value
                )
            else:
                ratio = column / self.reference.get(term.metric, 1.0)
                merit = -term.sign * (np.log(ratio) if self.form == "log" else ratio)
            if term.weight:  # 0 times infinity is NaN
                total = total + term.weight * merit
        return total

    @np.errstate(all="ignore")
    def uncut(self, metrics: Mapping[str, Array]) -> Array:
        """Rewards of valid designs before they are cut at +-R, [B]: infinite where a metric is 0 under a
        logarithm.
        """
        return self._base({name: np.asarray(metrics[name], float) for name in self.metrics})

    def unbounded(self, metrics: Mapping[str, float]) -> bool:
        """Whether nothing can be better than a valid design with these metrics: a minimised one is 0."""
        return bool(self.uncut({name: np.array([metrics[name]]) for name in self.metrics})[0] == np.inf)

    def clips(self, metrics: Mapping[str, Array]) -> npt.NDArray[np.bool_]:
        """Valid designs whose finite reward is clipped at +-R, which makes them equal to others: bool [B]."""
        uncut = self.uncut(metrics)
        cut: npt.NDArray[np.bool_] = (np.abs(self._clip(uncut)) == R) & np.isfinite(uncut)
        return cut

    def caps(self, reward: float | None) -> bool:
        """Whether a reward is where this form cuts them above, so that better designs have it too; False
        for None.
        """
        return reward is not None and self.form != "archgym" and reward >= R

    def _clip(self, rewards: Array) -> Array:
        clipped: Array = np.fmax(rewards, -R)  # inf - inf counts as -inf
        return clipped if self.form == "archgym" else np.minimum(clipped, R)

    def _satisfied(self, constraint: Constraint, column: Array) -> Array:
        return np.asarray(
            column <= constraint.limit if isinstance(constraint, AtMost) else column >= constraint.limit
        )

    def _penalty(self, columns: Mapping[str, Array]) -> npt.NDArray[np.float64]:
        """Summed weighted excess of violating designs."""
        total = np.zeros(len(next(iter(columns.values()))))
        for constraint in self.constraints:
            column = columns[constraint.metric]
            over = ~self._satisfied(constraint, column)
            m, limit = column[over], constraint.limit
            if self.form == "log":
                # -0.0 is 0
                excess = np.log(m / limit if isinstance(constraint, AtMost) else limit / np.abs(m))
            elif self.form == "nasaic":
                excess = NASAIC_PENALTY * (m - limit) / (self._bound(constraint) - limit)
            else:
                excess = np.abs(m - limit) / abs(limit)
            if constraint.weight:
                total[over] += constraint.weight * excess
        return total

    def _bound(self, constraint: Constraint) -> float:
        if constraint.bound is not None:
            return constraint.bound
        return 2 * constraint.limit if isinstance(constraint, AtMost) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The form that study files and specifications use; `from_dict` gives an equal objective back."""
        data: dict[str, Any] = {}
        # terms of one metric, with a weight each
        several = len({t.metric for t in self.terms}) < len(self.terms)
        for key, kind in (("minimize", Minimize), ("maximize", Maximize)):
            goals = {t.metric: t.weight for t in self.terms if isinstance(t, kind)}
            data |= {key: goals if several else list(goals)} if goals else {}
        targets = {
            t.metric: {"value": t.value, "weight": t.weight} if several else t.value
            for t in self.terms
            if isinstance(t, Target)
        }
        data |= {"target": targets} if targets else {}
        weights = {} if several else {t.metric: t.weight for t in self.terms if t.weight != 1.0}
        data |= {"weights": weights} if weights else {}
        floors = {t.metric: t.floor for t in self.terms if isinstance(t, Minimize) and t.floor}
        data |= {"floors": floors} if floors else {}
        for key, side in (("at_most", AtMost), ("at_least", AtLeast)):
            limits = {c.metric: _limit_to_data(c) for c in self.constraints if isinstance(c, side)}
            data |= {key: limits} if limits else {}
        data |= {"reference": dict(self.reference)} if self.reference else {}
        data |= {"form": self.form} if self.form != "log" else {}
        data |= {"strict": True} if self.strict else {}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Objective:
        """An objective from `{minimize = ["latency_s"], weights = {...}, floors = {...}, at_most =
        {area_mm2 = 4.0}, reference = {...}, form = "log"}`.

        A limit may also be a table `{limit = 4.0, weight = 2.0, bound = 8.0}`. Where one metric is in several
        terms, goals are a table of weights, `minimize = {latency_s = 2.0}`, and a target is a table `{value =
        4.0, weight = 2.0}`.

        Raises:
            ArchGymError: an unknown key, or what the constructor refuses.
        """
        keys = (
            "minimize",
            "maximize",
            "target",
            "weights",
            "floors",
            "at_most",
            "at_least",
            "reference",
            "form",
            "strict",
        )
        for key in data:
            if key not in keys:
                raise unknown("key of an objective", key, keys)
        try:
            return cls._from_dict(data)
        except (TypeError, ValueError, AttributeError) as error:
            raise ArchGymError(
                f"not an objective: {dict(data)} ({error}); see Objective.from_dict for its form"
            ) from error

    @classmethod
    def _from_dict(cls, data: Mapping[str, Any]) -> Objective:
        weights, floors = dict(data.get("weights", {})), dict(data.get("floors", {}))
        parts: list[Term | Constraint] = []
        for key, kind in (("minimize", Minimize), ("maximize", Maximize)):
            weighted = isinstance(data.get(key), Mapping)
            goals = data[key].items() if weighted else [(m, weights.pop(m, 1.0)) for m in _names(data, key)]
            parts += [
                kind(m, float(weight), *([float(floors.pop(m, 0.0))] if kind is Minimize else []))
                for m, weight in goals
            ]
        for metric, goal in data.get("target", {}).items():
            goal = goal if isinstance(goal, Mapping) else {"value": goal, "weight": weights.pop(metric, 1.0)}
            parts.append(Target(metric, **{name: float(number) for name, number in goal.items()}))
        if weights:
            raise ArchGymError(
                "expected weights of metrics that are minimized, maximized or targeted, got "
                f"{', '.join(weights)}"
            )
        if floors:
            raise ArchGymError(f"expected floors of minimized metrics, got {', '.join(floors)}")
        parts += [AtMost(m, **_limit_from_data(v)) for m, v in data.get("at_most", {}).items()]
        parts += [AtLeast(m, **_limit_from_data(v)) for m, v in data.get("at_least", {}).items()]
        return cls(
            *parts,
            reference=data.get("reference"),
            form=data.get("form", "log"),
            strict=data.get("strict", False),
        )

    def _key(self) -> tuple[Any, ...]:
        return self.terms, self.constraints, tuple(sorted(self.reference.items())), self.form, self.strict

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        parts = [repr(p) for p in (*self.terms, *self.constraints)]
        parts += [f"reference={self.reference}"] if self.reference else []
        parts += [f"form={self.form!r}"] if self.form != "log" else []
        parts += ["strict=True"] if self.strict else []
        return f"Objective({', '.join(parts)})"


def _with_numbers(part: Any) -> Any:
    """A part of an objective with plain finite numbers, which its specification can state.

    Raises:
        ArchGymError: another value.
    """
    plain = {}
    for name, value in vars(part).items():
        if name == "metric" or (name == "bound" and value is None):
            continue
        number = value.item() if isinstance(value, np.generic) else value
        try:
            finite = not isinstance(number, str) and bool(np.isfinite(float(number)))
        except (TypeError, ValueError, OverflowError):
            finite = False
        if not finite:
            raise ArchGymError(f"expected a finite number as the {name} of {part.metric!r}, got {value!r}")
        plain[name] = number if type(number) in (int, float) else float(number)
    return replace(part, **plain)


def _reference(given: Mapping[str, float] | None) -> dict[str, float]:
    try:
        return {str(metric): float(value) for metric, value in (given or {}).items()}
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise ArchGymError(
            f"expected references as a dictionary of metrics and positive numbers, got {given!r}"
        ) from None


def _below_valid(excess: Array) -> Array:
    """Rewards of violating designs under `strict`, between those of valid and of infeasible ones."""
    excess = np.minimum(excess, np.finfo(float).max)
    ranked: Array = np.clip(
        -R - excess / (1 + excess), np.nextafter(INFEASIBLE_REWARD, 0), np.nextafter(-R, INFEASIBLE_REWARD)
    )
    return ranked


def _joined(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Terms that differ in nothing but their weights as one, with the sum of these."""
    alike: dict[Term, float] = {}
    for term in terms:
        key = replace(term, weight=1.0)
        alike[key] = alike[key] + term.weight if key in alike else term.weight
    return tuple(replace(term, weight=weight) for term, weight in alike.items())


def _names(data: Mapping[str, Any], key: str) -> list[str]:
    value = data.get(key, [])
    return [value] if isinstance(value, str) else list(value)


def _limit_to_data(constraint: Constraint) -> Any:
    extras = {"weight": constraint.weight} if constraint.weight != 1.0 else {}
    extras |= {"bound": constraint.bound} if constraint.bound is not None else {}
    return {"limit": constraint.limit, **extras} if extras else constraint.limit


def _limit_from_data(value: Any) -> dict[str, float]:
    return {k: float(v) for k, v in value.items()} if isinstance(value, Mapping) else {"limit": float(value)}
