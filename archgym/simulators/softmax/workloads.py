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


def median_costs(elements: float) -> dict[str, float]:
    """Costs of the median design on this number of elements: the references of objectives."""
    return {
        "time_per_element_ns": MEDIAN_TIME_PER_ELEMENT_NS,
        "time_s": 1e-9 * MEDIAN_TIME_PER_ELEMENT_NS * elements,
        "memory_traffic_bytes": 4 * elements * MEDIAN_FLOATS_PER_ELEMENT,
    }
