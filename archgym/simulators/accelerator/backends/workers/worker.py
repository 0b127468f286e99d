"""Serves jobs to `<name>_worker.run`: lines of JSON from standard input, answers to standard output, until
the input ends.

python worker.py NAME SCRATCH            SCRATCH: its own folder, which it removes at its end
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
from typing import Any, TextIO

MAX_CHARACTERS = 300  # length of an error
NEW_JOB = b"\x1e"  # separates the output of jobs (`archgym.processes.children`)


def main(name: str, scratch: str) -> None:
    """Send {"ready": true}, then answer every job with {"result": ...} or {"error": ...}."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent
    jobs, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # the tool's output is not an answer
    received: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(jobs, received, scratch), daemon=True).start()
    run = importlib.import_module(f"{name}_worker").run
    _send(answers, {"ready": True})
    while True:
        job = json.loads(received.get())
        os.write(2, NEW_JOB)
        try:
            answer = {"result": run(job)}
        except Exception as error:
            text = " ".join(str(error).split())[:MAX_CHARACTERS]
            answer = {"error": f"{type(error).__name__}: {text}"}
        _send(answers, answer)


def _receive(jobs: TextIO, received: queue.SimpleQueue[str], scratch: str) -> None:
    for line in jobs:
        received.put(line)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(0)  # the parent has ended, so a running job ends too


def _send(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
