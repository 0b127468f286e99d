"""The logger for TensorBoard: one folder per search, with its best reward, samples and metrics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from archgym.callbacks.base import Callback, Watched
from archgym.callbacks.events import EventFile
from archgym.callbacks.figures import Reader, settings, title
from archgym.errors import ArchGymError

_MAX_SAME = 10_000  # folders of searches with one name


class TensorBoard(Callback):
    """Writes event files that `tensorboard --logdir FOLDER` shows, over samples: `reward/best` and
    `metric/<name>` at every improvement, `reward/sample` now and then, and the search's settings for the
    HPARAMS tab. Needs `archgym[watch]`.

    Args:
        folder: folder of event files; each search has a folder of its own in it.
        name: name of that folder; default: environment, agent and seed. A name that is taken gets a number.

    Raises:
        ArchGymError: the search cannot start, since the folder cannot be written.
        MissingDependency: the search cannot start, since TensorBoard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str | None = None):
        self.folder, self.name = Path(folder).expanduser(), name
        self._file: EventFile | None = None

    def on_start(self, search: Watched) -> None:
        place = self._new_folder(self.name or title(search.specification))
        self._file, self._reader = EventFile(place), Reader(search)
        self._file.add_settings(settings(search.specification), place.name)
        self._file.flush()

    def on_step(self, search: Watched) -> None:
        assert self._file is not None
        for samples, figures in self._reader.points():
            self._file.add(samples, figures)
        self._file.flush()

    def on_end(self, search: Watched, result: Any) -> None:
        assert self._file is not None
        self._file.end_settings(success=search.share_done >= 1)
        self._file.close()

    def _new_folder(self, name: str) -> Path:
        """A folder that this search has to itself, also where several start at once."""
        for n in range(1, _MAX_SAME):
            place = self.folder / (name if n == 1 else f"{name}-{n}")
            try:
                place.mkdir(parents=True)
                return place
            except FileExistsError:
                continue
            except OSError as error:
                raise ArchGymError(f"cannot write {place}: {error.strerror}; give another folder") from error
        raise ArchGymError(f"{self.folder} has {_MAX_SAME:,} searches named {name!r}; give another folder")
