"""Environments: a simulator and an objective behind Gymnasium's step API, single and natively vectorised.

One step evaluates one whole design. With `horizon = 1` it ends the episode; with a longer horizon H, rewards
are

    r_1 = objective,   r_t = max(0, objective_t - best of the episode so far)   so an episode's rewards sum to
                       its best.

Both environments hold one `Evaluator`. With `contexts=` it is a `ContextualEvaluator`: every episode has a
task of its own, which the observation begins with (`archgym.contexts`).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from archgym.contexts.evaluator import make_evaluator
from archgym.contexts.sets import Contexts, ContextSource
from archgym.errors import ArchGymError, whole
from archgym.evaluator import Evaluation as Evaluation
from archgym.evaluator import Evaluator as Evaluator
from archgym.infos import finished as finished
from archgym.ledger import Ledger
from archgym.objective import Objective
from archgym.registry import ObjectiveSource, Task
from archgym.shared import SharedTask
from archgym.simulator import Simulator
from archgym.space import Array
from archgym.values import portable


class _Access:
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
    def contexts(self) -> Contexts | None:
        """The tasks that episodes are drawn from; None for one task."""
        return self.evaluator.contexts

    def score(
        self, designs: Any, rng: np.random.Generator | None = None, context: Any = None
    ) -> dict[str, Any]:
        """Columns [B] of designs given as indices [B, P], uncounted; see `Evaluator.score`."""
        return self.evaluator.score(designs, rng, context)

    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask:
        """Weights that all designs share, every pass charged to the ledger; see `Simulator.shared`.

        Raises:
            ArchGymError: a simulator without weights to share.
        """
        return self.evaluator.shared(seed, fresh=fresh, partial=partial)

    @property
    def spec(self) -> EnvSpec | None:
        """Gymnasium's specification, kept JSON-serialisable and honest about determinism."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            spec.nondeterministic = not self.simulator.deterministic
            spec.kwargs = {
                name: value.to_dict() if isinstance(value, (Objective, Contexts)) else portable(value)
                for name, value in spec.kwargs.items()
            }
        self._spec = spec


class ArchEnv(_Access, gymnasium.Env[Array, Array]):
    """One design per step.

    Args:
        task: an environment id, or a Task.
        objective: objective in place of the task's own.
        horizon: number of designs per episode; default: the simulator's, which is 1 but of served tasks.
        contexts: tasks from which every episode draws one: a `Contexts`, a list of mappings of arguments, a
            mapping of arguments to lists of values (all combinations), the name of a set that comes with the
            environment, or a .json or .toml file.
        render_mode: None or "ansi" (the last design and its metrics as text); other modes become None with
            Gymnasium's warning.
        **kwargs: arguments of the task's simulator and objective; `preset=` names a set of them, `table=` a
            file of `Tabulated.save` in which results are looked up.

    Action: `MultiDiscrete(nvec)`, 0-based indices. Observation: see `Evaluator.observe`. `info` of a step:
        `design`, `metrics`
    (None where infeasible), `feasible`, `valid`, and the objective's `reward`.

    With contexts, observations begin with the context's features, rewards are log shares of its optimum
    (`archgym.contexts.evaluator`), `reset(options={"context": i})` chooses one by position or name, and
    `info` of reset and step has its position, `context`.
    """

    # Gymnasium declares it as an instance's
    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        task: str | Task,
        *,
        objective: ObjectiveSource | None = None,
        horizon: int | None = None,
        contexts: ContextSource | None = None,
        render_mode: str | None = None,
        **kwargs: Any,
    ):
        self.evaluator = make_evaluator(task, objective, horizon, kwargs, contexts)
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
        info = self.evaluator.begin(1, options=options)
        return self.evaluator.fresh(1)[0], {name: column.item() for name, column in info.items()}

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
        self.evaluator.close()


class ArchVectorEnv(_Access, VectorEnv[Array, Array, Array]):
    """`num_envs` designs per step, evaluated as one batch; otherwise as `ArchEnv`, whose arguments it takes.

    Args:
        num_envs: designs per step.
        autoreset_mode: "SameStep" (default), "NextStep" or "Disabled" (Gymnasium's `AutoresetMode`, or its
            name).

    Under SAME_STEP the columns of finished designs lie in `info["final_info"]` (mask `_final_info`) and their
    observations in `final_obs` (mask `_final_obs`); designs that end no episode lie at the top level.
    `finished(info)` reads either place. With contexts, `info["context"]` at the top level is the context of
    every sub-environment from then on, int64 [num_envs], and `reset(options={"context": ...})` takes one for
    all, or one for each.
    """

    def __init__(
        self,
        task: str | Task,
        num_envs: int = 1,
        *,
        objective: ObjectiveSource | None = None,
        horizon: int | None = None,
        contexts: ContextSource | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **kwargs: Any,
    ):
        num_envs = whole("num_envs", num_envs, least=1)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {**ArchEnv.metadata, "autoreset_mode": self.autoreset_mode}
        self.evaluator = make_evaluator(task, objective, horizon, kwargs, contexts)
        self.evaluator.begin(num_envs)
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
        info = self.evaluator.begin(self.num_envs, rows, options)
        observation = self.evaluator.fresh(self.num_envs)
        observation[~rows] = self._observation[~rows]
        self._observation = observation
        return observation, info

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
        begun = evaluator.begin(self.num_envs, terminated)
        fresh = evaluator.fresh(self.num_envs)
        if not terminated.all():
            fresh[~terminated] = observation[~terminated]
            info |= columns
        info |= begun
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
        begun = self.evaluator.begin(self.num_envs, over)
        observation = self.evaluator.fresh(self.num_envs)
        info: dict[str, Any] = {}
        if going.any():
            evaluation = self.evaluator.evaluate(np.asarray(actions)[going], int(going.sum()), going)
            rewards[going] = self._advance(evaluation.reward, going)
            observation[going] = self.evaluator.observe(evaluation, 1 - self._steps[going] / horizon)
            info = {
                name: _scatter(column, going) for name, column in self.evaluator.columns(evaluation).items()
            }
            info |= {f"_{name}": going.copy() for name in info}
        info |= begun
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
            self.evaluator.close()


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
