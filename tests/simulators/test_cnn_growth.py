"""Growth of plain convolutional networks: moves keep the function, paths are reproducible, and costs exact."""

import gymnasium
import numpy as np
import pytest

import archgym
from archgym import ArchGymError, Maximize, Objective, PrefixDesign
from archgym.env import ArchEnv
from archgym.envs.plain_cnn import plain_cnn
from archgym.registry import Task

pytest.importorskip("sklearn")
torch = pytest.importorskip("torch")

from archgym.simulators.cnn.costs import costs  # noqa: E402
from archgym.simulators.cnn.growth import grown  # noqa: E402
from archgym.simulators.cnn.growth.grown import GrownCnn, grow  # noqa: E402
from archgym.simulators.cnn.growth.moves import (  # noqa: E402
    DEEPEST,
    MOVES,
    START,
    WIDTHS,
    growth_of,
    moved,
    path_space,
    refusal,
)
from archgym.simulators.cnn.growth.transform import transform  # noqa: E402
from archgym.simulators.cnn.layers import Layer, Networks, all_networks  # noqa: E402
from archgym.simulators.cnn.network import PlainCnn  # noqa: E402
from archgym.simulators.cnn.train import train  # noqa: E402
from archgym.testing import check_env, check_simulator  # noqa: E402

WIDEN1, DEEPEN1 = MOVES.index("widen 1"), MOVES.index("deepen 1")
SKIPS = (Layer(3, 8), Layer(3, 8, skip=True), Layer(1, 8, skip=True))
STRIDE = (Layer(5, 8), Layer(3, 16, "stride"), Layer(3, 16, skip=True))
IMAGES = torch.from_numpy(np.random.default_rng(0).random((24, 1, 16, 16), np.float32))


def met(layers, seed):
    """A network whose batch norms have met images, and have weights of their own."""
    network = PlainCnn(layers, seed)
    network.train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5, torch.Generator().manual_seed(seed))
        for batch in IMAGES.split(6) * 10:
            network(batch)
    return network.eval()


def logits(network):
    with torch.no_grad():
        return network(IMAGES)


def possible(layers):
    return [move for move in range(1, len(MOVES)) if not refusal(layers, move)]


# --- transformations ---


@pytest.mark.parametrize("trial", range(12))
def test_twelve_random_moves_keep_the_function(trial):
    rng = np.random.default_rng(trial)
    shallow = [layers for layers in all_networks() if len(layers) <= 3]
    layers = SKIPS if trial == 0 else shallow[rng.integers(len(shallow))]
    network = met(layers, trial)
    before, seen = logits(network), set()
    for _ in range(12):
        move = int(rng.choice(possible(layers)))
        network, layers = transform(network, move, IMAGES, rng), moved(layers, move)
        seen.add(MOVES[move][:5])
        assert tuple(network.layers) == layers
        assert (logits(network) - before).abs().max() <= 1e-6
    assert "widen" in seen and sum(p.numel() for p in network.parameters()) > 0


@pytest.mark.parametrize(
    ("layers", "move"), [(layers, move) for layers in (SKIPS, START, STRIDE) for move in possible(layers)]
)
def test_each_move_keeps_the_function_in_double_precision(layers, move):
    network = met(layers, 1).double()
    with torch.no_grad():
        before = network(IMAGES.double())
        after = transform(network, move, IMAGES.double(), np.random.default_rng(2))
        assert (after(IMAGES.double()) - before).abs().max() < 1e-12
    assert sum(p.numel() for p in after.parameters()) == costs(Networks.of([after.layers]))["params"][0]
    assert sum(p.numel() for p in after.parameters()) > sum(p.numel() for p in network.parameters())


def test_widening_keeps_the_function_in_training_too_and_noise_tells_copies_apart():
    network = met(START, 0)
    same, noisy = (
        transform(network, WIDEN1, IMAGES, np.random.default_rng(0), noise) for noise in (0.0, 0.01)
    )
    assert 0 < (logits(noisy) - logits(network)).abs().max() < 0.1
    for each in (network, same, noisy):
        each.train()
    assert (logits(same) - logits(network)).abs().max() < 1e-5
    kernels = [each.blocks[0].convolution.weight.flatten(1) for each in (same, noisy)]
    distinct = [len(torch.unique(kernel, dim=0)) for kernel in kernels]
    assert distinct == [8, 12]


def test_a_network_is_not_changed_by_its_children():
    network = met(START, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for move in possible(START):
        transform(network, move, IMAGES, np.random.default_rng(0), 0.01)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_skips_tie_widths():
    layers = (Layer(3, 8), *SKIPS)
    assert [layer.width for layer in moved(layers, MOVES.index("widen 3"))] == [8, 12, 12, 12]
    assert [layer.width for layer in moved(layers, WIDEN1)] == [12, 8, 8, 8]


# --- paths ---


def test_possible_moves_are_those_on_layers_that_exist():
    assert {MOVES[move] for move in possible(START)} == {
        *("widen 1", "widen 2", "widen 3", "deepen 1", "deepen 2", "deepen 3")
    }
    widest = tuple(Layer(3, WIDTHS[-1]) for _ in range(DEEPEST))
    assert possible(widest) == []
    assert growth_of((DEEPEN1, DEEPEN1, DEEPEN1)).refusal == (
        "'deepen 1' is impossible in step 3: the network has 5 layers, the most there are"
    )


def test_masks_are_what_is_feasible():
    simulator = GrownCnn(steps=3, epochs=1, seed=0)
    designs = simulator.space.from_ordinal(np.arange(simulator.space.size))
    feasible = np.array([not growth_of(tuple(m for m in row if m)).refusal for row in designs.tolist()])
    for p in range(3):
        prefixes = designs[feasible & (designs[:, p:] == 0).all(axis=1)]
        masks = simulator.masks(prefixes, p)
        known = {tuple(row) for row in designs[feasible].tolist()}
        for prefix, mask in zip(prefixes.tolist(), masks.tolist(), strict=True):
            expected = [(*prefix[:p], move, *prefix[p + 1 :]) in known for move in range(len(MOVES))]
            if p and not prefix[p - 1]:
                expected = [move == 0 for move in range(len(MOVES))]
            assert mask == expected


def test_features_are_the_layers():
    path = np.array([[DEEPEN1, WIDEN1, 0, 0, 0], [0] * 5, [MOVES.index("widen 5")] * 5])
    features = GrownCnn(seed=0).state_features(path).reshape(3, DEEPEST, 4)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[0, :, 0] * 64, [12, 8, 16, 16, 0])
    np.testing.assert_allclose(features[0, :, 1] * 5, [3, 3, 3, 3, 0])
    assert features[0, :, 2:].tolist() == [[0, 1], [0, 1], [1, 1], [0, 1], [0, 0]]
    assert (features[1] == features[2]).all() and features[1, :, 3].sum() == len(START)


# --- training along paths ---


def test_a_path_has_the_same_accuracy_whatever_was_asked_before():
    simulator = GrownCnn(steps=2, epochs=1, seed=3)
    path, other = np.array([[DEEPEN1, WIDEN1]]), np.array([[WIDEN1, DEEPEN1]])
    grow.cache_clear()
    alone = simulator.evaluate_indices(path)
    grow.cache_clear()
    simulator.evaluate_indices(other)
    simulator.evaluate_indices(np.array([[DEEPEN1, 0]]))
    again = simulator.evaluate_indices(path)
    assert {name: column.tolist() for name, column in alone.items()} == {
        name: column.tolist() for name, column in again.items()
    }
    assert simulator.evaluate_indices(other)["valid_accuracy"] != alone["valid_accuracy"]


def test_the_start_is_a_network_of_the_table_and_growth_goes_on_from_it():
    start = train(START, 0)
    simulator = GrownCnn(steps=1, epochs=1, seed=0)
    columns = simulator.evaluate_indices(np.array([[0], [DEEPEN1]]))
    assert columns["valid_accuracy"][0] * 1350 == pytest.approx(start.valid_correct)
    assert columns["test_accuracy"][0] * 1350 == pytest.approx(start.test_correct)
    new = GrownCnn("scratch", steps=1, epochs=1, seed=0).evaluate_indices(np.array([[0], [DEEPEN1]]))
    assert new["valid_accuracy"][0] == columns["valid_accuracy"][0]
    assert new["valid_accuracy"][1] != columns["valid_accuracy"][1]
    assert (new["macs"] == columns["macs"]).all()


@pytest.fixture
def trained(monkeypatch):
    """Trainings, as epochs and layers, instead of training."""
    found = []

    def fit(network, seed, *, epochs=4, learning_rate=0.1):
        found.append((epochs, tuple(network.layers)))

    monkeypatch.setattr(grown, "fit", fit)
    monkeypatch.setattr(grown, "count_correct", lambda network: (len(network.layers) * 100, 500))
    grow.cache_clear()
    grown.train_last.cache_clear()
    yield found
    grow.cache_clear()
    grown.train_last.cache_clear()


def task(**kwargs):
    return Task(
        "test/Grown-v0", lambda: GrownCnn(**kwargs), lambda simulator: Objective(Maximize("valid_accuracy"))
    )


@pytest.mark.parametrize(("start", "seed"), [("inherit", 5), ("inherit", "mean"), ("scratch", 5)])
def test_the_ledger_charges_what_was_trained_and_validation(trained, start, seed):
    env = ArchEnv(task(start=start, steps=3, epochs=2, seed=seed))
    designs = env.simulator.space.sample(80, np.random.default_rng(0), per="parameter")
    env.ledger.cost_budget = 1e13
    columns = [env.reset(seed=0) and env.step(design)[-1] for design in (*designs, *designs[:20])]
    macs = {layers: costs(Networks.of([layers]))["macs"][0] for _, layers in trained}
    training = sum(3 * 896 * epochs * macs[layers] for epochs, layers in trained)
    lasts = [growth_of(tuple(m for m in row if m)).last for row in env.ledger.column("indices").tolist()]
    validation = 1350 * costs(Networks.of(lasts))["macs"].sum() * (3 if seed == "mean" else 1)
    assert trained and env.ledger.cost == training + validation
    assert 20 < sum(info["feasible"] for info in columns) < 80
    if start == "scratch":
        assert {epochs for epochs, _ in trained} == {4, 6, 8, 10}


def test_searches_spend_a_cost_budget_on_paths_and_repeat(trained):
    archgym.register_env(
        "test/Grown-v0",
        simulator=GrownCnn,
        objective=lambda simulator: Objective(Maximize("valid_accuracy")),
    )
    try:
        kwargs = {"steps": 3, "epochs": 1, "seed": 0}
        result = archgym.search("test/Grown-v0", "genetic", cost_budget=3e11, seed=0, env_kwargs=kwargs)
        again = archgym.search_again(result.specification)
    finally:
        gymnasium.registry.pop("test/Grown-v0")
    assert 2.5e11 < result.cost <= 3e11 and result.cost_unit == "multiply-adds of training"
    assert result.history["cost"][-1] == result.cost == again.cost
    for name in ("move1", "move2", "move3", "reward"):
        assert (result.history[name] == again.history[name]).all()
    whole = (
        GrownCnn(**kwargs)
        .cost_of(result.space.encode({name: result.history[name] for name in result.space.names}))
        .sum()
    )
    assert whole > 1.2 * result.cost  # prefixes are paid once


def test_train_macs_are_those_of_the_whole_path(trained):
    path = np.array([[DEEPEN1, WIDEN1, 0]])
    simulator = GrownCnn(steps=3, epochs=2, seed=0)
    macs = costs(Networks.of(growth_of((DEEPEN1, WIDEN1)).networks))["macs"]
    columns = simulator.evaluate_indices(path)
    assert columns["train_macs"] == [3 * 896 * macs @ [4, 2, 2]]
    assert simulator.cost_of(path) == columns["train_macs"] + 1350 * macs[-1]
    new = GrownCnn("scratch", steps=3, epochs=2, seed=0).evaluate_indices(path)
    assert new["train_macs"] == [3 * 896 * 8 * macs[-1]]


def test_impossible_paths_are_infeasible_with_the_reason(trained):
    env = ArchEnv(task(steps=2, epochs=1, seed=0))
    env.reset(seed=0)
    info = env.step(np.array([WIDEN1, MOVES.index("widen 4")]))[-1]
    assert not info["feasible"] and not trained
    assert env.ledger.failures == [
        (0, "'widen 4' is impossible in step 2: expected a layer in 1..3 to widen, got 4")
    ]


def test_checkers_pass(trained):
    made = task(steps=2, epochs=1, seed=0)
    check_env(ArchEnv(made, horizon=2))
    check_simulator(GrownCnn(steps=2, epochs=1, seed=0))


def test_steps_of_growth_observe_the_network(trained):
    env = PrefixDesign(ArchEnv(task(steps=3, epochs=1, seed=0), horizon=3))
    observation, _ = env.reset(seed=0)
    assert env.action_masks().sum() == 1 + 6
    features = env.unwrapped.simulator.state_features(np.array([[0, 0, 0], [DEEPEN1, 0, 0]]))
    assert (observation[-20:] == features[0]).all()
    observation, _, over, _, info = env.step(DEEPEN1)
    assert (observation[-20:] == features[1]).all() and not over
    assert info["metrics"]["valid_accuracy"] == pytest.approx(400 / 1350)
    assert [epochs for epochs, _ in trained] == [4, 1]
    assert env.step(0)[2] and len(trained) == 2


def test_arguments():
    assert path_space(5).size == sum(9**n for n in range(6)) == 66430
    assert isinstance(plain_cnn(start="inherit", steps=2, seed=0), GrownCnn)
    for wrong, message in (
        ({"start": "half"}, "'inherit', 'scratch'|inherit, scratch"),
        ({"steps": 2}, r"expected start='inherit' or 'scratch' with steps= or epochs="),
        ({"start": "inherit", "steps": 0}, "steps"),
        ({"start": "inherit", "epochs": 0}, "epochs"),
        ({"start": "inherit", "seed": "random"}, "seed"),
        ({"start": "inherit", "patches": 3}, "patches"),
    ):
        with pytest.raises(ArchGymError, match=message):
            plain_cnn(**wrong)
    assert archgym.PrefixDesign is PrefixDesign
