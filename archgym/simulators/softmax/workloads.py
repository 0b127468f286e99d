"""Softmax shapes of common programs, and the cost of a typical kernel."""

# medians of all feasible designs: 0.47 to 1.4 over one row of 2^10 to 2^26 elements
MEDIAN_TIME_PER_ELEMENT_NS = 0.75
MEDIAN_FLOATS_PER_ELEMENT = 4  # memory traffic, reads and writes

WORKLOADS = {
    "l1": {"rows": 1, "cols": 2**12},
    "l2": {"rows": 1, "cols": 2**16},
    "l3": {"rows": 1, "cols": 2**20},
    "memory": {"rows": 1, "cols": 2**24},
    "classifier": {"rows": 256, "cols": 1000},  # ImageNet classes
    "attention_1k": {"rows": 1024, "cols": 1024},  # one head, square score matrix
    "attention_4k": {"rows": 4096, "cols": 4096},
    "gpt2_vocabulary": {"rows": 1, "cols": 50257},
    "gemma_vocabulary": {"rows": 1, "cols": 256000},
}

# Columns over all levels of the memory hierarchy, vocabularies of language models among them (32,000, 50,257,
# 151,936 and 256,000), with rows of up to 16.8 M (one row), 50 M and 67 M elements in total.
COLS = (
    *(256, 384, 640, 1000, 1536, 2304, 4096, 6000, 10_000, 16_384, 24_576, 32_000, 50_257, 65_536),
    *(100_000, 151_936, 256_000, 400_000, 786_432, 1_000_000, 1_638_400, 2_097_152, 3_000_000),
    *(4_194_304, 6_000_000, 10_000_000, 16_777_216),
)
SHAPES = [
    {"rows": rows, "cols": cols}
    for rows, most in ((1, 16_777_216), (12, 4_194_304), (256, 256_000), (4096, 16_384))
    for cols in COLS
    if cols <= most
]


def median_costs(elements: float) -> dict[str, float]:
    """Costs of the median design on this number of elements: the references of objectives."""
    return {
        "time_per_element_ns": MEDIAN_TIME_PER_ELEMENT_NS,
        "time_s": 1e-9 * MEDIAN_TIME_PER_ELEMENT_NS * elements,
        "memory_traffic_bytes": 4 * elements * MEDIAN_FLOATS_PER_ELEMENT,
    }
