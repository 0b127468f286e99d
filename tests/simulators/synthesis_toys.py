"""What the tests of logic synthesis share: ABC by hand, a stand-in that hangs, a small library of cells."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest

from archgym.errors import SimulatorUnavailable
from archgym.simulators.synthesis.abc import find_abc


def abc_or_none() -> Path | None:
    try:
        return find_abc()
    except SimulatorUnavailable:
        return None


ABC = abc_or_none()
needs_abc = pytest.mark.skipif(ABC is None, reason='needs ABC: pip install "archgym[synthesis]"')


def by_hand(folder: Path, content: bytes, commands: str, suffix: str = ".aig") -> list[int]:
    """AND gates and levels that the program prints for commands on a circuit."""
    (folder / f"circuit{suffix}").write_bytes(content)
    done = subprocess.run(
        [str(ABC), "-s", "-q", f"read circuit{suffix}; strash; {commands}; print_stats"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.findall(r"(?:and|nd)\s*=\s*(\d+)\b.*?lev\s*=\s*(\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    return [int(number) for number in found[-1]]


def stand_in(path: Path, hangs: str, does: str = "sleep 100") -> Path:
    """A program that is ABC, except for the command `hangs`."""
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *version*) exec {ABC} "$@";; esac\n'
        f'while IFS= read -r line; do case "$line" in "{hangs}"*) {does};; esac; '
        f'printf "%s\\n" "$line"; done | {ABC} "$@"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def cells() -> str:
    """A Liberty file with six cells, whose delay is d ps and 1 ps per fF."""
    gates = (
        ("INV", 1, "!A", "A", 5, "negative_unate"),
        ("BUF", 2, "A", "A", 9, "positive_unate"),
        ("NAND2", 2, "!(A*B)", "AB", 8, "negative_unate"),
        ("NOR2", 2, "!(A+B)", "AB", 10, "negative_unate"),
        ("AND2", 3, "A*B", "AB", 11, "positive_unate"),
        ("XOR2", 5, "(A*!B)+(!A*B)", "AB", 15, "non_unate"),
    )
    lines = [
        'library (ours) { delay_model : table_lookup; time_unit : "1ps"; capacitive_load_unit (1, ff);',
        "lu_table_template (t) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;",
        'index_1 ("1, 10, 100"); index_2 ("0.1, 10, 100"); }',
    ]
    for name, area, function, pins, d, sense in gates:
        lines.append(f"cell ({name}) {{ area : {area};")
        lines += [f"pin ({pin}) {{ direction : input; capacitance : 1; }}" for pin in pins]
        lines.append(f'pin (Y) {{ direction : output; max_capacitance : 100; function : "{function}";')
        rows = ", ".join(f'"{a}, {a + 20}, {a + 200}"' for a in (d, d + 5, d + 30))
        for pin in pins:
            lines.append(f'timing () {{ related_pin : "{pin}"; timing_sense : {sense};')
            lines += [
                f"{kind} (t) {{ values ({rows}); }}"
                for kind in ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
            ]
            lines.append("}")
        lines.append("} }")
    return "\n".join([*lines, "}"])
