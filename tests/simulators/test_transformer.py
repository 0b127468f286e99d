"""Vision transformers: parameters, multiply-adds and memory are those of PyTorch's modules, latency is the
accelerator's, and optima are those of brute force.
"""

from __future__ import annotations

import csv
import json

import gymnasium
import numpy as np
import pytest
import typer
from gymnasium.utils.env_checker import check_env as check_gymnasium
from typer.testing import CliRunner

import archgym
from archgym import ArchGymError, AtLeast, AtMost, Integer, Maximize, Minimize, Objective, Ordinal, Target
from archgym.cli import fidelity_networks as fidelity
from archgym.envs.vision_transformer import PRESETS, objective, references
from archgym.optimum import find_optimum
from archgym.simulators.accelerator.model import Accelerator
from archgym.simulators.accelerator.workloads import Workload
from archgym.simulators.transformer.blocks import (
    Attention,
    bottleneck,
    embedding,
    head,
    pooled_transformer,
    transformer,
)
from archgym.simulators.transformer.fidelity import PUBLISHED, compare, largest
from archgym.simulators.transformer.frontier import Limits, Settings, frontier
from archgym.simulators.transformer.model import ACCELERATOR, VisionTransformer
from archgym.simulators.transformer.spaces import SPACES, network
from archgym.space import DesignSpace
from archgym.testing import check_env, check_simulator

ENV = "archgym/VisionTransformer-v0"


@pytest.fixture(scope="module")
def simulators():
    return {name: VisionTransformer(name) for name in SPACES}


def designs(simulator, n, seed=0):
    rows = simulator.space.sample(n, np.random.default_rng(seed))
    return rows, [simulator.space.design(row) for row in rows]


# --- what a network costs ---


@pytest.mark.parametrize("name", SPACES)
def test_parameters_macs_and_peak_memory_are_those_of_pytorch(name, simulators):
    pytest.importorskip("torch")
    from transformer_networks import BUILD, measured

    rows, networks = designs(simulators[name], 5)
    found = simulators[name].evaluate_indices(rows)
    for place, design in enumerate(networks):
        params, macs, peak = measured(lambda design=design: BUILD[name](design))
        assert (found["params"][place], found["macs"][place]) == (params, macs)
        assert 4 * found["peak_memory_bytes"][place] == peak
    assert VisionTransformer(name, "fp32").evaluate_indices(rows[:1])["peak_memory_bytes"][0] == (
        4 * found["peak_memory_bytes"][0]
    )


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_cycles_are_those_of_the_accelerator_model_on_all_layers(name, precision):
    simulator = VisionTransformer(name, precision)
    rows, networks = designs(simulator, 3, seed=1)
    found = simulator.evaluate_indices(rows)
    for place, design in enumerate(networks):
        layers = network(SPACES[name](), design).layers
        model = Accelerator(
            Workload("network", "a network", "its design", None, layers),
            fixed={**ACCELERATOR, "precision": precision},
        )
        alone = model.evaluate_indices(np.zeros((1, len(model.space)), np.int64))
        assert alone["feasible"].all()
        for metric in ("cycles", "latency_s"):
            np.testing.assert_allclose(found[metric][place], alone[metric][0], rtol=1e-12)


@pytest.mark.parametrize("schedule", ["layer", "token"])
@pytest.mark.parametrize("name", SPACES)
def test_a_batch_is_its_networks_one_by_one(name, schedule):
    simulator = VisionTransformer(name, schedule=schedule)
    rows, networks = designs(simulator, 4, seed=2)
    found = simulator.evaluate_indices(rows)
    for place, design in enumerate(networks):
        whole = network(SPACES[name](), design)
        peak = whole.by_layer if schedule == "layer" else whole.by_token
        for metric, value in (
            ("params", whole.parameters),
            ("macs", whole.macs),
            ("peak_memory_bytes", peak),
            ("blocks", whole.blocks),
            ("tokens", whole.tokens),
            ("channels", whole.channels),
        ):
            assert found[metric][place] == value


def test_indices_of_inactive_parameters_change_nothing(simulators):
    simulator = simulators["ascan"]
    rows = np.random.default_rng(0).integers(simulator.space.nvec, size=(300, len(simulator.space)))
    canonical = simulator.space.canonical(rows)
    assert (canonical != rows).any()
    given, same = simulator.evaluate_indices(rows), simulator.evaluate_indices(canonical)
    assert all(np.array_equal(given[name], same[name]) for name in given)


# --- memory by tokens, run with numbers ---


class Memory:
    """Buffers, and the most elements that they ever had together."""

    def __init__(self):
        self.now = self.peak = 0

    def new(self, *shape):
        buffer = np.zeros(shape)
        self.now += buffer.size
        self.peak = max(self.peak, self.now)
        return buffer

    def free(self, *buffers):
        self.now -= sum(buffer.size for buffer in buffers)

    def through(self, row, layers, owned=True):
        """A row through linear layers, each into a new buffer; the row's own is freed, if it is one."""
        for layer in layers:
            after = self.new(layer.out_features)
            after[:] = linear(row, layer)
            if owned:
                self.free(row)
            row, owned = after, True
        return row


def linear(row, layer):
    return layer.weight.numpy() @ row + (0 if layer.bias is None else layer.bias.numpy())


def normalized(row):
    return (row - row.mean()) / np.sqrt(row.var() + 1e-5)


def gelu(row):
    from torch import from_numpy
    from torch.nn.functional import gelu as function

    return function(from_numpy(row)).numpy()


def attend_by_token(memory, q, kv, heads, windows):
    """Attention that writes over the queries."""
    inner = q.shape[1]
    q, k, v = (t.reshape(len(t), heads, -1) for t in (q, kv[:, :inner], kv[:, inner:]))
    queries, keys = len(q) // windows, len(k) // windows
    for place in range(len(q)):
        own = slice(place // queries * keys, (place // queries + 1) * keys)
        for number in range(heads):
            scores = memory.new(keys)
            scores[:] = k[own, number] @ q[place, number]
            scores[:] = np.exp(scores - scores.max())
            scores /= scores.sum()
            mean = memory.new(q.shape[2])
            mean[:] = scores @ v[own, number]
            q[place, number] = mean
            memory.free(scores, mean)


def finish_by_token(memory, module, x, q):
    """Projection and perceptron, in place of x."""
    layers = module.projection if hasattr(module.projection, "__len__") else [module.projection]
    for place in range(len(x)):
        row = memory.through(q[place], layers, owned=False)
        x[place] += row
        memory.free(row)
    memory.free(q)
    for place in range(len(x)):
        row = memory.new(x.shape[1])
        row[:] = normalized(x[place])
        row = memory.through(row, module.mlp.up)
        row[:] = gelu(row)
        row = memory.through(row, module.mlp.down)
        x[place] += row
        memory.free(row)


def encoder_by_token(memory, module, x):
    tokens, inner = len(x), module.qkv[-1].out_features // 3
    q, kv = memory.new(tokens, inner), memory.new(tokens, 2 * inner)
    for place in range(tokens):
        row = memory.new(x.shape[1])
        row[:] = normalized(x[place])
        row = memory.through(row, module.qkv[:-1])
        qkv = linear(row, module.qkv[-1])  # straight into the buffers
        q[place], kv[place] = qkv[:inner], qkv[inner:]
        memory.free(row)
    attend_by_token(memory, q, kv, module.heads, module.windows)
    memory.free(kv)
    finish_by_token(memory, module, x, q)
    return x


def pooled_by_token(memory, module, x):
    tokens, inner = len(x), module.qkv.out_features // 3
    kept = memory.new(tokens // 4, inner)
    q, kv = memory.new(tokens // 4, inner), memory.new(tokens, 2 * inner)
    kept[:], q[:] = -np.inf, -np.inf
    for place in range(tokens):
        row = memory.new(x.shape[1])
        row[:] = normalized(x[place])
        out = memory.through(row, [module.residual], owned=False)
        kept[place // 4] = np.maximum(kept[place // 4], out)
        memory.free(out)
        qkv = linear(row, module.qkv)  # keys and values straight into their buffer
        out = memory.new(inner)
        out[:] = qkv[:inner]
        q[place // 4] = np.maximum(q[place // 4], out)
        kv[place] = qkv[inner:]
        memory.free(out, row)
    memory.free(x)
    attend_by_token(memory, q, kv, module.heads, module.windows)
    memory.free(kv)
    finish_by_token(memory, module, kept, q)
    return kept


@pytest.mark.parametrize(
    ("heads", "head_dim", "rank", "windows", "pooled"),
    [(3, 4, None, 1, False), (2, 5, 3, 1, False), (2, 4, None, 4, False), (2, 8, None, 1, True),
     (4, 4, None, 2, True)],
)  # fmt: skip
def test_memory_by_tokens_is_that_of_a_run_with_such_buffers(heads, head_dim, rank, windows, pooled):
    torch = pytest.importorskip("torch")
    from transformer_networks import Encoder, PooledEncoder

    torch.manual_seed(0)
    tokens, width, hidden = 32, (heads * head_dim // 2 if pooled else 10), 40
    given = torch.randn(tokens, width, dtype=torch.float64)
    wide = heads * head_dim if pooled else width
    block = Attention(tokens, wide, heads, head_dim, hidden, windows, rank)
    with torch.no_grad(), torch.device("cpu"):
        torch.set_default_dtype(torch.float64)
        try:
            if pooled:
                module, expected = (
                    PooledEncoder(width, wide, heads, hidden, windows),
                    pooled_transformer(block, width),
                )
            else:
                module, expected = Encoder(width, heads, head_dim, hidden, rank, windows), transformer(block)
            plain = module([given.clone()]).numpy()
        finally:
            torch.set_default_dtype(torch.float32)
        memory = Memory()
        x = memory.new(tokens, width)
        x[:] = given.numpy()
        result = (pooled_by_token if pooled else encoder_by_token)(memory, module, x)
    np.testing.assert_allclose(result, plain, rtol=1e-8, atol=1e-10)
    assert memory.peak == expected.by_token < expected.by_layer


def test_memory_by_tokens_of_what_surrounds_them():
    patches = embedding(224, 16, 16, 0, 192, class_token=True)
    assert (patches.by_layer, patches.by_token) == (3 * 224**2 + 196 * 192, 3 * 16**2 + 197 * 192)
    block = bottleneck(8, 6, 3, 4)
    assert (block.by_layer, block.by_token) == (64 * (6 + 24 + 6), 64 * (6 + 6) + 24)
    assert head(50, 192, normalized=True).by_token == 50 * 192 + 2 * 192


def test_the_tokens_schedule_is_what_fits_deit_s_into_a_microcontroller():
    small = dict.fromkeys([f"heads{i}" for i in range(1, 13)], 6)
    small |= dict.fromkeys([f"mlp_ratio{i}" for i in range(1, 13)], 4.0)
    small |= {"patch_size": 16, "rank_ratio": 1.0, "width": 384, "depth": 12}
    deit = network(SPACES["mcuformer_small"](), small)
    assert (deit.parameters, deit.macs) == (22_050_664, 4_598_882_304)
    assert deit.by_token < 320 * 1024 < deit.by_layer


# --- the environment, its objectives and optima ---


def test_environment_and_simulator_keep_the_contract():
    check_env(ENV)
    check_simulator(VisionTransformer("ascan", "fp32", "token"))
    env = gymnasium.make(ENV, preset="ascan")
    check_gymnasium(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("preset", ["turbovit", "ascan"])
def test_references_are_near_medians(preset):
    simulator = VisionTransformer(preset)
    rows, _ = designs(simulator, 2000)
    found = simulator.evaluate_indices(rows)
    for name, value in references(simulator).items():
        assert 0.25 < np.median(found[name]) / value < 4, name


@pytest.mark.parametrize(
    "wanted",
    [
        (Minimize("latency_s"), AtLeast("params", 2e7), AtLeast("macs", 3e9)),
        (Minimize("latency_s"), AtLeast("params", 2e7), AtMost("peak_memory_bytes", 2e6)),
        (Maximize("macs"), AtMost("peak_memory_bytes", 1.5e6), AtMost("latency_s", 0.05)),
        (Minimize("peak_memory_bytes"), Minimize("cycles", 2.0), AtLeast("blocks", 12)),
        (Maximize("params"), Minimize("macs")),
        (Maximize("channels"), AtMost("latency_s", 1e-9)),  # no network is
    ],
)
def test_candidates_have_the_optimum_of_the_whole_space(wanted, simulators):
    simulator = simulators["turbovit"]
    task = Objective(*wanted)
    found = simulator.candidates(task)
    rows = np.concatenate([np.zeros((0, len(simulator.space)), np.int64), *found.enumerate(1000)])
    assert len(rows) == found.size < 5000
    results = simulator.evaluate_indices(rows)
    rewards = task(results, results["feasible"])
    optimum = find_optimum(simulator, task)
    if optimum.best_reward is None:
        assert not rewards.valid.any()
    else:
        np.testing.assert_allclose(rewards.reward[rewards.valid].max(), optimum.best_reward, rtol=1e-12)


@pytest.mark.parametrize(
    "wanted",
    [
        (Minimize("latency_s"), AtLeast("cycles", 1e6)),
        (Maximize("peak_memory_bytes"),),
        (Target("params", 1e7),),
        (Minimize("params", -1.0),),
    ],
)
def test_there_are_no_candidates_where_low_costs_need_not_be_best(wanted, simulators):
    assert simulators["turbovit"].candidates(Objective(*wanted)) is None


@pytest.mark.parametrize("seed", range(20))
def test_the_frontier_is_that_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    space = DesignSpace(
        [
            Integer("a", 0, 2),
            Integer("b", 0, 3, when={"a": [1, 2]}),
            Ordinal("c", [1, 2, 4]),
            Integer("d", 0, 2, when={"c": [2]}),
            Integer("e", 0, 4),
        ]
    )
    parts = []
    for names in (("a", "b"), ("a", "b", "c", "d"), ("c", "d", "e"), ("a",)):
        places = np.array([space.names.index(name) for name in names])
        shape = space.nvec[places]
        rows = np.stack(np.unravel_index(np.arange(shape.prod()), shape), axis=1)
        parts.append(Settings(places, rows, rng.integers(0, 9, (len(rows), 3)).astype(float)))
    limits = Limits(
        np.array([False, False, True]), np.array([np.inf, 14.0, 7.0]), np.array([True, False, seed % 2 == 0])
    )
    every = np.concatenate(list(space.enumerate()))

    def total(rows):
        costs = [
            p.costs[np.ravel_multi_index(tuple(rows[:, p.places].T), space.nvec[p.places])] for p in parts
        ]
        return np.where(limits.largest, np.max(costs, axis=0), np.sum(costs, axis=0))

    valid = (total(every) <= limits.most).all(axis=1)
    kept = frontier(space, parts, limits)
    assert np.array_equal(space.canonical(kept), kept)
    assert (total(kept) <= limits.most).all()
    for weights in ([1.0, 0, 0], [1.0, 0, 2.0 * limits.lower[2]]):
        best = (total(every)[valid] @ weights).min(initial=np.inf)
        assert (total(kept) @ weights).min(initial=np.inf) == best


def test_deit_ti_is_the_fastest_of_its_size_within_320_kib():
    simulator = VisionTransformer("mcuformer")
    optimum = find_optimum(simulator, objective(simulator))
    metrics = optimum.best_metrics
    assert (metrics["params"], metrics["peak_memory_bytes"]) == (5_717_416, 305_547)
    rows, _ = designs(simulator, 10_000)
    found = simulator.evaluate_indices(rows)
    rewards = objective(simulator)(found, found["feasible"])
    assert rewards.valid.any()
    assert rewards.reward[rewards.valid].max() <= optimum.best_reward


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"space": "turbo"}, "turbovit"),
        ({"precision": "int4"}, "int8"),
        ({"schedule": "tokens"}, "token"),
        ({"goal": "accuracy"}, "latency_s"),
        ({"limits": {"parms": 1}}, "params"),
        ({"limits": {"params": -1}}, "positive number"),
        ({"limits": 5}, "expected limits"),
    ],
)
def test_what_is_wrong_is_refused_with_what_is_right(arguments, says):
    with pytest.raises(ArchGymError, match=says):
        gymnasium.make(ENV, **arguments)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_valid_designs_and_a_search_runs(preset):
    result = archgym.search(ENV, "random", budget=2, env_kwargs={"preset": preset})
    assert len(result.history["reward"]) == 2


# --- published and measured figures ---


def test_published_parameters_and_macs_are_met_within_their_rounding():
    rows, found = compare(PUBLISHED)
    assert (rows, len(found)) == (5, 10)
    units = {("DeiT-Ti", "params"): 1e5, ("DeiT-S", "params"): 1e5}
    for each in found:
        unit = 1e8 if each.metric == "macs" else units.get((each.network, each.metric), 1e4)
        assert abs(each.computed - each.given) <= 0.501 * unit, each


def test_the_command_compares_a_table_of_ones_own(tmp_path):
    app = typer.Typer()
    app.command()(fidelity.transformer)
    rows = list(csv.DictReader(PUBLISHED.open()))
    path = tmp_path / "mine.csv"
    columns = [*rows[0], "latency_s"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerow({**rows[2], "params": 2 * 27_910_216, "macs": "", "latency_s": ""})
    printed = CliRunner().invoke(app, ["--data", str(path), "--json"])
    found = json.loads(printed.stdout)
    assert found == {"rows": 1, "largest_relative_difference": {"params": 0.5}}
    shown = CliRunner().invoke(app, ["--data", str(path)]).stdout
    assert "Hiera-T" in shown
    assert "-50.00" in shown
    assert largest(compare(path)[1]) == {"params": 0.5}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("space,width\nturbovit,96\n", "line 2.*heads"),
        ("space,speed\nturbovit,96\n", "unknown column"),
        ("space,params\nvit,96\n", "unknown macro space"),
        ("space,params\nturbovit\n", "as many cells"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_line(tmp_path, text, says):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(ArchGymError, match=says):
        compare(path)
