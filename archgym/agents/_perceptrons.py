"""Designs as inputs of small networks, and ensembles of such networks in float32.

    z    = one-hot values of the parameters; a longer ordered axis by its distances from 16 knots;
           zeros for an inactive one
    f_m  = W_3 relu(W_2 relu(W_1 z + b_1) + b_2) + b_3      m = 1, ..., M; squared error, Adam

All members are trained at once, each with batches of its own.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from archgym.space import Array, DesignSpace, Indices

KNOTS = 16

Float32 = npt.NDArray[np.float32]


class Features:
    """Designs as inputs of a network: one-hot, or distances from `KNOTS` knots for a longer ordered axis.

    Args:
        space: design space.
    """

    def __init__(self, space: DesignSpace):
        self.space, self.first = space, np.cumsum(space.nvec) - space.nvec
        left: list[Array] = [np.empty(0, np.int64)]
        share: list[Array] = [np.empty(0)]
        self.size = 0
        for parameter in space:
            n = len(parameter)
            knots = min(n, KNOTS) if parameter.ordered else n
            place = np.arange(n) * ((knots - 1) / max(n - 1, 1))
            left.append(self.size + np.floor(place).astype(np.int64))
            share.append(place % 1)
            self.size += knots
        # value -> the knot at or below it, and the weight of the next knot
        self.left, self.share = np.concatenate(left), np.concatenate(share)
        self.right = self.left + (self.share > 0)

    def __call__(self, designs: Indices) -> Float32:
        """Inputs [B, size] of designs, int64 [B, P]."""
        inputs = np.zeros((len(designs), self.size), np.float32)
        rows, value = np.arange(len(designs))[:, None], designs + self.first
        active = self.space.active(designs)
        inputs[rows, self.left[value]] = (1 - self.share[value]) * active
        inputs[rows, self.right[value]] += self.share[value] * active
        return inputs

    def by_value(self, gradient: Array) -> Array:
        """Gradient by the inputs [B, size] -> by the one-hot values, [B, sum(nvec)]."""
        return gradient[:, self.left] * (1 - self.share) + gradient[:, self.right] * self.share


class Ensemble:
    """M perceptrons with two hidden layers and K outputs, fitted by Adam (Kingma & Ba, 2015).

    Args:
        inputs: length of z.
        rng: generator of the first weights.
        outputs: K.
        members: M.
        hidden: width of both hidden layers.
    """

    rate = 3e-3

    def __init__(
        self, inputs: int, rng: np.random.Generator, *, outputs: int = 1, members: int = 4, hidden: int = 48
    ):
        self.members = members
        widths = [inputs, hidden, hidden, outputs]
        shapes = [s for a, b in pairwise(widths) for s in ((members, a, b), (members, 1, b))]
        ends = np.cumsum([np.prod(s) for s in shapes])
        # all weights in one array, and views of it for each layer
        self.weights, self.gradients = np.zeros((2, ends[-1]), np.float32)
        self.layers, self.slopes = (
            [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]
            for flat in (self.weights, self.gradients)
        )
        for matrix in self.layers[::2]:
            matrix[:] = rng.standard_normal(matrix.shape) / np.sqrt(max(matrix.shape[1], 1))
        self.mean, self.square = np.zeros((2, ends[-1]), np.float32)
        self.steps = 0

    def __call__(self, inputs: Float32) -> Float32:
        """Predictions [M, B, K] for inputs [B, F] or [M, B, F]."""
        return self._forward(inputs)[-1]

    def gradient(self, inputs: Float32) -> Float32:
        """Gradient of the mean prediction, summed over outputs, by the inputs: [B, F] -> [B, F]."""
        activations = self._forward(inputs)
        return self._backward(activations, np.ones_like(activations[-1])).mean(axis=0)

    def fit(
        self,
        inputs: Float32,
        targets: Array,
        steps: int,
        rng: np.random.Generator,
        *,
        batch: int = 64,
        weights: Float32 | None = None,
        falling: bool = False,
    ) -> None:
        """Take steps of Adam down the squared error.

        Args:
            inputs: [N, F].
            targets: [N, K].
            steps: number of steps.
            rng: generator of the batches.
            batch: rows of a batch, at most N.
            weights: weights of the errors, [N, K]; None for 1.
            falling: whether the rate falls to 0 in equal steps.
        """
        targets = targets.astype(np.float32)
        for step in range(steps):
            rows = rng.integers(len(inputs), size=(self.members, min(batch, len(inputs))))
            activations = self._forward(inputs[rows])
            error = 2 * (activations[-1] - targets[rows]) / rows.shape[1]
            if weights is not None:
                error *= weights[rows]
            self._backward(activations, error)
            self._adam(self.rate * (1 - step / steps) if falling else self.rate)

    def _adam(self, rate: float) -> None:
        self.steps += 1
        self.mean += 0.1 * (self.gradients - self.mean)
        self.square += 0.001 * (self.gradients**2 - self.square)
        mean, square = self.mean / (1 - 0.9**self.steps), self.square / (1 - 0.999**self.steps)
        self.weights -= rate * mean / (np.sqrt(square) + 1e-8)

    def _forward(self, inputs: Float32) -> list[Float32]:
        """Inputs and outputs of the layers, [M, B, width] each."""
        w1, b1, w2, b2, w3, b3 = self.layers
        one = np.maximum(inputs @ w1 + b1, 0)
        two = np.maximum(one @ w2 + b2, 0)
        return [inputs, one, two, two @ w3 + b3]

    def _backward(self, activations: list[Float32], error: Float32) -> Float32:
        """Gradients by the weights, kept, and by the inputs [M, B, F], from those by the output [M, B, K]."""
        for layer in (2, 1, 0):
            below = activations[layer]
            self.slopes[2 * layer][:] = np.swapaxes(below, -1, -2) @ error
            self.slopes[2 * layer + 1][:] = error.sum(axis=1, keepdims=True)
            error = error @ np.swapaxes(self.layers[2 * layer], 1, 2)
            if layer:
                error = error * (below > 0)
        return error
