"""Features of a trace of memory requests, a line each: "12: read 0x7fc0", with the clock cycle first.

    requests  log2(1 + n)                       rows     log2(1 + distinct rows)
    cycles    log2(1 + last cycle - first)      hits     share of requests to the row of the request before
    writes    share of writes                   bursts   share of requests in the cycle of the one before

A row is 8 KiB of neighbouring addresses: 8 chips with pages of 1 KiB, columns in the lowest bits.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

ROW_BYTES = 8192
_REQUEST = re.compile(r"^\s*(\d+)\s*:\s*(read|write)\s+0x([0-9a-f]+)", re.IGNORECASE | re.MULTILINE)


def trace_features(path: Path) -> dict[str, float]:
    """Features of the trace in a file, as above, by name; other lines are skipped."""
    requests = _REQUEST.findall(path.read_text(encoding="utf-8", errors="replace"))
    cycles = np.array([int(cycle) for cycle, _, _ in requests], np.int64)
    rows = np.array([int(address, 16) // ROW_BYTES for _, _, address in requests], np.int64)
    count = max(len(requests), 1)
    counts = {
        "requests": len(requests),
        "cycles": int(np.ptp(cycles)) if requests else 0,
        "rows": len(np.unique(rows)),
    }
    shares = {
        "writes": sum(kind.lower() == "write" for _, kind, _ in requests),
        "hits": int((np.diff(rows) == 0).sum()),
        "bursts": int((np.diff(cycles) == 0).sum()),
    }
    return {
        **{name: float(np.log2(1 + number)) for name, number in counts.items()},
        **{name: number / count for name, number in shares.items()},
    }
