"""Traces of memory requests: files in DRAMSys' .stl form, and generated ones by name.

A file has a line for each request, "12: read 0x7fc0": clock cycle of arrival, read or write, byte address.
Comments start with #. A request whose cycle is below that of a request before it arrives with that one:
DRAMSys sends it at once. Features of a trace:

    requests  log2(1 + n)                       rows     log2(1 + distinct rows)
    cycles    log2(1 + last cycle - first)      hits     share of requests to the row of the request before
    writes    share of writes                   bursts   share of requests in the cycle of the one before

A row is 8 KiB of neighbouring addresses: 8 chips with pages of 1 KiB, columns in the lowest bits.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, reason_of, unknown
from archgym.files.archive import digest, expect
from archgym.files.paths import open_regular, refuse_foreign, write_atomically
from archgym.simulators.dram.generators import (
    MEMORY_BYTES,
    MOST_REQUESTS,
    ROW_BYTES,
    Requests,
    generate,
    is_generated,
    list_generators,
)
from archgym.words import one_line, printable

SUFFIX = ".stl"
MOST_BYTES = 64 << 20
_REQUEST = re.compile(r"^\s*(\d+)\s*:\s*(read|write)\s+0x([0-9a-f]+)", re.IGNORECASE | re.MULTILINE)
_LINE = re.compile(
    r"\s*(\d{1,18})\s*:\s*(read|write)\s+0x([0-9a-f]{1,15})(\s+0x[0-9a-f]*)?\s*", re.IGNORECASE
)
_FORM = "'CYCLE: read|write 0xADDRESS'"


@dataclass(frozen=True, eq=False)
class Trace:
    """N requests to a memory, in order of arrival.

    Args:
        name: name of the generated trace, or the file's name without .stl.
        cycle: clock cycle of arrival, int64 [N], not falling.
        write: whether a request is a write, bool [N].
        address: byte address, int64 [N].
        late: number of requests that a file has at a cycle that had passed.

    Raises:
        ArchGymError: no requests, arrays of other shapes or types, falling cycles, a negative address.
    """

    identity: ClassVar[str] = "archgym.simulators.dram.traces:Trace"

    name: str
    cycle: npt.NDArray[np.int64] = field(repr=False)
    write: npt.NDArray[np.bool_] = field(repr=False)
    address: npt.NDArray[np.int64] = field(repr=False)
    late: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        count = np.size(self.cycle)
        if not 0 < count <= MOST_REQUESTS:
            raise ArchGymError(f"expected a trace of 1 to {MOST_REQUESTS:,} requests, got {count:,}")
        for name, kind in (("cycle", np.int64), ("write", np.bool_), ("address", np.int64)):
            array = np.array(getattr(self, name))
            expect(name, array, (count,), kind)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if not (self.cycle[0] >= 0 and (np.diff(self.cycle) >= 0).all() and self.address.min() >= 0):
            raise ArchGymError("expected cycles that do not fall and addresses, all >= 0")

    def __len__(self) -> int:
        return len(self.cycle)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> str:
        """A hash of the requests: 16 hexadecimal digits."""
        return digest("trace", (self.cycle, self.write, self.address))


def load_trace(trace: str | os.PathLike[str] | Trace, capacity: int = MEMORY_BYTES) -> Trace:
    """A trace by the path of its file or the name of a generated one; a `Trace` as it is.

    Args:
        trace: path of an .stl file, name such as "random:writes=0.3", or trace.
        capacity: bytes of the memory, which no address may exceed.

    Raises:
        ArchGymError: an unknown name, a file that is not a trace, or an address beyond the memory.
    """
    if isinstance(trace, Trace):
        found = trace
    elif isinstance(trace, str) and is_generated(trace):
        found = Trace(trace, *generate(trace))
    elif isinstance(trace, os.PathLike) or (isinstance(trace, str) and is_trace(trace)):
        return _read_once(*_state(Path(trace).expanduser()), capacity)
    else:
        raise unknown("trace", trace, [*list_generators(), f"FILE{SUFFIX}"])
    if found.address.max() >= capacity:
        raise ArchGymError(
            f"the trace {found.name!r} has address {int(found.address.max()):#x}, beyond the memory of "
            f"{capacity:,} bytes"
        )
    return found


def is_trace(trace: str) -> bool:
    """Whether a text is the name of a generated trace or a path, whatever is there."""
    return is_generated(trace) or trace.endswith(SUFFIX) or os.sep in trace or Path(trace).is_file()


def _state(path: Path) -> tuple[Path, int, int]:
    """The path, and what changes with its content."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return path, 0, 0
    return path, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=8)
def _read_once(path: Path, modified: int, size: int, capacity: int) -> Trace:
    return read_trace(path, capacity)


def read_trace(path: str | os.PathLike[str], capacity: int = MEMORY_BYTES) -> Trace:
    """The trace in a file; the module has its form.

    Args:
        path: the file.
        capacity: bytes of the memory, which no address may exceed.

    Raises:
        ArchGymError: a missing, empty, binary or huge file, a line that is not a request, an address beyond
            the memory, with the number of the line.
    """
    path = Path(path).expanduser()
    try:
        refuse_foreign(path)
        with open_regular(path, follow=True) as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ArchGymError(
            f"no trace at {printable(str(path))}; expected a file of requests in the form {_FORM}"
        ) from None
    except (OSError, ValueError) as error:
        raise ArchGymError(f"cannot read the trace {printable(str(path))}: {reason_of(error)}") from error
    if len(content) > MOST_BYTES:
        raise ArchGymError(f"expected a trace of at most {MOST_BYTES >> 20} MiB, got more in {path}")
    try:
        if b"\0" in content:
            raise ArchGymError("expected text, got binary data")
        return _parsed(path.name.removesuffix(SUFFIX), content.decode("utf-8-sig", "replace"), capacity)
    except ArchGymError as error:
        raise ArchGymError(f"{path} is not a trace: {error}") from None


def _parsed(name: str, text: str, capacity: int) -> Trace:
    cycles, writes, addresses = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            raise ArchGymError(f"expected {_FORM} in line {number}, got {one_line(line, 60)!r}")
        cycle, kind, address, _ = match.groups()
        addresses.append(int(address, 16))
        if addresses[-1] >= capacity:
            raise ArchGymError(
                f"expected addresses below {capacity:#x}, the memory's size, got 0x{address} in line {number}"
            )
        cycles.append(int(cycle))
        writes.append(kind[0] in "wW")
    if not 0 < len(cycles) <= MOST_REQUESTS:
        raise ArchGymError(f"expected 1 to {MOST_REQUESTS:,} requests, got {len(cycles):,}")
    given = np.array(cycles, np.int64)
    cycle = np.maximum.accumulate(given)
    late = int((cycle > given).sum())
    return Trace(name, cycle, np.array(writes, bool), np.array(addresses, np.int64), late)


def write_trace(trace: Trace, path: str | os.PathLike[str]) -> Path:
    """Write a trace in the form that `read_trace` and DRAMSys read, complete or not at all.

    Raises:
        ArchGymError: the file cannot be written.
    """
    rows = zip(trace.cycle.tolist(), trace.write.tolist(), trace.address.tolist(), strict=True)
    lines = [f"{cycle}:\t{'write' if write else 'read'}\t0x{address:X}\n" for cycle, write, address in rows]
    return write_atomically(path, "".join(lines).encode())


def trace_features(trace: Path | Trace) -> dict[str, float]:
    """Features of a trace or of one in a file, as above, by name; other lines of the file are skipped."""
    if isinstance(trace, Trace):
        return _features(Requests(trace.cycle, trace.write, trace.address))
    found = _REQUEST.findall(trace.read_text(encoding="utf-8", errors="replace"))
    cycle = np.array([int(cycle) for cycle, _, _ in found], np.int64)
    write = np.array([kind.lower() == "write" for _, kind, _ in found], bool)
    return _features(Requests(cycle, write, np.array([int(a, 16) for *_, a in found], np.int64)))


def _features(requests: Requests) -> dict[str, float]:
    cycle, write, address = requests
    rows = address // ROW_BYTES
    counts = {
        "requests": len(cycle),
        "cycles": int(np.ptp(cycle)) if len(cycle) else 0,
        "rows": len(np.unique(rows)),
    }
    shares = {
        "writes": int(write.sum()),
        "hits": int((np.diff(rows) == 0).sum()),
        "bursts": int((np.diff(cycle) == 0).sum()),
    }
    return {
        **{name: float(np.log2(1 + number)) for name, number in counts.items()},
        **{name: number / max(len(cycle), 1) for name, number in shares.items()},
    }
