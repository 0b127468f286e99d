"""The logger for Weights & Biases: a run per search."""

from __future__ import annotations

from typing import Any

from archgym.callbacks.base import Callback, Watched
from archgym.callbacks.figures import Reader, settings, title
from archgym.errors import MissingDependency


class WandB(Callback):
    """Logs to Weights & Biases, over samples (`samples` is also the step): `reward/best` and `metric/<name>`
    at every improvement, `reward/sample` now and then; settings as `config`, the result as `summary`. Needs
    `archgym[wandb]`.

    Args:
        project: name of the project.
        **options: further arguments of `wandb.init`, such as `entity`, `group` or `mode="offline"`.

    Raises:
        MissingDependency: the search cannot start, since wandb is not installed.
    """

    every_s = 5.0

    def __init__(self, project: str = "archgym", **options: Any):
        self.project, self.options = project, options

    def on_start(self, search: Watched) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingDependency(
                'the callback wandb needs Weights & Biases: pip install "archgym[wandb]"'
            ) from error
        about = {"name": title(search.specification), "config": settings(search.specification)}
        # several searches of one process have runs of their own
        options = {"project": self.project, "reinit": "create_new", **about, **self.options}
        self._run: Any = wandb.init(**options)
        self._reader = Reader(search)

    def on_step(self, search: Watched) -> None:
        for samples, figures in self._reader.points():
            self._run.log(figures, step=samples)

    def on_end(self, search: Watched, result: Any) -> None:
        if result is not None:
            found = {"samples": result.samples, "best_reward": result.best_reward, "regret": result.regret}
            found["best_design"] = None if result.best_design is None else str(result.best_design)
            self._run.summary.update({name: value for name, value in found.items() if value is not None})
        self._run.finish(exit_code=0 if search.share_done >= 1 else 1)
