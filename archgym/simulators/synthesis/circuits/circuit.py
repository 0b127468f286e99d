"""Circuits by name or path: `adder-16` is ours, `mine.blif` the user's.

A name is a generator and its numbers: "multiplier-4" (bits), "max-4x8" (words x bits), "random-7" or
"random-7x12x10" (seed, inputs, outputs). Generated circuits are binary AIGER files. Files of the user are
checked before a tool reads them, and written under a name of ours, so that nothing in their own name or
content becomes a command.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from archgym.errors import ArchGymError, unknown
from archgym.files.archive import reading
from archgym.files.paths import open_regular, write_atomically
from archgym.simulators.synthesis.circuits.aig import Aig
from archgym.simulators.synthesis.circuits.aiger import read_ascii, read_binary
from archgym.simulators.synthesis.circuits.arithmetic import (
    adder,
    comparator,
    int_to_float,
    maximum,
    multiplier,
)
from archgym.simulators.synthesis.circuits.control import (
    barrel_shifter,
    decoder,
    priority_encoder,
    random_logic,
)
from archgym.simulators.synthesis.circuits.netlists import check_bench, check_blif
from archgym.simulators.synthesis.circuits.verilog import check_verilog
from archgym.words import one_line, shown

MOST_BYTES = 16 << 20
SUFFIXES = (".aig", ".aag", ".blif", ".bench", ".v")


@dataclass(frozen=True)
class Generator:
    """A family of circuits.

    Attributes:
        build: the graph for its numbers.
        limits: name, least and largest value of each number.
        needed: how many of the numbers have no default.
    """

    build: Callable[..., Aig]
    limits: tuple[tuple[str, int, int], ...]
    needed: int


GENERATORS = {
    "adder": Generator(adder, (("bits", 1, 1024),), 1),
    "barrel_shifter": Generator(barrel_shifter, (("bits", 2, 512),), 1),
    "comparator": Generator(comparator, (("bits", 1, 1024),), 1),
    "decoder": Generator(decoder, (("bits", 1, 10),), 1),
    "int_to_float": Generator(int_to_float, (("bits", 2, 128),), 1),
    "max": Generator(maximum, (("words", 2, 64), ("bits", 1, 256)), 2),
    "multiplier": Generator(multiplier, (("bits", 1, 64),), 1),
    "priority_encoder": Generator(priority_encoder, (("requests", 2, 1024),), 1),
    "random": Generator(random_logic, (("seed", 0, 10**9), ("inputs", 4, 64), ("outputs", 1, 256)), 1),
}
SHIPPED = (
    "adder-8",
    "adder-16",
    "adder-64",
    "barrel_shifter-16",
    "barrel_shifter-64",
    "comparator-16",
    "decoder-6",
    "int_to_float-8",
    "int_to_float-11",
    "max-4x8",
    "multiplier-4",
    "multiplier-8",
    "multiplier-16",
    "priority_encoder-32",
    "random-7",
)
_NAME = re.compile(r"([a-z_]+)-([0-9]{1,10}(?:x[0-9]{1,10})*)")


@dataclass(frozen=True)
class Circuit:
    """A combinational circuit as the content of a file.

    Attributes:
        name: name of the circuit, or of the user's file.
        suffix: format of the content: ".aig", ".blif", ".bench" or ".v".
        content: the file.
        digest: 16 hexadecimal digits of a hash of format and content.
    """

    name: str
    suffix: str
    content: bytes
    digest: str

    def write(self, folder: str | Path) -> Path:
        """Write the circuit to a folder, under its digest.

        Args:
            folder: folder that exists.

        Returns:
            The file's path.

        Raises:
            ArchGymError: it cannot be written.
        """
        return write_atomically(Path(folder) / f"{self.digest}{self.suffix}", self.content)


def list_circuits() -> list[str]:
    """Names of circuits of ours that are ready for use; `GENERATORS` take other numbers as well."""
    return list(SHIPPED)


def load_circuit(source: str | os.PathLike[str]) -> Circuit:
    """A circuit of ours by its name, or the user's from a file.

    Args:
        source: name, such as "adder-16", or path of an .aig, .aag, .blif, .bench or .v file.

    Raises:
        ArchGymError: an unknown name, numbers out of range, or a file that is refused.
    """
    if isinstance(source, str) and (found := _NAME.fullmatch(source)):
        return _generated(found[1], tuple(map(int, found[2].split("x"))))
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        if isinstance(source, str) and source in GENERATORS:
            raise ArchGymError(f"circuit {source!r} needs its numbers: {_form(source)}")
        raise ArchGymError(
            f"expected a circuit (such as {', '.join(SHIPPED[:3])}) or a file {', '.join(SUFFIXES)}, got "
            f"{shown(str(source))}"
        )
    with reading(path, f"a circuit in the form {suffix}"), open_regular(path, follow=True) as file:
        content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ArchGymError(f"expected at most {MOST_BYTES >> 20} MiB")
        return _checked(one_line(path.name, 100), suffix, content)


def build_circuit(name: str) -> Aig:
    """The graph of a circuit of ours.

    Args:
        name: name, such as "adder-16".

    Raises:
        ArchGymError: an unknown name, or numbers out of range.
    """
    if not (found := _NAME.fullmatch(name)):
        raise ArchGymError(f"expected a name such as {SHIPPED[0]!r}, got {shown(name)}")
    return _graph(found[1], tuple(map(int, found[2].split("x"))))


def _graph(kind: str, numbers: tuple[int, ...]) -> Aig:
    generator = GENERATORS.get(kind)
    if generator is None:
        raise unknown("circuit", kind, GENERATORS)
    if not generator.needed <= len(numbers) <= len(generator.limits):
        raise ArchGymError(f"circuit {kind!r} takes {_form(kind)}, got {len(numbers)} numbers")
    for (what, least, most), number in zip(generator.limits, numbers, strict=False):
        if not least <= number <= most:
            raise ArchGymError(f"expected {what} of {kind!r} in {least:,} to {most:,}, got {number:,}")
    return generator.build(*numbers).used()


def _form(kind: str) -> str:
    """ "max-<words>x<bits>"."""
    generator = GENERATORS[kind]
    names = [f"<{what}>" for what, _, _ in generator.limits]
    rest = "".join(f"[x{name}]" for name in names[generator.needed :])
    return f"{kind}-{'x'.join(names[: generator.needed])}{rest}"


@lru_cache(maxsize=32)
def _generated(kind: str, numbers: tuple[int, ...]) -> Circuit:
    content = _graph(kind, numbers).to_aiger()
    return _circuit(f"{kind}-{'x'.join(map(str, numbers))}", ".aig", content)


def _checked(name: str, suffix: str, content: bytes) -> Circuit:
    """A user's circuit, if it passes the check of its format; AIGER is written anew, without names."""
    if suffix in (".aig", ".aag"):
        read = read_binary if suffix == ".aig" else read_ascii
        return _circuit(name, ".aig", read(content).to_aiger())
    {".blif": check_blif, ".bench": check_bench, ".v": check_verilog}[suffix](content)
    return _circuit(name, suffix, content)


def _circuit(name: str, suffix: str, content: bytes) -> Circuit:
    return Circuit(name, suffix, content, hashlib.sha256(suffix.encode() + content).hexdigest()[:16])
