"""Calibrations of the softmax cost model: what one machine's memory and arithmetic cost, as recorded in one JSON file.

    m(pattern, bytes)      ns per float32 of a memory access pattern, linear in log2(bytes), constant beyond the measured ends; of each
                           of two threads, where it was measured with two
    c(pass, isa, u, a)     ns per element of a pass with its data in L1; u unrolled vectors, a independent accumulators
    phi(bytes, prefetch)   the part of the shorter of the two that the longer one does not hide, 0 <= phi <= 1
    b(algorithm, ...)      what all this misses: a factor by algorithm, ISA, non-temporal stores and bytes, 1 unless it was fitted

The format is described in the README.md beside this file; `Calibration.load` reads it.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import data_folder, refuse_foreign
from archgym.text import shown

FORMAT, VERSION = "archgym-softmax-calibration", 1
ISAS = ("scalar", "avx2", "avx512")
ALGORITHMS = ("three_pass_recompute", "three_pass_reload", "two_pass", "online", "tiled_online", "tiled_reload")
PATTERNS = ("read", "write", "write_nontemporal", "copy", "copy_nontemporal", "in_place", "in_place_nontemporal")
PASSES = (
    "maximum",  # max(x)
    "exponential_sum",  # sum exp(x - max)
    "stored_exponential_sum",  # the same, also storing y = exp(x - max)
    "normalised_exponential",  # y = exp(x - max) / sum
    "extended_sum",  # sum exp(x) with an extended exponent
    "extended_output",  # y = exp(x) / sum with an extended exponent
    "online_sum",  # running (max, sum)
    "scale",  # y *= 1 / sum, in place
)
PREFETCH_BYTES = (0, 256, 1024)

RECORDED = Path(__file__).parent / "calibrations"
DEFAULT = "xeon-2mb-l2"


@dataclass(frozen=True)
class Calibration:
    """What one machine's memory and arithmetic cost. Made by `Calibration.load` or `Calibration.from_json`.

    Attributes:
        name: the recorded name, or the name of the file.
        digest: hash of every number the model uses (not of the description of the machine).
        machine: the machine in words.
        lanes: float32 per vector, by ISA; an ISA that is not listed does not exist on the machine.
        row_overhead_ns: start-up cost of one row.
        tile_overhead_ns: of one tile, where the algorithm has tiles.
        thread_slowdown: factor on a thread's time when two run.
        thread_start_ns: cost of starting the second thread.
    """

    name: str
    digest: str
    machine: str
    lanes: Mapping[str, int]
    row_overhead_ns: float
    tile_overhead_ns: float
    thread_slowdown: float
    thread_start_ns: float
    _bandwidth: Mapping[int, Mapping[str, tuple[list[float], list[float]]]] = field(repr=False)
    _compute: Mapping[str, Mapping[str, list[tuple[int, int, float]]]] = field(repr=False)
    _overlap_levels: list[float] = field(repr=False)
    _overlap: Mapping[int, list[float]] = field(repr=False)
    _bias_levels: list[float] = field(repr=False)
    _bias: Mapping[tuple[str, str, bool], list[float]] | None = field(repr=False)

    @classmethod
    def load(cls, source: str | Path | None = None) -> Calibration:
        """Read a calibration.

        Args:
            source: the name of a recorded calibration, "host" for this machine's (made by `archgym calibrate softmax`), the path of a
                JSON file, or None for the default recorded one.

        Raises:
            ArchGymError: no such calibration, an unreadable file, or an entry that is missing or invalid (named in the message).
        """
        source = DEFAULT if source is None else source
        path = cls.host() if source == "host" else RECORDED / f"{source}.json" if source in cls.recorded() else Path(source)
        if source == "host" and not path.exists():
            raise ArchGymError(f"this machine has no calibration ({path}) yet: make one with `archgym calibrate softmax`")
        try:
            refuse_foreign(path)
            with path.open(encoding="utf-8-sig") as file:
                text = file.read(_LIMIT + 1)
            if len(text) > _LIMIT:
                raise ValueError(f"it has more than {_LIMIT:,} characters")
            document = json.loads(text)
        except OSError as error:
            raise ArchGymError(
                f"cannot read the calibration {str(source)!r} ({error.strerror or error}); "
                f"give the path of a JSON file or a recorded name: {', '.join(cls.recorded())}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ArchGymError(f"the calibration {str(source)!r} is not a JSON text ({reason_of(error)}); {_ADVICE}") from error
        return cls.from_json(document, name=path.stem)

    @staticmethod
    def host() -> Path:
        """Where this machine's calibration lies, if it has been made."""
        return data_folder("calibrations", "softmax.json")

    @staticmethod
    def recorded() -> tuple[str, ...]:
        """The names of the calibrations that come with archgym."""
        return tuple(sorted(path.stem for path in RECORDED.glob("*.json")))

    @classmethod
    def from_json(cls, document: Any, name: str) -> Calibration:
        """A calibration from its JSON document.

        Raises:
            ArchGymError: an entry is missing or invalid (named in the message).
        """
        root = _Entry(name, "", document)
        if root["format"].value != FORMAT:
            raise root["format"].invalid(f"{FORMAT!r}")
        if root["version"].value != VERSION:
            raise root["version"].invalid(f"{VERSION}, the version that this archgym reads")
        if not isinstance(root["machine"].value, str):
            raise root["machine"].invalid("the machine in words")
        lanes = root["lanes"].mapping(ISAS)
        levels = root["overlap"]["log2_bytes"].numbers(increasing=True)
        biased = "bias" in document
        bandwidth = {1: root["bandwidth"], 2: root["two_threads"]["bandwidth"] if "two_threads" in document else root["bandwidth"]}
        content = {key: value for key, value in document.items() if key not in ("machine", "provenance", "units")}
        try:
            digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        except (ValueError, RecursionError) as error:  # of what nests too deep, or of integers of thousands of digits
            raise ArchGymError(f"the calibration {name!r} has values that no calibration has ({reason_of(error)}); {_ADVICE}") from error
        return cls(
            name=name,
            digest=digest,
            machine=root["machine"].value,
            lanes={isa: entry.whole() for isa, entry in lanes.items()},
            row_overhead_ns=root["row_overhead_ns"].number(),
            tile_overhead_ns=root["tile_overhead_ns"].number() if "tile_overhead_ns" in document else 0.0,
            thread_slowdown=root["threads"]["slowdown"].number(positive=True),
            thread_start_ns=root["threads"]["start_ns"].number(),
            _bandwidth={threads: {pattern: curves[pattern].curve() for pattern in PATTERNS} for threads, curves in bandwidth.items()},
            _compute={what: {isa: root["compute"][what][isa].points() for isa in lanes} for what in PASSES},
            _overlap_levels=levels,
            _overlap=_overlap_by_prefetch(root["overlap"], len(levels) + 1),
            _bias_levels=root["bias"]["log2_bytes"].numbers(increasing=True) if biased else [],
            _bias=_bias_factors(root["bias"], lanes) if biased else None,
        )

    def bandwidth_ns(self, pattern: str, size: float, threads: int = 1) -> float:
        """m: ns per float32 of an access pattern with which each thread touches `size` bytes."""
        return float(np.interp(math.log2(size), *self._bandwidth[threads][pattern]))

    def compute_ns(self, what: str, isa: str, unroll: int, accumulators: int) -> float:
        """c: ns per element of a pass with its data in L1.

        Of the measured points, those with the most accumulators up to the number asked for count, linear in log2(unroll) and
        constant beyond the measured ends. NaN where the machine lacks the ISA.
        """
        if isa not in self.lanes:
            return math.nan
        points = self._compute[what][isa]
        measured = max(a for _, a, _ in points if a <= accumulators)
        unrolls, costs = zip(*((math.log2(u), ns) for u, a, ns in points if a == measured), strict=True)
        return float(np.interp(math.log2(unroll), unrolls, costs))

    def overlap(self, size: float, prefetch: int) -> float:
        """phi: the unhidden part of the shorter of memory and compute, at a footprint of `size` bytes and a prefetch distance in bytes."""
        level = int(np.searchsorted(self._overlap_levels, math.log2(size), side="right"))
        return self._overlap[prefetch][level]

    def bias(self, algorithm: str, isa: str, nontemporal: bool, size: float) -> float:
        """b: the factor on a kernel's time at a footprint of `size` bytes; 1 without a bias table, or for an ISA the machine lacks."""
        if self._bias is None or isa not in self.lanes:
            return 1.0
        return self._bias[algorithm, isa, nontemporal][int(np.searchsorted(self._bias_levels, math.log2(size), side="right"))]


_LIMIT = 2**20  # characters of a file; ours have 12,000
_MOST = 10_000  # values of one list
_ADVICE = f"see README.md in {Path(__file__).parent.name}/ for the format, or start from a copy of the recorded {DEFAULT}.json"


@dataclass(frozen=True)
class _Entry:
    """A value in the document with its dotted path, so that every refusal can name it."""

    source: str
    path: str
    value: Any

    def invalid(self, expected: str) -> ArchGymError:
        found = shown(self.value)
        return ArchGymError(f"the calibration {self.source!r}: {self.path or 'the document'} must be {expected}, not {found}; {_ADVICE}")

    def __getitem__(self, key: str) -> _Entry:
        path = f"{self.path}.{key}".lstrip(".")
        if not isinstance(self.value, dict):
            raise self.invalid("an object")
        if key not in self.value:
            raise ArchGymError(f"the calibration {self.source!r} lacks {path}; {_ADVICE}")
        return _Entry(self.source, path, self.value[key])

    def mapping(self, allowed: tuple[str, ...]) -> dict[str, _Entry]:
        if not isinstance(self.value, dict) or not self.value or not set(self.value) <= set(allowed):
            raise self.invalid(f"an object with keys among {', '.join(allowed)}")
        return {key: self[key] for key in self.value}

    def items(self) -> list[_Entry]:
        if not isinstance(self.value, list) or not self.value:
            raise self.invalid("a non-empty list")
        if len(self.value) > _MOST:
            raise self.invalid(f"a list of at most {_MOST:,} values")
        return [_Entry(self.source, f"{self.path}[{i}]", value) for i, value in enumerate(self.value)]

    def number(self, positive: bool = False, at_most: float = math.inf) -> float:
        number = self.value
        right = isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= sys.float_info.max
        if not right or number > at_most or (positive and number == 0):
            bound = "" if at_most == math.inf else f" up to {at_most:g}"
            raise self.invalid(("a positive number" if positive else "a number from 0") + bound)
        return float(number)

    def whole(self) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not 1 <= self.value < 2**31:
            raise self.invalid("a positive whole number")
        return self.value

    def numbers(self, increasing: bool = False, positive: bool = False, at_most: float = math.inf) -> list[float]:
        numbers = [entry.number(positive, at_most) for entry in self.items()]
        if increasing and any(later <= earlier for earlier, later in pairwise(numbers)):
            raise self.invalid("a list of increasing numbers")
        return numbers

    def curve(self) -> tuple[list[float], list[float]]:
        sizes, costs = self["log2_bytes"].numbers(increasing=True), self["ns_per_float"].numbers(positive=True)
        if len(sizes) != len(costs):
            raise self["ns_per_float"].invalid(f"a list of {len(sizes)} numbers, one per log2_bytes")
        return sizes, costs

    def points(self) -> list[tuple[int, int, float]]:
        points = []
        for entry in self.items():
            if not isinstance(entry.value, list) or len(entry.value) != 3:
                raise entry.invalid("a triple [unroll, accumulators, ns per element]")
            unroll, accumulators, cost = entry.items()
            points.append((unroll.whole(), accumulators.whole(), cost.number(positive=True)))
        if len({(u, a) for u, a, _ in points}) != len(points):
            raise self.invalid("a list with each (unroll, accumulators) once")
        if all(a != 1 for _, a, _ in points):
            raise self.invalid("a list with a point for one accumulator at least")
        return sorted(points)


def _overlap_by_prefetch(overlap: _Entry, levels: int) -> dict[int, list[float]]:
    """phi with the factors of each prefetch distance multiplied in, by level of the hierarchy."""
    phi = overlap["phi"].numbers(at_most=1)
    if len(phi) != levels:
        raise overlap["phi"].invalid(f"a list of {levels} numbers, one more than log2_bytes")
    result = {}
    for prefetch in PREFETCH_BYTES:
        entry = overlap["prefetch_factor"][str(prefetch)]
        factors = entry.numbers(at_most=1)
        if len(factors) != levels:
            raise entry.invalid(f"a list of {levels} numbers, one per phi")
        result[prefetch] = [p * f for p, f in zip(phi, factors, strict=True)]
    return result


def _bias_factors(bias: _Entry, isas: Iterable[str]) -> dict[tuple[str, str, bool], list[float]]:
    """b by algorithm, ISA and whether y is stored non-temporally: a list by level."""
    levels = len(bias["log2_bytes"].numbers(increasing=True)) + 1
    result = {}
    for algorithm, isa, (stores, nontemporal) in product(ALGORITHMS, isas, (("cached", False), ("nontemporal", True))):
        entry = bias["factors"][algorithm][isa][stores]
        factors = entry.numbers(positive=True)
        if len(factors) != levels:
            raise entry.invalid(f"a list of {levels} numbers, one more than bias.log2_bytes")
        result[algorithm, isa, nontemporal] = factors
    return result
