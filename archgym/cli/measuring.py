"""Steps that `archgym calibrate` and `archgym fidelity softmax` share: both measure kernels on this
machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from archgym.cli.screen import end_interrupted
from archgym.errors import ArchGymError

if TYPE_CHECKING:
    from archgym.simulators.softmax.machine.kernels import Kernels

Seed = Annotated[int, typer.Option(help="Seed for the random sample and the measurement order.")]

COMPILING_S = 0.4  # rough time of a design, to divide the progress bar
_MEASURING_S = 1.2e-8  # rough time of an element of a design


def find_kernels() -> Kernels:
    """Kernels by this machine's compiler."""
    from archgym.simulators.softmax.machine.kernels import Kernels, kernel_compiler

    return Kernels(kernel_compiler())


@contextmanager
def measuring(interrupted: str) -> Iterator[None]:
    """End a measurement with one line after Ctrl-C, and where memory does not suffice.

    Args:
        interrupted: consequence of Ctrl-C, in words.

    Raises:
        typer.Exit: Ctrl-C.
        ArchGymError: memory does not suffice.
    """
    try:
        yield
    except KeyboardInterrupt:
        end_interrupted(interrupted)
    except MemoryError as error:
        raise ArchGymError("this machine has too little memory: measure fewer elements") from error


def measuring_seconds(designs: int, shapes: Sequence[tuple[int, int]]) -> float:
    """Rough time of designs on shapes (rows, cols), to divide the progress bar."""
    from archgym.simulators.softmax.fitting.sample import FIXED_FLOATS

    return designs * _MEASURING_S * sum(FIXED_FLOATS + rows * cols for rows, cols in shapes)


def check_memory(shapes: Sequence[tuple[int, int]]) -> None:
    """Refuse inputs and outputs that would not fit: the two largest shapes are in memory at once, while one
    replaces the other.

    Raises:
        ArchGymError: they do not fit.
    """
    import psutil

    needed = sum(sorted(2 * 4 * rows * cols for rows, cols in shapes)[-2:])
    free = psutil.virtual_memory().available
    if needed > free:
        rows, cols = max(shapes, key=lambda shape: shape[0] * shape[1])
        gigabytes = f"{needed / 2**30:,.1f} GB of memory, {free / 2**30:.1f} GB are free"
        raise ArchGymError(f"{shape_in_words((rows, cols))} elements need {gigabytes}: measure fewer")


def shape_in_words(shape: tuple[int, int]) -> str:
    """ "2 x 3,000"."""
    return " x ".join(f"{n:,}" for n in shape)
