"""Modules that moved: Python finds them under both names, as one module, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "archgym.console": "archgym.cli.screen",
    "archgym.terminal": "archgym.cli.terminal",
    "archgym.tables": "archgym.cli.tables",
    "archgym.doctor": "archgym.cli.doctor",
    "archgym.pareto_cli": "archgym.cli.pareto",
    "archgym.proxy_cli": "archgym.cli.proxy",
    "archgym.dataset.cli": "archgym.cli.dataset",
    "archgym.lottery.cli": "archgym.cli.lottery",
    "archgym.study.cli": "archgym.cli.study",
    "archgym.simulators.softmax.cli": "archgym.cli.calibrate",
    "archgym.simulators.accelerator.fidelity_cli": "archgym.cli.fidelity",
    "archgym.simulators.accelerator.backends.cli": "archgym.cli.backends",
    "archgym.simulators.accelerator.workloads_cli": "archgym.cli.workloads",
    "archgym.simulators.nas.data_cli": "archgym.cli.data",
    "archgym.archive": "archgym.files.archive",
    "archgym.paths": "archgym.files.paths",
    "archgym.charts": "archgym.files.charts",
    "archgym.csv_files": "archgym.files.csv",
    "archgym.columns": "archgym.files.columns",
    "archgym.simulators.accelerator.backends.results": "archgym.files.results",
    "archgym.interrupts": "archgym.processes.interrupts",
    "archgym.incumbents": "archgym._search",
    "archgym.markdown": "archgym.words",
    "archgym.wrappers.vector_reward": "archgym.wrappers.reward_vector",
    "archgym.workers": "archgym.simulator_wrappers.parallel",
    "archgym.lottery.hypotheses": "archgym.lottery.claims",
    "archgym.lottery.charts": "archgym.lottery.report.charts",
    "archgym.proxy.encoding": "archgym.proxy.features",
    "archgym.simulators.accelerator.area": "archgym.simulators.accelerator.energy",
    "archgym.simulators.accelerator.attention_fidelity": "archgym.simulators.accelerator.fidelity.attention",
    "archgym.simulators.accelerator.convolutions": "archgym.simulators.accelerator.workloads.convolutions",
    "archgym.simulators.accelerator.topologies": "archgym.simulators.accelerator.workloads.topologies",
    "archgym.simulators.accelerator.onnx_import": "archgym.simulators.accelerator.workloads.onnx.load",
    "archgym.simulators.accelerator.onnx_graph": "archgym.simulators.accelerator.workloads.onnx.reading",
    "archgym.simulators.accelerator.onnx_layers": "archgym.simulators.accelerator.workloads.onnx.layers",
    "archgym.simulators.nas.imports": "archgym.simulators.nas.tables.imports",
    "archgym.simulators.nas.restricted_pickle": "archgym.simulators.nas.tables.restricted_pickle",
    "archgym.simulators.nas.summary": "archgym.simulators.nas.tables.summary",
    "archgym.simulators.nas.benchmark": "archgym.simulators.nas.tabular",
    "archgym.simulators.nas.digits": "archgym.simulators.nas.training.digits",
    "archgym.simulators.nas.zero_cost": "archgym.simulators.nas.training.zero_cost",
    "archgym.simulators.softmax.calibrate": "archgym.simulators.softmax.fitting.calibrate",
    "archgym.simulators.softmax.charts": "archgym.simulators.softmax.fitting.charts",
    "archgym.simulators.softmax.fidelity": "archgym.simulators.softmax.fitting.fidelity",
    "archgym.simulators.softmax.sample": "archgym.simulators.softmax.fitting.sample",
    "archgym.simulators.softmax.checking": "archgym.simulators.softmax.machine.checking",
    "archgym.simulators.softmax.compiler": "archgym.simulators.compiler",
    "archgym.simulators.softmax.machine.compiler": "archgym.simulators.compiler",
    "archgym.simulators.softmax.cpu": "archgym.simulators.softmax.machine.cpu",
    "archgym.simulators.softmax.kernels": "archgym.simulators.softmax.machine.kernels",
    "archgym.simulators.softmax.timing": "archgym.simulators.softmax.machine.timing",
    "archgym.study.spec": "archgym.study.design",
    "archgym.study.execute": "archgym.study.run",
    "archgym.study.process": "archgym.study.worker",
}
"""Old module -> new module."""


class _Moved(MetaPathFinder, Loader):
    """Finds a module that moved."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name in MODULES else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the new name in place."""
        old, new = module.__name__, MODULES[module.__name__]
        warnings.warn(f"{old} is deprecated: import {new}", DeprecationWarning, stacklevel=2)
        sys.modules[old] = importlib.import_module(new)


def find_moved_modules() -> None:
    """Let Python find modules under their old names."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
