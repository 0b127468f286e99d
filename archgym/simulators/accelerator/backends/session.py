"""A backend's process: jobs go to it and results come from it as lines of JSON, one at a time.

    {"dataflow": "ws", "rows": 16, ...}     ->     {"result": {"cycles": 338751, ...}}    or    {"error": "ValueError: ..."}

It ends with the session, and with the process that holds it, whatever ends that, even in the middle of a job (`workers/worker.py`). What
it prints goes to a file of its own, of which the last lines are shown where it fails.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from archgym.errors import ArchGymError, SimulatorUnavailable

WORKERS = Path(__file__).with_name("workers")
GRACE_S = 1.0  # to end by itself, once nobody sends jobs any more
LAST_BYTES = 2000  # of what it printed, in an error
LAST_LINES = 4


def worker_of(name: str) -> Path:
    """The code that puts a backend's jobs to the tool."""
    return WORKERS / f"{name}_worker.py"


class Session:
    """One process of a backend, started and ready.

    Args:
        python: of the environment that has the backend.
        name: of the backend; `workers/<name>_worker.py` is what it runs.

    Raises:
        SimulatorUnavailable: it does not start.
    """

    def __init__(self, python: Path, name: str):
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix=f"archgym-{name}-", ignore_cleanup_errors=True)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the session; has no name to remain after a kill
        # A fixed order of sets, since searches within the tools may depend on it; and one core, since searches share the others.
        fixed = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "TMPDIR": self._folder.name}
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            self._process = subprocess.Popen(
                [str(python), "-s", str(WORKERS / "worker.py"), name, self._folder.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                cwd=self._folder.name,
                env=environment | fixed,
                encoding="utf-8",
            )
        except OSError as error:
            self._folder.cleanup()
            raise SimulatorUnavailable(f"cannot start {name}: {error}; run `archgym backends install {name}`") from error
        self._end = weakref.finalize(self, _end, self._process, self._folder, self._log)
        try:
            ready = self._answer()
        except ArchGymError as error:
            raise SimulatorUnavailable(f"cannot start {name}: {error}") from error
        if not ready.get("ready"):
            self.close()
            raise SimulatorUnavailable(f"cannot start {name}: it said {ready!r} first")

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether jobs can be sent."""
        return self._end.alive

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a job. The session closes if the process dies or is not understood, or if waiting for it is interrupted.

        Raises:
            ArchGymError: the tool could not do the job, or died of it.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died while idle; reading its answer will tell
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        self._log.seek(0)  # where the process writes on: both share the position
        self._log.truncate()
        if isinstance(answer.get("result"), dict):
            return dict(answer["result"])
        raise ArchGymError(f"{self.name}: {answer.get('error', f'it said {answer!r}')}")

    def close(self) -> None:
        """End the process and remove its files."""
        self._end()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline()
            if not line:
                raise ArchGymError(f"{self.name} ended {self._how()}{self._last_words()}")
            try:
                answer = json.loads(line)
            except ValueError:
                answer = None
            if not isinstance(answer, dict):
                raise ArchGymError(f"{self.name} answered with something else than JSON: {line.strip()[:200]!r}{self._last_words()}")
            return answer
        except BaseException:
            self.close()
            raise

    def _how(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(GRACE_S)
            return f"with {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"with exit code {code}"
        return "without an answer"

    def _last_words(self) -> str:
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return f": {' / '.join(lines[-LAST_LINES:])}" if lines else ""


def _end(process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str], log: IO[bytes]) -> None:
    with suppress(BrokenPipeError):
        process.stdin.close()  # type: ignore[union-attr]
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    process.kill()
    process.wait()
    process.stdout.close()  # type: ignore[union-attr]
    log.close()
    folder.cleanup()
