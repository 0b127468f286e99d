"""The format of accuracy tables: what is written comes back, and what is damaged, foreign or not installed
is named.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archgym.errors import ArchGymError
from archgym.simulators.nas.tables.table import (
    IMPORTERS,
    Table,
    list_tables,
    load_table,
    read_table,
    save_table,
)


def made_up(name: str = "nats-made-up", space: str = "macro", **changes) -> Table:
    """A table of 6,561 networks that share ten rows; three seeds of which one was not tested, two budgets."""
    rng = np.random.default_rng(0)
    test = rng.random((10, 3)).astype(np.float32)
    test[4, 2] = np.nan
    table = Table(
        name,
        space,
        "cifar10",
        rng.integers(0, 10, 3**8),
        np.array([4, 9]),
        rng.random((10, 3, 2)).astype(np.float32),
        test,
        rng.random((10, 2)).astype(np.float32),
        {"macs": np.arange(2**24, 2**24 + 10), "synflow": rng.random(10).astype(np.float32)},
        {"source": "made up", "seeds": [1, 2, 3]},
    )
    return replace(table, **changes) if changes else table


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A data folder with nothing in it."""
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def assert_equal(found: Table, table: Table) -> None:
    assert (found.name, found.space, found.network, found.provenance) == (
        table.name,
        table.space,
        table.network,
        table.provenance,
    )
    for name in ("row", "budgets", "valid_accuracy", "test_accuracy", "train_seconds"):
        left, right = getattr(found, name), getattr(table, name)
        assert (left is None) == (right is None)
        if right is not None:
            assert left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)
    assert {name: (c.dtype, c.tolist()) for name, c in found.columns.items()} == {
        n: (c.dtype, c.tolist()) for n, c in table.columns.items()
    }


@pytest.mark.parametrize(
    "changes", [{}, {"train_seconds": None}, {"columns": {}}], ids=["whole", "no seconds", "no columns"]
)
def test_a_table_comes_back_as_it_was_written(tmp_path, changes):
    table = made_up(**changes)
    path = save_table(table, tmp_path / "t.npz")
    found = read_table(path)
    assert_equal(found, table)
    assert found.digest == table.digest
    assert read_table(save_table(found, tmp_path / "again.npz")).digest == table.digest


def test_whole_numbers_beyond_single_precision_stay_exact(tmp_path):
    found = read_table(save_table(made_up(), tmp_path / "t.npz"))
    assert found.columns["macs"].tolist() == list(range(2**24, 2**24 + 10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "cells"}, "unknown space of a table 'cells'; did you mean 'cell'"),
        ({"space": "cell"}, r"row is int64\[6561\]; expected integer\[15625\]"),
        ({"row": np.zeros(6561)}, "row is float64"),
        ({"row": np.full(6561, 10)}, r"row numbers in 0\.\.9"),
        ({"row": np.full(6561, -1)}, r"row numbers in 0\.\.9"),
        ({"budgets": np.array([9, 4])}, "epochs in increasing order"),
        ({"budgets": np.array([4, 4])}, "epochs in increasing order"),
        ({"budgets": np.array([4])}, r"valid_accuracy is .*expected floating\[10, 3, 1\]"),
        (
            {"valid_accuracy": np.full((10, 3, 2), 1.5, np.float32)},
            "valid_accuracy has values that are not fractions",
        ),
        (
            {"test_accuracy": np.full((10, 3), -0.1, np.float32)},
            "test_accuracy has values that are not fractions",
        ),
        (
            {"test_accuracy": np.full((10, 3), np.inf, np.float32)},
            "test_accuracy has values that are not fractions",
        ),
        ({"test_accuracy": np.full((9, 3), 0.1, np.float32)}, r"expected floating\[9, 3, 2\]"),
        ({"test_accuracy": np.full(10, 0.1, np.float32)}, "expected"),
        (
            {"train_seconds": np.zeros((10, 3), np.float32)},
            r"train_seconds is float32\[10, 3\]; expected floating\[10, 2\]",
        ),
        ({"columns": {"macs": np.zeros(9)}}, r"macs is float64\[9\]; expected number\[10\]"),
        ({"columns": {"names": np.array(["x"] * 10)}}, "names is <U1"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(ArchGymError, match=message):
        made_up(**changes)


@pytest.mark.parametrize(
    "part",
    ["row", "budgets", "valid_accuracy", "test_accuracy", "train_seconds", "column.macs", "column.synflow"],
)
def test_a_figure_that_was_changed_is_noticed(tmp_path, part):
    path = save_table(made_up(), tmp_path / "t.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    flat = arrays[part].reshape(-1)
    flat[0] = (flat[0] + 1) % 10 if part == "row" else 3 if part == "budgets" else flat[0] / 2
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    with pytest.raises(ArchGymError, match="its figures are not those that were written; import it again"):
        read_table(path)


def test_a_table_cut_off_or_damaged_anywhere_is_refused(tmp_path):
    content = save_table(made_up(), tmp_path / "t.npz").read_bytes()
    path = tmp_path / "bad.npz"
    for damaged in [content[: len(content) * k // 9] for k in range(9)] + [
        content[:at] + b"\0\xff" * 8 + content[at + 16 :] for at in (0, 500)
    ]:
        path.write_bytes(damaged)
        with pytest.raises(
            ArchGymError, match=r"bad\.npz is not an accuracy table of archgym: .*import it again"
        ):
            read_table(path)


def test_files_of_other_kinds_and_versions_are_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, x=np.arange(3))
    with pytest.raises(ArchGymError, match="is not an accuracy table"):
        read_table(path)
    with open(path, "wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ArchGymError, match="is not an accuracy table"):
        read_table(path)
    save_table(made_up(), path)
    with np.load(path) as archive:
        arrays = dict(archive)
    about = {**json.loads(str(arrays["about"])), "format": 99}
    np.savez(path, **{**arrays, "about": np.array(json.dumps(about))})
    with pytest.raises(ArchGymError, match="it has format 99; this version of archgym reads format 1"):
        read_table(path)


class Runs:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("part", ["row", "about", "column.evil"])
def test_pickled_arrays_are_refused_and_run_nothing(tmp_path, part):
    path = save_table(made_up(), tmp_path / "t.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays[part] = np.array([Runs(tmp_path / "it-ran")], object)
    np.savez(path, **arrays)
    with pytest.raises(ArchGymError, match="allow_pickle=False"):
        read_table(path)
    assert not (tmp_path / "it-ran").exists()


def test_tables_are_kept_in_the_data_folder_and_listed(home):
    before = set(list_tables())
    assert not home.exists()  # listing creates nothing
    path = save_table(made_up("nats-made-up"))
    assert path == home / "nas" / "nats-made-up.npz" and path.exists()
    assert set(list_tables()) == before | {"nats-made-up"}
    assert not [entry for entry in path.parent.iterdir() if entry != path]  # nothing temporary is left


def test_a_table_is_read_once_until_its_file_is_replaced(home):
    path = save_table(made_up())
    first = load_table("nats-made-up")
    assert load_table("nats-made-up") is first
    other = made_up(columns={})
    save_table(other)
    assert path.exists() and load_table("nats-made-up").digest == other.digest != first.digest


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("nats-cifar10", "nats"),
        ("nasbench201-cifar100", "nasbench201"),
        ("nas-bench-macro-cifar10", "nas-bench-macro"),
        ("naslib-cifar10", "naslib"),
    ],
)
def test_a_table_that_is_not_installed_is_named_with_its_command(home, name, start):
    with pytest.raises(
        ArchGymError, match=f"data set '{name}' is not installed; get it with: {IMPORTERS[start]}"
    ):
        load_table(name)


@pytest.mark.parametrize("name", ["imagenet", "", 7, None, "../secret"])
def test_other_names_are_unknown(home, name):
    with pytest.raises(ArchGymError, match="unknown data set"):
        load_table(name)


def test_a_damaged_table_in_the_data_folder_says_which(home):
    path = save_table(made_up())
    path.write_bytes(b"nothing")
    assert "nats-made-up" in list_tables()
    with pytest.raises(ArchGymError, match=r"nats-made-up\.npz is not an accuracy table"):
        load_table("nats-made-up")


def test_the_file_holds_plain_arrays_and_what_they_are(tmp_path):
    with zipfile.ZipFile(save_table(made_up(), tmp_path / "t.npz")) as archive:
        assert {name.removesuffix(".npy") for name in archive.namelist()} == {
            *(
                "about",
                "row",
                "budgets",
                "valid_accuracy",
                "test_accuracy",
                "train_seconds",
                "column.macs",
                "column.synflow",
            )
        }
