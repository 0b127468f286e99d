"""Data sets for other tools: CSV, and Minari (Younis et al., 2024) for offline reinforcement learning."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium

from archgym.dataset.data import Dataset
from archgym.dataset.files import about, to_arrow
from archgym.errors import ArchGymError, MissingDependency
from archgym.evaluator import Evaluation, Evaluator
from archgym.files.csv import write_csv
from archgym.files.paths import make_folder, write_atomically
from archgym.simulator import Outcome
from archgym.space import Array
from archgym.values import read_arguments


def to_csv(data: Dataset, path: str | os.PathLike[str]) -> Path:
    """Write CSV that a spreadsheet does not run, and `PATH.schema.json` with the environment, the parameters
    and the metrics' units.

    Args:
        data: the data set.
        path: the CSV file.

    Raises:
        ArchGymError: the path cannot be written.
    """
    table = to_arrow(data)
    target = write_atomically(path, lambda file: write_csv([table], table.schema, file))
    write_atomically(
        target.with_name(f"{target.name}.schema.json"), (json.dumps(about(data), indent=2) + "\n").encode()
    )
    return target


def to_minari(data: Dataset, folder: str | os.PathLike[str], name: str | None = None) -> str:
    """Write a Minari data set: an episode per row, its action the design, its reward that of the
    environment's default objective.

    Args:
        data: the data set.
        folder: Minari's folder of data sets; set MINARI_DATASETS_PATH to it to load the data set by its name.
        name: "namespace/name-vN"; default: derived from the environment's id.

    Returns:
        Name of the Minari data set.

    Raises:
        MissingDependency: Minari is not installed.
        ArchGymError: a data set of this name exists, Minari does not take the name, or the environment cannot
            be made or has no default objective.
    """
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
        from minari.dataset.minari_dataset import parse_dataset_id
    except ImportError as error:
        raise MissingDependency('an export to Minari needs it: pip install "archgym[minari]"') from error
    specification = data.env
    env_id = specification.id
    chosen = name or f"{env_id.rpartition(':')[2].removesuffix('-v0').lower()}/designs-v0"
    try:
        parse_dataset_id(chosen)
    except ValueError:
        raise ArchGymError(
            "expected a Minari name, namespace/name-vN with at least two characters in the namespace, got "
            f"{chosen!r}; give one such as mine/designs-v0"
        ) from None
    try:
        env = gymnasium.make(env_id, **read_arguments(specification.kwargs))
    except gymnasium.error.Error as error:
        raise ArchGymError(
            f"{env_id} cannot be made here ({error}): install the package that registers it, or make the "
            "data set again with the id module:namespace/Name-vN, which names the module that registers it"
        ) from error
    core: Any = env.unwrapped
    core.spec.kwargs["task"] = env_id  # so that Minari's readers import the module, too
    evaluator = core.evaluator
    target = Path(folder).expanduser().absolute()
    if (target / chosen).exists():
        raise ArchGymError(f"{target / chosen} exists already: give another folder or name")
    make_folder((target / chosen).parent, within=target)
    observations, rewards = _observe(data, evaluator)
    episodes = [
        EpisodeBuffer(
            id=i,
            observations=[evaluator.fresh(1)[0], observations[i]],
            actions=[data.indices[i]],
            rewards=[float(rewards[i])],
            terminations=[True],
            truncations=[False],
        )
        for i in range(len(data))
    ]
    with _whole_or_nothing(target / chosen), _minari_folder(target):
        minari.create_dataset_from_buffers(
            chosen,
            buffer=episodes,
            env=env,
            algorithm_name=", ".join(sorted(set(data.agent.tolist()))),
            description=f"{env_id}: {len(data):,} designs; {'; '.join(data.sources)}",
            data_format="arrow",
        )
    env.close()
    return chosen


def _observe(data: Dataset, evaluator: Evaluator) -> tuple[Array, Array]:
    """Observations and rewards of an environment after each design: [N, D] and [N]."""
    outcome = Outcome(data.values.copy(), data.feasible.copy())
    rewards = evaluator.objective.judge(outcome, [m.name for m in data.metrics])
    evaluation = Evaluation(data.indices, outcome.values, outcome.feasible, rewards.valid, rewards.reward)
    return evaluator.observe(evaluation, 0.0), rewards.reward


@contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[None]:
    """Remove a new folder where writing it fails."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _minari_folder(target: Path) -> Iterator[None]:
    """Set the environment variable of Minari's folder, and silence warnings about facts that only the data
    set's owner can state.
    """
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(target)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "`(code_permalink|author|author_email|eval_env)` is set to None"
            )
            yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
