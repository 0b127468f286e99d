"""The folder of a study: nothing that was stored is lost, nothing foreign is taken for a run."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import polars
import pyarrow
import pyarrow.parquet
import pytest
from study_texts import study_text

import archgym
from archgym.errors import ArchGymError
from archgym.study.runner import run_study
from archgym.study.spec import Study
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
        assert (rewards == again.history["reward"][samples]).all() and (valid == again.history["valid"][samples]).all()
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


def test_a_damaged_page_is_noticed(store):
    path = max(files(store), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ArchGymError, match=path.name):
        list(store.table(store.read().values()))


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
    assert progress.notes == ["8 stored runs are of another version of the study file; they are kept, and not part of this study"]
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
    assert all(after[id_].replace_schema_metadata(None).equals(before[id_].replace_schema_metadata(None)) for id_ in before)
    assert run_study(Study(BOTH), store, executor="inline").done == 0
    run_study(Study(BOTH.replace("seeds = 2", "seeds = 3")), store, executor="inline")
    assert store.compact()[1] == 4 and len(store.read()) == 24


def test_failed_runs_survive_compaction_and_a_later_success_replaces_them(tmp_path):
    text = study_text('id = "misbehaving:test/Exits-v0"', NK, agents=("random",), seeds=1, configurations=1)
    store = Store(tmp_path / "out")
    run_study(Study(text), store, workers=1)
    store.compact()
    assert sorted(run.done for run in store.read().values()) == [False, True]


def test_an_export_has_the_rows_of_all_runs(store):
    table = store.export()
    assert isinstance(table, polars.DataFrame)
    assert table["study_run"].n_unique() == 16 and {"study_env", "study_agent", "study_seed", "x0", "algorithm", "reward"} <= {
        *table.columns
    }
    assert (
        table.filter(polars.col("study_env") == "archgym/NKLandscape-v0")["algorithm"].null_count()
        == table.filter(polars.col("study_env") == "archgym/NKLandscape-v0").height
    )


def test_a_full_disk_is_one_clear_message_and_loses_nothing(tmp_path, monkeypatch):
    store, written = Store(tmp_path / "out"), []
    synchronise = os.fsync

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchGymError, match=r"the disk is full; what was stored before is safe: free some space and run the same command"):
        run_study(Study(BOTH), store, executor="inline")
    monkeypatch.undo()
    assert len(files(store)) == 5 and not list(store.folder.rglob("*.tmp"))  # the sixth was the study file
    assert run_study(Study(BOTH), store, executor="inline").done == 11


def test_a_really_full_disk(tmp_path):
    """A file system of 300 KB, where the user may mount one."""
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        file = tmp_path / "study.toml"
        file.write_text(BOTH.replace("seeds = 2", "seeds = 20"))
        command = [sys.executable, "-m", "archgym.cli", "study", "run", str(file), "--out", str(mount / "out"), "--workers", "1"]
        full = subprocess.run(command, capture_output=True, text=True)
        assert full.returncode == 2 and "the disk is full" in full.stderr and "Traceback" not in full.stderr, full.stderr
        stored = len(Store(mount / "out").read())
        assert stored > 10
        subprocess.run(["mount", "-o", "remount,size=30m", mount], check=True)
        assert subprocess.run(command, capture_output=True, text=True).returncode == 0
        assert len(Store(mount / "out").read()) == 160 and not Store(mount / "out").damaged()
    finally:
        subprocess.run(["umount", mount], check=False)


def test_a_folder_that_cannot_be_written_is_said_before_the_first_run(tmp_path, monkeypatch):
    with pytest.raises(ArchGymError, match="is a file; a study needs a folder"):
        (tmp_path / "file").write_text("x")
        Store(tmp_path / "file")

    def read_only(self, content):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", read_only)
    with pytest.raises(ArchGymError, match=r"cannot write .*Permission denied.*give another --out"):
        run_study(Study(BOTH), Store(tmp_path / "out"), executor="inline")
    assert not (tmp_path / "out" / "runs").exists()


def test_orphans_of_killed_runners_are_cleaned(store):
    orphan = files(store)[0].with_name(".0123456789abcdef.parquet.99.tmp")
    orphan.write_bytes(b"half a file")
    run_study(Study(BOTH), store, executor="inline")
    assert not orphan.exists()
