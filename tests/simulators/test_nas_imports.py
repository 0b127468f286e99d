"""Tables that users bring: known figures of real files, and what is said of files that are not as they
should be.
"""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

import archgym
from archgym.errors import ArchGymError
from archgym.simulators.nas import cells as nas
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tables.imports import (
    KINDS,
    import_nas_bench_macro,
    import_nasbench201,
    import_naslib,
)
from archgym.simulators.nas.tables.nats_bench import NATS_SETS, import_nats_bench
from archgym.simulators.nas.tables.nats_bench import read_nats_record as read_record
from archgym.simulators.nas.tables.restricted_pickle import load_pickle
from archgym.simulators.nas.tables.table import IMPORTERS, save_table
from archgym.simulators.nas.tabular import NasCell

DATA = Path(__file__).parents[3] / "shared" / "data" / "nas"
RECORDS, CSV, MACRO = (
    DATA / "nats_bench_records",
    DATA / "nasbench201_12epochs.csv",
    DATA / "nas_bench_macro_cifar10.json",
)
FIXTURE = (0, 11, 284)  # indices of the three records
real_records = pytest.mark.skipif(not RECORDS.exists(), reason="the records of NATS-Bench are not there")
real_csv = pytest.mark.skipif(not CSV.exists(), reason="the CSV of NAS-Bench-201 is not there")
real_macro = pytest.mark.skipif(not MACRO.exists(), reason="the JSON file of NAS-Bench-Macro is not there")

STRINGS = [nas.format(cell) for cell in nas.all_cells()]


def record_file(index: int) -> Path:
    return RECORDS / f"{index:06d}.pickle.pbz2"


def mean(found, name: str, epochs: int) -> float:
    return float(np.mean([value for key, value in found.items() if key[:2] == (name, epochs)]))


def test_every_kind_has_its_command():
    commands = [command for command in IMPORTERS.values() if command.startswith("archgym data import ")]
    assert {command.split()[3] for command in commands} == set(KINDS)


# NATS-Bench, real records


@real_records
def test_records_have_the_published_accuracies():
    for index, test, valid in zip(FIXTURE, (85.86, 91.58, 88.79), (63.36, 63.28, 72.88), strict=True):
        record = read_record(record_file(index))
        assert record.index == index
        assert 100 * mean(record.test, "cifar10", 200) == pytest.approx(test, abs=0.005)
        assert 100 * mean(record.valid, "cifar10", 12) == pytest.approx(valid, abs=0.005)
        assert {seed for _, epochs, seed in record.valid if epochs == 200} == {777, 888, 999}
        assert {seed for name, epochs, seed in record.valid if (name, epochs) == ("cifar10", 12)} == {
            777,
            111,
        }


@real_records
@pytest.mark.parametrize("index", FIXTURE)
def test_records_say_what_the_benchmark_s_own_package_says(tmp_path, index):
    nats_bench = pytest.importorskip("nats_bench")
    api = nats_bench.create(str(RECORDS), "tss", fast_mode=True, verbose=False)
    record = read_record(record_file(index))
    assert record.cell == api.arch(index)
    for name, ((valid_set, _), (test_set, _)) in NATS_SETS.items():
        for epochs in (12, 200):
            trained = api.get_more_info(index, valid_set, hp=str(epochs), is_random=False)
            tested = api.get_more_info(index, test_set, hp=str(epochs), is_random=False)
            assert 100 * mean(record.valid, name, epochs) == pytest.approx(
                trained["valid-accuracy"], rel=1e-12
            )
            assert mean(record.seconds, name, epochs) == pytest.approx(trained["train-all-time"], rel=1e-12)
            assert 100 * mean(record.test, name, epochs) == pytest.approx(tested["test-accuracy"], rel=1e-12)
            for part, found, key in (
                (valid_set, record.valid, "valid-accuracy"),
                (test_set, record.test, "test-accuracy"),
            ):
                for seed in (seed for other, e, seed in found if (other, e) == (name, epochs)):
                    one = api.get_more_info(index, part, hp=str(epochs), is_random=seed)
                    assert 100 * found[name, epochs, seed] == pytest.approx(one[key], rel=1e-12)


@real_records
def test_records_have_the_parameters_and_multiply_adds_of_our_networks():
    for index in FIXTURE:
        trainings = load_pickle(record_file(index))["200"]["all_results"]
        cell = nas.parse(read_record(record_file(index)).cell)[None]
        for name, (_, (theirs, _)) in NATS_SETS.items():
            costs, network = get_network(name).costs(cell), get_network(name)
            training = trainings[theirs, 888]
            assert round(1e6 * float(training["params"])) == costs["params"][0]
            # they count a bias
            assert float(training["flop"]) == pytest.approx(
                (costs["macs"][0] + network.classes) / 1e6, abs=2e-5
            )


@real_records
@real_csv
def test_records_and_csv_agree():
    lines = list(csv.DictReader(CSV.open()))
    for index in FIXTURE:
        record = read_record(record_file(index))
        assert lines[index]["cell"] == record.cell
        for name, start in (
            ("cifar10", "cifar10"),
            ("cifar100", "cifar100"),
            ("imagenet16-120", "imagenet16"),
        ):
            assert 100 * mean(record.valid, name, 12) == pytest.approx(
                float(lines[index][f"{start}_valid"]), abs=5e-4
            )


@real_records
def test_a_folder_that_lacks_records_is_refused_with_their_number():
    with pytest.raises(
        ArchGymError, match=r"15,622 of 15,625 records are missing in .*, first of all 000001\.pickle\.pbz2"
    ):
        import_nats_bench(RECORDS)


@real_records
def test_damaged_records_are_refused(tmp_path):
    content = record_file(0).read_bytes()
    for damaged, message in (
        (content[:5000], "cut off"),
        (content[:90] + bytes(99) + content[189:], "damaged"),
        (b"", "not a pickle"),
    ):
        (tmp_path / "000000.pickle.pbz2").write_bytes(damaged)
        with pytest.raises(ArchGymError, match=message):
            read_record(tmp_path / "000000.pickle.pbz2")


# NATS-Bench, a made-up folder of all cells


def made_up(index: int, cell: str, times) -> dict:
    """A record whose accuracies say where they come from; index 7 lacks a seed."""

    def training(epochs: int, parts: dict[str, float]) -> dict:
        return {
            "eval_acc1es": {f"{part}@{epochs - 1}": value for part, value in parts.items()},
            "train_times": times[epochs],
        }

    def trainings(epochs: int, seeds) -> dict:
        found = {}
        for seed in seeds:
            base = index / 15625 * 50 + seed / 1000
            found["cifar10-valid", seed] = training(epochs, {"x-valid": base, "ori-test": 99.0})
            found["cifar10", seed] = training(epochs, {"ori-test": base + 1})
            for name, shift in (("cifar100", 2), ("ImageNet16-120", 4)):
                found[name, seed] = training(
                    epochs, {"x-valid": base + shift, "x-test": base + shift + 1, "ori-test": 99.0}
                )
        return found

    seeds = {12: (111, 777), 200: (777, 888) if index == 7 else (999, 777, 888)}
    return {
        str(epochs): {"arch_index": index, "arch_str": cell, "all_results": trainings(epochs, seeds[epochs])}
        for epochs in seeds
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """15,625 records and their meta, the cells in an order of their own; not compressed, which is read all
    the same.
    """
    path = tmp_path_factory.mktemp("nats")
    order = np.random.default_rng(5).permutation(len(STRINGS))
    times = {epochs: dict.fromkeys(range(epochs), 0.5) for epochs in (12, 200)}
    (path / "meta.pickle.pbz2").write_bytes(
        pickle.dumps({"meta_archs": [STRINGS[ordinal] for ordinal in order]}, 4)
    )
    for index, ordinal in enumerate(order):
        (path / f"{index:06d}.pickle.pbz2").write_bytes(
            pickle.dumps(made_up(index, STRINGS[ordinal], times), 4)
        )
    return path, order


def test_a_whole_folder_becomes_three_tables(folder, tmp_path, monkeypatch):
    path, order = folder
    told = []
    tables = import_nats_bench(path, lambda what, share: told.append(share))
    assert told[-1] == 1.0 and len(told) == 15_625 and told == sorted(told)
    assert [table.name for table in tables] == ["nats-cifar10", "nats-cifar100", "nats-imagenet16-120"]
    assert [table.network for table in tables] == ["cifar10", "cifar100", "imagenet16-120"]
    index = 1234
    for table, valid, test in zip(tables, (0, 2, 4), (1, 3, 5), strict=True):
        row = table.row[order[index]]
        base = index / 15625 * 50 + np.array([777, 888, 999, 111]) / 1000
        assert table.provenance["seeds"] == [777, 888, 999, 111] and table.budgets.tolist() == [12, 200]
        np.testing.assert_allclose(
            table.valid_accuracy[row, :, 1], [*(base[:3] + valid) / 100, np.nan], rtol=1e-5
        )
        np.testing.assert_allclose(
            table.valid_accuracy[row, :, 0],
            [(base[0] + valid) / 100, np.nan, np.nan, (base[3] + valid) / 100],
            rtol=1e-5,
        )
        np.testing.assert_allclose(table.test_accuracy[row], [*(base[:3] + test) / 100, np.nan], rtol=1e-5)
        np.testing.assert_allclose(table.train_seconds[row], [6, 100], rtol=1e-5)
        assert np.isnan(table.valid_accuracy[table.row[order[7]], 2, 1])  # the seed that it lacks
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    save_table(tables[0])
    for epochs, seed in ((200, "mean"), (200, "random"), (12, "mean"), (12, "random"), (12, 0)):
        cells = NasCell("nats-cifar10", epochs, seed)
        columns = cells.evaluate_indices(nas.all_cells()[order[[index]]], np.random.default_rng(0))
        assert abs(100 * columns["valid_accuracy"][0] - index / 15625 * 50) < 1 and np.isfinite(
            columns["test_accuracy"][0]
        )


def test_records_that_belong_to_other_cells_or_are_incomplete_are_refused(folder, tmp_path):
    path, order = folder
    copy = tmp_path / "copy"
    shutil.copytree(path, copy, copy_function=os.link)
    times = {epochs: dict.fromkeys(range(epochs), 0.5) for epochs in (12, 200)}

    def refused(record, message: str) -> None:
        (copy / "000000.pickle.pbz2").unlink()
        (copy / "000000.pickle.pbz2").write_bytes(pickle.dumps(record, 4))
        with pytest.raises(ArchGymError, match=message):
            import_nats_bench(copy)

    good = made_up(0, STRINGS[order[0]], times)
    refused(made_up(1, STRINGS[order[0]], times), "is the record of cell 1")
    refused(made_up(0, STRINGS[order[1]], times), "not that of")
    refused({"12": good["12"]}, "'200' is missing")
    refused([1, 2], "is not a record of NATS-Bench")
    without = {key: value for key, value in good["200"]["all_results"].items() if key[0] != "cifar10"}
    refused(
        {**good, "200": {**good["200"], "all_results": without}},
        "no test accuracy of cifar10 after 200 epochs",
    )
    for wrong in (101.0, -1.0, float("nan"), "x", None):
        broken = made_up(0, STRINGS[order[0]], times)
        broken["12"]["all_results"]["cifar100", 111]["eval_acc1es"]["x-valid@11"] = wrong
        refused(broken, "not an accuracy of 0 to 100")


def test_a_folder_without_its_list_of_cells_or_with_a_wrong_one_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ArchGymError, match="is not the folder of NATS-Bench"):
            import_nats_bench(place)
    for strings, message in (
        (STRINGS[:-1], "lacks 1 of 15,625 cells"),
        ([*STRINGS[:-1], STRINGS[0]], "duplicate cell .*, first seen at index 0"),
        (["|none~0|"], "index 0: .* is not the string of a cell"),
    ):
        (tmp_path / "meta.pickle.pbz2").write_bytes(pickle.dumps({"meta_archs": strings}, 4))
        with pytest.raises(ArchGymError, match=message):
            import_nats_bench(tmp_path)
    (tmp_path / "meta.pickle.pbz2").write_bytes(pickle.dumps({}, 4))
    with pytest.raises(ArchGymError, match="has no list of cells"):
        import_nats_bench(tmp_path)


# NAS-Bench-201 after 12 epochs


@real_csv
def test_the_csv_becomes_three_tables_with_its_best_accuracies():
    tables = import_nasbench201(CSV)
    assert [table.name for table in tables] == [
        "nasbench201-cifar10",
        "nasbench201-cifar100",
        "nasbench201-imagenet16-120",
    ]
    assert 100 * float(tables[0].valid_accuracy.max()) == pytest.approx(84.892, abs=1e-4)
    lines = list(csv.DictReader(CSV.open()))
    line = lines[4321]
    ordinal = STRINGS.index(line["cell"])
    for table, start in zip(tables, ("cifar10", "cifar100", "imagenet16"), strict=True):
        assert table.budgets.tolist() == [12] and table.test_accuracy.shape == (15_625, 1)
        assert 100 * table.valid_accuracy[table.row[ordinal], 0, 0] == pytest.approx(
            float(line[f"{start}_valid"]), rel=1e-6
        )
        assert 100 * table.test_accuracy[table.row[ordinal], 0] == pytest.approx(
            float(line[f"{start}_test"]), rel=1e-6
        )


@pytest.fixture
def lines():
    """A made-up CSV: header and a line per cell."""
    header = (
        "index,cell,cifar10_test,cifar10_valid,cifar100_test,cifar100_valid,imagenet16_test,imagenet16_valid"
    )
    return [header, *(f"{index},{string},60,50,40,30,20,10" for index, string in enumerate(STRINGS))]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nats-bench"])
@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
            "a git-lfs pointer, not the data: run git lfs pull",
        ),
        (b"<!DOCTYPE html><html>", "a web page, not the data: download the file itself"),
        (b"\x1f\x8b\x08\x00", "a gzip file: unpack it first"),
    ],
)
def test_what_lies_in_the_place_of_a_file_is_named(kind, head, message, tmp_path):
    (tmp_path / "table").write_bytes(head)
    with pytest.raises(ArchGymError, match=message):
        KINDS[kind](tmp_path / "table")


def test_a_csv_without_trouble_is_read(lines, tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(lines))
    table = import_nasbench201(tmp_path / "t.csv")[1]
    assert np.unique(table.valid_accuracy).tolist() == [np.float32(0.3)] and np.unique(
        table.test_accuracy
    ).tolist() == [np.float32(0.4)]


@pytest.mark.parametrize(("separator", "point"), [(";", "."), (";", ","), ("\t", "."), (", ", ".")])
def test_a_csv_may_have_the_separators_of_a_spreadsheet(lines, tmp_path, separator, point):
    cells = [
        [cell.replace(".", point) for cell in line.replace(",60,", ",60.5,").split(",")] for line in lines
    ]
    (tmp_path / "t.csv").write_text("\n".join(map(separator.join, cells)))
    assert float(import_nasbench201(tmp_path / "t.csv")[0].test_accuracy.max()) == np.float32(0.605)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-3], r"t\.csv lacks 3 of 15,625 cells"),
        (lambda lines: lines[:1], r"t\.csv lacks 15,625 of 15,625 cells"),
        (lambda lines: [], "lacks the columns cell, cifar10_valid"),
        (
            lambda lines: [lines[0].replace("cifar100_valid", "x"), *lines[1:]],
            "lacks the columns cifar100_valid",
        ),
        (lambda lines: [*lines, lines[5]], "line 15627: duplicate cell .*, first seen at line 6"),
        (
            lambda lines: [*lines[:7], lines[7].replace("none~0", "nine~0", 1), *lines[8:]],
            "line 8: unknown operation 'nine'; did you mean 'none'",
        ),
        (
            lambda lines: [*lines[:7], "6,not a cell,1,1,1,1,1,1", *lines[8:]],
            "line 8: 'not a cell' is not the string of a cell",
        ),
        (
            lambda lines: [*lines[:7], lines[7].replace(",30,", ",high,"), *lines[8:]],
            "line 8, cifar100_valid: 'high' is not an accuracy",
        ),
        (
            lambda lines: [*lines[:7], lines[7].replace(",30,", ",nan,"), *lines[8:]],
            "line 8, cifar100_valid: 'nan' is not an accuracy",
        ),
        (
            lambda lines: [*lines[:7], lines[7].replace(",30,", ",100.1,"), *lines[8:]],
            "line 8, cifar100_valid: '100.1' is not an accuracy",
        ),
        (
            lambda lines: [*lines[:7], lines[7].replace(",60,", ",-1,"), *lines[8:]],
            "line 8, cifar10_test: '-1' is not an accuracy",
        ),
        (
            lambda lines: [*lines[:7], f"6,{STRINGS[6]},60", *lines[8:]],
            "line 8, cifar10_valid: None is not an accuracy",
        ),
    ],
)
def test_a_csv_with_trouble_is_refused_with_the_line(lines, tmp_path, change, message):
    (tmp_path / "t.csv").write_text("\n".join(change(lines)))
    with pytest.raises(ArchGymError, match=message):
        import_nasbench201(tmp_path / "t.csv")


def test_files_that_are_no_text_or_are_not_there_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ArchGymError, match="is not a CSV file"):
        import_nasbench201(tmp_path / "binary")
    with pytest.raises(ArchGymError, match="is not a JSON file"):
        import_nas_bench_macro(tmp_path / "binary")
    for read in (import_nasbench201, import_nas_bench_macro, import_naslib):
        with pytest.raises(ArchGymError, match=r"cannot read .*missing"):
            read(tmp_path / "missing")


# NAS-Bench-Macro


@real_macro
def test_macro_networks_keep_their_three_accuracies_and_exact_costs():
    data, (table,) = json.loads(MACRO.read_text()), import_nas_bench_macro(MACRO)
    assert (table.name, table.space, table.network) == ("nas-bench-macro-cifar10", "macro", "")
    assert np.isnan(table.valid_accuracy).all()
    for architecture, entry in list(data.items())[::37]:
        row = table.row[int(architecture, 3)]
        np.testing.assert_allclose(100 * table.test_accuracy[row], entry["test_acc"], rtol=1e-6)
        assert (table.columns["params"][row], table.columns["macs"][row]) == (entry["params"], entry["flops"])
    assert table.columns["macs"].max() == 105_660_928  # more than float32 tells apart


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("00000000"), "lacks 1 of 6,561 architectures"),
        (lambda data: data.update({"00000003": data["00000000"]}), "'00000003' is not an architecture"),
        (lambda data: data.update({"00000000": [1]}), "architecture 00000000: test_acc is not a list of 3"),
        (
            lambda data: data["00000012"].update(test_acc=[1, 2]),
            "architecture 00000012: test_acc is not a list of 3",
        ),
        (
            lambda data: data["00000012"].update(test_acc=[1, 2, 101]),
            "architecture 00000012, test_acc: 101 is not an accuracy",
        ),
        (
            lambda data: data["00000012"].update(test_acc=[1, 2, float("nan")]),
            "architecture 00000012, test_acc: nan is not an accuracy",
        ),
        (
            lambda data: data["00000012"].update(params=1.5),
            "architecture 00000012: expected params as a positive whole number, got 1.5",
        ),
        (
            lambda data: data["00000012"].pop("flops"),
            "architecture 00000012: expected flops as a positive whole number, got None",
        ),
    ],
)
def test_macro_files_with_trouble_are_refused(tmp_path, change, message):
    digits = ["".join(map(str, np.unravel_index(n, (3,) * 8))) for n in range(3**8)]
    data = {key: {"test_acc": [50.0, 51.0, 52.0], "params": 10, "flops": 20} for key in digits}
    change(data)
    (tmp_path / "m.json").write_text(json.dumps(data))
    with pytest.raises(ArchGymError, match=message):
        import_nas_bench_macro(tmp_path / "m.json")


def test_json_of_another_kind_is_refused(tmp_path):
    for text, message in (
        ("[1]", "not the file of NAS-Bench-Macro"),
        ("{", "is not a JSON file: .*line 1"),
        ("{}", "lacks 6,561 of 6,561"),
    ):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(ArchGymError, match=message):
            import_nas_bench_macro(tmp_path / "m.json")


# NASLib


def learning_curves(epochs: int, names=("cifar10-valid",)) -> dict:
    """A made-up pickle of NASLib, in which accuracy is the epoch plus the cell's share of 1."""
    costs = {"flops": 1.0, "params": 2.0, "latency": 3.0, "train_time": 4.0}
    return {
        string: {
            name: {
                "train_acc1es": [0.0],
                "eval_acc1es": [(e + n / 15625) / 3 for e in range(epochs)],
                "cost_info": costs,
            }
            for name in names
        }
        for n, string in enumerate(STRINGS)
    }


@pytest.mark.parametrize(("epochs", "budgets"), [(5, [5]), (12, [12]), (30, [12, 30]), (200, [12, 200])])
def test_learning_curves_become_validation_accuracies_at_our_budgets(tmp_path, monkeypatch, epochs, budgets):
    names = ("cifar10-valid", "ImageNet16-120", "cifar10") if epochs == 30 else ("cifar10-valid",)
    path = tmp_path / "naslib.pickle"
    path.write_bytes(pickle.dumps(learning_curves(epochs, names), 4))
    tables = import_naslib(path)
    assert [table.name for table in tables] == ["naslib-cifar10", "naslib-imagenet16-120"][
        : len(tables)
    ] and len(tables) == (epochs == 30) + 1
    table, ordinal = tables[0], 7000
    assert table.budgets.tolist() == budgets and np.isnan(table.test_accuracy).all()
    expected = [(budget - 1 + ordinal / 15625) / 300 for budget in budgets]
    np.testing.assert_allclose(table.valid_accuracy[table.row[ordinal], 0], expected, rtol=1e-6)
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    save_table(table)
    result = archgym.search(
        "archgym/NasCell-v0", "random", budget=20, env_kwargs={"dataset": "naslib-cifar10"}
    )
    assert (
        "test_accuracy" not in result.best_metrics and result.best_metrics["valid_accuracy"] <= epochs / 300
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.clear(), "is not a pickle of NASLib"),
        (lambda data: data.pop(STRINGS[3]), "lacks 1 of 15,625 cells"),
        (
            lambda data: data.update({"|x~0|": data[STRINGS[0]]}),
            "entry 15626: .* is not the string of a cell",
        ),
        (
            lambda data: data[STRINGS[0]].update({"mnist": data[STRINGS[0]].pop("cifar10-valid")}),
            "has the data sets mnist; known are",
        ),
        (lambda data: data[STRINGS[9]].clear(), "'cifar10-valid' is missing"),
        (
            lambda data: data[STRINGS[9]]["cifar10-valid"]["eval_acc1es"].pop(),
            "of the same length as others: 2 epochs",
        ),
        (
            lambda data: data[STRINGS[9]]["cifar10-valid"].update(eval_acc1es=[1, 2, 300]),
            "an accuracy not of 0 to 100",
        ),
        (
            lambda data: data[STRINGS[9]]["cifar10-valid"].update(eval_acc1es=["a", 1, 2]),
            "expected a list of accuracies",
        ),
        (
            lambda data: data[STRINGS[9]]["cifar10-valid"].update(eval_acc1es={0: 1.0}),
            "expected a list of accuracies",
        ),
    ],
)
def test_pickles_of_naslib_with_trouble_are_refused(tmp_path, change, message):
    data = learning_curves(3)
    change(data)
    (tmp_path / "naslib.pickle").write_bytes(pickle.dumps(data, 4))
    with pytest.raises(ArchGymError, match=message):
        import_naslib(tmp_path / "naslib.pickle")


class Runs:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_files_that_want_to_run_code_are_refused_and_run_none(tmp_path):
    mark = tmp_path / "it-ran"
    content = pickle.dumps({STRINGS[0]: Runs(f"touch {mark}")}, 4)
    for read, name in ((import_naslib, "naslib.pickle"), (read_record, "000000.pickle.pbz2")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArchGymError, match=r"contains code: it asks for posix\.system|nt\.system"):
            read(tmp_path / name)
    (tmp_path / "meta.pickle.pbz2").write_bytes(content)
    with pytest.raises(ArchGymError, match="contains code"):
        import_nats_bench(tmp_path)
    assert not mark.exists()
