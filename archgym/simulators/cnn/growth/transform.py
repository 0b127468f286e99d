"""Transformations of plain convolutional networks that keep their function in evaluation mode.

Wider (Net2WiderNet), from c to c' channels, with a map g of new channels to old ones, g(j) = j for j < c and
a random old one for the others, U the kernel of the layer, V that of the next one:

    U'[j] = U[g(j)]        V'[:, j] = V[:, g(j)] / |{k : g(k) = g(j)}|        batch norm's rows are copied

Deeper (Net2DeeperNet): an identity kernel, and a batch norm that undoes itself, whose mean mu and variance v
are those of the layer's own input on some images:

    gamma = sqrt(v + eps)        beta = mu        so that BN(x) = x, and ReLU(x) = x, since x is a ReLU's

Kernel: a ring of zeros around it.

A skip adds a layer's input to its output, so the layers that skips tie together (`moves.tied`) are widened
with one map. Copied channels would stay equal for ever in training: `noise` makes them differ.

Sources: Chen et al., "Net2Net", ICLR 2016; Cai et al., "Efficient Architecture Search by Network
Transformation", AAAI 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from archgym.simulators.cnn.growth.moves import MOVES, moved, next_width, tied
from archgym.simulators.cnn.layers import Layer
from archgym.simulators.cnn.network import PlainCnn


def transform(
    network: PlainCnn, move: int, images: Tensor, rng: np.random.Generator, noise: float = 0.0
) -> PlainCnn:
    """The network after a possible move other than "stop"; the given one does not change.

    Args:
        network: the network.
        move: number of the move.
        images: images [B, 1, H, H], for the statistics of an added layer's input.
        rng: source of the copied channels and of noise.
        noise: standard deviation of what is added to the kernels of copied channels, as a share of the
            kernel's own.
    """
    kind, _, layer = MOVES[move].partition(" ")
    layers, n = network.layers, int(layer) - 1
    grown = moved(layers, move)
    if kind == "widen":
        return _widened(network, grown, n, rng, noise)
    if kind == "deepen":
        return _deepened(network, grown, n, images)
    return _enlarged(network, grown, n)


@torch.no_grad()
def _widened(
    network: PlainCnn, grown: Sequence[Layer], n: int, rng: np.random.Generator, noise: float
) -> PlainCnn:
    """The layer at position n, and those tied to it, with the next width."""
    layers = network.layers
    old, new = layers[n].width, next_width(layers[n])
    of = torch.from_numpy(np.concatenate([np.arange(old), rng.integers(old, size=new - old)]))
    copies = of.bincount()[of]
    group, result = tied(layers, n), _like(network, grown)
    for place, (block, source) in enumerate(zip(result.blocks, network.blocks, strict=True)):
        kernel = source.convolution.weight
        if place - 1 in group:  # its input is wider
            kernel = kernel[:, of] / copies[:, None, None]
        if place in group:
            kernel = kernel[of]
            if noise:
                drawn = torch.from_numpy(rng.standard_normal(kernel[old:].shape)).to(kernel.dtype)
                kernel[old:] += noise * source.convolution.weight.std() * drawn
        block.convolution.weight.copy_(kernel)
        _copy_norm(block.norm, source.norm, of if place in group else slice(None))
    if group[-1] == len(layers) - 1:
        result.head.weight.copy_(network.head.weight[:, of] / copies)
    return result


@torch.no_grad()
def _deepened(network: PlainCnn, grown: Sequence[Layer], n: int, images: Tensor) -> PlainCnn:
    """An identity layer after position n."""
    network.eval()
    for block in network.blocks[: n + 1]:
        images = block(images)
    result = _like(network, grown)
    sources = list(network.blocks)
    sources.insert(n + 1, None)
    for block, source in zip(result.blocks, sources, strict=True):
        if source is not None:
            block.load_state_dict(source.state_dict())
    added = result.blocks[n + 1]
    added.convolution.weight.copy_(nn.init.dirac_(torch.empty_like(added.convolution.weight)))
    variance, mean = torch.var_mean(images, (0, 2, 3), correction=0)
    added.norm.running_mean.copy_(mean)
    added.norm.running_var.copy_(variance)
    added.norm.weight.copy_((variance + added.norm.eps).sqrt())
    added.norm.bias.copy_(mean)
    return result


@torch.no_grad()
def _enlarged(network: PlainCnn, grown: Sequence[Layer], n: int) -> PlainCnn:
    """A ring of zeros around the kernel at position n."""
    result, state = _like(network, grown), network.state_dict()
    name = f"blocks.{n}.convolution.weight"
    state[name] = nn.functional.pad(state[name], (1, 1, 1, 1))
    result.load_state_dict(state)
    return result


def _like(network: PlainCnn, layers: Sequence[Layer]) -> PlainCnn:
    """A network of other layers, with the head of this one where the last widths agree."""
    result = PlainCnn(layers, 0).to(network.head.weight.dtype).eval()
    if result.head.weight.shape == network.head.weight.shape:
        result.head.load_state_dict(network.head.state_dict())
    else:
        result.head.bias.copy_(network.head.bias)
    return result


def _copy_norm(norm: nn.BatchNorm2d, source: nn.BatchNorm2d, of: Tensor | slice) -> None:
    """Rows of a batch norm."""
    for name, values in source.state_dict().items():
        getattr(norm, name).copy_(values[of] if values.ndim else values)
