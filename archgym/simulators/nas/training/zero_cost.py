"""Zero-cost proxies: scores of a cell's network before it is trained, from one batch of images.

A high score is meant to go with a high accuracy after training. With theta_l the weights of layer l
(convolutions and the classifier; no biases, no batch norm), L the loss on the batch, B its images:

    synflow    sum_l sum |theta_l * dR/d theta_l|
    grad_norm  sum_l ||dL/d theta_l||_2
    nwot       log det (K + k I),  K_ij = N - d(c_i, c_j)
    jacov      - sum_i [log(v_i + k) + 1 / (v_i + k)]

    R    sum of the logits of an image of ones, every parameter replaced by its absolute value, batch norm
         left out
    c_i  code of image i: one bit for each of the network's N rectified values, positive or not; d is the
         Hamming distance
    v    eigenvalues of the correlation matrix [B, B] of the images' Jacobians: of the sum of the logits with
         respect to the image's 64 pixels
    k    1e-5

All are as published, with two exceptions: k makes `nwot` finite where images have the same code (elsewhere it
adds less than 1e-5), and images without influence on the logits count as perfectly correlated with each
other, where their correlation would be 0 / 0. So a cell whose output is constant has the least value of each:
synflow and grad_norm 0, nwot log(B N) + (B - 1) log k, and the jacov of one eigenvalue B and B - 1 zeros.

Batch norm is in training mode, as in the literature, except for synflow. Synflow is computed in float64 and
returned without a logarithm: networks much deeper than this one leave the range of float32, here it stays
below 2e7. A node that several convolutions read is rectified once and has one code. 64 images of 64 pixels
have at most 63 uncorrelated Jacobians, so at least one eigenvalue is 0: every jacov is below -1e5, and the
number of further eigenvalues near 0 decides it.

Sources: Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow",
NeurIPS 2020 (synflow); Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021 (grad_norm, and
synflow for whole networks: sums over layers, batch norm left out); Mellor et al., "Neural Architecture Search
without Training", arXiv:2006.04647, version 1 (jacov), ICML 2021 (nwot).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

import numpy as np

from archgym.errors import MissingDependency
from archgym.simulators.nas.training.digits import BATCH, SIDE, load_digits_task
from archgym.simulators.nas.training.train import CellNetwork
from archgym.space import Array, Indices

try:
    import torch.nn.functional as F
    from torch import Tensor, autograd, from_numpy, nn, no_grad, ones
    from torch.overrides import TorchFunctionMode
except ImportError:
    raise MissingDependency(
        "zero-cost proxies need scikit-learn and PyTorch: pip install 'archgym[nas]'"
    ) from None

K = 1e-5  # k; that of jacov as published


def zero_cost(cell: Indices, seeds: Sequence[int] = (0, 1, 2), noise: float = 0.5) -> dict[str, Array]:
    """The four proxies of a cell at its initial weights, on the first training batch of each seed.

    Args:
        cell: operation indices [6].
        seeds: S seeds for the initial weights and the batch.
        noise: standard deviation of the pixels' noise.

    Returns:
        `synflow`, `grad_norm`, `nwot` and `jacov`, float64 [S] each, all finite.
    """
    network = CellNetwork(cell, seeds)
    images, labels = _first_batch(noise, tuple(seeds))
    return {
        "synflow": synflow(network),
        "grad_norm": grad_norm(network, images, labels),
        "nwot": nwot(network, images),
        "jacov": jacov(network, images),
    }


def synflow(network: CellNetwork) -> Array:
    """Sum over layers of |weight * gradient|, without data: float64 [S]."""
    positive = _without_norms(network).double()
    with no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
    image = ones(1, network.copies, SIDE, SIDE).double()
    weights = _weights(positive)
    gradients = autograd.grad(positive(image).sum(), weights, materialize_grads=True)
    flow = [
        (weight * gradient).reshape(network.copies, -1).sum(1)
        for weight, gradient in zip(weights, gradients, strict=True)
    ]
    return _array(sum(flow[1:], flow[0]))


def grad_norm(network: CellNetwork, images: Tensor, labels: Tensor) -> Array:
    """Euclidean norms of the layers' gradients of the batch's mean loss, summed: [B, S, 8, 8], [B, S] ->
    float64 [S].
    """
    loss = F.cross_entropy(network(images).flatten(0, 1), labels.T.flatten(), reduction="sum") / len(images)
    gradients = autograd.grad(loss, _weights(network), materialize_grads=True)
    norms = [gradient.reshape(network.copies, -1).norm(dim=1) for gradient in gradients]
    return _array(sum(norms[1:], norms[0]))


def nwot(network: CellNetwork, images: Tensor) -> Array:
    """Diversity of the images' codes: [B, S, 8, 8] -> float64 [S]."""
    with no_grad(), _Rectified() as rectified:
        network(images)
    parts = [
        values.unflatten(1, (network.copies, -1)).transpose(0, 1).flatten(2) for values in rectified.values
    ]
    # [S, B, N]
    signs = np.concatenate(
        [np.where(part.numpy() > 0, np.float32(1), np.float32(-1)) for part in parts], axis=2
    )
    kernel = (signs.shape[2] + (signs @ signs.swapaxes(1, 2)).astype(float)) / 2
    return np.asarray(np.linalg.slogdet(kernel + K * np.eye(len(images)))[1])


def jacov(network: CellNetwork, images: Tensor) -> Array:
    """Diversity of the images' Jacobians: [B, S, 8, 8] -> float64 [S]."""
    pixels = images.detach().clone().requires_grad_()
    (jacobians,) = autograd.grad(network(pixels).sum(), pixels, materialize_grads=True)
    rows = _array(jacobians.transpose(0, 1).flatten(2))  # [S, B, 64]
    rows -= rows.mean(axis=2, keepdims=True)
    length = np.linalg.norm(rows, axis=2, keepdims=True)
    same = np.full_like(rows, rows.shape[2] ** -0.5)  # a direction that centred rows cannot have
    rows = np.divide(rows, length, out=same, where=length > 0)
    eigenvalues = np.linalg.eigvalsh(rows @ rows.swapaxes(1, 2))
    return np.asarray(-(np.log(eigenvalues + K) + 1 / (eigenvalues + K)).sum(axis=1))


class _Rectified(TorchFunctionMode):
    """Keeps the input of every ReLU that is called within."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[Tensor] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.relu:
            self.values.append(args[0].clone())  # later sums may reuse its memory
        return function(*args, **(kwargs or {}))


def _without_norms(network: CellNetwork) -> CellNetwork:
    """A copy without batch norm."""
    copy = deepcopy(network)
    for module in list(copy.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return copy


def _weights(network: CellNetwork) -> list[Tensor]:
    """The weights of all layers, with the copies' parts one after the other in the first dimension."""
    return [*(module.weight for module in network.modules() if isinstance(module, nn.Conv2d)), network.weight]


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().numpy(), float)


@lru_cache(maxsize=8)
def _first_batch(noise: float, seeds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The first batch of each seed: images [64, S, 8, 8] and labels [64, S]."""
    seen = [load_digits_task(noise).epoch(seed, 0) for seed in seeds]
    images, labels = (np.stack([epoch[part][:BATCH] for epoch in seen], axis=1) for part in (0, 1))
    return from_numpy(images), from_numpy(labels)
