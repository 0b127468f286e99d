"""Workloads of systems on chip: those of archgym are FARSI's, and users' files are read or refused."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from soc_toys import CPU, content, random_systems

from archgym import ArchGymError
from archgym.simulators.soc.blocks import blocks_of, our_name
from archgym.simulators.soc.memories import CLASS_BYTES, LARGEST_BYTES, check_size, memories, size_class
from archgym.simulators.soc.phases import simulate
from archgym.simulators.soc.workload import COLUMNS, list_workloads, load_workload

DATA = Path(__file__).parents[3] / "shared" / "data" / "soc"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="FARSI's tables (shared/data/soc beside the project) are not here"
)
WORK = {"source": 0, "a": 1e6, "b": 2e6, "sink": 0}
EDGES = [("source", "a", 4096), ("a", "b", 8192), ("b", "sink", 16)]
ACCELERATOR = {"task": "a", "seconds": 1e-3, "energy_j": 1e-6, "area_mm2": 0.25, "iterations": 12}


def example():
    """The tables of a workload, for a test to change."""
    return content(WORK, EDGES, [ACCELERATOR])


def write_json(folder, tables):
    path = folder / "mine.json"
    path.write_text(json.dumps(tables))
    return path


def write_folder(folder, tables):
    """The same tables as CSV files."""
    path = folder / "mine"
    path.mkdir()
    for table, (needed, optional) in COLUMNS.items():
        rows = [tables[table]] if isinstance(tables[table], dict) else tables[table]
        with (path / f"{table}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*needed, *optional])
            writer.writeheader()
            writer.writerows(rows)
    return path


def refused(path):
    with pytest.raises(ArchGymError) as error:
        load_workload(path)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- archgym's own ---


def test_three_workloads_come_with_archgym():
    assert list_workloads() == ["audio_decoder", "edge_detection", "hpvm_cava"]
    audio, edges, camera = map(load_workload, list_workloads())
    assert [len(each.names) for each in (audio, edges, camera)] == [18, 8, 9]
    assert camera.budgets == {"latency_s": 0.034, "power_w": 0.008737, "area_mm2": 17.475}
    assert camera.levels.tolist() == list(range(9))
    assert edges.levels.tolist() == [0, 1, 2, 3, 2, 3, 4, 5]
    assert {each.names[each.last] for each in (audio, edges, camera)} == {"sink"}
    assert {each.names[each.root] for each in (audio, edges, camera)} == {"source"}
    assert all("FARSI" in each.source and "MIT" in each.source for each in (audio, edges, camera))


def test_twins_of_the_audio_decoder_share_a_group():
    audio = load_workload("audio_decoder")
    twins = [name for name, group in zip(audio.names, audio.groups, strict=True) if name != group]
    assert len(twins) == 8
    assert len(set(audio.groups)) == 18 - 4


def test_unrolls_are_powers_of_two_and_the_iterations():
    audio, edges = load_workload("audio_decoder"), load_workload("edge_detection")
    assert audio.unrolls(audio.names.index("FIR_left")) == [*(2**k for k in range(15)), 16400]
    assert edges.unrolls(edges.names.index("computeGradient")) == [*(2**k for k in range(16)), 1_638_400]
    assert audio.unrolls(audio.names.index("zoomSet")) == [1]
    assert audio.unrolls(audio.root) == []


@needs_data
@pytest.mark.parametrize("name", ["audio_decoder", "edge_detection", "hpvm_cava"])
def test_graphs_and_generated_accelerators_are_those_of_farsi(name):
    given = json.loads((DATA / f"farsi_inventory_{name}.json").read_text())
    workload = load_workload(name)
    assert list(workload.names) == [our_name(task["name"]) for task in given["tasks"]]
    np.testing.assert_allclose(workload.work, [task["work"] for task in given["tasks"]], rtol=1e-15)
    edges = [
        (our_name(task["name"]), our_name(child), data)
        for task in given["tasks"]
        for child, data in task["children"].items()
    ]
    names = workload.names
    assert [(names[p], names[c], data) for p, c, data in workload.edges] == edges

    library = {
        f"{task}_IP0_{unroll}_{clock}_pe": (
            unroll * clock * of.rate[t],
            1 / (unroll * of.joules_per_instruction[t]),
            unroll * of.area_mm2[t] * 1e-6,
        )
        for of in [workload.accelerators]
        for t, task in enumerate(names)
        for unroll in workload.unrolls(t)
        for clock in (1, 4, 6, 8)
    }
    library["A53_pe"] = workload.cpu.rate, workload.cpu.per_joule, workload.cpu.area_mm2 * 1e-6
    found = {
        re.sub("^(souurce|siink|.*_fxp_cloned)(?=_IP0)", lambda m: our_name(m[0]), block["name"]): block
        for block in given["pe"]
    }
    assert found.keys() == library.keys()
    for block, figures in library.items():
        task = block.split("_IP0_")[0]
        work = workload.work[names.index(task)] if task in names else 1
        expected = found[block]["rate"], found[block]["woe"], work / found[block]["woa"]
        assert figures == pytest.approx(expected, rel=1e-12), block


# --- memories ---


@needs_data
def test_memories_are_those_of_cacti():
    table = memories()
    with (DATA / "farsi_cacti.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * LARGEST_BYTES // CLASS_BYTES
    for row in rows:
        at = ("sram", "dram").index(row["type"]), int(row["size_bytes"]) // CLASS_BYTES
        energies = [float(row[f"{kind}_energy_nj_per_16B"]) * 1e-9 / 16 * 0.064 for kind in ("read", "write")]
        expected = *energies, float(row["area_mm2"]) * 0.07
        assert (table.read[at], table.write[at], table.area_mm2[at]) == pytest.approx(expected, rel=1e-12)


def test_sizes_round_up_to_classes():
    sizes = np.array([0, 1, 256_000, 256_001, LARGEST_BYTES, LARGEST_BYTES + 1, 1e12])
    assert size_class(sizes).tolist() == [1, 1, 1, 2, 199, 200, 200]
    assert np.isnan(memories().area_mm2[:, 200]).all()
    assert np.isfinite(memories().read[:, 1:200]).all()
    check_size(LARGEST_BYTES)
    with pytest.raises(ArchGymError, match="at most 50,944,000 B, got one of 50,944,001 B"):
        check_size(LARGEST_BYTES + 1)


# --- users' files ---


def test_json_and_csv_of_a_workload_are_equal(tmp_path):
    tables = example()
    tables["tasks"][1]["group"] = "first"
    one, other = load_workload(write_json(tmp_path, tables)), load_workload(write_folder(tmp_path, tables))
    assert (one.name, one.names, one.groups) == ("mine", tuple(WORK), ("source", "first", "b", "sink"))
    assert (one.name, one.names, one.groups, one.edges, one.cpu, one.budgets) == (
        *(other.name, other.names, other.groups, other.edges, other.cpu, other.budgets),
    )
    designs = random_systems(one, 20, seed=0)
    found, again = (simulate(each, blocks_of(each, designs)) for each in (one, other))
    for column, values in found.items():
        np.testing.assert_array_equal(values, again[column], column)


@pytest.mark.parametrize("name", list_workloads())
def test_archgyms_own_workloads_are_equal_as_csv(tmp_path, name):
    path = Path(load_workload.__code__.co_filename).parent / "workloads" / f"{name}.json"
    own, other = load_workload(name), load_workload(write_folder(tmp_path, json.loads(path.read_text())))
    designs = random_systems(own, 10, seed=0)
    found, again = (simulate(each, blocks_of(each, designs)) for each in (own, other))
    for column, values in found.items():
        np.testing.assert_array_equal(values, again[column], column)


def test_an_accelerator_is_linear_in_its_unroll(tmp_path):
    mine = load_workload(write_json(tmp_path, example()))
    assert mine.cpu.rate == pytest.approx(1e9)
    assert mine.accelerators.rate.tolist() == pytest.approx([0, 1e6 / 1e-3, 0, 0])
    assert mine.accelerators.joules_per_instruction.tolist() == pytest.approx([0, 1e-6 / 1e6, 0, 0])
    assert mine.unrolls(1) == [1, 2, 4, 8, 12]


def drop(key):
    return lambda tables: tables.pop(key)


def update(table, row, **cells):
    return lambda tables: tables[table][row].update(cells)


def add(table, row):
    return lambda tables: tables[table].append(row)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(format="archgym-soc/2"), '"format": "archgym-soc/1", got \'archgym-soc/2\''),
        (drop("format"), '"format": "archgym-soc/1", got None'),
        (drop("edges"), "expected 'edges' as a table with rows, got None"),
        (add("edges", {"parent": "b", "child": "a", "bytes": 8}), "without cycles, got a -> b -> a; remove"),
        (update("edges", 1, child="c"), "unknown task of an edge 'c'"),
        (add("edges", {"parent": "a", "child": "b", "bytes": 8}), "each edge once, got a -> b twice"),
        (update("edges", 0, bytes=0), "bytes of source -> a as a number >= 1, got 0"),
        (update("edges", 0, bytes=True), "bytes of source -> a as a number >= 1, got True"),
        (update("tasks", 1, work=-5), "work of task a as a number >= 0, got -5"),
        (update("tasks", 1, work="many"), "work of task a as a number >= 0, got 'many'"),
        (update("tasks", 0, work=7), "one task without parents, of work 0, got source; add a source"),
        (add("tasks", {"name": "c", "work": 1}), "one task without parents, of work 0, got source, c"),
        (add("tasks", {"name": "a", "work": 1}), "each task once and none named *, got 'a'"),
        (lambda t: [task.update(work=0) for task in t["tasks"]], "expected a task with work, got none"),
        (update("tasks", 1, colour="red"), "unknown column of tasks 'colour'"),
        (lambda t: t["tasks"][1].pop("work"), "row 2 of tasks has no work; give it a value"),
        (lambda t: t["library"].pop(0), "a processing element for each task, got none for b"),
        (add("library", CPU), "one CPU (task *), got two"),
        (add("library", ACCELERATOR), "one accelerator per task with work, got two (a)"),
        (add("library", {**ACCELERATOR, "task": "sink"}), "got one for a task of work 0 (sink)"),
        (add("library", {**ACCELERATOR, "task": "c"}), "unknown task of the library 'c'"),
        (update("library", 1, seconds=0), "seconds of a as a number > 0, got 0"),
        (update("library", 1, energy_j="1e999"), "energy_j of a as a number > 0, got '1e999'"),
        (update("library", 1, iterations=2.5), "iterations of a as a whole number, got 2.5"),
        (lambda t: t["budgets"].update(power_w=-1), "budget power_w as a number > 0, got -1"),
        (lambda t: t["budgets"].pop("power_w"), "row 1 of budgets has no power_w"),
        (lambda t: t.update(budgets=[t["budgets"]] * 2), "expected one row of budgets, got 2"),
    ],
)
def test_wrong_workloads_are_refused_in_one_line(tmp_path, change, message):
    tables = example()
    change(tables)
    path = write_json(tmp_path, tables)
    text = refused(path)
    assert message in text
    assert text.startswith(f"{path} is not a workload: ")


@pytest.mark.parametrize("text", ["", "{", "tasks: []", "[1, 2]", '"archgym-soc/1"', "\x00\x01"])
def test_text_that_is_no_workload_is_refused(tmp_path, text):
    path = tmp_path / "mine.json"
    path.write_text(text)
    assert refused(path).startswith(f"{path} is not a workload: ")


@pytest.mark.parametrize("table", COLUMNS)
def test_a_folder_without_one_of_its_files_is_refused(tmp_path, table):
    path = write_folder(tmp_path, example())
    (path / f"{table}.csv").unlink()
    assert refused(path) == f"no file at {path / f'{table}.csv'}; expected a table of {table}"


def test_a_csv_with_too_many_cells_is_refused(tmp_path):
    path = write_folder(tmp_path, example())
    with (path / "tasks.csv").open("a") as file:
        file.write("c,1,group,more\n")
    assert "row 5 of tasks has more cells than columns" in refused(path)


def test_an_unknown_workload_names_the_known_ones(tmp_path):
    assert refused("hpvm") == (
        "expected a workload (audio_decoder, edge_detection, hpvm_cava), a JSON file or a folder with tasks.csv, "
        "edges.csv, library.csv, budgets.csv, got 'hpvm'"
    )
