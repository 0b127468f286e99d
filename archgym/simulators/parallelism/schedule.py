"""The pipeline's schedule: chunks, the bubble, and data parallel communication that the backward pass does
not hide.

f, w are the times of a block forward and backward (with recomputation and tensor parallel communication),
f_e, w_e of the last block of a chunk, which also sends to the next stage, and c = ceil(L / p) / v the blocks
of a chunk:

    chunk  = (c - 1) (f + w) + f_e + w_e
    bubble = (p - 1) chunk + (v - 1) (p - M mod p) chunk [M mod p > 0] - the blocks that some stages lack

Replicas exchange the gradients of a block in the time D. With overlap, all chunks but the last of a stage
have p backward passes of a chunk to hide them, and the last chunk has the rest of its own:

    exposed = D + (v - 1) max(c D - p O + p C u, c D u) + max((c - 1) D - O' + C' u, (c - 1) D u)

where O is a chunk's backward pass without memory accesses and without communication on the same network, C
its compute, u the share of a GPU that communication occupies, and O', C' the same of the last chunk's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from archgym.simulators.parallelism.block import Block
from archgym.simulators.parallelism.clusters import Cluster
from archgym.simulators.parallelism.collectives import TensorExchange, pick, seconds
from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.simulators.parallelism.layers import NUMBER_BYTES
from archgym.simulators.parallelism.plans import Plans


@dataclass(frozen=True)
class Chunk:
    """One chunk and microbatch on one stage; columns [B].

    Attributes:
        c: blocks.
        f, w, f_e, w_e: times of an inner and of the last block, s.
        transfer: time to send to the next stage, s.
        time, backward: of the chunk, both passes and the backward pass, s.
    """

    c: Any
    f: Any
    w: Any
    f_e: Any
    w_e: Any
    transfer: Any

    @property
    def backward(self) -> Any:
        return (self.c - 1) * self.w + self.w_e

    @property
    def time(self) -> Any:
        return (self.c - 1) * self.f + self.f_e + self.backward


def make_chunk(
    model: LanguageModel, cluster: Cluster, plan: Plans, block: Block, exchange: TensorExchange
) -> Chunk:
    """The chunk of a plan. A single stage sends nothing, but waits for the latency, as in Calculon."""
    size = plan.m * model.sequence * model.hidden * NUMBER_BYTES
    sent = np.where(plan.p > 1, np.where(plan.scattered, size / plan.t, size), 0)
    transfer = seconds(cluster, plan.pipeline_network, "point_to_point", sent, 2.0)
    f = block.forward + exchange.inner
    f_e = block.forward + exchange.last + transfer
    w = block.again + block.backward + exchange.inner_again + exchange.inner
    w_e = block.again + block.backward + exchange.last_again + exchange.last + transfer
    return Chunk(np.ceil(model.blocks / plan.p) / plan.v, f, w, f_e, w_e, transfer)


def bubble(model: LanguageModel, plan: Plans, chunk: Chunk) -> Any:
    """Time that the first stage idles, s."""
    rest = plan.M % plan.p
    chunks = plan.p - 1 + np.where(rest > 0, (plan.v - 1) * (plan.p - rest), 0)
    f, w, f_e, w_e = chunk.f, chunk.w, chunk.f_e, chunk.w_e
    lacking = np.ceil(model.blocks / plan.p) * plan.p - model.blocks
    return chunks * chunk.time - lacking * np.where(chunk.c > 1, (f + f_e + w + w_e) / 2, f_e + w_e)


def data_exchange(cluster: Cluster, plan: Plans, block: Block) -> Any:
    """Time D of the exchange of a block's gradients and, where they share an optimizer, its weights; s."""
    size, network, d = block.weights * NUMBER_BYTES, plan.data_network, plan.d
    scatter, gather, reduce = (
        seconds(cluster, network, operation, size, d)
        for operation in ("reduce_scatter", "all_gather", "all_reduce")
    )
    return np.where(d > 1, np.where(plan.shard_optimizer, scatter + gather, reduce), 0)


def exposed_data_exchange(
    cluster: Cluster, plan: Plans, block: Block, exchange: TensorExchange, chunk: Chunk, *, literal: bool
) -> Any:
    """Data parallel communication that a step waits for, s.

    Calculon's form differs in two ways, by each of which a faster link can make a step slower.

    - Its exposed time is x where x = c D - p O + p C u is above 0 and c D u elsewhere: it jumps up where x
      falls to 0. The larger of the two is continuous.
    - The number of transfers between stages that it takes from the window p O, where they use the same
      network, is that of whole backward passes of a chunk in c D, at most p. It jumps up where a chunk
      becomes faster. Here all p are taken, like all tensor parallel communication on the same network.
    """
    p, v, c = plan.p, plan.v, chunk.c
    D = data_exchange(cluster, plan, block)
    u = pick(plan.data_network, [each.processor_share for each in cluster.networks])
    update = np.where(plan.shard_optimizer, 0, block.optimizer - block.optimizer_memory)
    compute = block.backward_compute + block.again_compute
    compute = compute + np.where(plan.shard_optimizer, 0, block.optimizer_compute)
    hidden = update - block.backward_memory - block.again_memory
    shared = plan.data_network == plan.tensor_network
    # O of an inner and of the last block, and of the chunk
    o = chunk.w + hidden - np.where(shared, exchange.inner_again + exchange.inner, 0)
    o_e = chunk.w_e + hidden - np.where(shared, exchange.last_again + exchange.last, 0)
    chunk_window = (c - 1) * o + o_e
    transfers: Any = p
    if literal:
        rest = plan.M % p
        transfers = np.minimum(np.floor_divide(c * D, chunk.backward), np.where(rest > 0, rest, p))
    colliding = np.where(plan.data_network == plan.pipeline_network, transfers * chunk.transfer, 0)
    chunks = c * D - (p * chunk_window - colliding) + p * c * compute * u
    # O': without the first block (taken as half an inner and half a last one), which has none before it
    window = np.where(c > 1, chunk_window - chunk.transfer - (chunk.w + chunk.w_e) / 2 + update, 0)
    last = (c - 1) * D + compute * u - window
    if literal:
        chunks, last = np.where(chunks > 0, chunks, c * D * u), np.where(last > 0, last, (c - 1) * D * u)
    else:
        chunks, last = np.maximum(chunks, c * D * u), np.maximum(last, (c - 1) * D * u)
    overlapped = D + (v - 1) * chunks + last
    return np.where(plan.d > 1, np.where(plan.overlap_data, overlapped, v * c * D), 0)
