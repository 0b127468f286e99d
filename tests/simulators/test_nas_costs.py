"""Parameters and multiply-adds of cells' networks, held against formulas, PyTorch builds and published
records.
"""

from __future__ import annotations

import bz2
import pickle
from pathlib import Path

import numpy as np
import pytest

from archgym.errors import ArchGymError
from archgym.simulators.nas import cells as nas
from archgym.simulators.nas.cells import CONV1, CONV3, EDGES, POOL, SKIP
from archgym.simulators.nas.costs import NETWORKS, get_network

RECORDS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "nas" / "nats_bench_records"

CELLS = nas.all_cells()
FORMULAS = {  # params and macs: of the skeleton, of a 1x1 edge, of a 3x3 edge
    "cifar10": ((73_306, 28_000, 243_040), (7_783_040, 3_932_160, 35_389_440)),
    "cifar100": ((79_156, 28_000, 243_040), (7_788_800, 3_932_160, 35_389_440)),
    "imagenet16-120": ((80_456, 28_000, 243_040), (1_953_280, 983_040, 8_847_360)),
    "digits": ((666, 576, 4_672), (13_472, 20_480, 184_320)),
}
IMAGES = {
    "cifar10": (3, 32, 10),
    "cifar100": (3, 32, 100),
    "imagenet16-120": (3, 16, 120),
    "digits": (1, 8, 10),
}


def sample(count=6):
    """The cheapest, the dearest and random cells."""
    return [[0] * 6, [CONV3] * 6, [CONV1] * 6, *np.random.default_rng(0).integers(0, 5, (count, 6)).tolist()]


@pytest.mark.parametrize("network", FORMULAS)
def test_costs_are_linear_in_the_convolutions_as_published(network):
    costs = get_network(network).costs(CELLS)
    n1, n3 = ((kind == CELLS).sum(axis=1) for kind in (CONV1, CONV3))
    for name, (skeleton, edge1, edge3) in zip(("params", "macs"), FORMULAS[network], strict=True):
        np.testing.assert_array_equal(costs[name], skeleton + edge1 * n1 + edge3 * n3)
        assert costs[name].dtype == np.int64


def test_the_ranges_of_cifar10_are_the_published_ones():
    costs = get_network("cifar10").costs(CELLS)
    assert (costs["params"].min() / 1e6, costs["params"].max() / 1e6) == pytest.approx(
        (0.073, 1.53), abs=0.005
    )
    assert (costs["macs"].min() / 1e6, costs["macs"].max() / 1e6) == pytest.approx((7.78, 220), abs=0.2)


@pytest.mark.parametrize("network", FORMULAS)
def test_the_layers_of_a_cell_are_what_it_costs(network):
    skeleton = get_network(network)
    for cell in sample():
        layers = skeleton.layers(cell)
        costs = skeleton.costs(np.array([cell]))
        assert sum(layer.macs for layer in layers) == costs["macs"][0]
        norm_of_the_classifier = 2 * skeleton.widths[-1]
        assert sum(layer.parameters for layer in layers) + norm_of_the_classifier == costs["params"][0]


def test_networks_have_8_to_98_layers():
    def count(cell):
        return sum(layer.repeats for layer in get_network("cifar10").layers(cell))

    assert count([0] * 6) == 8
    assert count([CONV3] * 6) == count([CONV1, CONV3] * 3) == 98
    assert count([SKIP, CONV1, 0, 0, 0, POOL]) == 8 + 15
    assert sum(layer.repeats for layer in get_network("digits").layers([CONV3] * 6)) == 3 + 12


def test_an_unknown_network_is_named():
    with pytest.raises(ArchGymError, match="unknown network 'cifar'; did you mean 'cifar10'"):
        get_network("cifar")
    assert set(NETWORKS) == set(FORMULAS)


# PyTorch builds, of every edge of the cell, dead or not


def build(network, cell):
    """The network of a cell as a module."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    def norm_conv(inputs, outputs, kernel, stride=1):
        return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]

    class Graph(nn.Module):
        def __init__(self, width):
            super().__init__()
            kinds = {
                SKIP: nn.Identity,
                CONV1: lambda: nn.Sequential(nn.ReLU(), *norm_conv(width, width, 1)),
                CONV3: lambda: nn.Sequential(nn.ReLU(), *norm_conv(width, width, 3)),
                POOL: lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            }
            self.edges = nn.ModuleDict(
                {f"{s}{t}": kinds[op]() for (s, t), op in zip(EDGES, cell, strict=True) if op in kinds}
            )

        def forward(self, x):
            nodes = [x]
            for target in (1, 2, 3):
                terms = [
                    self.edges[f"{s}{target}"](nodes[s])
                    for s in range(target)
                    if f"{s}{target}" in self.edges
                ]
                nodes.append(sum(terms, torch.zeros_like(x)))
            return nodes[3]

    class Residual(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.long = nn.Sequential(
                nn.ReLU(), *norm_conv(width, 2 * width, 3, 2), nn.ReLU(), *norm_conv(2 * width, 2 * width, 3)
            )  # fmt: skip
            self.short = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(width, 2 * width, 1, bias=False))

        def forward(self, x):
            return self.long(x) + self.short(x)

    channels, _, classes = IMAGES[network]
    if network == "digits":
        between = nn.Sequential(nn.AvgPool2d(2), nn.ReLU(), *norm_conv(16, 16, 1))
        body, last = [Graph(16), between, Graph(16)], 16
    else:
        stages = [[Graph(width) for _ in range(5)] for width in (16, 32, 64)]
        body, last = [*stages[0], Residual(16), *stages[1], Residual(32), *stages[2]], 64
    head = [nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes)]
    return nn.Sequential(*norm_conv(channels, 16, 3), *body, *head)


def measured_costs(network, cell):
    """Parameters, multiply-adds and convolutions of one image's way through the module."""
    torch = pytest.importorskip("torch")
    module, counted = build(network, cell).eval(), []
    for layer in module.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(
                lambda layer, _, output: counted.append(layer.weight[0].numel() * output.numel())
            )
    channels, side, _ = IMAGES[network]
    with torch.no_grad():
        module(torch.zeros(1, channels, side, side))
    return sum(parameter.numel() for parameter in module.parameters()), sum(counted), len(counted)


@pytest.mark.parametrize("network", FORMULAS)
def test_costs_are_those_of_a_pytorch_build(network):
    for cell in sample(2 if network != "digits" else 20):
        costs = get_network(network).costs(np.array([cell]))
        layers = sum(layer.repeats for layer in get_network(network).layers(cell))
        assert measured_costs(network, cell) == (costs["params"][0], costs["macs"][0], layers)


def test_the_digits_network_is_the_one_that_is_trained():
    pytest.importorskip("torch")
    from archgym.simulators.nas.training.train import CellNetwork

    cells = CELLS[np.random.default_rng(0).permutation(len(CELLS))[:60]]
    convolutions = np.isin(cells, (CONV1, CONV3))
    live = cells[~(convolutions & ~nas.live_edges(cells)).any(axis=1)]
    assert len(live) > 20
    expected = get_network("digits").costs(live)["params"]
    for cell, params in zip(live, expected, strict=True):
        for copies in (1, 2):
            network = CellNetwork(cell, range(copies))
            assert sum(parameter.numel() for parameter in network.parameters()) == copies * params


def test_the_network_that_is_trained_computes_what_the_build_does():
    torch = pytest.importorskip("torch")
    from archgym.simulators.nas.training.train import CellNetwork

    images = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32))
    for cell in [
        [CONV3] * 6,
        [CONV1, POOL, SKIP, CONV3, POOL, CONV1],
        [0, POOL, 0, SKIP, 0, CONV3],
        [POOL] * 6,
        [SKIP] * 6,
        [0] * 6,
    ]:
        ours, built = CellNetwork(np.array(cell), (7,)), build("digits", cell)
        layers = [
            [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
            for module in (ours, built)
        ]
        with torch.no_grad():
            for layer, other in zip(*layers, strict=True):
                other.weight.copy_(layer.weight)
            built[-1].weight.copy_(ours.weight[0].T)
            built[-1].bias.copy_(ours.bias[0, 0])
            torch.testing.assert_close(ours(images)[0], built(images))


def test_dead_convolutions_are_counted_though_they_are_not_trained():
    dead = np.array([[0, SKIP, CONV3, 0, CONV1, SKIP]])
    alive = np.array([[0, SKIP, 0, 0, 0, SKIP]])
    for network in NETWORKS.values():
        difference = network.costs(dead)["params"] - network.costs(alive)["params"]
        assert difference == sum(
            layer.parameters for kernel in (1, 3) for layer in network.edge_layers(kernel)
        )


# Published records


@pytest.mark.parametrize("index", [0, 11, 284])
def test_costs_are_those_of_the_published_records(index):
    path = RECORDS / f"{index:06}.pickle.pbz2"
    if not path.exists():
        pytest.skip("needs the shared data folder (nats_bench_records)")
    with bz2.open(path) as file:
        record = pickle.load(file)
    compared = 0
    for training in record.values():
        cell = nas.parse(training["arch_str"])
        for (dataset, _), result in training["all_results"].items():
            name = {"cifar10-valid": "cifar10", "ImageNet16-120": "imagenet16-120"}.get(dataset, dataset)
            costs = get_network(name).costs(cell[None])
            assert round(result["params"] * 1e6) == costs["params"][0]
            bias_of_the_classifier = get_network(name).classes
            assert result["flop"] == pytest.approx(
                (costs["macs"][0] + bias_of_the_classifier) / 1e6, abs=2e-5
            )
            compared += 1
    assert compared >= 8
