"""A study's folder seen from outside its runner: counts, rates, best rewards and failures, at any time.

Nothing is written or locked, and nothing is asked from the operating system but lists, times and contents of
files, so that folders of other machines can be watched. A folder is listed again where its time has changed;
a file is read once, and again where its inode has changed, or, which is looked at every minute, its time or
size.

    rate        = runs stored in the window / its seconds; the window is the last five minutes, or since the
                  twentieth newest run, but not before the runner's start (time of study.toml)
    time left   = runs left / rate
    now         = this machine's clock + skew: the least change that puts the times of new files between the
                  two looks that they appeared between (another machine's clock may differ)
"""

from __future__ import annotations

import os
import re
import stat
import struct
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from archgym.errors import ArchGymError, reason_of
from archgym.evaluator import Evaluator
from archgym.optimum import Optimum, known_optimum
from archgym.study.design import Study
from archgym.study.store import Store, Stored, is_run_file, runs_in
from archgym.task import EnvSpecification
from archgym.words import one_line

WINDOW_S = 300.0
_LEAST_RUNS = 20  # that a rate is taken from, where there are so many
_LIST_AGAIN_S = 60.0  # file systems of several machines may show a folder's time late
_MAX_SKEW_S = 3600.0  # a larger one is of files that were copied with their times
_LEAST_S = 1.0  # of a window


@dataclass
class Group:
    """The runs of one agent on one task.

    Attributes:
        runs: runs of the study; None where its file cannot be read.
        done, failed: stored runs.
        seconds: sum of wall times of finished runs.
        best: best reward; None without a valid design, or where contexts have scales of their own.
    """

    runs: int | None = None
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    best: float | None = None

    @property
    def left(self) -> int | None:
        """Runs that are not stored; None where that is not known."""
        return None if self.runs is None else max(self.runs - self.done - self.failed, 0)


@dataclass
class Look:
    """A study at one time.

    Attributes:
        name: the study's name, or the folder's.
        groups: (task, agent) -> its runs.
        optima: task -> exact optimum, where it is known.
        reasons: reason of failure -> runs.
        damaged: damaged file -> reason.
        others: stored runs that are not of the study file.
        unread: files that are still to be read.
        runs_per_s, samples_per_s: rates of stored runs; 0 where none was stored lately.
        newest_s: seconds since the newest run was stored; None without one.
        runner: whether a runner holds the folder's lock; None where this system does not tell.
        note: parts that cannot be seen, with the reason; "" where all can.
    """

    name: str
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)
    optima: Mapping[str, Optimum] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    damaged: dict[Path, str] = field(default_factory=dict)
    others: int = 0
    unread: int = 0
    runs_per_s: float = 0.0
    samples_per_s: float = 0.0
    newest_s: float | None = None
    runner: bool | None = None
    note: str = ""

    @property
    def done(self) -> int:
        """Finished runs."""
        return sum(group.done for group in self.groups.values())

    @property
    def failed(self) -> int:
        """Failed runs."""
        return sum(group.failed for group in self.groups.values())

    @property
    def total(self) -> int | None:
        """Runs of the study; None where its file cannot be read."""
        runs = [group.runs for group in self.groups.values() if group.runs is not None]
        return sum(runs) if runs and len(runs) == len(self.groups) else None

    @property
    def left(self) -> int | None:
        """Runs that are not stored; None where that is not known."""
        return None if self.total is None else self.total - self.done - self.failed

    @property
    def left_s(self) -> float | None:
        """Seconds until the last run at the present rate; None where that is not known."""
        if self.left is None or self.runs_per_s <= 0:
            return None
        return max(self.left - self.unread, 0) / self.runs_per_s  # files have a run each, but compacted ones

    @property
    def finished(self) -> bool:
        """Whether every run is stored."""
        return self.left == 0 and not self.unread

    def best(self) -> dict[str, tuple[float, str]]:
        """Task -> best reward and its agent (the first, among equals)."""
        found: dict[str, tuple[float, str]] = {}
        for (task, agent), group in self.groups.items():
            if group.best is not None and group.best > found.get(task, (-float("inf"), ""))[0]:
                found[task] = group.best, agent
        return found


class _Entry(NamedTuple):
    """The parts of a stored run that are kept."""

    id: str
    place: tuple[str, str]  # names of its folders
    done: bool
    samples: int
    seconds: float
    best: float | None
    reason: str


class _File(NamedTuple):
    stamp: tuple[int, int, int]
    runs: tuple[_Entry, ...]
    damage: str


class StudyWatch:
    """Looks at the folder of a study, again and again, and reads what is new.

    Args:
        folder: folder of the study.
        clock: seconds since 1970.

    Raises:
        ArchGymError: the folder does not exist, or has no runs and no study file.
    """

    def __init__(self, folder: str | os.PathLike[str], clock: Callable[[], float] = time.time):
        self._store, self._clock = Store(folder), clock
        self._runs = self._store.folder / "runs"
        self._served = self._store.folder / "sessions.sqlite"  # of `archgym serve`: sessions become runs
        if not any(path.exists() for path in (self._runs, self._store.study_file, self._served)):
            raise ArchGymError(f"{folder} is not the folder of a study: it has no study.toml and no runs")
        self._study_stamp: tuple[int, int, int] | None = None
        self._study: Study | None = None
        self._members: dict[str, tuple[str, str, bool]] = {}  # run -> task, agent, whether in a context
        self._note = ""
        self._files: dict[str, _File] = {}
        self._listed: dict[str, tuple[int, float, dict[str, tuple[int, int, int]]]] = {}
        self._stored_at: dict[str, float] = {}  # run -> time of its own file
        self._environments: dict[str, Any] = {}
        self._optima: dict[str, Optimum | None] = {}
        self._looked: float | None = None
        self._skew = (-float("inf"), float("inf"))

    def look(self, limit_s: float = float("inf")) -> Look:
        """The study now.

        Args:
            limit_s: seconds for reading new files; those that are left are read at the next look.
        """
        now = self._clock()
        self._read_study()
        note = self._note
        try:
            listed = dict(self._list(self._runs, now))
        except FileNotFoundError as error:
            listed = {path: file.stamp for path, file in self._files.items()}
            if listed or not self._store.folder.exists():
                note = f"the folder cannot be read now: {error.strerror}"
        except OSError as error:  # unmounted, moved, or not to be entered
            listed, note = (
                {path: file.stamp for path, file in self._files.items()},
                (f"the folder cannot be read now: {error.strerror or error}"),
            )
        new = [
            path
            for path, stamp in listed.items()
            if path not in self._files or self._files[path].stamp != stamp
        ]
        self._bound_skew(now, [listed[path] for path in new], listed.values())
        unread = self._read(new, listed, limit_s)
        if not unread:  # else runs that `compact` has moved would be missing for a moment
            for path in self._files.keys() - listed.keys():
                del self._files[path]
        self._looked = now
        return self._summary(now, unread, note)

    def find_optimum(self) -> bool:
        """Look up the optimum of one more task, where it costs no search: whether a task was left."""
        task = next((task for task in self._environments if task not in self._optima), None)
        if task is None:
            return False
        self._optima[task] = None
        with suppress(Exception), warnings.catch_warnings():  # a simulator that is not installed here
            warnings.simplefilter("ignore")
            environment = EnvSpecification.from_dict(self._environments[task])
            with closing(Evaluator.from_specification(environment)) as evaluator:
                if getattr(evaluator, "contexts", None) is None:
                    self._optima[task] = known_optimum(evaluator.simulator, evaluator.objective)
        return True

    def _read_study(self) -> None:
        """Read the study file where it has changed."""
        try:
            stamp = _stamp(os.stat(self._store.study_file))
        except OSError:
            missing = "it has no study.toml: missing runs are not counted"
            served = "finished sessions of archgym serve" if self._served.exists() else missing
            self._note = "" if self._study else served
            return
        if stamp == self._study_stamp:
            return
        self._study_stamp = stamp
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                study = Study.read(self._store.study_file)
                members = {run.id: (run.task, run.agent, run.context is not None) for run in study.runs()}
        except Exception as error:  # a plug-in that is missing here; or it is replaced at this moment
            self._note = f"missing runs are not counted: {reason_of(error, 300)}"
            return
        self._study, self._members, self._note = study, members, ""
        self._environments = {} if study.generalise else dict(study.tasks)
        self._optima = {task: found for task, found in self._optima.items() if task in self._environments}

    def _list(self, folder: Path, now: float) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """Every file of runs below a folder, with its stamp; no link is followed."""
        changed = os.stat(folder).st_mtime_ns
        time_then, since, found = self._listed.get(str(folder), (-1, -float("inf"), {}))
        fresh = now - since >= _LIST_AGAIN_S
        if fresh or time_then != changed:
            known, found = {} if fresh else found, {}
            since = now if fresh else since
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.path in known and known[entry.path][2] == entry.inode():
                        found[entry.path] = known[entry.path]
                        continue
                    with suppress(FileNotFoundError):
                        info = entry.stat(follow_symlinks=False)
                        if stat.S_ISDIR(info.st_mode):
                            found[entry.path] = (-1, -1, info.st_ino)
                        elif is_run_file(entry.name) and stat.S_ISREG(info.st_mode):
                            found[entry.path] = _stamp(info)
            # a file that is written in the same tick of the folder's clock would not change its time
            settled = now - changed / 1e9 > _LEAST_S * 2
            self._listed[str(folder)] = (changed if settled else -1, since, found)
        for path, stamp in found.items():
            if stamp[0] >= 0:
                yield path, stamp
            else:
                with suppress(FileNotFoundError):
                    yield from self._list(Path(path), now)

    def _read(self, new: list[str], listed: Mapping[str, tuple[int, int, int]], limit_s: float) -> int:
        """Read files, the newest first, and return the number of those that are left."""
        end = time.monotonic() + limit_s
        new.sort(key=lambda path: listed[path], reverse=True)
        for n, path in enumerate(new):
            if n and time.monotonic() > end:
                return len(new) - n
            try:
                runs = runs_in(Path(path))
            except FileNotFoundError:
                continue
            except (ArchGymError, ValueError, OSError) as error:
                self._files[path] = _File(listed[path], (), reason_of(error, 200))
                continue
            self._files[path] = _File(listed[path], tuple(self._entry(path, run) for run in runs), "")
            if len(runs) == 1:
                self._stored_at[runs[0].id] = listed[path][0] / 1e9
        return 0

    def _entry(self, path: str, run: Stored) -> _Entry:
        task, agent = Path(path).parts[-3:-1]
        result = run.result
        if self._study is None:
            self._environments.setdefault(task, run.specification["env"])
        best = result.get("best_reward") if run.done else None
        reason = "" if run.done else one_line(str(result.get("reason")), 300)
        return _Entry(run.id, (task, agent), run.done, result["samples"], result["seconds"], best, reason)

    def _bound_skew(self, now: float, new: list[tuple[int, int, int]], known: Any) -> None:
        """Learn how far the clock of the folder's machine is ahead of this one."""
        low, high = self._skew
        times = [stamp[0] / 1e9 - now for stamp in (new if self._looked is not None else known)]
        if times:
            low = max(low, max(times))
        if self._looked is not None and times:
            high = min(high, min(times) + now - self._looked)
        self._skew = low, high

    def _now(self, now: float) -> float:
        """This machine's time as the folder's machine has it."""
        low, high = self._skew
        skew = low if low > 0 else high if high < 0 else 0.0
        return now + skew if abs(skew) <= _MAX_SKEW_S else now

    def _summary(self, now: float, unread: int, note: str) -> Look:
        found = Look(self._study.name if self._study else self._store.folder.name, unread=unread, note=note)
        for task, agent, _ in self._members.values():
            group = found.groups.setdefault((task, agent), Group(0))
            group.runs = (group.runs or 0) + 1
        runs: dict[str, _Entry] = {}
        for path, file in self._files.items():
            if file.damage:
                found.damaged[Path(path)] = file.damage
            for run in file.runs:
                if run.id not in runs or not runs[run.id].done:
                    runs[run.id] = run
        for run in runs.values():
            member = self._members.get(run.id)
            if member is None and self._members:
                found.others += 1
                continue
            task, agent, in_context = member or (*run.place, False)
            group = found.groups.setdefault((task, agent), Group())
            if not run.done:
                group.failed += 1
                found.reasons[run.reason] += 1
                continue
            group.done += 1
            group.seconds += run.seconds
            if run.best is not None and not in_context and (group.best is None or run.best > group.best):
                group.best = run.best
        found.optima = {task: optimum for task, optimum in self._optima.items() if optimum is not None}
        found.runner = is_locked(self._store.folder / ".lock")
        self._add_rates(found, runs, self._now(now))
        return found

    def _add_rates(self, found: Look, runs: Mapping[str, _Entry], now: float) -> None:
        times = sorted(
            (self._stored_at[run.id], run.samples) for run in runs.values() if run.id in self._stored_at
        )
        if not times:
            return
        started = self._study_stamp[0] / 1e9 if self._study_stamp else -float("inf")
        since = min(now - WINDOW_S, times[-min(_LEAST_RUNS, len(times))][0])
        if times[-1][0] < now - WINDOW_S and found.runner is not True:
            since = now - WINDOW_S  # nothing is at work
        since = max(since, started if started <= now else -float("inf"))
        recent = [samples for when, samples in times if when >= since]
        span = max(now - since, _LEAST_S)
        found.runs_per_s, found.samples_per_s = len(recent) / span, sum(recent) / span
        found.newest_s = max(now - times[-1][0], 0.0)


def _stamp(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_mtime_ns, info.st_size, info.st_ino


def is_locked(path: Path) -> bool | None:
    """Whether a process holds a lock on a file, found without locking it: by Linux' list of locks, or, on
    NFS, by asking for the lock that would be in the way. None where this system does not tell.
    """
    try:
        inode = os.stat(path).st_ino
    except OSError:
        return False
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            if any(re.search(rf" WRITE .*:{inode} ", line) for line in locks):
                return True
    except OSError:
        return None
    with suppress(OSError, ImportError, struct.error):
        import fcntl

        # struct flock of 64-bit Linux: type, whence, start, length, process
        request = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        with open(path, "rb") as file:
            answer = fcntl.fcntl(file, fcntl.F_GETLK, request)
        return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)
    return False
