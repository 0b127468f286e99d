"""archgym/DramController-v0: set up the controller of a DRAM for low latency or low power on a trace of
requests.

## Description
A memory controller orders requests, opens and closes rows, and refreshes, which determines the time and
energy of a trace. By default results come from a table of all designs on the trace cloud-1, made with the
cycle-level simulator DRAMSys 4.0 (DDR3-1600, 10,000 requests). With `backend="model"` an event model of that
controller takes any trace: a file in DRAMSys' .stl form, or a generated one by name, such as
"random:writes=0.3" (`archgym trace` lists and describes them). With `backend="dramsys"`, `executable=` and
`resources=`, DRAMSys runs for every design, about 0.1 s each.

This is the first environment of ArchGym (Krishnan et al., ISCA 2023) with corrected units: the simulator
prints latencies in ns or ps, and the published environment ignored the unit.

## Action Space
`MultiDiscrete([4, 3, 3, 8, 2, 2, 4, 4, 3, 8])`: 442,368 designs, all feasible. 235,008 differ, since designs
without refreshes ignore their bounds.

| Num | Parameter | Values | Meaning |
|---|---|---|---|
| 0 | page_policy | Open, OpenAdaptive, Closed, ClosedAdaptive | time of closing a row |
| 1 | scheduler | Fifo, FrFcfsGrp, FrFcfs | order of requests in the buffer |
| 2 | scheduler_buffer | Bankwise, ReadWrite, Shared | granularity of request buffers |
| 3 | request_buffer_size | 1, 2, 4, ..., 128 | requests per buffer |
| 4 | resp_queue | Fifo, Reorder | order of responses |
| 5 | refresh_policy | NoRefresh, AllBank | refreshes of rows |
| 6 | refresh_max_postponed | 1, 2, 4, 8 | maximum of late refreshes |
| 7 | refresh_max_pulledin | 1, 2, 4, 8 | maximum of early refreshes |
| 8 | arbiter | Simple, Fifo, Reorder | arbiter between initiators and channels |
| 9 | max_active_transactions | 1, 2, 4, ..., 128 | maximum requests in flight |

## Observation Space
`Box`, float32: log(metric / reference) of the last design, then its feasibility. Metrics:

| Num | Metric | Unit | Better |
|---|---|---|---|
| 0 | latency_s: total time of the trace | s | lower |
| 1 | energy_j: total energy of the trace | J | lower |
| 2 | power_w: average power | W | lower |
| 3 | bandwidth_bytes_s: average bandwidth | B/s | higher |

## Rewards
By `goal`, with references near the medians of cloud-1 (115 us, 195 uJ, 1.8 W):

| goal | Reward |
|---|---|
| low_latency | -log(latency / reference) |
| low_power | -log(power / reference) |
| both | the sum of these: -log of energy, within 0.13 % |
| edp | -log(energy / reference) - log(latency / reference) |

Low latency is the default as the purpose of a controller: a slow one has low power, but high energy.

`form="archgym"` has the published rewards, T / abs(x - T) for a target T, or the product of two for "both",
on the corrected metrics (presets `archgym_latency`, `archgym_power` and `archgym_both`). They penalise
designs better than the target like worse ones, and the best design is the one closest to an arbitrary target:
rewards of 1 are common, the best are 2,105, 70 and 2,389. `time_unit="dropped"` gives the latencies and
rewards of the published environment.

## Starting State
Observation of zeros.

## Episode End
After one design (`horizon=1`), or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| trace | str or path | "cloud-1" | name of a table (`archgym.simulators.dram.list_traces()`); for "model" a \
path or the name of a generated trace; for "dramsys" the name of a file in `resources` |
| backend | str | "table" | source of results: "table", "model", or "dramsys" for a run per design |
| executable | path or None | None | DRAMSys program, for "dramsys" |
| resources | path or None | None | folder DRAMSys/library/resources, for "dramsys" |
| time_unit | str | "printed" | unit of latencies; "dropped" for the published wrong ones (docs/dram.md) |
| timeout_s | float | 60.0 | time limit of one run, seconds, for "dramsys" |
| workers | int | 1 | number of runs at once, for "dramsys" and "model" |
| memory | str, path or None | None | memory for "model": a name or a JSON file; None: DDR3-1600 |
| engine | str | "auto" | how "model" runs: "c", "python" (slow), or "auto", the first that works |
| goal | str | "low_latency" | rewarded metrics, as above |
| form | str | "log" | form of the rewards; "archgym" for the published ones |
| target_power_w | float | 1.0 | target for form="archgym", W |
| target_latency_s | float | 1e-4 | target for form="archgym", s |

## Contexts
| Set | Contexts | Features that differ |
|---|---|---|
| traces | 30 generated traces of 2,000 requests, grouped by kind | requests, rows, banks, hits, writes, ... |

Features of a context are statistics of its trace (`archgym.simulators.dram.statistics.features`), with
"dramsys" the first six of them; with "table" they are the arguments. The set comes with its exact optima by
the model, found by `python -m archgym.envs.contexts.dram_controller`.

## Known optimum
Exact for every objective, from the table. On cloud-1, of the distinct designs, 160 tie for the lowest
latency, 576 others for the lowest power, and 160 others for both and for edp. With "model" by enumeration in
a minute, `archgym optimum archgym/DramController-v0 --set backend=model --set trace=...`; or `archgym trace
NAME --table` makes the table of a trace. Unknown with "dramsys", where `archgym optimum` would run every
design.

## Version History
- v0: first version.
"""

from __future__ import annotations

import os

from archgym.errors import ArchGymError, unknown
from archgym.objective import Minimize, Objective, Target
from archgym.registry import register_env
from archgym.simulator import Simulator
from archgym.simulator_wrappers.parallel import Parallel
from archgym.simulators.dram import DEFAULT_MEMORY, ControllerModel, DramController, DramSys, list_traces
from archgym.simulators.dram.generators import list_generators
from archgym.simulators.dram.traces import Trace, is_trace

GOALS = {
    "low_latency": ("latency_s",),
    "low_power": ("power_w",),
    "both": ("power_w", "latency_s"),
    "edp": ("energy_j", "latency_s"),
}
BACKENDS = ("table", "model", "dramsys")
REFERENCE = {"latency_s": 115e-6, "energy_j": 195e-6, "power_w": 1.8, "bandwidth_bytes_s": 5.6e9}


def dram_controller(
    trace: str | os.PathLike[str] | Trace = "cloud-1",
    time_unit: str = "printed",
    backend: str = "table",
    executable: str | os.PathLike[str] | None = None,
    resources: str | os.PathLike[str] | None = None,
    timeout_s: float = 60.0,
    workers: int = 1,
    memory: str | os.PathLike[str] | None = None,
    engine: str = "auto",
) -> Simulator:
    """Controllers on one trace, from a table, a model, or run by DRAMSys."""
    if backend not in BACKENDS:
        raise unknown("backend of archgym/DramController-v0", backend, BACKENDS)
    if backend != "dramsys" and (executable is not None or resources is not None):
        raise ArchGymError(
            f"executable and resources go with backend='dramsys'; backend={backend!r} runs no program"
        )
    if backend != "table" and time_unit != "printed":
        raise ArchGymError(
            f"time_unit='dropped' goes with backend='table'; backend={backend!r} has correct units"
        )
    if backend != "model" and (memory is not None or engine != "auto"):
        raise ArchGymError("memory and engine go with backend='model'")
    if backend == "table":
        _check_table(trace)
        return DramController(str(trace), time_unit)
    if backend == "model":
        if trace in list_traces() and not is_trace(str(trace)):
            raise ArchGymError(
                f"the table of {trace} is here, but not its requests: give trace=, the path of an .stl file "
                "or the name of a generated trace (archgym trace), or use backend='table'"
            )
        model = ControllerModel(trace, DEFAULT_MEMORY if memory is None else memory, engine)
        return model if workers == 1 else Parallel(model, workers=workers)
    if executable is None or resources is None:
        raise ArchGymError(
            "backend='dramsys' needs executable=, the path of DRAMSys 4.0, and resources=, the path of its "
            "folder DRAMSys/library/resources"
        )
    simulator = DramSys(executable, resources, str(trace), timeout_s)
    return simulator if workers == 1 else Parallel(simulator, workers=workers)


def _check_table(trace: object) -> None:
    """Refuse a trace without a table that the model takes."""
    if trace in (tables := list_traces()):
        return
    if isinstance(trace, (Trace, os.PathLike)) or (isinstance(trace, str) and is_trace(trace)):
        name = trace.name if isinstance(trace, Trace) else str(trace)
        raise ArchGymError(
            f"the trace {name!r} has no table (there are {', '.join(tables)}); use backend='model', or make "
            f"its table: archgym trace {name} --table"
        )
    if isinstance(trace, str):
        raise unknown("trace", trace, [*tables, *list_generators()])


def objective(
    simulator: Simulator,
    *,
    goal: str = "low_latency",
    form: str = "log",
    target_power_w: float = 1.0,
    target_latency_s: float = 1e-4,
) -> Objective:
    """The minimum of a goal's metrics, or their closeness to targets in the published form."""
    if goal not in GOALS:
        raise unknown("goal of archgym/DramController-v0", goal, GOALS)
    if form == "log":
        return Objective(*(Minimize(name) for name in GOALS[goal]), reference=REFERENCE)
    if form != "archgym":
        raise unknown("form of archgym/DramController-v0", form, ["log", "archgym"])
    targets = {"power_w": target_power_w, "latency_s": target_latency_s}
    if not set(GOALS[goal]) <= set(targets):
        raise ArchGymError(
            f"goal={goal!r} has no published target; with form='archgym' use low_latency, low_power or both"
        )
    return Objective(
        *(Target(name, targets[name]) for name in GOALS[goal]), reference=REFERENCE, form="archgym"
    )


register_env(
    "archgym/DramController-v0",
    simulator="archgym.envs.dram_controller:dram_controller",
    objective="archgym.envs.dram_controller:objective",
    presets={
        **{name: {"backend": "model", "trace": name} for name in list_generators()},
        "archgym_latency": {"goal": "low_latency", "form": "archgym"},
        "archgym_power": {"goal": "low_power", "form": "archgym"},
        "archgym_both": {"goal": "both", "form": "archgym"},
    },
    contexts={"traces": "archgym.envs.contexts.dram_controller:traces"},
)
