"""Runs one program and ends with it, together with all that it started.

    owner  --->  supervisor  --->  program  --->  all that it starts, in any session

Orphans below a supervisor become its children (`PR_SET_CHILD_SUBREAPER`): daemons, double forks, children of
a killed program. When the program ends, the owner sends a byte, or the owner ends (a pidfd), everything below
is killed, and the supervisor reports to the owner: the program's exit code (or "!errno" if it could not be
started), a line feed, and the end of its output. `archgym.processes.children` is the other side.

A Python without site-packages runs it so that it starts in milliseconds: it needs little of the standard
library and nothing else.
"""

import ctypes
import errno
import os
import select
import signal
import sys
import time
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
POLL_S = 0.5  # where the system does not report the owner's end
END_S = 5.0  # time limit for killing everything
LINUX = sys.platform == "linux"


def main(
    owner: int,
    control: int,
    fds: list[int],
    output: list[int],
    keep: int,
    grace_s: float,
    memory: int | None,
    command: list[str],
) -> None:
    """Start the command, wait for its end, a request or the owner's end, then end everything.

    Args:
        owner: process id of the process that started this one.
        control: descriptor of a socket to the owner.
        fds: further descriptors that the command inherits.
        output: descriptors of the command, 1 or 2, whose output is kept.
        keep: output to keep, bytes.
        grace_s: time for the command to exit by itself after the owner ended, seconds.
        memory: limit on the command's address space, bytes; None for no limit.
        command: the program and its arguments.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):  # a terminal's signals are for the owner
        signal.signal(number, _nothing)  # the program inherits ignored signals, but not handlers
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    requests = []
    signal.signal(signal.SIGTERM, lambda *_: requests.append(True))
    signal.signal(signal.SIGCHLD, _nothing)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    os.set_inheritable(control, False)
    source, sink = os.pipe() if output else (-1, -1)
    program = _start(command, output, source, sink, control, memory)
    _let_go(fds, output, sink)
    written = bytearray()
    owner_end = _pidfd(owner)
    poll = select.poll()
    for fd in (control, woken, source, owner_end):
        if fd >= 0:
            poll.register(fd, select.POLLIN)
    code: int | None = None
    while code is None and not requests:
        ready = {fd for fd, _ in poll.poll(None if owner_end >= 0 else 1000 * POLL_S)}
        if source in ready and not _take(source, written, keep):
            poll.unregister(source)
        if woken in ready:
            _drain(woken)
        code = _reap(program)
        if code is None and (ready & {control, owner_end} or os.getppid() != owner):
            if control not in ready or not os.read(control, 1):  # not a request: the owner has ended
                code = _within(program, grace_s)
            break
    code = _end_all(program, code)
    for _ in range(64 if source >= 0 else 0):  # reads more than a pipe holds
        if not _take(source, written, keep):
            break
    ending = -signal.SIGKILL if code is None else code
    _report(control, b"%d\n%b" % (ending, bytes(written[-keep:] if keep else b"")))


def _start(
    command: list[str], output: list[int], source: int, sink: int, control: int, memory: int | None
) -> int:
    """Start the program in its own session; the system kills it with this process."""
    failed, failure = os.pipe()
    here = os.getpid()
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != here:
                os._exit(1)
            for fd in output:
                os.dup2(sink, fd)
            if memory is not None:
                _limit_memory(memory)
            for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
                signal.signal(ignored, signal.SIG_DFL)
            os.execvp(command[0], command)
        except OSError as error:
            os.write(failure, b"%d" % (error.errno or errno.EIO))
        except ValueError:  # an empty name
            os.write(failure, b"%d" % errno.ENOENT)
        finally:
            os._exit(127)
    os.close(failure)
    reason = os.read(failed, 16)
    os.close(failed)
    if reason:
        _report(control, b"!%b\n" % reason)
        sys.exit(0)
    if source >= 0:
        os.set_blocking(source, False)
    return pid


def _limit_memory(limit: int) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with suppress(ValueError, OSError):  # a system without such a limit
        resource.setrlimit(
            resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
        )


def _let_go(fds: list[int], output: list[int], sink: int) -> None:
    """Close the program's descriptors here, so that the other ends notice its end."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, *output):
        os.dup2(nowhere, fd)
    for fd in (nowhere, *fds, sink):
        if fd > 2:
            os.close(fd)


def _take(source: int, written: bytearray, keep: int) -> bool:
    """Read a part of the program's output and keep the end; False at its end."""
    try:
        chunk = os.read(source, 1 << 16)
    except BlockingIOError:
        return False
    written += chunk
    if len(written) > 2 * keep + (1 << 16):
        del written[:-keep]
    return bool(chunk)


def _reap(program: int) -> int | None:
    """Reap all children that have ended; the program's exit code, if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if not pid:
            return code
        if pid == program:
            code = os.waitstatus_to_exitcode(status)


def _within(program: int, seconds: float) -> int | None:
    """The exit code of a program that ends by itself within `seconds`."""
    end = time.monotonic() + seconds
    while (code := _reap(program)) is None and time.monotonic() < end:
        time.sleep(0.01)
    return code


def _end_all(program: int, code: int | None) -> int | None:
    """Kill everything below this process until nothing is left; the program's exit code."""
    end = time.monotonic() + END_S
    pause = 0.001
    if not LINUX:  # there, orphans leave the tree of processes
        _kill(-program)
    while _has_children() and time.monotonic() < end:
        for pid in _below():
            _kill(pid)
        found = _reap(program)
        code = found if code is None else code
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return code


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _kill(pid: int) -> None:
    with suppress(OSError):  # gone, or another user's
        os.kill(pid, signal.SIGKILL)


def _below() -> list[int]:
    """All descendants of this process."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _parents() -> list[tuple[int, int]]:
    """Process and parent ids of all processes."""
    if not LINUX:
        import subprocess

        with subprocess.Popen(["ps", "-Ao", "pid=,ppid="], stdout=subprocess.PIPE) as ps:
            lines = ps.communicate()[0].splitlines()
        return [(int(pid), int(parent)) for pid, parent in map(bytes.split, lines) if int(pid) != ps.pid]
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # unless it has ended
                found.append((int(name), int(file.read().rpartition(b")")[2].split()[1])))
    return found


def _pidfd(owner: int) -> int:
    """A descriptor that becomes readable when the owner ends; -1 if the system has none."""
    try:
        return os.pidfd_open(owner)
    except (AttributeError, OSError):
        return -1


def _prctl(option: int, value: int) -> None:
    if LINUX:
        ctypes.CDLL(None).prctl(option, value)


def _drain(fd: int) -> None:
    with suppress(BlockingIOError):
        os.read(fd, 1 << 16)


def _nothing(*_: object) -> None:
    pass


def _report(control: int, message: bytes) -> None:
    os.set_blocking(control, True)
    view = memoryview(message)
    with suppress(OSError):  # the other end is closed
        while view:
            view = view[os.write(control, view) :]
