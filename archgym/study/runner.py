"""Running a study: every run that is not stored yet, each in a separate process, each stored as soon as it is
finished.

    left = runs of the file - runs in the folder
    submit -> a worker executes -> its file is written here -> the next   (a few more runs than workers are
                                                                          under way)

    a run raises                        -> stored as failed, with the reason and what was simulated before
    its process crashes or is killed    -> tried again, up to `retries` times, then stored as failed
    it hangs, or takes too much memory  -> killed, tried again once, then stored as failed
    it takes no sample, or too many     -> stored as failed; runs that end before their budget is spent are
                                        counted
    Ctrl-C, SIGTERM, a full disk        -> the runs under way are abandoned, finished ones are stored; the
                                        same command resumes
    its folder is removed or moved      -> an error: nothing is stored outside the study's folder

Runs are submitted in the order of their identifiers, which is random: after a tenth of the time about a tenth
of every agent's runs is stored.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from archgym.deprecated.names import old_names
from archgym.errors import ArchGymError, reason_of
from archgym.study.design import Run, Study
from archgym.study.executors import Inline, make_executor, run_here, run_in_process
from archgym.study.run import failure
from archgym.study.store import Store
from archgym.study.worker import RunDied, RunFailed, RunHung, RunImpossible, RunRequest, RunTooLarge, Stopped
from archgym.task import Specification
from archgym.version import __version__
from archgym.words import REASON

__getattr__ = old_names(__name__, Progress="StudyProgress")
_AGAIN = "run the same command again"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHARE_OF_MEMORY = 0.8  # of the machine's memory, for all runs at once, unless the study sets a limit


@dataclass
class StudyProgress:
    """Progress of a study, updated in place while it runs.

    Attributes:
        total: runs of the study.
        stored: runs that were stored before.
        done: runs finished since.
        failed: failed runs, stored before or since.
        samples: samples simulated since.
        started: `time.monotonic()` at the start.
        retried: runs that were tried again.
        best: task -> (best reward, agent).
        valid, clipped: (task, agent) -> valid samples, and those among them whose reward is cut.
        reasons: reason of failure -> runs.
        early: (task, agent) -> runs that ended before their budget was spent.
        notes: remarks on the study, one sentence each.
    """

    total: int = 0
    stored: int = 0
    done: int = 0
    failed: int = 0
    samples: int = 0
    started: float = field(default_factory=monotonic)
    retried: int = 0
    best: dict[str, tuple[float, str]] = field(default_factory=dict)
    valid: Counter[tuple[str, str]] = field(default_factory=Counter)
    clipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    early: Counter[tuple[str, str]] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Runs still to do."""
        return self.total - self.stored - self.done

    def add(self, run: Run, result: Mapping[str, Any]) -> None:
        """Count a run's result."""
        task, agent = run.task, run.agent
        if result["status"] != "done":
            self.failed += 1
            self.reasons[str(result["reason"])] += 1
            return
        if _is_early(run, result):
            self.early[task, agent] += 1
        if "clipped" in result:  # written by a version that counts them
            self.valid[task, agent] += result["valid"]
            self.clipped[task, agent] += result["clipped"]
        reward = None if run.context else result.get("best_reward")  # contexts have scales of their own
        if reward is not None and reward > self.best.get(task, (-float("inf"), ""))[0]:
            self.best[task] = reward, agent


def run_study(
    study: Study,
    store: Store,
    *,
    workers: int | None = None,
    executor: str = "local",
    retry_failed: bool = False,
    watch: Callable[[StudyProgress], Any] | None = None,
    log: Sequence[str] = (),
) -> StudyProgress:
    """Run what is left of a study.

    Args:
        study: the study.
        store: folder of its runs.
        workers: number of runs at once on this machine; default: the number of processors.
        executor: name of an executor (`archgym.study.executors`).
        retry_failed: whether to run failed runs again.
        watch: function called once, before the first run, with the progress, which then changes in place.
        log: loggers of every run by name (`archgym.callbacks.named`); one that cannot start ends the study.

    Raises:
        ArchGymError: another runner is at work in the folder; the folder cannot be written, or is removed or
            moved; the executor cannot be reached.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after all finished runs are stored.
    """
    runs = {run.id: run for run in study.runs()}
    with store.locked(), interruptible():
        progress, left, files = _look(study, store, runs, retry_failed)
        store.remember(study.text)
        if watch is not None:
            watch(progress)
        if not left:
            return progress
        pool, width = make_executor(executor, min(workers, len(left)) if workers else None)
        try:
            _Runner(study, store, progress, files, pool, width, log).run(left)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        pool.shutdown(wait=True)
    return progress


def _look(
    study: Study, store: Store, runs: dict[str, Run], retry_failed: bool
) -> tuple[StudyProgress, list[Run], set[str]]:
    """The progress so far, the runs that are left, in random order, and the names of the files."""
    before = len(store.damaged())
    stored = store.read(set_aside=True)
    progress = StudyProgress(total=len(runs))
    left = []
    versions: Counter[str] = Counter()
    for id_, run in sorted(runs.items()):
        found = stored.get(id_)
        if found is None or (retry_failed and not found.done):
            left.append(run)
        else:
            progress.stored += 1
            versions[Specification.from_dict(found.specification).version or "an unknown version"] += 1
            progress.add(run, found.result)
    if damaged := len(store.damaged()) - before:
        progress.notes.append(
            f"{damaged:,} files could not be read and are now in {store.folder / 'damaged'}; their runs are "
            "run again"
        )
    if others := len(stored.keys() - runs.keys()):
        progress.notes.append(
            f"{others:,} stored runs are of another version of the study file; they are kept, and not part "
            "of this study"
        )
    del versions[__version__]
    if versions:
        which = ", ".join(f"{count:,} of {version}" for version, count in sorted(versions.items()))
        progress.notes.append(
            f"stored runs are of another version of archgym ({which}; this is {__version__}); another --out "
            "runs them again"
        )
    return progress, left, {found.path.name for found in stored.values()}


class _Runner:
    """The loop of one study."""

    def __init__(
        self,
        study: Study,
        store: Store,
        progress: StudyProgress,
        files: set[str],
        pool: Executor,
        width: int,
        log: Sequence[str],
    ):
        self.log = tuple(log)
        self.study, self.store, self.progress, self.pool = study, store, progress, pool
        self.folder = _identity(store.folder)
        self.files = set(files)
        self.under_way: dict[Future[Any], tuple[Run, int]] = {}
        # so that neither a worker nor a finished run waits
        self.window = 1 if isinstance(pool, Inline) else width + max(2, width // 2)
        self.memory_bytes = (
            int(study.memory_gb * 1e9) if study.memory_gb is not None else _share_of_memory(width)
        )

    def run(self, left: list[Run]) -> None:
        waiting = deque((run, 0) for run in left)
        while waiting or self.under_way:
            while waiting and len(self.under_way) < self.window:
                self._submit(*waiting.popleft())
            finished, _ = wait(self.under_way, return_when=FIRST_COMPLETED)
            for future in finished:
                run, deaths = self.under_way.pop(future)
                again = self._finish(run, deaths, future)
                if again:
                    self.progress.retried += 1
                    waiting.append((run, deaths + 1))
        self._check_folder()
        if gone := len(self.files - {path.name for path in (self.store.folder / "runs").rglob("*.parquet")}):
            raise ArchGymError(
                f"{gone:,} files were removed from {self.store.folder} while the study ran: {_AGAIN}"
            )

    def _submit(self, run: Run, deaths: int) -> None:
        study = self.study
        cache = self.store.cache_file(run.task) if study.cache else None
        job = RunRequest(
            run.specification, study.history, cache, study.timeout_s, self.memory_bytes, self.log
        )
        try:
            future = self.pool.submit(run_here if isinstance(self.pool, Inline) else run_in_process, job)
        except (BrokenExecutor, RuntimeError) as error:
            raise _executor_is_gone(error) from error
        self.under_way[future] = run, deaths

    def _finish(self, run: Run, deaths: int, future: Future[Any]) -> bool:
        """Store a finished run; True if it must be tried again instead."""
        try:
            content, result = future.result()
        except (RunFailed, RunHung, RunTooLarge) as error:
            if not isinstance(error, RunFailed) and deaths < min(self.study.retries, 1):
                return True
            content, result = failure(run.specification, str(error))
        except RunDied as error:
            if deaths < self.study.retries:
                return True
            content, result = failure(run.specification, f"{error}, {deaths + 1} times")
        except (RunImpossible, Stopped):
            raise
        except (CancelledError, BrokenExecutor, OSError) as error:
            raise _executor_is_gone(error) from error
        except Exception as error:
            # Dask's, after several deaths of its worker
            if type(error).__name__ == "KilledWorker" and deaths < self.study.retries:
                return True
            if isinstance(error, ArchGymError):  # no process can be started
                raise
            content, result = failure(run.specification, reason_of(error, REASON))
        self._check_folder()
        self.store.write(run, content)
        self.files.add(f"{run.id}.parquet")
        self.progress.done += 1
        self.progress.samples += result["samples"]
        self.progress.add(run, result)
        return False

    def _check_folder(self) -> None:
        if _identity(self.store.folder) != self.folder:
            raise ArchGymError(
                f"{self.store.folder} was removed or moved while the study ran: {_AGAIN}, or with the "
                "folder's new place as --out"
            )


def _is_early(run: Run, result: Mapping[str, Any]) -> bool:
    """Whether a run ended before its budget was spent."""
    budget = Specification.from_dict(run.specification).budget
    return bool(result["stopped_early"] if budget is None else result["samples"] < budget)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode of a folder, which stay when it is moved; None where it does not exist."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _executor_is_gone(error: BaseException) -> ArchGymError:
    text = str(error) or type(error).__name__
    return ArchGymError(
        f"the connection to the executor is lost ({text}); finished runs are stored: {_AGAIN}"
    )


def _share_of_memory(width: int) -> int:
    return int(_SHARE_OF_MEMORY * psutil.virtual_memory().total / width)


@contextmanager
def interruptible(*, last: bool = False) -> Iterator[None]:
    """SIGTERM, which batch systems send before SIGKILL, ends a study as Ctrl-C does; later signals are
    ignored.

    Args:
        last: whether the program ends after an interruption, so that signals stay ignored.
    """
    taken = [
        number for number in _SIGNALS if signal.getsignal(number) not in (_interrupt, signal.SIG_IGN, None)
    ]
    if threading.current_thread() is not threading.main_thread() or not taken:
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in taken}
    try:
        yield
    finally:
        interrupted = signal.getsignal(taken[0]) is signal.SIG_IGN
        for number, handler in before.items() if not (last and interrupted) else ():
            signal.signal(number, handler)


def _interrupt(number: int, frame: Any) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt
