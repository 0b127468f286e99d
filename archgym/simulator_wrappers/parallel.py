"""Worker processes: batches in parallel, and simulators that may hang, crash or use up memory without ending
the search.

Rows go to idle workers a few at a time, and results return in the order of the batch. A result depends
neither on the worker nor on the number of workers: the division of a batch into messages depends on the batch
alone, and noise is drawn from one seed per row.

    row raises                      -> that row fails, with the exception as reason
    row runs longer than timeout_s  -> its worker is killed and the row fails (a message of n rows has n
                                    timeout_s; after that, each of
                                       its rows is tried alone)
    worker ends                     -> its rows are tried one by one in new workers; a row fails after
                                    `retries` further attempts
    worker is killed as it starts   -> another is started; a worker that cannot start ends the search

Processes that a row or a worker leaves running end with the worker (`archgym.processes.children`).
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
from archgym.words import one_line

# enough to keep every worker busy; with time-outs or noise there is one message per row
MESSAGES_PER_BATCH = 64
STARTS = 100  # limit on consecutive workers that are killed as they start
WAIT_S = 3600.0  # longest single wait; the system's limit is some weeks
GRACE_S = 1.0  # time for a worker to close its simulator


class Parallel(SimulatorWrapper):
    """Evaluates a batch in worker processes, started at the first batch and kept until `close`, garbage
    collection or exit.

    Workers are new Python processes, so the simulator must be importable from its module, and a script that
    is run directly needs `if __name__ == "__main__":` around its own work. They exit when the parent exits,
    even if it is killed, and so do the processes that they start, daemons included. A process of a
    `multiprocessing.Pool` may start them too.

    Args:
        simulator: simulator that each worker gets a copy of.
        workers: number of processes.
        timeout_s: time limit of one design without the start of a worker, seconds; None for no limit.
        memory_bytes: limit on a worker's address space beyond that of the loaded simulator, bytes; None for
            no limit.
        retries: further attempts for a design whose worker ended.
        rows_at_once: designs per message to a worker, which share their time limits; default: 1 with a
            time-out, else a 64th of the batch.

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
                f"memory_bytes must be a number of bytes from 0 to {sys.maxsize:,}, or None for no limit; "
                f"not {memory_bytes!r}"
            )
        self.workers, self.timeout_s, self.memory_bytes, self.retries = (
            workers,
            timeout_s,
            memory_bytes,
            retries,
        )
        self.rows_at_once = rows_at_once
        try:
            pickle.dumps(simulator)
        except Exception as error:
            raise ArchGymError(
                f"{type(simulator).__name__} cannot be sent to a worker process ({error}); define it, and "
                "what it holds, at module level"
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

        An interrupt (Ctrl-C) kills the workers; the next batch starts new ones.

        Raises:
            ArchGymError: workers cannot start; no `rng` for a stochastic simulator.
        """
        size = len(indices)
        if self.stochastic and rng is None:
            raise ArchGymError(
                "a stochastic simulator needs a generator: evaluate(designs, rng=np.random.default_rng(seed))"
            )
        seeds = rng.integers(2**63, size=size).tolist() if self.stochastic and rng is not None else None
        batch = Outcome(
            np.full((size, len(self.metrics)), np.nan), np.zeros(size, bool), np.zeros(size, bool)
        )
        length = (
            1
            if seeds
            else self.rows_at_once
            or (1 if self.timeout_s is not None else max(1, size // MESSAGES_PER_BATCH))
        )
        chunks = deque(_Chunk(range(start, min(start + length, size))) for start in range(0, size, length))
        try:
            self._run(chunks, indices, seeds, batch)
        except BaseException:
            _stop(self._workers)
            raise
        columns: dict[str, Array] = {metric.name: batch.values[:, j] for j, metric in enumerate(self.metrics)}
        columns |= {
            "feasible": batch.feasible,
            "cached": np.zeros(size, bool) if batch.cached is None else batch.cached,
        }
        if batch.failures:
            columns["failure"] = np.array([batch.failures.get(row, "") for row in range(size)], object)
        return columns

    def close(self) -> None:
        """End the workers, and close the wrapped simulator."""
        _stop(self._workers)
        super().close()

    def _run(self, chunks: deque[_Chunk], indices: Indices, seeds: list[int] | None, batch: Outcome) -> None:
        """Run the chunks and write results into `batch`."""
        # a fork has no workers of its own
        mine = [worker for worker in self._workers if worker.process.owner == os.getpid()]
        self._workers[:] = [worker for worker in mine if not worker.process.ended]
        starts = STARTS
        while True:
            for worker in self._workers:
                if chunks and worker.ready and worker.chunk is None:
                    chunk = chunks.popleft()
                    rows = indices[chunk.rows.start : chunk.rows.stop]
                    worker.start(chunk, rows, seeds[chunk.rows.start] if seeds else None, self.timeout_s)
            busy = [worker for worker in self._workers if worker.chunk is not None]
            if not chunks and not busy:
                return
            for _ in range(min(self.workers, len(chunks) + len(busy)) - len(self._workers)):
                self._workers.append(_Worker(self.simulator, self.memory_bytes))
            pending = [worker for worker in self._workers if worker.chunk is not None or not worker.ready]
            for worker in _wait(pending, min((worker.deadline for worker in busy), default=np.inf)):
                starts = STARTS if self._receive(worker, chunks, batch) else starts - 1
                if not starts:
                    raise SimulatorUnavailable(
                        f"{STARTS} worker processes in a row were killed as they started: check the free "
                        "memory"
                    )
            now = time.monotonic()
            for worker in [w for w in self._workers if w.chunk is not None and w.deadline <= now]:
                assert worker.chunk is not None
                if len(worker.chunk.rows) > 1:
                    chunks.extend(worker.chunk.one_by_one())
                else:
                    batch.failures[worker.chunk.rows.start] = f"timed out after {self.timeout_s:g} s"
                self._discard(worker, grace_s=0.0)

    def _receive(self, worker: _Worker, chunks: deque[_Chunk], batch: Outcome) -> bool:
        """Process a worker's message (started, cannot start, or results) or its end; False if it was
        killed as it started.
        """
        if not worker.process.ready(0.0):  # only a part of a message
            return True
        try:
            message = worker.process.receive()
        except EOFError:
            message = None
        chunk = worker.chunk
        if message is None:
            ending = self._discard(worker)
            if chunk is None:
                if ending.killed:
                    return False
                raise SimulatorUnavailable(
                    f"a worker process did not start: the worker process {ending}; a script that is run "
                    "needs `if __name__ == '__main__':`"
                )
            if len(chunk.rows) > 1:
                chunks.extend(chunk.one_by_one())
            elif chunk.losses < self.retries:
                chunks.append(_Chunk(chunk.rows, chunk.losses + 1))
            else:
                batch.failures[chunk.rows.start] = f"the worker process {ending}"
        elif isinstance(message, SimulatorUnavailable):
            self._discard(worker)
            raise message
        elif chunk is None:
            worker.ready = True
        else:
            rows = slice(chunk.rows.start, chunk.rows.stop)
            batch.values[rows], batch.feasible[rows] = message.values, message.feasible
            if batch.cached is not None and message.cached is not None:
                batch.cached[rows] = message.cached
            batch.failures.update({chunk.rows[row]: reason for row, reason in message.failures.items()})
            worker.chunk = None
        return True

    def _discard(self, worker: _Worker, grace_s: float = GRACE_S) -> Ending:
        self._workers.remove(worker)
        return worker.process.end(grace_s)


class Isolated(Parallel):
    """One worker process: a crash, a time-out or a lack of memory fails only the current design.
    Arguments: see `Parallel`.
    """

    identity = "archgym.workers:Isolated"

    def __init__(
        self,
        simulator: Simulator,
        timeout_s: float | None = None,
        memory_bytes: int | None = None,
        rows_at_once: int | None = None,
    ):
        super().__init__(
            simulator, workers=1, timeout_s=timeout_s, memory_bytes=memory_bytes, rows_at_once=rows_at_once
        )


class _Chunk(NamedTuple):
    """Rows of the batch for one message, and the number of workers that ended while they ran."""

    rows: range
    losses: int = 0

    def one_by_one(self) -> list[_Chunk]:
        return [_Chunk(range(row, row + 1)) for row in self.rows]


class _Worker:
    """A worker process and its current chunk."""

    def __init__(self, simulator: Simulator, memory_bytes: int | None):
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise SystemExit(
                "this script is being imported by a worker process: put its own work under `if __name__ == "
                "'__main__':`"
            )
        preparation = _preparation()
        try:
            self.process = Server(f"{__name__}:spawn_main")
        except OSError as error:  # too many processes, too many open files
            raise SimulatorUnavailable(
                f"cannot start a worker process: {error.strerror}; raise the limit, or take fewer workers"
            ) from error
        self.process.send((preparation, pickle.dumps(simulator), memory_bytes))
        self.ready = False
        self.chunk: _Chunk | None = None
        self.deadline = np.inf

    def start(self, chunk: _Chunk, rows: Indices, seed: int | None, timeout_s: float | None) -> None:
        self.chunk = chunk
        self.deadline = np.inf if timeout_s is None else time.monotonic() + timeout_s * len(rows)
        self.process.send((rows, seed))


def _wait(workers: list[_Worker], deadline: float) -> list[_Worker]:
    """Workers that sent data or ended before a deadline."""
    ends = {end: worker for worker in workers for end in (worker.process.connection, worker.process)}
    return list(
        dict.fromkeys(ends[end] for end in wait(ends, max(0.0, min(deadline - time.monotonic(), WAIT_S))))
    )


def _stop(workers: list[_Worker]) -> None:
    """End all workers of this process: busy ones at once, the others after they have closed their
    simulators.
    """
    mine = [worker for worker in workers if worker.process.owner == os.getpid()]
    workers.clear()
    for worker in mine:
        worker.process.connection.close()
    for worker in mine:
        worker.process.end(GRACE_S if worker.ready and worker.chunk is None else 0.0)


def _preparation() -> dict[str, Any]:
    """The data that a worker needs to import the script that is run."""
    try:
        data = multiprocessing.spawn.get_preparation_data("archgym worker")
    except FileNotFoundError:
        raise SimulatorUnavailable(
            "cannot start a worker process: the working folder is gone; change to an existing one"
        ) from None
    data["authkey"] = bytes(data["authkey"])
    if not os.path.exists(data.get("init_main_from_path") or os.devnull):  # a script from standard input
        del data["init_main_from_path"]
    return data


class _Contained(SimulatorWrapper):
    """Ends the process if the simulator runs out of memory, which also frees partial allocations."""

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        try:
            return self.simulator.evaluate_indices(indices, rng)
        except MemoryError:
            exit_out_of_memory()
        except Exception:
            raise
        except BaseException as error:  # a KeyboardInterrupt or SystemExit is a failure of the design
            raise ArchGymError(reason_of(error)) from None


def spawn_main(line: Line) -> None:
    """A worker's main function: load the simulator, report it, answer rows until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent
    preparation, pickled, memory_bytes = line.receive()
    try:
        simulator = _Contained(_load(preparation, pickled))
    except Exception as error:
        line.send(
            SimulatorUnavailable(
                f"a worker process could not load the simulator: {reason_of(error)}; define it in a module "
                "or script that can be imported, which a notebook and a script from standard input cannot"
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
    """Load the simulator; a script that is imported for it cannot start workers."""
    process = multiprocessing.current_process()
    process._inheriting = True  # type: ignore[attr-defined]
    try:
        multiprocessing.spawn.prepare(preparation)
        return pickle.loads(pickled)
    finally:
        del process._inheriting  # type: ignore[attr-defined]
