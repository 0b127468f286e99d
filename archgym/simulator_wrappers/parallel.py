"""Worker processes: batches in parallel, and simulators that hang, crash or eat memory without taking the search along.

Rows go to idle workers a few at a time, and come back in the order asked. What a row's result is depends neither on the worker
nor on their number: the division of a batch into messages depends on the batch alone, and noise is drawn from one seed per row.

    row raises                      -> that row fails, with the exception as reason
    row runs longer than timeout_s  -> its worker is killed, that row fails (rows given together may take timeout_s each, together;
                                       if they take longer they are tried again one by one)
    worker dies                     -> the rows it held are tried again one by one, in new workers; a row that keeps killing fails
    worker is killed as it starts   -> another is started; one that does not start by itself ends the search

What a row or a worker leaves running ends with the worker (`archgym.processes.children`).
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.spawn
import os
import pickle
import signal
import sys
import time
import weakref
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from archgym.errors import ArchGymError, SimulatorUnavailable, reason_of
from archgym.processes.children import Ending, Line, Server, answer, exit_out_of_memory, wait
from archgym.processes.memory import limit_memory
from archgym.simulator import Outcome, Simulator, evaluate_safely
from archgym.simulator_wrappers.base import SimulatorWrapper
from archgym.space import Array, Indices
from archgym.text import one_line

MESSAGES_PER_BATCH = 64  # where neither time-outs nor noise ask for rows one by one: enough to keep every worker busy
STARTS = 100  # workers in a row that are killed as they start, after which no other is tried
WAIT_S = 3600.0  # at a time: the system's own limit is some weeks
GRACE_S = 1.0  # for a worker to close its simulator


class Parallel(SimulatorWrapper):
    """A batch over worker processes, started at the first batch and kept until `close`, garbage collection or exit.

    Workers are fresh Python processes, so the simulator must be importable from its module, and a script that is run directly needs
    `if __name__ == "__main__":` around its own work. They end with the process that started them, whatever ends it, and so does what they
    start themselves, daemons included. A process of a `multiprocessing.Pool` may start them too.

    Args:
        simulator: what each worker holds a copy of.
        workers: processes.
        timeout_s: seconds that one design may take, start of a worker excluded; None for no limit.
        memory_bytes: address space that a worker may take on top of what it holds once the simulator is loaded; None for no limit.
        retries: how often a design is tried again after its worker died.
        rows_at_once: designs that a worker is given, and may take its time for, together; by default one where there is a time-out,
            else enough to keep every worker busy.

    Raises:
        ArchGymError: a number out of range, a simulator that cannot be pickled.
    """

    identity = "archgym.workers:Parallel"

    transparent = True

    def __init__(
        self,
        simulator: Simulator,
        workers: int = 2,
        timeout_s: float | None = None,
        memory_bytes: int | None = None,
        retries: int = 1,
        rows_at_once: int | None = None,
    ):
        super().__init__(simulator)
        if rows_at_once is not None and rows_at_once < 1:
            raise ArchGymError(f"rows_at_once must be 1 or more, not {rows_at_once}")
        if workers < 1 or retries < 0 or (timeout_s is not None and not timeout_s > 0):
            raise ArchGymError("Parallel needs workers >= 1, retries >= 0 and timeout_s > 0")
        if memory_bytes is not None and not 0 <= memory_bytes <= sys.maxsize:
            raise ArchGymError(
                f"memory_bytes must be a number of bytes from 0 to {sys.maxsize:,}, or None for no limit; not {memory_bytes!r}"
            )
        self.workers, self.timeout_s, self.memory_bytes, self.retries = workers, timeout_s, memory_bytes, retries
        self.rows_at_once = rows_at_once
        try:
            pickle.dumps(simulator)
        except Exception as error:
            raise ArchGymError(
                f"{type(simulator).__name__} cannot be sent to a worker process ({error}); define it, and what it holds, at module level"
            ) from error
        self._reset()

    def _reset(self) -> None:
        self._workers: list[_Worker] = []
        weakref.finalize(self, _stop, self._workers)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_workers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Simulate in the workers: int64 [B, P] in, columns [B] out, with `failure` if any row failed.

        If this is interrupted (Ctrl-C), the workers are killed; the next batch starts new ones.

        Raises:
            ArchGymError: workers cannot start; no `rng` for a stochastic simulator.
        """
        size = len(indices)
        if self.stochastic and rng is None:
            raise ArchGymError("a stochastic simulator needs a generator: evaluate(designs, rng=np.random.default_rng(seed))")
        seeds = rng.integers(2**63, size=size).tolist() if self.stochastic and rng is not None else None
        batch = Outcome(np.full((size, len(self.metrics)), np.nan), np.zeros(size, bool), np.zeros(size, bool))
        length = 1 if seeds else self.rows_at_once or (1 if self.timeout_s is not None else max(1, size // MESSAGES_PER_BATCH))
        tasks = deque(_Task(range(start, min(start + length, size))) for start in range(0, size, length))
        try:
            self._run(tasks, indices, seeds, batch)
        except BaseException:
            _stop(self._workers)
            raise
        columns: dict[str, Array] = {metric.name: batch.values[:, j] for j, metric in enumerate(self.metrics)}
        columns |= {"feasible": batch.feasible, "cached": np.zeros(size, bool) if batch.cached is None else batch.cached}
        if batch.failures:
            columns["failure"] = np.array([batch.failures.get(row, "") for row in range(size)], object)
        return columns

    def close(self) -> None:
        """End the workers, and close the wrapped simulator."""
        _stop(self._workers)
        super().close()

    def _run(self, tasks: deque[_Task], indices: Indices, seeds: list[int] | None, batch: Outcome) -> None:
        """Work the tasks off, writing results into `batch`."""
        mine = [worker for worker in self._workers if worker.process.owner == os.getpid()]  # a fork has none of its own
        self._workers[:] = [worker for worker in mine if not worker.process.ended]
        starts = STARTS
        while True:
            for worker in self._workers:
                if tasks and worker.ready and worker.task is None:
                    task = tasks.popleft()
                    rows = indices[task.rows.start : task.rows.stop]
                    worker.start(task, rows, seeds[task.rows.start] if seeds else None, self.timeout_s)
            busy = [worker for worker in self._workers if worker.task is not None]
            if not tasks and not busy:
                return
            for _ in range(min(self.workers, len(tasks) + len(busy)) - len(self._workers)):
                self._workers.append(_Worker(self.simulator, self.memory_bytes))
            heard = [worker for worker in self._workers if worker.task is not None or not worker.ready]
            for worker in _wait(heard, min((worker.deadline for worker in busy), default=np.inf)):
                starts = STARTS if self._hear(worker, tasks, batch) else starts - 1
                if not starts:
                    raise SimulatorUnavailable(f"{STARTS} worker processes in a row were killed as they started: is there enough memory?")
            now = time.monotonic()
            for worker in [w for w in self._workers if w.task is not None and w.deadline <= now]:
                assert worker.task is not None
                if len(worker.task.rows) > 1:
                    tasks.extend(worker.task.one_by_one())
                else:
                    batch.failures[worker.task.rows.start] = f"timed out after {self.timeout_s:g} s"
                self._discard(worker, grace_s=0.0)

    def _hear(self, worker: _Worker, tasks: deque[_Task], batch: Outcome) -> bool:
        """Take what a worker says (that it started, could not start, or results) or its end; False if it was killed as it started."""
        if not worker.process.ready(0.0):  # a part of a message
            return True
        try:
            message = worker.process.receive()
        except EOFError:
            message = None
        task = worker.task
        if message is None:
            ending = self._discard(worker)
            if task is None:
                if ending.killed:
                    return False
                raise SimulatorUnavailable(
                    f"a worker process did not start: the worker process {ending}; a script that is run needs `if __name__ == '__main__':`"
                )
            if len(task.rows) > 1:
                tasks.extend(task.one_by_one())
            elif task.deaths < self.retries:
                tasks.append(_Task(task.rows, task.deaths + 1))
            else:
                batch.failures[task.rows.start] = f"the worker process {ending}"
        elif isinstance(message, SimulatorUnavailable):
            self._discard(worker)
            raise message
        elif task is None:
            worker.ready = True
        else:
            rows = slice(task.rows.start, task.rows.stop)
            batch.values[rows], batch.feasible[rows] = message.values, message.feasible
            if batch.cached is not None and message.cached is not None:
                batch.cached[rows] = message.cached
            batch.failures.update({task.rows[row]: reason for row, reason in message.failures.items()})
            worker.task = None
        return True

    def _discard(self, worker: _Worker, grace_s: float = GRACE_S) -> Ending:
        self._workers.remove(worker)
        return worker.process.end(grace_s)


class Isolated(Parallel):
    """One worker process: the simulator may hang, crash or run out of memory, and only the design it was at fails.

    Args:
        simulator: what the worker holds.
        timeout_s: seconds that one design may take; None for no limit.
        memory_bytes: address space that the worker may take on top of what it holds once the simulator is loaded.
        rows_at_once: as of `Parallel`.
    """

    identity = "archgym.workers:Isolated"

    def __init__(
        self,
        simulator: Simulator,
        timeout_s: float | None = None,
        memory_bytes: int | None = None,
        rows_at_once: int | None = None,
    ):
        super().__init__(simulator, workers=1, timeout_s=timeout_s, memory_bytes=memory_bytes, rows_at_once=rows_at_once)


class _Task(NamedTuple):
    """Rows of the batch for one message, and how many workers died of them."""

    rows: range
    deaths: int = 0

    def one_by_one(self) -> list[_Task]:
        return [_Task(range(row, row + 1)) for row in self.rows]


class _Worker:
    """A worker process and what it is doing."""

    def __init__(self, simulator: Simulator, memory_bytes: int | None):
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise SystemExit("this script is being imported by a worker process: put its own work under `if __name__ == '__main__':`")
        preparation = _preparation()
        try:
            self.process = Server(f"{__name__}:spawn_main")
        except OSError as error:  # too many processes, too many open files
            raise SimulatorUnavailable(
                f"cannot start a worker process: {error.strerror}; raise the limit, or take fewer workers"
            ) from error
        self.process.send((preparation, pickle.dumps(simulator), memory_bytes))
        self.ready = False
        self.task: _Task | None = None
        self.deadline = np.inf

    def start(self, task: _Task, rows: Indices, seed: int | None, timeout_s: float | None) -> None:
        self.task = task
        self.deadline = np.inf if timeout_s is None else time.monotonic() + timeout_s * len(rows)
        self.process.send((rows, seed))


def _wait(workers: list[_Worker], deadline: float) -> list[_Worker]:
    """Workers that said something, or ended, before a deadline."""
    ends = {end: worker for worker in workers for end in (worker.process.connection, worker.process)}
    return list(dict.fromkeys(ends[end] for end in wait(ends, max(0.0, min(deadline - time.monotonic(), WAIT_S)))))


def _stop(workers: list[_Worker]) -> None:
    """End all workers of this process: at once those at work, the others once they have closed their simulators."""
    mine = [worker for worker in workers if worker.process.owner == os.getpid()]
    workers.clear()
    for worker in mine:
        worker.process.connection.close()
    for worker in mine:
        worker.process.end(GRACE_S if worker.ready and worker.task is None else 0.0)


def _preparation() -> dict[str, Any]:
    """What a worker must be told to find what is defined in the script that is run."""
    try:
        data = multiprocessing.spawn.get_preparation_data("archgym worker")
    except FileNotFoundError:
        raise SimulatorUnavailable("cannot start a worker process: the working folder is gone; change to one that is there") from None
    data["authkey"] = bytes(data["authkey"])
    if not os.path.exists(data.get("init_main_from_path") or os.devnull):  # a script from standard input
        del data["init_main_from_path"]
    return data


class _Contained(SimulatorWrapper):
    """Ends the process where the simulator runs out of memory, since what was half allocated goes with it, and nowhere else."""

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        try:
            return self.simulator.evaluate_indices(indices, rng)
        except MemoryError:
            exit_out_of_memory()
        except Exception:
            raise
        except BaseException as error:  # KeyboardInterrupt and SystemExit are a design's failure, too
            raise ArchGymError(reason_of(error)) from None


def spawn_main(line: Line) -> None:
    """A worker's life: load the simulator, say so, answer rows until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    preparation, pickled, memory_bytes = line.receive()
    try:
        simulator = _Contained(_load(preparation, pickled))
    except Exception as error:
        line.send(
            SimulatorUnavailable(
                f"a worker process could not load the simulator: {reason_of(error)}; define it in a module or script that can be "
                "imported, which a notebook and a script from standard input cannot"
            )
        )
        return
    if memory_bytes is not None:
        limit_memory(memory_bytes)
    line.send(True)

    def reply(question: tuple[Indices, int | None]) -> Outcome | SimulatorUnavailable:
        rows, seed = question
        try:
            outcome = evaluate_safely(simulator, rows, None if seed is None else np.random.default_rng(seed))
        except SimulatorUnavailable as error:
            return SimulatorUnavailable(reason_of(error))
        outcome.failures = {row: one_line(reason) for row, reason in outcome.failures.items()}
        return outcome

    answer(line, reply)
    simulator.close()


def _load(preparation: dict[str, Any], pickled: bytes) -> Simulator:
    """The simulator; a script that is imported for it may not start workers."""
    process = multiprocessing.current_process()
    process._inheriting = True  # type: ignore[attr-defined]
    try:
        multiprocessing.spawn.prepare(preparation)
        return pickle.loads(pickled)
    finally:
        del process._inheriting  # type: ignore[attr-defined]
