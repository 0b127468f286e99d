"""Environments: a simulator and an objective behind Gymnasium's step API, single and natively vectorised.

One step evaluates one whole design. With `horizon = 1` it ends the episode; with a longer horizon H, rewards
are

    r_1 = objective,   r_t = max(0, objective_t - best of the episode so far)   so an episode's rewards sum to
                       its best.

Both environments hold one `Evaluator`, where an action is checked, admitted by the ledger, simulated,
rewarded and recorded:

    actions [B, P] -> admit -> simulate -> reward -> record -> Evaluation [B]

A single step of a tabulated simulator takes the last four from arrays that hold the same bits (`_Answers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import getitem
from time import perf_counter
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from archgym.errors import ArchGymError, whole
from archgym.infos import finished as finished
from archgym.ledger import Ledger
from archgym.objective import Objective, R
from archgym.registry import ObjectiveSource, Task, get_task
from archgym.seeding import stream
from archgym.simulator import Outcome, Simulator, evaluate_safely, is_table
from archgym.space import Array, Indices, all_true
from archgym.task import EnvSpecification
from archgym.values import portable, read_arguments, restored, settle

_SMALLEST, _LARGEST = float(np.exp(-R)), float(np.exp(R))
_BLOCK = 256  # neighbouring designs of a table whose answers are made together
_ROOM = 64 * 2**20  # limit on the answers that an environment keeps, bytes


class Evaluation(NamedTuple):
    """Evaluated designs: indices [B, P], metric values [B, M] (NaN where infeasible), feasible, valid,
    reward [B].
    """

    indices: Indices
    values: Array
    feasible: Array
    valid: Array
    reward: Array


class Evaluator:
    """What the environments share: the simulator, the objective, the ledger and the stream of simulator
    noise.
    """

    def __init__(
        self, task: str | Task, objective: ObjectiveSource | None, horizon: int, kwargs: Mapping[str, Any]
    ):
        self.task = task if isinstance(task, Task) else get_task(task)
        self.kwargs = {name: restored(value) for name, value in kwargs.items()}
        self.simulator, self.objective = self.task.build(restored(objective), **self.kwargs)
        self.horizon = whole("horizon", horizon, least=1)
        self.ledger = Ledger(self.simulator)
        self.rng = np.random.default_rng()
        self._nvec = self.simulator.space.nvec.astype(np.uint64)
        metrics = self.simulator.metrics
        visible = [j for j, m in enumerate(metrics) if not m.report_only]
        self._visible = slice(None) if len(visible) == len(metrics) else np.array(visible, int)
        self._scale = np.array([self.objective.reference.get(metrics[j].name, 1.0) for j in visible])
        self.metric_names = [m.name for m in metrics]
        self.observation_space = Box(-R, R, (len(visible) + 1 + (horizon > 1),), np.float32)
        self.action_space = MultiDiscrete(self.simulator.space.nvec)
        self._answers: _Answers | None = None  # made at the first single step

    @classmethod
    def from_specification(cls, env: EnvSpecification) -> Evaluator:
        """The environment of a run, a data set or a proxy, built again.

        Raises:
            ArchGymError: an unknown environment or argument, or an argument of which only a hash is stored.
        """
        return cls(env.id, env.objective, env.horizon, read_arguments(env.kwargs))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_answers": None}  # copies make their own

    def seed(self, seed: int | None) -> None:
        """Restart the noise stream, where a seed is given."""
        if seed is not None:
            self.rng = stream(seed, "noise")

    def evaluate(self, actions: Any, n: int) -> Evaluation:
        """Evaluate n designs given as indices [n, P].

        Raises:
            ArchGymError: illegal actions; nothing is simulated.
            BudgetExhausted: the batch crossed the budget (what was left has been evaluated and recorded).
        """
        indices = self._legal(actions, n)
        admitted = self.ledger.admit(n)
        if admitted < n:
            indices = indices[:admitted]
        indices.flags.writeable = False
        before = perf_counter()
        outcome = evaluate_safely(self.simulator, indices, self.rng)
        seconds = perf_counter() - before
        rewards = self.objective.judge(outcome, self.metric_names)
        self.ledger.record(indices, outcome, rewards, seconds)
        if admitted < n:
            raise self.ledger.exhausted()
        return Evaluation(indices, outcome.values, outcome.feasible, rewards.valid, rewards.reward)

    def evaluate_one(self, action: Any, remaining: float) -> tuple[Array, dict[str, Any]]:
        """Evaluate one design given as indices [P]: its observation [D] and its `info`.

        Raises:
            ArchGymError, BudgetExhausted: see `evaluate`.
        """
        answers = self._answers
        if (
            answers is None
            or answers.simulator is not self.simulator
            or answers.objective is not self.objective
        ):
            answers = self._answers = _Answers(self)
        found = answers.find(action)
        if found is None:
            evaluation = self.evaluate(np.asarray(action)[None], 1)
            return self.observe(evaluation, remaining)[0], self.info(evaluation, 0)
        indices, ordinal = found
        self.ledger.admit(1)
        before = perf_counter()
        numbers, feasible, valid, failure = answers.look_up(ordinal, self)
        now = perf_counter()
        self.ledger.record_one(action, numbers, feasible, valid, (now - before, now), failure)
        *values, reward = numbers.tolist()
        design = dict(zip(answers.names, map(getitem, answers.plain, indices), strict=True))
        observation = answers.observations[ordinal].copy()
        if self.horizon > 1:
            observation[-1] = remaining
        return observation, self._info(design, values, feasible, valid, reward)

    def info(self, evaluation: Evaluation, row: int) -> dict[str, Any]:
        """The `info` of one of the evaluated designs."""
        _, values, feasible, valid, reward = (column[row].tolist() for column in evaluation)
        design = self.simulator.space.design(evaluation.indices[row])
        return self._info(design, values, feasible, valid, reward)

    def _info(
        self, design: dict[str, Any], values: list[float], feasible: bool, valid: bool, reward: float
    ) -> dict[str, Any]:
        reported = values if feasible else [None] * len(values)
        return {
            "design": design,
            "metrics": dict(zip(self.metric_names, reported, strict=True)),
            "feasible": feasible,
            "valid": valid,
            "reward": reward,
        }

    def remeasure(self, indices: Indices) -> Evaluation:
        """Evaluate designs [n, P] once more, past all caches, without counting or recording it."""
        return self._judged(indices, evaluate_safely(self.simulator, indices, self.rng, again=True))

    def score(self, designs: Any, rng: np.random.Generator | None = None) -> dict[str, Any]:
        """Results of designs without a step: nothing is counted or recorded, and no episode moves.

        Args:
            designs: indices, integers [B, P].
            rng: source of a stochastic simulator's noise; the environment's own is left alone.

        Returns:
            Columns [B] as `finished` gives them: `design` and `metrics` (a column for each name; metrics are
            NaN where infeasible), `feasible`, `valid`, `reward`.

        Raises:
            ArchGymError: no designs, illegal ones, or a stochastic simulator without `rng`.
        """
        rows = np.shape(designs)[0] if np.ndim(designs) else 0
        if not rows:
            raise ArchGymError("expected designs as indices [B, P] with B >= 1, got none")
        if self.simulator.stochastic and rng is None:
            raise ArchGymError(
                "a stochastic simulator needs a generator: score(designs, rng=np.random.default_rng(seed))"
            )
        indices = self._legal(designs, rows)
        return self.columns(self._judged(indices, evaluate_safely(self.simulator, indices, rng)))

    def _judged(self, indices: Indices, outcome: Outcome) -> Evaluation:
        rewards = self.objective.judge(outcome, self.metric_names)
        return Evaluation(indices, outcome.values, outcome.feasible, rewards.valid, rewards.reward)

    def _legal(self, actions: Any, n: int) -> Indices:
        """A private int64 copy of legal actions."""
        given = np.asarray(actions)
        if given.shape != (n, len(self._nvec)):
            raise ArchGymError(
                f"expected actions of shape {(n, len(self._nvec))}, one index per parameter, got "
                f"{given.shape}"
            )
        if given.dtype.kind in "iu":
            indices = given.astype(np.int64)
        else:
            indices = np.zeros(given.shape, np.int64)
            if given.dtype.kind == "f" and np.isfinite(given).all():
                indices = given.astype(np.int64)
            if given.dtype.kind != "f" or not (indices == given).all():
                raise ArchGymError(
                    f"expected whole indices as an action, got {given.dtype} {given.flat[:4].tolist()}"
                )
        if np.count_nonzero(indices.view(np.uint64) >= self._nvec):
            row, column = np.argwhere(indices.view(np.uint64) >= self._nvec)[0]
            parameter = self.simulator.space.parameters[column]
            raise ArchGymError(
                f"expected an index in 0..{len(parameter) - 1} for parameter {parameter.name!r}, got "
                f"{indices[row, column]}"
            )
        return indices

    def observe(self, evaluation: Evaluation | Outcome, remaining: Array | float) -> Array:
        """Observations float32 [B, D]: log(metric / reference) clipped to +-R, the feasibility flag, and
        for H > 1 what remains.
        """
        visible = len(self._scale)
        observation = np.empty((len(evaluation.values), *self.observation_space.shape), np.float32)
        ratio = evaluation.values[:, self._visible] / self._scale
        observation[:, :visible] = np.log(np.minimum(np.maximum(ratio, _SMALLEST), _LARGEST))
        if not all_true(evaluation.feasible):
            observation[~evaluation.feasible, :visible] = 0
        observation[:, visible] = evaluation.feasible
        if self.horizon > 1:
            observation[:, visible + 1] = remaining
        return observation

    def fresh(self, n: int) -> Array:
        """Observations at reset: zeros, with everything remaining."""
        observation = np.zeros((n, *self.observation_space.shape), np.float32)
        if self.horizon > 1:
            observation[:, -1] = 1
        return observation

    def columns(self, evaluation: Evaluation) -> dict[str, Any]:
        """The `info` of finished designs as columns [B]."""
        return {
            "design": self.simulator.space.decode(evaluation.indices),
            "metrics": dict(zip(self.metric_names, evaluation.values.T, strict=True)),
            "feasible": evaluation.feasible,
            "valid": evaluation.valid,
            "reward": evaluation.reward,
        }

    def describe(self, info: Mapping[str, Any]) -> str:
        """A design, its metrics and its reward as text, from its `info`."""
        state = "valid" if info["valid"] else "violates a constraint" if info["feasible"] else "infeasible"
        lines = [f"{name} = {value}" for name, value in info["design"].items()]
        if info["feasible"]:
            lines += [f"{m.name}: {info['metrics'][m.name]:.6g} {m.unit}" for m in self.simulator.metrics]
        return "\n".join([*lines, f"reward: {info['reward']:.6g} ({state})"])

    def specification(self) -> dict[str, Any]:
        """What the environment is, as JSON: enough to build it again (options of the objective are in the
        objective).
        """
        kwargs, _ = settle(self.task.without_options(self.kwargs))
        objective, simulator = self.objective.to_dict(), self.simulator.specification
        return EnvSpecification(self.task.id, kwargs, objective, self.horizon, simulator).as_dict


class _Answers:
    """Results, rewards and observations of a table's designs, by ordinal, with the bits that batches give.

    A block of neighbouring designs is evaluated when one of them is met. Simulators that are not tables, and
    tables of more than `_ROOM` bytes, have none.
    """

    def __init__(self, evaluator: Evaluator):
        self.simulator, self.objective = evaluator.simulator, evaluator.objective
        space, metrics, observed = (
            self.simulator.space,
            len(evaluator.metric_names),
            evaluator.observation_space,
        )
        self.names, self.plain = space.names, [parameter.plain for parameter in space]
        self.shape, self._lengths = space.nvec.shape, space.nvec.tolist()
        bytes_each = 8 * (metrics + 1) + 4 * observed.shape[0] + 2
        size = space.size if is_table(self.simulator) and space.size * bytes_each <= _ROOM else 0
        self.numbers = np.empty((size, metrics + 1))  # metric values, and the reward
        self.observations = np.empty((size, *observed.shape), np.float32)
        self.feasible, self.valid = np.empty((2, size), bool)
        self.failures: dict[int, str] = {}
        self._met = [False] * -(-size // _BLOCK)

    def find(self, action: Any) -> tuple[list[int], int] | None:
        """Indices and ordinal of a legal action [P]; None for all that `Evaluator.evaluate` must look at."""
        if not self._met or type(action) is not np.ndarray:
            return None
        if action.dtype.kind not in "iu" or action.shape != self.shape:
            return None
        indices, ordinal = action.tolist(), 0
        for index, length in zip(indices, self._lengths, strict=True):
            if not 0 <= index < length:
                return None
            ordinal = ordinal * length + index
        return indices, ordinal

    def look_up(self, ordinal: int, evaluator: Evaluator) -> tuple[Array, bool, bool, str | None]:
        """Metric values and reward [M + 1] of a design, whether it is feasible, valid, and why it failed."""
        if not self._met[ordinal // _BLOCK]:
            self._meet(ordinal // _BLOCK, evaluator)
        feasible, valid = self.feasible.item(ordinal), self.valid.item(ordinal)
        return self.numbers[ordinal], feasible, valid, self.failures.get(ordinal)

    def _meet(self, block: int, evaluator: Evaluator) -> None:
        start, stop = block * _BLOCK, min((block + 1) * _BLOCK, len(self.numbers))
        rows = slice(start, stop)
        outcome = evaluate_safely(self.simulator, self.simulator.space.from_ordinal(np.arange(start, stop)))
        rewards = self.objective.judge(outcome, evaluator.metric_names)
        self.numbers[rows, :-1], self.numbers[rows, -1] = outcome.values, rewards.reward
        self.feasible[rows], self.valid[rows] = outcome.feasible, rewards.valid
        self.failures |= {start + row: reason for row, reason in outcome.failures.items()}
        self.observations[rows] = evaluator.observe(outcome, np.nan)
        self._met[block] = True


class _Shared:
    """Access to the evaluator that `ArchEnv` and `ArchVectorEnv` have in common."""

    evaluator: Evaluator
    _spec: EnvSpec | None = None

    @property
    def simulator(self) -> Simulator:
        """What a design costs."""
        return self.evaluator.simulator

    @property
    def objective(self) -> Objective:
        """What the reward is."""
        return self.evaluator.objective

    @property
    def ledger(self) -> Ledger:
        """The counter and record of every simulated design."""
        return self.evaluator.ledger

    def score(self, designs: Any, rng: np.random.Generator | None = None) -> dict[str, Any]:
        """Columns [B] of designs given as indices [B, P], uncounted; see `Evaluator.score`."""
        return self.evaluator.score(designs, rng)

    @property
    def spec(self) -> EnvSpec | None:
        """Gymnasium's specification, kept JSON-serialisable and honest about determinism."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            spec.nondeterministic = not self.simulator.deterministic
            spec.kwargs = {
                name: value.to_dict() if isinstance(value, Objective) else portable(value)
                for name, value in spec.kwargs.items()
            }
        self._spec = spec


class ArchEnv(_Shared, gymnasium.Env[Array, Array]):
    """One design per step.

    Args:
        task: an environment id, or a Task.
        objective: objective in place of the task's own.
        horizon: number of designs per episode.
        render_mode: None or "ansi" (the last design and its metrics as text); other modes become None with
            Gymnasium's warning.
        **kwargs: arguments of the task's simulator and objective; `preset=` names a set of them, `table=` a
            file of `Tabulated.save` in which results are looked up.

    Action: `MultiDiscrete(nvec)`, 0-based indices. Observation: see `Evaluator.observe`. `info` of a step:
        `design`, `metrics`
    (None where infeasible), `feasible`, `valid`, and the objective's `reward`.
    """

    # Gymnasium declares it as an instance's
    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        task: str | Task,
        *,
        objective: ObjectiveSource | None = None,
        horizon: int = 1,
        render_mode: str | None = None,
        **kwargs: Any,
    ):
        self.evaluator = Evaluator(task, objective, horizon, kwargs)
        self.action_space = self.evaluator.action_space
        self.observation_space = self.evaluator.observation_space
        self.render_mode = _render_mode(render_mode)
        self._steps = 0
        self._best = -np.inf
        self._last: dict[str, Any] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.evaluator.seed(seed)
        self._steps, self._best, self._last = 0, -np.inf, None
        return self.evaluator.fresh(1)[0], {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        evaluator = self.evaluator
        if self._steps >= evaluator.horizon:
            raise ArchGymError("the episode is over: call reset() before the next step()")
        remaining = 1 - (self._steps + 1) / evaluator.horizon
        observation, self._last = evaluator.evaluate_one(action, remaining)
        info = self._last
        self._steps += 1
        objective = info["reward"]
        reward = objective if self._steps == 1 else max(0.0, objective - self._best)
        self._best = max(self._best, objective)
        return observation, reward, self._steps >= evaluator.horizon, False, info

    def render(self) -> str | None:
        if self.render_mode is None:
            return None
        return "no design yet" if self._last is None else self.evaluator.describe(self._last)

    def close(self) -> None:
        self.simulator.close()


class ArchVectorEnv(_Shared, VectorEnv[Array, Array, Array]):
    """`num_envs` designs per step, evaluated as one batch; otherwise as `ArchEnv`, whose arguments it takes.

    Args:
        num_envs: designs per step.
        autoreset_mode: "SameStep" (default), "NextStep" or "Disabled" (Gymnasium's `AutoresetMode`, or its
            name).

    Under SAME_STEP the columns of finished designs lie in `info["final_info"]` (mask `_final_info`) and their
    observations in `final_obs` (mask `_final_obs`); designs that end no episode lie at the top level.
    `finished(info)` reads either place.
    """

    def __init__(
        self,
        task: str | Task,
        num_envs: int = 1,
        *,
        objective: ObjectiveSource | None = None,
        horizon: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **kwargs: Any,
    ):
        num_envs = whole("num_envs", num_envs, least=1)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {**ArchEnv.metadata, "autoreset_mode": self.autoreset_mode}
        self.evaluator = Evaluator(task, objective, horizon, kwargs)
        self.num_envs = num_envs
        self.render_mode = _render_mode(render_mode)
        if self.render_mode != render_mode:  # Gymnasium warns of a single environment's
            gymnasium.logger.warn(
                f"The environment is being initialised with render_mode={render_mode!r} "
                f"that is not in the possible render_modes ({self.metadata['render_modes']})."
            )
        self.single_action_space = self.evaluator.action_space
        self.single_observation_space = self.evaluator.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._steps = np.zeros(num_envs, np.int64)
        self._best = np.full(num_envs, -np.inf)
        self._last: Evaluation | None = None
        # the last one returned; a partial reset keeps rows of it
        self._observation = self.evaluator.fresh(num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.evaluator.seed(seed)
        rows = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:
            rows = np.asarray(options["reset_mask"], bool)
            if rows.shape != (self.num_envs,) or not rows.any():
                raise ArchGymError(f"expected reset_mask as bool [{self.num_envs}] with at least one True")
        self._steps[rows], self._best[rows] = 0, -np.inf
        observation = self.evaluator.fresh(self.num_envs)
        observation[~rows] = self._observation[~rows]
        self._observation = observation
        return observation, {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        evaluator, horizon = self.evaluator, self.evaluator.horizon
        over = self._steps >= horizon
        if np.count_nonzero(over):
            return self._step_past_the_end(actions, over)
        evaluation = evaluator.evaluate(actions, self.num_envs)
        self._last = evaluation
        rewards = self._advance(evaluation.reward, slice(None))
        terminated = self._steps >= horizon
        truncated = np.zeros(self.num_envs, bool)
        columns = evaluator.columns(evaluation)
        self._observation = observation = evaluator.observe(evaluation, 1 - self._steps / horizon)
        if self.autoreset_mode is not AutoresetMode.SAME_STEP or not terminated.any():
            return observation, rewards, terminated, truncated, columns
        info = {
            "final_info": columns,
            "_final_info": terminated.copy(),
            "final_obs": observation,
            "_final_obs": terminated.copy(),
        }
        fresh = evaluator.fresh(self.num_envs)
        if not terminated.all():
            fresh[~terminated] = observation[~terminated]
            info |= columns
        self._steps[terminated], self._best[terminated] = 0, -np.inf
        self._observation = fresh
        return fresh, rewards, terminated, truncated, info

    def _advance(self, objective: Array, rows: Array | slice) -> Array:
        """Count a step of some sub-environments and shape its rewards [B]."""
        first = self._steps[rows] == 0
        best = self._best[rows]
        rewards = (
            objective.copy()
            if first.all()
            else np.where(first, objective, np.maximum(0, objective - np.where(first, 0, best)))
        )
        self._best[rows] = np.maximum(best, objective)
        self._steps[rows] += 1
        return np.asarray(rewards, float)

    def _step_past_the_end(
        self, actions: Array, over: Array
    ) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """NEXT_STEP: finished sub-environments are reset, ignoring their actions; the others step.
        DISABLED: an error.
        """
        if self.autoreset_mode is AutoresetMode.DISABLED:
            rows = np.flatnonzero(over).tolist()
            raise ArchGymError(
                f"sub-environments {rows} are over: reset(options={{'reset_mask': ...}}) them first"
            )
        if np.shape(actions)[:1] != (self.num_envs,):
            raise ArchGymError(
                f"expected {self.num_envs} rows of actions, one per sub-environment, got shape "
                f"{np.shape(actions)}"
            )
        horizon, going = self.evaluator.horizon, ~over
        rewards = np.zeros(self.num_envs)
        observation = self.evaluator.fresh(self.num_envs)
        info: dict[str, Any] = {}
        if going.any():
            evaluation = self.evaluator.evaluate(np.asarray(actions)[going], int(going.sum()))
            rewards[going] = self._advance(evaluation.reward, going)
            observation[going] = self.evaluator.observe(evaluation, 1 - self._steps[going] / horizon)
            info = {
                name: _scatter(column, going) for name, column in self.evaluator.columns(evaluation).items()
            }
            info |= {f"_{name}": going.copy() for name in info}
        self._steps[over], self._best[over] = 0, -np.inf
        self._observation = observation
        return observation, rewards, self._steps >= horizon, np.zeros(self.num_envs, bool), info

    def render(self) -> tuple[str, ...] | None:
        if self.render_mode is None:
            return None
        if self._last is None:
            return ("no design yet",) * self.num_envs
        infos = [self.evaluator.info(self._last, row) for row in range(len(self._last.values))]
        return tuple(map(self.evaluator.describe, infos))

    def close_extras(self, **kwargs: Any) -> None:
        if "evaluator" in vars(self):  # Gymnasium closes what is deleted, made or not
            self.simulator.close()


def _render_mode(mode: str | None) -> str | None:
    """The mode if the environments have it, otherwise None, so that callers do not ask for pictures."""
    return mode if mode == "ansi" else None


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    for known in AutoresetMode:
        if str(mode).replace("_", "").lower() == known.value.replace("_", "").lower():
            return known
    raise ArchGymError(f"autoreset_mode is one of {', '.join(m.value for m in AutoresetMode)}, not {mode!r}")


def _scatter(column: Any, rows: Array) -> Any:
    """A column of some rows as a column of all: NaN, False or the column's first value elsewhere."""
    if isinstance(column, dict):
        return {name: _scatter(inner, rows) for name, inner in column.items()}
    full = np.full(
        len(rows),
        np.nan if column.dtype.kind == "f" else False if column.dtype.kind == "b" else column[0],
        column.dtype,
    )
    full[rows] = column
    return full
