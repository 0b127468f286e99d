"""ZigZag: one matrix multiplication on a described accelerator, with the order of loops that takes the least energy."""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.modules.setdefault("multiprocessing_on_dill", multiprocessing)  # of its SALSA, which is not used here: see the lock
from zigzag.api import get_hardware_performance_zigzag  # noqa: E402

logging.disable(logging.WARNING)

LOOPS = 4  # that the search permutes, after splitting dimensions into factors
OFF_CHIP = -1  # the last of the memories of an operand


def run(job: dict[str, Any]) -> dict[str, float]:
    """`hardware` and `mapping` as in ZigZag's files, `m`, `n`, `k`, and bits of an `operand` and of an `accumulator` -> cycles, energy in
    pJ, and accesses to off-chip memory, of the width of its port."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("hardware", "mapping"):
            (folder / f"{file}.yaml").write_text(json.dumps(job[file]))  # every JSON text is a YAML text
        energy, cycles, results = get_hardware_performance_zigzag(
            [_layer(job)],
            str(folder / "hardware.yaml"),
            str(folder / "mapping.yaml"),
            opt="energy",
            lpf_limit=LOOPS,
            nb_spatial_mappings_generated=1,
            dump_folder=str(folder / "results"),
            loma_show_progress_bar=False,
        )
    accesses = [levels[OFF_CHIP].data.values() for levels in results[0][0].memory_word_access.values()]
    return {"cycles": float(cycles), "energy_pj": float(energy), "off_chip_accesses": float(sum(map(sum, accesses)))}


def _layer(job: dict[str, Any]) -> dict[str, Any]:
    operand, accumulator = job["operand"], job["accumulator"]
    return {
        "id": 0,
        "name": "gemm",
        "operator_type": "Gemm",
        "equation": "O[m][n]+=I[m][k]*W[k][n]",
        "dimension_relations": [],
        "loop_dims": ["M", "N", "K"],  # the search depends on their order
        "loop_sizes": [job["m"], job["n"], job["k"]],
        "operand_precision": {"I": operand, "W": operand, "O": accumulator, "O_final": operand},
        "operand_source": {"I": 0, "W": 0},
    }
