"""SCALE-Sim: one matrix multiplication on a systolic array, in memory.

What is run is the tool's simulation of the array: the matrices of the addresses that every row and column of it asks for in every cycle.
The simulation of its memories, which follows in the tool, is left out: without a limit on bandwidth it changes neither cycles nor SRAM
accesses, and it takes 10 to 100 times as long.

The tool computes fold after fold, each with a part of the two dimensions that are laid out on the array, and copies all that it has when
it adds one. So it is given blocks of a few folds, one after the other, and what it says of them is added up: the same numbers, in time
that grows with the folds and not with their square.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Any

from scalesim.scale_config import scale_config
from scalesim.single_layer_sim import single_layer_sim
from scalesim.topology_utils import topologies

LAID_OUT = {"ws": ("k", "n", "m"), "os": ("m", "n", "k"), "is": ("k", "m", "n")}  # along the rows, along the columns, and streamed
MOST_FOLDS = 8  # of a block, along rows and along columns
MOST_ADDRESSES = 2**24  # of a block's largest matrix, if a fold has fewer


def run(job: dict[str, Any]) -> dict[str, int]:
    """`dataflow` (ws, os or is), `rows`, `cols`, `m`, `n`, `k` -> cycles, and SRAM accesses in words."""
    total = {"cycles": -1, "ifmap_reads": 0, "filter_reads": 0, "ofmap_writes": 0}  # the tool counts the last cycle's number, from 0
    for block in _blocks(job):
        array = _simulate(block)
        total["cycles"] += array.get_ofmap_demand_mat().shape[0]
        total["ifmap_reads"] += int(array.get_ifmap_requests())
        total["filter_reads"] += int(array.get_filter_requests())
        total["ofmap_writes"] += int(array.get_ofmap_requests())
    return total


def _blocks(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a job that the tool is given."""
    rows, cols = job["rows"], job["cols"]
    down, across, streamed = LAID_OUT[job["dataflow"]]
    fold = max(rows, cols) * (job[streamed] + 2 * rows + cols)  # addresses, about
    folds = max(1, min(MOST_FOLDS, isqrt(MOST_ADDRESSES // fold)))
    for first in range(0, job[down], folds * rows):
        for second in range(0, job[across], folds * cols):
            yield {**job, down: min(folds * rows, job[down] - first), across: min(folds * cols, job[across] - second)}


def _simulate(job: dict[str, Any]) -> Any:
    """The tool's array after the job."""
    m, n, k = job["m"], job["n"], job["k"]
    config = scale_config()
    config.set_arr_dims(job["rows"], job["cols"])
    config.set_dataflow(job["dataflow"])
    config.set_bw_mode_to_calc()
    config.force_valid()
    topology = topologies()
    # input height, width; filter height, width; channels; filters; strides; dense
    topology.load_layer_params_from_list("gemm", ["gemm", m, k, 1, k, 1, n, 1, 1, 1, 1])
    layer = single_layer_sim()
    layer.set_params(layer_id=0, config_obj=config, topology_obj=topology, verbose=False)
    operands, array = layer.op_mat_obj, layer.compute_system
    array.set_params(
        config_obj=config,
        ifmap_op_mat=operands.get_ifmap_matrix()[1],
        filter_op_mat=operands.get_filter_matrix()[1],
        ofmap_op_mat=operands.get_ofmap_matrix()[1],
    )
    array.create_demand_matrices()
    return array
