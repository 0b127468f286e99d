"""Area of an accelerator: PEs, global buffer and their network.

    area = P (a_mac + a_L1) + a_sram(buffer) + bits * pitch * (height + width)               height, width of the PE array

The network is a trunk of 8 * noc_bytes_per_cycle wires along the rows, and a bus with an equal share of them in each row. Control, pads
and the memory chip are left out. An `EnergyTable` gives memories and multiply-adders.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.simulators.accelerator.energy import EnergyTable, Floats

MM2_PER_UM2 = 1e-6


def area_mm2(
    table: EnergyTable, rows: Any, cols: Any, l1_bytes: Any, buffer_bytes: Any, noc_bytes_per_cycle: Any, precision: Any
) -> Floats:
    """Area of B accelerators, mm2, from columns [B]."""
    pe = table.mac_um2(precision) + table.sram_um2(l1_bytes)
    wires = 8 * np.asarray(noc_bytes_per_cycle) * table.wire_pitch_um
    network = wires * (np.asarray(rows) + np.asarray(cols)) * np.sqrt(pe)
    return MM2_PER_UM2 * (np.asarray(rows) * np.asarray(cols) * pe + table.sram_um2(buffer_bytes) + network)
