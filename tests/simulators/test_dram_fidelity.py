"""The model of the memory controller against runs: what is compared, tables that it makes, and the command."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from archgym.errors import ArchGymError
from archgym.simulator_wrappers.base import SimulatorWrapper
from archgym.simulators.dram import DramController
from archgym.simulators.dram import tabulate as tables
from archgym.simulators.dram.fidelity import compare, shipped_runs
from archgym.simulators.dram.pack import read_runs
from archgym.simulators.dram.space import METRICS, SPACE
from archgym.simulators.dram.table import COLUMNS, load_table
from archgym.simulators.dram.tabulate import keep_table, tabulate
from archgym.simulators.dram.traces import load_trace

REFRESH = SPACE.names.index("refresh_policy")
POSTPONED = SPACE.names.index("refresh_max_postponed")


class Off(SimulatorWrapper):
    """The table, with another time and energy where refreshes are postponed up to 8 times."""

    def evaluate_indices(self, indices, rng=None):
        columns = self.simulator.evaluate_indices(indices)
        off = (indices[:, REFRESH] == 1) & (indices[:, POSTPONED] == 3)
        columns["latency_s"] = columns["latency_s"] * np.where(off, 1.001, 1)
        columns["energy_j"] = columns["energy_j"] * np.where(off, 0.98, 1)
        return columns


def test_a_model_equal_to_the_runs_has_no_difference():
    found = compare(DramController(), sample=None)
    assert len(found) == 235_008 and found.equal == 1 and found.worst() == []
    assert set(found.largest.values()) == set(found.mean.values()) == {0.0}
    assert list(found.largest) == [metric.name for metric in METRICS]


def test_differences_are_stated_without_and_with_refreshes():
    found = compare(Off(DramController()), sample=1000, seed=1)
    still, refreshing = found.of(False), found.of(True)
    assert (len(still), len(refreshing)) == (13_824, 1000)
    assert still.equal == 1 and max(still.largest.values()) == 0
    off = (refreshing.designs[:, POSTPONED] == 3).mean()
    assert refreshing.equal == pytest.approx(1 - off)
    assert refreshing.largest["latency_s"] == pytest.approx(1e-3)
    assert refreshing.largest["energy_j"] == pytest.approx(0.02)
    assert refreshing.mean["energy_j"] == pytest.approx(0.02 * off)
    assert refreshing.largest["power_w"] == 0 and found.largest == refreshing.largest
    (worst, *_) = found.worst()
    assert len(found.worst()) == 5 and worst["design"]["refresh_max_postponed"] == 8
    assert worst["model_s"] == pytest.approx(1.001 * worst["run_s"])


def test_a_sample_is_drawn_by_its_seed():
    designs = [compare(DramController(), sample=500, seed=seed).of(True).designs for seed in (3, 3, 4)]
    assert (designs[0] == designs[1]).all() and not (designs[0] == designs[2]).all()
    with pytest.raises(ArchGymError, match="sample"):
        compare(DramController(), sample=0)


def test_runs_may_be_any_designs(tmp_path):
    runs = shipped_runs()
    rows = np.random.default_rng(0).choice(len(runs.designs), 40, replace=False)
    with open(tmp_path / "runs.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *SPACE.names])
        for design, figures in zip(runs.designs[rows], runs.figures[rows].tolist(), strict=True):
            printed = (n / 10**decimals for n, decimals in zip(figures, COLUMNS.values(), strict=True))
            writer.writerow([*printed, *SPACE.design(design).values()])
    assert (read_runs(tmp_path / "runs.csv").figures == runs.figures[rows]).all()
    found = compare(DramController(), tmp_path / "runs.csv")
    assert len(found) == 40 and found.equal == 1


# --- complete tables ---


def test_a_table_holds_what_the_simulator_gives_for_every_design(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    trace = load_trace("random:requests=100")
    path, table = keep_table(DramController(), trace)
    shipped = load_table("cloud-1")
    assert path == tmp_path / "dram" / "random:requests=100.npz"
    assert (table.figures[table.outcome] == shipped.figures[shipped.outcome]).all()
    assert table.provenance["trace_digest"] == trace.digest
    again = DramController("random:requests=100")
    assert (again.table.outcome == table.outcome).all()


class Stops(SimulatorWrapper):
    """A simulator that is interrupted after some batches, and counts its designs."""

    left, designs = 10, 0

    def evaluate_indices(self, indices, rng=None):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.designs += len(indices)
        return self.simulator.evaluate_indices(indices)


def test_an_interrupted_table_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    monkeypatch.setattr(tables, "SAVE_S", 0.0)
    trace = load_trace("random:requests=100")
    first, second = Stops(DramController()), Stops(DramController())
    with pytest.raises(KeyboardInterrupt):
        keep_table(first, trace)
    (unfinished,) = (tmp_path / "dram" / "unfinished").iterdir()
    monkeypatch.setattr(tables, "SAVE_S", 60.0)
    second.left = -1
    _, table = keep_table(second, trace)
    assert first.designs + second.designs == 235_008
    assert (table.outcome == tabulate(DramController(), trace).outcome).all() and not unfinished.exists()
    unfinished.write_bytes(b"damaged")
    _, again = keep_table(DramController(), trace)
    assert (again.outcome == table.outcome).all()
