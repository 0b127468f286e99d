"""Transformations of plain convolutional networks that keep their function in evaluation mode.

Wider (Net2WiderNet), from c to c' channels, with a map g of new channels to old ones, g(j) = j for j < c and
a random old one for the others, U the kernel of the layer, V that of the next one:

    U'[j] = U[g(j)]        V'[:, j] = V[:, g(j)] / |{k : g(k) = g(j)}|        batch norm's rows are copied

Deeper (Net2DeeperNet): an identity kernel, and a batch norm that undoes itself, whose mean mu and variance v
are those of the layer's own input on some images:

    gamma = sqrt(v + eps)        beta = mu        so that BN(x) = x, and ReLU(x) = x, since x is a ReLU's

A skip adds a layer's input to its output, so the layers that skips tie together (`moves.tied`) are widened
with one map. Copied channels would stay equal for ever in training: `noise` makes them differ.

Sources: Chen et al., "Net2Net", ICLR 2016; Cai et al., "Efficient Architecture Search by Network
Transformation", AAAI 2018.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from archgym.simulators.cnn.growth.moves import MOVES, moved, next_width, tied
from archgym.simulators.cnn.network import PlainCnn

Weights = dict[str, Tensor]  # by the names of PyTorch's `state_dict`


def transform(
    network: PlainCnn, move: int, images: Tensor, rng: np.random.Generator, noise: float = 0.0
) -> PlainCnn:
    """The network after a possible move other than "stop", in evaluation mode.

    Args:
        network: the network before, in evaluation mode; its weights do not change.
        move: number of the move.
        images: images [B, 1, H, H], for the statistics of an added layer's input.
        rng: source of the copied channels and of noise.
        noise: standard deviation of what is added to the kernels of copied channels, as a share of that of
            the kernel before.
    """
    kind, _, layer = MOVES[move].partition(" ")
    n = int(layer) - 1
    with torch.no_grad():
        weights = _widened(network, n, rng, noise) if kind == "widen" else _deepened(network, n, images)
    result = PlainCnn(moved(network.layers, move), 0).to(network.head.weight.dtype)
    result.load_state_dict(weights)
    return result.eval()


def _widened(network: PlainCnn, n: int, rng: np.random.Generator, noise: float) -> Weights:
    """Weights with the next width in the layer at position n and those tied to it."""
    layers, weights = network.layers, dict(network.state_dict())
    old, new = layers[n].width, next_width(layers[n])
    of = torch.from_numpy(np.concatenate([np.arange(old), rng.integers(old, size=new - old)]))
    copies = of.bincount()[of]
    for place in tied(layers, n):
        for name in ("weight", "bias", "running_mean", "running_var"):
            weights[f"blocks.{place}.norm.{name}"] = weights[f"blocks.{place}.norm.{name}"][of]
        kernel = weights[f"blocks.{place}.convolution.weight"]
        wider = kernel[of]
        if noise:
            drawn = torch.from_numpy(rng.standard_normal(wider[old:].shape)).to(wider)
            wider[old:] += noise * kernel.std() * drawn
        weights[f"blocks.{place}.convolution.weight"] = wider
        after = f"blocks.{place + 1}.convolution.weight" if place + 1 < len(layers) else "head.weight"
        following = weights[after].transpose(1, -1)[..., of] / copies
        weights[after] = following.transpose(1, -1)
    return weights


def _deepened(network: PlainCnn, n: int, images: Tensor) -> Weights:
    """Weights with an identity layer after position n."""
    weights: Weights = {}
    for name, value in network.state_dict().items():
        room, _, rest = name.partition(".")
        place, _, rest = rest.partition(".")
        follows = room == "blocks" and int(place) > n
        weights[f"blocks.{int(place) + 1}.{rest}" if follows else name] = value
    for block in network.blocks[: n + 1]:
        images = block(images)
    width, added = network.layers[n].width, f"blocks.{n + 1}"
    variance, mean = torch.var_mean(images, (0, 2, 3), correction=0)
    weights[f"{added}.convolution.weight"] = nn.init.dirac_(images.new_empty(width, width, 3, 3))
    weights[f"{added}.norm.weight"] = (variance + nn.BatchNorm2d(width).eps).sqrt()
    weights |= {f"{added}.norm.{name}": mean for name in ("bias", "running_mean")}
    weights[f"{added}.norm.running_var"] = variance
    weights[f"{added}.norm.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return weights
