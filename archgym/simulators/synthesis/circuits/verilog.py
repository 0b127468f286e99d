"""A check of the user's structural Verilog, whose text then goes to the tool as it is.

Only what could do harm or is never combinational is found here: directives (a back tick) that read files or
define macros, system tasks ($), registers, processes, several modules, a file that ends early. The tool
parses the rest, and its message becomes the error.
"""

from __future__ import annotations

import re

from archgym.errors import ArchGymError
from archgym.simulators.synthesis.circuits.netlists import LONGEST, text_of
from archgym.words import shown

SEQUENTIAL = ("always", "always_ff", "always_latch", "initial", "reg", "specify", "primitive", "table")
OTHERS = ("always_comb", "function", "task", "generate", "defparam", "parameter", "config", "library")
_SKIPPED = re.compile(r'//[^\n]*|/\*.*?(?:\*/|\Z)|"[^"\n]*"', re.DOTALL)
_WORD = re.compile(r"\\\S+|[`$]?[A-Za-z_][\w$]*|`|\$")


def check_verilog(content: bytes) -> None:
    """Refuse a Verilog file with directives, system tasks, registers, processes, or not exactly one module.

    Raises:
        ArchGymError: it is refused.
    """
    text = _SKIPPED.sub(_skip, text_of(content))
    if "/*" in text:
        raise ArchGymError("a comment does not end; the file is truncated")
    words = _WORD.findall(text)
    for word in words:
        if len(word) > LONGEST:
            raise ArchGymError(f"expected names of at most {LONGEST} characters, got one of {len(word):,}")
        if word[0] in "`$":
            raise ArchGymError(f"{shown(word)} is not taken; write the netlist without directives and tasks")
        if word in SEQUENTIAL:
            raise ArchGymError(f"expected a combinational netlist, got {word}; cut registers to ports")
        if word in OTHERS:
            raise ArchGymError(f"expected a structural netlist of gates and assign, got {word}")
    modules, ends = words.count("module"), words.count("endmodule")
    if modules != 1 or ends != 1 or words[-1] != "endmodule":
        raise ArchGymError(
            f"expected one module and its endmodule, got {modules} and {ends}; flatten it, unless the file "
            "is truncated"
        )
    if "input" not in words or "output" not in words:
        raise ArchGymError("expected inputs and outputs, got none")


def _skip(found: re.Match[str]) -> str:
    """A blank for a comment or a text; a comment without an end stays."""
    return "/*" if found[0].startswith("/*") and not found[0].endswith("*/", 2) else " "
