"""What a study costs beyond its runs, and what a report costs.

    python benchmarks/studies.py runner             the runner's own cost per run, at three sizes of study
    python benchmarks/studies.py report DIR         wall time and memory of `archgym lottery DIR --no-run`
    python benchmarks/studies.py agents DIR         how the time of a study's runs divides among its agents

The runner's own cost is (workers x wall time - seconds inside the runs) / runs, the start of the worker
processes taken out by a run of the same study with nothing but one run per worker.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from archgym.study.design import Study
from archgym.study.runner import run_study
from archgym.study.store import Store

WORKERS = 2
STUDY = """
[study]
name = "cost"
budget = {budget}
seeds = {seeds}
[[env]]
id = "archgym/NKLandscape-v0"
kwargs = {{ n = 10, k = 1, alleles = 2 }}
[[agent]]
name = "random"
"""


def runner() -> None:
    start = _wall(WORKERS)[0]
    print(f"start of {WORKERS} worker processes: {start:.2f} s")
    for runs in (500, 1000, 2000, 4000):
        wall, inside = _wall(runs)
        own = (WORKERS * (wall - start) - inside) / runs
        print(
            f"{runs:5} runs: {wall:6.2f} s, {1e3 * inside / runs:.2f} ms inside a run, own cost "
            f"{1e3 * own:.2f} ms per run"
        )


def _wall(runs: int) -> tuple[float, float]:
    """Wall seconds of a study of so many tiny runs, and the seconds inside its runs."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        study = Study(STUDY.format(budget=100, seeds=runs))
        before = perf_counter()
        run_study(study, store, workers=WORKERS)
        wall = perf_counter() - before
        return wall, sum(run.result["seconds"] for run in store.read().values())


def report(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        before = perf_counter()
        subprocess.run(
            [sys.executable, "-m", "archgym.cli", "lottery", str(folder), "--no-run", "--out", out],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wall = perf_counter() - before
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        size = os.path.getsize(Path(out) / "report.html") / 1e6
        print(
            f"report of {len(Store(folder).read()):,} runs: {wall:.1f} s, {memory:.0f} MB of memory, "
            f"report.html {size:.1f} MB"
        )


def agents(folder: Path) -> None:
    seconds: dict[str, list[float]] = {}
    for run in Store(folder).read().values():
        seconds.setdefault(run.specification["agent"]["name"], []).append(run.result["seconds"])
    total = sum(map(sum, seconds.values()))
    for name, times in sorted(seconds.items(), key=lambda item: -sum(item[1])):
        share, mean = sum(times) / total, 1e3 * sum(times) / len(times)
        print(
            f"{name:16} {len(times):6,} runs {sum(times):8.0f} s {share:6.1%}  mean {mean:7.1f} ms  longest "
            f"{max(times):5.2f} s"
        )
    print(f"{'all':16} {sum(map(len, seconds.values())):6,} runs {total:8.0f} s")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["runner"]:
            runner()
        case ["report", folder]:
            report(Path(folder))
        case ["agents", folder]:
            agents(Path(folder))
        case _:
            sys.exit(__doc__)
