"""Calibrations of the softmax cost model: the costs of one machine's memory and arithmetic, recorded in one
JSON file.

The format is described in the README.md beside this file; `Calibration.load` reads it, and an error names the
entry that is wrong. A calibration gives the terms of the model's equations (`model`):

    m(pattern, bytes)      ns per float32 of a memory access pattern, linear in log2(bytes), constant beyond
                           the measured ends; for each of two threads, where two were measured
    c(pass, isa, u, a)     ns per element of a pass with its data in L1; u unrolled vectors, a independent
                           accumulators
    phi(bytes, prefetch)   the part of the shorter of the two that the longer one does not hide, 0 <= phi <= 1
    b(algorithm, ...)      a factor for the remaining error by algorithm, ISA, non-temporal stores and bytes,
                           1 unless it was fitted
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import data_folder, refuse_foreign
from archgym.simulators.softmax.terms import ADVICE, ALGORITHMS, DEFAULT, PREFETCH_BYTES

RECORDED = Path(__file__).parent / "calibrations"
NOT_OF_THE_MODEL = ("machine", "provenance", "units", "probe")  # entries that no prediction depends on
MAX_CHARACTERS = 2**20  # characters of a file; the recorded ones have 12,000


@dataclass(frozen=True)
class ProbeTimes:
    """Times of the probes (`machine.probing`) when a calibration was measured.

    Attributes:
        core_s: seconds on 2,048 floats, by ISA.
        second_s: seconds of two threads on 2,048 floats; None on one processor.
    """

    core_s: Mapping[str, float]
    second_s: float | None
    _workload: Mapping[int, tuple[list[float], list[float]]] = field(repr=False)

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> ProbeTimes:
        """From a calibration's `probe`."""
        curves = {1: entry["workload"], 2: entry.get("workload_by_two", entry["workload"])}
        return cls(
            core_s={isa: 1e-9 * ns for isa, ns in entry["core_ns"].items()},
            second_s=1e-9 * entry["second_ns"] if "second_ns" in entry else None,
            _workload={n: (curve["log2_floats"], curve["ns_per_float"]) for n, curve in curves.items()},
        )

    def workload_s(self, floats: int, threads: int) -> float:
        """Seconds on a row of `floats`, by one or two threads; linear in log2(floats) per float."""
        return 1e-9 * floats * float(np.interp(math.log2(floats), *self._workload[threads]))


@dataclass(frozen=True)
class Calibration:
    """Costs of one machine's memory and arithmetic. Made by `Calibration.load` or `Calibration.from_json`.

    Attributes:
        name: recorded name, or name of the file.
        digest: hash of every number that the model uses (not of the description of the machine).
        machine: the machine in words.
        lanes: float32 per vector, by ISA; an ISA that is not listed does not exist on the machine.
        row_overhead_ns: start-up cost of one row.
        tile_overhead_ns: start-up cost of one tile, where the algorithm has tiles.
        thread_slowdown: factor on a thread's time when two run.
        thread_start_ns: cost of starting the second thread.
        probe: times of the probes then; None in calibrations of version 1.
    """

    name: str
    digest: str
    machine: str
    lanes: Mapping[str, int]
    row_overhead_ns: float
    tile_overhead_ns: float
    thread_slowdown: float
    thread_start_ns: float
    probe: ProbeTimes | None
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
            source: name of a recorded calibration, "host" for this machine's (made by `archgym calibrate
                softmax`), path of a JSON file, or None for the default recorded one.

        Raises:
            ArchGymError: unknown calibration, unreadable file, or an entry that is missing or invalid (named
                in the message).
        """
        source = DEFAULT if source is None else source
        path, is_recorded = cls.path(source), source in cls.recorded()
        if source == "host" and not path.exists():
            raise ArchGymError(
                f"this machine has no calibration ({path}) yet: make one with `archgym calibrate softmax`"
            )
        try:
            refuse_foreign(path)
            with path.open(encoding="utf-8-sig") as file:
                text = file.read(MAX_CHARACTERS + 1)
            if len(text) > MAX_CHARACTERS:
                raise ValueError(f"it has more than {MAX_CHARACTERS:,} characters")
            document = json.loads(text)
        except OSError as error:
            raise ArchGymError(
                f"cannot read the calibration {str(source)!r} ({error.strerror or error}); "
                f"give the path of a JSON file or a recorded name: {', '.join(cls.recorded())}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ArchGymError(
                f"the calibration {str(source)!r} is not a JSON text ({reason_of(error)}); {ADVICE}"
            ) from error
        if is_recorded:  # valid, as the tests check, so pydantic need not be imported
            return cls._from_entries(document, document, path.stem)
        return cls.from_json(document, path.stem)

    @classmethod
    def path(cls, source: str | Path) -> Path:
        """The file of a calibration: "host", a recorded name, or a path."""
        if source == "host":
            return cls.host()
        return RECORDED / f"{source}.json" if source in cls.recorded() else Path(source)

    @staticmethod
    def host() -> Path:
        """Path of this machine's calibration, whether or not it has been made."""
        return data_folder("calibrations", "softmax.json")

    @staticmethod
    def recorded() -> tuple[str, ...]:
        """Names of the calibrations that ship with archgym."""
        return tuple(sorted(path.stem for path in RECORDED.glob("*.json")))

    @classmethod
    def from_json(cls, document: Any, name: str) -> Calibration:
        """A calibration from its JSON document.

        Raises:
            ArchGymError: an entry is missing or invalid (named in the message).
        """
        from archgym.simulators.softmax.schema import read  # pydantic, which takes time to import

        return cls._from_entries(read(document, name), document, name)

    @classmethod
    def _from_entries(cls, entries: dict[str, Any], document: dict[str, Any], name: str) -> Calibration:
        """A calibration from the valid entries of its document; those of recorded calibrations are valid."""
        content = {key: value for key, value in document.items() if key not in NOT_OF_THE_MODEL}
        try:
            digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        except (ValueError, RecursionError) as error:  # nested too deeply, or integers of thousands of digits
            raise ArchGymError(
                f"the calibration {name!r} has values that no calibration has ({reason_of(error)}); {ADVICE}"
            ) from error
        lanes, overlap, bias = entries["lanes"], entries["overlap"], entries.get("bias")
        bandwidth = {1: entries["bandwidth"], 2: entries.get("two_threads", entries)["bandwidth"]}
        return cls(
            name=name,
            digest=digest,
            machine=entries["machine"],
            lanes=lanes,
            row_overhead_ns=entries["row_overhead_ns"],
            tile_overhead_ns=entries.get("tile_overhead_ns", 0.0),
            thread_slowdown=entries["threads"]["slowdown"],
            thread_start_ns=entries["threads"]["start_ns"],
            probe=ProbeTimes.from_entry(entries["probe"]) if "probe" in entries else None,
            _bandwidth={
                n: {p: (c["log2_bytes"], c["ns_per_float"]) for p, c in curves.items()}
                for n, curves in bandwidth.items()
            },
            _compute={
                what: {isa: sorted(map(tuple, points)) for isa, points in by_isa.items()}
                for what, by_isa in entries["compute"].items()
            },
            _overlap_levels=overlap["log2_bytes"],
            _overlap={
                d: [p * f for p, f in zip(overlap["phi"], overlap["prefetch_factor"][str(d)], strict=True)]
                for d in PREFETCH_BYTES
            },
            _bias_levels=bias["log2_bytes"] if bias else [],
            _bias=bias
            and {
                (algorithm, isa, nontemporal): bias["factors"][algorithm][isa][
                    "nontemporal" if nontemporal else "cached"
                ]
                for algorithm, isa, nontemporal in product(ALGORITHMS, lanes, (False, True))
            },
        )

    def bandwidth_ns(self, pattern: str, size: float, threads: int = 1) -> float:
        """m: ns per float32 of an access pattern when each thread touches `size` bytes."""
        return float(np.interp(math.log2(size), *self._bandwidth[threads][pattern]))

    def compute_ns(self, what: str, isa: str, unroll: int, accumulators: int) -> float:
        """c: ns per element of a pass with its data in L1.

        Linear in log2(unroll) and constant beyond the measured ends, over the measured points with the
        largest number of accumulators that does not exceed the given one. NaN where the machine lacks the
        ISA.
        """
        if isa not in self.lanes:
            return math.nan
        points = self._compute[what][isa]
        measured = max(a for _, a, _ in points if a <= accumulators)
        unrolls, costs = zip(*((math.log2(u), ns) for u, a, ns in points if a == measured), strict=True)
        return float(np.interp(math.log2(unroll), unrolls, costs))

    def overlap(self, size: float, prefetch: int) -> float:
        """phi: the unhidden part of the shorter of memory and compute, at a footprint of `size` bytes and
        a prefetch distance in bytes.
        """
        level = int(np.searchsorted(self._overlap_levels, math.log2(size), side="right"))
        return self._overlap[prefetch][level]

    def bias(self, algorithm: str, isa: str, nontemporal: bool, size: float) -> float:
        """b: the factor on a kernel's time at a footprint of `size` bytes; 1 without a bias table, or for
        an ISA the machine lacks.
        """
        if self._bias is None or isa not in self.lanes:
            return 1.0
        level = int(np.searchsorted(self._bias_levels, math.log2(size), side="right"))
        return self._bias[algorithm, isa, nontemporal][level]
