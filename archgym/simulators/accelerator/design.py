"""The design space of one accelerator: an array of processing elements (PEs), its memories, and the dataflow.

Dataflows have the names of the chips that introduced them, or of SCALE-Sim's systolic arrays:

    nvdla         weights stay; rows take channels, columns take filters (NVDLA)
    shidiannao    outputs stay; rows and columns take output pixels (ShiDianNao, Du et al., 2015)
    eyeriss       rows of the kernel stay; rows take kernel rows and channels, columns take output rows
                  (Eyeriss, Chen et al., 2016)
    systolic_ws   weights stay, inputs and partial sums are pumped through the array (TPU)
    systolic_os   outputs stay, inputs and weights are pumped
    systolic_is   inputs stay, weights and partial sums are pumped
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archgym.errors import ArchGymError, unknown
from archgym.simulator import Metric
from archgym.space import Categorical, DesignSpace, Ordinal

DATAFLOWS = ("nvdla", "shidiannao", "eyeriss", "systolic_ws", "systolic_os", "systolic_is")


@dataclass(frozen=True)
class Precision:
    """Bytes of an operand and of a partial sum."""

    operand_bytes: int
    accumulator_bytes: int


# fp16 stands for bf16 too
PRECISIONS = {"int8": Precision(1, 4), "fp16": Precision(2, 4), "fp32": Precision(4, 4)}

KIB = 1024  # bytes

_METRICS = (
    Metric("latency_s", "s", "lower"),
    Metric("cycles", "1", "lower"),
    Metric("energy_j", "J", "lower"),
    Metric("area_mm2", "mm2", "lower"),
    Metric("edp", "J s", "lower"),
    Metric("power_w", "W", "lower"),
    Metric("utilization", "1", "higher"),
    Metric("dram_bytes", "B", "lower"),
    Metric("compute_cycles", "1", "lower"),
    Metric("bound", "1"),
)


def select_metrics(*names: str) -> tuple[Metric, ...]:
    """The metrics of these names, which all simulators of accelerators share."""
    by_name = {metric.name: metric for metric in _METRICS}
    return tuple(by_name[name] for name in names)


def accelerator_space(fixed: Mapping[str, Any] | None = None) -> DesignSpace:
    """14,696,640 accelerators: the parameters of `archgym/Accelerator-v0` and of its backends.

    Args:
        fixed: parameters to hold constant, e.g. {"precision": "fp16"}.

    Raises:
        ArchGymError: an unknown parameter, or a value that is not one of its values.
    """
    return fix(
        DesignSpace(
            [
                Categorical("dataflow", DATAFLOWS),
                Ordinal("rows", [8, 16, 32, 64, 128, 256], default=16),
                Ordinal("cols", [8, 16, 32, 64, 128, 256], default=16),
                Ordinal("l1_bytes", [32, 64, 128, 256, 512, 1024], default=256),
                Ordinal("buffer_kb", [16, 32, 64, 128, 256, 512, 1024, 2048, 4096], default=128),
                Ordinal("noc_bytes_per_cycle", [16, 32, 64, 128, 256, 512], default=64),
                Ordinal("dram_gb_s", [4, 8, 16, 32, 64, 128, 256], default=16),
                Categorical("precision", list(PRECISIONS)),
                Categorical("double_buffering", [False, True], default=True),
                Ordinal("clock_mhz", [200, 400, 600, 800, 1000], default=800),
            ]
        ),
        fixed or {},
    )


def fix(space: DesignSpace, fixed: Mapping[str, Any]) -> DesignSpace:
    """The space with some parameters held constant.

    Raises:
        ArchGymError: an unknown parameter, or a value that is not one of its values.
    """
    if not isinstance(fixed, Mapping):
        raise ArchGymError(
            f'fixed must be a mapping of parameters to values, such as {{"precision": "fp16"}}, not {fixed!r}'
        )
    chosen = {}
    for name, value in fixed.items():
        if name not in space.names:
            raise unknown("parameter", name, space.names)
        values = space[name].grid.tolist()
        if value not in values:
            raise unknown(f"value of {name}", value, values)
        chosen[name] = Categorical(name, [values[values.index(value)]])
    return DesignSpace([chosen.get(p.name, p) for p in space])
