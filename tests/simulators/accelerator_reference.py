"""The accelerator model once more, in plain integers and loops: what `archgym.simulators.accelerator` is held
against.

Nothing is vectorised and no form is used where counting will do: folds and tiles are walked one by one, a
systolic array is simulated PE by PE, and off-chip traffic is counted by running the loop nest with a buffer
that keeps the last tile of each operand.
"""

import itertools
import math
import tomllib
from functools import cache

from archgym.simulators.accelerator.energy import TABLES

BYTES = {"int8": (1, 4), "fp16": (2, 4), "fp32": (4, 4)}  # of an operand and of a partial sum
NOMINAL_LANES = 128  # of the array that tiles are chosen for
PER_PE = (1, 2, 4, 8, 16, 32)
L1_WORDS = {  # operands and partial sums per multiply-add
    "nvdla": (1, 0),
    "shidiannao": (2, 2),
    "eyeriss": (2, 2),
    "systolic_ws": (3, 2),
    "systolic_os": (4, 2),
    "systolic_is": (3, 2),
}


def up(a, b):
    return -(-a // b)


def parts(size, length):
    """The ranges that `size` is cut into, `length` at a time; the last may be shorter."""
    return [range(start, min(start + length, size)) for start in range(0, size, length)]


# Systolic arrays


def systolic(dataflow, rows, cols, m, n, k):
    """(cycles, ifmap, filter, ofmap), fold by fold."""
    down, across = {"ws": (k, n), "os": (m, n), "is": (k, m)}[dataflow]
    cycles, ifmap, filters, ofmap = -1, 0, 0, 0
    for i, j in itertools.product(parts(down, rows), parts(across, cols)):
        if dataflow == "ws":
            cycles += rows + (m + rows + cols - 2)  # load the weights; then a skewed stream of inputs
            ifmap, filters, ofmap = ifmap + m * len(i), filters + len(i) * len(j), ofmap + m * len(j)
        elif dataflow == "is":
            cycles += rows + (n + rows + cols - 2)
            ifmap, filters, ofmap = ifmap + len(i) * len(j), filters + n * len(i), ofmap + n * len(j)
        else:
            cycles += k + rows + cols - 2
            ifmap, filters, ofmap = (
                ifmap + k * len(i),
                filters + k * len(j),
                ofmap + len(i) * len(j) + rows + cols,
            )
    return cycles, ifmap, filters, ofmap


def weight_stationary_array(x, w, rows, cols):
    """(product of x [m][k] by w [k][n], cycles) on one fold, k <= rows and n <= cols, PE by PE and cycle
    by cycle.
    """
    m, k, n = len(x), len(w), len(w[0])
    weight = [[0] * cols for _ in range(rows)]
    cycle = 0
    for step in range(rows):  # weights move down by one row per cycle, the last row's first
        last = rows - 1 - step
        weight = [[w[last][c] if last < k and c < n else 0 for c in range(cols)], *weight[:-1]]
        cycle += 1
    product = [[None] * cols for _ in range(m)]  # columns without weights are drained too
    right, down = [[0] * cols for _ in range(rows)], [[0] * cols for _ in range(rows)]
    streamed = 0
    while any(value is None for row in product for value in row):
        incoming = [x[streamed - r][r] if 0 <= streamed - r < m and r < k else 0 for r in range(rows)]
        new_right = [[incoming[r] if c == 0 else right[r][c - 1] for c in range(cols)] for r in range(rows)]
        down = [
            [(0 if r == 0 else down[r - 1][c]) + weight[r][c] * new_right[r][c] for c in range(cols)]
            for r in range(rows)
        ]
        right = new_right
        for c in range(cols):
            row = streamed - (rows - 1) - c  # of the product, that leaves at the foot of column c
            if 0 <= row < m:
                product[row][c] = down[rows - 1][c]
        streamed, cycle = streamed + 1, cycle + 1
    return [row[:n] for row in product], cycle


def output_stationary_array(x, w, rows, cols):
    """(product, cycles) on one fold, m <= rows and n <= cols: until the last PE has its last operands."""
    m, k, n = len(x), len(w), len(w[0])
    total, done = [[0] * cols for _ in range(rows)], 0
    right, down = [[None] * cols for _ in range(rows)], [[None] * cols for _ in range(rows)]
    cycle = 0
    while done < rows * cols * k:
        new_right = [[None] * cols for _ in range(rows)]
        new_down = [[None] * cols for _ in range(rows)]
        for r, c in itertools.product(range(rows), range(cols)):
            if c == 0:
                new_right[r][c] = (x[r][cycle - r] if r < m else 0) if 0 <= cycle - r < k else None
            else:
                new_right[r][c] = right[r][c - 1]
            if r == 0:
                new_down[r][c] = (w[cycle - c][c] if c < n else 0) if 0 <= cycle - c < k else None
            else:
                new_down[r][c] = down[r - 1][c]
            if new_right[r][c] is not None:
                total[r][c] += new_right[r][c] * new_down[r][c]
                done += 1
        right, down, cycle = new_right, new_down, cycle + 1
    return [row[:n] for row in total[:m]], cycle


# MAESTRO's templates


def maestro(dataflow, pes, k, c, r, s, e, f):
    """Steps in space times steps in time, one more cycle to hand on each result, one to start."""
    if dataflow == "nvdla":
        steps = len(parts(k, pes // 64)) * len(parts(c, 64)) * e * f
        return steps * (r * s + 1) + 1
    if dataflow == "shidiannao":
        steps = k * c * len(parts(e, pes // 8)) * len(parts(f, 8))
        return steps * (r * s + 1) + 1
    steps = len(parts(k, 2)) * len(parts(c, 4)) * f * len(parts(e, pes // r))
    return steps * (2 * min(4, c) * s + 1) + 1


def layer_runtime(dataflow, pes, layer):
    """All groups and repeats of a convolution, one after the other."""
    e, f, _, filters, channels, _ = sizes(layer)
    once = maestro(dataflow, pes, filters, channels, layer.kernel_h, layer.kernel_w, e, f)
    return once * layer.batch * layer.groups * layer.repeats


# Tiling


def sizes(layer):
    """(e, f, m, n, c, kd) of one group."""
    e = (layer.height + layer.padding_h - layer.kernel_h) // layer.stride + 1
    f = (layer.width + layer.padding_w - layer.kernel_w) // layer.stride + 1
    c = layer.channels // layer.groups
    return e, f, layer.batch * e * f, layer.filters // layer.groups, c, layer.kernel_h * layer.kernel_w * c


def pixels(outputs, kernel, stride, front=0, size=None):
    """Positions along one axis that a range of outputs reads; those of the padding left out where `size`
    is given.
    """
    read = {o * stride - front + tap for o in outputs for tap in range(kernel)}
    return read if size is None else {i for i in read if 0 <= i < size}


def tile_sizes(size):
    return sorted({2**i for i in range(size.bit_length())} | {i for i in range(1, size + 1) if size % i == 0})


@cache
def pixel_tiles(layer):
    """Tiles in output pixels, in order: what they hold, how many, and input pixels that all of them read,
    less padding.
    """
    e, f, *_ = sizes(layer)
    shapes = [(1, et, ft) for et in tile_sizes(e) for ft in tile_sizes(f)]
    shapes += [(images, e, f) for images in tile_sizes(layer.batch) if images > 1]
    tiles = []
    for images, et, ft in shapes:
        rows = [
            pixels(part, layer.kernel_h, layer.stride, layer.padding_h // 2, layer.height)
            for part in parts(e, et)
        ]
        cols = [
            pixels(part, layer.kernel_w, layer.stride, layer.padding_w // 2, layer.width)
            for part in parts(f, ft)
        ]
        held = (
            images
            * len(pixels(range(et), layer.kernel_h, layer.stride))
            * len(pixels(range(ft), layer.kernel_w, layer.stride))
        )
        read = layer.batch * sum(map(len, rows)) * sum(map(len, cols))
        count = len(parts(layer.batch, images)) * len(rows) * len(cols)
        tiles.append(
            {
                "images": images,
                "et": et,
                "ft": ft,
                "mt": images * et * ft,
                "held": held,
                "read": read,
                "nm": count,
            }
        )
    return tiles


def fetches(order, trips, own, absent):
    """How often an operand of the loops `own` is fetched, per piece of it: the loop nest is run and keeps
    the last piece.
    """
    kept, count = None, 0
    for place in itertools.product(*(range(trips[loop]) for loop in order)):
        at = dict(zip(order, place, strict=True))
        piece = tuple(at[loop] for loop in own)
        count += piece != kept
        kept = piece
    pieces = math.prod(trips[loop] for loop in own)
    assert count % pieces == 0, (order, trips, own, absent)
    return count // pieces


@cache
def fetched(order, nm, nn, nk):
    trips = {"m": nm, "n": nn, "k": nk}
    # Passes over loops of many trips are as passes over three: fewer than two trips is what matters.
    short = {loop: min(count, 3) for loop, count in trips.items()}
    times = {}
    for own, absent in (("mk", "n"), ("nk", "m"), ("mn", "k")):
        often = fetches(order, short, own, absent)
        assert often in (1, short[absent])
        times[absent] = 1 if often == 1 else trips[absent]
    return times


@cache
def tiles(layer, b, a, double):
    """Every tile, with the loop order that moves the least."""
    *_, m, n, c, kd = sizes(layer)
    kernel, w = layer.kernel_h * layer.kernel_w, 2 if double else 1
    found = []
    for pixel, nt, ct in itertools.product(pixel_tiles(layer), tile_sizes(n), tile_sizes(c)):
        nm, nn, nk = pixel["nm"], len(parts(n, nt)), len(parts(c, ct))
        held = b * ct * pixel["held"], b * ct * kernel * nt, a * pixel["mt"] * nt
        several = nm * nk > 1, nn * nk > 1, nm * nn > 1
        need = sum(size * (w if many else 1) for size, many in zip(held, several, strict=True))
        moved = []
        for order in itertools.permutations("mnk"):
            x = fetched(order, nm, nn, nk)
            spilled = a * m * n * (x["k"] - 1)
            moved.append(
                (b * c * pixel["read"] * x["n"] + b * kd * n * x["m"] + spilled, b * m * n + spilled)
            )
        reads, writes = min(moved, key=sum)
        passes = nk * up(ct * kernel, NOMINAL_LANES)
        buffer = b * (m * kd * nn * up(nt, NOMINAL_LANES) + kd * n * nm + m * n) + 2 * a * m * n * (
            passes - 1
        )
        # J in 25ths, so that it stays whole: rho = 1/25
        cost = 25 * (reads + writes) + (reads + writes) + buffer
        shape = {**pixel, "nt": nt, "ct": ct, "nn": nn, "nk": nk}
        found.append(
            {
                **shape,
                "need": need,
                "reads": reads,
                "writes": writes,
                "cost": cost,
                "first": held[0] + held[1],
            }
        )
    return found


@cache
def curve(layer, b, a, double):
    kept = []
    for tile in sorted(tiles(layer, b, a, double), key=lambda tile: (tile["need"], tile["cost"])):
        if not kept or (
            tile["cost"] < kept[-1]["cost"]
            and tile["reads"] + tile["writes"] <= kept[-1]["reads"] + kept[-1]["writes"]
        ):
            kept.append(tile)
    return kept


def traffic_of_the_loop_nest(layer, b, a, order, images, et, ft, nt, ct):
    """(bytes read, bytes written) off chip: the loops over tiles are run, and every element that is not in
    the buffer is counted.

    The buffer keeps the last tile of each operand. An output tile that it gives up before its last channels
    is written as partial sums, and read again when it comes back; one that is complete is written as
    operands.
    """
    e, f, _, n, c, _ = sizes(layer)
    of_pixels = [
        (len(batch), es, fs)
        for batch in parts(layer.batch, images)
        for es in parts(e, et)
        for fs in parts(f, ft)
    ]
    loops = {"m": of_pixels, "n": parts(n, nt), "k": parts(c, ct)}
    kept = {"I": None, "W": None, "O": None}
    channels_done, reads, writes = {}, 0, 0

    def elements(at):
        batch, es, fs = of_pixels[at["m"]]
        rows = pixels(es, layer.kernel_h, layer.stride, layer.padding_h // 2, layer.height)
        cols = pixels(fs, layer.kernel_w, layer.stride, layer.padding_w // 2, layer.width)
        filters, channels = len(loops["n"][at["n"]]), len(loops["k"][at["k"]])
        return (
            batch * len(rows) * len(cols) * channels,
            layer.kernel_h * layer.kernel_w * channels * filters,
            batch * len(es) * len(fs) * filters,
        )

    def give_up(piece):
        size, done = channels_done[piece]
        return size * (b if done == c else a)

    for place in itertools.product(*(range(len(loops[loop])) for loop in order)):
        at = dict(zip(order, place, strict=True))
        inputs, weights, outputs = elements(at)
        if kept["I"] != (at["m"], at["k"]):
            reads += b * inputs
        if kept["W"] != (at["n"], at["k"]):
            reads += b * weights
        piece = (at["m"], at["n"])
        if kept["O"] != piece:
            if kept["O"] is not None:
                writes += give_up(kept["O"])
            if piece in channels_done:
                reads += a * outputs
        _, done = channels_done.get(piece, (outputs, 0))
        channels_done[piece] = outputs, done + len(loops["k"][at["k"]])
        kept = {"I": (at["m"], at["k"]), "W": (at["n"], at["k"]), "O": piece}
    return reads, writes + give_up(kept["O"])


# Dataflows


def folds(outputs, tile, lanes, kernel, stride):
    """(folds of an axis over its tiles, input positions that they read, each as many as a full one)."""
    count = len(parts(outputs, tile)) * len(parts(tile, lanes))
    return count, count * len(pixels(range(min(tile, lanes)), kernel, stride))


def mapped(dataflow, rows, cols, l1, b, a, layer, tile):
    """(compute cycles, input words, weight words, passes) of one group, or None where L1 is too small."""
    e, f, m, n, c, kd = sizes(layer)
    r, s, st, batch = layer.kernel_h, layer.kernel_w, layer.stride, layer.batch
    nm, nn, nk = tile["nm"], tile["nn"], tile["nk"]
    if dataflow == "nvdla":
        held = (l1 - a) // b
        if held < 1:
            return None
        groups = len(parts(r * s, held))
        cycles = len(parts(n, cols)) * len(parts(c, rows)) * batch * e * f * (r * s + groups)
        return cycles, m * kd * nn * up(tile["nt"], cols), kd * n * nm, nk * up(tile["ct"], rows) * groups
    if dataflow == "eyeriss":
        replicas, row_groups = max(rows // r, 1), len(parts(r, rows))
        best = None
        for q, p in itertools.product(PER_PE, PER_PE):
            filters, channels = min(p, n), min(q, c)  # a PE holds no more than there are
            if (filters * channels * s + channels * s) * b + filters * a > l1:
                continue
            steps = (
                len(parts(n, p)) * len(parts(c, q * replicas)) * row_groups * len(parts(e, cols)) * batch * f
            )
            cycles = steps * (filters * channels * s + 1)
            if best is None or cycles < best[0]:
                best = cycles, p, q
        if best is None:
            return None
        cycles, p, q = best
        row_folds, read_rows = folds(e, tile["et"], cols, r, st)
        col_folds, read_cols = folds(f, tile["ft"], tile["ft"], s, st)
        inputs = nn * up(tile["nt"], p) * c * batch * row_groups * read_rows * read_cols
        return (
            cycles,
            inputs,
            kd * n * batch * row_folds * col_folds,
            nk * up(tile["ct"], q * replicas) * row_groups,
        )
    if l1 < a + b:
        return None
    if dataflow == "shidiannao":
        if layer.kind != "conv":
            cycles = len(parts(m, rows)) * len(parts(n, cols)) * (kd + 1)
            return cycles, m * kd * nn * up(tile["nt"], cols), kd * n * nm * up(tile["mt"], rows), nk
        row_folds, read_rows = folds(e, tile["et"], rows, r, st)
        col_folds, read_cols = folds(f, tile["ft"], cols, s, st)
        cycles = n * c * batch * len(parts(e, rows)) * len(parts(f, cols)) * (r * s + 1)
        return cycles, n * c * batch * read_rows * read_cols, kd * n * batch * row_folds * col_folds, nk
    kind = dataflow.removeprefix("systolic_")
    cycles = systolic(kind, rows, cols, m, n, kd)[0]
    passes = nk if kind == "os" else nk * up(tile["ct"] * r * s, rows)
    inputs = m * kd * nn * (1 if kind == "is" else up(tile["nt"], cols))
    weights = kd * n * nm * {"ws": 1, "os": up(tile["mt"], rows), "is": up(tile["mt"], cols)}[kind]
    return cycles, inputs, weights, passes


# Energy and area


@cache
def table(name):
    with open(TABLES / f"{name}.toml", "rb") as file:
        return tomllib.load(file)


def memory(name, capacity):
    """(read pJ per byte, write pJ per byte, um2, leakage W) of a memory in bytes."""
    data = table(name)
    known = data["memories"]["sram"]
    wanted = min(max(capacity, known[0][0]), known[-1][0])
    below = max((row for row in known if row[0] <= wanted), key=lambda row: row[0])
    above = min((row for row in known if row[0] >= wanted), key=lambda row: row[0])
    share = 0.0 if above == below else math.log(wanted / below[0]) / math.log(above[0] / below[0])
    costs = [below[i] * (above[i] / below[i]) ** share for i in range(1, 5)]
    beyond, exponent = capacity / wanted, data["sram_exponent"]
    per_byte = 8 / data["sram_bits"]
    return (
        costs[0] * per_byte * beyond**exponent,
        costs[1] * per_byte * beyond**exponent,
        costs[2] * beyond,
        costs[3] * 1e-3 * beyond,
    )


def area_mm2(name, rows, cols, l1, buffer, noc, precision):
    data = table(name)
    pe = data["mac_um2"][precision] + memory(name, l1)[2]
    side = math.sqrt(pe)
    wires = 8 * noc * data["wire_pitch_um"] * (rows * side + cols * side)
    return 1e-6 * (rows * cols * pe + memory(name, buffer)[2] + wires)


# All of it


def evaluate(layers, design, technology="45nm"):
    """Metrics of a design, and whether it is feasible; None and False where it is not."""
    data, (b, a) = table(technology), BYTES[design["precision"]]
    rows, cols, l1, buffer = design["rows"], design["cols"], design["l1_bytes"], 1024 * design["buffer_kb"]
    clock = 1e6 * design["clock_mhz"]
    per_cycle = {"noc": design["noc_bytes_per_cycle"], "dram": 1e9 * design["dram_gb_s"] / clock}
    buffer_cost, l1_cost = memory(technology, buffer), memory(technology, l1)
    noc_pj = data["noc_register_accesses"] * memory(technology, 512)[0]
    dram_pj = 8 * data["dram_pj_per_bit"]
    operands, sums = L1_WORDS[design["dataflow"]]
    mac_pj = data["mac_pj"][design["precision"]] + (operands * b + sums * a) * (l1_cost[0] + l1_cost[1]) / 2

    cycles = pj = dram_bytes = compute_cycles = macs = 0
    binding = {"compute": 0, "noc": 0, "dram": 0}
    for layer in layers:
        fitting = [tile for tile in curve(layer, b, a, design["double_buffering"]) if tile["need"] <= buffer]
        found = mapped(design["dataflow"], rows, cols, l1, b, a, layer, fitting[-1]) if fitting else None
        if found is None:
            return None, False
        tile, (compute, inputs, weights, passes) = fitting[-1], found
        _, _, m, n, _, kd = sizes(layer)
        outputs = m * n
        spilled = a * outputs * (passes - 1)
        noc = b * (inputs + weights + outputs) + 2 * spilled
        moved = tile["reads"] + tile["writes"]
        pj_of_buffer = (b * (inputs + weights) + spilled + tile["writes"]) * buffer_cost[0]
        pj_of_buffer += (b * outputs + spilled + tile["reads"]) * buffer_cost[1]
        count = layer.groups * layer.repeats
        terms = {
            "compute": count * compute,
            "noc": count * noc / per_cycle["noc"],
            "dram": count * moved / per_cycle["dram"],
        }
        if design["double_buffering"]:
            taken = max(terms.values()) + layer.repeats * tile["first"] / per_cycle["dram"]
        else:
            taken = sum(terms.values())
        binding[max(terms, key=terms.get)] += taken
        cycles, dram_bytes, compute_cycles = (
            cycles + taken,
            dram_bytes + count * moved,
            compute_cycles + terms["compute"],
        )
        macs += count * m * n * kd
        pj += count * (m * n * kd * mac_pj + noc * noc_pj + pj_of_buffer + moved * dram_pj)
    latency = cycles / clock
    energy = 1e-12 * pj + (buffer_cost[3] + rows * cols * l1_cost[3]) * latency
    return {
        "latency_s": latency,
        "cycles": cycles,
        "energy_j": energy,
        "area_mm2": area_mm2(
            technology, rows, cols, l1, buffer, design["noc_bytes_per_cycle"], design["precision"]
        ),
        "power_w": energy / latency,
        "edp": energy * latency,
        "utilization": macs / (cycles * rows * cols),
        "dram_bytes": dram_bytes,
        "compute_cycles": compute_cycles,
        "bound": 1 + list(binding).index(max(binding, key=binding.get)),
    }, True
