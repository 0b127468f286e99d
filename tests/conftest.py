"""Small simulators that the tests share, and a data folder of their own."""

from __future__ import annotations

import gc
import importlib
import os

# one thread per process, set before NumPy and PyTorch are imported: the processes take all cores
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, settings

import archgym
from archgym import AtMost, Categorical, DesignSpace, Integer, Metric, Minimize, Objective, Ordinal, Simulator

# a loaded machine is slow, which is no fault of the code
settings.register_profile("archgym", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("archgym")


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not look at it again."""
    gc.freeze()


NEEDS = {"language_model": {"complete": "archgym.text.scripted:propose"}}
"""Arguments that agents have no default for."""

ENVS = [name for name in archgym.list_envs() if name not in ("archgym/Proxy-v0", "archgym/Remote-v0")]
"""Environments that can be made without arguments."""


class Bowl(Simulator):
    """144 designs: one optimum, a corner of infeasible designs, a parameter without effect. Counts the
    rows that reach it.
    """

    space = DesignSpace(
        [
            Integer("x", 1, 6),
            Ordinal("size", [1, 2, 4, 8], default=4),
            Categorical("isa", ["scalar", "avx2", "avx512"]),
            Categorical("flag", [False, True]),
        ]
    )
    metrics = (
        Metric("cost_j", "J", "lower"),
        Metric("area_mm2", "mm2", "lower"),
        Metric("secret", "1", "higher", report_only=True),
    )
    default_objective = Objective(Minimize("cost_j"), AtMost("area_mm2", 12.0), reference={"cost_j": 4.0})

    def __init__(self, offset: float = 0.0):
        self.offset = offset
        self.rows = 0

    def evaluate(self, designs: Any, rng: np.random.Generator | None = None) -> dict[str, Any]:
        x, size = (np.asarray(designs[name], float) for name in ("x", "size"))
        self.rows += len(x)
        cost = (
            1
            + self.offset
            + (x - 3) ** 2
            + (np.log2(size) - 2) ** 2
            + (designs["isa"] == "scalar")
            + 2 * (designs["isa"] == "avx2")
        )
        feasible = ~((x == 6) & (size == 8))
        return {
            "cost_j": np.where(feasible, cost, np.nan),
            "area_mm2": x * size,
            "secret": x,
            "feasible": feasible,
        }

    def canonical(self, indices: Any) -> Any:
        return indices * np.array([1, 1, 1, 0])


class Layers(Simulator):
    """Networks of one to three layers, whose best width is 3 in the first and the second layer and 1 in the
    third. Dilation only counts where the first layer is convolutional.
    """

    space = DesignSpace(
        [
            Integer("depth", 1, 3),
            Categorical("kind", ["conv", "dense"], default="dense"),
            Integer("dilation", 1, 4, default=2, when={"kind": "conv"}),
            Integer("width1", 1, 5),
            Integer("width2", 1, 5, default=4, when={"depth": [2, 3]}),
            Integer("width3", 1, 5, when={"depth": 3}),
        ]
    )
    metrics = (Metric("error", "1", "lower"),)
    default_objective = Objective(Minimize("error"))

    def evaluate(self, designs, rng=None):
        deep = designs["depth"]
        error = 1.0 + (3 - deep) + np.where(designs["kind"] == "conv", np.abs(designs["dilation"] - 3), 2)
        for layer, best in ((1, 3), (2, 3), (3, 1)):
            error = error + np.where(deep >= layer, np.abs(designs[f"width{layer}"] - best), 0)
        return {"error": error, "feasible": np.ones(len(error), bool)}


LAYERS = archgym.registry.Task("tests/Layers-v0", Layers)


class Noise(Bowl):
    """Declared noise, drawn row by row."""

    stochastic = True

    def evaluate(self, designs: Any, rng: np.random.Generator | None = None) -> dict[str, Any]:
        out = super().evaluate(designs)
        assert rng is not None
        return out | {"cost_j": out["cost_j"] * (1 + 0.1 * rng.random((len(out["cost_j"]), 1))[:, 0])}

    def canonical(self, indices: Any) -> Any:
        return indices


Register = Callable[..., tuple[str, Any]]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where kernels are kept, so that each is compiled once, whichever test or process asks first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kernels"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> Iterator[None]:
    """Stored optima of the person who runs the tests neither help nor suffer."""
    before = os.environ.get("ARCHGYM_HOME")
    home = tmp_path_factory.mktemp("home")
    (home / "kernels").symlink_to(compiled)
    os.environ["ARCHGYM_HOME"] = str(home)
    yield
    if before is None:
        del os.environ["ARCHGYM_HOME"]
    else:
        os.environ["ARCHGYM_HOME"] = before


@pytest.fixture
def register(request: pytest.FixtureRequest) -> Iterator[Register]:
    """Registers a simulator under a fresh id, forgotten afterwards: register(simulator, objective=None) ->
    (id, simulator).
    """
    ids: list[str] = []
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]

    def make(simulator: Any, objective: Any = None, **kwargs: Any) -> tuple[str, Any]:
        env_id = f"tests/{name}-{len(ids)}-v0"
        archgym.register_env(env_id, simulator=simulator, objective=objective, **kwargs)
        ids.append(env_id)
        return env_id, simulator

    yield make
    for env_id in ids:
        gymnasium.registry.pop(env_id, None)


@pytest.fixture
def bowl(register: Register) -> tuple[str, Bowl]:
    """An environment around one Bowl: (id, simulator)."""
    return register(Bowl())


# --- studies ---


@pytest.fixture
def plugins(monkeypatch, tmp_path):
    """The misbehaving simulators of tests/study can be imported, here and in processes; and a data folder
    of its own.
    """
    folder = str(Path(__file__).parent / "study")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def program():
    """The `archgym` program as a real process."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "archgym.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            **options,
        )

    return run


@pytest.fixture
def rows():
    """Every run file of a folder: identifier -> the table less columns of seconds."""

    def read(folder: Path) -> dict[str, pyarrow.Table]:
        tables = {path.stem: pyarrow.parquet.read_table(path) for path in sorted(folder.rglob("*.parquet"))}
        return {
            id_: table.drop_columns(
                [name for name in table.column_names if "seconds" in name]
            ).replace_schema_metadata(None)
            for id_, table in tables.items()
        }

    return read


# --- services ---

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


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
