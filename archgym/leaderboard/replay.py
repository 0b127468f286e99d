"""Replays: a run of an entry repeated from the suite's task, the agent and its configuration.

    Specification(task of the suite, agent, budget, seed)  ->  all rows  ->  Replay (digests, improvements)

Replays are kept in `$ARCHGYM_HOME/leaderboard/replays-<version>.jsonl` by the hash of all that decides
their rows, and by nothing that an entry claims: an entry cannot put its own there. Interrupted verifications
resume.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points, packages_distributions, version
from pathlib import Path
from typing import Any

import pyarrow.parquet

from archgym._search import make_any_agent
from archgym.errors import ArchGymError, MissingDependency, reason_of
from archgym.files.paths import check_own_file, data_folder, make_folder, open_regular
from archgym.leaderboard.rows import Rows, from_table, parse_json
from archgym.leaderboard.suite import SuiteTask
from archgym.registry import list_agents
from archgym.study.design import identifier
from archgym.study.executors import make_executor, run_here, run_in_process
from archgym.study.worker import RunDied, RunFailed, RunHung, RunImpossible, RunRequest, RunTooLarge
from archgym.task import AgentSpecification, Specification
from archgym.values import reference, write
from archgym.version import __version__

_PLAIN = {"tuple"}  # kinds of written values that a stranger may give an agent


@dataclass(frozen=True)
class Replay:
    """What a replay left.

    Attributes:
        exact, designs: digests of its rows.
        improvements: sample and indices of each improvement, and of the last row.
        samples: number of samples.
    """

    exact: str
    designs: str
    improvements: list[list[Any]]
    samples: int

    @classmethod
    def of(cls, task: SuiteTask, rows: Rows) -> Replay:
        """The replay with these rows."""
        kept = rows.take(rows.improvements)
        pairs = zip(kept.sample.tolist(), kept.indices.tolist(), strict=True)
        return cls(*rows.digests(task), [list(pair) for pair in pairs], rows.samples)


@dataclass(frozen=True)
class Impossible:
    """Why a run cannot be replayed here."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """Why a replay of a run failed, where it should not."""

    reason: str


def package_of(agent: str) -> tuple[str | None, str | None]:
    """Package and version that bring an agent; None where not known."""
    point: EntryPoint | None = next(iter(entry_points(group="archgym.agents", name=agent)), None)
    if point is not None and point.dist is not None:
        return point.dist.name, point.dist.version
    with suppress(Exception):
        module = agent if ":" in agent else reference(type(make_any_agent(agent, {})))
        name = packages_distributions()[module.partition(":")[0].partition(".")[0]][0]
        return name, version(name)
    return None, None


def cannot_replay(agent: AgentSpecification) -> Impossible | Failed | None:
    """Why an agent's runs cannot be replayed here, or its configuration is refused; None where they can.

    Only agents that are registered here are replayed: a name "module:Class" would import whatever a stranger
    names. So are only configurations of plain values.
    """
    if agent.name not in list_agents():
        return Impossible(f"the agent {agent.name!r} is not installed")
    if not _is_plain(agent.hyperparameters):
        return Failed("a hyperparameter is no plain value")
    try:
        made = make_any_agent(agent.name, agent.configuration)
    except MissingDependency as error:
        return Impossible(str(error))
    except Exception as error:  # constructors may raise anything
        return Failed(f"its configuration is refused: {reason_of(error, 200)}")
    if type(made).version != agent.version:
        return Impossible(f"version {type(made).version} of {agent.name!r} is installed, not {agent.version}")
    if write(made.configuration) != agent.hyperparameters:
        return Failed("its configuration is incomplete, or in another form")
    return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return ("$" not in value or value["$"] in _PLAIN) and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list) else True


class Replays:
    """Replays that were made here, by what decides their rows.

    Args:
        folder: folder of the file.
        again: whether to forget those of before.
    """

    def __init__(self, folder: Path | None = None, again: bool = False):
        place = data_folder("leaderboard") if folder is None else folder
        self.path = make_folder(place) / f"replays-{__version__}.jsonl"
        check_own_file(self.path)
        if again:
            self.path.unlink(missing_ok=True)
        self._packages: dict[str, str] = {}
        self._known: dict[str, Replay] = {}
        with suppress(FileNotFoundError), open_regular(self.path) as file:
            for line in file:
                with suppress(ValueError, TypeError, KeyError):  # a line that was cut by kill -9
                    found = parse_json(line)
                    run = found.pop("run")
                    self._known[run] = Replay(**found)

    def key(self, run: Specification) -> str:
        """The hash of what decides a run's rows."""
        if run.agent.name not in self._packages:  # a search through all installed packages
            self._packages[run.agent.name] = " ".join(map(str, package_of(run.agent.name)))
        return f"{identifier(run.to_dict(), 'full')} {self._packages[run.agent.name]}"

    def __getitem__(self, key: str) -> Replay | None:
        return self._known.get(key)

    def add(self, key: str, replay: Replay) -> None:
        """Keep a replay."""
        self._known[key] = replay
        with open(self.path, "ab") as file:
            file.write((json.dumps({"run": key, **asdict(replay)}, separators=(",", ":")) + "\n").encode())


def replay(
    runs: Iterable[tuple[SuiteTask, Specification]],
    *,
    timeout_s: float,
    workers: int | None = None,
    executor: str = "local",
) -> Iterator[tuple[SuiteTask, Specification, Rows | Impossible | Failed]]:
    """Repeat runs in processes, in any order.

    Args:
        runs: task and specification of each.
        timeout_s: limit of a run, in seconds.
        workers: runs at once; None for the number of processors.
        executor: "local", or "inline" for this process.
    """
    if executor == "inline":
        for task, run in runs:
            yield task, run, _answer(task, lambda run=run: run_here(_request(run, timeout_s)))
        return
    pool, _ = make_executor(executor, workers)
    try:
        futures = {pool.submit(run_in_process, _request(run, timeout_s)): (task, run) for task, run in runs}
        for future in as_completed(futures):
            task, run = futures[future]
            yield task, run, _answer(task, future.result)
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _request(run: Specification, timeout_s: float) -> RunRequest:
    return RunRequest(run.to_dict(), "full", None, timeout_s)


def _answer(task: SuiteTask, result: Any) -> Rows | Impossible | Failed:
    try:
        content, summary = result()
    except RunImpossible as error:
        return Impossible(str(error))
    except (RunFailed, RunHung, RunTooLarge, RunDied) as error:
        return Failed(f"the replay failed: {reason_of(error, 200)}")
    if summary["status"] != "done":
        return Failed(f"the replay failed: {summary['reason']}")
    try:
        return from_table(task, pyarrow.parquet.read_table(io.BytesIO(content)))
    except ArchGymError as error:
        return Failed(str(error))
