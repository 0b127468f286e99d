"""The terms of the cost model: instruction sets, algorithms, access patterns, passes, prefetch distances."""

from __future__ import annotations

FORMAT = "archgym-softmax-calibration"
VERSION, READABLE = 2, (1, 2)  # version 1 has no `probe`
ISAS = ("scalar", "avx2", "avx512")
ALGORITHMS = (
    "three_pass_recompute",
    "three_pass_reload",
    "two_pass",
    "online",
    "tiled_online",
    "tiled_reload",
)
PATTERNS = (
    "read",
    "write",
    "write_nontemporal",
    "copy",
    "copy_nontemporal",
    "in_place",
    "in_place_nontemporal",
)
PASSES = (
    "maximum",  # max(x)
    "exponential_sum",  # sum exp(x - max)
    "stored_exponential_sum",  # the same, also storing y = exp(x - max)
    "normalised_exponential",  # y = exp(x - max) / sum
    "extended_sum",  # sum exp(x) with an extended exponent
    "extended_output",  # y = exp(x) / sum with an extended exponent
    "online_sum",  # running (max, sum)
    "scale",  # y *= 1 / sum, in place
)
PREFETCH_BYTES = (0, 256, 1024)
DEFAULT = "xeon-2mb-l2"  # recorded calibration
ADVICE = (
    "see archgym/simulators/softmax/README.md for the format, or start from a copy of the recorded "
    f"{DEFAULT}.json"
)
