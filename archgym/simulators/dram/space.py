"""The DRAM controller's design space and metrics.

The parameters are those of the simulator DRAMSys 4.0, on the grid of the published environment (Krishnan et
al., "ArchGym", ISCA 2023): 4 * 3 * 3 * 8 * 2 * 2 * 4 * 4 * 3 * 8 = 442,368 controllers, 235,008 of which
differ.
"""

from __future__ import annotations

from archgym.simulator import Metric
from archgym.space import Categorical, DesignSpace, Indices, Ordinal

POWERS_OF_TWO = [1, 2, 4, 8, 16, 32, 64, 128]

SPACE = DesignSpace(
    [
        Categorical("page_policy", ["Open", "OpenAdaptive", "Closed", "ClosedAdaptive"]),
        Categorical("scheduler", ["Fifo", "FrFcfsGrp", "FrFcfs"]),
        Categorical("scheduler_buffer", ["Bankwise", "ReadWrite", "Shared"]),
        Ordinal("request_buffer_size", POWERS_OF_TWO),
        Categorical("resp_queue", ["Fifo", "Reorder"]),
        Categorical("refresh_policy", ["NoRefresh", "AllBank"]),
        Ordinal("refresh_max_postponed", POWERS_OF_TWO[:4]),
        Ordinal("refresh_max_pulledin", POWERS_OF_TWO[:4]),
        Categorical("arbiter", ["Simple", "Fifo", "Reorder"]),
        Ordinal("max_active_transactions", POWERS_OF_TWO),
    ]
)

METRICS = (
    Metric("latency_s", "s", "lower"),
    Metric("energy_j", "J", "lower"),
    Metric("power_w", "W", "lower"),
    Metric("bandwidth_bytes_s", "B/s", "higher"),
)

_REFRESH_POLICY = SPACE.names.index("refresh_policy")
_BOUNDS = [SPACE.names.index(name) for name in ("refresh_max_postponed", "refresh_max_pulledin")]
_NO_REFRESH = SPACE["refresh_policy"].grid.tolist().index("NoRefresh")


def canonical(indices: Indices) -> Indices:
    """Set the refresh bounds of designs without refreshes to their first value: [B, 10] -> [B, 10].

    Many more designs have equal metrics on one trace, but differ on others.
    """
    representatives = indices.copy()
    representatives[:, _BOUNDS] *= (indices[:, _REFRESH_POLICY] != _NO_REFRESH)[:, None]
    return representatives
