"""A DRAM controller on any trace: an event model of DRAMSys 4.0's controller.

In clock cycles of the memory, with one command a cycle:

    player      sends the next request one cycle after the last was taken, not before its cycle in the trace
    arbiter     Simple passes a request on, and the player waits until the controller takes it; Fifo and
                Reorder take requests at once while fewer than max_active_transactions are active, hand one on
                and one back per cycle, Reorder in the order of the trace
    buffer      takes a request while it has room: Shared counts all, ReadWrite reads and writes apart (both
                must have room), Bankwise those to the bank of the request that it took last
    scheduler   Fifo takes a bank's oldest request, FrFcfs the oldest to its open row, FrFcfsGrp of these one
                of the last command's kind that overtakes none to its address
    pages       auto-precharge: Closed always, OpenAdaptive when others wait and none is to the row,
                ClosedAdaptive unless one is to the row
    commands    each bank proposes ACT, RD, WR or PRE at the earliest cycle that its timing allows; of the
                earliest, that of the oldest request is issued
    responses   RL + burst or WL + burst after the command, one per cycle; Fifo in order of the commands,
                Reorder of the requests
    refreshes   every REFI all banks at once; a busy controller postpones up to refresh_max_postponed of them,
                then banks finish what they proposed, PREAB closes them and REFAB follows; when idle,
                up to refresh_max_pulledin are carried out ahead of time

Timing is that of DDR3 (JESD79-3): WR -> RD WL + burst + WTR, RD -> WR RL + burst + 2 - WL, WR -> PRE
WL + burst + WR, RDA and WRA precharge by themselves, four ACT in FAW.

Energy is DRAMPower's (Chandrasekar et al., "DRAMPower", 2012), for all chips, with times in s:

    E = V [ IDD3N t_active + IDD2N t_precharged + (IDD0 - IDD3N) RAS N_ACT + (IDD0 - IDD2N) (RC - RAS) N_PRE
          + (IDD4R - IDD3N) burst N_RD + (IDD4W - IDD3N) burst N_WR + (IDD5 - IDD3N) RFC N_REF ]

until the last command is complete; power is energy by this time, bandwidth is data by the time of the last
response.

Requests may come in the very cycle of a command; which is first follows the order of events in SystemC's
kernel (`c/controller.c`). The model is that of DRAMSys 4.0 of May 2021, which made the table of cloud-1:
later versions take back what banks have proposed when a refresh is forced, and hand requests on a round
later. On cloud-1 time, energy and power equal DRAMSys' for each of the 235,008 designs; on its traces
cloud-2, stream and ddr3_example in 120 of 120 runs; on 54 random traces with reads and writes, time in 536 of
536 runs and energy in 535.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from archgym.simulator import Simulator
from archgym.simulators.compiler import choose_engine
from archgym.simulators.dram.engines import (
    DESIGN,
    OUTCOME,
    Designs,
    Outcomes,
    Requests,
    compiled,
    simulate_compiled,
)
from archgym.simulators.dram.interpreted import simulate_interpreted
from archgym.simulators.dram.memories import DEFAULT_MEMORY, Memory, load_memory
from archgym.simulators.dram.merging import CATEGORIES, Answers, representatives
from archgym.simulators.dram.space import METRICS, SPACE
from archgym.simulators.dram.statistics import features
from archgym.simulators.dram.traces import Trace, load_trace
from archgym.space import Array, Indices

MODEL = 2  # version of the model, which its results depend on


class ControllerModel(Simulator):
    """The event model; designs that cannot differ are simulated once.

    Args:
        trace: path of a trace in .stl form, name of a generated one, or a `Trace`.
        memory: name from `list_memories()`, path of a JSON file, or a `Memory`.
        engine: "c", compiled on this machine; "python", with equal results, some 150 times slower; "auto",
            the first that works.

    Raises:
        ArchGymError: an unknown trace, memory or engine, an invalid file, an address beyond the memory.
        CompilerError: engine "c" where no C compiler works.
    """

    identity = "archgym.simulators.dram.controller:ControllerModel"

    space = SPACE
    metrics = METRICS

    def __init__(
        self,
        trace: str | os.PathLike[str] | Trace = "random",
        memory: str | os.PathLike[str] | Memory = DEFAULT_MEMORY,
        engine: str = "auto",
    ):
        self.memory = load_memory(memory)
        self.trace = load_trace(trace, self.memory.capacity)
        self.engine = choose_engine("ControllerModel", engine, compiled)
        self.requests = Requests.of(self.trace, self.memory)
        self._answers = Answers(self._simulate, self.requests.mixed)

    @property
    def simulated(self) -> int:
        """Number of simulations so far, which answer for all designs evaluated."""
        return self._answers.simulated

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_answers": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        wanted = "auto" if self.engine == "c" else self.engine  # another machine, perhaps
        self.engine = choose_engine("ControllerModel", wanted, compiled)
        self._answers = Answers(self._simulate, self.requests.mixed)

    def _simulate(self, designs: Designs) -> Outcomes:
        simulate = simulate_compiled if self.engine == "c" else simulate_interpreted
        return simulate(self.requests, designs)

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Simulate designs: int64 [B, 10] in, columns [B] out; all feasible."""
        unique, inverse = np.unique(self.canonical(indices), axis=0, return_inverse=True)
        values = self.space.decode(unique)
        columns = [
            unique[:, self.space.names.index(name)] if name in CATEGORIES else values[name] for name in DESIGN
        ]
        outcomes = self._answers.outcomes(np.stack(columns, axis=1).astype(np.int32))
        found = self._metrics(outcomes[inverse.reshape(-1)])
        return {**found, "feasible": np.ones(len(indices), bool)}

    def _metrics(self, outcomes: Outcomes) -> dict[str, Array]:
        """The metrics of outcomes [B, 19], [B] each."""
        memory, count = self.memory, dict(zip(OUTCOME, outcomes.T, strict=True))
        cycles, ma, writes = memory.cycles, memory.milliamperes, int(self.trace.write.sum())
        reads = len(self.trace) - writes
        period_ns = 1e3 / memory.clock_mhz
        # mA x cycles; x V x ns = pJ
        charge = (
            ma["IDD3N"] * (count["window"] - count["precharged"])
            + ma["IDD2N"] * count["precharged"]
            + (ma["IDD0"] - ma["IDD3N"]) * cycles["RAS"] * count["activations"]
            + (ma["IDD0"] - ma["IDD2N"]) * (cycles["RC"] - cycles["RAS"]) * count["precharges"]
            + (ma["IDD4R"] - ma["IDD3N"]) * memory.burst * reads
            + (ma["IDD4W"] - ma["IDD3N"]) * memory.burst * writes
            + (ma["IDD5"] - ma["IDD3N"]) * cycles["RFC"] * count["refreshes"]
        )
        energy_pj = charge * memory.volts * memory.chips * period_ns
        latency_s = count["end"] * (1e6 / memory.clock_mhz) / 1e12
        return {
            "latency_s": latency_s,
            "energy_j": energy_pj / 1e12,
            "power_w": energy_pj / (count["window"] * period_ns) / 1e3,
            "bandwidth_bytes_s": memory.request_bytes * len(self.trace) / latency_s,
        }

    def canonical(self, indices: Indices) -> Indices:
        """The design that stands for all that cannot differ from it on this trace: [B, 10] -> [B, 10]."""
        return representatives(indices, self.requests.mixed)

    def context_features(self) -> dict[str, float]:
        """Statistics of the trace (`archgym.simulators.dram.statistics.features`)."""
        return features(self.trace)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments but the engine, digests of trace and memory, and the model's version."""
        return {
            "simulator": type(self).identity,
            "trace": self.trace.name,
            "memory": self.memory.name,
            "digests": {"trace": self.trace.digest, "memory": self.memory.digest},
            "model": MODEL,
        }
