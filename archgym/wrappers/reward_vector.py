"""A reward for each metric instead of one for all, as MO-Gymnasium has it (Felten et al., NeurIPS 2023).

Component i is the objective of one metric alone, under the environment's constraints; with s_i = 1 where
lower is better, else -1:

    valid        r_i = clip(-s_i log(m_i / reference_i), -R, R)
    violating    the objective's penalty is taken from every component
    infeasible   r_i = -R - 1, the worst reward, finite; also where a metric is below 0 under a logarithm

so that sum_i w_i r_i over the objective's own metrics is its scalar reward wherever a design is valid and
nothing is clipped. The objective's other forms (linear, nasaic, archgym) replace the logarithm here as they
do there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import RecordConstructorArgs

from archgym.deprecated.names import old_names
from archgym.errors import ArchGymError
from archgym.infos import core
from archgym.objective import HIT, INFEASIBLE_REWARD, Maximize, Minimize, Objective, R, Term
from archgym.pareto import choose_metrics
from archgym.simulator import Metric, Simulator
from archgym.space import Array


class VectorObjective:
    """Metrics to reward vectors.

    Args:
        simulator: simulator, whose metrics have units and directions.
        objective: the scalar objective, whose form, constraints, references and (by default) terms are taken.
        metrics: names of the components: the objective's own term where it has one, else lower or higher by
            the schema; default: all the objective's terms, without their weights.
        reference: metric -> positive number that its logarithm is taken against; default: the objective's,
            else 1.

    Attributes:
        metrics: names of the M components.
        components: objective of each component.

    Raises:
        ArchGymError: no metric, an unknown or hidden one, or one without a direction.
    """

    def __init__(
        self,
        simulator: Simulator,
        objective: Objective,
        metrics: Sequence[str] | None = None,
        reference: Mapping[str, float] | None = None,
    ):
        visible = [metric for metric in simulator.metrics if not metric.report_only]
        own = {term.metric: term for term in objective.terms}
        terms = (
            objective.terms
            if metrics is None
            else [own.get(name) or _term(*choose_metrics([name], visible)) for name in metrics]
        )
        if not terms:
            raise ArchGymError("expected at least one metric for a reward vector, got none")
        references = {**objective.reference, **(reference or {})}
        self.metrics = tuple(term.metric for term in terms)
        self.components = [
            Objective(
                replace(term, weight=1.0),
                *objective.constraints,
                reference=references,
                form=objective.form,
                strict=objective.strict,
            )
            for term in terms
        ]
        for component in self.components:
            component.check(metric.name for metric in simulator.metrics)
        self.reward_space = Box(
            INFEASIBLE_REWARD, HIT if objective.form == "archgym" else R, (len(terms),), np.float32
        )

    def __call__(self, metrics: Mapping[str, Array], feasible: Array) -> Array:
        """Reward vectors float32 [B, M] of a batch: a column [B] for each metric, and which designs are
        feasible, bool [B].
        """
        rewards = np.stack([component(metrics, feasible).reward for component in self.components], axis=1)
        # one metric has no logarithm: the design has no vector
        rewards[(rewards == INFEASIBLE_REWARD).any(axis=1)] = INFEASIBLE_REWARD
        return rewards.astype(np.float32)


def vector_objective_of(
    env: Any, metrics: Sequence[str] | None, reference: Mapping[str, float] | None
) -> VectorObjective:
    """The reward vectors of an environment.

    Raises:
        ArchGymError: an environment of another package, one that draws from contexts, or metrics that
            `VectorObjective` refuses.
    """
    found = core(env)
    if found.evaluator.contexts is not None:
        raise ArchGymError(
            "expected an environment of one task, since metrics of several have no common scale; make it "
            "without contexts="
        )
    return VectorObjective(found.simulator, found.objective, metrics, reference)


def _term(metric: Metric) -> Term:
    return Maximize(metric.name) if metric.better == "higher" else Minimize(metric.name)


class RewardVector(gymnasium.Wrapper[Array, Any, Array, Any], RecordConstructorArgs):
    """A reward vector per design: float32 [M], in `reward_space`, which is the core environment's too, where
    MO-Gymnasium looks for it.

    With a horizon above 1 each step has the rewards of its own design; a step that completes none
    (`SequentialDesign`) has zeros. Wrappers that handle scalar rewards go below this one. `info["reward"]`
    remains the scalar objective's.

    Args:
        env: an `ArchEnv` (wrapped or not).
        metrics: names of the components; by default those of the objective.
        reference: metric -> positive number that its logarithm is taken against.

    Raises:
        ArchGymError: an environment of another package, or metrics that `VectorObjective` refuses.

    Examples:
        >>> env = gymnasium.make("archgym/DramController-v0")        # doctest: +SKIP
        >>> env = RewardVector(env, ["latency_s", "energy_j"])       # doctest: +SKIP
    """

    def __init__(
        self,
        env: gymnasium.Env[Array, Any],
        metrics: Sequence[str] | None = None,
        reference: Mapping[str, float] | None = None,
    ):
        RecordConstructorArgs.__init__(self, metrics=metrics, reference=reference)
        gymnasium.Wrapper.__init__(self, env)
        self.vector_objective = vector_objective_of(env, metrics, reference)
        self.reward_space = self.vector_objective.reward_space
        # where MO-Gymnasium looks for it
        env.unwrapped.reward_space = self.reward_space  # type: ignore[attr-defined]

    def step(self, action: Any) -> tuple[Array, Array, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = np.zeros(self.reward_space.shape, np.float32)
        if "metrics" in info:
            columns = {name: np.array([value], float) for name, value in info["metrics"].items()}
            reward = self.vector_objective(columns, np.array([info["feasible"]]))[0]
        return observation, reward, terminated, truncated, info


__getattr__ = old_names(__name__, VectorReward="RewardVector")
