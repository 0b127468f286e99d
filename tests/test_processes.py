"""Child processes: how they end, and that nothing of what they started is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from archgym.processes.children import KEPT, Child, Server, answer, last_words, run, wait

DETACHED = """
import os, subprocess, sys, time

def note(pid=None):
    with open(sys.argv[1], "a") as file:
        file.write(f"{pid or os.getpid()}\\n")

note(subprocess.Popen(["sleep", "600"]).pid)
note(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
if os.fork() == 0:
    os.setsid()
    note()
    time.sleep(600)
if os.fork() == 0:  # a daemon
    os.setsid()
    if os.fork() == 0:
        note()
        os.chdir("/")
        if sys.argv[2] != "marked":
            os.execve("/bin/sleep", ["sleep", "600"], {})
        time.sleep(600)
    os._exit(0)
while len(open(sys.argv[1]).read().split()) < 4:
    time.sleep(0.01)
note()
exec(sys.argv[3])
"""


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def noted(path, count=5):
    """The processes that `DETACHED` started, and itself, once all are there."""
    assert wait_until(lambda: path.exists() and len(path.read_text().split()) == count, 60)
    return [int(pid) for pid in path.read_text().split()]


@pytest.mark.parametrize("ends", ["sys.exit(3)", "os._exit(3)", "os.kill(os.getpid(), 9)", "os.killpg(0, 9)"])
def test_what_a_program_detached_ends_with_the_program_however_that_ends(tmp_path, ends):
    ending = run([sys.executable, "-c", DETACHED, str(tmp_path / "pids"), "", ends], 60)
    assert not any(alive(pid) for pid in noted(tmp_path / "pids"))
    assert (ending.code, ending.killed) == ((3, False) if "exit" in ends else (-9, True))


def test_what_a_program_detached_ends_when_it_is_ended_or_runs_out_of_time(tmp_path):
    child = Child([sys.executable, "-c", DETACHED, str(tmp_path / "pids"), "", "time.sleep(600)"])
    pids = noted(tmp_path / "pids")
    assert all(alive(pid) for pid in pids) and not child.ended
    assert child.end().killed and child.ended
    assert not any(alive(pid) for pid in [*pids, child.pid])
    assert child.pid not in {process.pid for process in psutil.Process().children()}, "no zombie is left"
    with pytest.raises(subprocess.TimeoutExpired):
        run([sys.executable, "-c", DETACHED, str(tmp_path / "others"), "", "time.sleep(600)"], 2.0)
    assert not any(alive(int(pid)) for pid in (tmp_path / "others").read_text().split())


@pytest.mark.parametrize("who", ["supervisor", "owner"])
def test_what_a_program_detached_ends_when_its_supervisor_or_its_owner_is_killed(tmp_path, who):
    kind = "marked" if who == "supervisor" else ""
    command = [sys.executable, "-c", DETACHED, str(tmp_path / "pids"), kind, "time.sleep(600)"]
    script = (
        "import time\nfrom archgym.processes.children import Child\nchild = "
        f"Child({command!r})\nprint(child.pid, flush=True)\n"
    )
    script += "child.wait()\nprint(child.end(), flush=True)" if who == "supervisor" else "time.sleep(600)"
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    supervisor = int(owner.stdout.readline())
    pids = [*noted(tmp_path / "pids"), supervisor]
    os.kill(supervisor if who == "supervisor" else owner.pid, signal.SIGKILL)
    assert wait_until(lambda: not any(alive(pid) for pid in pids))
    said, _ = owner.communicate()
    assert "killed by SIGKILL" in said if who == "supervisor" else not said


def test_a_fork_that_holds_the_owner_s_descriptors_keeps_no_child_alive(tmp_path):
    script = (
        "import os, subprocess, time\nfrom archgym.processes.children import Child\nchild = Child(['sleep', "
        "'600'])\nif os.fork() == 0:\n    time.sleep(600)\nprint(child.pid, flush=True)\ntime.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    supervisor = int(owner.stdout.readline())
    fork = [process for process in psutil.Process(owner.pid).children() if process.pid != supervisor]
    owner.kill()
    owner.wait()
    try:
        assert wait_until(lambda: not alive(supervisor))
    finally:
        for process in fork:
            process.kill()


def test_a_fork_of_the_owner_ends_nothing():
    child = Child(["sleep", "600"])
    try:
        if (pid := os.fork()) == 0:
            child.end()
            os._exit(0)
        os.waitpid(pid, 0)
        assert not child.wait(0.2)
    finally:
        child.end()


def test_of_what_a_program_prints_the_end_is_kept_and_nothing_else():
    code = """if True:
        import os
        for _ in range(300):
            os.write(2, bytes(10**6))
        with open(f"/proc/{os.getppid()}/status") as file:
            (peak,) = [line.split()[1] for line in file if line.startswith("VmHWM")]
        os.write(2, b"x" * 2000 + b"\\x1e" + peak.encode())
    """
    child = Child([sys.executable, "-c", code], keep=KEPT, kept=[2])
    assert child.wait(60)
    ending = child.end()
    assert ending.code == 0 and len(ending.output) == KEPT
    assert int(ending.text) < 50_000, "kilobytes that the supervisor took at most"


def test_how_a_program_ended_is_said_in_words():
    words = {
        "exit 0": "ended with exit code 0",
        "exit 12": "ran out of memory (exit code 12)",
        "kill -SEGV $$": "was killed by SIGSEGV",
    }
    assert {code: str(run(["sh", "-c", code], 60)) for code in words} == words
    for command in (["/nonexistent/program"], ["/"], [""]):
        with pytest.raises(OSError):
            run(command, 60)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems need not have such a limit")
def test_a_program_s_memory_is_limited_with_that_of_its_children():
    hog = f"{sys.executable} -c 'bytes(1 << 30)'"
    assert run(["sh", "-c", hog], 60).code == 0
    ending = run(["sh", "-c", f"{hog}; exit $?"], 60, memory_bytes=1 << 29)
    assert ending.code == 1 and last_words(ending.text, 1) == "MemoryError"


def test_last_words_are_the_last_lines_with_something_in_them():
    assert last_words("one\n  two\n\nthree \n \n", 2) == "two / three"
    assert last_words("one\ntwo", 1, limit=2) == "tw... (3 characters)"
    assert last_words("\n \n") == ""


def echo(line):
    """A server that answers with what it is told, and dies, forks, or writes where it should not, on
    demand.
    """

    def reply(message):
        if message == "die":
            subprocess.Popen(["sleep", "600"], close_fds=False, start_new_session=True)
            os._exit(3)
        if message == "fork":
            os.fork()
        if isinstance(message, bytes):
            for fd in range(3, 100):
                with suppress(OSError):
                    os.write(fd, message)
        return message

    answer(line, reply)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    server = Server("test_processes:echo")
    yield server
    server.end()


def test_an_answer_that_came_before_the_end_is_taken_and_then_the_end(server):
    server.send(1)
    server.send("die")
    assert server.wait(60)
    assert server.receive() == 1
    with pytest.raises(EOFError):
        server.receive()
    assert server.end().code == 3


def test_a_fork_that_comes_back_answers_nobody(server):
    answers = []
    for message in ("fork", 1, "fork", 2, 3):
        server.send(message)
        answers.append(server.receive())
    assert answers == ["fork", 1, "fork", 2, 3]


@pytest.mark.parametrize("written", [b"x", b"garbage", b"\xff" * 200])
def test_a_process_that_writes_among_its_answers_is_ended_and_never_waited_for(server, written):
    server.send(1)
    assert server.receive() == 1
    server.send(written)
    with pytest.raises(EOFError):
        server.receive()
    assert "not an answer" in str(server.end())
    assert server.ended


def test_a_long_answer_arrives_in_parts(server):
    server.send("m" * 10_000_000)
    assert wait([server.connection], 60)
    while not server.ready(0.0):
        pass
    assert len(server.receive()) == 10_000_000


SMALL = """
import os, sys
sys.path.insert(0, {tests!r})
{before}
from archgym.processes.children import Server, run
assert run(["sh", "-c", "cat; echo said"], 60).output == b"said\\n"
server = Server("test_processes:echo")
server.send("hello")
assert server.receive() == "hello"
"""


@pytest.mark.parametrize(
    "before",
    [
        "os.closerange(0, 3)",
        "os.close(0)",
        "os.close(1)",
        "import pathlib; sys.path.append(pathlib.Path('x'))",
    ],
)
def test_children_start_from_a_process_without_standard_descriptors_and_with_any_import_path(
    tmp_path, before
):
    script = tmp_path / "script.py"
    script.write_text(SMALL.format(tests=str(Path(__file__).parent), before=before))
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
