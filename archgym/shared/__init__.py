"""Weights that all designs of a space share, their training data, and the meter of what they cost."""

from archgym.shared.meter import Meter as Meter
from archgym.shared.task import Batch as Batch
from archgym.shared.task import SharedTask as SharedTask
