"""Memory of processes: limits on the address space of this one, and the use of others.

Under a limit, an allocation that does not fit raises a MemoryError before the system kills a process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def limit_memory(extra: int) -> None:
    """Limit this process to `extra` bytes of address space beyond what it holds, in place of an inherited
    soft limit.
    """
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = min(_held() + extra, sys.maxsize)
    resource.setrlimit(
        resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )


@contextmanager
def limited_memory(extra: int) -> Iterator[None]:
    """Limit this process to `extra` bytes of address space beyond what it holds, within a `with` block and
    on Linux alone.
    """
    held = _held()
    if not held:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = held + extra
    resource.setrlimit(
        resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(soft, limit), hard)
    )
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
    """Memory of this machine, bytes."""
    import psutil

    return int(psutil.virtual_memory().total)


def resident_memory(pid: int, *, below: bool = False) -> int:
    """Resident memory of a process, or of all processes below it, bytes; 0 if it has ended."""
    import psutil

    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in process.children(recursive=True) if below else [process]:
            with suppress(psutil.Error):
                total += each.memory_info().rss
    return total
