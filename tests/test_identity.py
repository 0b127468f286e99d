"""Names that stored results hang on: identifiers of runs, and the identity of classes. They never change,
wherever the code moves.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil

import pytest

import archgym
from archgym import Simulator
from archgym.study.design import Study
from archgym.values import identity_of, load

RUNS = {  # study: number of runs, SHA-256 of their identifiers
    "archgym-2023": (8280, "c1acd9b9e9d4d713"),
    "fronts": (1600, "a87b76715c098974"),
    "joint-search": (640, "12b9701ea636a6e4"),
    "lottery-v1": (21600, "fb7acf67ce829d12"),
    "multi-agent": (2688, "abee19e0da006e1c"),
    "quick": (960, "636c8d13a116eefc"),
}
SIMULATORS = {
    "archgym.proxy.simulator:ProxySimulator",
    "archgym.remote:RemoteSimulator",
    "archgym.simulator_wrappers:Cached",
    "archgym.simulator_wrappers:Noisy",
    "archgym.simulator_wrappers:StoredTable",
    "archgym.simulator_wrappers:Tabulated",
    "archgym.simulators.accelerator.attention:AttentionAccelerator",
    "archgym.simulators.accelerator.backends.accelforge:AccelForge",
    "archgym.simulators.accelerator.backends.scalesim:ScaleSim",
    "archgym.simulators.accelerator.backends.zigzag:ZigZag",
    "archgym.simulators.accelerator.heterogeneous:HeterogeneousAccelerator",
    "archgym.simulators.accelerator.model:Accelerator",
    "archgym.simulators.cnn.growth.grown:GrownCnn",
    "archgym.simulators.cnn.live:TrainedCnn",
    "archgym.simulators.cnn.tabular:TabularCnn",
    "archgym.simulators.co_design:CoDesign",
    "archgym.simulators.dram.controller:ControllerModel",
    "archgym.simulators.dram.dramsys:DramSys",
    "archgym.simulators.dram.model:DramController",
    "archgym.simulators.nas.benchmark:NasCell",
    "archgym.simulators.nas.live:TrainedCell",
    "archgym.simulators.nas.shared:SharedCell",
    "archgym.simulators.nas.fidelities:CellFidelities",
    "archgym.simulators.nas.macro:NasMacro",
    "archgym.simulators.nk:NKLandscape",
    "archgym.simulators.parallelism.simulator:Parallelism",
    "archgym.simulators.quantum.simulator:QuantumCircuit",
    "archgym.simulators.quantum.tabular:TabularQuantumCircuit",
    "archgym.simulators.soc.model:SoC",
    "archgym.simulators.softmax.library:SoftmaxLibrary",
    "archgym.simulators.softmax.measured:MeasuredSoftmax",
    "archgym.simulators.softmax.model:SoftmaxCostModel",
    "archgym.simulators.synthesis.simulator:LogicSynthesis",
    "archgym.simulators.synthesis.tabular:TabularSynthesis",
    "archgym.simulators.transformer.model:VisionTransformer",
    "archgym.workers:Isolated",
    "archgym.workers:Parallel",
}
VALUES = {  # other classes that are arguments of simulators
    "archgym.simulators.accelerator.workloads:Workload",
    "archgym.simulators.dram.memories:Memory",
    "archgym.simulators.dram.traces:Trace",
    "archgym.simulators.nas.tables:Table",
    "archgym.simulators.softmax.compiler:Compiler",
    "archgym.space:DesignSpace",
    "archgym.space:Integer",
}


@pytest.mark.parametrize("study", RUNS)
def test_runs_of_the_shipped_studies_keep_their_identifiers(study):
    ids = [run.id for run in Study.read(study).runs()]
    assert (len(ids), hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]) == RUNS[study]


def test_shipped_simulators_keep_their_identity():
    for room in ("simulators", "simulator_wrappers", "proxy", "remote"):
        package = importlib.import_module(f"archgym.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("_worker", ".worker")):  # run by the interpreters of backends
                importlib.import_module(module.name)
    found, classes = set(), list(Simulator.__subclasses__())
    for cls in classes:
        classes += cls.__subclasses__()
        if (
            cls.__module__.startswith("archgym.")
            and not inspect.isabstract(cls)
            and not cls.__name__.startswith("_")
            and "testing" not in cls.__module__
        ):
            found.add(identity_of(cls))
    assert found - {"archgym.simulator_wrappers.base:SimulatorWrapper"} == SIMULATORS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("identity", sorted(SIMULATORS | VALUES))
def test_a_class_is_found_under_its_identity(identity):
    assert identity_of(load(identity)) == identity


def test_subclasses_have_an_identity_of_their_own():
    class Mine(archgym.Cached):
        pass

    assert identity_of(Mine) == f"{__name__}:{Mine.__qualname__}"
