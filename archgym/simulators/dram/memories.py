"""Memories: timing, currents and the mapping of addresses, from JSON files.

    format        "archgym memory 1"            burst_length  beats of a request, two a cycle
    name          free                          chips         devices that answer a request together
    clock_mhz     clock of the commands         chip_bits     data lines of a chip
    banks         1 to 64, a power of two       volts         supply
    address_bits  first and last bit of the byte address for byte, column, bank and row
    cycles        RCD RP RL WL CCD RTP RAS RC RRD FAW WTR WR REFI RFC, of the DDR3 standard (JESD79-3)
    milliamperes  IDD0 IDD2N IDD3N IDD4R IDD4W IDD5 of a chip, of the data sheet
    source        free

Files that ship are in `memories/`; a user gives the path of another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, reason_of, unknown
from archgym.files.archive import digest
from archgym.simulators.parallelism.files import check_format, check_keys, positive, read_json

FORMAT = "archgym memory 1"
DEFAULT_MEMORY = "ddr3-1600-1gb-x8"
FOLDER = Path(__file__).parent / "memories"
CYCLES = ("RCD", "RP", "RL", "WL", "CCD", "RTP", "RAS", "RC", "RRD", "FAW", "WTR", "WR", "REFI", "RFC")
CURRENTS = ("IDD0", "IDD2N", "IDD3N", "IDD4R", "IDD4W", "IDD5")
PARTS = ("byte", "column", "bank", "row")
MOST_BANKS = 64
MOST_CYCLES = 1_000_000
_KEYS = (
    "format",
    "clock_mhz",
    "banks",
    "chips",
    "chip_bits",
    "burst_length",
    "address_bits",
    "cycles",
    "volts",
)


@dataclass(frozen=True)
class Memory:
    """A memory of one rank.

    Args:
        name: name of the memory.
        clock_mhz: clock of the commands.
        banks: number of banks, a power of two.
        chips: devices that answer a request together.
        chip_bits: data lines of a chip.
        burst_length: beats of a request.
        address_bits: first and last bit of the byte address for each of `PARTS`.
        cycles: timing by the names of `CYCLES`.
        volts: supply.
        milliamperes: currents of a chip by the names of `CURRENTS`.
        source: origin of the figures.

    Raises:
        ArchGymError: a figure that no memory has, with its name.
    """

    identity: ClassVar[str] = "archgym.simulators.dram.memories:Memory"

    name: str
    clock_mhz: float
    banks: int
    chips: int
    chip_bits: int
    burst_length: int
    address_bits: Mapping[str, tuple[int, int]]
    cycles: Mapping[str, int]
    volts: float
    milliamperes: Mapping[str, float]
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        positive("clock_mhz", self.clock_mhz)
        positive("volts", self.volts)
        for name, most in (("banks", MOST_BANKS), ("chips", 256), ("chip_bits", 64), ("burst_length", 64)):
            _whole(name, getattr(self, name), 1, most)
        if self.banks & (self.banks - 1):
            raise ArchGymError(f"expected banks as a power of two, got {self.banks}")
        if self.burst_length % 2:
            raise ArchGymError(f"expected an even burst_length, two beats a cycle, got {self.burst_length}")
        check_keys("cycles", self.cycles, CYCLES)
        for name in CYCLES:
            _whole(f"cycles {name}", self.cycles[name], 1, MOST_CYCLES)
        if self.cycles["REFI"] <= self.cycles["RFC"] + self.cycles["RP"]:
            raise ArchGymError(
                f"expected cycles REFI > RFC + RP, or refreshes take all the time, got "
                f"{self.cycles['REFI']} and {self.cycles['RFC']} + {self.cycles['RP']}"
            )
        check_keys("milliamperes", self.milliamperes, CURRENTS)
        for name in CURRENTS:
            positive(f"milliamperes {name}", self.milliamperes[name])
        self._check_address()

    def _check_address(self) -> None:
        check_keys("address_bits", self.address_bits, PARTS)
        taken: set[int] = set()
        for part in PARTS:
            found = self.address_bits[part]
            if not (isinstance(found, (list, tuple)) and len(found) == 2):
                raise ArchGymError(f"expected address_bits {part} as [first, last] bit, got {found!r}")
            low, high = (_whole(f"address_bits {part}", bit, 0, 47) for bit in found)
            if low > high or taken & set(range(low, high + 1)):
                raise ArchGymError(
                    f"expected address_bits {part} as [first, last], apart from other parts, got {found!r}"
                )
            taken |= set(range(low, high + 1))
        if taken != set(range(len(taken))):
            raise ArchGymError(f"expected address_bits without gaps from bit 0, got {sorted(taken)}")
        low, high = self.address_bits["bank"]
        if 1 << (high - low + 1) != self.banks:
            raise ArchGymError(
                f"expected address bits that number {self.banks} banks, got bits {low} to {high}"
            )

    @property
    def period_s(self) -> float:
        """Duration of a clock cycle, s."""
        return 1e-6 / self.clock_mhz

    @property
    def burst(self) -> int:
        """Cycles of a request's data."""
        return self.burst_length // 2

    @property
    def request_bytes(self) -> int:
        """Bytes of a request."""
        return self.burst_length * self.chip_bits * self.chips // 8

    @property
    def capacity(self) -> int:
        """Bytes of the memory."""
        return 1 << (1 + max(high for _, high in self.address_bits.values()))

    def part(self, name: str, address: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A part of addresses, one of `PARTS`: int64 [N] -> int64 [N]."""
        low, high = self.address_bits[name]
        return (address >> low) & ((1 << (high - low + 1)) - 1)

    @property
    def digest(self) -> str:
        """A hash of all that results depend on: 16 hexadecimal digits."""
        figures = {name: value for name, value in vars(self).items() if name not in ("name", "source")}
        return digest(json.dumps(figures, sort_keys=True, default=list), ())


def list_memories() -> list[str]:
    """Names of the memories that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_memory(memory: str | os.PathLike[str] | Memory) -> Memory:
    """A memory by name or by the path of its file; a `Memory` as it is.

    Raises:
        ArchGymError: an unknown name, or a file that describes no memory.
    """
    if isinstance(memory, Memory):
        return memory
    if isinstance(memory, str) and memory in list_memories():
        return read_memory(FOLDER / f"{memory}.json")
    path = Path(memory).expanduser()
    if isinstance(memory, str) and path.suffix != ".json" and os.sep not in memory:
        raise unknown("memory", memory, [*list_memories(), "FILE.json"])
    return read_memory(path)


def read_memory(path: Path) -> Memory:
    """The memory in a JSON file.

    Raises:
        ArchGymError: a missing or unreadable file, or one that describes no memory.
    """
    try:
        found = read_json(path)
        check_format(found, FORMAT)
        check_keys("the memory", found, (*_KEYS, "milliamperes"), ("name", "source"))
        figures = {name: value for name, value in found.items() if name not in ("format", "name")}
        for name in ("address_bits", "cycles", "milliamperes"):
            if not isinstance(figures[name], dict):
                raise ArchGymError(f"expected {name} as an object, got {figures[name]!r}")
        return Memory(name=str(found.get("name", path.stem)), **figures)
    except OSError as error:
        raise ArchGymError(f"cannot read the memory {path}: {error.strerror}") from error
    except ArchGymError as error:
        raise ArchGymError(f"{path} is not a memory: {reason_of(error)}") from None


def _whole(what: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ArchGymError(f"expected {what} as a whole number from {least} to {most:,}, got {value!r}")
    return value
