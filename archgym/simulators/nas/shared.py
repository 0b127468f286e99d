"""Cells judged by shared weights: a supernet is trained once, then every cell is an estimate of it.

    weights   `paths` steps on uniform random cells, SGD with a cosine schedule (`archgym.shared.weights`)
    estimate  accuracy on the first `images` validation images, with batch statistics

A query takes a few hundredths of a second instead of a training. Metrics:

    shared_accuracy                 the estimate, which a search sees
    valid_accuracy, test_accuracy   of cells trained by themselves, means over seeds from the table, only
                                    reported
    params, macs                    as in `tabular`
    eval_macs                       multiply-adds of the estimate, live edges alone

Costs are multiply-adds: `eval_macs` for each query, and once, before the first one, those of training. The
weights are trained at the first query. They repeat bit for bit on one machine with one version of PyTorch.

Sources: Guo et al., "Single Path One-Shot", ECCV 2020; Li & Talwalkar, "Random search and reproducibility for
NAS", UAI 2019.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from archgym.errors import ArchGymError, MissingDependency, whole
from archgym.shared.task import IMAGES, PASSES
from archgym.shared.weights import Weights
from archgym.simulator import Metric, Simulator
from archgym.simulators.nas.cells import CELL_SPACE, OPERATIONS, live_edges
from archgym.simulators.nas.tabular import NasCell, convolution_controls, digits_noise
from archgym.simulators.nas.training.digits import COPIES, HELD_OUT
from archgym.space import Array, Indices

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    raise MissingDependency(
        "training shared weights needs scikit-learn and PyTorch: pip install 'archgym[nas]'"
    ) from None

from archgym.simulators.nas.training.supernet import SharedDigits
from archgym.simulators.nas.training.train import TORCH_VERSION, one_thread


class SharedCell(Simulator):
    """The cells of NAS-Bench-201, estimated with shared weights on the noisy digits.

    Args:
        dataset: name of a table of digits, such as "digits-0.5".
        paths: training steps of the shared weights, one random cell each.
        images: validation images of an estimate, at most 1,350.
        net_seed: seed for the weights, their batches and the random cells.

    Raises:
        ArchGymError: another data set, or one that is not installed; arguments out of range.
        MissingDependency: PyTorch or scikit-learn is not installed.
    """

    identity = "archgym.simulators.nas.shared:SharedCell"

    space = CELL_SPACE
    cost_unit = "multiply-adds"
    metrics = (
        Metric("shared_accuracy", unit="1", better="higher"),
        Metric("valid_accuracy", unit="1", better="higher", report_only=True),
        Metric("test_accuracy", unit="1", better="higher", report_only=True),
        Metric("params", unit="1", better="lower"),
        Metric("macs", unit="1", better="lower"),
        Metric("eval_macs", unit="1", better="lower"),
    )

    def __init__(
        self, dataset: str = "digits-0.5", paths: int = 700, images: int = IMAGES, net_seed: int = 0
    ):
        noise = digits_noise(str(dataset))
        if noise is None:
            raise ArchGymError(
                f"expected a data set of digits for shared weights, got {dataset!r}; use 'digits-0.5'"
            )
        self.paths, self.images = whole("paths", paths, least=1), whole("images", images, least=1)
        if self.images > COPIES * HELD_OUT:
            raise ArchGymError(f"expected images <= {COPIES * HELD_OUT} validation images, got {images}")
        self.net_seed = whole("net_seed", net_seed, least=0)
        self._table = NasCell(dataset)
        self._task = SharedDigits(noise, self.net_seed)
        self._cells = CELL_SPACE.sample(self.paths, np.random.default_rng(self.net_seed))  # of training

    @property
    def specification(self) -> dict[str, Any]:
        """The class, its arguments, a digest of the table, and the version of PyTorch, on which the last bits
        of its sums depend.
        """
        table = self._table.specification["table"]
        return {**super().specification, "table": table, "torch": TORCH_VERSION}

    @cached_property
    def task(self) -> SharedDigits:
        """The shared weights, trained when first asked for."""
        task = self._task
        weights = Weights(task.parameters(), self.paths)
        with torch.enable_grad():
            for cell in self._cells:
                images, labels = task.train_batch()
                weights.step(F.cross_entropy(task.path(images, cell), labels))
        return task

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Indices [B, 6] -> every metric, float64 [B], and `feasible`, bool [B], all True."""
        with one_thread():
            estimates = self.task.estimate(indices, self.images)
        trained = self._table.evaluate_indices(indices)
        names = ("valid_accuracy", "test_accuracy", "params", "macs")
        columns = {"shared_accuracy": estimates, **{name: trained[name] for name in names}}
        return columns | {"eval_macs": self.cost_of(indices), "feasible": np.ones(len(indices), bool)}

    def cost_of(self, indices: Indices) -> Array:
        """Multiply-adds of each estimate, float64 [B]."""
        return self.images * self._macs(indices)

    def cost_before(self) -> float:
        """Multiply-adds of training the shared weights."""
        return float(PASSES * self._task.batch * self._macs(self._cells).sum())

    def controls(self) -> dict[str, tuple[Indices, Array]]:
        """Rules of 3x3 convolutions (`convolution_controls`)."""
        return convolution_controls()

    def _macs(self, cells: Indices) -> Array:
        """Multiply-adds of one image on the live edges, float64 [n]."""
        costs = np.where(
            live_edges(cells), self._task.cost_of_operations()[np.arange(cells.shape[1]), cells], 0
        )
        skeleton = self._task.macs(kept=np.zeros((cells.shape[1], len(OPERATIONS)), bool))
        return np.asarray(skeleton + costs.sum(axis=1))
