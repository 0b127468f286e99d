"""Energy and area of memories, operations and networks, from tables with a technology node and a source for
every number (`tables/`).

    e_sram(b)   log-log interpolation of measured capacities; outside of them  e(b) = e(b0) (b / b0)^0.57
                                                                               (pJ per byte)
    a_sram(b)   log-log interpolation; outside of them proportional to b
                (um2)
    e_noc       a fixed number of accesses to a register file of 512 bytes
                (pJ per byte)
    energy      = MACs e_mac + sum over levels of bytes moved * e_level + leakage * time
                (J)
    area        = P (a_mac + a_L1) + a_sram(buffer) + bits * pitch * (height + width)
                (um2)

The area of P PEs has a network with a trunk of `bits` wires along the rows, and a bus with an equal share of
them in each row; height and width are those of the array. Control, pads and the memory chip are left out.

Tables of different tools differ by factors of 2 to 10: rely on ratios of designs under one table, not on
absolute joules.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.files.paths import refuse_foreign

TABLES = Path(__file__).parent / "tables"
REGISTER_FILE_BYTES = 512  # register file whose accesses are the unit of transfers between PEs

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EnergyTable:
    """Costs of accesses and operations in one technology.

    Attributes:
        name: name of the file.
        node_nm: technology node, nm.
        dram_pj_per_byte: energy of off-chip reads and writes, pJ per byte.
        noc_pj_per_byte: energy of transfers between the global buffer and a PE, pJ per byte.
        wire_pitch_um: pitch of the wires of that network, um.
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
        """A hash of all its numbers."""
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
        """Energy of a multiply-add for a precision or an array of precisions [B], pJ."""
        return _by_precision(self._mac_pj, precision)

    def mac_um2(self, precision: Any) -> Floats:
        """Area of a multiply-adder for a precision or an array of precisions [B], um2."""
        return _by_precision(self._mac_um2, precision)

    def sram_pj_per_byte(self, capacity_bytes: Any) -> tuple[Floats, Floats]:
        """Energy of reading and of writing a byte in a memory of this capacity (any shape), pJ."""
        return self._cost(0, capacity_bytes, self._exponent), self._cost(1, capacity_bytes, self._exponent)

    def sram_um2(self, capacity_bytes: Any) -> Floats:
        """Area of a memory of this capacity (any shape), um2."""
        return self._cost(2, capacity_bytes, 1.0)

    def sram_leakage_w(self, capacity_bytes: Any) -> Floats:
        """Leakage power of a memory of this capacity (any shape), W."""
        return self._cost(3, capacity_bytes, 1.0)

    def _cost(self, row: int, capacity_bytes: Any, exponent: float) -> Floats:
        capacity = np.asarray(capacity_bytes, float)
        if capacity.shape == (1,):  # single designs have few sizes of memories
            return np.array([_cost_of_one(self, row, capacity.item(), exponent)])
        return self._interpolate(row, capacity, exponent)

    def _interpolate(self, row: int, capacity: Any, exponent: float) -> Floats:
        wanted = np.log(capacity)
        inside = np.clip(wanted, self._log_bytes[0], self._log_bytes[-1])
        return np.exp(np.interp(inside, self._log_bytes, self._log_costs[row]) + exponent * (wanted - inside))


@lru_cache(maxsize=1024)
def _cost_of_one(table: EnergyTable, row: int, capacity_bytes: float, exponent: float) -> float:
    return float(table._interpolate(row, capacity_bytes, exponent))


def area_mm2(
    table: EnergyTable,
    rows: Any,
    cols: Any,
    l1_bytes: Any,
    buffer_bytes: Any,
    noc_bytes_per_cycle: Any,
    precision: Any,
) -> Floats:
    """Area of B accelerators, mm2, from columns [B]."""
    pe = table.mac_um2(precision) + table.sram_um2(l1_bytes)
    wires = 8 * np.asarray(noc_bytes_per_cycle) * table.wire_pitch_um
    network = wires * (np.asarray(rows) + np.asarray(cols)) * np.sqrt(pe)
    return 1e-6 * (np.asarray(rows) * np.asarray(cols) * pe + table.sram_um2(buffer_bytes) + network)


def _by_precision(costs: Mapping[str, float], precision: Any) -> Floats:
    names = np.asarray(precision)
    try:
        return np.array([costs[name] for name in names.ravel().tolist()], float).reshape(names.shape)
    except KeyError as error:
        raise unknown("precision of this energy table", error.args[0], costs) from None


def list_energy_tables() -> list[str]:
    """Names of the tables that ship with archgym."""
    return sorted(path.stem for path in TABLES.glob("*.toml"))


@cache
def load_energy_table(name: str = "45nm") -> EnergyTable:
    """A shipped table by name, or your own table by path; start from a copy of `tables/45nm.toml`.

    Raises:
        ArchGymError: an unknown or incomplete table.
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
        return replace(table, noc_pj_per_byte=noc)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ArchGymError(
            f"{path} is not an energy table ({type(error).__name__}: {error}); start from a copy of 45nm.toml"
        ) from error
