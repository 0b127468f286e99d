"""`rotosolve.solve` in C, with the same results, some 80 times as fast."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from archgym.errors import ArchGymError
from archgym.simulators.compiler import Compiler, find_compiler
from archgym.simulators.quantum.pauli import Floats
from archgym.simulators.quantum.rotosolve import LONG, SHORT, TOLERANCE, Problem
from archgym.simulators.quantum.space import MOST_SLOTS
from archgym.space import Indices

SOURCE = Path(__file__).parent / "c" / "rotosolve.c"
OPTIONS = ("-ftree-vectorize",)  # of loops without sums, whose results stay the same


class _Problem(ctypes.Structure):
    """`Problem` of the C code."""

    _fields_: ClassVar = [
        ("size", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("kind", "axis", "stride", "permutation", "weight")),
        *((name, ctypes.c_void_p) for name in ("zero", "observable")),
        *((name, ctypes.c_double) for name in ("damping", "least_gain", "tolerance")),
        *((name, ctypes.c_int64) for name in ("most_starts", "most_slots", "short_sweeps", "long_sweeps")),
        ("points", ctypes.c_void_p),
    ]


@cache
def compiler() -> Compiler:
    """The compiler of the code.

    Raises:
        CompilerError: no C compiler works here.
    """
    return find_compiler(SOURCE, ("solve",))


@cache
def library() -> ctypes.CDLL:
    """The compiled code.

    Raises:
        CompilerError: no C compiler works here.
    """
    return compiler().load(SOURCE, ("solve",), OPTIONS)


def solve_compiled(problem: Problem, circuits: Indices) -> tuple[Floats, Floats]:
    """`solve` in C.

    Raises:
        CompilerError: no C compiler works here.
        ArchGymError: memory does not suffice.
    """
    basis = problem.basis
    circuits = np.ascontiguousarray(circuits, np.int32)
    energies, points = np.empty(len(circuits)), np.empty((*circuits.shape, 2))
    kind, axis = basis.gates.kind.astype(np.int32), basis.gates.axis.astype(np.int32)
    observable = np.ascontiguousarray(problem.observable)
    arrays = (kind, axis, basis.stride, basis.permutation, basis.weight, basis.zero, observable)
    given = _Problem(
        basis.size,
        *(array.ctypes.data for array in arrays),
        *(basis.damping[0], problem.least_gain, TOLERANCE),
        *(problem.starts, MOST_SLOTS, SHORT, LONG),
        problem.points.ctypes.data,
    )
    failed = library().solve(
        ctypes.byref(given),
        ctypes.c_int64(circuits.shape[0]),
        ctypes.c_int64(circuits.shape[1]),
        ctypes.c_void_p(circuits.ctypes.data),
        ctypes.c_void_p(energies.ctypes.data),
        ctypes.c_void_p(points.ctypes.data),
    )
    if failed:
        raise ArchGymError("memory does not suffice for the states of the circuits")
    return energies, points
