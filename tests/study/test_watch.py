"""Watching a study: the same counts as its store, only new files read, nothing written, no folder too strange."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from study_texts import study_text
from typer.testing import CliRunner

from archgym.cli import app
from archgym.cli.terminal import Terminal
from archgym.cli.watch import Screen
from archgym.errors import ArchGymError
from archgym.optimum import Optimum
from archgym.study import watch
from archgym.study.design import Study
from archgym.study.runner import run_study
from archgym.study.store import Store
from archgym.study.watch import Group, Look, StudyWatch, is_locked

pytestmark = pytest.mark.usefixtures("plugins")

NK = 'id = "archgym/NKLandscape-v0"\nkwargs = { n = 8, k = 1 }\nlabel = "nk"'
EXITS = 'id = "misbehaving:test/Exits-v0"\nlabel = "exits"'
TEXT = study_text(NK, EXITS, budget=20)  # 2 tasks x 2 agents x 2 configurations or replicates x 2 seeds


@pytest.fixture
def store(plugins, tmp_path):
    store = Store(tmp_path / "out")
    run_study(Study(TEXT), store, executor="inline")
    return store


@pytest.fixture
def read(monkeypatch):
    """The files that are read, by name."""
    found = []

    def reading(path):
        found.append(path.name)
        return real(path)

    real = watch.runs_in
    monkeypatch.setattr(watch, "runs_in", reading)
    return found


def files(store: Store) -> list[Path]:
    return sorted((store.folder / "runs").rglob("*.parquet"))


def tree(folder: Path) -> dict[str, tuple]:
    return {
        str(p): (p.lstat().st_mtime_ns, p.lstat().st_size, p.lstat().st_ino)
        for p in [folder, *folder.rglob("*")]
    }


def test_counts_best_rewards_and_reasons_are_those_of_the_store(store):
    watched, stored = StudyWatch(store.folder), store.read()
    victim = files(store)[0]
    victim.unlink()
    del stored[victim.stem]
    look = watched.look()
    assert look.total == 16 and look.left == 1 and not look.finished and look.name == "test"
    assert look.done == sum(run.done for run in stored.values()) and look.done + look.failed == 15
    assert look.failed == look.reasons.total() > 0 and all("SystemExit" in reason for reason in look.reasons)
    for run in Study(TEXT).runs():
        if run.id in stored and stored[run.id].done:
            assert look.groups[run.task, run.agent].best >= stored[run.id].result["best_reward"]
    best = max(
        run.result["best_reward"]
        for run in stored.values()
        if run.done and "NK" in run.specification["env"]["id"]
    )
    assert look.best()["nk"][0] == best
    while watched.find_optimum():
        pass
    assert watched.look().optima["nk"].regret(best) >= 0


def test_a_file_is_read_once_and_again_after_it_was_replaced(store, read):
    watched = StudyWatch(store.folder)
    watched.look()
    assert len(read) == 16
    read.clear()
    watched.look()
    assert read == []
    changed, new = files(store)[3:5]
    content = new.read_bytes()
    new.unlink()
    assert watched.look().left == 1
    new.write_bytes(content)
    changed.with_name("x").write_bytes(changed.read_bytes())
    changed.with_name("x").replace(changed)
    assert watched.look().finished and sorted(read) == sorted([changed.name, new.name])


def test_damaged_foreign_and_vanishing_files_are_survived(store, monkeypatch):
    watched = StudyWatch(store.folder)
    cut, gone, link = files(store)[:3]
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-30])
    target = link.read_bytes()
    link.unlink()
    link.symlink_to("/etc/passwd")
    os.mkfifo(gone.with_name("0" * 16 + ".parquet"))
    (gone.parent / "notes.txt").write_text("mine")
    real = watch.runs_in

    def vanishing(path):
        if path == gone:
            path.unlink()
        return real(path)

    monkeypatch.setattr(watch, "runs_in", vanishing)
    look = watched.look()
    assert look.left == 3 and set(look.damaged) == {cut} and "cut off" in look.damaged[cut]
    link.unlink()
    link.write_bytes(target)
    cut.with_name("x").write_bytes(whole)
    cut.with_name("x").replace(cut)
    look = watched.look()
    assert look.left == 1 and not look.damaged


def test_compaction_changes_no_count_and_is_no_burst_of_runs(store, read):
    now = [1_000_000.0]
    for path in files(store):
        os.utime(path, (now[0] - 10, now[0] - 10))
    os.utime(store.study_file, (now[0] - 100, now[0] - 100))
    watched = StudyWatch(store.folder, clock=lambda: now[0])
    before = watched.look()
    assert before.runs_per_s == pytest.approx(16 / 100) and before.newest_s == pytest.approx(10)
    assert before.samples_per_s == pytest.approx(
        sum(run.result["samples"] for run in store.read().values() if run.done) / 100, rel=0.3
    )
    store.compact()
    after = watched.look()
    assert (after.done, after.failed, after.left) == (before.done, before.failed, 0)
    fresh = StudyWatch(store.folder, clock=lambda: now[0]).look()
    assert (fresh.done, fresh.failed) == (before.done, before.failed) and fresh.runs_per_s == 0
    read.clear()
    assert watched.look().finished and read == []


@pytest.mark.parametrize("skew", [0.0, 900.0, -900.0])
def test_rates_are_of_the_last_minutes_by_the_clock_of_the_folder(store, skew):
    """Runs that come every 10 s, on a machine whose clock differs from the watcher's."""
    now, waiting = [1_000_000.0], files(store)
    kept = {path: path.read_bytes() for path in waiting}
    for path in waiting:
        path.unlink()
    os.utime(store.study_file, (now[0] + skew, now[0] + skew))
    watched = StudyWatch(store.folder, clock=lambda: now[0])
    assert watched.look().runs_per_s == 0
    for path in waiting[:8]:
        now[0] += 10
        path.write_bytes(kept[path])
        os.utime(path, (now[0] + skew - 1, now[0] + skew - 1))
        os.utime(path.parent, (now[0] + skew - 1, now[0] + skew - 1))
        look = watched.look()
    assert look.runs_per_s == pytest.approx(8 / 80, rel=0.15) and look.newest_s <= 12
    assert look.left_s == pytest.approx(80, rel=0.15)
    now[0] += 3600
    look = watched.look()
    assert look.runs_per_s == 0 and look.left_s is None and look.newest_s == pytest.approx(3600, abs=15)


def test_a_study_file_that_cannot_be_read_here_leaves_the_counts_of_stored_runs(store):
    store.study_file.write_text(TEXT.replace("archgym/NKLandscape-v0", "elsewhere:mine/Own-v0"))
    watched = StudyWatch(store.folder)
    look = watched.look()
    assert (
        look.total is None and look.done + look.failed == 16 and "missing runs are not counted" in look.note
    )
    assert {task for task, _ in look.groups} == {"nk", "exits"} and not look.finished and look.left_s is None
    while watched.find_optimum():
        pass
    assert "nk" in watched.look().optima
    store.study_file.write_text(TEXT)
    assert watched.look().finished
    store.study_file.write_text(TEXT.replace("seeds = 2", "seeds = 1"))
    look = watched.look()
    assert look.total < 16 and look.others == 16 - look.total and look.finished
    store.study_file.unlink()
    assert "no study.toml" in StudyWatch(store.folder).look().note


def test_a_folder_that_goes_away_keeps_the_last_counts_and_says_so(store):
    watched = StudyWatch(store.folder)
    before = watched.look()
    store.folder.rename(store.folder.with_name("moved"))
    look = watched.look()
    assert (look.done, look.failed) == (before.done, before.failed) and "cannot be read now" in look.note
    store.folder.with_name("moved").rename(store.folder)
    assert watched.look().note == ""
    with pytest.raises(ArchGymError, match="not the folder of a study"):
        StudyWatch(store.folder / "runs")
    with pytest.raises(ArchGymError, match="not the folder of a study"):
        StudyWatch(store.folder.with_name("nowhere"))


def test_a_folder_of_the_service_shows_its_finished_sessions(tmp_path):
    pytest.importorskip("fastapi")
    from archgym.serve.sessions import Sessions
    from archgym.serve.task import ServedTask

    sessions = Sessions(ServedTask("archgym/Softmax-v0", budget=2), tmp_path / "served")
    session = sessions.create("mine")
    watched = StudyWatch(tmp_path / "served")
    look = watched.look()
    assert look.done == 0 and look.note == "finished sessions of archgym serve"
    session.evaluate([[0] * 8, [1] * 8])
    look = watched.look()
    assert look.done == 1 and look.total is None and not look.finished
    assert [agent for _, agent in look.groups] == ["mine"]
    sessions.close()


def test_reading_is_cut_at_its_limit_and_goes_on_at_the_next_look(store, read):
    watched = StudyWatch(store.folder)
    look = watched.look(limit_s=0.0)
    assert look.unread == 15 and look.done + look.failed == 1 and not look.finished
    for unread in range(14, -1, -1):
        assert watched.look(limit_s=0.0).unread == unread
    assert sorted(read) == sorted(path.name for path in files(store))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the list of locks is Linux'")
def test_a_lock_is_seen_without_being_taken(store):
    path = store.folder / ".lock"
    with store.locked():
        assert is_locked(path) and StudyWatch(store.folder).look().runner
    assert not is_locked(path) and StudyWatch(store.folder).look().runner is False
    code = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert is_locked(path)  # as on NFS, whose locks are of this kind
        holder.stdin.close()
    assert not is_locked(path) and not is_locked(store.folder / "no lock")


def test_nothing_is_written_and_the_table_is_printed_once(store):
    shutil.copytree(store.folder, store.folder.with_name("copy"), symlinks=True)
    before = tree(store.folder)
    found = CliRunner().invoke(app, ["study", "watch", str(store.folder), "--once"])
    assert found.exit_code == 0, found.output
    assert tree(store.folder) == before
    assert "16/16 runs" in found.output and "nk" in found.output and "no runner" in found.output
    assert "Failed" in found.output and "Regret" in found.output
    ended = CliRunner().invoke(app, ["study", "watch", str(store.folder)])  # a finished study ends the watch
    assert ended.exit_code == 0 and "16/16 runs" in ended.output
    assert CliRunner().invoke(app, ["study", "watch", str(store.folder / "runs"), "--once"]).exit_code == 2


def test_without_a_terminal_there_is_a_line_at_every_look_and_ctrl_c_ends_with_130(store):
    files(store)[0].unlink()
    command = [sys.executable, "-m", "archgym", "study", "watch", str(store.folder), "--interval", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert all("15/16 runs" in line and "7 failed" in line for line in lines), lines
    assert process.returncode == 130 and "the study goes on" in errors and "Traceback" not in errors


def many(tasks: int, agents: int) -> Look:
    groups = {
        (f"task-{t}", f"agent-{a}"): Group(20, 10 if t else 20, 0, 5.0, -1.5 + a / 10)
        for t in range(tasks)
        for a in range(agents)
    }
    optimum = Optimum(None, None, None, 0.0)
    look = Look(
        "a study\x1b[31m",
        groups,
        {"task-1": optimum},
        runs_per_s=2.0,
        samples_per_s=2000.0,
        newest_s=3.0,
        runner=True,
    )
    look.reasons.update({"ValueError: \x1b]0;title\x07 no": 3})
    return look


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 20), (30, 12), (80, 10)])
@pytest.mark.parametrize(("tasks", "agents"), [(2, 3), (10, 5), (40, 8)])
def test_the_screen_fits_into_any_terminal(width, height, tasks, agents):
    console = Terminal()
    console.file, console.width, console.height = io.StringIO(), width, height
    console.print(Screen(many(tasks, agents)))
    lines = console.file.getvalue().rstrip("\n").split("\n")
    assert len(lines) < height and all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "\x1b" not in text and "task-1" in text and "Done" in text
    if (tasks, agents) == (40, 8):
        assert " others" in text or height == 50
        console.file = io.StringIO()
        console.print(Screen(many(tasks, agents), whole=True))
        assert console.file.getvalue().count("agent-7") == 40
