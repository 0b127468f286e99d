"""Services of tests: as a process, or on a thread of this one."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Modules of benchmarks/ by name, forgotten afterwards."""
    pytest.importorskip("fastapi")
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Serves a task from a thread until the test ends: live(task, **options of make_app) -> port."""
    pytest.importorskip("fastapi")
    from archgym.serve.app import make_app
    from archgym.serve.server import listen, make_server

    started: list[tuple[Any, threading.Thread]] = []

    def serve(task: Any, folder: Path | None = None, **options: Any) -> int:
        listening, ready = listen("127.0.0.1", 0), threading.Event()
        app = make_app(task, folder or tmp_path / "served", **options)
        server = make_server(app, ready.set)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        started.append((server, thread))
        assert ready.wait(60)
        return int(listening.getsockname()[1])

    yield serve
    for server, thread in started:
        server.should_exit = True
        thread.join(60)
