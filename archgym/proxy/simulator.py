"""A proxy is a simulator: the space of the learnt environment, and predicted metrics.

DIR/model.npz     the model: a header (environment, space, metrics, objective) and arrays; read without pickle
DIR/report.json   its errors
DIR/test.npz      the test designs with true and predicted metrics
DIR/README.md     the report as Markdown
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import digest, expect, load_archive, reading, save_archive
from archgym.files.paths import make_folder
from archgym.objective import Objective
from archgym.proxy.evaluate import LEVELS
from archgym.proxy.features import Encoding
from archgym.proxy.models import MODELS, Model, Trees, expect_finite, with_prefix
from archgym.proxy.targets import Targets
from archgym.simulator import Metric, Simulator
from archgym.space import Array, DesignSpace, Indices
from archgym.task import EnvSpecification
from archgym.values import identity_of

FORMAT = 1
FILE = "model.npz"


class ProxySimulator(Simulator):
    """A model of a simulator.

    Args:
        environment: the environment's id, arguments ("kwargs") and simulator's specification ("simulator").
        space: P parameters.
        targets: K metrics and their transformation.
        kind: a name of MODELS.
        model: model of the standardised targets.
        feasibility: trees with outputs above 0 for feasible designs; None where all designs are feasible.
        widths: half-widths of the intervals, in multiples of the model's spread, [levels, K].
        objective: the environment's objective; None where it needs metrics that are not learnt.
    """

    identity = "archgym.proxy.simulator:ProxySimulator"

    def __init__(
        self,
        environment: Mapping[str, Any],
        space: DesignSpace,
        targets: Targets,
        kind: str,
        model: Model,
        feasibility: Trees | None,
        widths: Array,
        objective: Objective | None,
    ):
        self.environment, self.space, self.targets, self.metrics = (
            dict(environment),
            space,
            targets,
            targets.metrics,
        )
        self.kind, self.model, self.feasibility, self.widths = kind, model, feasibility, widths
        self.default_objective = objective
        self.encoding = Encoding(space)
        about, arrays = self._content()
        self._digest = digest(json.dumps(about, sort_keys=True), [arrays[name] for name in sorted(arrays)])

    @property
    def env(self) -> EnvSpecification:
        """The learnt environment as a specification."""
        return EnvSpecification.from_dict(self.environment)

    @property
    def specification(self) -> dict[str, Any]:
        """The class, the id of the learnt environment, and a hash of the model."""
        return {"simulator": identity_of(type(self)), "of": self.env.id, "model": self._digest}

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        x = self.encoding(indices)
        z, _ = self.model.predict(x)
        columns = dict(zip((m.name for m in self.metrics), self.targets.restored(z).T, strict=True))
        return {**columns, "feasible": self._feasible(x)}

    def interval(self, indices: Indices, level: float = 0.9) -> dict[str, tuple[Array, Array]]:
        """Intervals that hold the true metrics of designs [B, P] with probability `level`: metric -> (low,
        high), [B] each.

        Raises:
            ArchGymError: a level that is not calibrated (`archgym.proxy.evaluate.LEVELS`).
        """
        if level not in LEVELS:
            raise ArchGymError(
                f"expected a calibrated level, one of {', '.join(map(str, LEVELS))}, got {level}"
            )
        z, spread = self.model.predict(self.encoding(indices))
        half = self.widths[LEVELS.index(level)] * spread
        low, high = self.targets.restored(z - half), self.targets.restored(z + half)
        return {m.name: (low[:, k], high[:, k]) for k, m in enumerate(self.metrics)}

    def _feasible(self, x: Array) -> Array:
        return np.ones(len(x), bool) if self.feasibility is None else self.feasibility.predict(x)[0][:, 0] > 0

    def _content(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Header and arrays of a file."""
        about = {
            "format": FORMAT,
            "environment": self.environment,
            "space": json.loads(self.space.to_json()),
            "metrics": [asdict(metric) for metric in self.metrics],
            "model": self.kind,
            "feasibility": self.feasibility is not None,
            "objective": None if self.default_objective is None else self.default_objective.to_dict(),
        }
        arrays = {
            "log": self.targets.log,
            "mean": self.targets.mean,
            "scale": self.targets.scale,
            "widths": self.widths,
        }
        arrays |= {f"model.{name}": array for name, array in self.model.arrays().items()}
        if self.feasibility is not None:
            arrays |= {f"feasibility.{name}": array for name, array in self.feasibility.arrays().items()}
        return about, arrays

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write DIR/model.npz; the folder is made.

        Raises:
            ArchGymError: the file cannot be written.
        """
        target = make_folder(folder)
        save_archive(target / FILE, *self._content())
        return target

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ProxySimulator:
        """Read and check the model of a folder; no code in it runs.

        Raises:
            ArchGymError: the folder has no proxy, or a foreign or damaged one.
        """
        path = Path(folder).expanduser() / FILE
        if not path.is_file():
            raise ArchGymError(f"{folder} holds no proxy ({FILE}): train one with archgym proxy train")
        with reading(path, "a proxy of archgym", "train it again"):
            about, arrays = load_archive(path, FORMAT)
            return cls._from_content(about, arrays)

    @classmethod
    def _from_content(cls, about: Mapping[str, Any], arrays: Mapping[str, Array]) -> ProxySimulator:
        space = DesignSpace.from_json(json.dumps(about["space"]))
        metrics = tuple(Metric(**metric) for metric in about["metrics"])
        features, outputs = len(Encoding(space)), len(metrics)
        expect("log", arrays["log"], (outputs,), np.bool_)
        expect_finite(arrays, mean=(outputs,), scale=(outputs,), widths=(len(LEVELS), outputs))
        targets = Targets(metrics, arrays["log"], arrays["mean"], arrays["scale"])
        if not (targets.scale > 0).all() or not np.isfinite(targets.ends).all():
            raise ArchGymError("expected scales above 0 that, with the means, give finite metrics")
        if about["model"] not in MODELS:
            raise unknown("model", about["model"], MODELS)
        objective = about["objective"]
        return cls(
            environment=about["environment"],
            space=space,
            targets=targets,
            kind=about["model"],
            model=MODELS[about["model"]].from_arrays(with_prefix(arrays, "model."), features, outputs),
            feasibility=Trees.from_arrays(with_prefix(arrays, "feasibility."), features, 1)
            if about["feasibility"]
            else None,
            widths=arrays["widths"],
            objective=None if objective is None else Objective.from_dict(objective),
        )
