"""Memory per GPU: weights, inputs that wait for the backward pass, gradients, and the optimizer's state.

A stage of ceil(L / p) blocks keeps the inputs of

    k = min(M, p) (1 + (p - 1) / (v p))    microbatches     (min(M, p) for v = 1)

in the interleaved one-forward-one-backward schedule, or under full recomputation a checkpoint A of each
instead, and the inputs of one block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.simulators.parallelism.block import OPTIMIZER_BYTES, Block
from archgym.simulators.parallelism.language_models import LanguageModel
from archgym.simulators.parallelism.layers import NUMBER_BYTES
from archgym.simulators.parallelism.plans import Plans

WEIGHT_GRADIENT_BYTES = 4.0  # of the block that is computed, per weight; NUMBER_BYTES of others


def memory(model: LanguageModel, plan: Plans, block: Block) -> dict[str, Any]:
    """Bytes per GPU [B], all and by what they hold."""
    p, v, full = plan.p, plan.v, plan.full_again
    blocks = np.ceil(model.blocks / p)
    k = np.minimum(plan.M, p) * np.where(v > 1, 1 + (p - 1) / (v * p), 1)
    checkpoint = plan.m * model.sequence * model.hidden * NUMBER_BYTES
    weights = block.weights * NUMBER_BYTES
    parts = {
        "weight_bytes": weights * blocks,
        "activation_bytes": block.working_bytes + np.where(full, 0, block.stored_bytes * (blocks * k - 1)),
        "checkpoint_bytes": np.where(full, blocks * k * checkpoint, 0),
        "activation_gradient_bytes": block.gradient_bytes,
        "weight_gradient_bytes": block.weights * WEIGHT_GRADIENT_BYTES
        + weights / plan.sharers * (blocks - 1),
        "optimizer_bytes": block.weights * OPTIMIZER_BYTES / plan.sharers * blocks,
    }
    return {"memory_bytes": sum(parts.values()), **parts}
