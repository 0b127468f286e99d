"""Layers of networks, as matrix multiplications and as loops over a convolution.

A convolution of K filters over C channels, kernel R x S, on an image of H x W pixels (padding included) gives
E x F pixels:

    E = floor((H - R) / stride) + 1,   F = floor((W - S) / stride) + 1,   MACs = batch * E F * K * R S C /
                                                                          groups

It is `groups` matrix multiplications of [M, Kd] by [Kd, N] in sequence, with M = batch E F, N = K / groups,
Kd = R S C / groups. A matrix multiplication is the convolution with H = M, W = R = S = 1, C = Kd, K = N. MACs
are multiply-adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown, whole

KINDS = ("conv", "gemm", "matmul")  # matmul: both operands are activations, so that it has no parameters

Columns = dict[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Layer:
    """One layer, `repeats` times.

    Args:
        name: name of the layer in the network.
        kind: "conv", "gemm" (a fully-connected layer), or "matmul" (of two activations: attention scores).
        channels: channels of all groups, C; for a matrix multiplication, its inner dimension times groups.
        filters: filters of all groups, K; for a matrix multiplication, its columns times groups.
        height, width: input size without padding, pixels; for a matrix multiplication, its rows and 1.
        kernel_h, kernel_w: kernel size, R and S, pixels.
        stride: stride of the kernel in both directions, pixels.
        padding_h, padding_w: added rows and columns of zeros on both sides together, the smaller half in
            front.
        groups: groups of channels and filters; `channels` for a depthwise convolution, heads for attention.
        batch: number of images.
        repeats: number of such layers in the network.
        vectors: learned vectors of `filters` numbers beside the weights: 1 for a bias, 2 for a batch
            normalisation.

    Raises:
        ArchGymError: a size that is not a positive integer, a kernel larger than the padded input, groups
            that do not divide.
    """

    name: str
    kind: str
    channels: int
    filters: int
    height: int
    width: int = 1
    kernel_h: int = 1
    kernel_w: int = 1
    stride: int = 1
    padding_h: int = 0
    padding_w: int = 0
    groups: int = 1
    batch: int = 1
    repeats: int = 1
    vectors: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown(f"kind of layer {self.name!r}", self.kind, KINDS)
        for name in (
            "channels",
            "filters",
            "height",
            "width",
            "kernel_h",
            "kernel_w",
            "stride",
            "groups",
            "batch",
            "repeats",
        ):
            whole(f"{name} of layer {self.name!r}", getattr(self, name), least=1)
        for name in ("padding_h", "padding_w", "vectors"):
            whole(f"{name} of layer {self.name!r}", getattr(self, name), least=0)
        if self.channels % self.groups or self.filters % self.groups:
            raise ArchGymError(
                f"layer {self.name!r}: {self.groups} groups must divide its {self.channels} channels and "
                f"{self.filters} filters"
            )
        padded = (self.height + self.padding_h, self.width + self.padding_w)
        if self.kernel_h > padded[0] or self.kernel_w > padded[1]:
            raise ArchGymError(
                f"layer {self.name!r}: a kernel of {self.kernel_h} x {self.kernel_w} does not fit "
                f"its padded input of {padded[0]} x {padded[1]}"
            )
        if self.kind != "conv" and (self.kernel_h, self.kernel_w, self.width, self.stride) != (1, 1, 1, 1):
            raise ArchGymError(
                f"layer {self.name!r}: a {self.kind} has width, kernel and stride 1; give its rows as height"
            )

    @classmethod
    def gemm(
        cls,
        name: str,
        m: int,
        n: int,
        k: int,
        *,
        kind: str = "gemm",
        groups: int = 1,
        repeats: int = 1,
        vectors: int = 0,
    ) -> Layer:
        """A matrix multiplication [m, k] x [k, n] per group."""
        whole(f"groups of layer {name!r}", groups, least=1)
        return cls(
            name,
            kind,
            channels=k * groups,
            filters=n * groups,
            height=m,
            groups=groups,
            repeats=repeats,
            vectors=vectors,
        )

    @property
    def output_h(self) -> int:
        """Output height E, pixels."""
        return (self.height + self.padding_h - self.kernel_h) // self.stride + 1

    @property
    def output_w(self) -> int:
        """Output width F, pixels."""
        return (self.width + self.padding_w - self.kernel_w) // self.stride + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """M, N and Kd of each group's matrix multiplication."""
        pixels = self.batch * self.output_h * self.output_w
        return (
            pixels,
            self.filters // self.groups,
            self.kernel_h * self.kernel_w * self.channels // self.groups,
        )

    @property
    def macs(self) -> int:
        """Multiply-adds of all groups and repeats."""
        m, n, k = self.shape
        return m * n * k * self.groups * self.repeats

    @property
    def parameters(self) -> int:
        """Learned numbers in all repeats."""
        weights = (
            0
            if self.kind == "matmul"
            else self.kernel_h * self.kernel_w * self.channels * self.filters // self.groups
        )
        return (weights + self.vectors * self.filters) * self.repeats


def columns(layers: tuple[Layer, ...]) -> Columns:
    """Layers as int64 arrays [L]: the symbols of the equations per group, and repetitions.

    `batch, c, k, h, w, r, s, stride, top, left, e, f` of one group's convolution (h and w without padding,
    top and left the zeros in front), `m, n, kd` of its matrix multiplication, `is_gemm` (0 or 1), `count` =
    groups * repeats, and `repeats`.

    Raises:
        ArchGymError: an empty tuple.
    """
    if not layers:
        raise ArchGymError("there are no layers; give at least one")
    rows = [
        {
            "batch": layer.batch,
            "c": layer.channels // layer.groups,
            "k": layer.filters // layer.groups,
            "h": layer.height,
            "w": layer.width,
            "r": layer.kernel_h,
            "s": layer.kernel_w,
            "stride": layer.stride,
            "top": layer.padding_h // 2,
            "left": layer.padding_w // 2,
            "e": layer.output_h,
            "f": layer.output_w,
            "m": layer.shape[0],
            "n": layer.shape[1],
            "kd": layer.shape[2],
            "is_gemm": int(layer.kind != "conv"),
            "count": layer.groups * layer.repeats,
            "repeats": layer.repeats,
        }
        for layer in layers
    ]
    return {name: np.array([row[name] for row in rows], np.int64) for name in rows[0]}
