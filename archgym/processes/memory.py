"""Memory of processes: limits on the address space of this one, and what others hold.

A limit lets an allocation that does not fit raise a MemoryError, before the system looks for a process to kill.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def limit_memory(extra: int) -> None:
    """Let this process take at most `extra` bytes of address space on top of what it holds; soft limits that it inherited are replaced."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = min(_held() + extra, sys.maxsize)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


@contextmanager
def limited_memory(extra: int) -> Iterator[None]:
    """Let this process take at most `extra` bytes of address space on top of what it holds, for a while and on Linux alone."""
    held = _held()
    if not held:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = held + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(soft, limit), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _held() -> int:
    """Bytes of address space that this process holds; 0 where the system has no /proc."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return 0


def physical_memory() -> int:
    """Bytes of memory that this machine has."""
    import psutil

    return int(psutil.virtual_memory().total)


def resident_memory(pid: int, *, below: bool = False) -> int:
    """Bytes of memory that a process holds; 0 where it has ended.

    Args:
        pid: the process.
        below: count all processes below it instead.
    """
    import psutil

    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in process.children(recursive=True) if below else [process]:
            with suppress(psutil.Error):
                total += each.memory_info().rss
    return total
