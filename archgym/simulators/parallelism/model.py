"""Step time and memory of training plans, vectorised over plans.

Symbols: t, p, d tensor, pipeline and data parallel GPUs, m sequences per microbatch, M microbatches, L blocks,
v chunks per stage, c = ceil(L / p) / v blocks per chunk; f, w times of a block forward and backward, f_e, w_e those
of the last block of a chunk, which sends to the next stage:

    chunk  = (c - 1) (f + w) + f_e + w_e
    bubble = (p - 1) chunk + (v - 1) (p - M mod p) chunk [M mod p > 0] - blocks that later stages lack
    step   = M ceil(L / p) (forward + backward + recompute) + optimizer + exposed communication + bubble

Source: Isaev et al., Calculon: a methodology and tool for high-level co-design of systems and large language models,
SC 2023, and its code (caa4b11), which `literal=True` reproduces.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.simulators.parallelism.clusters import Cluster
from archgym.simulators.parallelism.collectives import pick, seconds
from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.simulators.parallelism.layers import (
    NUMBER_BYTES,
    OPTIMIZER_BYTES,
    Block,
    measure_block,
    transformer_block,
)
from archgym.simulators.parallelism.plans import Columns, Plans, read_plans, undivided


def simulate(
    model: LanguageModel, cluster: Cluster, plans: Columns, *, literal: bool = False
) -> dict[str, Any]:
    plan = read_plans(cluster, plans)
    t, p, d, v, M = plan.t, plan.p, plan.d, plan.v, plan.M
    block = measure_block(transformer_block(model, plan), cluster, plan, literal)
    A = plan.m * model.sequence * model.hidden
    net = plan.networks
    many = t > 1
    rs, gather, ar = (
        seconds(cluster, net[0], op, A * NUMBER_BYTES, t) for op in ("reduce_scatter", "all_gather", "all_reduce")
    )
    F, G, R = {}, {}, {}
    for where, split in (("base", plan.sequence_parallel), ("edge", plan.scattered)):
        entering, leaving = np.where(split, gather, 0), np.where(split, rs, ar)
        F[where] = np.where(many, 2 * (entering + block.enter + leaving + block.leave), 0)
        again = plan.attention_again | plan.gather_again, plan.full_again | plan.gather_again
        R[where] = np.where(many, np.where(again[0], entering, 0) + np.where(again[1], entering, 0) + np.where(plan.full_again, 2 * leaving, 0), 0)
    fwt, agt, wgt, opt, ret = block.forward, block.input_gradient, block.weight_gradient, block.optimizer, block.again
    L = model.blocks
    bpp = np.ceil(L / p)
    missing = bpp * p - L
    missing = np.where(L % p != 0, p - L % p, 0)
    c = bpp / v
    base = c - 1
    ppb = np.where(p > 1, np.where(plan.scattered, A / t, A) * NUMBER_BYTES, 0)
    pt = seconds(cluster, net[1], "point_to_point", ppb, 2.0)
    per = M * v
    tpc = per * (base * 2 * F["base"] + 2 * F["edge"])
    rec = per * (base * R["base"] + R["edge"])
    ppc = np.where(p > 1, per * 2 * pt, 0)
    bf, ef = fwt + F["base"], fwt + F["edge"] + pt
    bb, eb = ret + R["base"] + agt + wgt + F["base"], ret + R["edge"] + agt + wgt + F["edge"] + pt
    chunk_b = base * bb + eb
    chunk = base * bf + ef + chunk_b
    ob, oe, comp = bb - block.memory, eb - block.memory, block.compute
    free = np.where(plan.shard_optimizer, 0, opt - block.optimizer_memory)
    ob, oe, comp = ob + free, oe + free, comp + np.where(plan.shard_optimizer, 0, block.optimizer_compute)
    same = net[2] == net[0]
    ob, oe = ob - np.where(same, R["base"] + F["base"], 0), oe - np.where(same, R["edge"] + F["edge"], 0)
    chunk_ov, chunk_comp = base * ob + oe, c * comp
    cut = missing * np.where(base > 0, (bf + ef + bb + eb) / 2, ef + eb)
    rest = M % p
    bubble = (p - 1) * chunk + np.where(rest != 0, (v - 1) * (p - rest), 0) * chunk - cut
    W = block.weights * NUMBER_BYTES
    dpt = np.where(
        d > 1,
        np.where(
            plan.shard_optimizer,
            seconds(cluster, net[2], "reduce_scatter", W, d) + seconds(cluster, net[2], "all_gather", W, d),
            seconds(cluster, net[2], "all_reduce", W, d),
        ),
        0,
    )
    use = pick(net[2], [each.processor_share for each in cluster.networks])
    win, wcomp, cdp = p * chunk_ov, p * chunk_comp, c * dpt
    hits = np.where(net[2] == net[1], np.minimum(np.floor_divide(cdp, chunk_b), np.where(rest != 0, rest, p)), 0)
    infl = cdp - (win - hits * pt) + wcomp * use
    exposed = np.where(infl > 0, (v - 1) * infl, (v - 1) * cdp * use)
    lw = np.where(base > 0, chunk_ov - pt - (bb + eb) / 2 + free, 0)
    linf = (c - 1) * dpt + comp * use - lw
    exposed = exposed + np.where(linf > 0, linf, (c - 1) * dpt * use)
    dpc = np.where(d > 1, np.where(plan.overlap_data, dpt + exposed, bpp * dpt), 0)

    forward, backward, optimizer, again = M * bpp * fwt, M * bpp * (agt + wgt), bpp * opt, M * bpp * ret
    total = forward + backward + optimizer + again + rec + bubble + tpc + ppc + dpc
    flop = M * bpp * block.flop
    found = {
        "step_time_s": total,
        "forward_s": forward,
        "backward_s": backward,
        "optimizer_s": optimizer,
        "recompute_s": again,
        "recommunication_s": rec,
        "bubble_s": bubble,
        "tensor_communication_s": tpc,
        "pipeline_communication_s": ppc,
        "data_communication_s": dpc,
        **memory(model, plan, block),
        "efficiency": flop / (cluster.matrix_tflops * 1e12) / total,
        "sequences_s": plan.batch / total,
    }
    exposed = rec + tpc + ppc + dpc
    found |= {
        "tokens_s": plan.batch * model.sequence / total,
        "mfu": plan.batch * model.flop_per_sequence / (plan.gpus * (cluster.matrix_tflops * 1e12) * total),
        "communication_s": exposed,
        "bubble_share": bubble / total,
        "communication_share": exposed / total,
    }
    if cluster.power_w is not None:
        found["energy_j"] = total * plan.gpus * cluster.power_w
    return found


def reasons(
    model: LanguageModel, cluster: Cluster, plans: Columns, found: dict[str, Any] | None = None
) -> np.ndarray[Any, Any]:
    """Why each plan cannot be run: one line per plan [B], empty where it divides and fits into memory.

    Args:
        model: model to train.
        cluster: cluster.
        plans: plans.
        found: outcome of `simulate` for them, if there is one already.
    """
    why = undivided(model, cluster, plans)
    needed = (simulate(model, cluster, plans) if found is None else found)["memory_bytes"]
    needed, capacity = np.broadcast_to(needed, why.shape), np.broadcast_to(cluster.hbm_bytes, why.shape)
    for row in np.flatnonzero((why == "") & (needed > capacity)):
        why[row] = f"{needed[row] / 2**30:.1f} GiB exceed the GPU's {capacity[row] / 2**30:g} GiB"
    return why


def memory(model: LanguageModel, plan: Plans, block: Block) -> dict[str, Any]:
    """Memory per GPU by what it holds, in bytes."""
    blocks = np.ceil(model.blocks / plan.p)
    kept = np.minimum(plan.M, plan.p)
    kept = np.where(plan.v > 1, kept * (1 + (plan.p - 1) / (plan.v * plan.p)), kept)
    A = plan.m * model.sequence * model.hidden
    W = block.weights * NUMBER_BYTES
    full = plan.full_again
    parts = {
        "weight_bytes": W * blocks,
        "activation_bytes": block.working_bytes + np.where(full, 0, block.stored_bytes * (blocks * kept - 1)),
        "checkpoint_bytes": np.where(full, blocks * A * NUMBER_BYTES * kept, 0),
        "activation_gradient_bytes": block.gradient_bytes,
        "weight_gradient_bytes": block.weights * 4 + W / plan.sharers * (blocks - 1),
        "optimizer_bytes": block.weights * OPTIMIZER_BYTES / plan.sharers * blocks,
    }
    return {"memory_bytes": sum(parts.values()), **parts}
