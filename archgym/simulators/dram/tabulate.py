"""Complete tables of a trace from the model, in the data folder, where `DramController` finds them.

Distinct designs are evaluated in chunks. What is done is written every `SAVE_S` seconds beside the tables, so
that an interrupted run goes on where it stopped. Figures are rounded as DRAMSys prints them.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError
from archgym.files.archive import load_archive, save_archive
from archgym.files.paths import data_folder, make_folder
from archgym.progress import Progress, silent
from archgym.simulator import Simulator
from archgym.simulators.dram.model import BYTES_S, PER_UNIT
from archgym.simulators.dram.space import METRICS, SPACE
from archgym.simulators.dram.table import COLUMNS, SHIPPED_TABLES, Table, save_table
from archgym.simulators.dram.traces import Trace
from archgym.space import Indices

SAVE_S = 5.0
_CHUNK = 2048
_FORMAT = 1


def tabulate(simulator: Simulator, trace: Trace, progress: Progress = silent) -> Table:
    """The table of all designs on a trace, with what an interrupted run left.

    Args:
        simulator: model of this trace.
        trace: trace, whose name and digest go into the provenance.
        progress: function of (current step, share done).

    Raises:
        ArchGymError: a design without a result, too many outcomes, a folder that cannot be written.
    """
    representative = _representatives(simulator)
    distinct = np.unique(representative)
    figures = np.empty((len(distinct), len(COLUMNS)), np.int64)
    path = _partial(simulator)
    before = _read(path, len(distinct))
    figures[: len(before)] = before
    done, saved, what = len(before), time.monotonic(), f"{len(distinct):,} designs"
    while done < len(distinct):
        end = min(done + _CHUNK, len(distinct))
        figures[done:end] = _figures(simulator, SPACE.from_ordinal(distinct[done:end]))
        done = end
        progress(what, done / len(distinct))
        if time.monotonic() - saved > SAVE_S and done < len(distinct):
            make_folder(path.parent)
            save_archive(path, {"format": _FORMAT}, {"figures": figures[:done]})
            saved = time.monotonic()
    outcomes, outcome = np.unique(figures, axis=0, return_inverse=True)
    if len(outcomes) > np.iinfo(np.uint16).max:
        raise ArchGymError(f"the trace has {len(outcomes):,} distinct outcomes; a table holds 65,535")
    of_design = outcome.reshape(-1)[np.searchsorted(distinct, representative)]
    provenance = {
        "simulator": simulator.unwrapped.specification,
        "trace": trace.name,
        "trace_digest": trace.digest,
        "requests": len(trace),
        "evaluated": len(distinct),
    }
    return Table(of_design.astype(np.uint16), outcomes, provenance)


def table_path(trace: Trace) -> Path:
    """The file of a trace's table in the data folder."""
    return data_folder("dram", f"{trace.name}.npz")


def check_name(trace: Trace) -> None:
    """Refuse a trace with the name of a table that ships, or one that cannot be a file's."""
    if trace.name in SHIPPED_TABLES or not trace.name or "/" in trace.name:
        raise ArchGymError(
            f"expected a trace with a name of its own, got {trace.name!r}; give its file another name"
        )


def keep_table(simulator: Simulator, trace: Trace, progress: Progress = silent) -> tuple[Path, Table]:
    """Make a table in the data folder; `DramController(trace.name)` finds it.

    Raises:
        ArchGymError: as `tabulate`.
    """
    check_name(trace)
    path = table_path(trace)
    make_folder(path.parent)
    table = tabulate(simulator, trace, progress)
    save_table(table, path)
    _partial(simulator).unlink(missing_ok=True)
    return path, table


def _representatives(simulator: Simulator) -> Indices:
    """The ordinal of the representative of every design, [442368]."""
    everything = SPACE.from_ordinal(np.arange(SPACE.size))
    return SPACE.to_ordinal(simulator.canonical(everything))


def _figures(simulator: Simulator, designs: Indices) -> npt.NDArray[np.int64]:
    """Figures as DRAMSys prints them, times 10^decimals: int64 [B, 4]."""
    columns = simulator.evaluate_indices(designs)
    if not columns["feasible"].all():
        reasons = columns.get("failure", np.array([""]))
        raise ArchGymError(f"a design has no result on this trace: {max(map(str, reasons))}")
    names = [metric.name for metric in METRICS]
    units = [*PER_UNIT, 1 / BYTES_S]
    return np.stack(
        [np.rint(columns[name] * unit).astype(np.int64) for name, unit in zip(names, units, strict=True)], 1
    )


def _partial(simulator: Simulator) -> Path:
    """The file of what is done, by the simulator."""
    identity = json.dumps(simulator.unwrapped.specification, sort_keys=True, default=str)
    return data_folder("dram", "unfinished", f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz")


def _read(path: Path, most: int) -> npt.NDArray[np.int64]:
    """The figures in an unfinished file; none of one that is missing or damaged."""
    nothing = np.empty((0, len(COLUMNS)), np.int64)
    try:
        figures = load_archive(path, _FORMAT)[1]["figures"]
    except Exception:  # a damaged archive raises nearly anything; its figures are made again
        return nothing
    fits = figures.ndim == 2 and figures.shape[1] == len(COLUMNS) and len(figures) <= most
    return figures if fits and figures.dtype == np.int64 else nothing
