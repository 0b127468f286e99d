"""A backend's process: takes jobs and returns results as lines of JSON, one at a time.

    {"dataflow": "ws", "rows": 16, ...}   ->   {"result": {"cycles": 338751, ...}}   or   {"error":
                                               "ValueError: ..."}

It ends with the session and with the parent process, even in the middle of a job, together with all that it
started (`archgym.processes.children`). Errors show the last lines of its output.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.processes.children import KEPT, Child, last_words
from archgym.processes.memory import physical_memory
from archgym.words import one_line

WORKERS = Path(__file__).with_name("workers")
GRACE_S = 1.0  # time to exit by itself after its input is closed
SHARE_OF_MEMORY = 0.75  # limit on the tool's memory, as a share of this machine's


def worker_of(name: str) -> Path:
    """The program that runs a backend's jobs with the tool."""
    return WORKERS / f"{name}_worker.py"


class Session:
    """One process of a backend, started and ready.

    Args:
        python: Python executable of the backend's environment.
        name: name of the backend, which runs `workers/<name>_worker.py`.

    Raises:
        SimulatorUnavailable: it does not start.
    """

    def __init__(self, python: Path, name: str):
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix=f"archgym-{name}-", ignore_cleanup_errors=True)
        # The order of sets is fixed, since a tool's search may depend on it; one core, since other workers
        # need the rest.
        fixed = {
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
            "TMPDIR": self._folder.name,
        }
        environment = {
            key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")
        }
        try:
            self._process = Child(
                [str(python), "-s", str(WORKERS / "worker.py"), name, self._folder.name],
                keep=KEPT,
                kept=[2],
                grace_s=GRACE_S,
                memory_bytes=int(SHARE_OF_MEMORY * physical_memory()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self._folder.name,
                env=environment | fixed,
                encoding="utf-8",
            )
        except OSError as error:
            self._folder.cleanup()
            raise self._absent(error) from error
        self._end = weakref.finalize(self, _end, self._process, self._folder)
        try:
            ready = self._answer()
        except OSError as error:
            raise self._absent(error) from error
        except ArchGymError as error:
            raise SimulatorUnavailable(f"cannot start {name}: {error}") from error
        if not ready.get("ready"):
            self.close()
            raise SimulatorUnavailable(
                f"cannot start {name}: expected {{'ready': True}} first, got {ready!r}"
            )

    def _absent(self, error: OSError) -> SimulatorUnavailable:
        return SimulatorUnavailable(
            f"cannot start {self.name}: {error.strerror}; run `archgym backends install {self.name}`"
        )

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether jobs can be sent."""
        return self._end.alive

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a job. The session closes if the process ends or sends an invalid line, or if waiting
        is interrupted.

        Raises:
            ArchGymError: the tool failed on the job, or its process ended.
        """
        stdin = self._process.popen.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):  # it ended while idle, which reading reports
            stdin.write(json.dumps(job) + "\n")
            stdin.flush()
        answer = self._answer()
        if isinstance(answer.get("result"), dict):
            return dict(answer["result"])
        raise ArchGymError(
            f"{self.name}: {answer.get('error', f'expected a result or an error, got {answer!r}')}"
        )

    def close(self) -> None:
        """End the process and remove its files."""
        self._end()

    def _answer(self) -> dict[str, Any]:
        stdout = self._process.popen.stdout
        assert stdout is not None
        try:
            line = stdout.readline()  # the supervisor ends every other process that could hold the pipe
            if not line:
                ending = self._process.end(GRACE_S)
                if ending.errno:
                    raise OSError(ending.errno, os.strerror(ending.errno))
                raise ArchGymError(f"{self.name} {ending.with_last_words()}")
            try:
                answer = json.loads(line)
            except ValueError:
                answer = None
            if not isinstance(answer, dict):
                words = last_words(self._process.end().text)
                raise ArchGymError(
                    ": ".join(
                        filter(
                            None,
                            [f"{self.name} sent a line that is not JSON: {one_line(line, 200)!r}", words],
                        )
                    )
                )
            return answer
        except BaseException:
            self.close()
            raise


def _end(process: Child, folder: tempfile.TemporaryDirectory[str]) -> None:
    with suppress(BrokenPipeError):
        process.popen.stdin.close()  # type: ignore[union-attr]
    process.end(GRACE_S)
    process.popen.stdout.close()  # type: ignore[union-attr]
    folder.cleanup()
