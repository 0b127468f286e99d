"""Step time and memory of training plans of a transformer on a cluster, vectorised over plans.

    step = M ceil(L / p) (forward + backward + recomputation) + update + exposed communication + bubble

for M microbatches, L blocks and p stages, of the GPU with the most blocks. Modules, each with its equations:
`layers` and `block` (flop, bytes and time of a block), `collectives` (tensor parallel communication),
`schedule` (pipeline, data parallel communication) and `memory`.

Source: Isaev et al., Calculon: a methodology and tool for high-level co-design of systems and large language
models, SC 2023, and its code (calculon-ai/calculon, caa4b11), for training with 16-bit numbers, without
offloading and without tiled overlap of tensor parallel communication. `literal=True` is that code to the last
digits; the default corrects the window in which data parallel communication overlaps (`block._again`,
`schedule.exposed_data_exchange`). Embeddings and logits are not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.simulators.parallelism.block import measure_block
from archgym.simulators.parallelism.clusters import Cluster
from archgym.simulators.parallelism.collectives import tensor_exchange
from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.simulators.parallelism.memory import memory
from archgym.simulators.parallelism.plans import Columns, read_plans, undivided
from archgym.simulators.parallelism.schedule import bubble, exposed_data_exchange, make_chunk


def simulate(
    model: LanguageModel, cluster: Cluster, plans: Columns, *, literal: bool = False
) -> dict[str, Any]:
    """Time, memory and rates of B plans: columns [B].

    - step_time_s: seconds per step, the sum of forward_s, backward_s, optimizer_s, recompute_s, bubble_s and
      exposed communication: recommunication_s (repeated for recomputation), tensor_communication_s,
      pipeline_communication_s and data_communication_s; communication_s is the sum of these four.
    - memory_bytes: bytes per GPU, the sum of weight_bytes, activation_bytes, checkpoint_bytes,
      activation_gradient_bytes, weight_gradient_bytes and optimizer_bytes.
    - sequences_s, tokens_s: sequences and tokens per second of all GPUs.
    - mfu: model flop utilisation, `LanguageModel.flop_per_sequence` x batch / (GPUs x peak x step time).
    - efficiency: Calculon's total_efficiency: flop of all layers (not only products, and the update) without
      recomputation on the GPU with the most blocks / (peak x step time). It is above mfu by the layers that
      are not products, and where stages lack blocks.
    - bubble_share, communication_share: of the step time.
    - energy_j: step time x GPUs x power_w, only for clusters with a power.

    Args:
        model: model to train.
        cluster: cluster; its numbers may be columns [B].
        plans: plans (`plans.Columns`). Numbers of plans that do not divide are meaningless: see `reasons`.
        literal: whether Calculon's overlap window is used instead of the corrected one.

    Raises:
        ArchGymError: a missing or unknown column.
    """
    plan = read_plans(cluster, plans)
    block = measure_block(model, cluster, plan, literal=literal)
    exchange = tensor_exchange(model, cluster, plan, block)
    chunk = make_chunk(model, cluster, plan, block, exchange)
    blocks, chunks, c = np.ceil(model.blocks / plan.p), plan.M * plan.v, chunk.c
    communication = {
        "recommunication_s": chunks * ((c - 1) * exchange.inner_again + exchange.last_again),
        "tensor_communication_s": chunks * 2 * ((c - 1) * exchange.inner + exchange.last),
        "pipeline_communication_s": np.where(plan.p > 1, chunks * 2 * chunk.transfer, 0),
        "data_communication_s": exposed_data_exchange(cluster, plan, block, exchange, chunk, literal=literal),
    }
    times = {
        "forward_s": plan.M * blocks * block.forward,
        "backward_s": plan.M * blocks * block.backward,
        "optimizer_s": blocks * block.optimizer,
        "recompute_s": plan.M * blocks * block.again,
        "bubble_s": bubble(model, plan, chunk),
        **communication,
    }
    step = sum(times.values())
    exposed = sum(communication.values())
    peak = cluster.matrix_tflops * 1e12
    found = {
        "step_time_s": step,
        **times,
        "communication_s": exposed,
        **memory(model, plan, block),
        "sequences_s": plan.batch / step,
        "tokens_s": plan.batch * model.sequence / step,
        "mfu": plan.batch * model.flop_per_sequence / (plan.gpus * peak * step),
        "efficiency": plan.M * blocks * block.flop / (peak * step),
        "bubble_share": times["bubble_s"] / step,
        "communication_share": exposed / step,
    }
    if cluster.power_w is not None:
        found["energy_j"] = step * plan.gpus * cluster.power_w
    return found


def reasons(
    model: LanguageModel, cluster: Cluster, plans: Columns, found: Mapping[str, Any] | None = None
) -> np.ndarray[Any, Any]:
    """Why each plan cannot be run: one line per plan [B], empty where it divides and fits into memory.

    Args:
        model: model to train.
        cluster: cluster.
        plans: plans.
        found: outcome of `simulate` for them, if there is one already.

    Raises:
        ArchGymError: a missing or unknown column.
    """
    why = undivided(model, cluster, plans)
    needed = (simulate(model, cluster, plans) if found is None else found)["memory_bytes"]
    needed, capacity = np.broadcast_to(needed, why.shape), np.broadcast_to(cluster.hbm_bytes, why.shape)
    for row in np.flatnonzero((why == "") & (needed > capacity)):
        why[row] = f"{needed[row] / 2**30:.1f} GiB exceed the GPU's {capacity[row] / 2**30:g} GiB"
    return why
