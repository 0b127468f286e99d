"""The tiling compared with accelforge's mapper, on layers and buffers that no table lists.

Cases are `LAYERS` matrix multiplications, half of random sizes and half drawn from the shipped workloads
without those of the recorded table, on accelforge's NVDLA-like chip (`accelerator.nvdla_like`) with buffers
of `BUFFERS_KB`. The mapper searches for the least energy among loops with and without a shorter last turn,
on the array used as it finds best, as in the recorded table (`free`), and filled where possible, as
accelforge's own template demands and the backend does (`full`); and with outputs or inputs that stay in
place of weights (`outputs`, `inputs`, for the words of `templates.systolic_os` and `systolic_is`). Compared
are

    energy      MACs e_mac + buffer reads e_read + writes e_write + off-chip bytes e_dram
    off chip, buffer                                            bytes read and written
    latency     max(folds of the array, off-chip bytes / Br, buffer reads / Br', buffer writes / Bw')

with the bandwidths of that template: 38.4 GB/s off chip, 512 and 128 GB/s of the buffer, at 1 GHz. Cycles of
the mapper are its own. The model's tile has the least J for a nominal array (`tiling`), the mapper's the
least energy on this one, so that a positive difference of energy is what the model's tile costs more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from archgym.progress import Progress, silent
from archgym.simulators.accelerator.backends.accelforge import job, mac, memory, pe_array
from archgym.simulators.accelerator.backends.jobs import Gemm
from archgym.simulators.accelerator.design import KIB
from archgym.simulators.accelerator.fidelity.accelerator import Chip, chip_costs, errors_of, nvdla_like
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.systolic import ceil_div
from archgym.simulators.accelerator.tiling import WORD, compulsory_bytes
from archgym.simulators.accelerator.workloads import list_workloads, load_workload

RECORD = Path(__file__).parent / "records" / "accelforge_mapper.json"
LAYERS = 20  # half of them random, half of workloads
BUFFERS_KB = (32, 128, 512)  # none in the recorded table
LOG_SIZES = (4.0, 11.0)  # random sizes are 16 to 2,048, uniform in their logarithm
LARGEST = 2**16  # maximum size of a workload's layer: the mapper takes minutes for longer attention
FEWEST_MACS = 10**6  # of a workload's layer
SETTINGS = {  # dataflow, operand that stays, and least use of the array's sides, by name
    "free": ("nvdla", "weight", 0.0),
    "full": ("nvdla", "weight", 1.0),
    "outputs": ("systolic_os", "output", 0.0),
    "inputs": ("systolic_is", "input", 0.0),
}
FOLDS = {
    "weight": ("n", "k", "m"),
    "output": ("n", "m", "k"),
    "input": ("m", "k", "n"),
}  # columns, rows, time
DIGITS = 6  # significant ones in a record
TABLED = {  # sizes of the recorded table
    (3136, 64, 576),
    (196, 256, 2304),
    (49, 512, 4608),
    (128, 768, 768),
    (128, 128, 64),
    (128, 64, 128),
    (128, 3072, 768),
    (512, 512, 64),
}
GB_S = {"off_chip": 38.4, "reads": 512.0, "writes": 128.0}  # bytes per ns
QUANTITIES = ("energy", "off_chip", "buffer", "latency")


def cases(seed: int) -> list[tuple[str, Gemm]]:
    """Names and sizes of the matrix multiplications, the same for a seed."""
    rng = np.random.default_rng(seed)
    half = LAYERS // 2
    random = [Gemm(*np.rint(2 ** rng.uniform(*LOG_SIZES, 3)).astype(int).tolist()) for _ in range(half)]
    shapes: dict[Gemm, str] = {}
    for workload in list_workloads():
        for layer in load_workload(workload).layers:
            gemm = Gemm(*layer.shape)
            large = max(gemm) > LARGEST or gemm.m * gemm.n * gemm.k < FEWEST_MACS
            if not large and tuple(gemm) not in TABLED:
                shapes.setdefault(gemm, f"{workload}:{layer.name}")
    drawn = sorted(shapes)
    chosen = [drawn[i] for i in sorted(rng.choice(len(drawn), LAYERS - half, replace=False).tolist())]
    return [(f"random {i + 1}", gemm) for i, gemm in enumerate(random)] + [
        (shapes[gemm], gemm) for gemm in chosen
    ]


def run_live(seed: int, progress: Progress = silent) -> dict[str, Any]:
    """Run the cases in accelforge.

    Args:
        seed: seed for the cases.
        progress: function of (current step, share done).

    Returns:
        `tool`, `seed`, `rows` of all runs, and `summary` by setting, as plain values.

    Raises:
        ArchGymError: accelforge fails.
        SimulatorUnavailable: accelforge is not installed, or does not start.
    """
    from archgym.simulators.accelerator.backends.environments import BACKENDS, python_of
    from archgym.simulators.accelerator.backends.session import Session

    todo = [
        (setting, name, gemm, size)
        for setting in SETTINGS
        for name, gemm in cases(seed)
        for size in BUFFERS_KB
    ]
    session, rows = Session(python_of("accelforge"), "accelforge"), []
    try:
        for i, (setting, name, gemm, size) in enumerate(todo):
            progress(f"accelforge, {name}", i / len(todo))
            chip = _chip(setting)
            found = session.ask(job(gemm, chip.precision, _nodes(setting, size), imperfect=True))
            row = {"setting": setting, "name": name, **gemm._asdict(), "buffer_kb": size}
            rows.append(row | _figures(setting, gemm, size, found))
    finally:
        session.close()
    return {"tool": BACKENDS["accelforge"].tool, "seed": seed, "rows": rows, "summary": summary(rows)}


def _chip(setting: str) -> Chip:
    return replace(nvdla_like(), dataflow=SETTINGS[setting][0])


def _nodes(setting: str, buffer_kb: int) -> list[dict[str, Any]]:
    chip, (_, stays, least_use) = _chip(setting), SETTINGS[setting]
    return [
        memory("off_chip", "inf", (chip.dram_read_pj, chip.dram_write_pj), "All"),
        memory("buffer", 8 * KIB * buffer_kb, (chip.read_pj, chip.write_pj), "All"),
        pe_array(chip.rows, chip.cols, stays, least_use),
        memory("l1", 8 * chip.precision.operand_bytes, (0.0, 0.0), stays),  # one word
        mac(chip.mac_pj),
    ]


def _figures(setting: str, gemm: Gemm, buffer_kb: int, found: Mapping[str, Any]) -> dict[str, float]:
    """Costs by the mapper and by the model in pJ, bytes and ns, and off-chip bytes that nothing avoids."""
    chip, layer = _chip(setting), Layer.gemm("gemm", *gemm)
    ours = chip_costs(layer, KIB * buffer_kb, chip)
    across, down, time = (getattr(gemm, rank) for rank in FOLDS[SETTINGS[setting][1]])
    own = int(ceil_div(across, chip.cols) * ceil_div(down, chip.rows) * time)
    model = (ours.off_chip_reads, ours.off_chip_writes, ours.reads, ours.writes)
    mapper = [
        sum(counts[action] for counts in found["actions"][level].values()) / 8
        for level in ("off_chip", "buffer")
        for action in ("read", "write")
    ]
    row: dict[str, float] = {"compulsory_bytes": float(compulsory_bytes(layer, WORD))}
    for who, energy_pj, cycles, (dram_reads, dram_writes, reads, writes) in (
        ("mapper", found["energy_pj"], found["seconds"]["mac"], mapper),
        ("model", ours.energy_pj, own, model),
    ):
        off_chip = dram_reads + dram_writes
        terms = (cycles, off_chip / GB_S["off_chip"], reads / GB_S["reads"], writes / GB_S["writes"])
        figures = dict(zip(QUANTITIES, (energy_pj, off_chip, reads + writes, max(terms)), strict=True))
        row |= {f"{who}_{name}": float(f"{value:.{DIGITS}g}") for name, value in figures.items()}
    return row


def record_of(found: Mapping[str, Any]) -> str:
    """A comparison as JSON, a line for each run."""
    rest = json.dumps({name: value for name, value in found.items() if name != "rows"}, indent=1)
    lines = ",\n".join(f"  {json.dumps(row)}" for row in found["rows"])
    return f'{rest[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'


def difference(row: Mapping[str, Any], quantity: str) -> float:
    """The model's figure over the mapper's, less 1."""
    return float(row[f"model_{quantity}"] / row[f"mapper_{quantity}"] - 1)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """By setting: errors of energy in all and by buffer, and by quantity the mean and the extremes of
    the model's differences from the mapper.
    """
    result = {}
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == setting]
        by_size = {size: [row for row in own if row["buffer_kb"] == size] for size in BUFFERS_KB}
        result[setting] = {
            "overall": _energy_errors(own),
            "by_buffer_kb": {str(size): _energy_errors(part) for size, part in by_size.items() if part},
            "differences": {quantity: _differences(own, quantity) for quantity in QUANTITIES},
        }
    return result


def _energy_errors(rows: list[dict[str, Any]]) -> dict[str, Any]:
    model, mapper = (np.array([row[f"{who}_energy"] for row in rows]) for who in ("model", "mapper"))
    return asdict(errors_of(model, mapper))


def _differences(rows: list[dict[str, Any]], quantity: str) -> dict[str, float]:
    each = np.array([difference(row, quantity) for row in rows])
    return {
        "mean": float(each.mean()),
        "mean_without_sign": float(np.abs(each).mean()),
        "least": float(each.min()),
        "largest": float(each.max()),
    }
