"""Episodes whose difficulty follows the agent: a goal that moves, and a most number of steps that is drawn.

Both are those of CRLQAS (Patel et al., ICLR 2024), the first also of Ostaszewski et al. (NeurIPS 2021), for
any metric E of which lower is better (or higher, with all signs turned). An episode succeeds, and ends, with
the first valid design whose metric reaches the threshold xi. Rewards of a step, b = `bonus`:

    b                                            E_t reaches xi
    -b                                           the episode's last step, without success
    clip((E_t-1 - E_t) / |E_t-1 - mu|, -1, 1)    otherwise; mu: lower bound of E, an estimate suffices
    clip(E_t-1 - E_t, -1, 1)                     otherwise, without a bound

The threshold moves between episodes, with delta = `amortisation`, kappa = `shrinks`, G = `greedy_shift`:

    start                                        xi_1
    every G episodes, or after `patience`        xi = best + delta, the best of all episodes so far
    failures in a row
    after each `successes` successes             xi = xi - delta / kappa, kappa times at most before the next
                                                 shift, so that it ends at the best itself

CRLQAS compares |E - mu| with its threshold; here both are values of the metric, which is the same for E >=
mu. A metric that equals the threshold reaches it, since a discrete one could not be below its best.

The length of an episode of `RandomHalting` is clip(X, low, high), where X is the number of failures before
the n-th success in trials of success probability p (negative binomial, mean n (1 - p) / p).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from archgym.errors import ArchGymError, whole
from archgym.infos import core
from archgym.objective import Maximize, Minimize
from archgym.pareto import choose_metrics
from archgym.simulator import evaluate_safely
from archgym.space import Array
from archgym.wrappers.sequential import SequentialDesign


@dataclass
class MovingThreshold:
    """The threshold xi of a metric of which lower is better.

    Args:
        start: xi_1, in the metric's unit; -inf: nothing reaches it before the first shift, which follows the
            first episode that had a valid design.
        amortisation: delta, in the metric's unit.
        shrinks: kappa, parts in which delta is taken back.
        successes: successes before each part is taken back.
        greedy_shift: G, in episodes.
        patience: failures in a row before a shift, in episodes.

    Attributes:
        best: lowest value of all episodes; inf before the first.
        episodes: number of finished episodes.
    """

    start: float
    amortisation: float
    shrinks: int
    successes: int
    greedy_shift: int
    patience: int
    best: float = field(default=inf, init=False)
    episodes: int = field(default=0, init=False)
    _base: float = field(init=False)
    _raised: int = field(default=0, init=False)
    _taken: int = field(default=0, init=False)
    _won: int = field(default=0, init=False)
    _lost: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._base = self.start

    @property
    def value(self) -> float:
        """The present threshold, in the metric's unit; exactly the best after the last shrink."""
        return self._base + self.amortisation * (self._raised - self._taken / self.shrinks)

    def observe(self, value: float) -> bool:
        """Take a valid design's value into account; whether it reaches the threshold."""
        self.best = min(self.best, value)
        return value <= self.value

    def finish(self, success: bool) -> None:
        """Move the threshold after an episode."""
        self.episodes += 1
        if success:
            self._lost, self._won = 0, self._won + 1
            if self._won >= self.successes and self._taken < self.shrinks:
                self._won, self._taken = 0, self._taken + 1
        else:
            self._lost += 1
        due = self.episodes % self.greedy_shift == 0 or self._lost >= self.patience or self._base == -inf
        if due and isfinite(self.best):
            self._base, self._raised = self.best, 1
            self._taken = self._won = self._lost = 0


class _PassesMasks:
    """The environment's own `action_masks`, where it has one."""

    env: Any

    @property
    def action_masks(self) -> Callable[[], Array]:
        """See the wrapper below; an AttributeError where no wrapper below has masks."""
        masks: Callable[[], Array] = self.env.get_wrapper_attr("action_masks")
        return masks


class Curriculum(_PassesMasks, gymnasium.Wrapper[Array, Any, Array, Any], RecordConstructorArgs):
    """Rewards and ends of episodes by a threshold that moves with the agent's success; see the module.

    Steps that complete no design (`SequentialDesign`) have reward 0. A design that is infeasible or violates
    a constraint reaches no threshold and has reward -1. `info["curriculum"]` has the step's `threshold`, the
    `best` value so far (both in the metric's unit), `success`, and the number of finished `episodes`.
    `info["reward"]`, the ledger and all that is computed from it stay the environment's own.

    Thresholds last over episodes, with contexts one for each, until `reset(seed=...)` starts them again: the
    same seed and actions give the same rewards, so seed once, not every episode. `reset()` counts an episode
    that is not over as failed. Wrappers that end episodes (`RandomHalting`, `TimeLimit`) go below this one,
    or their ends have no penalty.

    Args:
        env: an environment of several steps per episode: with a horizon above 1, or under `PrefixDesign` or
            `SequentialDesign`; or another package's, with the metric in `info["metrics"]` or `info`.
        threshold: xi_1, a value of the metric in its unit; None: none until an episode had a valid design,
            then its best plus the amortisation.
        metric: name of a visible metric; None: that of the objective's first goal. Lower or higher is better
            as the objective has it, else as the simulator; in other packages' environments lower.
        bound: mu, a bound of the metric in its unit; None: where the metric is the only goal, that of the
            exact optimum, or of the bound of rewards, if the simulator states one; else none.
        start: value of the metric before an episode's first step, in its unit (the energy without gates);
            None: unknown, and the first design's progress is 0.
        amortisation: delta, room above the best after a shift, in the metric's unit.
        shrinks: kappa, parts in which successes take the amortisation back.
        successes: successes before each part is taken back.
        greedy_shift: G, episodes from shift to shift.
        patience: failures in a row that shift too, in episodes.
        bonus: reward of success, and penalty of failure.

    Raises:
        ArchGymError: an argument out of range, an unknown metric or one without direction, a goal that is a
            target, or another package's environment without metric=.

    Examples:
        >>> env = gymnasium.make("archgym/LogicSynthesis-v0", horizon=6)         # doctest: +SKIP
        >>> env = Curriculum(PrefixDesign(env), threshold=150, amortisation=2)   # doctest: +SKIP
    """

    def __init__(
        self,
        env: gymnasium.Env[Array, Any],
        threshold: float | None = None,
        *,
        metric: str | None = None,
        bound: float | None = None,
        start: float | None = None,
        amortisation: float = 0.0,
        shrinks: int = 10,
        successes: int = 1,
        greedy_shift: int = 50,
        patience: int = 20,
        bonus: float = 5.0,
    ):
        RecordConstructorArgs.__init__(
            self,
            threshold=threshold,
            metric=metric,
            bound=bound,
            start=start,
            amortisation=amortisation,
            shrinks=shrinks,
            successes=successes,
            greedy_shift=greedy_shift,
            patience=patience,
            bonus=bonus,
        )
        gymnasium.Wrapper.__init__(self, env)
        self._evaluator = core(env).evaluator if hasattr(env.unwrapped, "evaluator") else None
        self.metric, self._sign = _goal(env, metric)
        self._threshold, self._bound, self._start = (
            None if value is None else self._sign * _number(name, value)
            for name, value in (("threshold", threshold), ("bound", bound), ("start", start))
        )
        self.bonus = _number("bonus", bonus, least=0.0)
        self._moves = {
            "start": -inf if self._threshold is None else self._threshold,
            "amortisation": _number("amortisation", amortisation, least=0.0),
            "shrinks": whole("shrinks", shrinks, least=1),
            "successes": whole("successes", successes, least=1),
            "greedy_shift": whole("greedy_shift", greedy_shift, least=1),
            "patience": whole("patience", patience, least=1),
        }
        self._thresholds: dict[int | None, MovingThreshold] = {}  # by context
        self._bounds: dict[int | None, float | None] = {}
        self._context: int | None = None
        self._before: float | None = None
        self._steps, self._over = 0, True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._thresholds.clear()
        elif not self._over and self._steps:
            self._moving.finish(False)
        self._context = info.get("context")
        if self._context not in self._thresholds:
            self._thresholds[self._context] = MovingThreshold(**self._moves)  # type: ignore[arg-type]
        if self._context not in self._bounds:
            self._bounds[self._context] = self._find_bound()
        self._before, self._steps, self._over = self._start, 0, False
        return observation, {**info, "curriculum": self._said(self._moving.value, False)}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        if self._over:
            raise ArchGymError("the episode is over: call reset() before the next step()")
        observation, _, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        moving, value = self._moving, self._value(info)
        threshold = moving.value
        valid = value is not None and isfinite(value)
        success = valid and moving.observe(value)  # type: ignore[arg-type]
        self._over = bool(success or terminated or truncated)
        reward = self._progress(value)
        if self._over:
            reward = self.bonus if success else -self.bonus
            moving.finish(success)
        if valid:
            self._before = value
        said = {**info, "curriculum": self._said(threshold, success)}
        return observation, reward, bool(success or terminated), truncated, said

    @property
    def _moving(self) -> MovingThreshold:
        return self._thresholds[self._context]

    def _value(self, info: dict[str, Any]) -> float | None:
        """The metric after a step, lower is better: inf where the design is not valid, None without one."""
        value = info.get("metrics", info).get(self.metric)
        if not info.get("feasible", True) or not info.get("valid", True):
            return inf
        if value is None:
            return None
        return self._sign * float(value) if isfinite(value) else inf

    def _progress(self, value: float | None) -> float:
        """The reward of a step that ends no episode."""
        if value == inf:
            return -1.0
        if value is None or self._before is None:
            return 0.0
        gain, bound = self._before - value, self._bounds[self._context]
        scale = 1.0 if bound is None else abs(self._before - bound)
        return float(np.clip(gain / scale if scale else np.sign(gain), -1, 1))

    def _said(self, threshold: float, success: bool) -> dict[str, Any]:
        moving = self._moving
        return {
            "threshold": self._sign * threshold,
            "best": self._sign * moving.best,
            "success": success,
            "episodes": moving.episodes,
        }

    def _find_bound(self) -> float | None:
        """The bound of the present context, lower is better."""
        if self._bound is not None or self._evaluator is None:
            return self._bound
        task = self._evaluator if self._context is None else self._evaluator.members[self._context]
        return _bound_of(task, self.metric, self._sign)


def _bound_of(task: Any, metric: str, sign: float) -> float | None:
    """A metric at the optimum that a simulator states, else at its bound of the reward, times the sign; None
    where the objective has other goals.
    """
    simulator, objective = task.simulator, task.objective
    if any(term.metric != metric for term in objective.terms):
        return None
    exact = simulator.deterministic and not simulator.stochastic
    indices = simulator.optimum(objective) if exact else None
    if indices is not None:
        values = evaluate_safely(simulator, np.asarray(indices, np.int64)[None]).values[0]
        return sign * float(values[task.metric_names.index(metric)])
    term, reward = objective.terms[0], simulator.bound(objective)
    if reward is None or objective.form != "log" or not isinstance(term, Minimize) or not term.weight:
        return None
    return float(objective.reference.get(metric, 1.0) * np.exp(-reward / term.weight))


class RandomHalting(_PassesMasks, gymnasium.Wrapper[Array, Any, Array, Any], RecordConstructorArgs):
    """Episodes that end after a drawn number of steps at the latest, clip(NegativeBinomial(n, p), low, high),
    so that an agent learns short designs too (CRLQAS).

    The number is drawn at each reset from the environment's `np_random`, which `reset(seed=...)` seeds, and
    is in the reset's `info["halting_step"]`. The last step terminates the episode, rather than truncating it:
    the design stands as it is, and nothing that could have followed adds to its value.

    Args:
        env: an environment whose every step is a whole design: with a horizon above 1, or under
            `PrefixDesign`; or another package's.
        n: successes of the negative binomial; None: the environment's steps.
        p: probability of a success; CRLQAS has .573 for 70 steps, which makes the mean .75 n.
        low: fewest steps.
        high: most steps; None: the environment's.

    Raises:
        ArchGymError: an argument out of range, an environment of one step, of steps that it does not state
            without n= and high=, or above `SequentialDesign`, whose partial designs have no value.

    Examples:
        >>> env = gymnasium.make("archgym/LogicSynthesis-v0", horizon=6)   # doctest: +SKIP
        >>> env = RandomHalting(PrefixDesign(env))                         # doctest: +SKIP
    """

    def __init__(
        self,
        env: gymnasium.Env[Array, Any],
        n: int | None = None,
        p: float = 0.573,
        low: int = 1,
        high: int | None = None,
    ):
        RecordConstructorArgs.__init__(self, n=n, p=p, low=low, high=high)
        gymnasium.Wrapper.__init__(self, env)
        _refuse_partial_designs(env)
        steps = _steps_of(env) if n is None or high is None else None
        self._n = whole("n", steps if n is None else n, least=1)
        self._low = whole("low", low, least=1)
        self._high = whole("high", steps if high is None else high, least=1)
        if self._high < self._low:
            raise ArchGymError(f"expected low <= high, got low={self._low} and high={self._high}")
        self._p = _number("p", p, least=0.0)
        if not 0 < self._p <= 1:
            raise ArchGymError(f"expected a probability p in (0, 1], got {p!r}")
        self._left = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        drawn = self.np_random.negative_binomial(self._n, self._p)
        self._left = int(np.clip(drawn, self._low, self._high))
        return observation, {**info, "halting_step": self._left}

    def step(self, action: Any) -> tuple[Array, Any, bool, bool, dict[str, Any]]:
        if not self._left:
            raise ArchGymError("the episode is over: call reset() before the next step()")
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._left = 0 if terminated or truncated else self._left - 1
        return observation, reward, bool(terminated or not (self._left or truncated)), truncated, info


def _goal(env: gymnasium.Env[Any, Any], metric: str | None) -> tuple[str, float]:
    """The name of the metric that the threshold is for, and the sign that makes lower better."""
    if not hasattr(env.unwrapped, "evaluator"):
        if metric is None:
            raise ArchGymError(
                f"expected metric=, the key of info that has the goal's value, for "
                f"{type(env.unwrapped).__name__}, an environment of another package"
            )
        return metric, 1.0
    found = core(env)
    terms = {term.metric: term for term in found.objective.terms}
    name = next(iter(terms)) if metric is None else metric
    visible = [known for known in found.simulator.metrics if not known.report_only]
    term = terms.get(name)
    if isinstance(term, Minimize | Maximize):
        return name, term.sign
    if metric is None:
        others = ", ".join(known.name for known in visible if known.better)
        raise ArchGymError(
            f"expected a goal to minimise or maximise, got the target of {name!r}; name a metric: {others}"
        )
    return name, -1.0 if choose_metrics([name], visible)[0].better == "higher" else 1.0


def _refuse_partial_designs(env: Any) -> None:
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, SequentialDesign):
            raise ArchGymError(
                "expected steps that are whole designs, got SequentialDesign, whose partial designs have no "
                "value; use PrefixDesign, or halt below it: SequentialDesign(RandomHalting(env))"
            )
        env = env.env


def _steps_of(env: gymnasium.Env[Any, Any]) -> int:
    """The most steps of an episode."""
    if hasattr(env.unwrapped, "evaluator"):
        steps = core(env).evaluator.horizon
    else:
        steps = env.spec.max_episode_steps if env.spec is not None else None
    if steps is None:
        raise ArchGymError(
            f"expected an environment that states its steps, got {type(env.unwrapped).__name__}; pass n= and "
            "high="
        )
    if steps < 2:
        raise ArchGymError(
            "expected an environment of several steps, got one; make it with a longer horizon="
        )
    return int(steps)


def _number(name: str, value: Any, least: float = -inf) -> float:
    """A finite number.

    Raises:
        ArchGymError: another value.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = inf
    if isinstance(value, str | bool) or not isfinite(number) or number < least:
        limit = "" if least == -inf else f" of at least {least:g}"
        raise ArchGymError(f"expected a finite number{limit} as {name}, got {value!r}")
    return number
