"""Statistics of a trace that say which controller may suit it.

Rows are those of `archgym.simulators.dram.traces`, row r in bank r mod 8. A request in order of arrival is

    a hit        its bank has this row open, by the request to this bank before
    a miss       no request to this bank came before
    a conflict   its bank has another row open

under a page policy that never closes a row by itself. Reuse is counted in requests: a request has a partner
when one of the `WINDOW` requests before goes to its row, which a buffer of that size could group with it. A
burst is a run of requests at most 4 cycles apart, the time of a request on the data bus, so that requests of
one wait for each other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.simulators.dram.generators import BANKS, LINE_BYTES, ROW_BYTES
from archgym.simulators.dram.traces import Trace, trace_features

WINDOW = 64
BURST_CYCLES = 4  # of a request on the data bus: 8 transfers, 2 in each cycle
CLOCK_HZ = 800e6


@dataclass(frozen=True)
class TraceStatistics:
    """Counts and shares of a trace; shares are of its requests.

    Attributes:
        requests, reads, writes: numbers of requests.
        turnarounds: number of requests of the other kind than the one before.
        late: number of requests that a file has at a cycle that had passed.
        cycles: cycles from the first request to the last, both counted.
        bytes_s: arriving bytes per second at 800 MHz; the memory transfers 12.8e9.
        rows, lines: numbers of distinct rows, and of distinct lines of 64 bytes.
        hits, misses, conflicts: shares in order of arrival, as above.
        near: share with a request to the same row among the 64 before.
        repeated: share of requests to a line that was requested before.
        bursts: number of bursts.
        longest_burst: requests of the longest burst.
        longest_pause: cycles between two bursts, at most.
        banks: by bank: share of requests, and shares of hits and of conflicts among its own, [8] each.
    """

    requests: int
    reads: int
    writes: int
    turnarounds: int
    late: int
    cycles: int
    bytes_s: float
    rows: int
    lines: int
    hits: float
    misses: float
    conflicts: float
    near: float
    repeated: float
    bursts: int
    longest_burst: int
    longest_pause: int
    banks: dict[str, list[float]]

    def to_dict(self) -> dict[str, Any]:
        """The statistics as JSON."""
        return asdict(self)


def describe(trace: Trace) -> TraceStatistics:
    """The statistics of a trace."""
    rows = trace.address // ROW_BYTES
    lines = np.unique(trace.address // LINE_BYTES)
    hit, miss, bank = _row_hits(rows)
    conflict = ~hit & ~miss
    starts = np.flatnonzero(np.diff(trace.cycle) > BURST_CYCLES) + 1
    pauses = np.diff(trace.cycle)[starts - 1]
    lengths = np.diff(np.concatenate([[0], starts, [len(trace)]]))
    cycles, writes = int(np.ptp(trace.cycle)) + 1, int(trace.write.sum())
    return TraceStatistics(
        requests=len(trace),
        reads=len(trace) - writes,
        writes=writes,
        turnarounds=int((np.diff(trace.write.astype(np.int8)) != 0).sum()),
        late=trace.late,
        cycles=cycles,
        bytes_s=len(trace) * LINE_BYTES * CLOCK_HZ / cycles,
        rows=len(np.unique(rows)),
        lines=len(lines),
        hits=float(hit.mean()),
        misses=float(miss.mean()),
        conflicts=float(conflict.mean()),
        near=float((_since(rows) <= WINDOW).mean()),
        repeated=1 - len(lines) / len(trace),
        bursts=len(lengths),
        longest_burst=int(lengths.max()),
        longest_pause=int(pauses.max(initial=0)),
        banks=_by_bank(bank, hit, conflict),
    )


def features(trace: Trace) -> dict[str, float]:
    """What tells traces apart for an agent, by name: `trace_features`, and

    open_hits     share of hits under open pages
    near          share with a request to its row among the 64 before
    repeated      share of requests to a line that was requested before
    turnarounds   share of requests of the other kind than the one before
    banks         entropy of the banks' shares in bit: 3 where all eight are used evenly
    burst_count   log2 of the number of bursts
    """
    of = describe(trace)
    share = np.array([each for each in of.banks["share"] if each])
    return {
        **trace_features(trace),
        "open_hits": of.hits,
        "near": of.near,
        "repeated": of.repeated,
        "turnarounds": of.turnarounds / of.requests,
        "banks": float(-(share * np.log2(share)).sum()) + 0.0,
        "burst_count": float(np.log2(of.bursts)),
    }


def _row_hits(rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Whether a request is a hit, and a miss, and its bank, [N] each."""
    bank = rows % BANKS
    order = np.argsort(bank, kind="stable")  # within a bank in order of arrival
    first = np.diff(bank[order], prepend=-1) != 0
    same = np.diff(rows[order], prepend=-1) == 0
    hit, miss = np.empty(len(rows), bool), np.empty(len(rows), bool)
    hit[order], miss[order] = same, first
    return hit, miss, bank


def _since(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Requests since the one before to the same row, [N]; infinite for the first."""
    order = np.argsort(rows, kind="stable")
    since = np.full(len(rows), np.inf)
    since[order[1:]] = np.where(np.diff(rows[order]) == 0, np.diff(order), np.inf)
    return since


def _by_bank(
    bank: npt.NDArray[Any], hit: npt.NDArray[Any], conflict: npt.NDArray[Any]
) -> dict[str, list[float]]:
    counts = np.bincount(bank, minlength=BANKS)
    of_own = np.maximum(counts, 1)
    shares = {
        "share": counts / len(bank),
        "hits": np.bincount(bank, hit, BANKS) / of_own,
        "conflicts": np.bincount(bank, conflict, BANKS) / of_own,
    }
    return {name: each.tolist() for name, each in shares.items()}
