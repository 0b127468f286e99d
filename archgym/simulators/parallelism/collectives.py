"""Communication between GPUs: time of an operation on its network.

    F (tensor parallelism, before a product): forward nothing, backward an all-reduce of A
    G (after it):                             forward an all-reduce of A, backward nothing

or, where the block's input and output are split by sequence, F: all-gather and reduce-scatter, G: the reverse.
Between blocks that is so for sequence parallelism only; `scattered_transfers` does it in a chunk's last block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.simulators.parallelism.clusters import Cluster


def seconds(cluster: Cluster, network: Any, operation: str, size: Any, peers: Any) -> Any:
    """Time of an operation, s.

    Args:
        cluster: cluster.
        network: number of the network [B].
        operation: one of OPERATIONS.
        size: bytes of the whole result.
        peers: GPUs that take part.
    """
    scale = pick(network, [each.operations[operation][0] for each in cluster.networks])
    offset = pick(network, [each.operations[operation][1] for each in cluster.networks])
    bandwidth = pick(network, [each.gb_s * 1e9 * each.efficiency for each in cluster.networks])
    latency = pick(network, [each.latency_s for each in cluster.networks])
    sent = size * scale
    return latency + (sent + sent / peers * offset) / bandwidth


def pick(network: Any, values: list[Any]) -> Any:
    """The value of each plan's network."""
    found = values[0]
    for number, value in enumerate(values[1:], start=1):
        found = np.where(network == number, value, found)
    return found
