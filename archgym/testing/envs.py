"""`check_env`: whether an environment keeps Gymnasium's contract and archgym's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env as gymnasium_check_env

from archgym.env import ArchEnv, ArchVectorEnv, finished
from archgym.errors import ArchGymError, BudgetExhausted
from archgym.objective import INFEASIBLE_REWARD, R
from archgym.registry import get_task
from archgym.space import LONGEST_GRID
from archgym.testing._common import corners_and_samples, must
from archgym.wrappers import ContinuousActions, PrefixDesign, SequentialDesign


def check_env(env: str | gymnasium.Env[Any, Any], *, seed: int = 0, **kwargs: Any) -> None:
    """Check an environment by id, or one that was made: it, its wrappers and its vector form.

    Runs Gymnasium's `check_env` on the bare environment and under `SequentialDesign`, `ContinuousActions` and
    (where designs are built step by step) `PrefixDesign`, Stable-Baselines3's on each where it is installed,
    and compares the vector environment with the single one, row for row.

    Args:
        env: an id, or an `ArchEnv` (wrapped or not). Of the latter fresh copies are made; it is not stepped.
        seed: seed for the evaluated designs.
        **kwargs: arguments of the environment, with an id.

    Raises:
        ArchGymError: the environment cannot be made.
        AssertionError: the environment breaks the contract.
    """
    single = _maker(env, kwargs)
    raw = single()
    must(
        isinstance(raw, ArchEnv),
        f"{env!r} is not an environment of archgym: register it with archgym.register_env(id, simulator=...)",
    )
    opened: list[Any] = [raw]
    try:
        wrappers: list[Callable[[Any], Any]] = [lambda made: made, ContinuousActions]
        if 0 < raw.simulator.space.nvec.max(initial=0) <= LONGEST_GRID:
            wrappers.append(SequentialDesign)
        if _is_built_by_steps(raw):
            wrappers.append(PrefixDesign)
        for wrap in wrappers:
            wrapped = wrap(single())
            opened.append(wrapped)
            _foreign_checks(wrapped)
        vector = _vector_of(raw, 6)
        opened.append(vector)
        _check_vector_equals_single(vector, single(), seed)
        _check_ranking(raw, vector, seed)
        if raw.contexts is not None:
            _check_contexts(single(), seed)
        _check_ledger(single(), seed)
    finally:  # only now: a task may share one simulator among its environments
        for made in opened:
            made.close()


def _is_built_by_steps(env: ArchEnv) -> bool:
    """Whether `PrefixDesign` fits the environment."""
    space = env.simulator.space
    features = env.simulator.state_features(np.zeros((1, len(space)), np.int64))
    return features is not None and env.evaluator.horizon == len(space)


def _maker(env: str | gymnasium.Env[Any, Any], kwargs: Mapping[str, Any]) -> Callable[[], Any]:
    if isinstance(env, str):
        get_task(env)  # an unknown id is refused here, with the nearest names
        return lambda: gymnasium.make(env, disable_env_checker=True, **kwargs).unwrapped
    if kwargs:
        raise ArchGymError("arguments go with an environment's id; this environment has been made already")
    core = env.unwrapped
    if not isinstance(core, ArchEnv):
        return lambda: core

    def again() -> ArchEnv:
        evaluator = core.evaluator
        made = ArchEnv(evaluator.task, render_mode=core.render_mode, **evaluator.arguments())
        made.spec = core.spec
        return made

    return again


def _vector_of(env: ArchEnv, num_envs: int) -> ArchVectorEnv:
    return ArchVectorEnv(env.evaluator.task, num_envs, **env.evaluator.arguments())


def _foreign_checks(env: gymnasium.Env[Any, Any]) -> None:
    with warnings.catch_warnings():
        # wrappers are ours, and checked on purpose
        warnings.filterwarnings(
            "ignore", message=".*The environment .* is different from the unwrapped version.*"
        )
        gymnasium_check_env(env, skip_render_check=True, skip_close_check=True)
        if find_spec("stable_baselines3") is not None:
            from stable_baselines3.common.env_checker import check_env as stable_baselines_check_env

            stable_baselines_check_env(env, skip_render_check=True)


def _check_vector_equals_single(vector: ArchVectorEnv, single: ArchEnv, seed: int) -> None:
    """Sub-environment 0 of a vector of one is the single environment; a wider one equals single steps, row
    by row.
    """
    space, horizon, width = single.simulator.space, single.evaluator.horizon, vector.num_envs
    actions = space.sample(2 * horizon * width, np.random.default_rng(seed)).reshape(
        2 * horizon, width, len(space)
    )
    # noise is drawn row by row, which is another order than episode by episode
    if not single.simulator.deterministic or (single.simulator.stochastic and horizon > 1):
        return
    vector.reset(seed=seed)
    single.reset(seed=seed)
    steps = [vector.step(actions[t]) for t in range(2 * horizon)]
    expected: dict[tuple[int, int], Any] = {}
    order = [(t, i) for t in range(2 * horizon) for i in range(width)]
    for t, i in sorted(order, key=lambda step: (step[0] // horizon, step[1], step[0])):
        if t % horizon == 0:
            done = finished(steps[t][-1])
            single.reset(options={"context": int(done["context"][i])} if "context" in done else None)
        expected[t, i] = single.step(actions[t, i])
    for t, (_, rewards, terminated, truncated, info) in enumerate(steps):
        done = finished(info)
        for i in range(width):
            observation, reward, over, _, said = expected[t, i]
            where = f"the vector environment differs from the single one (step {t}, sub-environment {i}):"
            must(rewards[i] == reward, f"{where} reward {rewards[i]} and {reward}")
            must(
                terminated[i] == over and not truncated[i],
                f"{where} terminated {terminated[i]} and {over}; truncated is always False",
            )
            for name in ("feasible", "valid", "reward"):
                must(
                    done[name][i] == said[name], f"{where} info[{name!r}] is {done[name][i]} and {said[name]}"
                )
            for name, value in said["design"].items():
                must(
                    done["design"][name][i] == value,
                    f"{where} info['design'][{name!r}] is {done['design'][name][i]} and {value}",
                )
            if over:
                must(np.array_equal(info["final_obs"][i], observation), f"{where} other observations")


def _check_ranking(single: ArchEnv, vector: ArchVectorEnv, seed: int) -> None:
    indices = corners_and_samples(single.simulator.space, 256, np.random.default_rng(seed))
    vector.evaluator.begin(len(indices))
    evaluation = vector.evaluator.evaluate(indices, len(indices))
    must(
        (evaluation.reward[~evaluation.feasible] == INFEASIBLE_REWARD).all(),
        f"an infeasible design is rewarded with other than {INFEASIBLE_REWARD}: give the environment an "
        "archgym.Objective",
    )
    feasible = evaluation.reward[evaluation.feasible]
    must(
        (feasible > INFEASIBLE_REWARD).all() and np.isfinite(feasible).all(),
        "a feasible design is not ranked above infeasible ones",
    )
    largest = np.inf if vector.evaluator.objective.form == "archgym" else R
    valid = evaluation.reward[evaluation.valid]
    must(
        ((valid >= -R) & (valid <= largest)).all(),
        f"a valid design's reward is outside [-{R:g}, {largest:g}]",
    )


def _check_contexts(env: ArchEnv, seed: int) -> None:
    """A chosen context is shown in the observation and counted under its position; no design is better than
    an optimum; a seed draws the same contexts again.
    """
    evaluator: Any = env.evaluator
    rows, first = evaluator.feature_rows, evaluator.feature_rows.shape[1]
    rng = np.random.default_rng(seed)
    for i in rng.permutation(len(rows))[:8].tolist():
        observation, info = env.reset(options={"context": i})
        design = env.simulator.space.sample(1, rng)[0]
        after, _, _, _, said = env.step(design)
        must(info["context"] == said["context"] == i, f"context {i} was chosen, info has another one")
        must(
            np.array_equal(observation[:first], rows[i]) and np.array_equal(after[:first], rows[i]),
            f"the observation does not begin with the features of context {i}",
        )
        must(int(env.ledger.column("context")[-1]) == i, f"the ledger has another context than {i}")
        must(
            not (said["valid"] and evaluator.exact[i]) or said["reward"] <= 1e-9,
            f"a design of context {i} is better than its optimum by {said['reward']}",
        )
    drawn = [[env.reset(seed=seed)[1], *(env.reset()[1] for _ in range(4))] for _ in range(2)]
    must(drawn[0] == drawn[1], "the same seed draws other contexts")


def _check_ledger(env: ArchEnv, seed: int) -> None:
    env.reset(seed=seed)
    for illegal in (env.simulator.space.nvec, np.full(len(env.simulator.space), -1)):
        if len(illegal):
            with suppress(ArchGymError):
                env.step(illegal)
                raise AssertionError(f"the illegal action {illegal.tolist()} was taken: raise ArchGymError")
    must(
        env.ledger.samples == 0,
        "an illegal action or a reset was counted as a sample: count at the simulator call only",
    )
    env.ledger.budget = 1
    action = np.zeros(len(env.simulator.space), np.int64)
    env.reset()
    env.step(action)
    env.reset()
    with suppress(BudgetExhausted):
        env.step(action)
        raise AssertionError("a step beyond the ledger's budget was taken: raise BudgetExhausted")
    must(env.ledger.samples == 1, f"the ledger counts {env.ledger.samples} samples after one design")
