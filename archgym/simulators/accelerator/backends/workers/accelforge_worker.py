"""accelforge: one matrix multiplication on a described accelerator, with its mapper's mapping of least energy.

The mapper and the model of the mapping that it finds are called one after the other: `Spec.map_workload_to_arch` does the same and also
draws the mapping, for which it needs Graphviz. The tool runs in one process, since other workers need the other cores.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from copy import deepcopy
from typing import Any

import accelforge
from accelforge.frontend.mapper.metrics import Metrics
from accelforge.mapper.FFM.main import join_pmappings, make_pmappings
from accelforge.model.main import evaluate_mapping

accelforge.set_n_parallel_jobs(1)
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

SEPARATOR = "<SEP>"  # of the names of the tool's columns
EINSUM = "gemm"


def run(job: dict[str, Any]) -> dict[str, Any]:
    """What `_costs` says of a job, in a temporary folder of its own, since the tool leaves two files per job."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as tempfile.tempdir:
        try:
            return _costs(job)
        finally:
            tempfile.tempdir = before


def _costs(job: dict[str, Any]) -> dict[str, Any]:
    """`architecture`, the nodes of the tool's description from the outermost memory, each with its `type`; bits of an `operand` and of an
    `accumulator`; `m`, `n`, `k`; whether loops may be `imperfect`, with a last turn that is shorter -> energy in pJ, seconds by component,
    and actions by component and tensor, in its units."""
    specification = _specification(job)
    options = specification.mapper
    options.metrics = Metrics.ENERGY
    options.explore_imperfect_temporal_loops = options.explore_imperfect_spatial_loops = job["imperfect"]
    found = join_pmappings(make_pmappings(specification, print_progress=False), metrics=options.metrics, print_progress=False)
    if not len(found.data):
        raise ValueError("no mapping fits")
    mapped = deepcopy(specification)
    mapped.model.metrics = Metrics.all_metrics()
    mapped.mapping = found.data.iloc[0][f"Total{SEPARATOR}mapping"](_for_model=True)
    costs = evaluate_mapping(mapped, flattened_arches=found.flattened_arches, evaluated_specs=found.evaluated_specs).data.iloc[0]
    result: dict[str, Any] = {"energy_pj": 1e12 * float(costs[f"Total{SEPARATOR}energy"]), "seconds": {}, "actions": {}}
    for name, value in costs.items():
        match name.split(SEPARATOR):
            case [_, "latency", component]:
                result["seconds"][component] = float(value)
            case [_, "action", component, tensor, action] if tensor != "None":
                result["actions"].setdefault(component, {}).setdefault(tensor, {})[action] = float(value)
    return result


def _specification(job: dict[str, Any]) -> Any:
    nodes = [getattr(accelforge.arch, node["type"])(**{name: value for name, value in node.items() if name != "type"}) for node in job["architecture"]]
    tensors = {"input": ["m", "k"], "weight": ["k", "n"], "output": ["m", "n"]}
    einsum = {
        "name": EINSUM,
        "tensor_accesses": [
            {
                "name": name,
                "projection": ranks,
                "output": name == "output",
                "bits_per_value": job["accumulator" if name == "output" else "operand"],
            }
            for name, ranks in tensors.items()
        ],
        "renames": {name: name for name in tensors},
    }
    shape = {rank: f"0 <= {rank} < {job[rank]}" for rank in "mnk"}
    return accelforge.Spec(arch={"nodes": nodes}, workload={"iteration_space_shape": shape, "einsums": [einsum]})
