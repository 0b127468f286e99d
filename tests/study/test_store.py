"""The folder of a study: nothing that was stored is lost, nothing foreign is taken for a run."""

from __future__ import annotations

import ast
import contextlib
import csv
import errno
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import polars
import pyarrow
import pyarrow.parquet
import pytest
from study_texts import study_text
from typer.testing import CliRunner

import archgym
from archgym.cli import app
from archgym.errors import ArchGymError
from archgym.study.design import Study
from archgym.study.export import StudyRows
from archgym.study.run import to_bytes
from archgym.study.runner import run_study
from archgym.study.store import Store

pytestmark = pytest.mark.usefixtures("plugins")

NK = 'id = "archgym/NKLandscape-v0"\nkwargs = { n = 8, k = 1 }'
BOTH = study_text(NK, 'id = "archgym/Softmax-v0"', budget=60)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "out")
    run_study(Study(BOTH), store, executor="inline")
    return store


def files(store: Store) -> list[Path]:
    return sorted((store.folder / "runs").rglob("*.parquet"))


def test_a_run_file_holds_its_improvements_and_the_specification_that_repeats_it(store):
    for run, table in store.table(store.read().values()):
        again = archgym.search_again(run.specification)
        rewards, valid = table["reward"].to_numpy(), table["valid"].to_numpy()
        samples = table["sample"].to_numpy()
        assert samples[-1] == 59
        best = again.best_so_far
        improved = [i for i in range(60) if best[i] > (best[i - 1] if i else -float("inf"))]
        assert samples.tolist() == sorted({*improved, 59})
        assert (rewards == again.history["reward"][samples]).all() and (
            valid == again.history["valid"][samples]
        ).all()
        for name in again.best_design:
            assert table[name].to_pylist() == again.history[name][samples].tolist()
        assert (table["elapsed_seconds"].to_numpy() >= 0).all() and run.result["samples"] == 60
        assert run.result["clipped"] == (abs(again.history["reward"][again.history["valid"]]) == 10).sum()
        assert run.result["best_reward"] == again.best_reward and run.result["unique"] == again.unique


def test_full_history_has_every_sample_and_another_identifier(tmp_path, store):
    full = Store(tmp_path / "full")
    run_study(Study(BOTH.replace("seeds = 2", 'seeds = 2\nhistory = "full"')), full, executor="inline")
    assert all(table.num_rows == 60 for _, table in full.table(full.read().values()))
    assert not full.read().keys() & store.read().keys()


def test_a_truncated_file_is_set_aside_and_its_run_is_run_again(store, rows):
    before = rows(store.folder)
    victim, other = files(store)[:2]
    victim.write_bytes(victim.read_bytes()[:-20])
    other.write_bytes(b"")
    progress = run_study(Study(BOTH), store, executor="inline")
    assert progress.done == 2 and "2 files could not be read" in progress.notes[0]
    assert {path.name for path in store.damaged()} == {victim.name, other.name}
    after = rows(store.folder / "runs")
    assert after.keys() == before.keys() and all(after[id_].equals(before[id_]) for id_ in before)


def test_no_flipped_bit_is_taken_for_a_result(tmp_path):
    """Every 50th byte of a run's file and of a compact file: the flip is noticed, or the rows, names and
    results are equal.
    """
    study, store = (
        Study(study_text(NK, budget=30, agents=("random",), configurations=1)),
        Store(tmp_path / "out"),
    )
    run_study(study, store, executor="inline")
    whole = everything(store)
    for merged in (False, True):
        if merged:
            store.compact()
        path = max(files(store), key=lambda p: p.stat().st_size)
        content, noticed = path.read_bytes(), []
        runs = {run.id for run in store.read().values() if run.path == path}
        for place in range(0, len(content), 50):
            flipped = bytearray(content)
            flipped[place] ^= 1 << place // 50 % 8
            path.write_bytes(flipped)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = everything(store)
            if found.keys() == whole.keys():
                assert all(same_run(found[id_], whole[id_]) for id_ in whole) and not caught, place
            else:
                assert found.keys() == whole.keys() - runs and path.name in str(caught[0].message), place
                noticed.append(bytes(flipped))
        assert len(noticed) >= len(content) // 50
        again = []
        for flipped in (noticed[0], noticed[-1]):
            path.write_bytes(flipped)
            again.append(run_study(study, store, executor="inline").done)
            repeated = {run.id: table for run, table in store.table(store.read().values())}
            assert all(reproducible(repeated[id_]).equals(reproducible(whole[id_][2])) for id_ in whole)
        assert again == [len(runs), 0 if merged else len(runs)], (
            "after the first the runs of a compact file have files of their own"
        )
        names = [damaged.name for damaged in store.damaged() if damaged.name.startswith(path.stem)]
        assert names == [f"{path.stem}-2.parquet", path.name], "none replaces an earlier one"


def everything(store: Store) -> dict[str, tuple]:
    """Identifier -> specification, result, rows, of all that is not passed over; and the export works."""
    exported = [table["study_run"].unique().to_pylist() for table in StudyRows(store).tables()]
    found = {
        run.id: (run.specification, run.result, table) for run, table in store.table(store.read().values())
    }
    assert {id_ for ids in exported for id_ in ids} == found.keys()
    return found


def same_run(a, b) -> bool:
    return a[:2] == b[:2] and a[2].replace_schema_metadata(None).equals(b[2].replace_schema_metadata(None))


def reproducible(table: pyarrow.Table) -> pyarrow.Table:
    return table.drop_columns(
        [name for name in table.column_names if "seconds" in name]
    ).replace_schema_metadata(None)


def test_files_of_versions_without_a_seal_are_read_and_their_damage_is_noticed(store):
    before = store.read().keys()
    for path in files(store):
        without_seal(path)
    assert store.read().keys() == before
    path = max(files(store), key=lambda p: p.stat().st_size)
    content = path.read_bytes()
    page = content.rindex(
        struct.pack("<d", store.read()[path.stem].result["best_reward"]), 0, len(content) - 2000
    )
    for damage in (
        content[:page] + b"\x17" + content[page + 1 :],
        content.replace(b"best_reward", b"best_bewarr"),
    ):
        path.write_bytes(damage)
        with pytest.warns(
            UserWarning, match=f"1 damaged file is passed over: .*{path.name}.*archgym study run FILE --out"
        ):
            assert store.read().keys() == before - {path.stem}


def without_seal(path: Path) -> None:
    table = pyarrow.parquet.read_table(path)
    metadata = {name: text for name, text in table.schema.metadata.items() if name != b"archgym.sha256"}
    pyarrow.parquet.write_table(
        table.replace_schema_metadata(metadata),
        path,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )


def test_verify_names_what_is_damaged(store):
    def verify(*arguments: object):
        return CliRunner().invoke(app, ["study", "verify", *map(str, arguments)])

    assert "16 files are intact; 0 are damaged" in verify(store.folder).stdout
    first, second, third = files(store)[:3]
    flipped = bytearray(first.read_bytes())
    flipped[-60] ^= 1
    first.write_bytes(flipped)
    without_seal(second)
    third.unlink()
    os.mkfifo(third)
    found = verify(store.folder)
    assert found.exit_code == 1
    lines = found.stdout.splitlines()
    assert (
        lines[0] == f"{first}: its content has changed since it was written"
        and lines[1] == f"{third}: it is a FIFO, not a file"
    )
    assert lines[2] == (
        "14 files are readable; 1 of them, of an older archgym, have checksums of their rows only; 2 are "
        "damaged"
    )
    assert "archgym study run FILE --out" in found.stderr
    assert verify(store.folder, "--set-aside").exit_code == 1
    assert {path.name for path in store.damaged()} == {first.name, third.name}
    assert verify(store.folder).exit_code == 0
    assert run_study(Study(BOTH), store, executor="inline").done == 2
    empty = verify(store.folder / "damaged")
    assert empty.exit_code == 2 and "it has no runs" in empty.stderr


def test_foreign_files_are_never_taken_for_runs_nor_lost(store):
    first, second = files(store)[:2]
    foreign = first.with_name("0123456789abcdef.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), foreign)
    renamed = second.with_name("fedcba9876543210.parquet")  # a run under the name of another
    renamed.write_bytes(second.read_bytes())
    mine = first.with_name("notes.parquet")
    mine.write_bytes(b"my own")
    progress = run_study(Study(BOTH), store, executor="inline")
    assert progress.done == 0 and progress.stored == 16
    assert {path.name for path in store.damaged()} == {foreign.name, renamed.name}
    assert mine.read_bytes() == b"my own"


def test_a_changed_study_file_keeps_old_runs_and_runs_the_new(store):
    changed = Study(BOTH.replace("seeds = 2", "seeds = 3").replace('name = "random"', 'name = "qmc"'))
    progress = run_study(changed, store, executor="inline")
    assert (progress.total, progress.stored) == (24, 8)
    assert progress.notes == [
        "8 stored runs are of another version of the study file; they are kept, and not part of this study"
    ]
    assert run_study(Study(BOTH), store, executor="inline").done == 0, "the old file finds all its runs again"


def test_compaction_changes_no_row_and_can_be_resumed(store, monkeypatch):
    before = {run.id: table for run, table in store.table(store.read().values())}
    results = {id_: (run.specification, run.result) for id_, run in store.read().items()}
    kept = files(store)[0].read_bytes(), files(store)[0]
    assert store.compact() == (16, 4) and len(files(store)) == 4
    kept[1].write_bytes(kept[0])  # as if it had been killed before the last file was removed
    assert store.compact() == (5, 4)
    assert {id_: (run.specification, run.result) for id_, run in store.read().items()} == results
    after = {run.id: table for run, table in store.table(store.read().values())}
    assert all(
        after[id_].replace_schema_metadata(None).equals(before[id_].replace_schema_metadata(None))
        for id_ in before
    )
    assert run_study(Study(BOTH), store, executor="inline").done == 0
    run_study(Study(BOTH.replace("seeds = 2", "seeds = 3")), store, executor="inline")
    assert store.compact()[1] == 4 and len(store.read()) == 24


def test_a_parameter_may_be_named_run(store, tmp_path):
    for path in files(store):
        table = pyarrow.parquet.read_table(path)
        metadata = {
            name.decode(): json.loads(text)
            for name, text in table.schema.metadata.items()
            if name.startswith(b"archgym.r")
        }
        specification = {
            name: value for name, value in store.read()[path.stem].specification.items() if name != "archgym"
        }
        table = table.append_column("run", pyarrow.array(range(table.num_rows)))
        path.write_bytes(to_bytes(table, specification, metadata["archgym.result"]))
    before = {run.id: table["run"].to_pylist() for run, table in store.table(store.read().values())}
    store.compact()
    after = {run.id: table["run"].to_pylist() for run, table in store.table(store.read().values(), ("run",))}
    assert after == before and all(rows == list(range(len(rows))) for rows in after.values())
    exported = [value for table in StudyRows(store).tables() for value in table["run"].to_pylist()]
    assert sorted(exported) == sorted(value for rows in before.values() for value in rows)


def test_files_whose_columns_have_types_that_do_not_join_stay_as_they_are(store):
    path = files(store)[0]
    table = pyarrow.parquet.read_table(path)
    metadata = {name: text for name, text in table.schema.metadata.items() if name != b"archgym.sha256"}
    mixed = table.set_column(table.column_names.index("x0"), "x0", pyarrow.array(["none"] * table.num_rows))
    pyarrow.parquet.write_table(mixed.replace_schema_metadata(metadata), path)
    assert store.compact() == (16, 7) and store.compact() == (7, 7) and len(store.read()) == 16


def test_failed_runs_survive_compaction_and_a_later_success_replaces_them(tmp_path):
    text = study_text('id = "misbehaving:test/Exits-v0"', NK, agents=("random",), seeds=1, configurations=1)
    store = Store(tmp_path / "out")
    run_study(Study(text), store, workers=1)
    store.compact()
    assert sorted(run.done for run in store.read().values()) == [False, True]


def test_an_export_has_the_rows_of_all_runs(store, tmp_path):
    result = CliRunner().invoke(
        app, ["study", "export", str(store.folder), "--out", str(tmp_path / "runs.parquet")]
    )
    table = polars.read_parquet(tmp_path / "runs.parquet")
    assert result.stdout.startswith(f"{table.height:,} rows of 16 runs in ")
    assert table["study_run"].n_unique() == 16 and {
        "study_env",
        "study_agent",
        "study_seed",
        "x0",
        "algorithm",
        "reward",
    } <= {*table.columns}
    assert (
        table.filter(polars.col("study_env") == "archgym/NKLandscape-v0")["algorithm"].null_count()
        == table.filter(polars.col("study_env") == "archgym/NKLandscape-v0").height
    )
    for run, rows in store.table(store.read().values()):
        own = table.filter(polars.col("study_run") == run.id)
        assert (
            own["sample"].to_list() == rows["sample"].to_pylist()
            and own["reward"].to_list() == rows["reward"].to_pylist()
        )
        assert own["study_agent"].unique().to_list() == [run.specification["agent"]["name"]]
        assert json.loads(own["study_hyperparameters"][0]) == run.specification["agent"]["hyperparameters"]
    store.compact()
    assert (
        CliRunner()
        .invoke(app, ["study", "export", str(store.folder), "--out", str(tmp_path / "again.parquet")])
        .exit_code
        == 0
    )
    order = ["study_run", "sample"]
    assert polars.read_parquet(tmp_path / "again.parquet").sort(order).equals(table.sort(order))
    CliRunner().invoke(app, ["study", "export", str(store.folder), "--out", str(tmp_path / "runs.csv")])
    read = polars.read_csv(tmp_path / "runs.csv", infer_schema_length=None)
    assert read.columns == table.columns and read["reward"].sort().equals(table["reward"].sort())


def test_an_export_keeps_parameters_that_have_the_names_of_its_own_columns(store):
    for path in files(store):
        table = pyarrow.parquet.read_table(path)
        path.write_bytes(
            to_bytes(table.append_column("study_seed", pyarrow.array(["mine"] * len(table))), *metadata(path))
        )
    table = next(StudyRows(store).tables())
    assert set(table["study_seed"].to_pylist()) == {"mine"} and table["study_seed_"].type == pyarrow.int64()


def metadata(path: Path) -> list[dict]:
    found = pyarrow.parquet.read_metadata(path).metadata
    return [json.loads(found[b"archgym"]), json.loads(found[b"archgym.result"])]


COMMANDS = ("study status", "study verify", "study export", "study violations", "dataset build")


@pytest.mark.parametrize("name", ["", "runs", "runs/NKLandscape-*", "runs/*/random"])
def test_a_folder_that_may_not_be_read_is_said_to_be_so_by_every_command(store, name):
    with tempfile.TemporaryDirectory() as everybodys:
        os.chmod(everybodys, 0o777)
        folder = Path(shutil.copytree(store.folder, Path(everybodys, "out")))
        place = next(folder.glob(name)) if name else folder

        def invoke(command):
            out = {"study export": "made.parquet", "dataset build": "made"}.get(command)
            return CliRunner().invoke(
                app, [*command.split(), str(folder), *(["--out", f"{everybodys}/{out}"] if out else [])]
            )

        for command in COMMANDS:  # so that all modules are imported
            invoke(command)
        place.chmod(0)
        with bound_by_permissions():
            for command in COMMANDS:
                result = invoke(command)
                assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1, result.output
                assert str(place) in result.stderr and ": Permission denied; " in result.stderr
        place.chmod(0o755)


@contextlib.contextmanager
def bound_by_permissions():
    """As another user, if this one is root."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_whatever_is_no_folder_where_runs_lie_is_refused_as_a_link_is(store, tmp_path):
    shutil.rmtree(next((store.folder / "runs").iterdir()))
    (store.folder / "runs" / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ArchGymError, match="is a link"):
        store.read()


def test_a_compaction_that_cannot_remove_a_file_says_so(store, monkeypatch):
    def refuse(path, missing_ok=False):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch, pytest.raises(ArchGymError, match="what was stored before is safe"):
        patch.setattr(Path, "unlink", refuse)
        store.compact()
    assert len(store.read()) == 16


def test_an_export_reads_file_after_file(store, monkeypatch):
    """However many runs there are, only some are held at a time."""
    monkeypatch.setattr("archgym.study.export._MAX_TABLES", 3)
    tables = list(StudyRows(store).tables())
    assert len(tables) >= 6 and len({str(table.schema) for table in tables}) == 1
    assert max(len(table["study_run"].unique()) for table in tables) <= 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (([1, 2], [0.5]), [1.0, 2.0, 0.5]),
        (([1], [None], [2]), [1, None, 2]),
        (([True], [3]), ["true", "3"]),
        (([1], ["a"], [0.5]), ["1", "a", "0.5"]),
        ((pyarrow.array([2**64 - 1], pyarrow.uint64()), [-1]), ["18446744073709551615", "-1"]),
        (([[1, 2]], [3]), ["[1, 2]", "3"]),
    ],
)
def test_values_of_several_types_become_the_widest(store, values, expected):
    """The same name in several tasks: numbers where all are, else texts."""
    for path, column in zip(files(store), values, strict=False):
        table = pyarrow.parquet.read_table(path)
        metadata = {name.decode(): json.loads(value) for name, value in table.schema.metadata.items()}
        table = pyarrow.table({"sample": range(len(column)), "mixed": column})
        metadata["archgym"].pop("archgym")
        path.write_bytes(to_bytes(table, metadata["archgym"], metadata["archgym.result"]))
    found = [value for table in StudyRows(store).tables() for value in table["mixed"].to_pylist()]
    assert found[: len(expected)] == expected and set(found[len(expected) :]) <= {None}


def test_an_export_to_csv_holds_no_formula(store, tmp_path):
    path = files(store)[0]
    run = store.read()[path.stem]
    specification = {name: value for name, value in run.specification.items() if name != "archgym"}
    rows = pyarrow.table({"sample": [0, 1], "=1+1": ["@x", "-2"], "low": [-1.5, None]})
    path.write_bytes(to_bytes(rows, specification, run.result))
    CliRunner().invoke(app, ["study", "export", str(store.folder), "--out", str(tmp_path / "runs.csv")])
    with open(tmp_path / "runs.csv", newline="") as file:
        first, second = list(csv.DictReader(file))[:2]
    assert (first["'=1+1"], first["low"], second["'=1+1"], second["low"]) == ("'@x", "-1.5", "-2", "")


FOLDERS = ["runs", "runs/nk", "runs/nk/random", "damaged", "cache"]
COMPACT = "runs/nk/genetic/compact-0123456789abcdef.parquet"
FILES = [".write-test", ".lock", "study.toml", "RUN", COMPACT, ".study.toml.PID.tmp", "out.csv"]
CACHE = [f"cache/nk.sqlite{end}" for end in ("", "-wal", "-shm", "-journal")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small study with a cache, one run of it damaged, and another missing."""
    folder = tmp_path_factory.mktemp("prepared")
    run_study(Study(CACHED), Store(folder / "out"), executor="inline")
    first, second = files(Store(folder / "out"))[:2]
    first.write_bytes(b"damaged")
    second.unlink()
    return folder / "out", first.relative_to(folder / "out"), second.relative_to(folder / "out")


CACHED = study_text(NK + '\nlabel = "nk"', budget=8, seeds=1, more="cache = true")


@pytest.mark.parametrize("name", [*FOLDERS, *FILES, *CACHE])
@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO", "hard link"])
def test_nothing_outside_is_touched_whatever_has_the_name(prepared, tmp_path, name, kind):
    folder, outside = tmp_path / "out", tmp_path / "outside"
    shutil.copytree(prepared[0], folder)
    outside.mkdir()
    (outside / "file").write_text("precious")
    shutil.copytree(folder / "runs", outside / "folder" / "runs")
    place = folder / (prepared[2] if name == "RUN" else name.replace("PID", str(os.getpid())))
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    if kind == "FIFO":
        os.mkfifo(place)
    elif kind == "hard link" and name not in FOLDERS:
        place.hardlink_to(outside / "file")
    else:
        deep = outside / "folder" / name if name.startswith("runs") else outside / "folder"
        place.symlink_to(
            outside / "absent" if kind != "link" else deep if name in FOLDERS else outside / "file"
        )
    before = {path: path.read_bytes() if path.is_file() else None for path in outside.rglob("*")}
    study = tmp_path / "study.toml"
    study.write_text(CACHED)
    codes = [
        CliRunner().invoke(app, ["study", *command]).exit_code
        for command in (
            ["status", str(folder)],
            ["verify", str(folder)],
            ["export", str(folder), "--out", str(folder / "out.csv")],
            ["run", str(study), "--out", str(folder), "--executor", "inline"],
            ["compact", str(folder)],
        )
    ]
    assert set(codes) <= {0, 1, 2}
    assert {path: path.read_bytes() if path.is_file() else None for path in outside.rglob("*")} == before
    refused = name in (*FOLDERS, *CACHE, ".lock")
    assert (codes[3] == 2) == refused, "what is replaced or passed over does not stop a study"
    if refused:
        result = CliRunner().invoke(
            app, ["study", "run", str(study), "--out", str(folder), "--executor", "inline"]
        )
        assert (
            f"{place} is a " in result.stderr
            and f"{kind.split()[-1]}" in result.stderr
            and "where archgym keeps" in result.stderr
        )
        assert "remove it, or give another folder" in result.stderr
    else:
        assert len(Store(folder).read()) == 4


def test_whatever_lies_in_a_runs_place_is_set_aside(prepared, tmp_path):
    shutil.copytree(prepared[0], tmp_path / "out")
    store, kinds = Store(tmp_path / "out"), ["folder", "socket", "link to a run"]
    place = store.folder / prepared[2]
    for kind in kinds:
        place.unlink(missing_ok=True)
        if kind == "folder":
            (place / "deep").mkdir(parents=True)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(place.parent):
                made.bind(place.name)
        else:
            place.symlink_to(files(store)[-1])
        progress = run_study(Study(CACHED), store, executor="inline")
        assert progress.done >= 1 and place.is_file() and not place.is_symlink()
    names = {path.name for path in store.damaged()}
    assert {place.name, f"{place.stem}-2.parquet", f"{place.stem}-3.parquet"} <= names


def test_a_folder_that_is_itself_a_link_is_the_users_wish(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = Store(tmp_path / "link")
    assert run_study(Study(CACHED), store, executor="inline").done == 4
    assert len(Store(tmp_path / "real").read()) == 4 and store.compact() == (4, 2)


def test_runners_that_start_together_say_nothing_but_that_another_is_at_work(tmp_path):
    code = """
import sys, time
from archgym.errors import ArchGymError
from archgym.study.store import Store
end, said = time.monotonic() + 1.5, set()
while time.monotonic() < end:
    try:
        with Store(sys.argv[1]).locked():
            said.add("mine")
    except ArchGymError as error:
        said.add(str(error).split(":")[0])
print(sorted(said))
"""
    runners = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "out"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    said = {line for runner in runners for line in ast.literal_eval(runner.communicate()[0])}
    assert said <= {"mine", f"another runner is at work in {tmp_path / 'out'}"} and "mine" in said


def test_a_full_disk_is_one_clear_message_and_loses_nothing(tmp_path, monkeypatch):
    store, written = Store(tmp_path / "out"), []
    synchronise = os.fsync

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ArchGymError,
        match=r"the disk is full; what was stored before is safe: free some space and run the same command",
    ):
        run_study(Study(BOTH), store, executor="inline")
    monkeypatch.undo()
    assert len(files(store)) == 5 and not list(store.folder.rglob("*.tmp"))  # the sixth was the study file
    assert run_study(Study(BOTH), store, executor="inline").done == 11


def test_a_really_full_disk(tmp_path):
    """A file system of 300 KB, where the user may mount one."""
    mount = tmp_path / "small"
    mount.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", mount], capture_output=True
        ).returncode
    ):
        pytest.skip("needs the right to mount a file system")
    try:
        file = tmp_path / "study.toml"
        file.write_text(BOTH.replace("seeds = 2", "seeds = 20"))
        command = [
            sys.executable,
            "-m",
            "archgym.cli",
            "study",
            "run",
            str(file),
            "--out",
            str(mount / "out"),
            "--workers",
            "1",
        ]
        full = subprocess.run(command, capture_output=True, text=True)
        assert (
            full.returncode == 2 and "the disk is full" in full.stderr and "Traceback" not in full.stderr
        ), full.stderr
        stored = len(Store(mount / "out").read())
        assert stored > 10
        subprocess.run(["mount", "-o", "remount,size=30m", mount], check=True)
        assert subprocess.run(command, capture_output=True, text=True).returncode == 0
        assert len(Store(mount / "out").read()) == 160 and not Store(mount / "out").damaged()
    finally:
        subprocess.run(["umount", mount], check=False)


def test_a_folder_that_cannot_be_written_is_said_before_the_first_run(tmp_path, monkeypatch):
    with pytest.raises(ArchGymError, match="expected a folder for the study, got the file"):
        (tmp_path / "file").write_text("x")
        Store(tmp_path / "file")

    def read_only(path, flags, *rest, **options):
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *rest, **options)

    opened = os.open
    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(ArchGymError, match=r"cannot write .*Permission denied.*give another --out"):
        run_study(Study(BOTH), Store(tmp_path / "out"), executor="inline")
    assert not (tmp_path / "out" / "runs").exists()


def test_orphans_of_killed_runners_are_cleaned(store):
    orphan = files(store)[0].with_name(".0123456789abcdef.parquet.99.tmp")
    orphan.write_bytes(b"half a file")
    run_study(Study(BOTH), store, executor="inline")
    assert not orphan.exists()
