"""Dataflow templates as MAESTRO times them where bandwidth does not limit: the runtime of a convolution in closed form.

K filters, C channels, kernel R x S, output E x F, P processing elements; / / rounded up, [ ] rounded down:

    nvdla        E F  (K / [P / 64])  (C / 64)  (R S + 1)  + 1                                 weights stay; channels and filters in space
    shidiannao   K C  (E / [P / 8])  (F / 8)  (R S + 1)  + 1                                   outputs stay; output pixels in space
    eyeriss      (K / 2)  (C / 4)  F  (E / [P / R])  (2 min(4, C) S + 1)  + 1                  kernel rows stay; rows in space

Source: Kwon et al., "Understanding reuse, performance, and hardware cost of DNN dataflows", MICRO 2019; the forms were fitted to MAESTRO
4eb08d1 with a network of 100,000 bytes per cycle.

Range of validity. Equal to MAESTRO to the last digit for R in {3, 7} and P in {64, 256, 1024}, with stride 1 (stride 2 only where C = 3:
the first layer of a network); elsewhere the forms are extrapolated. Matrix multiplications were not compared. MAESTRO's energy, area and
off-chip traffic are not used: it leaves out or mixes up the energy of the first-level buffers, its area is mostly an arbiter that grows
with the square of P, and it charges stationary weights again off chip.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archgym.errors import ArchGymError, unknown
from archgym.simulators.accelerator.systolic import Integers, positive_integers, up

DATAFLOWS = ("nvdla", "shidiannao", "eyeriss")


def runtime(dataflow: str, pes: Any, k: Any, c: Any, r: Any, s: Any, e: Any, f: Any) -> Integers:
    """Cycles, int64, of the broadcast shape of the arguments.

    Args:
        dataflow: "nvdla", "shidiannao" or "eyeriss".
        pes: processing elements; at least 64 for nvdla, 8 for shidiannao, r for eyeriss.
        k, c: filters and channels.
        r, s: height and width of the kernel.
        e, f: height and width of the output: e = (H - r) // stride + 1 with H padded.

    Raises:
        ArchGymError: another dataflow, a size that is not a positive integer, fewer PEs than the template needs.
    """
    sizes = {"pes": pes, "k": k, "c": c, "r": r, "s": s, "e": e, "f": f}
    pes, k, c, r, s, e, f = (positive_integers(name, value) for name, value in sizes.items())
    result: Integers
    if dataflow == "nvdla":
        result = e * f * up(k, _groups(dataflow, pes, 64)) * up(c, 64) * (r * s + 1) + 1
    elif dataflow == "shidiannao":
        result = k * c * up(e, _groups(dataflow, pes, 8)) * up(f, 8) * (r * s + 1) + 1
    elif dataflow == "eyeriss":
        result = up(k, 2) * up(c, 4) * f * up(e, _groups(dataflow, pes, r)) * (2 * np.minimum(4, c) * s + 1) + 1
    else:
        raise unknown("dataflow template", dataflow, DATAFLOWS)
    return result


def _groups(dataflow: str, pes: Any, size: Any) -> Any:
    """How many groups of `size` PEs there are."""
    if (pes < size).any():
        least = int(np.max(size))
        raise ArchGymError(f"the {dataflow} template needs at least {least} PEs, not {int(np.min(pes))}; give it more")
    return pes // size
