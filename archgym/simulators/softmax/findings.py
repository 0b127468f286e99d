"""The lines of `archgym doctor` on the processor and the C compiler, as measured kernels see them."""

from __future__ import annotations

from collections.abc import Iterator

from archgym.errors import reason_of
from archgym.files.paths import data_folder
from archgym.registry import Finding
from archgym.simulators.compiler import CompilerError
from archgym.simulators.softmax.machine.cpu import cache_bytes, instruction_sets, processor, processors
from archgym.simulators.softmax.machine.kernels import kernel_compiler


def findings() -> Iterator[Finding]:
    """Processor and compiler."""
    caches = ", ".join(f"{level} {size // 1024:,} KiB" for level, size in cache_bytes().items())
    yield Finding(
        "Machine",
        "processor",
        "ok",
        f"{processor()}, {len(processors())} usable; {', '.join(instruction_sets())}; {caches}",
    )
    try:
        yield Finding("Machine", "C compiler", "ok", kernel_compiler(data_folder("kernels")).version)
    except CompilerError as error:
        remedy = 'pip install "archgym[compiler]"'
        yield Finding(
            "Machine",
            "C compiler",
            "missing",
            reason_of(error),
            "measured kernels: --set backend=measured",
            remedy,
        )
