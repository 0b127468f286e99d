"""The model of systems on chip against designs that were run through FARSI, and the command that prints it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import typer
from soc_toys import random_systems
from typer.testing import CliRunner

from archgym import ArchGymError
from archgym.cli import fidelity_systems
from archgym.simulators.soc.blocks import blocks_of
from archgym.simulators.soc.fidelity import METRICS, NAMES, POSITIONS, compare
from archgym.simulators.soc.phases import simulate
from archgym.simulators.soc.workload import load_workload

REFERENCE = Path(__file__).parents[3] / "shared" / "data" / "soc" / "farsi_reference.csv"
needs_data = pytest.mark.skipif(
    not REFERENCE.is_file(), reason="FARSI's designs (shared/data/soc beside the project) are not here"
)


@needs_data
def test_all_designs_of_farsi_are_equal():
    found = compare(REFERENCE)
    assert len(found.workloads) == 900
    assert found.largest.keys() == METRICS.keys()
    assert max(found.largest.values()) <= 1e-9
    assert found.equal == 1


@needs_data
def test_nearly_all_are_equal_in_task_order():
    found = compare(REFERENCE, "task")
    assert 0.99 <= found.equal < 1
    assert all(found.of(name).equal >= 0.99 for name in set(found.workloads))


@needs_data
def test_a_blank_order_is_that_of_tasks(tmp_path):
    with REFERENCE.open(newline="") as file:
        rows = list(csv.DictReader(file))[300:600]
    blank = write(tmp_path / "blank.csv", [{**row, "kernel_order": ""} for row in rows])
    assert compare(blank).largest == compare(REFERENCE, "task").of("edge_detection").largest


# --- a table of our own ---


def row_of(design, figures):
    """A row of the table, from a design and the model's figures."""
    blocks = dict(zip(NAMES, (design.pes, design.memories, design.buses), strict=True))
    positions = (design.pe_bus, design.memory_bus, design.bus_parent, design.task_pe, design.task_memory)
    lists = {**blocks, **dict(zip(POSITIONS, positions, strict=True)), "kernel_order": design.order}
    return {
        "workload": "hpvm_cava",
        **{column: " ".join(map(str, each)) for column, each in lists.items()},
        **{metric: repr(float(figures[ours]) * unit) for metric, (ours, unit) in METRICS.items()},
    }


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def rows():
    workload = load_workload("hpvm_cava")
    designs = random_systems(workload, 5, seed=1)
    found = simulate(workload, blocks_of(workload, designs), literal=True)
    return [row_of(design, {k: v[n] for k, v in found.items()}) for n, design in enumerate(designs)]


def command(*options):
    app = typer.Typer()
    app.command()(fidelity_systems.soc)
    return CliRunner().invoke(app, [*map(str, options)], catch_exceptions=False)


def test_a_wrong_figure_is_found_in_its_row(tmp_path, rows):
    wrong = {**rows[2], "energy_j": repr(float(rows[2]["energy_j"]) * 0.8)}
    path = write(tmp_path / "designs.csv", [*rows[:2], wrong, *rows[3:]])
    found = compare(path)
    assert found.equal == 0.8
    assert found.differences["energy_j"][2] == pytest.approx(0.25)
    assert found.largest["latency_s"] < 1e-12


def test_the_command_prints_differences_and_the_share_of_equal_rows(tmp_path, rows):
    path = write(tmp_path / "designs.csv", rows)
    found = json.loads(command("--data", path, "--json").stdout)
    assert (found["rows"], found["equal"], found["order"]) == (5, 1.0, "recorded")
    assert found["largest_relative_difference"].keys() == METRICS.keys()
    assert max(found["largest_relative_difference"].values()) < 1e-12
    assert json.loads(command("--data", path, "--order", "task", "--json").stdout)["order"] == "task"
    text = command("--data", path).stdout
    assert "hpvm_cava" in text
    assert "100.00 %" in text
    low, high = compare(path).corrected.min(), compare(path).corrected.max()
    assert f"{low:.2f} to {high:.2f} times that of FARSI's" in " ".join(text.split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workload": "hpvm"}, "line 2: expected a workload (audio_decoder, edge_detection, hpvm_cava)"),
        ({"pe_names": ("A53_pe", "A57_pe")}, "line 2: unknown processing element 'A57_pe'"),
        ({"bus_names": ("_ic_", "_ic_1")}, "line 2: unknown bus 'LMEM_ic_1"),
        ({"mem_names": ("MEM_", "MEM_0")}, "_mem'; expected GMEM_<width>_<clock>_mem or LMEM"),
        ({"task_pe": "0 0 x"}, "line 2: expected whole numbers in task_pe, got 'x'"),
        ({"task_pe": "0 0"}, "line 2: expected 9 positions in task_pe, got 2"),
        ({"task_mem": "9 9 9 9 9 9 9 9 9"}, "line 2: expected positions in task_memory from 0 to"),
        ({"kernel_order": "scale"}, "line 2: expected an order of all 9 tasks, got scale"),
        ({"latency_s": "0"}, "line 2: expected a positive number as latency_s, got '0'"),
        ({"power_w": "much"}, "line 2: expected a positive number as power_w, got 'much'"),
    ],
)
def test_wrong_rows_are_refused_in_one_line(tmp_path, rows, change, message):
    cells = {
        column: cell if isinstance(cell, str) else rows[0][column].replace(*cell)
        for column, cell in change.items()
    }
    path = write(tmp_path / "designs.csv", [{**rows[0], **cells}])
    with pytest.raises(ArchGymError) as error:
        compare(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("column", ["workload", "bus_parent", "kernel_order", "area_m2"])
def test_a_table_without_a_column_is_refused(tmp_path, rows, column):
    path = write(tmp_path / "designs.csv", [{k: v for k, v in row.items() if k != column} for row in rows])
    with pytest.raises(ArchGymError) as error:
        compare(path)
    assert str(error.value) == f"{path} is not a table of designs: it has no column {column}"


def test_an_empty_table_and_an_unknown_order_are_refused(tmp_path, rows):
    path = write(tmp_path / "designs.csv", rows)
    with pytest.raises(ArchGymError, match="expected the order as one of recorded, task, got 'random'"):
        compare(path, "random")
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(ArchGymError, match="it has no rows"):
        compare(path)
