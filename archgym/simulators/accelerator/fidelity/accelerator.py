"""The accelerator model compared with other simulators on the same layers.

    scalesim     cycles and SRAM accesses of SCALE-Sim without stalls                   differences
    maestro_     runtimes of MAESTRO without a limit on bandwidth                       differences
    accelforge   energy of accelforge's best mappings on an NVDLA-like accelerator      relative errors, order
    zigzag       energy per multiply-add of ZigZag's TPU-like accelerator               order

The last two test the model's tiles and dataflows with the other simulator's constants, one energy per byte or
multiply-add:

    energy = MACs e_mac + reads e_read + writes e_write + dram reads e_dram_read + dram writes e_dram_write

`tiling.NOMINAL_ARRAY` = 128 was set on accelforge's rows: the mean error is 2.0 to 2.8 % from 64 to 256, and
4.8 % at 32. With ZigZag only the order is compared, as its weights bypass the global buffer. Compulsory
off-chip traffic is four fifths of that energy and has nearly the same order, so this tests dataflows little;
with the 45 nm table the order differs. Its buffer of 2 MB is one bank behind a port of 64 bits, 15.9 pJ per
byte read and two thirds of the energy, and ZigZag's is 16 banks of 128 KB without wires between them, 1.6
pJ. With buffers of 128 KB banks (`tables/45nm_banked.toml`) the order is nearly ZigZag's again. Order is
Spearman's rank correlation.

Rows come from csv files, as dicts of text. A missing column raises KeyError; a cell that is not a positive
number, or a file without a comparable row, ValueError. The tables are not shipped: `compare` takes their
folder, `RECORD` has its result on the original tables, and `run_live` runs SCALE-Sim itself.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.progress import Progress, silent
from archgym.simulators.accelerator import maestro, systolic, templates
from archgym.simulators.accelerator.design import KIB, Precision
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.layers import Layer, columns
from archgym.simulators.accelerator.model import LayerModel
from archgym.simulators.accelerator.templates import Arrays
from archgym.simulators.accelerator.tiling import compulsory_bytes, curve

Rows = Sequence[Mapping[str, str]]
Floats = npt.NDArray[np.float64]

UNLIMITED = 100_000  # bytes per cycle from which MAESTRO's network does not limit the runtime
MAESTRO_NAMES = {"nvdla_kcp_ws": "nvdla", "shidiannao_yxp_os": "shidiannao", "eyeriss_rs": "eyeriss"}


@dataclass(frozen=True)
class Chip:
    """Another simulator's accelerator in terms of the model.

    Attributes:
        dataflow: name in `templates.TEMPLATES`.
        rows, cols: rows and columns of the array.
        l1_bytes: memory of a PE, bytes.
        precision: bytes of operands and partial sums.
        mac_pj: energy of a multiply-add with its registers, pJ.
        read_pj, write_pj: energy of the global buffer, pJ per byte.
        dram_read_pj, dram_write_pj: energy of off-chip memory, pJ per byte.
    """

    dataflow: str
    rows: int
    cols: int
    l1_bytes: int
    precision: Precision
    mac_pj: float
    read_pj: float
    write_pj: float
    dram_read_pj: float
    dram_write_pj: float


def nvdla_like() -> Chip:
    """accelforge 1.0.467's NVDLA template: rows take the inner dimension, columns filters; constants of
    `tables/accelforge_nvdla.toml`.
    """
    table = load_energy_table("accelforge_nvdla")
    read_pj, write_pj = (float(cost) for cost in table.sram_pj_per_byte(KIB))  # the same for any capacity
    mac_pj, dram_pj = float(table.mac_pj("int8")), table.dram_pj_per_byte
    return Chip("nvdla", 192, 32, 2, Precision(1, 1), mac_pj, read_pj, write_pj, dram_pj, dram_pj)


TPU_LIKE = Chip(  # the model's closest match to ZigZag 3.9.1's tpu_like
    dataflow="systolic_ws",
    rows=32,
    cols=32,
    l1_bytes=128,  # for weights
    precision=Precision(1, 2),
    mac_pj=0.04 + 0.095 + 2 * 0.021,  # multiply-add; weight read; partial sum read and written
    read_pj=8 * 416.16 / 2048,  # 2048 bits per access
    write_pj=8 * 378.4 / 2048,
    dram_read_pj=8 * 700 / 64,  # 64 bits per access
    dram_write_pj=8 * 750 / 64,
)
TPU_LIKE_BUFFER_KB = 2048
TPU_LIKE_DESIGN = {  # the same in the design space
    "dataflow": TPU_LIKE.dataflow,
    "rows": TPU_LIKE.rows,
    "cols": TPU_LIKE.cols,
    "l1_bytes": TPU_LIKE.l1_bytes,
    "buffer_kb": TPU_LIKE_BUFFER_KB,
    "noc_bytes_per_cycle": 64,  # bandwidths and clock have no effect on energy without leakage
    "dram_gb_s": 8,
    "precision": "int8",
    "double_buffering": False,
    "clock_mhz": 1000,
}


@dataclass(frozen=True)
class Differences:
    """Differences of a closed form from a simulator: the number of rows, and the largest absolute
    difference by quantity.
    """

    rows: int
    largest: dict[str, int]


@dataclass(frozen=True)
class Errors:
    """Errors |predicted / simulated - 1| of energies: number of rows, mean, maximum, and Spearman's rank
    correlation.
    """

    rows: int
    mean: float
    largest: float
    spearman: float


@dataclass(frozen=True)
class EnergyErrors:
    """Errors of energies in all rows, and by the size of the global buffer, KB, ascending."""

    overall: Errors
    by_buffer_kb: dict[int, Errors]


@dataclass(frozen=True)
class Order:
    """Order of energies per multiply-add.

    Attributes:
        names: names of the matrix multiplications, [N].
        predicted, simulated: energy with the simulator's constants, pJ per multiply-add, [N].
        spearman: rank correlation of the two.
        spearman_compulsory: rank correlation of compulsory off-chip traffic alone, as a baseline.
        spearman_45nm: rank correlation of predictions with the 45 nm table.
        spearman_45nm_banked: the same with buffers of 128 KB banks (`tables/45nm_banked.toml`).
    """

    names: tuple[str, ...]
    predicted: tuple[float, ...]
    simulated: tuple[float, ...]
    spearman: float
    spearman_compulsory: float
    spearman_45nm: float
    spearman_45nm_banked: float


def scalesim(rows: Rows) -> Differences:
    """Compare SCALE-Sim's cycles and SRAM accesses: columns dataflow, rows, cols, M, N, Kdim,
    total_cycles_reported, sram_*.
    """
    if not rows:
        raise ValueError("it has no rows")
    largest = dict.fromkeys(("cycles", "ifmap reads", "filter reads", "ofmap writes"), 0)
    names = ("total_cycles_reported", "sram_ifmap_reads", "sram_filter_reads", "sram_ofmap_writes")
    for row in rows:
        sizes = [int(row[name]) for name in ("rows", "cols", "M", "N", "Kdim")]
        predicted = [
            systolic.cycles(row["dataflow"], *sizes),
            *systolic.sram_accesses(row["dataflow"], *sizes),
        ]
        for quantity, name, value in zip(largest, names, predicted, strict=True):
            largest[quantity] = max(largest[quantity], abs(int(value) - int(row[name])))
    return Differences(len(rows), largest)


def maestro_(rows: Rows) -> Differences:
    """Compare MAESTRO's runtimes: columns K, C, R, S, Y_padded, X_padded, stride, dataflow, num_pes, noc_bw,
    runtime_cycles.

    Rows with noc_bw below `UNLIMITED` and matrix multiplications (an empty S) are left out, since the forms
    do not apply to them.
    """
    rows = [row for row in rows if float(row["noc_bw"]) >= UNLIMITED and row["S"]]
    if not rows:
        raise ValueError(f"it has no row of a convolution with noc_bw from {UNLIMITED}")
    largest = 0
    for row in rows:
        if row["dataflow"] not in MAESTRO_NAMES:
            raise unknown("dataflow of MAESTRO", row["dataflow"], MAESTRO_NAMES)
        pes, k, c, r, s, height, width, stride = (
            int(positive(row[name]))
            for name in ("num_pes", "K", "C", "R", "S", "Y_padded", "X_padded", "stride")
        )
        e, f = (height - r) // stride + 1, (width - s) // stride + 1
        predicted = maestro.runtime(MAESTRO_NAMES[row["dataflow"]], pes, k, c, r, s, e, f)
        largest = max(largest, abs(int(predicted) - int(row["runtime_cycles"])))
    return Differences(len(rows), {"cycles": largest})


def accelforge(rows: Rows) -> EnergyErrors:
    """Compare accelforge's energies of matrix multiplications: columns M, N, K, gb_bytes, energy_J."""
    if not rows:
        raise ValueError("it has no rows")
    kilobytes = np.array([int(row["gb_bytes"]) // KIB for row in rows])
    predicted = np.array(
        [chip_costs(_gemm(row), int(row["gb_bytes"]), nvdla_like()).energy_pj for row in rows]
    )
    simulated = 1e12 * np.array([positive(row["energy_J"]) for row in rows])
    by_buffer = {
        size: errors_of(predicted[kilobytes == size], simulated[kilobytes == size])
        for size in np.unique(kilobytes).tolist()
    }
    return EnergyErrors(errors_of(predicted, simulated), by_buffer)


def zigzag(rows: Rows) -> Order:
    """Compare ZigZag's energies of matrix multiplications: columns arch (only tpu_like is compared), wl,
    M, N, K, energy_pJ.
    """
    rows = [row for row in rows if row["arch"] == "tpu_like"]
    if not rows:
        raise ValueError("it has no row of arch tpu_like")
    layers = tuple(_gemm(row) for row in rows)
    macs = np.array([layer.macs for layer in layers])
    simulated = np.array([positive(row["energy_pJ"]) for row in rows]) / macs
    predicted = (
        np.array([chip_costs(layer, KIB * TPU_LIKE_BUFFER_KB, TPU_LIKE).energy_pj for layer in layers]) / macs
    )
    compulsory = np.array([compulsory_bytes(layer, TPU_LIKE.precision) for layer in layers]) / macs
    design = {name: np.array([value]) for name, value in TPU_LIKE_DESIGN.items()}
    own = {
        name: LayerModel(layers, load_energy_table(name)).costs(design).energy_j[0] / macs
        for name in ("45nm", "45nm_banked")
    }
    return Order(
        names=tuple(row["wl"] for row in rows),
        predicted=tuple(predicted.tolist()),
        simulated=tuple(simulated.tolist()),
        spearman=_spearman(predicted, simulated),
        spearman_compulsory=_spearman(compulsory, simulated),
        spearman_45nm=_spearman(own["45nm"], simulated),
        spearman_45nm_banked=_spearman(own["45nm_banked"], simulated),
    )


def _gemm(row: Mapping[str, str]) -> Layer:
    return Layer.gemm("gemm", *(int(row[size]) for size in "MNK"))


@dataclass(frozen=True)
class ChipCosts:
    """A matrix multiplication on a chip.

    Attributes:
        energy_pj: energy, pJ.
        off_chip_reads, off_chip_writes: traffic of off-chip memory, bytes.
        reads, writes: traffic of the global buffer, bytes.
    """

    energy_pj: float
    off_chip_reads: float
    off_chip_writes: float
    reads: float
    writes: float


def chip_costs(layer: Layer, buffer_bytes: int, chip: Chip) -> ChipCosts:
    """A layer of one group on a chip without double buffering, with the best tile that fits.

    Raises:
        ValueError: no tile fits.
    """
    b, a = chip.precision.operand_bytes, chip.precision.accumulator_bytes
    tiles = curve(layer, chip.precision, False)
    place = int(np.searchsorted(tiles.need, buffer_bytes, side="right")) - 1
    if place < 0:
        raise ValueError(f"a buffer of {buffer_bytes} bytes holds no tile")
    tile = tiles[np.array([[place]])]
    array = Arrays(*(np.array([[size]]) for size in (chip.rows, chip.cols, chip.l1_bytes, b, a)))
    mapped = templates.TEMPLATES[chip.dataflow](array, columns((layer,)), tile)
    outputs = layer.shape[0] * layer.shape[1]
    spilled = a * outputs * (mapped.passes - 1)
    reads = b * (mapped.inputs + mapped.weights) + spilled + tile.writes
    writes = b * outputs + spilled + tile.reads
    dram_pj = tile.reads * chip.dram_read_pj + tile.writes * chip.dram_write_pj
    energy_pj = layer.macs * chip.mac_pj + reads * chip.read_pj + writes * chip.write_pj + dram_pj
    return ChipCosts(*(float(cost.item()) for cost in (energy_pj, tile.reads, tile.writes, reads, writes)))


def positive(text: str) -> float:
    """A positive number.

    Raises:
        ValueError: any other text.
    """
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(f"{text!r} is not a positive number")
    return value


def errors_of(predicted: Floats, simulated: Floats) -> Errors:
    """Errors of predictions, [N]."""
    relative = np.abs(predicted / simulated - 1)
    return Errors(
        len(relative), float(relative.mean()), float(relative.max()), _spearman(predicted, simulated)
    )


def _spearman(predicted: Floats, simulated: Floats) -> float:
    if len(predicted) < 2:
        return math.nan
    from scipy.stats import spearmanr

    return float(spearmanr(predicted, simulated).statistic)


# --- a folder of tables, and SCALE-Sim itself ---

RECORD = Path(__file__).parent / "records" / "accelerator_fidelity.json"
COMPARED: dict[str, Callable[[Rows], Any]] = {  # by name of the file
    "scalesim.csv": scalesim,
    "maestro.csv": maestro_,
    "accelforge_nvdla.csv": accelforge,
    "zigzag.csv": zigzag,
}
LIVE_RUNS = 12
LIVE_ARRAYS = (8, 16, 32)  # rows and columns, drawn independently
LIVE_SIZE = 200  # maximum of m, n and k: SCALE-Sim simulates every cycle


def compare(data: Path) -> dict[str, Any]:
    """Compare the model with the tables of a folder: plain values as in `RECORD`, by name of the file without
    its suffix.

    Raises:
        ArchGymError: a missing or invalid table.
    """
    missing = [name for name in COMPARED if not (data / name).is_file()]
    if missing:
        raise ArchGymError(f"{data} lacks {', '.join(missing)}; give the folder with {', '.join(COMPARED)}")
    found = {Path(name).stem: asdict(_compared(data / name, function)) for name, function in COMPARED.items()}
    return dict(json.loads(json.dumps(found)))  # keys become text, as in the record


def _compared(path: Path, function: Callable[[Rows], Any]) -> Any:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        return function(rows)
    except KeyError as error:
        raise ArchGymError(f"{path} has no column {error.args[0]!r}; give the complete table") from error
    except (ArchGymError, OSError, ValueError, TypeError, ArithmeticError, csv.Error) as error:
        raise ArchGymError(f"{path} is not a valid table: {error}") from error


def run_live(seed: int, progress: Progress = silent) -> list[dict[str, Any]]:
    """Run random matrix multiplications on random arrays in SCALE-Sim.

    Args:
        seed: seed for the random cases.
        progress: function of (current step, share done).

    Returns:
        Each case with its `cycles`, and the largest `difference` of cycles and accesses.

    Raises:
        ArchGymError: SCALE-Sim fails.
        SimulatorUnavailable: SCALE-Sim is not installed, or does not start.
    """
    from archgym.simulators.accelerator.backends.environments import python_of
    from archgym.simulators.accelerator.backends.session import Session

    rng, runs = np.random.default_rng(seed), []
    session = Session(python_of("scalesim"), "scalesim")
    try:
        for i in range(LIVE_RUNS):
            rows, cols = rng.choice(LIVE_ARRAYS, 2).tolist()
            m, n, k = rng.integers(1, LIVE_SIZE, 3, endpoint=True).tolist()
            case = {
                "dataflow": systolic.DATAFLOWS[i % len(systolic.DATAFLOWS)],
                "rows": rows,
                "cols": cols,
                "m": m,
                "n": n,
                "k": k,
            }
            progress("SCALE-Sim", i / LIVE_RUNS)
            ran = session.ask(case)
            simulated = [ran[name] for name in ("cycles", "ifmap_reads", "filter_reads", "ofmap_writes")]
            predicted = [systolic.cycles(**case), *systolic.sram_accesses(**case)]
            difference = max(abs(int(a) - int(b)) for a, b in zip(predicted, simulated, strict=True))
            runs.append({**case, "cycles": int(simulated[0]), "difference": difference})
    finally:
        session.close()
    return runs
