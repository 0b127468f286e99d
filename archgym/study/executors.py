"""Executors of runs (`concurrent.futures`): this process, local processes, a Dask cluster, Ray.

On all but the first, a `RunProcess` executes each run, so that time-outs, memory limits and crashes are
handled alike everywhere (cancelling in Dask or Ray cannot stop a running task):

    inline                 in this process, one after the other: for debugging; nothing protects the study
                           from its runs
    local                  a thread per worker, each with a process for its runs
    dask                   Dask in this process: its scheduler and workers are threads without network ports
    dask://HOST:PORT       an existing Dask cluster (tls://HOST:PORT too; SLURM, LSF and PBS through
                           dask-jobqueue)
    ray, ray://HOST:PORT   Ray on this machine, or an existing cluster
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from archgym.errors import ArchGymError, MissingDependency
from archgym.study.worker import RunProcess, RunRequest, try_run, unwrap

Answer = tuple[bytes, dict[str, Any]]
CONNECT_S = 20.0  # time limit for the connection to a cluster

_mine = threading.local()  # each thread's process
_started: dict[threading.Event | None, list[RunProcess]] = {}  # by the event that stops them


def run_in_process(request: RunRequest, stop: threading.Event | None = None) -> Answer:
    """Execute a run in the process that this thread keeps for its runs (see `RunProcess.run`)."""
    if not hasattr(_mine, "process"):
        _mine.process = RunProcess()
        _started.setdefault(stop, []).append(_mine.process)
    return _mine.process.run(request, stop)


def _close_processes(stop: threading.Event | None) -> None:
    for process in _started.pop(stop, []):
        process.close()


def run_here(request: RunRequest) -> Answer:
    """Execute a run in this process, without its limits of time and memory; for errors see
    `RunProcess.run`.
    """
    return unwrap(*try_run(request))


class Inline(Executor):
    """Executes submitted calls at once, in this thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Local(ThreadPoolExecutor):
    """Threads with a process each; `shutdown` ends the processes."""

    def __init__(self, workers: int):
        super().__init__(workers, thread_name_prefix="archgym-run")
        self._stop = threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args, self._stop, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            self._stop.set()  # abandons current runs
        super().shutdown(wait, cancel_futures=cancel_futures)
        _close_processes(self._stop)


class _Dask(Executor):
    """Dask's executor, together with its client and cluster."""

    def __init__(self, address: str | None, workers: int):
        try:
            import distributed as dask
        except ImportError as error:
            raise MissingDependency('this executor needs Dask: pip install "archgym[dask]"') from error
        module: Any = dask  # without type annotations
        self._scratch = tempfile.TemporaryDirectory(prefix="archgym-dask-", ignore_cleanup_errors=True)
        self._cluster = _cluster(module, workers, self._scratch.name) if address is None else None
        try:
            self._client = module.Client(self._cluster if address is None else address, timeout=CONNECT_S)
        except OSError as error:
            self._scratch.cleanup()
            raise ArchGymError(f"no Dask scheduler answers at {address}: {error}") from error
        self._executor = self._client.get_executor(pure=False)

    @property
    def width(self) -> int:
        """Runs that the cluster can currently execute at once."""
        return sum(self._client.nthreads().values())

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()
        if self._cluster is not None:
            _close_processes(None)  # ends current runs, which the cluster would wait for
            self._cluster.close()
        self._scratch.cleanup()


def _cluster(distributed: Any, workers: int, scratch: str) -> Any:
    """A cluster in this process without ports: through one, every user of this machine could run code as
    this user.
    """

    def portless(cls: Any) -> Any:
        return type(cls.__name__, (cls,), {"start_http_server": lambda *args, **options: None})

    import dask

    options = {"protocol": "inproc"}
    worker = {"cls": portless(distributed.Worker), "options": {**options, "nthreads": 1, "memory_limit": 0}}
    scheduler = {"cls": portless(distributed.Scheduler), "options": {**options, "dashboard": False}}
    with dask.config.set({"temporary-directory": scratch}):
        return distributed.SpecCluster(
            scheduler=scheduler, workers=dict.fromkeys(range(workers), worker), silence_logs=logging.CRITICAL
        )


class _Ray(Executor):
    """Ray tasks as futures."""

    def __init__(self, address: str | None, workers: int):
        try:
            import ray
        except ImportError as error:
            raise MissingDependency('this executor needs Ray: pip install "archgym[ray]"') from error
        self._ray = ray
        options: dict[str, Any] = {"num_cpus": workers} if address is None else {"address": address}
        try:
            ray.init(log_to_driver=False, include_dashboard=False, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ArchGymError(f"no Ray cluster answers at {address}: {error}") from error
        self._remote = ray.remote(max_retries=0)(run_in_process)

    @property
    def width(self) -> int:
        """Runs that the cluster can currently execute at once."""
        return int(self._ray.cluster_resources().get("CPU", 1))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if fn is not run_in_process or kwargs:
            raise ArchGymError("Ray executes runs only")
        return self._remote.remote(*args).future()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._ray.shutdown()


def make_executor(where: str, workers: int | None) -> tuple[Executor, int]:
    """The executor of a name, and the number of runs that it executes at once.

    Args:
        where: "inline", "local", "dask", "dask://HOST:PORT", "ray" or "ray://HOST:PORT".
        workers: number of runs at once on this machine; None for the number of processors. An existing
            cluster has its own number.

    Raises:
        ArchGymError: an unknown name, or a cluster that does not answer.
    """
    here = workers or available_processors()
    if where == "inline":
        return Inline(), 1
    if where == "local":
        return Local(here), here
    kind, separator, address = where.partition("://")
    if kind in ("dask", "tls", "tcp") and (address or not separator):
        cluster: _Dask | _Ray = _Dask(
            f"{'tls' if kind == 'tls' else 'tcp'}://{address}" if address else None, here
        )
    elif kind == "ray" and (address or not separator):
        cluster = _Ray(where if address else None, here)
    else:
        raise ArchGymError(
            f"an executor is inline, local, dask, dask://HOST:PORT, ray or ray://HOST:PORT, not {where!r}"
        )
    return cluster, max(cluster.width, 1)


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
