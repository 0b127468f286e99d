"""Energy and area per access and per operation, read from tables with a technology node and a source for every number (`tables/`).

    e_sram(b)   log-log interpolation of measured capacities; outside of them  e(b) = e(b0) (b / b0)^0.57        (pJ per byte)
    a_sram(b)   log-log interpolation; outside of them proportional to b                                         (um2)
    e_noc       a fixed number of accesses to a register file of 512 bytes                                       (pJ per byte)
    energy      = MACs e_mac + sum over levels of bytes moved * e_level + leakage * time                         (J)

Tables of different tools differ 2 to 10 times, so that absolute joules are no claim: ratios of designs under one table are.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.files.paths import refuse_foreign

TABLES = Path(__file__).parent / "tables"
REGISTER_FILE_BYTES = 512  # that inter-PE transfers are measured in

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EnergyTable:
    """What accesses and operations cost in one technology.

    Attributes:
        name: of the file.
        node_nm: technology node.
        dram_pj_per_byte: of off-chip memory, read or written.
        noc_pj_per_byte: of a transfer between the global buffer and a PE.
        wire_pitch_um: of a wire of that network.
    """

    name: str
    node_nm: int
    dram_pj_per_byte: float
    noc_pj_per_byte: float
    wire_pitch_um: float
    _mac_pj: Mapping[str, float]
    _mac_um2: Mapping[str, float]
    _exponent: float
    _log_bytes: Floats  # [T], ascending
    _log_costs: Floats  # [4, T]: read pJ per byte, write pJ per byte, um2, leakage W; logarithms

    @property
    def digest(self) -> str:
        """Stands for all of its numbers."""
        numbers = (
            self.dram_pj_per_byte,
            self.noc_pj_per_byte,
            self.wire_pitch_um,
            sorted(self._mac_pj.items()),
            sorted(self._mac_um2.items()),
        )
        memories = (self._exponent, self._log_bytes.tolist(), self._log_costs.tolist())
        return hashlib.sha256(repr((numbers, memories)).encode()).hexdigest()[:16]

    def mac_pj(self, precision: Any) -> Floats:
        """Energy of a multiply-add, pJ, for a precision or an array [B] of them."""
        return _by_precision(self._mac_pj, precision)

    def mac_um2(self, precision: Any) -> Floats:
        """Area of a multiply-adder, um2, for a precision or an array [B] of them."""
        return _by_precision(self._mac_um2, precision)

    def sram_pj_per_byte(self, capacity_bytes: Any) -> tuple[Floats, Floats]:
        """Energy of a byte read from and written to a memory of this capacity (any shape): pJ."""
        return self._cost(0, capacity_bytes, self._exponent), self._cost(1, capacity_bytes, self._exponent)

    def sram_um2(self, capacity_bytes: Any) -> Floats:
        """Area of a memory of this capacity (any shape): um2."""
        return self._cost(2, capacity_bytes, 1.0)

    def sram_leakage_w(self, capacity_bytes: Any) -> Floats:
        """Power of a memory of this capacity that is not accessed (any shape): W."""
        return self._cost(3, capacity_bytes, 1.0)

    def _cost(self, row: int, capacity_bytes: Any, exponent: float) -> Floats:
        wanted = np.log(np.asarray(capacity_bytes, float))
        inside = np.clip(wanted, self._log_bytes[0], self._log_bytes[-1])
        return np.exp(np.interp(inside, self._log_bytes, self._log_costs[row]) + exponent * (wanted - inside))


def _by_precision(costs: Mapping[str, float], precision: Any) -> Floats:
    names = np.asarray(precision)
    for name in np.unique(names).tolist():
        if name not in costs:
            raise unknown("precision of this energy table", name, costs)
    return np.select([names == name for name in costs], list(costs.values()), np.nan)


def list_energy_tables() -> list[str]:
    """Names of the tables that ship with archgym."""
    return sorted(path.stem for path in TABLES.glob("*.toml"))


@cache
def load_energy_table(name: str = "45nm") -> EnergyTable:
    """A table that ships with archgym, by name, or one of your own, by path.

    Raises:
        ArchGymError: no such table, or one that is not complete; start from a copy of `tables/45nm.toml`.
    """
    if not isinstance(name, str):
        raise unknown("energy table", name, list_energy_tables())
    path = Path(name) if name.endswith(".toml") else TABLES / f"{name}.toml"
    if not path.is_file():
        raise unknown("energy table", name, list_energy_tables())
    try:
        refuse_foreign(path)
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        memories = np.array(sorted(data["memories"]["sram"]), float)  # [T, 5]
        per_byte = 8 / data["sram_bits"]
        costs = memories[:, 1:] * [per_byte, per_byte, 1.0, 1e-3]
        with np.errstate(divide="ignore"):
            log_costs = np.log(costs.T)
        table = EnergyTable(
            name=path.stem,
            node_nm=int(data["node_nm"]),
            dram_pj_per_byte=8 * float(data["dram_pj_per_bit"]),
            noc_pj_per_byte=0.0,
            wire_pitch_um=float(data["wire_pitch_um"]),
            _mac_pj=data["mac_pj"],
            _mac_um2=data["mac_um2"],
            _exponent=float(data["sram_exponent"]),
            _log_bytes=np.log(memories[:, 0]),
            _log_costs=log_costs,
        )
        noc = float(data["noc_register_accesses"]) * float(table.sram_pj_per_byte(REGISTER_FILE_BYTES)[0])
        return EnergyTable(**{**table.__dict__, "noc_pj_per_byte": noc})
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ArchGymError(f"{path} is not an energy table ({type(error).__name__}: {error}); start from a copy of 45nm.toml") from error
