"""Contexts of archgym/DramController-v0: generated traces, with their exact optima by the model.

`dram_controller.csv` has a row per context: its trace, the best of all designs under the default objective,
its reward, the digest of the trace's requests, and the numbers of distinct and of valid designs.

    python -m archgym.envs.contexts.dram_controller     finds the optima that the file lacks, by enumeration

The file is written after each trace, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archgym.contexts.sets import Contexts
from archgym.files.paths import write_atomically
from archgym.optimum import find_optimum
from archgym.processes.exits import INTERRUPTED
from archgym.progress import progress_bar
from archgym.registry import get_task
from archgym.simulators.dram.space import SPACE
from archgym.simulators.dram.traces import load_trace

ENV = "archgym/DramController-v0"
FILE = Path(__file__).with_suffix(".csv")
REQUESTS = 2000
KINDS: dict[str, list[str]] = {  # group -> parameters of its traces
    "stream": ["streams=1", "streams=4", "streams=4,writes=0.25", "streams=16,gap=4"],
    "random": ["gap=1", "writes=0.3", "gap=8", "footprint=262144"],
    "strided": ["stride=512", "stride=8256", "stride=65536"],
    "row_hits": ["hits=0.3", "hits=0.8", "hits=0.8,writes=0.5", "hits=0.6,gap=6"],
    "hot_rows": ["rows=4", "rows=32,writes=0.2", "rows=64,gap=5"],
    "banks": ["banks=1", "banks=2", "banks=4,writes=0.4"],
    "copy": ["block=4", "block=64"],
    "gather": ["fanout=2", "fanout=8,gap=4"],
    "bursts": ["burst=16,gap=16", "burst=64,gap=6,writes=0.3"],
    "cores": ["cores=2", "cores=6,writes=0.25"],
    "pointer_chase": ["gap=30"],
}


def traces() -> Contexts:
    """Generated traces of 2,000 requests, grouped by kind."""
    known = read_optima()
    names, groups = [], []
    for kind, parameters in KINDS.items():
        for each in parameters:
            names.append(f"{kind}:{each},requests={REQUESTS}")
            groups.append((kind,))
    optima = [known.get(name) for name in names]
    designs = tuple(None if found is None else found["design"] for found in optima)
    arguments = tuple({"backend": "model", "trace": name} for name in names)
    short = tuple(name.removesuffix(f",requests={REQUESTS}") for name in names)
    return Contexts(arguments, short, optima=designs, groups=tuple(groups))


def read_optima(path: Path = FILE) -> dict[str, dict[str, Any]]:
    """Trace -> `design`, `reward`, `digest`, `distinct` and `valid` of a file; nothing of a missing one."""
    if not path.exists():
        return {}
    values = {p.name: {str(value): value for value in p.grid.tolist()} for p in SPACE}
    with open(path, newline="", encoding="utf-8") as file:
        return {
            row["trace"]: {
                "design": {name: value[row[name]] for name, value in values.items()},
                "reward": float(row["reward"]),
                "digest": row["digest"],
                "distinct": int(row["distinct"]),
                "valid": int(row["valid"]),
            }
            for row in csv.DictReader(file)
        }


def write_optima(optima: Mapping[str, Mapping[str, Any]], path: Path = FILE) -> None:
    """The inverse of `read_optima`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trace", *SPACE.names, "reward", "digest", "distinct", "valid"])
    for name, found in optima.items():
        figures = repr(found["reward"]), found["digest"], found["distinct"], found["valid"]
        writer.writerow([name, *found["design"].values(), *figures])
    write_atomically(path, text.getvalue().encode())


def main(path: Path = FILE) -> int:
    """Find the optima of all contexts that the file lacks."""
    task, known = get_task(ENV), read_optima(path)
    wanted = [str(arguments["trace"]) for arguments in traces().arguments]
    known = {name: known[name] for name in wanted if name in known}
    missing = [name for name in wanted if name not in known]
    try:
        with progress_bar() as progress:
            for number, name in enumerate(missing):
                progress(name, number / len(missing))
                found = find_optimum(*task.build(backend="model", trace=name))
                known[name] = {
                    "design": found.best_design,
                    "reward": found.best_reward,
                    "digest": load_trace(name).digest,
                    "distinct": found.designs,
                    "valid": found.valid,
                }
                write_optima({name: known[name] for name in wanted if name in known}, path)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
