"""The logger for MLflow: a run per search."""

from __future__ import annotations

import time
from typing import Any

from archgym.callbacks.base import Callback, Watched
from archgym.callbacks.figures import Point, Reader, settings, title
from archgym.errors import MissingDependency

_MAX_TEXT = 500  # characters of a parameter that every tracking server takes
_MAX_PARAMS, _MAX_METRICS = 100, 1000  # of one request


class MLflow(Callback):
    """Logs to MLflow, over samples: `reward/best` and `metric/<name>` at every improvement, `reward/sample`
    now and then; settings as parameters. Needs `archgym[mlflow]`.

    Args:
        experiment: name of the experiment, which is made where there is none.
        tracking_uri: address of the tracking server or store, such as "sqlite:///mlflow.db"; default:
            MLflow's own (`MLFLOW_TRACKING_URI`).

    Raises:
        MissingDependency: the search cannot start, since mlflow is not installed.
    """

    every_s = 5.0

    def __init__(self, experiment: str = "archgym", tracking_uri: str | None = None):
        self.experiment, self.tracking_uri = experiment, tracking_uri

    def on_start(self, search: Watched) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Param
        except ImportError as error:
            raise MissingDependency(
                'the callback mlflow needs MLflow: pip install "archgym[mlflow]"'
            ) from error
        self._client: Any = MlflowClient(self.tracking_uri)
        found = self._client.get_experiment_by_name(self.experiment)
        experiment = self._client.create_experiment(self.experiment) if found is None else found.experiment_id
        run = self._client.create_run(experiment, run_name=title(search.specification))
        self._id = run.info.run_id
        given = settings(search.specification)
        parameters = [Param(name, str(value)[:_MAX_TEXT]) for name, value in given.items()]
        for start in range(0, len(parameters), _MAX_PARAMS):
            self._client.log_batch(self._id, params=parameters[start : start + _MAX_PARAMS])
        self._reader = Reader(search)

    def on_step(self, search: Watched) -> None:
        self._log(list(self._reader.points()))

    def on_end(self, search: Watched, result: Any) -> None:
        if result is not None and result.regret is not None:
            self._log([Point(result.samples, {"regret": result.regret})])
        self._client.set_terminated(self._id, "FINISHED" if search.share_done >= 1 else "FAILED")

    def _log(self, points: list[Point]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        found = [
            Metric(name, value, now, samples)
            for samples, figures in points
            for name, value in figures.items()
        ]
        for start in range(0, len(found), _MAX_METRICS):
            self._client.log_batch(self._id, metrics=found[start : start + _MAX_METRICS])
