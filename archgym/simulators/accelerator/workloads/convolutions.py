"""Convolutions of any stride, dilation and number of dimensions as layers, which have one stride and two
dimensions.

Along one axis, E outputs of R taps each read rows `stride e + dilation r - front`. Convolutions that a layer
cannot express are split, with the same multiply-adds:

- Dilation, with d = dilation / gcd(stride, dilation): outputs e = d e' + p read only every d-th row, so that
  each p is a separate image (TensorFlow's space to batch).
- Strides that differ, with q = stride / their greatest common divisor: taps r = q t + p read only every q-th
  row, so that each p is a separate layer, and the results are added (a polyphase decomposition).
- An axis with one output has any stride; beyond two axes, its taps become channels. Outputs of an axis with
    one tap become images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from archgym.errors import ArchGymError
from archgym.simulators.accelerator.layers import Layer

MAX_PARTS = 256  # layers that a convolution is split into


class Axis(NamedTuple):
    """One direction of a convolution: `size` pixels between `front` and `back` zeros."""

    size: int
    kernel: int
    stride: int
    dilation: int = 1
    front: int = 0
    back: int = 0

    @property
    def span(self) -> int:
        """Rows from the first tap to the last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def outputs(self) -> int:
        """Outputs E."""
        return (self.size + self.front + self.back - self.span) // self.stride + 1


class _Part(NamedTuple):
    """An axis without dilation: rows start + step i, zeros outside 0 to size."""

    size: int
    outputs: int
    kernel: int
    stride: int
    start: int
    step: int
    times: int

    @property
    def rows(self) -> tuple[int, int]:
        """Numbers of rows of the image and of zeros that are read."""
        count = (self.outputs - 1) * self.stride + self.kernel
        first, last = -(self.start // self.step), (self.size - 1 - self.start) // self.step
        inside = max(min(last, count - 1) - max(first, 0) + 1, 1)
        return inside, count - inside


def convolution(
    name: str,
    axes: Sequence[Axis],
    channels: int,
    filters: int,
    *,
    groups: int = 1,
    batch: int = 1,
    vectors: int = 0,
) -> list[Layer]:
    """The layers of a convolution: one under its name, or several, name[0], name[1], ..., with the same
    multiply-adds in total.

    Raises:
        ArchGymError: a kernel larger than its input, sizes that are not positive, or three dimensions that
            cannot be expressed as two.
    """
    for axis in axes:
        if axis.outputs < 1 and min(axis.front, axis.back) >= 0:
            raise ArchGymError(
                f"a kernel that spans {axis.span} pixels does not fit a padded input of "
                f"{axis.size + axis.front + axis.back}"
            )
    axes = [axis._replace(dilation=1) if axis.kernel == 1 else axis for axis in axes]
    for axis in tuple(axes):
        if len(axes) > 2 and (axis.outputs == 1 or (axis.kernel == 1 and axis.front <= 0 and axis.back <= 0)):
            channels, batch = channels * axis.kernel, batch * axis.outputs
            axes.remove(axis)
    if len(axes) > 2:
        raise ArchGymError(
            f"a kernel of {' x '.join(str(axis.kernel) for axis in axes)} on "
            f"{' x '.join(str(axis.size) for axis in axes)}: layers have two dimensions; remove the node, or "
            "write its layers as a .csv workload"
        )
    alike = {"channels": channels, "filters": filters, "groups": groups}
    if len({axis.stride for axis in axes}) == 1 and all(axis.dilation == 1 for axis in axes):
        one, two = (*axes, Axis(1, 1, 1))[:2]
        sizes = _sizes(
            (one.size, one.front + one.back, one.kernel),
            (two.size, two.front + two.back, two.kernel),
            one.stride,
        )
        return [Layer(name, "conv", **alike, **sizes, batch=batch, vectors=vectors)]
    plain = [_without_dilation(axis) for axis in axes]
    stride = math.gcd(*(part.stride for parts in plain for part in parts if part.outputs > 1)) or 1
    count = math.prod(sum(min(part.stride // stride, part.kernel) for part in parts) for parts in plain)
    if count > MAX_PARTS:
        strides = " x ".join(str(axis.stride) for axis in axes)
        raise ArchGymError(
            f"strides {strides} take {count:,} layers of equal strides, more than {MAX_PARTS}: make them "
            "equal"
        )
    split = [[piece for part in parts for piece in _with_stride(part, stride)] for parts in plain]
    found = []
    for number, parts in enumerate(product(*split)):
        h, w = (*parts, _Part(1, 1, 1, 1, 0, 1, 1))[:2]
        title = f"{name}[{number}]" if math.prod(map(len, split)) > 1 else name
        sizes = _sizes((*h.rows, h.kernel), (*w.rows, w.kernel), stride)
        found.append(
            Layer(
                title,
                "conv",
                **alike,
                **sizes,
                batch=batch * h.times * w.times,
                vectors=0 if number else vectors,
            )
        )
    return found


def _sizes(rows: tuple[int, int, int], columns: tuple[int, int, int], stride: int) -> dict[str, int]:
    """Fields of a layer from pixels, zeros and taps of each direction."""
    names = ("height", "padding_h", "kernel_h", "width", "padding_w", "kernel_w", "stride")
    return dict(zip(names, (*rows, *columns, stride), strict=True))


def _without_dilation(axis: Axis) -> list[_Part]:
    """The axis as parts without dilation, with separate outputs and rows; equal parts become one, several
    times.
    """
    if axis.outputs == 1:
        return [_Part(axis.size, 1, axis.kernel, 1, -axis.front, axis.dilation, 1)]
    shared = math.gcd(axis.stride, axis.dilation)
    apart = axis.dilation // shared
    fewer, longer = divmod(axis.outputs, apart)
    return [
        _Part(
            axis.size,
            outputs,
            axis.kernel,
            axis.stride // shared,
            axis.stride * first - axis.front,
            axis.dilation,
            times,
        )
        for outputs, times, first in ((fewer + 1, longer, 0), (fewer, apart - longer, longer))
        if outputs and times
    ]


def _with_stride(part: _Part, stride: int) -> list[_Part]:
    """The part as several of a smaller stride, with separate taps and rows; their results are added."""
    if part.outputs == 1:
        return [part._replace(stride=stride)]
    ratio = part.stride // stride
    return [
        part._replace(
            kernel=-(-(part.kernel - phase) // ratio),
            stride=stride,
            start=part.start + part.step * phase,
            step=part.step * ratio,
        )
        for phase in range(min(ratio, part.kernel))
    ]
