"""Softmax kernels on one CPU: a cost model on measured curves, and the kernels themselves.

model         SoftmaxCostModel: time, traffic and accuracy predicted from a calibration
calibration   Calibration: costs of one machine's memory and arithmetic, one JSON file (`calibrations/`,
              README.md)
schema        the entries of such a file, checked
terms         names of algorithms, passes, access patterns and instruction sets
library       SoftmaxLibrary: one kernel for each of several workloads
measured      MeasuredSoftmax: kernels compiled and timed on this machine
function      softmax: an array's softmax by a kernel of choice
workloads     shapes of common programs
findings      the lines of `archgym doctor` on processor and compiler
machine/      C sources, compiler, processor, timing and checks
fitting/      calibrations fitted to this machine, and their errors
"""

from archgym.simulators.softmax.calibration import Calibration
from archgym.simulators.softmax.function import best_design, softmax
from archgym.simulators.softmax.library import SoftmaxLibrary
from archgym.simulators.softmax.measured import MeasuredSoftmax
from archgym.simulators.softmax.model import SoftmaxCostModel

__all__ = ["Calibration", "MeasuredSoftmax", "SoftmaxCostModel", "SoftmaxLibrary", "best_design", "softmax"]
