"""Costs of plain convolutional networks, against PyTorch modules and against a machine that runs networks
operator by operator, on tiles too, and counts the values that it holds.
"""

import numpy as np
import pytest

from archgym.simulators.cnn.costs import BYTES, costs
from archgym.simulators.cnn.layers import CLASSES, SIDE, Layer, Networks, all_networks

NETWORKS = list(all_networks())
SAMPLE = [NETWORKS[i] for i in np.random.default_rng(0).permutation(len(NETWORKS))[:150]]

FULL_SIZE = [  # networks whose first stage, all layers, ends with a skip
    layers for layers in NETWORKS if layers[-1].skip and all(layer.downsample == "none" for layer in layers)
]


class Machine:
    """Memory that holds arrays by name; `peak` is the most values held at once."""

    def __init__(self):
        self.held, self.peak, self.macs = {}, 0, 0

    def write(self, name, array):
        self.held[name] = array
        self.notice()

    def notice(self):
        self.peak = max(self.peak, sum(array.size for array in self.held.values()))

    def read(self, name):
        return self.held[name]

    def free(self, *names):
        for name in names:
            del self.held[name]


def convolve(machine, x, weight, stride):
    """A dense convolution without padding: [C, h, w] -> [C', h', w']."""
    kernel = weight.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))[
        :, ::stride, ::stride
    ]
    y = np.einsum("chwij,ocij->ohw", windows, weight)
    machine.macs += y[0].size * weight.size
    return y


def padded(x, rows, cols, origin, side, kernel, stride):
    """The window of a feature map that outputs `rows`, `cols` read, zeros outside the map: x starts at
    `origin`.
    """
    r, (top, left) = kernel // 2, origin
    window = np.zeros((len(x), stride * (len(rows) - 1) + kernel, stride * (len(cols) - 1) + kernel))
    for i in range(window.shape[1]):
        for j in range(window.shape[2]):
            row, col = stride * rows[0] - r + i, stride * cols[0] - r + j
            if 0 <= row < side and 0 <= col < side:
                window[:, i, j] = x[:, row - top, col - left]
    return window


def read_rows(layer, rows, side):
    """Rows of a layer's convolution, and of its input, which output rows depend on, by trying each."""
    pool, stride = (2 if layer.downsample == name else 1 for name in ("pool", "stride"))
    middle = sorted({pool * row + i for row in rows for i in range(pool)})
    reach = layer.kernel // 2
    read = [row for row in range(side) for m in middle if abs(row - stride * m) <= reach]
    return range(middle[0], middle[-1] + 1), range(min(read), max(read) + 1)


def run_layer(machine, layer, weight, x, rows, cols, origin, side, into, in_place, last_reader):
    """Run one layer on the part of its input named `x`; the result is at `into`, or is returned for it.

    Args:
        rows, cols: of the convolution's output.
        into: a view of an array that is held already, where the last operator writes; None to hold a new one.
    """
    stride = 2 if layer.downsample == "stride" else 1
    window = padded(machine.read(x), rows, cols, origin, side, layer.kernel, stride)
    y = convolve(machine, window, weight, stride)
    alone = not layer.skip and layer.downsample != "pool"
    direct = into is not None and (alone or (layer.skip and in_place))
    if direct:
        into[:] = y
        machine.notice()
    else:
        machine.write("y", y)
    if layer.skip:
        top, left = rows[0] - origin[0], cols[0] - origin[1]
        operand = machine.read(x)[:, top : top + len(rows), left : left + len(cols)]
        total = y + operand
        if direct:
            into[:] = total
        elif in_place:
            machine.read("y")[:] = total
        elif into is not None:
            into[:] = total
            machine.free("y")
        else:
            machine.write("z", total)
            machine.free("y")
            machine.held["y"] = machine.held.pop("z")
    if layer.downsample == "pool":
        if last_reader:
            machine.free(x)
        y = machine.read("y")
        z = y.reshape(len(y), y.shape[1] // 2, 2, y.shape[2] // 2, 2).max((2, 4))
        if into is not None:
            into[:] = z
            machine.free("y")
        elif in_place:
            machine.held["y"] = z
        else:
            machine.write("z", z)
            machine.free("y")
            machine.held["y"] = machine.held.pop("z")
    elif last_reader:
        machine.free(x)


def run(layers, weights, image, in_place, patches):
    """The averages of the last layer's channels, and the machine that ran the network."""
    machine, side, first = Machine(), SIDE, 0
    machine.write("x", image)
    if patches > 1:
        halving = [layer.downsample != "none" for layer in layers]
        first = halving.index(True) + 1 if any(halving) else len(layers)
        out_side = side // 2 if any(halving) else side
        machine.write("output", np.zeros((layers[first - 1].width, out_side, out_side)))
        for tile_rows in np.split(np.arange(out_side), patches):
            for tile_cols in np.split(np.arange(out_side), patches):
                run_tile(machine, layers[:first], weights, tile_rows, tile_cols, in_place)
        machine.free("x")
        machine.held["x"] = machine.held.pop("output")
        side = out_side
    for layer, weight in zip(layers[first:], weights[first:], strict=True):
        middle = side // 2 if layer.downsample == "stride" else side
        run_layer(
            machine, layer, weight, "x", range(middle), range(middle), (0, 0), side, None, in_place, True
        )
        machine.held["x"] = machine.held.pop("y")
        side = side // 2 if layer.downsample != "none" else side
    averages = machine.read("x").mean((1, 2))
    if in_place:
        machine.held["x"] = averages
    else:
        machine.write("averages", averages)
        machine.free("x")
    machine.write("logits", np.zeros(CLASSES))
    machine.macs += CLASSES * len(averages)
    return averages, machine


def run_tile(machine, layers, weights, rows, cols, in_place):
    """One tile of the first stage, from the image at "x" to its place in "output"."""
    side = SIDE  # layers before the stage's last keep it
    needs = [(list(rows), list(cols))]
    for layer in reversed(layers):
        pairs = [read_rows(layer, part, side) for part in needs[0][-2:]]
        needs[0] = (*(pair[0] for pair in pairs), *needs[0])
        needs.insert(0, tuple(list(pair[1]) for pair in pairs))
    name, origin = "x", (0, 0)
    for place, (layer, weight) in enumerate(zip(layers, weights, strict=False)):
        middle_rows, middle_cols, *_ = needs[place + 1]
        last = place == len(layers) - 1
        into = machine.read("output")[:, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] if last else None
        run_layer(
            machine, layer, weight, name, middle_rows, middle_cols, origin, side, into, in_place, place > 0
        )
        if not last:
            machine.held["tile"] = machine.held.pop("y")
            name, origin = "tile", (middle_rows[0], middle_cols[0])


def weights_of(layers, rng):
    channels = [1, *(layer.width for layer in layers)]
    return [
        rng.normal(size=(layer.width, inputs, layer.kernel, layer.kernel)) / inputs
        for layer, inputs in zip(layers, channels, strict=False)
    ]


@pytest.mark.parametrize("patches", [1, 2, 4, 8])
@pytest.mark.parametrize("in_place", [False, True])
def test_peak_memory_and_multiply_adds_are_those_of_a_machine_that_runs_the_network(in_place, patches):
    rng = np.random.default_rng(patches)
    networks = SAMPLE[:: 1 + 2 * patches] + FULL_SIZE[patches::80]
    found = costs(Networks.of(networks), precision="int8", in_place=in_place, patches=patches)
    image = rng.normal(size=(1, SIDE, SIDE))
    for row, layers in enumerate(networks):
        weights = weights_of(layers, rng)
        values, machine = run(layers, weights, image, in_place, patches)
        assert machine.peak == found["peak_memory_bytes"][row], layers
        assert machine.macs == found["macs"][row], layers
        np.testing.assert_allclose(values, run(layers, weights, image, False, 1)[0])


def test_a_value_has_four_bytes_or_one():
    networks = Networks.of(NETWORKS)
    four, one = (costs(networks, precision=precision)["peak_memory_bytes"] for precision in BYTES)
    assert (four == 4 * one).all()


def test_memory_by_hand():
    convolution, skip = [Layer(3, 16), Layer(3, 16)], [Layer(3, 16), Layer(3, 16, skip=True)]
    pool = [Layer(3, 8), Layer(3, 32, "pool")]
    found = costs(Networks.of([convolution, skip, pool]))["peak_memory_bytes"]
    assert found.tolist() == [4 * 256 * 32, 4 * 256 * 48, 4 * 256 * 40]
    in_place = costs(Networks.of([convolution, skip, pool]), in_place=True)["peak_memory_bytes"]
    assert in_place.tolist() == [4 * 256 * 32, 4 * 256 * 32, 4 * 256 * 40]


def test_tiles_save_memory_and_cost_multiply_adds():
    networks = Networks.of([[Layer(3, 16), Layer(3, 16), Layer(3, 32, "pool")]])
    found = [costs(networks, patches=patches) for patches in (1, 2, 4)]
    assert np.all(np.diff([each["peak_memory_bytes"][0] for each in found]) < 0)
    assert np.all(np.diff([each["macs"][0] for each in found]) > 0)


def test_parameters_and_multiply_adds_are_those_of_the_module():
    torch = pytest.importorskip("torch")
    from archgym.simulators.cnn.network import PlainCnn

    found = costs(Networks.of(SAMPLE))
    for row, layers in enumerate(SAMPLE):
        network, macs = PlainCnn(layers, seed=0), []

        def count(module, inputs, output, macs=macs):
            macs.append(output[0].numel() * module.weight[0].numel())

        for module in network.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                module.register_forward_hook(count)
        with torch.no_grad():
            assert network(torch.zeros(1, 1, SIDE, SIDE)).shape == (1, CLASSES)
        assert sum(macs) == found["macs"][row]
        assert sum(each.numel() for each in network.parameters()) == found["params"][row]
