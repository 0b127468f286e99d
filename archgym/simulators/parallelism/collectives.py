"""Communication between GPUs: time of an operation, and the exchanges of tensor parallelism.

    F, before a product:  forward nothing,        backward all-reduce      of A numbers
    G, after it:          forward all-reduce,     backward nothing

and where the numbers between F and G of the next product are split by sequence

    F:                    forward all-gather,     backward reduce-scatter
    G:                    forward reduce-scatter, backward all-gather

so that both passes of a block, with two F and two G, take equally long. `scattered_transfers` does the second
in the last block of a chunk only, which sends to the next stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from archgym.simulators.parallelism.block import Block
from archgym.simulators.parallelism.clusters import Cluster
from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.simulators.parallelism.layers import NUMBER_BYTES
from archgym.simulators.parallelism.plans import Plans


def seconds(cluster: Cluster, network: Any, operation: str, size: Any, peers: Any) -> Any:
    """Time of an operation, s.

    Args:
        cluster: cluster.
        network: number of its network [B].
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
    """The value of each plan's network [B]."""
    found = values[0]
    for number, value in enumerate(values[1:], start=1):
        found = np.where(network == number, value, found)
    return found


@dataclass(frozen=True)
class TensorExchange:
    """Tensor parallel communication of a block in one pass; columns [B], 0 for t = 1.

    Attributes:
        inner, last: of a block that is not, and that is the last one of a chunk, s.
        inner_again, last_again: repeated for recomputation, s.
    """

    inner: Any
    last: Any
    inner_again: Any
    last_again: Any


def tensor_exchange(model: LanguageModel, cluster: Cluster, plan: Plans, block: Block) -> TensorExchange:
    """The exchanges F and G of a block, with their own compute and memory time."""
    size = plan.m * model.sequence * model.hidden * NUMBER_BYTES
    scatter, gather, reduce = (
        seconds(cluster, plan.tensor_network, operation, size, plan.t)
        for operation in ("reduce_scatter", "all_gather", "all_reduce")
    )
    many, full = plan.t > 1, plan.full_again
    gathers_again = 1 * (plan.attention_again | plan.gather_again) + (full | plan.gather_again)
    found = []
    for split in (plan.sequence_parallel, plan.scattered):
        enter, leave = np.where(split, gather, 0), np.where(split, scatter, reduce)
        found.append(np.where(many, 2 * (enter + block.enter) + 2 * (leave + block.leave), 0))
        found.append(np.where(many, gathers_again * enter + 2 * full * leave, 0))
    inner, inner_again, last, last_again = found
    return TensorExchange(inner, last, inner_again, last_again)
