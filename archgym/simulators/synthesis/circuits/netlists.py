"""Checks of the user's netlists in BLIF and BENCH, whose text then goes to the tool as it is.

    BLIF     .model, .inputs, .outputs, .names with its rows, .end; one model
    BENCH    INPUT(x), OUTPUT(x), x = GATE(a, b, ...), x = LUT 0x6 (a, b), x = vdd, x = gnd

Every signal in use has exactly one driver, and there is no cycle. Latches, library gates, models
within models, and directives that read other files are refused.
Sources: "Berkeley Logic Interchange Format (BLIF)", UC Berkeley 1992; Brglez and Fujiwara, "A neutral netlist
of 10 combinational benchmark circuits", ISCAS 1985.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from archgym.errors import ArchGymError
from archgym.words import shown

LONGEST = 1000  # characters of a name
MOST_GATES = 1_000_000
REMEDIES = {  # directives of BLIF that are refused
    ".latch": "cut latches to inputs and outputs",
    ".mlatch": "cut latches to inputs and outputs",
    ".subckt": "flatten it first",
    ".gate": "write it without library gates",
    ".search": "put everything into one file",
    ".exdc": "drop external don't-cares",
}
ONE_INPUT = ("NOT", "BUF", "BUFF")
GATES = ("AND", "NAND", "OR", "NOR", "XOR", "XNOR", *ONE_INPUT)
_PORT = re.compile(r"(INPUT|OUTPUT)\s*\(\s*([^\s(),=]+)\s*\)", re.IGNORECASE)
_GATE = re.compile(r"([^\s(),=]+)\s*=\s*([A-Za-z]+)(\s+0x[0-9a-fA-F]+)?\s*(?:\(([^()=]*)\))?")


def text_of(content: bytes) -> str:
    """The text of a netlist.

    Raises:
        ArchGymError: it has other bytes than printable ASCII and white space.
    """
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.isascii() or not line.translate(None, b"\t\r\f").decode("ascii").isprintable():
            raise ArchGymError(f"expected ASCII text, got other bytes in line {number}")
    return content.decode("ascii")


class Netlist:
    """Signals and what drives them, without their functions."""

    def __init__(self) -> None:
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.drivers: dict[str, tuple[str, ...]] = {}

    def drive(self, signal: str, sources: Iterable[str]) -> None:
        """A gate from sources to a signal that nothing drives yet."""
        names = tuple(sources)
        for name in (signal, *names):
            if len(name) > LONGEST:
                raise ArchGymError(
                    f"expected names of at most {LONGEST} characters, got one of {len(name):,}"
                )
        if signal in self.drivers:
            raise ArchGymError(f"signal {shown(signal)} has two drivers; remove one")
        if len(self.drivers) >= MOST_GATES:
            raise ArchGymError(f"expected at most {MOST_GATES:,} gates")
        self.drivers[signal] = names

    def check(self) -> None:
        """Refuse a netlist without inputs or outputs, with undriven signals, or with a cycle.

        Raises:
            ArchGymError: it is refused.
        """
        if not self.inputs or not self.outputs:
            raise ArchGymError(
                f"expected inputs and outputs, got {len(self.inputs)} and {len(self.outputs)}; "
                "the file may be truncated"
            )
        for name in self.inputs:
            self.drive(name, ())
        if len(set(self.outputs)) < len(self.outputs):
            raise ArchGymError("expected each output once; remove the second")
        for names in (*self.drivers.values(), self.outputs):
            for name in names:
                if name not in self.drivers:
                    raise ArchGymError(f"nothing drives signal {shown(name)}; the file may be truncated")
        try:
            for _ in TopologicalSorter(self.drivers).static_order():
                pass
        except CycleError as error:
            cycle = ", ".join(shown(name, 30) for name in error.args[1][:4])
            raise ArchGymError(f"expected a circuit without cycles, got one through {cycle}") from None


def check_bench(content: bytes) -> None:
    """Refuse a BENCH file that is malformed, cyclic or sequential.

    Raises:
        ArchGymError: it is refused.
    """
    netlist = Netlist()
    for number, line in enumerate(text_of(content).splitlines(), start=1):
        statement = line.partition("#")[0].strip()
        if not statement:
            continue
        if port := _PORT.fullmatch(statement):
            (netlist.inputs if port[1].upper() == "INPUT" else netlist.outputs).append(port[2])
        elif gate := _GATE.fullmatch(statement):
            _bench_gate(netlist, number, *gate.groups())
        else:
            raise ArchGymError(
                f"expected INPUT(x), OUTPUT(x) or x = GATE(a, b) in line {number}, got {shown(statement)}"
            )
    netlist.check()


def _bench_gate(
    netlist: Netlist, number: int, signal: str, kind: str, table: str | None, arguments: str | None
) -> None:
    """One gate, if its kind and its number of sources agree."""
    sources = [name.strip() for name in arguments.split(",")] if arguments is not None else []
    kind = kind.upper()
    if kind == "DFF":
        raise ArchGymError(f"line {number} has a flip-flop; cut these to inputs and outputs")
    known = kind in (*GATES, "VDD", "GND", "LUT")
    least, most = (1, 1) if kind in ONE_INPUT else (0, 0) if kind in ("VDD", "GND") else (1, 1000)
    if (
        not known
        or not least <= len(sources) <= most
        or not all(sources)
        or any(len(name.split()) > 1 for name in sources)
        or (table is not None) != (kind == "LUT")
    ):
        raise ArchGymError(
            f"expected a gate ({', '.join(GATES)}) and its signals in line {number}, got {kind}"
            f" of {len(sources)}"
        )
    netlist.drive(signal, sources)


def check_blif(content: bytes) -> None:
    """Refuse a BLIF file that is malformed, cyclic, sequential or hierarchical.

    Raises:
        ArchGymError: it is refused.
    """
    netlist, models, width, values = Netlist(), 0, -1, set[str]()
    ended = False
    for number, cells in _logical_lines(text_of(content)):
        word = cells[0]
        if ended:
            raise ArchGymError(f"expected one model, got more after .end in line {number}; flatten it first")
        if word.startswith("."):
            width, values = -1, set()
        if word == ".model":
            models += 1
        elif word == ".inputs":
            netlist.inputs += cells[1:]
        elif word == ".outputs":
            netlist.outputs += cells[1:]
        elif word == ".names" and len(cells) > 1:
            netlist.drive(cells[-1], cells[1:-1])
            width = len(cells) - 2
        elif word == ".end":
            ended = True
        elif word.startswith("."):
            remedy = REMEDIES.get(word, "use .model, .inputs, .outputs, .names and .end")
            raise ArchGymError(f"line {number} has {shown(word)}, which is not taken; {remedy}")
        else:
            values.add(_row(cells, width, number))
            if len(values) > 1:
                raise ArchGymError(f"expected rows of one table with one value, got both in line {number}")
    if models != 1 or not ended:
        raise ArchGymError(
            f"expected one .model and its .end, got {models} and {int(ended)}; the file may be truncated"
        )
    netlist.check()


def _row(cells: list[str], width: int, number: int) -> str:
    """The value of a row of a .names table."""
    plane = cells[0] if width > 0 else ""
    if (
        width < 0
        or len(cells) != (2 if width else 1)
        or len(plane) != width
        or set(plane) - set("01-")
        or cells[-1] not in ("0", "1")
    ):
        raise ArchGymError(f"expected a directive or a row of .names in line {number}, got {shown(cells[0])}")
    return cells[-1]


def _logical_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number and words of each line that is not empty; a backslash joins a line with the next."""
    held: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        statement = line.partition("#")[0].rstrip()
        more = statement.endswith("\\")
        held += statement.removesuffix("\\").split()
        if held and not more:
            yield number, held
            held = []
    if held:
        raise ArchGymError("the last line ends with a backslash; the file is truncated")
