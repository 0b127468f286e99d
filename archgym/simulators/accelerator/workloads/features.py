"""Features of workloads: statistics of the layers on which the costs of any design depend.

Sizes of a layer, in log2: M, N and Kd of its matrix multiplications, groups, batch, kernel, stride, image,
1 + the zeros in front of it, output, words of its operands (inputs, weights, outputs, and all words),
multiply-adds, and intensity = multiply-adds per word. Of L layers, each counted as often as it repeats, with
weights w = multiply-adds over those of all layers,

    mean x       sum_l w_l x_l
    deviation x  sqrt(sum_l w_l (x_l - mean x)^2)
    largest x    max_l x_l
    total x      log2 sum_l 2^x_l
    share kind   sum of w over the layers of a kind

so that the means of one layer are its sizes, from which `layers.columns` follow, and the shares its kind.
"""

from __future__ import annotations

import numpy as np

from archgym.simulators.accelerator.layers import Layer, columns
from archgym.space import Array

LARGEST = ("inputs", "weights", "outputs")  # what a buffer holds
TOTAL = ("macs", "words")
SPREAD = ("m", "n", "k", "groups", "intensity")
KINDS = ("conv", "depthwise", "gemm", "matmul")


def layer_features(layers: tuple[Layer, ...]) -> dict[str, float]:
    """Features of the layers of one workload, as above, by name."""
    sizes, repeats = layer_sizes(layers), np.array([layer.repeats for layer in layers], float)
    weights = np.array([layer.macs for layer in layers], float)
    weights /= weights.sum()
    mean = {name: float(weights @ x) for name, x in sizes.items()}
    kinds = np.array([_kind(layer) for layer in layers])
    return {
        **{f"mean {name}": x for name, x in mean.items() if name not in (*LARGEST, *TOTAL)},
        **{f"deviation {name}": float(np.sqrt(weights @ (sizes[name] - mean[name]) ** 2)) for name in SPREAD},
        **{f"largest {name}": float(sizes[name].max()) for name in LARGEST},
        **{f"total {name}": float(np.log2(repeats @ 2 ** sizes[name])) for name in TOTAL},
        "total layers": float(np.log2(repeats.sum())),
        **{f"share {kind}": float(weights @ (kinds == kind)) for kind in KINDS},
    }


def layer_sizes(layers: tuple[Layer, ...]) -> dict[str, Array]:
    """Sizes of L layers, all groups together and each layer once, float64 [L] in log2; zeros as 1 + zeros."""
    of = columns(layers)
    groups = of["count"] // of["repeats"]
    inputs = groups * of["batch"] * of["c"] * of["h"] * of["w"]
    weights, outputs = groups * of["kd"] * of["n"], groups * of["m"] * of["n"]
    macs = groups * of["m"] * of["n"] * of["kd"]
    sizes = {
        "m": of["m"],
        "n": of["n"],
        "k": of["kd"],
        "groups": groups,
        "batch": of["batch"],
        "kernel_h": of["r"],
        "kernel_w": of["s"],
        "stride": of["stride"],
        "height": of["h"],
        "width": of["w"],
        "zeros_h": 1 + of["top"],
        "zeros_w": 1 + of["left"],
        "output_h": of["e"],
        "output_w": of["f"],
        "inputs": inputs,
        "weights": weights,
        "outputs": outputs,
        "macs": macs,
        "words": inputs + weights + outputs,
        "intensity": macs / (inputs + weights + outputs),
    }
    return {name: np.log2(size) for name, size in sizes.items()}


def _kind(layer: Layer) -> str:
    depthwise = layer.kind == "conv" and 1 < layer.groups == layer.channels
    return "depthwise" if depthwise else layer.kind
