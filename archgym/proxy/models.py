"""The models of proxies, computed with NumPy from arrays: trees, a Gaussian process, a linear model.

    Trees             y = base + scale * sum over trees of the value of the leaf that x falls into;
                      at an inner node x goes left where x[feature] <= threshold
    GaussianProcess   y = k(x, X) a,  a = (K + noise I)^-1 Y,  variance = s^2 + noise - k(x, X) (K + noise
                                                               I)^-1 k(X, x)
                      k(x, x') = s^2 (1 + d + d^2 / 3) exp(-d),  d^2 = 5 sum_f (x_f - x'_f)^2 / l_f^2
                                                                 (Matern 5/2)
    Linear            y = x A + b

Outputs are K standardised targets. A `spread` is the uncertainty of a prediction up to a calibrated factor:
the deviation among the trees of a forest, the standard deviation of a Gaussian process, 1 for the other
models.

`archgym.proxy.fitting` fits them with scikit-learn; loading and using them needs only NumPy and SciPy and
runs no code of a file. Arrays of a file are checked: every node except the roots is the child of one earlier
node, and every feature exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from archgym.errors import ArchGymError
from archgym.files.archive import expect
from archgym.proxy.bitvectors import MAX_LEAVES, BitVectors, leaf_counts
from archgym.space import Array, Indices

_MAX_NUMBERS = 2_000_000  # elements of an intermediate array
_MIN_SPREAD = 1e-3  # spread of a forest whose trees agree, which may still be wrong
LEAF = -1
MAX_GP_DESIGNS = 2000  # training designs of a Gaussian process


class Model(ABC):
    """Features [B, F] to standardised targets."""

    @abstractmethod
    def predict(self, x: Array) -> tuple[Array, Array]:
        """Predictions and spreads of features [B, F]: float64 [B, K] each."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """Arrays from which `from_arrays` makes an equal model."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, Array], features: int, outputs: int) -> Model:
        """A model from the arrays of a file, checked.

        Raises:
            ArchGymError: they do not make a model of this many features and outputs.
        """


class Trees(Model):
    """T trees with V nodes in all.

    Args:
        roots: root node of each tree, int64 [T].
        feature, threshold: tests of the inner nodes, int64 and float64 [V].
        left, right: children, int64 [V]; LEAF at leaves.
        value: values of the leaves, float64 [V, K].
        base: constant of the sum, float64 [K].
        scale: factor of the sum: 1 / T for a forest, 1 for boosting.
    """

    def __init__(
        self,
        roots: Indices,
        feature: Indices,
        threshold: Array,
        left: Indices,
        right: Indices,
        value: Array,
        base: Array,
        scale: float,
    ):
        self.roots, self.feature, self.threshold = roots, feature, threshold
        self.left, self.right, self.value, self.base, self.scale = left, right, value, base, scale

    @cached_property
    def _children(self) -> Indices:
        """Left and right child of every node, for a leaf the leaf itself: int64 [2 V]."""
        self_ = np.arange(len(self.left))
        leaf = self.left == LEAF
        return np.stack([np.where(leaf, self_, self.left), np.where(leaf, self_, self.right)], axis=1).ravel()

    @cached_property
    def depth(self) -> int:
        """Largest number of tests between a root and a leaf."""
        depth, level = 0, self.roots
        while len(level := level[self.left[level] != LEAF]):
            level = np.concatenate([self.left[level], self.right[level]])
            depth += 1
        return depth

    def leaves(self, x: Array) -> Indices:
        """The leaf of each tree that each row falls into: [B, F] -> int64 [B, T]."""
        flat, start = np.ascontiguousarray(x).ravel(), np.arange(len(x))[:, None] * x.shape[1]
        node = np.repeat(self.roots[None], len(x), axis=0)
        for _ in range(self.depth):
            right = flat.take(start + self.feature.take(node)) > self.threshold.take(node)
            node = self._children.take(2 * node + right)
        return node

    @cached_property
    def _bits(self) -> BitVectors | None:
        """A several times faster form of boosted trees, which are small."""
        if (
            self.scale != 1.0
            or len(self.base) != 1
            or leaf_counts(self.left, self.right)[self.roots].max(initial=0) > MAX_LEAVES
        ):
            return None
        return BitVectors(self.roots, self.feature, self.threshold, self.left, self.right, self.value[:, 0])

    def predict(self, x: Array) -> tuple[Array, Array]:
        mean, spread = np.empty((len(x), len(self.base))), np.ones((len(x), len(self.base)))
        if self._bits is not None:
            mean[:, 0] = self.base + self._bits.sums(x)
            return mean, spread
        chunk = max(1, _MAX_NUMBERS // max(1, len(self.roots)))
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            values = self.value[self.leaves(x[rows])]  # [b, T, K]
            mean[rows] = self.base + self.scale * values.sum(axis=1)
            if self.scale != 1.0:  # a forest: its trees are predictions, not corrections
                spread[rows] = np.maximum(values.std(axis=1), _MIN_SPREAD)
        return mean, spread

    def arrays(self) -> dict[str, Array]:
        return {
            "roots": self.roots,
            "feature": self.feature.astype(np.int32),
            "threshold": self.threshold,
            "left": self.left.astype(np.int32),
            "right": self.right.astype(np.int32),
            "value": self.value,
            "base": self.base,
            "scale": np.array(self.scale),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], features: int, outputs: int) -> Trees:
        roots, left, right, feature = (arrays[name] for name in ("roots", "left", "right", "feature"))
        nodes = len(left)
        expect("roots", roots, (len(roots),), np.integer)
        for name in ("feature", "left", "right"):
            expect(name, arrays[name], (nodes,), np.integer)
        expect_finite(arrays, threshold=(nodes,), value=(nodes, outputs), base=(outputs,), scale=())
        inner = left != LEAF
        children = np.concatenate([left[inner], right[inner]])
        parents = np.tile(np.flatnonzero(inner), 2)
        if not ((right != LEAF) == inner).all() or not ((children > parents) & (children < nodes)).all():
            raise ArchGymError("a tree has a node with a child before it or beyond the last node")
        if not ((roots >= 0) & (roots < nodes)).all():
            raise ArchGymError("a tree has a root that is not a node")
        if not (np.bincount(np.concatenate([roots, children]), minlength=nodes) == 1).all():
            raise ArchGymError("a tree has a node with no parent or with two")
        if not ((feature >= 0) & (feature < max(features, 1))).all():
            raise ArchGymError(f"a tree tests a feature beyond the space's {features}")
        roots, feature, left, right = (array.astype(np.int64) for array in (roots, feature, left, right))
        return cls(
            roots,
            feature,
            arrays["threshold"],
            left,
            right,
            arrays["value"],
            arrays["base"],
            float(arrays["scale"]),
        )


class GaussianProcess(Model):
    """A zero-mean Gaussian process with a Matern 5/2 kernel, one for all outputs.

    Args:
        x, y: features and targets of N training designs, [N, F] and [N, K].
        length: length scale of each feature, [F].
        variance: s^2 of the kernel.
        noise: variance that the kernel does not explain, at least the jitter.
    """

    def __init__(self, x: Array, y: Array, length: Array, variance: float, noise: float):
        self.x, self.y, self.length, self.variance, self.noise = x, y, length, variance, noise
        covariance = self._kernel(x, x)
        covariance[np.diag_indices_from(covariance)] += noise
        self._factor = np.linalg.cholesky(covariance)
        self._weights = cho_solve((self._factor, True), y)

    def _kernel(self, a: Array, b: Array) -> Array:
        a, b = a / self.length, b / self.length
        squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        d = np.sqrt(5 * np.maximum(squared, 0.0))
        return self.variance * (1 + d + d**2 / 3) * np.exp(-d)

    def predict(self, x: Array) -> tuple[Array, Array]:
        mean, spread = np.empty((len(x), self.y.shape[1])), np.empty((len(x), self.y.shape[1]))
        chunk = max(1, _MAX_NUMBERS // len(self.x))
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            kernel = self._kernel(x[rows], self.x)
            mean[rows] = kernel @ self._weights
            explained = (solve_triangular(self._factor, kernel.T, lower=True) ** 2).sum(axis=0)
            spread[rows] = np.sqrt(np.maximum(self.variance + self.noise - explained, self.noise))[:, None]
        return mean, spread

    def arrays(self) -> dict[str, Array]:
        return {
            "x": self.x,
            "y": self.y,
            "length": self.length,
            "variance": np.array(self.variance),
            "noise": np.array(self.noise),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], features: int, outputs: int) -> GaussianProcess:
        n = len(arrays["x"])
        expect_finite(arrays, x=(n, features), y=(n, outputs), length=(features,), variance=(), noise=())
        if not 0 < n <= MAX_GP_DESIGNS or not all(
            (arrays[name] > 0).all() for name in ("length", "variance", "noise")
        ):
            raise ArchGymError(
                f"expected a Gaussian process of 1 to {MAX_GP_DESIGNS:,} designs, with lengths and variances "
                "above 0"
            )
        return cls(
            arrays["x"], arrays["y"], arrays["length"], float(arrays["variance"]), float(arrays["noise"])
        )


class Linear(Model):
    """A weighted sum of features: weights [F, K], intercept [K]."""

    def __init__(self, weights: Array, intercept: Array):
        self.weights, self.intercept = weights, intercept

    def predict(self, x: Array) -> tuple[Array, Array]:
        mean = np.tile(self.intercept, (len(x), 1))
        # a matrix product rounds a row differently in different batches
        for column, weight in zip(x.T, self.weights, strict=True):
            mean += column[:, None] * weight
        return mean, np.ones_like(mean)

    def arrays(self) -> dict[str, Array]:
        return {"weights": self.weights, "intercept": self.intercept}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], features: int, outputs: int) -> Linear:
        expect_finite(arrays, weights=(features, outputs), intercept=(outputs,))
        return cls(arrays["weights"], arrays["intercept"])


class Separate(Model):
    """A separate model for each output."""

    def __init__(self, models: list[Trees]):
        self.models = models

    def predict(self, x: Array) -> tuple[Array, Array]:
        parts = [model.predict(x) for model in self.models]
        return np.concatenate([mean for mean, _ in parts], axis=1), np.concatenate(
            [spread for _, spread in parts], axis=1
        )

    def arrays(self) -> dict[str, Array]:
        return {
            f"{k}.{name}": array
            for k, model in enumerate(self.models)
            for name, array in model.arrays().items()
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], features: int, outputs: int) -> Separate:
        return cls([Trees.from_arrays(with_prefix(arrays, f"{k}."), features, 1) for k in range(outputs)])


def expect_finite(arrays: Mapping[str, Array], **shapes: tuple[int, ...]) -> None:
    """Refuse arrays of another shape, or with values that are not finite floats."""
    for name, shape in shapes.items():
        expect(name, arrays[name], shape, np.floating)
        if not np.isfinite(arrays[name]).all():
            raise ArchGymError(f"{name} has numbers that are not finite")


def with_prefix(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The arrays whose names begin with a prefix, by their names without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


MODELS: dict[str, type[Model]] = {
    "random_forest": Trees,
    "hist_gradient_boosting": Separate,
    "gaussian_process": GaussianProcess,
    "linear": Linear,
}
