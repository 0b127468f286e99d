"""The model against Calculon's results, and against published step times."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError
from archgym.files.archive import reading
from archgym.simulators.parallelism.clusters import Cluster, load_cluster
from archgym.simulators.parallelism.language_models import load_model
from archgym.simulators.parallelism.model import simulate

OUTPUTS = {
    "fw_time": "forward_s",
    "bw_time": "backward_s",
    "optim_step_time": "optimizer_s",
    "recompute_time": "recompute_s",
    "recomm_exposed_time": "recommunication_s",
    "bubble_time": "bubble_s",
    "tp_comm_exposed_time": "tensor_communication_s",
    "pp_comm_exposed_time": "pipeline_communication_s",
    "dp_comm_exposed_time": "data_communication_s",
    "total_time": "step_time_s",
    "proc_mem_tier1_cap_req": "memory_bytes",
    "weight_space": "weight_bytes",
    "act_space": "activation_bytes",
    "act_checkpoint_size": "checkpoint_bytes",
    "act_grad_space": "activation_gradient_bytes",
    "weight_grad_space": "weight_gradient_bytes",
    "optimizer_space": "optimizer_bytes",
    "total_efficiency": "efficiency",
    "sample_rate": "sequences_s",
}
NUMBERS = {
    "num_procs": "gpus",
    "batch_size": "batch",
    "tensor_par": "tensor",
    "pipeline_par": "pipeline",
    "microbatch_size": "microbatch",
    "pipeline_interleaving": "interleaving",
    "tensor_par_net": "tensor_network",
    "pipeline_par_net": "pipeline_network",
    "data_par_net": "data_network",
}
SWITCHES = {
    "seq_par_ag_redo": "gather_again",
    "fused_activation": "fuse_activation",
    "optimizer_sharding": "shard_optimizer",
    "data_par_overlap": "overlap_data",
}
RECOMPUTE = {"none": "none", "attn_only": "attention", "full": "full"}
COMMUNICATION = {"ar": "all_reduce", "p2p_rs_ag": "scattered_transfers", "rs_ag": "sequence_parallel"}


def read_calculon(rows: list[Mapping[str, str]]) -> dict[str, Any]:
    """Columns of plans from Calculon's names."""
    plans: dict[str, Any] = {ours: np.array([int(row[name]) for row in rows]) for name, ours in NUMBERS.items()}
    plans |= {ours: np.array([row[name] == "True" for row in rows]) for name, ours in SWITCHES.items()}
    plans["recompute"] = np.array([RECOMPUTE[row["activation_recompute"]] for row in rows])
    plans["tensor_communication"] = np.array([COMMUNICATION[row["tensor_par_comm_type"]] for row in rows])
    return plans
