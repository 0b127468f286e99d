"""Parallel and Isolated: what happens in a worker process stays with the row it happened to."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import archgym.simulator_wrappers.parallel
from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.processes.children import Server
from archgym.simulator import Metric, Simulator, evaluate_safely
from archgym.simulator_wrappers import Cached, Noisy
from archgym.simulator_wrappers.parallel import Isolated, Parallel
from archgym.space import DesignSpace, Integer


class Troubled(Simulator):
    """latency_s = x + 1, except where `trouble` names what happens at x; a marker file makes it happen
    only once.
    """

    space = DesignSpace([Integer("x", 0, 999)])
    metrics = (Metric("latency_s", "s", "lower"), Metric("worker"))

    def __init__(self, trouble: dict[int, str] | None = None, marker: str | None = None, nap_s: float = 0.0):
        self.trouble = trouble or {}
        self.marker = marker
        self.nap_s = nap_s

    def evaluate_indices(self, indices, rng=None):
        for x in indices[:, 0].tolist():
            time.sleep(self.nap_s)
            if x in self.trouble and not (self.marker and Path(self.marker).exists()):
                if self.marker:
                    Path(self.marker).touch()
                TROUBLE[self.trouble[x]]()
        x = indices[:, 0]
        return {"latency_s": x + 1.0, "worker": np.full(len(x), float(os.getpid())), "feasible": x != 13}


def hog():
    np.ones(1 << 28)  # 2 GiB


def hang_with_a_child():
    subprocess.run(["sleep", "600"], check=True)


def raise_value_error():
    raise ValueError("no such design")


class Unreadable(Exception):
    def __str__(self):
        raise RuntimeError("no message either")


def raise_(error):
    raise error


def fork_and(end):
    """Leave a child that holds all descriptors, in a session of its own."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    end()


TROUBLE = {
    "hang": lambda: time.sleep(600),
    "hang with a child": hang_with_a_child,
    "exit": lambda: os._exit(7),
    "crash": lambda: ctypes.string_at(0),
    "hog": hog,
    "raise": raise_value_error,
    "raise at length": lambda: raise_(ValueError("x" * 10**6)),
    "KeyboardInterrupt": lambda: raise_(KeyboardInterrupt()),
    "GeneratorExit": lambda: raise_(GeneratorExit("closed")),
    "SystemExit": lambda: sys.exit(3),
    "BaseException": lambda: raise_(BaseException("\x1b[2J base")),
    "Unreadable": lambda: raise_(Unreadable()),
    "fork and exit": lambda: fork_and(lambda: os._exit(3)),
    "fork and be killed": lambda: fork_and(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "fork and hang": lambda: fork_and(lambda: time.sleep(600)),
    "fork": lambda: fork_and(lambda: None),
    "fork and come back": os.fork,
}


class Unloadable(Troubled):
    """Can be pickled, but not unpickled."""

    def __setstate__(self, state):
        raise RuntimeError("licence server unreachable")


def designs(*xs):
    return np.array(xs, np.int64)[:, None]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        if Path("/proc/self").exists()
        else True
    )


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def pids(simulator):
    return [worker.process.pid for worker in simulator._workers]


def left_behind(mark):
    """Processes that have a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if mark in process.environ().values() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture
def closing():
    simulators = []
    yield lambda simulator: simulators.append(simulator) or simulator
    for simulator in simulators:
        simulator.close()


def test_a_hung_row_is_killed_alone_and_on_time(closing):
    simulator = closing(Parallel(Troubled({3: "hang"}), workers=2, timeout_s=0.5))
    simulator.evaluate_indices(designs(0, 1))
    start = time.monotonic()
    outcome = evaluate_safely(simulator, designs(1, 2, 3, 4, 5, 6))
    assert time.monotonic() - start < 3
    assert outcome.failures == {2: "timed out after 0.5 s"}
    assert outcome.feasible.tolist() == [True, True, False, True, True, True]
    assert outcome.values[[0, 1, 3, 4, 5], 0].tolist() == [2, 3, 5, 6, 7]


class Counting(Troubled):
    """latency_s is the size of the batch that the design came in."""

    def evaluate_indices(self, indices, rng=None):
        columns = super().evaluate_indices(indices)
        return {**columns, "latency_s": np.full(len(indices), float(len(indices)))}


def test_rows_given_together_reach_the_simulator_together(closing):
    simulator = closing(Isolated(Counting(), timeout_s=5.0, rows_at_once=4))
    assert simulator.evaluate_indices(designs(*range(10)))["latency_s"].tolist() == [4] * 8 + [2] * 2
    with pytest.raises(ArchGymError, match="rows_at_once"):
        Isolated(Counting(), rows_at_once=0)


@pytest.mark.parametrize("trouble", ["hang", "exit"])
def test_of_rows_given_together_only_the_guilty_one_fails(closing, trouble):
    simulator = closing(Isolated(Troubled({3: trouble}), timeout_s=0.5, rows_at_once=4))
    outcome = evaluate_safely(simulator, designs(1, 2, 3, 4, 5))
    assert list(outcome.failures) == [2]
    assert outcome.values[outcome.feasible][:, 0].tolist() == [2, 3, 5, 6]


def test_a_time_out_ends_the_programs_that_the_simulator_started(closing):
    simulator = closing(Isolated(Troubled({3: "hang with a child"}), timeout_s=0.5))
    simulator.evaluate_indices(designs(0))
    (worker,) = pids(simulator)
    assert evaluate_safely(simulator, designs(3)).failures == {0: "timed out after 0.5 s"}
    groups = [
        stat.read_text().rsplit(")", 1)[1].split()[2]
        for stat in Path("/proc").glob("[0-9]*/stat")
        if alive(int(stat.parent.name))
    ]
    assert str(worker) not in groups


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [("exit", "exit code 7"), ("crash", "SIGSEGV")],
)
def test_a_dying_row_fails_alone_and_names_the_exit_code(closing, trouble, reason):
    simulator = closing(Parallel(Troubled({200: trouble}), workers=2))
    outcome = evaluate_safely(simulator, designs(*range(300)))  # several rows to a message
    assert list(outcome.failures) == [200] and reason in outcome.failures[200]
    assert np.flatnonzero(~outcome.feasible).tolist() == [13, 200]
    assert np.array_equal(
        np.delete(outcome.values[:, 0], [13, 200]), np.delete(np.arange(300) + 1.0, [13, 200])
    )


def test_a_row_that_killed_its_worker_once_is_tried_again(closing, tmp_path):
    once = closing(Isolated(Troubled({2: "exit"}, marker=str(tmp_path / "died"))))
    assert evaluate_safely(once, designs(1, 2, 3)).values[:, 0].tolist() == [2, 3, 4]
    never = closing(
        Parallel(Troubled({2: "exit"}, marker=str(tmp_path / "died again")), workers=1, retries=0)
    )
    assert list(evaluate_safely(never, designs(1, 2, 3)).failures) == [1]


def test_the_memory_limit_fails_the_row_that_breaks_it(closing):
    limited = closing(Isolated(Troubled({2: "hog"}), memory_bytes=1 << 29))
    outcome = evaluate_safely(limited, designs(1, 2, 3))
    assert outcome.failures == {1: "the worker process ran out of memory (exit code 12)"}
    assert outcome.values[[0, 2], 0].tolist() == [2, 4]


def test_an_exception_fails_its_row_and_the_worker_lives_on(closing):
    simulator = closing(Parallel(Troubled({150: "raise"}), workers=1))
    before = simulator.evaluate_indices(designs(0))["worker"][0]
    outcome = evaluate_safely(simulator, designs(*range(100, 300)))
    assert outcome.failures == {50: "ValueError: no such design"}
    assert np.unique(outcome.values[outcome.feasible, 1]).tolist() == [before]


def test_noise_and_order_do_not_depend_on_the_number_of_workers(closing):
    rows = designs(*np.random.default_rng(0).integers(0, 999, 50))
    outcomes = []
    for workers in (1, 2):
        simulator = closing(Parallel(Noisy(Troubled(), metrics=["latency_s"]), workers=workers))
        outcomes.append(evaluate_safely(simulator, rows, np.random.default_rng(8)).values[:, 0])
    halves = np.random.default_rng(8)
    outcomes.append(
        np.concatenate(
            [evaluate_safely(simulator, half, halves).values[:, 0] for half in (rows[:20], rows[20:])]
        )
    )
    assert np.array_equal(outcomes[0], outcomes[1], equal_nan=True) and np.array_equal(
        outcomes[0], outcomes[2], equal_nan=True
    )
    assert not np.isclose(outcomes[0], rows[:, 0] + 1).any()
    with pytest.raises(ArchGymError, match="default_rng"):
        simulator.evaluate_indices(rows)


def test_two_workers_share_a_batch(closing):
    simulator = closing(Parallel(Troubled(nap_s=0.02), workers=2))
    assert len(np.unique(simulator.evaluate_indices(designs(*range(20, 60)))["worker"])) == 2


def test_workers_start_at_the_first_batch_and_end_at_close_at_collection_and_not_with_a_copy():
    simulator = Parallel(Troubled())
    assert pids(simulator) == []
    evaluate_safely(simulator, designs(1, 2))
    started = pids(simulator)
    copy = pickle.loads(pickle.dumps(simulator))
    assert pids(copy) == [] and len(started) == 2
    simulator.close()
    assert not any(alive(pid) for pid in started)
    evaluate_safely(copy, designs(1))
    (started,) = pids(copy)
    del copy
    assert wait_until(lambda: not alive(started))


def test_an_interrupt_leaves_no_worker_and_a_usable_object(closing):
    simulator = closing(Parallel(Troubled({1: "hang", 2: "hang"})))
    simulator.evaluate_indices(designs(0, 0))
    started = pids(simulator)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        simulator.evaluate_indices(designs(1, 2))
    assert not any(alive(pid) for pid in started)
    assert simulator.evaluate_indices(designs(5))["latency_s"].tolist() == [6]


def test_killing_the_parent_ends_workers_even_in_the_middle_of_a_row():
    program = (
        "import test_workers as t\n"
        "simulator = t.Parallel(t.Troubled({1: 'hang with a child', 2: 'hang'}))\n"
        "simulator.evaluate_indices(t.designs(0, 0))\n"
        "print(*t.pids(simulator), flush=True)\n"
        "simulator.evaluate_indices(t.designs(1, 2))\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
    }
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    )
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2 and all(alive(pid) for pid in workers)
    time.sleep(0.2)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not any(alive(pid) for pid in workers))


def test_a_simulator_that_cannot_reach_a_worker_is_refused_with_advice(closing):
    class Local(Troubled):
        pass

    with pytest.raises(ArchGymError, match="module level"):
        Parallel(Local())
    with pytest.raises(ArchGymError, match="licence server unreachable"):
        closing(Isolated(Unloadable())).evaluate_indices(designs(1))
    with pytest.raises(ArchGymError, match="workers >= 1"):
        Parallel(Troubled(), workers=0)


def test_results_cached_on_disk_do_not_depend_on_the_workers_that_made_them(closing, tmp_path):
    path = tmp_path / "cache.sqlite"
    rows = designs(*range(20))
    first = evaluate_safely(closing(Cached(Parallel(Troubled({5: "exit"}), workers=2), path)), rows)
    again = evaluate_safely(closing(Cached(Isolated(Troubled({5: "exit"}), timeout_s=9), path)), rows)
    assert list(first.failures) == list(again.failures) == [5]
    assert np.flatnonzero(~again.cached).tolist() == [5] and np.array_equal(
        first.values, again.values, equal_nan=True
    )


def test_isolated_describes_itself_by_its_arguments():
    specification = Isolated(Troubled(), timeout_s=5).specification
    assert specification["arguments"]["timeout_s"] == 5
    assert specification["arguments"]["simulator"]["simulator"].endswith(":Troubled")


@pytest.mark.parametrize("timeout_s", [None, 60.0])
@pytest.mark.parametrize("make", [Isolated, Parallel])
def test_a_worker_that_dies_while_a_child_of_its_lives_costs_its_row_alone(
    closing, monkeypatch, make, timeout_s
):
    monkeypatch.setenv("MARK", mark := f"{make.__name__} {timeout_s} {os.getpid()}")
    simulator = closing(
        make(Troubled({3: "fork and exit", 5: "fork and be killed", 7: "fork"}), timeout_s=timeout_s)
    )
    simulator.evaluate_indices(designs(0, 1))
    start = time.monotonic()
    outcome = evaluate_safely(simulator, designs(1, 2, 3, 4, 5, 6, 7))
    assert time.monotonic() - start < 20, "six workers start meanwhile"
    assert (
        list(outcome.failures) == [2, 4]
        and "exit code 3" in outcome.failures[2]
        and "SIGKILL" in outcome.failures[4]
    )
    assert outcome.values[[0, 1, 3, 5, 6], 0].tolist() == [2, 3, 5, 7, 8]
    simulator.close()
    assert not left_behind(mark)


def test_a_time_out_ends_children_in_sessions_of_their_own(closing, monkeypatch):
    monkeypatch.setenv("MARK", mark := f"time-out {os.getpid()}")
    simulator = closing(Isolated(Troubled({3: "fork and hang"}), timeout_s=0.5))
    simulator.evaluate_indices(designs(0))
    assert list(evaluate_safely(simulator, designs(3)).failures) == [0]
    assert not left_behind(mark)


def test_a_fork_of_the_simulator_that_comes_back_answers_nothing(closing):
    outcome = evaluate_safely(
        closing(Isolated(Troubled(dict.fromkeys(range(1, 9), "fork and come back")))), designs(*range(12))
    )
    assert outcome.values[:, 0].tolist() == list(range(1, 13))


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("GeneratorExit", "GeneratorExit: closed"),
        ("SystemExit", "SystemExit: 3"),
        ("BaseException", "BaseException: \\x1b[2J base"),
        ("Unreadable", "Unreadable: (its message cannot be read)"),
    ],
)
def test_whatever_a_simulator_raises_is_the_reason_of_its_row(closing, trouble, reason):
    outcome = evaluate_safely(closing(Isolated(Troubled({3: trouble}))), designs(2, 3, 4))
    assert outcome.failures == {1: reason} and outcome.feasible.tolist() == [True, False, True]


def test_a_long_message_costs_its_length_in_the_worker_and_a_line_here(closing):
    simulator = closing(Isolated(Troubled({3: "raise at length"})))
    columns = simulator.evaluate_indices(designs(*range(3, 103)))
    assert columns["failure"][0].startswith("ValueError: xxx") and sum(map(len, columns["failure"])) < 2000
    assert columns["failure"].nbytes < 2000


def in_a_pool(make):
    simulator = make(Troubled({3: "exit"}))
    try:
        return evaluate_safely(simulator, designs(2, 3)).failures, multiprocessing.current_process().daemon
    finally:
        simulator.close()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_daemonic_process_of_a_pool_may_use_workers(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        failures, daemon = pool.apply(in_a_pool, (Isolated,))
    assert daemon and failures == {1: "the worker process ended with exit code 7"}


def test_a_script_from_standard_input_may_use_what_can_be_imported_and_is_told_what_cannot():
    program = (
        "import numpy as np\nfrom archgym import Isolated\nfrom archgym.simulators.nk import NKLandscape\n"
        "class Mine(NKLandscape): pass\n"
        "print(Isolated(NKLandscape(n=4, k=1)).evaluate_indices(np.zeros((1, 4), int))['fitness'])\n"
        "Isolated(Mine(n=4, k=1)).evaluate_indices(np.zeros((1, 4), int))\n"
    )
    result = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, timeout=120)
    assert result.stdout.startswith("[")
    assert (
        result.stderr.count("Traceback") == 1
        and "a script from standard input cannot" in result.stderr.splitlines()[-1]
    )


def test_a_script_without_a_guard_is_refused_with_advice(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import numpy as np\nfrom archgym import Isolated\nfrom archgym.simulators.nk import NKLandscape\n"
        "Isolated(NKLandscape(n=4, k=1)).evaluate_indices(np.zeros((1, 4), int))\n"
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and "if __name__ == '__main__':" in result.stderr.splitlines()[-1]


def test_a_worker_that_is_killed_as_it_starts_is_started_again(closing, monkeypatch):
    simulator = closing(Parallel(Troubled(), workers=2))
    over, killed = threading.Event(), set()

    def kill():
        while not over.wait(0.01):
            for pid in pids(simulator):
                if pid not in killed and len(killed) < 6:
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        outcome = evaluate_safely(simulator, designs(1, 2, 3, 4))
    finally:
        over.set()
        killer.join()
    assert outcome.values[:, 0].tolist() == [2, 3, 4, 5] and len(killed) == 6


def test_workers_that_no_process_is_left_for_end_the_search_and_no_design(closing, monkeypatch):
    def refuse(*arguments, **options):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with (
        monkeypatch.context() as patch,
        pytest.raises(SimulatorUnavailable, match="Resource temporarily unavailable; raise the limit"),
    ):
        patch.setattr(subprocess, "Popen", refuse)
        evaluate_safely(closing(Isolated(Troubled())), designs(1))


def test_workers_in_a_folder_that_is_gone_say_so(closing, monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SimulatorUnavailable, match="working folder is gone"):
        evaluate_safely(closing(Isolated(Troubled())), designs(1))


def test_workers_that_are_always_killed_as_they_start_end_the_search(closing, monkeypatch):
    monkeypatch.setattr(archgym.simulator_wrappers.parallel, "STARTS", 3)
    real = Server.__init__

    def doomed(self, function, **options):
        real(self, function, **options)
        os.kill(self.pid, signal.SIGKILL)

    monkeypatch.setattr(Server, "__init__", doomed)
    with pytest.raises(SimulatorUnavailable, match="3 worker processes in a row were killed as they started"):
        closing(Isolated(Troubled())).evaluate_indices(designs(1))
