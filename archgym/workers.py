"""Worker processes: batches in parallel, and simulators that hang, crash or eat memory without taking the search along.

Rows go to idle workers a few at a time, and come back in the order asked. What a row's result is depends neither on the worker
nor on their number: the division of a batch into messages depends on the batch alone, and noise is drawn from one seed per row.

    row raises                      -> that row fails, with the exception as reason
    row runs longer than timeout_s  -> its worker is killed, that row fails (rows given together may take timeout_s each, together;
                                       if they take longer they are tried again one by one)
    worker dies                     -> the rows it held are tried again one by one, in new workers; a row that keeps killing fails
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.simulator import Outcome, Simulator, evaluate_safely
from archgym.simulator_wrappers import SimulatorWrapper
from archgym.space import Array, Indices

if TYPE_CHECKING:
    import subprocess
    from multiprocessing.connection import Connection

MESSAGES_PER_BATCH = 64  # where neither time-outs nor noise ask for rows one by one: enough to keep every worker busy


class Parallel(SimulatorWrapper):
    """A batch over worker processes, started at the first batch and kept until `close`, garbage collection or exit.

    Workers are spawned, so the simulator must be importable from its module, and a script that is run directly needs
    `if __name__ == "__main__":` around its own work. They die with the process that started them, whatever ends it.

    Args:
        simulator: what each worker holds a copy of.
        workers: processes.
        timeout_s: seconds that one design may take, start of a worker excluded; None for no limit.
        memory_bytes: address space that a worker may take on top of what it holds once the simulator is loaded; None for no limit.
        retries: how often a design is tried again after its worker died.
        rows_at_once: designs that a worker is given, and may take its time for, together; by default one where there is a time-out,
            else enough to keep every worker busy.

    Raises:
        ArchGymError: a number out of range, a simulator that cannot be pickled, a memory limit on a system without them.
    """

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
        if workers < 1 or retries < 0 or (timeout_s is not None and not timeout_s > 0) or (memory_bytes is not None and memory_bytes < 0):
            raise ArchGymError("Parallel needs workers >= 1, retries >= 0, timeout_s > 0 and memory_bytes >= 0")
        if memory_bytes is not None and os.name != "posix":
            raise ArchGymError("memory_bytes needs a POSIX system; leave it None here")
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
            columns["failure"] = np.array([batch.failures.get(row, "") for row in range(size)])
        return columns

    def close(self) -> None:
        """End the workers, and close the wrapped simulator."""
        _stop(self._workers)
        super().close()

    def _run(self, tasks: deque[_Task], indices: Indices, seeds: list[int] | None, batch: Outcome) -> None:
        """Work the tasks off, writing results into `batch`."""
        from multiprocessing.connection import wait

        self._workers[:] = [worker for worker in self._workers if worker.owner == os.getpid()]  # a fork has none of its own
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
            listening = {worker.connection: worker for worker in self._workers if worker.task is not None or not worker.ready}
            deadline = min((worker.deadline for worker in busy), default=np.inf)
            for connection in wait(list(listening), None if deadline == np.inf else max(0.0, deadline - time.monotonic())):
                self._hear(listening[connection], tasks, batch)  # type: ignore[index]
            now = time.monotonic()
            for worker in [w for w in self._workers if w.task is not None and w.deadline <= now]:
                assert worker.task is not None
                if len(worker.task.rows) > 1:
                    tasks.extend(worker.task.one_by_one())
                else:
                    batch.failures[worker.task.rows.start] = f"timed out after {self.timeout_s:g} s"
                self._discard(worker, grace_s=0.0)

    def _hear(self, worker: _Worker, tasks: deque[_Task], batch: Outcome) -> None:
        """Take a worker's message: that it started, or could not, or results; or find that it died."""
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            message = None
        task = worker.task
        if message is None:
            reason = self._discard(worker)
            if task is None:
                raise SimulatorUnavailable(
                    f"a worker process did not start: {reason}; a script that is run needs `if __name__ == '__main__':`"
                )
            if len(task.rows) > 1:
                tasks.extend(task.one_by_one())
            elif task.deaths < self.retries:
                tasks.append(_Task(task.rows, task.deaths + 1))
            else:
                batch.failures[task.rows.start] = reason
        elif isinstance(message, str):
            self._discard(worker)
            raise SimulatorUnavailable(
                f"a worker process could not load the simulator: {message}; define it in a module that can be imported"
            )
        elif task is None:
            worker.ready = True
        else:
            rows = slice(task.rows.start, task.rows.stop)
            batch.values[rows], batch.feasible[rows] = message.values, message.feasible
            if batch.cached is not None and message.cached is not None:
                batch.cached[rows] = message.cached
            batch.failures.update({task.rows[row]: reason for row, reason in message.failures.items()})
            worker.task = None

    def _discard(self, worker: _Worker, grace_s: float = 1.0) -> str:
        self._workers.remove(worker)
        return worker.kill(grace_s)


class Isolated(Parallel):
    """One worker process: the simulator may hang, crash or run out of memory, and only the design it was at fails.

    Args:
        simulator: what the worker holds.
        timeout_s: seconds that one design may take; None for no limit.
        memory_bytes: address space that the worker may take on top of what it holds once the simulator is loaded.
        rows_at_once: as of `Parallel`.
    """

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
    """A child process and what it is doing."""

    def __init__(self, simulator: Simulator, memory_bytes: int | None):
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, pickle.dumps(simulator), memory_bytes), daemon=True)
        self.owner = os.getpid()
        self.ready = False
        self.task: _Task | None = None
        self.deadline = np.inf
        try:
            self.process.start()
        except RuntimeError as error:  # this is a worker itself, importing a script that does not guard its work
            raise SystemExit(str(error)) from error
        theirs.close()  # now the child holds the only other end: its death is the end of the stream

    def start(self, task: _Task, rows: Indices, seed: int | None, timeout_s: float | None) -> None:
        self.task = task
        self.deadline = np.inf if timeout_s is None else time.monotonic() + timeout_s * len(rows)
        with suppress(OSError):  # the worker died while idle; reading its answer will tell
            self.connection.send((rows, seed))

    def kill(self, grace_s: float = 1.0) -> str:
        """End the process, and those it started, after a moment to end by itself; how it died, in words."""
        self.connection.close()
        self.process.join(grace_s)
        if os.name == "posix":
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        if code == errno.ENOMEM:
            return f"the worker process ran out of memory (exit code {code})"
        name = f"killed by {signal.Signals(-code).name}, " if -code in set(signal.Signals) else ""
        return f"the worker process died ({name}exit code {code})"


def _stop(workers: list[_Worker]) -> None:
    """End all workers of this process: at once those at work, the others once they have closed their simulators."""
    mine = [worker for worker in workers if worker.owner == os.getpid()]
    workers.clear()
    for worker in mine:
        worker.connection.close()
    for worker in mine:
        worker.kill(grace_s=1.0 if worker.ready and worker.task is None else 0.0)


class _FatalMemoryErrors(SimulatorWrapper):
    """Ends the process where the simulator runs out of memory: what was half allocated goes with it."""

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        try:
            return self.simulator.evaluate_indices(indices, rng)
        except MemoryError:
            os._exit(errno.ENOMEM)


def _serve(connection: Connection, pickled: bytes, memory_bytes: int | None) -> None:
    """A worker's life: load the simulator, say so, answer rows until the stream ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    if os.name == "posix":
        os.setpgid(0, 0)  # a group of its own, so that what the simulator starts can be killed with it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        simulator = _FatalMemoryErrors(pickle.loads(pickled))
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    if memory_bytes is not None:
        _limit_memory(memory_bytes)
    connection.send(True)
    while True:
        try:
            rows, seed = connection.recv()
        except EOFError:
            break
        connection.send(evaluate_safely(simulator, rows, None if seed is None else np.random.default_rng(seed)))
    simulator.close()


def _end_with_parent() -> None:
    """Kill this worker and what it started when its parent is gone, even in the middle of a row."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _limit_memory(extra: int) -> None:
    import resource

    try:
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # no /proc: count from nothing
        held = 0
    resource.setrlimit(resource.RLIMIT_AS, (held + extra, resource.getrlimit(resource.RLIMIT_AS)[1]))


def end_process(process: subprocess.Popen[Any]) -> None:
    """Kill a process that still runs, and all that it started, and wait for it.

    For programs that a worker runs in its own process group, so that whatever kills the worker's group takes them along.
    """
    if process.poll() is not None:
        return
    import psutil

    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    process.kill()
    process.wait()
