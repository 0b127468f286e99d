"""Policies: what an agent has learned from contexts, as designs for new ones without a sample.

    context (arguments) -> simulator and objective -> features z [F] -> rank(z, n) -> n designs, best first

A policy is one npz file: a JSON header (environment, space, features, training) and the agent's arrays, with
a SHA-256 of both. Nothing is pickled, and the class that reads the arrays is that of a registered agent.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import numpy as np

from archgym.contexts.evaluator import ContextualEvaluator
from archgym.contexts.features import Features, context_features
from archgym.contexts.sets import Contexts
from archgym.errors import ArchGymError, whole
from archgym.evaluator import Evaluator
from archgym.files.archive import load_archive, reading, save_archive
from archgym.registry import get_agent
from archgym.space import Array, DesignSpace, Indices
from archgym.task import EnvSpecification
from archgym.values import read_arguments
from archgym.words import shown

FORMAT = 1


class Policy(ABC):
    """Designs for contexts; agents subclass it.

    Attributes:
        env: Gymnasium id.
        kwargs: environment arguments of all contexts.
        contexts: the contexts of the training, with the constants of their features.
        space: the design space.
        features: the features of contexts.
        objective: dictionary form of the objective; None for the environment's own.
        about: how it was trained: agent, hyperparameters, version, budget, seed, samples; {} before.
    """

    about: Mapping[str, Any]

    def __init__(self, env: EnvSpecification, space: DesignSpace):
        kwargs = read_arguments(env.kwargs)
        self._specification = env
        self.env, self.objective = env.id, env.objective
        self.contexts = Contexts.of(kwargs.pop("contexts"))
        if self.contexts.constants is None:
            raise ArchGymError("expected contexts with the constants of their features, got none")
        self.kwargs = kwargs
        self.space = space
        self.features = Features(self.contexts.constants)
        self.about = {}

    @classmethod
    def describes(cls, evaluator: ContextualEvaluator) -> tuple[EnvSpecification, DesignSpace]:
        """The arguments of a policy for the environment with this evaluator."""
        found = EnvSpecification.from_dict(evaluator.specification())
        kwargs = {**found.kwargs, "contexts": evaluator.contexts.to_dict()}
        env = EnvSpecification(found.id, kwargs, found.objective, found.horizon, found.simulator)
        return env, evaluator.simulator.space

    @abstractmethod
    def rank(self, features: Array, n: int) -> Indices:
        """Distinct designs for a context, best first.

        Args:
            features: standardised features of the context, float32 [F].
            n: number of designs, at most the size of the space.

        Returns:
            int64 [n, P].
        """

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """What was learned, as arrays by name."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, env: EnvSpecification, space: DesignSpace, arrays: Mapping[str, Array]) -> Self:
        """The inverse of `arrays`."""

    def propose(self, context: Mapping[str, Any], n: int = 1) -> list[dict[str, Any]]:
        """Designs for a context, without a sample.

        Args:
            context: the environment's arguments of the context; others are those of the training.
            n: number of designs.

        Returns:
            n designs by parameter name, best first, no two of one meaning (`Simulator.canonical`); all where
            the space has fewer.

        Raises:
            ArchGymError: an unknown argument, another design space, or features that training lacked.
        """
        n = whole("n", n, least=1)
        with closing(self.task_of(context)) as task:
            return [self.space.design(indices) for indices in self.designs_for(task, n)]

    def designs_for(self, task: Evaluator, n: int) -> Indices:
        """`propose` for a task with the policy's design space, as indices: int64 [n, P]."""
        features = self._features(task)
        asked = n
        while True:
            ranked = self.rank(features, min(asked, self.space.size))
            _, first = np.unique(task.simulator.canonical(ranked), axis=0, return_index=True)
            if len(first) >= n or asked >= self.space.size:
                return ranked[np.sort(first)[:n]]
            asked *= 2

    def features_of(self, context: Mapping[str, Any]) -> Array:
        """Standardised features of a context, float32 [F].

        Raises:
            ArchGymError: see `propose`.
        """
        with closing(self.task_of(context)) as task:
            return self._features(task)

    def _features(self, task: Evaluator) -> Array:
        return self.features.vector(context_features(task.simulator, task.objective))

    def task_of(self, context: Mapping[str, Any]) -> Evaluator:
        """The task of a context; whoever calls this closes it.

        Raises:
            ArchGymError: an unknown argument, or another design space.
        """
        if not isinstance(context, Mapping):
            raise ArchGymError(
                f"expected a context as a mapping of arguments and values, got {shown(context)}"
            )
        task = Evaluator(self.env, self.objective, 1, {**self.kwargs, **context})
        if task.simulator.space != self.space:
            task.close()
            raise ArchGymError(
                f"expected a context with the policy's design space, {self.space!r}, got "
                f"{task.simulator.space!r}; train a policy on such contexts"
            )
        return task

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the policy as an npz file, complete or not at all.

        Raises:
            ArchGymError: the file cannot be written.
        """
        arrays = self.arrays()
        about = {
            "format": FORMAT,
            "env": self._specification.as_dict,
            "space": json.loads(self.space.to_json()),
            "training": dict(self.about),
        }
        about = json.loads(json.dumps(about))
        return save_archive(path, {**about, "sha256": _digest(about, arrays)}, arrays)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Policy:
        """The policy that `save` wrote.

        Raises:
            ArchGymError: no policy, one that has changed since it was written, one whose agent is not
                installed or has another version, or one whose environment has another space or other
                features here.
        """
        with reading(path, "a policy that Policy.save wrote"):
            about, arrays = load_archive(path, FORMAT)
            stated = about.pop("sha256", None)
            if stated != _digest(about, arrays):
                raise ArchGymError(
                    "its content differs from its checksum: it has changed since it was written"
                )
            policy = _restored(about, arrays)
        _check_here(policy)
        return policy


def _restored(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> Policy:
    training = about["training"]
    agent = get_agent(training["agent"])
    kind = getattr(agent, "policy_class", None)
    if kind is None:
        raise ArchGymError(f"the agent {training['agent']!r} makes no policies")
    if agent.version != training["version"]:
        raise ArchGymError(
            f"it is of version {training['version']} of {training['agent']}, here is {agent.version}; train "
            "it again"
        )
    env = EnvSpecification.from_dict(about["env"])
    policy: Policy = kind.from_arrays(env, DesignSpace.from_json(json.dumps(about["space"])), arrays)
    policy.about = training
    return policy


def _check_here(policy: Policy) -> None:
    """Refuse a policy whose environment has changed."""
    with closing(policy.task_of(policy.contexts.arguments[0])) as task:
        found = context_features(task.simulator, task.objective)
    known = policy.features.constants
    words = {name for name in known if "=" in name}
    if set(found) - words != set(known) - words:
        raise ArchGymError(
            f"expected the features {', '.join(known)}, which the policy was trained with, got "
            f"{', '.join(found)}; train it again"
        )


def _digest(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    sha = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return sha.hexdigest()
