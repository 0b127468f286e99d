"""Softmax kernels in C, one shared library per (algorithm, ISA, unroll, accumulators, prefetch, non-temporal stores).

The code is in `kernels/`: vectors of each instruction set, e^x, the passes over a row, the algorithms made of them (`softmax.c`), and what
runs and times them (`harness.c`). Libraries are compiled when they are first needed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError
from archgym.simulators.softmax.compiler import X86, Compiler, CompilerError
from archgym.simulators.softmax.cpu import instruction_sets, processors

ISA_OPTIONS = {"scalar": [], "avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mfma"]}
LANES = {"scalar": 1, "avx2": 8, "avx512": 16}  # float32 per vector

Floats = npt.NDArray[np.float32]


class Kernel(NamedTuple):
    """What is compiled; a design adds how the work is divided: `tile` and `threads`."""

    algorithm: str
    isa: str
    unroll: int
    accumulators: int
    prefetch: int
    nontemporal: bool

    @classmethod
    def of(cls, design: Mapping[str, Any]) -> Kernel:
        """The kernel of a design."""
        return cls(**{name: design[name] for name in cls._fields})

    @property
    def options(self) -> list[str]:
        """What the compiler is told."""
        return [
            *ISA_OPTIONS[self.isa],
            f"-DISA_{self.isa.upper()}",
            f"-DALGORITHM_{self.algorithm.upper()}",
            f"-DUNROLL={int(self.unroll)}",
            f"-DACCUMULATORS={int(self.accumulators)}",
            f"-DPREFETCH={int(self.prefetch)}",
            f"-DNONTEMPORAL={int(self.nontemporal)}",
        ]


class Timing(NamedTuple):
    """Of one call: processor time (of the slower thread) and wall-clock time; times that the thread was taken off its processor."""

    seconds: float
    wall_seconds: float
    switches: int


class _Total(ctypes.Structure):
    _fields_ = [("sum", ctypes.c_double), ("logarithm", ctypes.c_double)]


class _Functions(ctypes.Structure):
    _fields_ = [("reduce", ctypes.c_void_p), ("finish", ctypes.c_void_p), ("add_totals", ctypes.c_void_p)]


class _Work(ctypes.Structure):
    _fields_ = [
        ("kernel", _Functions),
        ("x", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("rows", ctypes.c_size_t),
        ("cols", ctypes.c_size_t),
        ("tile", ctypes.c_size_t),
        ("threads", ctypes.c_int),
    ]


class _Timing(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_double), ("wall_seconds", ctypes.c_double), ("switches", ctypes.c_long)]


def impossible(design: Mapping[str, Any]) -> str:
    """Why a design cannot be run on this machine; "" where it can."""
    if design["accumulators"] > design["unroll"]:
        return f"{design['accumulators']} accumulators need an unroll of as many, not {design['unroll']}"
    if design["isa"] not in instruction_sets():
        return f"this processor has no {design['isa']}"
    if design["nontemporal"] and not X86:
        return "non-temporal stores are written for x86 only"
    if design["threads"] > len(processors()):
        return f"{design['threads']} threads need as many processors, and this process may use {len(processors())}"
    return ""


class Kernels:
    """Compiles, runs and times kernels.

    Args:
        compiler: makes the libraries.
    """

    def __init__(self, compiler: Compiler):
        self.compiler = compiler
        self._harness = ctypes.CDLL(str(compiler.build("harness.c")))
        self._harness.run.argtypes = [ctypes.POINTER(_Work)]
        self._harness.measure.argtypes = [ctypes.POINTER(_Work), ctypes.c_long, ctypes.c_long, ctypes.POINTER(_Timing)]
        self._harness.pin.argtypes = [ctypes.c_int, ctypes.c_int]
        self._loaded: dict[Kernel, tuple[ctypes.CDLL, _Functions]] = {}

    def build(self, kernels: Sequence[Kernel]) -> dict[Kernel, str]:
        """Compile what is not there yet, on all processors; why, for each kernel that cannot be compiled or loaded."""
        missing = [kernel for kernel in dict.fromkeys(kernels) if kernel not in self._loaded]
        if not missing:
            return {}
        with ThreadPoolExecutor(len(processors())) as pool:
            outcomes = list(pool.map(self._build, missing))
        return {kernel: reason for kernel, reason in zip(missing, outcomes, strict=True) if reason}

    def _build(self, kernel: Kernel) -> str:
        try:
            self._functions(kernel)
        except CompilerError as error:
            return str(error)
        return ""

    def _functions(self, kernel: Kernel) -> _Functions:
        if kernel not in self._loaded:
            path = self.compiler.build("softmax.c", kernel.options)
            try:
                library = ctypes.CDLL(str(path))
            except OSError:  # a damaged file: once more
                path.unlink(missing_ok=True)
                library = _load(self.compiler.build("softmax.c", kernel.options))
            addresses = [ctypes.cast(getattr(library, name), ctypes.c_void_p) for name, _ in _Functions._fields_]
            self._loaded[kernel] = library, _Functions(*addresses)
        return self._loaded[kernel][1]

    def _work(self, design: Mapping[str, Any], x: Floats, y: Floats) -> _Work:
        for name, array in (("x", x), ("y", y)):
            if array.dtype != np.float32 or not array.flags.c_contiguous or array.shape != x.shape or array.ndim != 2 or not array.size:
                raise ArchGymError(f"{name} must be a C-contiguous float32 array [rows, cols] with elements, like the other")
        functions = self._functions(Kernel.of(design))
        return _Work(functions, x.ctypes.data, y.ctypes.data, *x.shape, int(design["tile"]), int(design["threads"]))

    def run(self, design: Mapping[str, Any], x: Floats, y: Floats) -> None:
        """y = softmax of every row of x; float32 [rows, cols], C-contiguous. y may be x.

        Raises:
            CompilerError: the kernel cannot be compiled.
            ArchGymError: an array of another kind, or no second thread can be started.
        """
        if self._harness.run(self._work(design, x, y)):
            raise ArchGymError("a second thread cannot be started; use a design with threads=1")

    def measure(self, design: Mapping[str, Any], x: Floats, y: Floats, *, calls: int, warmups: int = 0) -> Timing:
        """The mean time of one of `calls` runs, in a loop in C, after `warmups` untimed ones. Errors as of `run`."""
        timing = _Timing()
        if self._harness.measure(self._work(design, x, y), warmups, calls, timing):
            raise ArchGymError("a second thread cannot be started; use a design with threads=1")
        return Timing(timing.seconds / calls, timing.wall_seconds / calls, timing.switches)

    def pin(self, processor: int, second: int = -1) -> bool:
        """Keep this thread on one processor, and the second thread of kernels on another; False where the system cannot."""
        return bool(self._harness.pin(processor, second) == 0)


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CompilerError(f"what the compiler made cannot be loaded: {error}") from error
