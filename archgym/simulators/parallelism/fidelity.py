"""The model against results of Calculon, and against published step times.

A table of Calculon's is a CSV file, a plan per row: the name of the model (`megatron-22B`, `gpt3-175B`,
`turing-530B`, `megatron-1T`), the fields of its execution files, and any of its outputs in OUTPUTS. Tables
are compared with `literal=True`; what the model does not have (offloading, tiled overlap, inference) is
refused.

Published step times are of Megatron-LM on clusters of NVIDIA's A100:

- `selene`: Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, 2022, Table 5:
  full recomputation, and recomputation of attention with sequence parallelism. Calculon's own validation.
- `mt-nlg`: Smith et al., Using DeepSpeed and Megatron to Train Megatron-Turing NLG 530B, 2022, section 2.4:
  1,920 sequences per step on 2,240 to 3,360 GPUs, 8 x 35 per replica. Microbatch and interleaving are not
  stated: 1 and 3 here, with full recomputation.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import reading
from archgym.simulators.parallelism.clusters import Cluster, load_cluster
from archgym.simulators.parallelism.language_models import load_model
from archgym.simulators.parallelism.model import simulate

MOST_BYTES = 64 << 20  # of a file
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
CHOICES: dict[str, tuple[str, dict[str, Any]]] = {
    "activation_recompute": ("recompute", {"none": "none", "attn_only": "attention", "full": "full"}),
    "tensor_par_comm_type": (
        "tensor_communication",
        {"ar": "all_reduce", "p2p_rs_ag": "scattered_transfers", "rs_ag": "sequence_parallel"},
    ),
    **{
        theirs: (ours, {"False": False, "True": True})
        for theirs, ours in {
            "seq_par_ag_redo": "gather_again",
            "fused_activation": "fuse_activation",
            "optimizer_sharding": "shard_optimizer",
            "data_par_overlap": "overlap_data",
        }.items()
    },
}
FIXED = {
    "datatype": "float16",
    "attention_type": "multihead",
    "tensor_par_overlap": "none",
    "weight_offload": "False",
    "activations_offload": "False",
    "optimizer_offload": "False",
    "training": "True",
}


def compare(path: Path, cluster: Cluster | None = None) -> tuple[int, dict[str, float]]:
    """The number of plans of a table of Calculon's, and the largest relative difference of each output.

    Args:
        path: the table.
        cluster: the cluster that Calculon ran it for; A100 if not given.

    Raises:
        ArchGymError: no such file, a missing column, or a plan that the model does not have.
    """
    with reading(path, "a table of Calculon's plans"):
        if path.stat().st_size > MOST_BYTES:
            raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        if not rows or not (outputs := [name for name in OUTPUTS if name in rows[0]]):
            raise ArchGymError(f"expected at least one plan with any of {', '.join(OUTPUTS)}")
        cluster = cluster or load_cluster("a100")
        largest = dict.fromkeys(outputs, 0.0)
        for name in dict.fromkeys(_cell(row, "model") for row in rows):
            of_model = [row for row in rows if row["model"] == name]
            found = simulate(load_model(name), cluster, read_plans_of_calculon(of_model), literal=True)
            for output in outputs:
                given = np.array([float(_cell(row, output)) for row in of_model])
                largest[output] = max(largest[output], _difference(found[OUTPUTS[output]], given))
    return len(rows), largest


def _difference(computed: Any, given: Any) -> float:
    """The largest relative difference; absolute where 0 is given."""
    return float(np.max(np.abs(computed - given) / np.where(given == 0, 1, np.abs(given))))


def read_plans_of_calculon(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of plans from rows with Calculon's names and texts.

    Raises:
        ArchGymError: a missing column, or a value that the model does not have.
    """
    for name, only in FIXED.items():
        for found in {_cell(row, name) for row in rows}:
            if found != only:
                raise ArchGymError(f"expected {name} {only}, got {found!r}")
    plans: dict[str, Any] = {}
    for theirs, ours in NUMBERS.items():
        plans[ours] = np.array([int(_cell(row, theirs)) for row in rows])
    for theirs, (ours, values) in CHOICES.items():
        for found in {_cell(row, theirs) for row in rows}:
            if found not in values:
                raise unknown(theirs, found, values)
        plans[ours] = np.array([values[row[theirs]] for row in rows])
    return plans


def _cell(row: Mapping[str, Any], name: str) -> str:
    if row.get(name) is None:
        raise ArchGymError(f"expected the column {name!r}")
    return str(row[name])


@dataclass(frozen=True)
class StepTime:
    """A published step time beside the model's.

    Attributes:
        source: `selene` or `mt-nlg`.
        model: name of the model.
        gpus: GPUs.
        recompute: recomputation in the backward pass, "attention" or "full".
        published_s, computed_s: step time, s.
    """

    source: str
    model: str
    gpus: int
    recompute: str
    published_s: float
    computed_s: float

    @property
    def difference(self) -> float:
        """computed / published - 1."""
        return self.computed_s / self.published_s - 1


# model, GPUs, batch, tensor, pipeline, microbatch, interleaving, and seconds with full recomputation and with
# recomputation of attention and sequence parallelism
_SELENE = (
    ("22B", 8, 4, 8, 1, 4, 1, 1.42, 1.10),
    ("175B", 64, 64, 8, 8, 1, 3, 18.13, 13.75),
    ("530B", 280, 280, 8, 35, 1, 3, 49.05, 37.83),
    ("1T", 512, 512, 8, 64, 1, 1, 94.42, 71.49),
)
_MT_NLG = ((2240, 60.1), (2800, 50.2), (3360, 44.4))


def step_times() -> list[StepTime]:
    """All published step times beside the model's."""
    found = []
    for model, *degrees, full_s, attention_s in _SELENE:
        names = ("gpus", "batch", "tensor", "pipeline", "microbatch", "interleaving")
        plan = dict(zip(names, degrees, strict=True))
        found.append(_step_time("selene", model, plan, "full", full_s))
        found.append(_step_time("selene", model, plan, "attention", attention_s))
    for gpus, seconds in _MT_NLG:
        plan = {"gpus": gpus, "batch": 1920, "tensor": 8, "pipeline": 35, "microbatch": 1, "interleaving": 3}
        found.append(_step_time("mt-nlg", "530B", plan, "full", seconds))
    return found


def _step_time(
    source: str, model: str, degrees: Mapping[str, int], recompute: str, published_s: float
) -> StepTime:
    split = recompute == "attention"
    plan = {
        **degrees,
        "recompute": recompute,
        "tensor_communication": "sequence_parallel" if split else "all_reduce",
        "gather_again": split,
        "fuse_activation": False,
        "shard_optimizer": False,
        "overlap_data": False,
    }
    found = simulate(load_model(model), load_cluster("a100"), plan)
    return StepTime(source, model, degrees["gpus"], recompute, published_s, float(found["step_time_s"][0]))


def mean_error(times: Sequence[StepTime], source: str) -> float:
    """Mean of the relative differences of a source, without their signs."""
    return float(np.mean([abs(each.difference) for each in times if each.source == source]))
