"""Softmax kernels in C, one shared library per (algorithm, ISA, unroll, accumulators, prefetch, non-temporal
stores).

The code is in `c/`: vectors of each instruction set, e^x, the passes over a row, the algorithms made of them
(`softmax.c`), and the harness that runs and times them (`harness.c`). Libraries are compiled when they are
first needed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError
from archgym.simulators.compiler import X86, Compiler, CompilerError, find_compiler
from archgym.simulators.softmax.machine.cpu import instruction_sets, processors

SOURCES = Path(__file__).parent / "c"
HEADERS = Path(__file__).parent / "gcc"  # what GCC reads in half the time, for the same library
HARNESS = ("run", "measure", "pin")  # functions of harness.c
ISA_OPTIONS = {"scalar": [], "avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mfma"]}
LANES = {"scalar": 1, "avx2": 8, "avx512": 16}  # float32 per vector

Floats = npt.NDArray[np.float32]


def kernel_compiler(folder: Path | None = None) -> Compiler:
    """This machine's compiler of kernels.

    Args:
        folder: folder of the libraries; default: that of `find_compiler`.

    Raises:
        CompilerError: no compiler works; the message has the reason of each.
    """
    try:
        return find_compiler(SOURCES / "harness.c", HARNESS, folder)
    except CompilerError as error:
        raise CompilerError(
            f"measuring needs a C compiler, but {error}; the cost model, backend='model', needs none"
        ) from error


@dataclass(frozen=True)
class Kernel:
    """The compiled part of a design; the rest, `tile` and `threads`, divides the work."""

    algorithm: str
    isa: str
    unroll: int
    accumulators: int
    prefetch: int
    nontemporal: bool

    source: ClassVar[str] = "softmax.c"
    functions: ClassVar[tuple[str, str, str]] = ("reduce", "finish", "add_totals")

    @classmethod
    def from_design(cls, design: Mapping[str, Any]) -> Kernel:
        """The kernel of a design."""
        return cls(**{field.name: design[field.name] for field in fields(cls)})

    @property
    def options(self) -> list[str]:
        """Options of the compiler."""
        algorithm = f"-DALGORITHM_{self.algorithm.upper()}"
        return [
            algorithm,
            *_options(self.isa, self.unroll, self.accumulators, self.prefetch, self.nontemporal),
        ]


@dataclass(frozen=True)
class Pass:
    """One pass over a row, timed by itself for calibration: one of the model's `PASSES`, or "write" or
    "copy".
    """

    name: str
    isa: str
    unroll: int
    accumulators: int
    nontemporal: bool = False
    threads: int = 1

    source: ClassVar[str] = "passes.c"

    @property
    def functions(self) -> tuple[str, str, str]:
        """The functions in place of a kernel's `reduce`, `finish` and `add_totals`."""
        return f"{self.name}_pass", "nothing", "add_totals"

    @property
    def options(self) -> list[str]:
        """Options of the compiler: the same for all passes of one kind."""
        return _options(self.isa, self.unroll, self.accumulators, 0, self.nontemporal)


def _options(isa: str, unroll: int, accumulators: int, prefetch: int, nontemporal: bool) -> list[str]:
    return [
        *("-isystem", str(HEADERS)),
        *ISA_OPTIONS[isa],
        f"-DISA_{isa.upper()}",
        f"-DUNROLL={int(unroll)}",
        f"-DACCUMULATORS={int(accumulators)}",
        f"-DPREFETCH={int(prefetch)}",
        f"-DNONTEMPORAL={int(nontemporal)}",
    ]


class Timing(NamedTuple):
    """One call: processor time (of the slower thread), wall-clock time, and how often the thread was taken
    off its processor.
    """

    seconds: float
    wall_seconds: float
    switches: int


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


def aligned(shape: tuple[int, int]) -> Floats:
    """Memory for [rows, cols] that begins with a cache line; its content is arbitrary."""
    size = shape[0] * shape[1]
    memory = np.empty(size + 15, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + size].reshape(shape)


PAGE, LARGE_PAGE = 2**12, 2**21  # bytes


def aligned_pair(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Input and output [rows, cols] whose speed does not depend on where the system puts them; their content
    is arbitrary.

    Both stand in one block that begins at a multiple of its size, up to 2 MB. Measured: separate blocks made
    kernels up to 2.5 times as slow, by chance. The likely cause is that some processors look data up in L1 by
    a hash of their address (AMD since Zen: bits 12 to 27), in which lines of separate blocks collide. Output
    half a page from its input does not wait for loads of equal low address bits; larger ones differ in a
    hashed bit too.
    """
    size = 4 * shape[0] * shape[1]
    apart = -(-size // PAGE) * PAGE + PAGE // 2 + (2**16 if size > 2**15 else 0)
    alignment = min(1 << (apart + size - 1).bit_length(), LARGE_PAGE)
    memory = np.empty((apart + size + alignment) // 4, np.float32)
    start = -_address(memory) % alignment // 4
    x, y = (memory[first : first + size // 4].reshape(shape) for first in (start, start + apart // 4))
    return x, y


def _address(floats: Floats) -> int:
    return int(floats.__array_interface__["data"][0])


def why_unsupported(design: Mapping[str, Any]) -> str | None:
    """Why a design cannot be run on this machine; None where it can."""
    if design["accumulators"] > design["unroll"]:
        return f"accumulators ({design['accumulators']}) must not exceed unroll ({design['unroll']})"
    if design["isa"] not in instruction_sets():
        return f"this processor has no {design['isa']}"
    if design["nontemporal"] and not X86:
        return "non-temporal stores are written for x86 only"
    if design["threads"] > len(processors()):
        return (
            f"{design['threads']} threads need {design['threads']} processors, and this process may use "
            f"{len(processors())}"
        )
    return None


class Kernels:
    """Compiles, runs and times kernels.

    Args:
        compiler: the compiler of the libraries.

    Attributes:
        fastest_probe_s: least time of a probe on this machine so far (`timing`), seconds.
    """

    def __init__(self, compiler: Compiler):
        self.compiler = compiler
        self.fastest_probe_s = np.inf
        self._harness = compiler.load(SOURCES / "harness.c", HARNESS)
        self._harness.run.argtypes = [ctypes.POINTER(_Work)]
        self._harness.measure.argtypes = [
            ctypes.POINTER(_Work),
            ctypes.c_long,
            ctypes.c_long,
            ctypes.POINTER(_Timing),
        ]
        self._harness.pin.argtypes = [ctypes.c_int, ctypes.c_int]
        self._loaded: dict[Kernel | Pass, tuple[ctypes.CDLL, _Functions]] = {}
        self._prepared_by_design: dict[Pass | tuple[tuple[str, Any], ...], tuple[_Functions, int, int]] = {}

    def build(self, codes: Iterable[Kernel | Pass]) -> dict[Kernel | Pass, str]:
        """Compile what is not loaded yet, on all processors; reasons of those that cannot be compiled or
        loaded.
        """
        missing = [code for code in dict.fromkeys(codes) if code not in self._loaded]
        libraries = {(code.source, *code.options): code for code in missing}
        with ThreadPoolExecutor(len(processors())) as pool:
            reasons = dict(zip(libraries, pool.map(self._build, libraries.values()), strict=True))
        return {code: reason for code in missing if (reason := reasons[code.source, *code.options])}

    def _build(self, code: Kernel | Pass) -> str:
        try:
            self._functions(code)
        except CompilerError as error:
            return str(error)
        return ""

    def _functions(self, code: Kernel | Pass) -> _Functions:
        if code not in self._loaded:
            library = self.compiler.load(SOURCES / code.source, code.functions, code.options)
            self._loaded[code] = (
                library,
                _Functions(
                    *(ctypes.cast(getattr(library, name), ctypes.c_void_p) for name in code.functions)
                ),
            )
        return self._loaded[code][1]

    def _work(self, what: Mapping[str, Any] | Pass, x: Floats, y: Floats) -> _Work:
        for name, array in (("x", x), ("y", y)):
            if (
                array.dtype != np.float32
                or not array.flags.c_contiguous
                or array.shape != x.shape
                or array.ndim != 2
                or not array.size
            ):
                raise ArchGymError(
                    f"{name} must be a C-contiguous float32 array [rows, cols] with elements, like the other"
                )
        if not (x.flags.aligned and y.flags.aligned and y.flags.writeable):
            raise ArchGymError("x and y must begin at multiples of 4 bytes, and y must be writable")
        functions, tile, threads = self._prepared(what)
        return _Work(functions, _address(x), _address(y), *x.shape, tile or x.shape[1], threads)

    def _prepared(self, what: Mapping[str, Any] | Pass) -> tuple[_Functions, int, int]:
        """A kernel's functions, tile (0 for a whole row) and threads; kept, since a call can be shorter
        than finding them.
        """
        key = what if isinstance(what, Pass) else tuple(what.items())
        if key not in self._prepared_by_design:
            if isinstance(what, Pass):
                self._prepared_by_design[key] = self._functions(what), 0, what.threads
            else:
                tile, threads = int(what["tile"]), int(what["threads"])
                if tile < 1 or threads not in (1, 2):
                    raise ArchGymError(
                        f"a kernel needs a tile of 1 or more and 1 or 2 threads, not {tile} and {threads}"
                    )
                self._prepared_by_design[key] = self._functions(Kernel.from_design(what)), tile, threads
        return self._prepared_by_design[key]

    def run(self, design: Mapping[str, Any], x: Floats, y: Floats) -> None:
        """y = softmax of every row of x; float32 [rows, cols], C-contiguous. y may be x.

        Raises:
            CompilerError: the kernel cannot be compiled.
            ArchGymError: an array of another type or shape, or no second thread can be started.
        """
        if self._harness.run(self._work(design, x, y)):
            raise ArchGymError("a second thread cannot be started; use a design with threads=1")

    def measure(
        self, what: Mapping[str, Any] | Pass, x: Floats, y: Floats, *, calls: int, warmups: int = 0
    ) -> Timing:
        """Mean time of `calls` runs of a design or a pass, in a loop in C, after `warmups` untimed ones;
        raises the errors of `run`.
        """
        timing = _Timing()
        if self._harness.measure(self._work(what, x, y), warmups, calls, timing):
            raise ArchGymError("a second thread cannot be started; use a design with threads=1")
        return Timing(timing.seconds / calls, timing.wall_seconds / calls, timing.switches)

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep this thread, and the second thread of kernels, each on a processor of its own, where the
        system can.
        """
        allowed = processors()
        self._harness.pin(allowed[-1], allowed[0])
        try:
            yield
        finally:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, allowed)
