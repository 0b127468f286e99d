"""Contexts of archgym/Accelerator-v0: layers and networks of the shipped workloads, with their exact optima.

`accelerator.csv` has a row per context: its workload, the best of all 14,696,640 designs under the default
objective, its reward, and the number of valid designs.

    python -m archgym.envs.contexts.accelerator      finds the optima that the file lacks, by enumeration

A layer takes 6 s of one core, a network up to a minute. The file is written after each, so that an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from archgym.contexts.sets import Contexts
from archgym.files.paths import write_atomically
from archgym.optimum import find_optimum
from archgym.processes.exits import INTERRUPTED
from archgym.progress import progress_bar
from archgym.registry import get_task
from archgym.simulators.accelerator.design import accelerator_space
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.workloads import first_name, list_workloads, load_workload

ENV = "archgym/Accelerator-v0"
FILE = Path(__file__).with_suffix(".csv")


def layers() -> Contexts:
    """Every layer of the shipped networks, once; layers that differ in name alone are one context.

    Its name is that of the first of them, its groups are all networks that have it.
    """
    names: dict[Layer, str] = {}
    groups: dict[str, dict[str, None]] = {}
    for network in list_workloads():
        for layer in load_workload(network).layers:
            same = replace(layer, name="", repeats=1, vectors=0)
            name = names.setdefault(same, f"{network}:{first_name(layer)}")
            groups.setdefault(name, {})[network] = None
    return _with_optima(list(groups), tuple(tuple(networks) for networks in groups.values()))


def networks() -> Contexts:
    """Every shipped workload as a whole."""
    return _with_optima(list_workloads())


def _with_optima(workloads: list[str], groups: tuple[tuple[str, ...], ...] | None = None) -> Contexts:
    known = read_optima()
    optima = [known.get(name) for name in workloads]
    designs = tuple(None if found is None else found["design"] for found in optima)
    arguments = tuple({"workload": name} for name in workloads)
    return Contexts(arguments, tuple(workloads), optima=designs, groups=groups)


def read_optima(path: Path = FILE) -> dict[str, dict[str, Any]]:
    """Workload -> `design`, `reward` and `valid` of a file; nothing of a file that is not there."""
    if not path.exists():
        return {}
    values = {p.name: {str(value): value for value in p.grid.tolist()} for p in accelerator_space()}
    with open(path, newline="", encoding="utf-8") as file:
        return {
            row["workload"]: {
                "design": {name: value[row[name]] for name, value in values.items()},
                "reward": float(row["reward"]),
                "valid": int(row["valid"]),
            }
            for row in csv.DictReader(file)
        }


def write_optima(optima: Mapping[str, Mapping[str, Any]], path: Path = FILE) -> None:
    """The inverse of `read_optima`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["workload", *accelerator_space().names, "reward", "valid"])
    for name, found in optima.items():
        writer.writerow([name, *found["design"].values(), repr(found["reward"]), found["valid"]])
    write_atomically(path, text.getvalue().encode())


def main(path: Path = FILE) -> int:
    """Find the optima of all contexts that the file lacks."""
    task, known = get_task(ENV), read_optima(path)
    wanted = [*layers().names, *networks().names]
    known = {name: known[name] for name in wanted if name in known}
    missing = [name for name in wanted if name not in known]
    try:
        with progress_bar() as progress:
            for number, name in enumerate(missing):
                progress(name, number / len(missing))
                found = find_optimum(*task.build(workload=name), chunk=1 << 17)
                known[name] = {
                    "design": found.best_design,
                    "reward": found.best_reward,
                    "valid": found.valid,
                }
                write_optima({name: known[name] for name in wanted if name in known}, path)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
