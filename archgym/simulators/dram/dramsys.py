"""The simulator DRAMSys 4.0, run once per design.

A run has its own folder, with the files that depend on the design and links to all other resources:

    FOLDER/simulation.json                              memory, trace, and the names of the two files below
    FOLDER/resources/configs/mcconfigs/archgym.json     the design: {"mcconfig": {"PagePolicy": "Open", ...}}
    FOLDER/resources/configs/simulator/archgym.json     options of the simulation and its output
    FOLDER/resources/...                                links

    EXECUTABLE FOLDER/simulation.json FOLDER/resources/

Four lines of its output are read, each with its unit; each must occur once:

    DRAMSys.controller0  Total Time:     54588750 ps
    DRAMSys.controller0  AVG BW:          93.79 Gb/s |  11.72 GB/s |  91.59 %
    DRAMSys.dram0  Total Energy:   161107650.00 pJ
    DRAMSys.dram0  Average Power:  2951.15 mW

The time has the largest unit that divides it exactly. Energy must equal power times time within 1 %, which a
misread unit would violate.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, SimulatorUnavailable, unknown
from archgym.processes.children import last_words, run
from archgym.simulator import Simulator, design_by_design
from archgym.simulators.dram.space import METRICS, SPACE, canonical
from archgym.simulators.dram.traces import trace_features
from archgym.space import Array, Indices

MEMORY = {
    "addressmapping": "am_ddr3_8x1Gbx8_dimm_p1KB_rbc.json",
    "memspec": "MICRON_1Gb_DDR3-1600_8bit_G.json",
}
CLOCK_MHZ = 800
FIXED = {"CmdMux": "Oldest", "PowerDownPolicy": "NoPowerDown"}  # constant options of the controller
SIMULATION = {
    "AddressOffset": 0,
    "CheckTLM2Protocol": False,
    "DatabaseRecording": False,  # would write every transaction to disk
    "Debug": False,
    "ECCControllerMode": "Disabled",
    "EnableWindowing": False,
    "ErrorCSVFile": "",
    "ErrorChipSeed": 42,
    "PowerAnalysis": True,  # without it, no energy and no power
    "SimulationName": "archgym",
    "SimulationProgressBar": False,
    "StoreMode": "NoStorage",
    "ThermalSimulation": False,
    "UseMalloc": False,
    "WindowSize": 1000,
}

TIMES = {"fs": "1e-15", "ps": "1e-12", "ns": "1e-9", "us": "1e-6", "ms": "1e-3", "s": "1"}
ENERGIES = {"fJ": "1e-15", "pJ": "1e-12", "nJ": "1e-9", "uJ": "1e-6", "mJ": "1e-3", "J": "1"}
POWERS = {"uW": "1e-6", "mW": "1e-3", "W": "1"}
BANDWIDTHS = {"Mb/s": "125e3", "Gb/s": "125e6", "MB/s": "1e6", "GB/s": "1e9"}
LINES = {  # metric -> label of its line, and units in SI
    "latency_s": ("Total Time", TIMES),
    "energy_j": ("Total Energy", ENERGIES),
    "power_w": ("Average Power", POWERS),
    "bandwidth_bytes_s": ("AVG BW", BANDWIDTHS),
}
NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?)\s*([a-z]\S*)", re.IGNORECASE)
# relative difference of energy and power times time; 0.0013 over the complete grid of cloud-1
TOLERANCE = 0.01


class DramSys(Simulator):
    """DRAMSys 4.0, run for every design; designs whose run fails are infeasible, with the reason.

    Repeated runs are bit-identical. A run uses one core; `Parallel(DramSys(...), workers=N)` uses N.

    Args:
        executable: path of the DRAMSys program.
        resources: path of its folder `DRAMSys/library/resources` with configs and traces.
        trace: name of a file in `resources/traces`, without the suffix .stl.
        timeout_s: time limit of one run, seconds; then the run and all that it started are killed.

    Raises:
        ArchGymError: a missing program, folder or trace; a time limit that is not positive.
    """

    identity = "archgym.simulators.dram.dramsys:DramSys"

    space = SPACE
    metrics = METRICS

    def __init__(
        self,
        executable: str | os.PathLike[str],
        resources: str | os.PathLike[str],
        trace: str = "cloud-1",
        timeout_s: float = 60.0,
    ):
        self.executable, self.resources = (
            Path(executable).expanduser().absolute(),
            Path(resources).expanduser().absolute(),
        )
        self.trace, self.timeout_s = trace, timeout_s
        if not os.access(self.executable, os.X_OK) or self.executable.is_dir():
            raise ArchGymError(
                f"{self.executable} is not a program; give the path of DRAMSys 4.0 as executable="
            )
        if not timeout_s > 0:
            raise ArchGymError(f"timeout_s must be positive, not {timeout_s!r}")
        for file in (
            f"configs/amconfigs/{MEMORY['addressmapping']}",
            f"configs/memspecs/{MEMORY['memspec']}",
        ):
            if not (self.resources / file).is_file():
                raise ArchGymError(
                    f"{self.resources} has no {file}; give DRAMSys 4.0's folder DRAMSys/library/resources as "
                    "resources="
                )
        traces = {path.stem: path for path in sorted((self.resources / "traces").glob("*.stl"))}
        if trace not in traces:
            raise unknown(f"trace of {self.resources / 'traces'}", trace, traces)
        self._digest = hashlib.sha256(self.executable.read_bytes() + traces[trace].read_bytes()).hexdigest()[
            :16
        ]

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Simulate designs one after the other: int64 [B, 10] in, columns [B] out, with `failure` if any run
        failed.

        Raises:
            SimulatorUnavailable: the program cannot be started.
        """
        return design_by_design(self, indices, self.run)

    def canonical(self, indices: Indices) -> Indices:
        """Set the refresh bounds of designs without refreshes to their first value: [B, 10] -> [B, 10]."""
        return canonical(indices)

    def context_features(self) -> dict[str, float]:
        """Statistics of the trace (`trace_features`)."""
        return trace_features(self.resources / "traces" / f"{self.trace}.stl")

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, and a digest of the program and the trace."""
        return {**super().specification, "digest": self._digest}

    def run(self, design: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of one design, in the order of `METRICS`.

        Raises:
            ArchGymError: the run failed, exceeded the time limit, or printed invalid output.
            SimulatorUnavailable: the program cannot be started.
        """
        with tempfile.TemporaryDirectory(prefix="archgym-dramsys-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            self._configure(folder, design)
            return parse(self._output(folder))

    def _configure(self, folder: Path, design: Mapping[str, Any]) -> None:
        """Write the files of a run and the links to all others."""
        ours = folder / "resources"
        for part in ("", "configs", "configs/mcconfigs", "configs/simulator"):
            (ours / part).mkdir()
        for part in ("", "configs"):
            for theirs in (self.resources / part).iterdir():
                if not (ours / part / theirs.name).exists():
                    (ours / part / theirs.name).symlink_to(theirs)
        controller = {
            "".join(word.capitalize() for word in name.split("_")): value for name, value in design.items()
        }
        simulation = {
            **MEMORY,
            "mcconfig": "archgym.json",
            "simconfig": "archgym.json",
            "simulationid": "archgym",
            "tracesetup": [{"clkMhz": CLOCK_MHZ, "name": f"{self.trace}.stl"}],
        }
        # older versions read it even without thermal simulation
        if (self.resources / "configs/thermalsim/config.json").is_file():
            simulation["thermalconfig"] = "config.json"
        (ours / "configs/mcconfigs/archgym.json").write_text(
            json.dumps({"mcconfig": {**controller, **FIXED}})
        )
        (ours / "configs/simulator/archgym.json").write_text(json.dumps({"simconfig": SIMULATION}))
        (folder / "simulation.json").write_text(json.dumps({"simulation": simulation}))

    def _output(self, folder: Path) -> str:
        """The output of a run."""
        command = [str(self.executable), str(folder / "simulation.json"), f"{folder / 'resources'}{os.sep}"]
        try:
            ending = run(command, self.timeout_s, cwd=folder)
        except OSError as error:
            raise SimulatorUnavailable(f"{self.executable} cannot be started: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise ArchGymError(
                f"DRAMSys was killed after {self.timeout_s:g} s: raise timeout_s if the trace needs longer"
            ) from None
        if ending.code:
            raise ArchGymError(f"DRAMSys {ending}: {last_words(ending.text) or 'it printed nothing'}")
        return ending.text


def parse(output: str) -> dict[str, float]:
    """The metrics in a run's output, in SI units.

    Raises:
        ArchGymError: a missing, repeated or invalid line, or an energy that is not power times time.
    """
    metrics = {metric.name: _read(output, *LINES[metric.name]) for metric in METRICS}
    energy, expected = metrics["energy_j"], metrics["power_w"] * metrics["latency_s"]
    if not abs(energy - expected) <= TOLERANCE * energy or not energy:
        raise ArchGymError(
            f"DRAMSys printed an energy of {energy:g} J, but power x time is {expected:g} J; is this DRAMSys "
            "4.0 with one memory channel?"
        )
    return metrics


def _read(output: str, label: str, units: Mapping[str, str]) -> float:
    """The number after a label, in SI units, rounded once to a float."""
    found = [line.partition(f"{label}:")[2] for line in output.splitlines() if f"{label}:" in line]
    if len(found) != 1:
        raise ArchGymError(
            f"expected exactly one line with {label!r} in DRAMSys's output, found {len(found) or 'none'}; is "
            "this DRAMSys 4.0 with one memory channel?"
        )
    match = NUMBER_AND_UNIT.match(found[0])
    if match is None:
        raise ArchGymError(
            f"DRAMSys printed {label!r} as {found[0].strip()!r}, which is not a number with a unit"
        )
    number, unit = match.groups()
    if unit not in units:
        raise unknown(f"unit of what DRAMSys printed as {label!r}", unit, units)
    return float(Decimal(number) * Decimal(units[unit]))
