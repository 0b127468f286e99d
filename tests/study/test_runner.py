"""Studies run as real processes: what is killed, hangs, crashes or eats memory costs its own run and
nothing else.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars
import psutil
import pytest
from study_texts import study_text

import archgym.study.executors
import archgym.study.run
import archgym.study.worker
from archgym.errors import ArchGymError, MissingDependency
from archgym.processes.children import Server
from archgym.study.design import Study
from archgym.study.export import StudyRows
from archgym.study.run import execute
from archgym.study.runner import run_study
from archgym.study.store import Store
from archgym.study.worker import RunDied, RunFailed, RunProcess, RunRequest

pytestmark = pytest.mark.usefixtures("plugins")

SLOW = 'id = "misbehaving:test/Well-v0"\nkwargs = { sleep_s = 0.001 }'


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "archgym.cli", "study", "run", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def ended(processes: list[psutil.Process], within_s: float = 10.0) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def marked(process: psutil.Process, mark: str) -> bool:
    try:
        return (
            process.environ().get("MARK") == mark
            and process.status() != psutil.STATUS_ZOMBIE
            and process.pid != os.getpid()
        )
    except psutil.Error:
        return False


def finished(folder: Path) -> int:
    return len(list(folder.rglob("*.parquet")))


def test_twenty_kills_of_runners_and_workers_lose_and_repeat_nothing(tmp_path, rows, program):
    file = tmp_path / "study.toml"
    file.write_text(study_text(SLOW, budget=40, seeds=10, configurations=10))  # 2 agents: 200 runs of 0.04 s
    undisturbed = program("study", "run", file, "--workers", 2, "--out", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    chance = random.Random(0)
    process, left_behind, kills = start(file, "--workers", 2, "--out", tmp_path / "out"), [], 0
    while kills < 20:
        if process.poll() is not None:
            assert process.returncode == -signal.SIGKILL, process.stderr.read()
            process = start(file, "--workers", 2, "--out", tmp_path / "out")
        # so that kills meet runs under way: 20 of them take at most 140 runs
        goal = finished(tmp_path / "out") + chance.randint(1, 7)
        while finished(tmp_path / "out") < goal:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.04))
        workers = children(process)
        if kills % 2:
            chance.choice(workers).kill()
        else:
            left_behind += workers
            process.kill()
            process.wait()
        kills += 1
    process.kill()
    process.wait()
    assert ended(left_behind), "workers outlive a runner that was killed"
    last = program("study", "run", file, "--workers", 2, "--out", tmp_path / "out")
    assert last.returncode == 0, last.stderr
    disturbed, expected = rows(tmp_path / "out"), rows(tmp_path / "undisturbed")
    assert len(expected) == 200 and disturbed.keys() == expected.keys()
    assert all(disturbed[id_].equals(expected[id_]) for id_ in expected)
    assert all(run.done for run in Store(tmp_path / "out").read().values())
    assert not [path for path in (tmp_path / "out").rglob("*.tmp")], "orphans are cleaned"


def test_runs_are_the_same_with_one_worker_four_workers_and_inline(tmp_path, rows):
    text = study_text(
        'id = "archgym/Softmax-v0"',
        'id = "archgym/NKLandscape-v0"',
        agents=("random", "genetic", "tpe", "cmaes"),
    )
    for name, options in {
        "one": {"workers": 1},
        "four": {"workers": 4},
        "inline": {"executor": "inline"},
    }.items():
        progress = run_study(Study(text), Store(tmp_path / name), **options)
        assert progress.done == progress.total == 32 and progress.failed == 0
    one = rows(tmp_path / "one")
    for other in (rows(tmp_path / "four"), rows(tmp_path / "inline")):
        assert one.keys() == other.keys() and all(one[id_].equals(other[id_]) for id_ in one)


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("Hangs", "timeout_s = 3", "timed out after 3 s"),
        ("Exits", "", "SystemExit: 3"),
        ("Crashes", "retries = 1", "the process ended with exit code 7: about to crash, 2 times"),
        ("Eats", "memory_gb = 0.8", "of memory; the limit is 0.80 GB"),
        ("ForksAndDies", "retries = 0", "the process was killed by SIGKILL, 1 times"),
        ("ForksAndDies", "retries = 0\ntimeout_s = 60", "the process was killed by SIGKILL, 1 times"),
    ],
)
def test_a_simulator_that_misbehaves_costs_only_its_own_run(tmp_path, monkeypatch, name, limits, reason):
    monkeypatch.setenv("MARK", str(tmp_path))
    text = study_text(
        f'id = "misbehaving:test/{name}-v0"',
        SLOW,
        agents=("random",),
        seeds=1,
        configurations=1,
        budget=20,
        more=limits,
    )
    store = Store(tmp_path / "out")
    progress = run_study(Study(text), store, workers=2)
    assert (progress.done, progress.failed) == (2, 1)
    runs = {run.specification["env"]["id"]: run for run in store.read().values()}
    failed = runs.pop(f"misbehaving:test/{name}-v0")
    assert reason in failed.result["reason"] and not failed.done
    assert all(run.done and run.result["samples"] == 20 for run in runs.values())
    assert run_study(Study(text), store).done == 0, "a failure is a result: it is not run again"
    assert run_study(Study(text), store, retry_failed=True).done == 1
    assert not [process for process in psutil.process_iter() if marked(process, str(tmp_path))]


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_a_run_that_ends_early_is_stored_as_failed_with_its_rows_and_counts_nowhere_as_finished(
    tmp_path, executor, program
):
    text = study_text(
        'id = "misbehaving:test/Tires-v0"',
        SLOW,
        agents=("annealing",),
        seeds=1,
        configurations=1,
        more='history = "full"',
    )
    store = Store(tmp_path / "out")
    progress = run_study(Study(text), store, workers=1, executor=executor)
    assert (progress.done, progress.failed) == (2, 1) and progress.reasons == {"the licence has run out": 1}
    assert len(progress.best) == len(progress.valid) == 1, "of the other run"
    stored = {run.done: run for run in store.read().values()}
    rows = {run.done: table for run, table in store.table(stored.values())}
    assert stored[False].result["samples"] == rows[False].num_rows > 20 and rows[True].num_rows == 40
    assert stored[False].result["best_reward"] is not None
    store.compact()
    exported = polars.concat(polars.from_arrow(table) for table in StudyRows(store).tables())
    assert dict(exported.group_by("study_status").len().rows()) == {
        "done": 40,
        "failed": rows[False].num_rows,
    }
    status = program("study", "status", tmp_path / "out")
    assert status.returncode == 0 and "the licence has run out" in status.stdout
    assert run_study(Study(text), store, executor="inline", retry_failed=True).done == 1


def test_a_simulator_that_raises_fails_design_by_design(tmp_path):
    text = study_text(
        'id = "misbehaving:test/Raises-v0"', agents=("random",), seeds=1, configurations=1, budget=20
    )
    store = Store(tmp_path / "out")
    assert run_study(Study(text), store, workers=1).failed == 0
    (run,) = store.read().values()
    assert run.result["failures"] == 20 and run.result["best_reward"] is None
    assert run.result["reasons"] == {"ValueError: no such design": 20}


def test_a_process_that_dies_once_is_replaced_and_its_run_tried_again(tmp_path):
    environment = f'id = "misbehaving:test/CrashesOnce-v0"\nkwargs = {{ log = "{tmp_path / "log"}" }}'
    progress = run_study(Study(study_text(environment)), Store(tmp_path / "out"), workers=1)
    assert (progress.done, progress.failed, progress.retried) == (8, 0, 1)


def test_a_process_goes_on_after_a_run_that_failed():
    process = RunProcess()
    (well,) = [run for run in Study(study_text(SLOW, agents=("random",), seeds=1, configurations=1)).runs()]
    (exits,) = [
        run
        for run in Study(
            study_text('id = "misbehaving:test/Exits-v0"', agents=("random",), seeds=1, configurations=1)
        ).runs()
    ]
    try:
        assert process.run(RunRequest(well.specification))[1]["status"] == "done"
        pid = process._process.pid
        with pytest.raises(RunFailed, match="SystemExit"):
            process.run(RunRequest(exits.specification))
        assert (
            process.run(RunRequest(well.specification))[1]["status"] == "done" and process._process.pid == pid
        )
    finally:
        process.close()


def test_control_c_stops_cleanly_and_the_same_command_goes_on(tmp_path, program):
    file = tmp_path / "study.toml"
    file.write_text(study_text(SLOW, budget=100, seeds=10))
    process = start(file, "--workers", 2, "--out", tmp_path / "out")
    while finished(tmp_path / "out") < 5:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    workers = children(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (
        process.returncode == 130
        and "the same command resumes the study" in errors
        and "Traceback" not in errors
    )
    assert ended(workers)
    stored = finished(tmp_path / "out")
    assert 5 <= stored < 40
    again = program("study", "run", file, "--workers", 2, "--out", tmp_path / "out")
    assert again.returncode == 0 and f"({stored} before, {40 - stored} now" in again.stdout, again.stdout


def test_a_run_that_was_finished_inline_is_stored_before_the_next_begins(tmp_path, monkeypatch):
    store, stored = Store(tmp_path), []
    execute = archgym.study.executors.run_here
    monkeypatch.setattr(
        "archgym.study.runner.run_here", lambda job: stored.append(finished(tmp_path)) or execute(job)
    )
    run_study(Study(study_text(SLOW, budget=5)), store, executor="inline")
    assert stored == list(range(len(stored))) and len(stored) > 2


def test_sigterm_stops_as_control_c_does(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(study_text(SLOW, budget=100, seeds=10))
    process = start(file, "--workers", 1, "--out", tmp_path / "out")
    while finished(tmp_path / "out") < 2:
        time.sleep(0.02)
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted" in errors


def test_two_runners_on_one_folder_are_one_too_many(tmp_path, program):
    file = tmp_path / "study.toml"
    file.write_text(study_text(SLOW, budget=100, seeds=10))
    process = start(file, "--workers", 1, "--out", tmp_path / "out")
    try:
        while finished(tmp_path / "out") < 1:
            time.sleep(0.02)
        second = program("study", "run", file, "--workers", 1, "--out", tmp_path / "out")
        assert (
            second.returncode == 2
            and "another runner is at work" in second.stderr
            and "Traceback" not in second.stderr
        )
    finally:
        process.kill()
        process.wait()
    assert program("study", "run", file, "--workers", 2, "--out", tmp_path / "out").returncode == 0, (
        "the lock ended with its process"
    )


def test_an_interrupted_search_on_a_slow_simulator_replays_from_the_cache(tmp_path, rows):
    log = tmp_path / "log"
    environment = f'id = "misbehaving:test/Well-v0"\nkwargs = {{ sleep_s = 0.02, log = "{log}" }}'
    file = tmp_path / "study.toml"
    file.write_text(
        study_text(
            environment, budget=100, seeds=1, configurations=1, agents=("local_search",), more="cache = true"
        )
    )
    process = start(file, "--workers", 1, "--out", tmp_path / "out")
    while not log.exists() or len(log.read_text().splitlines()) < 30:
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(0.3)  # the worker ends with the runner
    before = log.read_text().splitlines()
    run_study(Study(file.read_text()), Store(tmp_path / "out"), workers=1)
    after = log.read_text().splitlines()
    assert len(before) >= 30
    repeated = len(after) - len(set(after))
    assert repeated <= 4, "at most the batch that was under way is simulated twice"
    assert len(set(after)) <= 100
    run_study(Study(file.read_text().replace("cache = true", "")), Store(tmp_path / "fresh"), workers=1)
    assert next(iter(rows(tmp_path / "out").values())).equals(next(iter(rows(tmp_path / "fresh").values())))


def test_a_run_that_fails_inline_is_stored_and_one_that_is_impossible_stops_the_study(tmp_path, monkeypatch):
    from archgym.agents.random import Random
    from archgym.study.worker import RunImpossible

    text = study_text('id = "misbehaving:test/Exits-v0"', SLOW, agents=("random",), seeds=1, configurations=1)
    progress = run_study(Study(text), Store(tmp_path / "out"), executor="inline")
    assert (progress.done, progress.failed) == (2, 1) and progress.reasons == {"SystemExit: 3": 1}
    monkeypatch.setattr(Random, "search", lambda *args, **kwargs: os.stat(tmp_path / "absent"))
    progress = run_study(Study(text), Store(tmp_path / "broken"), executor="inline")
    assert progress.failed == 2 and all(reason.startswith("FileNotFoundError") for reason in progress.reasons)
    study = Study(text)
    monkeypatch.setattr(Random, "version", 99)
    with pytest.raises(RunImpossible, match="with the same versions"):
        run_study(study, Store(tmp_path / "other"), executor="inline")
    assert not Store(tmp_path / "other").read()


def test_a_worker_with_another_version_stops_the_study_instead_of_mislabelling_runs(tmp_path, monkeypatch):
    study = Study(study_text(SLOW, agents=("random",)))
    from archgym.agents.random import Random

    runs = list(study.runs())
    monkeypatch.setattr(Random, "version", 99)
    with pytest.raises(ArchGymError, match="with the same versions"):
        execute(runs[0].specification)


def test_a_missing_package_stops_the_study(tmp_path, monkeypatch):
    from archgym.study import runner
    from archgym.study.worker import RunImpossible

    def impossible(*arguments):
        raise RunImpossible('needs Stable-Baselines3: pip install "archgym[rl]"')

    monkeypatch.setattr(runner, "run_in_process", impossible)
    store = Store(tmp_path / "out")
    with pytest.raises(RunImpossible, match="pip install"):
        run_study(Study(study_text(SLOW)), store, workers=1)
    assert store.read() == {}
    assert issubclass(MissingDependency, ArchGymError)


def test_workers_do_not_leave_processes_behind(tmp_path):
    before = {p.pid for p in psutil.Process(os.getpid()).children(recursive=True)}
    run_study(Study(study_text(SLOW)), Store(tmp_path / "out"), workers=2)
    assert {p.pid for p in psutil.Process(os.getpid()).children(recursive=True)} <= before


def test_what_runs_print_stays_nowhere_and_last_words_are_of_the_run_that_died(tmp_path):
    environments = [
        f'id = "misbehaving:test/Prints-v0"\nlabel = "{label}"\nkwargs = {{ {more} }}'
        for label, more in (("goes on", ""), ("dies", 'log = "/dev/null"'))
    ]
    file = study_text(
        *environments, SLOW + '\nlabel = "well"', agents=("random",), seeds=1, configurations=1, budget=2
    )
    runs = {run.task: run for run in Study(file).runs()}
    well = runs.pop("well")
    process = RunProcess()
    try:
        process.run(RunRequest(runs["goes on"].specification))
        threading.Timer(0.3, lambda: os.kill(process._process.pid, signal.SIGTERM)).start()
        with pytest.raises(RunDied, match=r"^the process was killed by SIGKILL$"):
            process.run(RunRequest({**well.specification, "budget": 10**6}))
        # of which a supervisor keeps the last words
        with pytest.raises(RunDied, match=r"exit code 7: printed to pipe:"):
            process.run(RunRequest(runs["dies"].specification))
    finally:
        process.close()


def test_a_run_that_raises_keyboard_interrupt_failed_and_interrupts_nothing(tmp_path):
    text = study_text(
        'id = "misbehaving:test/Interrupts-v0"', SLOW, agents=("random",), seeds=1, configurations=1
    )
    progress = run_study(Study(text), Store(tmp_path / "out"), workers=1)
    assert (progress.done, progress.failed, progress.retried) == (2, 1, 0) and progress.reasons == {
        "KeyboardInterrupt": 1
    }


def test_kills_of_workers_as_they_start_are_deaths_of_their_runs_and_end_no_study(tmp_path, monkeypatch):
    started = []

    class Doomed(Server):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self.pid)
            if len(started) <= 10:
                delay_s = 0.02 * (len(started) - 1)  # 0 to 0.18 s
                threading.Timer(delay_s, os.kill, [self.pid, signal.SIGKILL]).start()

    monkeypatch.setattr(archgym.study.worker, "Server", Doomed)
    progress = run_study(
        Study(study_text(SLOW, budget=5, more="retries = 3")), Store(tmp_path / "out"), workers=1
    )
    assert (progress.done, progress.failed, progress.retried) == (8, 0, 10)
    started.clear()
    text = study_text(SLOW, budget=5, agents=("random",), configurations=1, seeds=1, more="retries = 3")
    progress = run_study(Study(text), Store(tmp_path / "other"), workers=1)
    assert progress.reasons == {"the process was killed by SIGKILL, as it started, 4 times": 1}


def test_a_process_that_cannot_start_ends_the_study_with_the_reason(tmp_path, monkeypatch):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no Python here >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(
        ArchGymError, match=r"did not start: the process ended with exit code 3: no Python here"
    ):
        run_study(Study(study_text(SLOW)), Store(tmp_path / "out"), workers=2)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(ArchGymError, match="did not start: the process could not be started"):
        run_study(Study(study_text(SLOW)), Store(tmp_path / "out"), workers=2)


@pytest.mark.parametrize("how", ["removed", "moved", "emptied"])
def test_a_folder_that_goes_while_a_study_runs_ends_it_with_an_error(tmp_path, how):
    file, folder = tmp_path / "study.toml", tmp_path / "out"
    file.write_text(study_text(SLOW, budget=40, seeds=5))
    process = start(file, "--workers", 1, "--out", folder)
    while finished(folder) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    if how == "moved":
        folder.rename(tmp_path / "elsewhere")
    else:
        shutil.rmtree(folder if how == "removed" else folder / "runs", ignore_errors=True)
    _, errors = process.communicate(timeout=60)
    assert (
        process.returncode == 2
        and "while the study ran: run the same command again" in errors
        and "Traceback" not in errors
    )
    if how == "moved":
        assert (
            finished(tmp_path / "elsewhere") >= 3
            and run_study(Study(file.read_text()), Store(tmp_path / "elsewhere")).stored >= 3
        )


def test_agents_that_take_no_sample_or_too_many_failed_and_those_that_stop_early_are_counted(
    tmp_path, program
):
    agents = ("misbehaving:Stops", "misbehaving:NeverStarts", "misbehaving:Overruns", "random")
    (tmp_path / "study.toml").write_text(study_text(SLOW, agents=agents, configurations=1))
    for when in ("now", "before"):
        result = program("study", "run", tmp_path / "study.toml", "--workers", 1, "--out", tmp_path / "out")
        assert result.returncode == 0, result.stderr
        assert "2 runs ended before their budget was spent: 2 of misbehaving:Stops on " in " ".join(
            result.stderr.split()
        ), when
    runs = [run for run in Store(tmp_path / "out").read().values()]
    reasons = {
        run.specification["agent"]["name"].rpartition(":")[2]: run.result.get("reason") for run in runs
    }
    assert reasons["Stops"] is reasons["random"] is None
    assert (
        "to take 40 samples, got 0;" in reasons["NeverStarts"]
        and "to take 40 samples, got 120;" in reasons["Overruns"]
    )


def test_runs_of_another_archgym_are_named(tmp_path, monkeypatch):
    study = Study(study_text(SLOW, agents=("random",)))
    monkeypatch.setattr(archgym.study.run, "__version__", "0.0.9")
    run_study(study, Store(tmp_path / "out"), executor="inline")
    monkeypatch.undo()
    progress = run_study(study, Store(tmp_path / "out"), executor="inline")
    (note,) = progress.notes
    assert "(4 of 0.0.9; this is " in note


def test_twenty_interrupts_end_a_study_as_one_does(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(study_text(SLOW, budget=100, seeds=10))
    process = start(file, "--workers", 2, "--out", tmp_path / "out")
    while finished(tmp_path / "out") < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    workers = children(process)
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _, errors = process.communicate(timeout=60)
    assert (
        process.returncode == 130
        and "the same command resumes the study" in errors
        and "Traceback" not in errors
    )
    assert ended(workers)


def test_searches_that_end_without_a_valid_design_are_counted(tmp_path, program):
    hopeless = 'id = "archgym/NKLandscape-v0"\nlabel = "hopeless"\nobjective = { maximize = ["fitness"], at_least = { fitness = 0.999 } }'
    easy = 'id = "archgym/NKLandscape-v0"\nlabel = "easy"\nobjective = { maximize = ["fitness"], at_least = { fitness = 0.001 } }'
    (tmp_path / "specs.toml").write_text(
        study_text(hopeless, easy, seeds=10, configurations=1, agents=("random",))
    )
    assert program("study", "run", "specs.toml", "--out", "out", cwd=tmp_path).returncode == 0
    result = program("study", "violations", "out", cwd=tmp_path, env={**os.environ, "COLUMNS": "120"})
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if "random" in line}
    assert lines["hopeless"][2:8] == ["10", "100", "%", "72", "to", "100"] and lines["easy"][2:8] == [
        "10",
        "0",
        "%",
        "0",
        "to",
        "28",
    ]
    empty = tmp_path / "nothing"
    empty.mkdir()
    refused = program("study", "violations", "nothing", cwd=tmp_path)
    assert refused.returncode == 2 and "not the folder of a study" in refused.stderr
