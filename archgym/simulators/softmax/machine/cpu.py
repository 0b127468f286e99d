"""This machine's processor: instruction sets, so that only code that it supports is run, processors and
caches.
"""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

from archgym.simulators.compiler import X86

NEEDS = {"scalar": (), "avx2": ("avx2", "fma"), "avx512": ("avx512f", "fma")}


@cache
def flags() -> frozenset[str]:
    """The processor's features as the operating system names them; empty where they are unknown.

    Linux leaves out features that it does not support itself, such as registers that it would not save.
    """
    if not X86:
        return frozenset()
    if platform.system() == "Darwin":
        names = {"hw.optional.avx2_0": "avx2", "hw.optional.fma": "fma", "hw.optional.avx512f": "avx512f"}
        return frozenset(flag for name, flag in names.items() if _sysctl(name) == "1")
    return frozenset(_cpuinfo("flags").split())


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets of this processor, out of scalar, avx2 and avx512."""
    return tuple(isa for isa, needed in NEEDS.items() if flags().issuperset(needed))


@cache
def processor() -> str:
    """The processor's name."""
    if platform.system() == "Darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processors() -> tuple[int, ...]:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


@cache
def cache_bytes() -> dict[str, int]:
    """Sizes of the data caches of one processor: "L1d", "L2", "L3"; only those that the operating system
    reports.
    """
    if platform.system() == "Darwin":
        names = {"L1d": "hw.l1dcachesize", "L2": "hw.l2cachesize", "L3": "hw.l3cachesize"}
        return {
            level: int(size)
            for level, name in names.items()
            if (size := _sysctl(name)).isdigit() and int(size)
        }
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with suppress(OSError, ValueError):
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                sizes[f"L{level}" + ("d" if level == "1" else "")] = int(size.removesuffix("K")) * 1024
    return sizes


def _cpuinfo(entry: str) -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                (line.partition(":")[2].strip() for line in file if line.partition(":")[0].strip() == entry),
                "",
            )
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(
            ["sysctl", "-n", name], capture_output=True, text=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
