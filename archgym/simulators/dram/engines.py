"""The event loop of the controller model in C: what it takes and gives, as `interpreted.py` does in Python.

A design is a row of int32 values by `DESIGN`, whose categories are numbered as in the design space; what it
did is a row of int64 values by `OUTCOME`:

    end                      cycle of the last response
    activations, precharges, refreshes
    precharged, window       cycles with all banks precharged; cycles until the last command is complete
    stored_*                 most requests in the buffer when it took another, as each kind of buffer counts
    overtaken                1 if a request overtook an earlier one
    chosen                   1 if the schedulers Fifo and FrFcfs would have differed
    *_above, *_reached       the limit was compared with numbers: it was above those up to the first, and not
                             above those from the second
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError
from archgym.simulators.compiler import Compiler, find_compiler
from archgym.simulators.dram.memories import CYCLES, Memory
from archgym.simulators.dram.traces import Trace

SOURCE = Path(__file__).parent / "c" / "controller.c"
DESIGN = (
    *("page_policy", "scheduler", "scheduler_buffer", "request_buffer_size", "resp_queue"),
    *("refresh_policy", "refresh_max_postponed", "refresh_max_pulledin", "arbiter"),
    "max_active_transactions",
)
LIMITS = (
    "request_buffer_size",
    "max_active_transactions",
    "refresh_max_postponed",
    "refresh_max_pulledin",
)
BUFFERS = ("bankwise", "read_write", "shared")
OUTCOME = (
    *("end", "activations", "precharges", "refreshes", "precharged", "window"),
    *(f"stored_{buffer}" for buffer in BUFFERS),
    *("overtaken", "chosen"),
    *(f"{limit}_{side}" for limit in LIMITS for side in ("above", "reached")),
)

Designs = npt.NDArray[np.int32]
Outcomes = npt.NDArray[np.int64]
_Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Requests:
    """A trace on a memory, as the event loops take it: [N] each, or as stated.

    Args:
        cycle: clock cycle of arrival.
        write: 1 for a write, else 0.
        address: byte address.
        bank: bank.
        group: number of the row, over all banks.
        next_in_bank, next_in_group: the next request to the same bank and row, or N.
        first_in_bank, first_in_group: the first one, or N: [banks] and [rows].
        timing: banks, burst, and `CYCLES`, int32, in the order of the C code.
    """

    cycle: npt.NDArray[np.int64]
    write: npt.NDArray[np.uint8]
    address: npt.NDArray[np.int64]
    bank: _Numbers
    group: _Numbers
    next_in_bank: _Numbers
    next_in_group: _Numbers
    first_in_bank: _Numbers
    first_in_group: _Numbers
    timing: _Numbers

    @classmethod
    def of(cls, trace: Trace, memory: Memory) -> Requests:
        """The requests of a trace on a memory."""
        bank, row = memory.part("bank", trace.address), memory.part("row", trace.address)
        names, group = np.unique((bank << 40) | row, return_inverse=True)
        chains = [_chain(bank, memory.banks), _chain(group, len(names))]
        cycles = memory.cycles
        ordered = {
            "banks": memory.banks,
            **{name: cycles[name] for name in CYCLES[:4]},
            "burst": memory.burst,
        }
        ordered |= {name: cycles[name] for name in CYCLES[4:]}
        return cls(
            np.ascontiguousarray(trace.cycle, np.int64),
            np.ascontiguousarray(trace.write, np.uint8),
            np.ascontiguousarray(trace.address, np.int64),
            bank.astype(np.int32),
            group.astype(np.int32),
            chains[0][0],
            chains[1][0],
            chains[0][1],
            chains[1][1],
            np.array(list(ordered.values()), np.int32),
        )

    @property
    def mixed(self) -> bool:
        """Whether there are both reads and writes."""
        return bool(self.write.any() and not self.write.all())

    def __len__(self) -> int:
        return len(self.cycle)


def _chain(keys: npt.NDArray[np.integer], count: int) -> tuple[_Numbers, _Numbers]:
    """The next request with the same key [N], and the first with each [count]; N where there is none."""
    n = len(keys)
    order = np.argsort(keys, kind="stable")
    same = keys[order[:-1]] == keys[order[1:]]
    following, first = np.full(n, n, np.int32), np.full(count, n, np.int32)
    following[order[:-1][same]] = order[1:][same]
    starts = np.concatenate([[True], ~same])
    first[keys[order[starts]]] = order[starts]
    return following, first


class _Trace(ctypes.Structure):
    """`Trace` of the C code."""

    _fields_: ClassVar = [
        ("count", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("cycle", "address", "write", "bank", "group")),
        *((name, ctypes.c_void_p) for name in ("in_bank", "in_row", "bank_first", "row_first")),
    ]


@cache
def compiler() -> Compiler:
    """The compiler of the event loop.

    Raises:
        CompilerError: no C compiler works here.
    """
    return find_compiler(SOURCE, ("simulate",))


@cache
def compiled() -> ctypes.CDLL:
    """The compiled event loop.

    Raises:
        CompilerError: no C compiler works here.
    """
    return compiler().load(SOURCE, ("simulate",))


def simulate_compiled(requests: Requests, designs: Designs) -> Outcomes:
    """What designs did, by the C code: int32 [B, 10] -> int64 [B, 19].

    Raises:
        CompilerError: no C compiler works here.
        ArchGymError: memory does not suffice.
    """
    designs = np.ascontiguousarray(designs, np.int32)
    outcomes = np.empty((len(designs), len(OUTCOME)), np.int64)
    arrays = (requests.cycle, requests.address, requests.write, requests.bank, requests.group)
    chains = (
        *(requests.next_in_bank, requests.next_in_group),
        *(requests.first_in_bank, requests.first_in_group),
    )
    pointers = [array.ctypes.data for array in (*arrays, *chains)]
    trace = _Trace(len(requests), len(requests.first_in_group), *pointers)
    code = compiled().simulate(
        ctypes.byref(trace),
        ctypes.c_void_p(requests.timing.ctypes.data),
        ctypes.c_int64(len(designs)),
        ctypes.c_void_p(designs.ctypes.data),
        ctypes.c_void_p(outcomes.ctypes.data),
    )
    if code:
        reason = {1: "memory does not suffice for the trace", 2: "the event loop came to a halt"}[code]
        raise ArchGymError(f"the controller model failed: {reason}")
    return outcomes
