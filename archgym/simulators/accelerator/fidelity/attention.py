"""The closed forms of attention accelerators compared with the published tables of FuseMax (MICRO 2024).

The tables are in the artifact of Nayak et al., and not shipped: a csv file per design, 4 models times 6
lengths. `compare` computes the largest relative differences of latency and traffic per form, and the paper's
results: the speed-up of FuseMax over FLAT and its energy as a share of FLAT's, both from the tables alone.
`RECORD` has its result on the published tables.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError
from archgym.simulators.accelerator import fusemax as forms
from archgym.simulators.accelerator.fidelity.accelerator import positive
from archgym.simulators.accelerator.fusemax import CLOCK_HZ, LENGTHS, MODELS, Attention, Floats

RECORD = Path(__file__).parent / "records" / "attention.json"
PLACEMENTS = "flat_validation.csv"  # places of FLAT's operands
ROWS = [(model, length) for model in MODELS for length in LENGTHS]
FORMS = {  # file without suffix -> design
    "attn-binding": "FuseMax",
    "attn-arch": "FuseMax, not interleaved",
    "attn-cascade": "one pass on FLAT's hardware",
    "attn-flat": "FLAT",
}
FILES = (*(f"{name}.csv" for name in FORMS), PLACEMENTS)


def compare(data: Path) -> dict[str, Any]:
    """Compare the closed forms with the tables of a folder: plain numbers as in `RECORD`.

    Args:
        data: folder of the tables, or the folder above fusemax/.

    Returns:
        `forms`: per file, `rows` and the largest relative differences `latency` and `traffic`; `speed_up` and
        `energy`: per model, the ratio at each length; `speed_up_by_the_forms`: mean speed-up by the latencies
        of the closed forms.

    Raises:
        ArchGymError: a missing or invalid table.
    """
    folder = data / "fusemax" if (data / "fusemax").is_dir() else data
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ArchGymError(
            f"{folder} lacks {', '.join(missing)}; give the folder with {', '.join(FILES)} of FuseMax's "
            "artifact"
        )
    tables = {
        name: _read(folder / f"{name}.csv", ("model", "seq_len"), ("latency", "traffic", "energy"), positive)
        for name in FORMS
    }
    placements = _read_placements(folder / PLACEMENTS)
    workload = Attention(
        *(
            np.array(sizes)
            for sizes in zip(*(Attention.of_model(m, LENGTHS[n]) for m, n in ROWS), strict=True)
        )
    )

    flat_bytes = forms.flat_bytes(workload, **placements)
    predicted: dict[str, tuple[Floats, Floats]] = {
        "attn-binding": (forms.fusemax_cycles(workload) / CLOCK_HZ, forms.fusemax_bytes(workload)),
        "attn-arch": (
            forms.fusemax_cycles(workload, interleaved=False) / CLOCK_HZ,
            forms.fusemax_bytes(workload),
        ),
        "attn-cascade": (
            forms.one_pass_on_flat_cycles(workload) / CLOCK_HZ,
            forms.one_pass_on_flat_bytes(workload),
        ),
        "attn-flat": (forms.flat_latency_s(workload, flat_bytes), flat_bytes),
    }
    fusemax, flat = tables["attn-binding"], tables["attn-flat"]
    return {
        "forms": {
            name: {
                "rows": len(ROWS),
                "latency": _largest_difference(latency, tables[name]["latency"]),
                "traffic": _largest_difference(traffic, tables[name]["traffic"]),
            }
            for name, (latency, traffic) in predicted.items()
        },
        "speed_up": _by_model(flat["latency"] / fusemax["latency"]),
        "speed_up_by_the_forms": float(np.mean(predicted["attn-flat"][0] / predicted["attn-binding"][0])),
        "energy": _by_model(fusemax["energy"] / flat["energy"]),
    }


def _read(
    path: Path, keys: tuple[str, str], columns: tuple[str, ...], number: Callable[[str], float]
) -> dict[str, Floats]:
    """Columns of a table, [24] each in the order of `ROWS`.

    Raises:
        ArchGymError: a missing column or row, or a cell that `number` refuses.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = {
                (row[keys[0]], row[keys[1]]): row
                for row in csv.DictReader(file)
                if row.get("platform", "cloud") == "cloud"
            }
        found = {column: np.array([number(rows[key][column]) for key in ROWS]) for column in columns}
    except KeyError as error:
        wanted = ", ".join([*keys, *columns])
        raise ArchGymError(
            f"{path} has no {error.args[0]!r}; give FuseMax's table with columns {wanted} and a row per "
            "model and length"
        ) from error
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise ArchGymError(
            f"{path} is not one of FuseMax's tables ({error}); give {', '.join(FILES)} as its artifact has "
            "them"
        ) from error
    return found


def _read_placements(path: Path) -> dict[str, Any]:
    """Arguments of `flat_bytes`, [24] each."""
    keys = ("models", "seq_len")
    where = _read(path, keys, ("Q_loc", "K_loc", "V_loc", "QK_loc"), _is_off_chip)
    return {
        "queries_off_chip": where["Q_loc"].astype(bool),
        "keys_off_chip": where["K_loc"].astype(bool),
        "values_off_chip": where["V_loc"].astype(bool),
        "scores_off_chip": where["QK_loc"].astype(bool),
        "spilled": _read(path, keys, ("proportion_spilled",), _share)["proportion_spilled"],
        "block": _read(path, keys, ("P1",), positive)["P1"],
    }


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not a share from 0 to 1")
    return value


def _is_off_chip(text: str) -> float:
    if text not in ("offchip", "onchip"):
        raise ValueError(f"{text!r} is neither offchip nor onchip")
    return float(text == "offchip")


def _largest_difference(predicted: Floats, published: Floats) -> float:
    return float(np.abs(predicted / published - 1).max())


def _by_model(ratios: Floats) -> dict[str, list[float]]:
    return {model: each.tolist() for model, each in zip(MODELS, ratios.reshape(len(MODELS), -1), strict=True)}
