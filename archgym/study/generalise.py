"""Studies of kind "generalise": policies are trained on some contexts, and judged on the others.

    [study]
    kind = "generalise"
    name = "softmax-shapes"
    budget = [5000, 15000, 50000]     # training samples of contextual agents
    splits = 10                       # random splits of the contexts
    held_out = 0.3                    # share of the contexts, or of the groups, that a split holds out
    by = "context"                    # or "group": whole groups, such as networks, are held out
    verify = 5                        # proposals of a policy that are simulated
    search_budget = 300               # samples of ordinary agents on a held-out context
    seeds = 3

    [[env]]
    id = "archgym/Softmax-v0"
    contexts = "shapes"

    [[agent]]
    name = "contextual_value"         # contextual: a training run for each split, seed and budget

    [[agent]]
    name = "bo"                       # ordinary: a search of each context that some split holds out

Splits are distinct. The optimum of every context is found when the study is read, and is part of a run's
specification, so that rewards are the same on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from archgym.contexts.evaluator import ContextualEvaluator
from archgym.contexts.sets import Contexts
from archgym.errors import ArchGymError
from archgym.optimum import stored_optimum
from archgym.progress import progress_bar
from archgym.study.file import EnvTable, StudyTable
from archgym.task import EnvSpecification

_TRIES = 20  # draws per split, since few groups have few distinct splits


@dataclass(frozen=True)
class Split:
    """One random split of an environment's contexts.

    Attributes:
        seed: seed of the split.
        training: the environment with the training contexts.
        held_out: the contexts held out.
        ratio: held-out contexts, or groups, per one of training.
    """

    seed: int
    training: EnvSpecification
    held_out: Contexts
    ratio: float

    @cached_property
    def held_out_dict(self) -> dict[str, Any]:
        """The contexts held out as they are stored, one object for all runs."""
        return dict(json.loads(json.dumps(self.held_out.to_dict())))


@dataclass(frozen=True)
class SplitContexts:
    """An environment's contexts and their splits.

    Attributes:
        contexts: all contexts, with their optima.
        splits: the splits.
        searched: each context that some split holds out, as an environment of its own, by name.
    """

    contexts: Contexts
    splits: tuple[Split, ...]
    searched: Mapping[str, EnvSpecification]

    @classmethod
    def from_tables(cls, env: EnvTable, study: StudyTable) -> SplitContexts:
        """The contexts of an [[env]], split as [study] says.

        Raises:
            ArchGymError: contexts that cannot be split so often, or without known optima.
        """
        kwargs = dict(env.kwargs)
        horizon = kwargs.pop("horizon", None)
        with closing(ContextualEvaluator(env.id, env.objective, horizon, kwargs, env.contexts)) as evaluator:
            contexts = _with_optima(evaluator, stated=not env.kwargs and env.objective is None)
            splits = tuple(
                Split(seed, _plain(env, evaluator.specification(train)), test, _ratio(train, test, study.by))
                for seed, (train, test) in _distinct_splits(contexts, study)
            )
            held_out = {name for split in splits for name in split.held_out.names}
            searched = {
                name: _plain(env, member.specification())
                for name, member in zip(contexts.names, evaluator.members, strict=True)
                if name in held_out
            }
        return cls(contexts, splits, searched)


def _plain(env: EnvTable, specification: Mapping[str, Any]) -> EnvSpecification:
    """A specification as it is stored: JSON, with the id as the file has it."""
    return replace(EnvSpecification.from_dict(json.loads(json.dumps(specification))), id=env.id)


def _with_optima(evaluator: ContextualEvaluator, *, stated: bool) -> Contexts:
    """The contexts, each with its exact optimum, and without constants: those of a split are its training
    contexts'. Optima that a set states are those of the environment's default arguments and objective.

    Raises:
        ArchGymError: an optimum that is not known and cannot be enumerated, or a context without valid
            designs.
    """
    given = evaluator.given
    optima = []
    with progress_bar() as progress:
        for c, (name, member) in enumerate(zip(given.names, evaluator.members, strict=True)):
            progress("optima of the contexts", c / len(given))
            if stated and given.optima is not None and given.optima[c] is not None:
                optima.append(given.optima[c])
                continue
            try:
                found = stored_optimum(member.simulator, member.objective)
            except ArchGymError as error:
                raise ArchGymError(
                    f"expected contexts with known optima, but of {name!r}: {error}"
                ) from error
            if found is None:
                raise ArchGymError(f"expected contexts with valid designs, but {name!r} has none")
            optima.append(found.best_design)
    return replace(given, optima=tuple(optima), constants=None)


def _distinct_splits(
    contexts: Contexts, study: StudyTable
) -> Iterator[tuple[int, tuple[Contexts, Contexts]]]:
    seen: set[tuple[str, ...]] = set()
    for seed in range(_TRIES * study.splits):
        train, test = contexts.split(study.held_out, seed=seed, by=study.by)
        if test.names not in seen:
            seen.add(test.names)
            yield seed, (train, test)
        if len(seen) == study.splits:
            return
    raise ArchGymError(
        f"expected {study.splits} distinct splits, the {study.by}s have {len(seen)}; lower splits, or change "
        "held_out"
    )


def _ratio(train: Contexts, test: Contexts, by: str) -> float:
    if by == "context":
        return len(test) / len(train)
    kept = {name for names in train.groups or () for name in names}
    gone = {name for names in test.groups or () for name in names} - kept
    return len(gone) / max(len(kept), 1)
