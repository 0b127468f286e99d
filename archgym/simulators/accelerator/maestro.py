"""Dataflow templates of MAESTRO without a limit on bandwidth: the runtime of a convolution in closed form.

K filters, C channels, kernel R x S, output E x F, P processing elements; divisions round up, those in [ ]
down:

    nvdla        E F  (K / [P / 64])  (C / 64)  (R S + 1)  + 1                  weights stay; channels and
                                                           filters in space
    shidiannao   K C  (E / [P / 8])  (F / 8)  (R S + 1)  + 1                    outputs stay; output pixels in
                                                         space
    eyeriss      (K / 2)  (C / 4)  F  (E / [P / R])  (2 min(4, C) S + 1)  + 1   kernel rows stay; rows in
                                                                          space

Source: Kwon et al., "Understanding reuse, performance, and hardware cost of DNN dataflows", MICRO 2019; the
    forms were fitted to MAESTRO
4eb08d1 with a network of 100,000 bytes per cycle.

Range of validity. Equal to MAESTRO to the last digit for R in {3, 7} and P in {64, 256, 1024}, with stride 1
(stride 2 only where C = 3: the first layer of a network); elsewhere the forms are extrapolated. Matrix
multiplications were not compared. MAESTRO's energy, area and off-chip traffic are not used: it omits or
confuses the energy of the first-level buffers, its area is mostly an arbiter that grows with the square of P,
and it counts stationary weights twice off chip.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.simulators.accelerator.systolic import Integers, ceil_div, positive_integers

DATAFLOWS = ("nvdla", "shidiannao", "eyeriss")


def runtime(dataflow: str, pes: Any, k: Any, c: Any, r: Any, s: Any, e: Any, f: Any) -> Integers:
    """Cycles, int64, in the broadcast shape of the arguments.

    Args:
        dataflow: "nvdla", "shidiannao" or "eyeriss".
        pes: number of processing elements, at least 64 for nvdla, 8 for shidiannao, r for eyeriss.
        k, c: filters and channels.
        r, s: height and width of the kernel.
        e, f: height and width of the output: e = (H - r) // stride + 1 with H padded.

    Raises:
        ArchGymError: an unknown dataflow, a size that is not a positive integer, fewer PEs than the template
            needs.
    """
    sizes = {"pes": pes, "k": k, "c": c, "r": r, "s": s, "e": e, "f": f}
    pes, k, c, r, s, e, f = (positive_integers(name, value) for name, value in sizes.items())
    if dataflow == "nvdla":
        return e * f * ceil_div(k, _groups(dataflow, pes, 64)) * ceil_div(c, 64) * (r * s + 1) + 1
    if dataflow == "shidiannao":
        return k * c * ceil_div(e, _groups(dataflow, pes, 8)) * ceil_div(f, 8) * (r * s + 1) + 1
    if dataflow == "eyeriss":
        return (
            ceil_div(k, 2)
            * ceil_div(c, 4)
            * f
            * ceil_div(e, _groups(dataflow, pes, r))
            * (2 * np.minimum(4, c) * s + 1)
            + 1
        )
    raise unknown("dataflow template", dataflow, DATAFLOWS)


def _groups(dataflow: str, pes: Any, size: Any) -> Any:
    """Number of groups of `size` PEs."""
    if (pes < size).any():
        least = int(np.max(size))
        raise ArchGymError(
            f"the {dataflow} template needs at least {least} PEs, not {int(np.min(pes))}; raise pes"
        )
    return pes // size
