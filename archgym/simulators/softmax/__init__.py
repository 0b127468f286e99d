"""Softmax kernels on one CPU: an analytical cost model on measured bandwidth and compute curves, and the kernels themselves."""

from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.function import best_design, softmax
from archgym.simulators.softmax.library import SoftmaxLibrary
from archgym.simulators.softmax.measured import MeasuredSoftmax
from archgym.simulators.softmax.model import SoftmaxCostModel

__all__ = ["Calibration", "MeasuredSoftmax", "SoftmaxCostModel", "SoftmaxLibrary", "best_design", "softmax"]
