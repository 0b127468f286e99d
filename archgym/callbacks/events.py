"""Event files of TensorBoard (needs `archgym[watch]`): one folder per run, an event per sample.

The records and messages are TensorBoard's own (`tensorboard.summary`); PyTorch is not needed. Hyperparameters
are those of its HPARAMS tab.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from archgym.errors import ArchGymError, MissingDependency
from archgym.files.paths import in_words


def tensorboard_modules() -> Any:
    """TensorBoard's messages and its writer of records.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        raise MissingDependency('event files need TensorBoard: pip install "archgym[watch]"') from error
    return event_pb2, summary_pb2, summary_v2, RecordWriter


class EventFile:
    """The event file of one run, complete after every `flush`.

    Args:
        folder: folder of the run, which is made; it holds this file alone.
        start: time of the run's start, in seconds since 1970; default: now.

    Raises:
        MissingDependency: TensorBoard is not installed.
        ArchGymError: the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], start: float | None = None):
        self._event, self._summary, self._hparams, writer = tensorboard_modules()
        self._start = time.time() if start is None else start
        path = Path(folder) / f"events.out.tfevents.{int(self._start):010d}.{socket.gethostname()}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._records = writer(open(path, "wb"))  # noqa: SIM115 - open until `close`
        except OSError as error:
            raise ArchGymError(f"cannot write {path}: {in_words(error)}; give another folder") from error
        self._put(self._event.Event(wall_time=self._start, file_version="brain.Event:2"))

    def add(self, step: int, figures: Mapping[str, float], seconds: float | None = None) -> None:
        """Add figures after a number of samples.

        Args:
            step: number of samples.
            figures: tag -> value.
            seconds: time since the run's start; default: now.
        """
        when = time.time() if seconds is None else self._start + seconds
        values = [self._summary.Summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()]
        self._put(self._event.Event(wall_time=when, step=step, summary=self._summary.Summary(value=values)))

    def add_settings(self, values: Mapping[str, str | int | float | bool], name: str) -> None:
        """Add hyperparameters of the run, under a name that no other run has."""
        self._put_summary(self._hparams.hparams_pb(dict(values), name, self._start))

    def add_experiment(self, names: Iterable[str], tags: Iterable[str]) -> None:
        """Add the names of all hyperparameters, and tags of the figures to compare, of many runs; in the
        folder above theirs.
        """
        hparams = self._hparams
        names_, metrics = [hparams.HParam(name) for name in names], [hparams.Metric(tag) for tag in tags]
        self._put_summary(hparams.hparams_config_pb(names_, metrics, self._start))

    def end_settings(self, seconds: float | None = None, success: bool = True) -> None:
        """Mark the run as ended, for the HPARAMS tab."""
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        end = time.time() if seconds is None else self._start + seconds
        status = api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE
        data = plugin_data_pb2.HParamsPluginData(
            session_end_info=plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=end)
        )
        summary = self._summary.Summary()
        summary.value.add(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(data),
            tensor=metadata.NULL_TENSOR,
        )
        self._put(self._event.Event(wall_time=end, summary=summary))

    def flush(self) -> None:
        """Hand what was added to the system."""
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put_summary(self, summary: Any) -> None:
        # TensorBoard's own generated class differs from TensorFlow's
        same = self._summary.Summary.FromString(summary.SerializeToString())
        self._put(self._event.Event(wall_time=self._start, summary=same))

    def _put(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
