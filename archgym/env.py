"""Environments: a simulator and an objective behind Gymnasium's step API, single and natively vectorised.

One step evaluates one whole design. With `horizon = 1` it ends the episode; with a longer horizon H, rewards
are

    r_1 = objective,   r_t = max(0, objective_t - best of the episode so far)   so an episode's rewards sum to
                       its best.

Both environments hold one `Evaluator`, where an action is checked, admitted by the ledger, simulated,
rewarded and recorded:

    actions [B, P] -> admit -> simulate -> reward -> record -> Evaluation [B]
"""

from __future__ import annotations

from collections.abc import Mapping
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
from archgym.simulator import Simulator, evaluate_safely
from archgym.space import Array, Indices, all_true
from archgym.task import EnvSpecification
from archgym.values import portable, read_arguments, restored, settle

_SMALLEST, _LARGEST = float(np.exp(-R)), float(np.exp(R))


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

    @classmethod
    def from_specification(cls, env: EnvSpecification) -> Evaluator:
        """The environment of a run, a data set or a proxy, built again.

        Raises:
            ArchGymError: an unknown environment or argument, or an argument of which only a hash is stored.
        """
        return cls(env.id, env.objective, env.horizon, read_arguments(env.kwargs))

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

    def remeasure(self, indices: Indices) -> Evaluation:
        """Evaluate designs [n, P] once more, past all caches, without counting or recording it."""
        outcome = evaluate_safely(self.simulator, indices, self.rng, again=True)
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

    def observe(self, evaluation: Evaluation, remaining: Array | float) -> Array:
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

    def describe(self, evaluation: Evaluation, row: int = 0) -> str:
        """A design, its metrics and its reward as text."""
        design = self.simulator.space.design(evaluation.indices[row])
        state = (
            "valid"
            if evaluation.valid[row]
            else "violates a constraint"
            if evaluation.feasible[row]
            else "infeasible"
        )
        lines = [f"{name} = {value}" for name, value in design.items()]
        if evaluation.feasible[row]:
            lines += [
                f"{m.name}: {value:.6g} {m.unit}"
                for m, value in zip(self.simulator.metrics, evaluation.values[row], strict=True)
            ]
        return "\n".join([*lines, f"reward: {evaluation.reward[row]:.6g} ({state})"])

    def specification(self) -> dict[str, Any]:
        """What the environment is, as JSON: enough to build it again (options of the objective are in the
        objective).
        """
        kwargs, _ = settle(self.task.without_options(self.kwargs))
        objective, simulator = self.objective.to_dict(), self.simulator.specification
        return EnvSpecification(self.task.id, kwargs, objective, self.horizon, simulator).as_dict


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
        **kwargs: arguments of the task's simulator and objective; `preset=` names a set of them.

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
        self._last: Evaluation | None = None

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
        evaluation = evaluator.evaluate(np.asarray(action)[None], 1)
        self._last = evaluation
        self._steps += 1
        objective = float(evaluation.reward[0])
        reward = objective if self._steps == 1 else max(0.0, objective - self._best)
        self._best = max(self._best, objective)
        feasible = bool(evaluation.feasible[0])
        values = evaluation.values[0].tolist() if feasible else [None] * evaluation.values.shape[1]
        info = {
            "design": evaluator.simulator.space.design(evaluation.indices[0]),
            "metrics": dict(zip(evaluator.metric_names, values, strict=True)),
            "feasible": feasible,
            "valid": bool(evaluation.valid[0]),
            "reward": objective,
        }
        remaining = 1 - self._steps / evaluator.horizon
        observation = evaluator.observe(evaluation, remaining)[0]
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
        return tuple(self.evaluator.describe(self._last, row) for row in range(len(self._last.values)))

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
