"""The supernet of the digits network, what cells cost, and cells judged by shared weights."""

from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest
from nas_toys import toy_table

import archgym
from archgym.errors import ArchGymError, BudgetExhausted, MissingDependency
from archgym.ledger import Ledger
from archgym.shared import Meter
from archgym.simulator import reference_cost
from archgym.simulator_wrappers import Noisy, Tabulated
from archgym.simulators.nas.cells import (
    CELL_SPACE,
    CONV1,
    CONV3,
    EDGES,
    NONE,
    OPERATIONS,
    POOL,
    SKIP,
    all_cells,
    live_edges,
)
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tabular import NasCell
from archgym.simulators.nas.training.digits import load_digits_task
from archgym.testing import check_simulator

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn.datasets")

import torch.nn.functional as F  # noqa: E402 - needs PyTorch

from archgym.simulators.nas.live import TrainedCell  # noqa: E402
from archgym.simulators.nas.shared import SharedCell  # noqa: E402
from archgym.simulators.nas.training.supernet import SharedDigits, Supernet, shuffled  # noqa: E402

ENV = "archgym/NasCell-v0"
CELL = np.array([CONV3, SKIP, CONV1, NONE, POOL, CONV3])
DISCONNECTED = np.array([CONV3, CONV3, CONV1, NONE, NONE, NONE])
SKELETON, MACS1, MACS3 = 13_472, 20_480, 184_320  # over both stages
SHARED = {"backend": "shared", "paths": 6, "images": 64}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def one_hot(cell):
    return torch.eye(len(OPERATIONS))[torch.as_tensor(cell)]


def some_cells(n, seed=0):
    return np.concatenate([CELL_SPACE.sample(n, np.random.default_rng(seed)), [CELL, DISCONNECTED]])


def train(task, steps=3, cell=CELL):
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    for _ in range(steps):
        images, labels = task.train_batch()
        optimizer.zero_grad()
        F.cross_entropy(task.path(images, cell), labels).backward()
        optimizer.step()


def state(task):
    return [parameter.detach().clone() for parameter in task.parameters()]


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# Paths and mixtures


@pytest.mark.parametrize("partial", [1, 2, 4])
def test_a_mixture_of_one_operation_each_is_the_path(partial):
    task = SharedDigits(0.5, 0, partial=partial)
    images, _ = task.valid_batch()
    with torch.no_grad():
        for cell in some_cells(20):
            path = task.path(images, cell)
            weights = one_hot(cell)
            torch.testing.assert_close(task.mixture(images, weights), path, atol=1e-6, rtol=0)
            kept = task.mixture(images, weights, kept=weights.numpy() > 0)
            torch.testing.assert_close(kept, path, atol=1e-6, rtol=0)


def test_operations_left_out_are_those_of_weight_zero():
    task = SharedDigits(0.5, 0)
    images, _ = task.valid_batch()
    kept = np.random.default_rng(1).random((6, 5)) < 0.5
    weights = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    left_out = task.mixture(images, weights, kept=kept)
    zero = task.mixture(images, weights * torch.as_tensor(kept))
    torch.testing.assert_close(left_out, zero, atol=1e-5, rtol=0)


def test_weights_of_edges_scale_what_they_carry():
    task = SharedDigits(0.5, 0)
    images, _ = task.valid_batch()
    weights = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    edges = torch.rand(6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        task.mixture(images, weights, edges),
        task.mixture(images, weights * edges[:, None]),
        atol=1e-5,
        rtol=0,
    )


def test_gates_scale_the_chosen_operations_and_get_gradients():
    task = SharedDigits(0.5, 0)
    images, _ = task.valid_batch()
    gates = torch.linspace(0.5, 1.5, 6, requires_grad=True)
    logits = task.path(images, CELL, gates)
    mixed = task.mixture(images, one_hot(CELL) * gates.detach()[:, None])
    torch.testing.assert_close(logits, mixed, atol=1e-5, rtol=0)
    logits.square().sum().backward()
    live = live_edges(CELL[None])[0]
    np.testing.assert_array_equal(gates.grad.numpy() != 0, live)


def test_only_the_live_operations_of_a_path_get_gradients():
    task = SharedDigits(0.5, 0)
    images, labels = task.train_batch()
    F.cross_entropy(task.path(images, CELL), labels).backward()
    trained = {name for name, weight in task.network.convolutions.items() if weight.grad is not None}
    live = live_edges(CELL[None])[0]
    assert trained == {
        f"{stage}-{o}-{e}" for stage in (0, 1) for e, o in enumerate(CELL) if live[e] and o in (CONV1, CONV3)
    }


def test_a_cell_without_a_path_is_computed_and_trains_the_classifier():
    task = SharedDigits(0.5, 0)
    images, labels = task.train_batch()
    logits = task.path(images, DISCONNECTED)
    F.cross_entropy(logits, labels).backward()
    assert (logits == logits[0]).all() and task.network.bias.grad is not None


def test_every_operation_of_every_edge_has_weights_of_its_own():
    task = SharedDigits(0.5, 0)
    assert len(task.network.convolutions) == 2 * 2 * len(EDGES)
    assert len({weight.data_ptr() for weight in task.parameters()}) == len(task.parameters())
    assert not list(task.network.buffers())  # batch statistics alone


# Partial channels


def test_the_shuffle_is_the_transpose_of_groups_and_channels():
    x = torch.arange(2 * 16 * 3 * 3.0).reshape(2, 16, 3, 3)
    expected = x.numpy().reshape(2, 4, 4, 3, 3).transpose(0, 2, 1, 3, 4).reshape(2, 16, 3, 3)
    np.testing.assert_array_equal(shuffled(x, 4).numpy(), expected)
    assert torch.equal(shuffled(shuffled(x, 2), 8), x)


@pytest.mark.parametrize("partial", [2, 4, 8, 16])
@pytest.mark.parametrize("operation", [NONE, CONV1, CONV3, POOL])
def test_an_operation_changes_exactly_its_share_of_the_channels(partial, operation):
    network = Supernet(0, partial)
    x = torch.rand(4, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = x[:, : 16 // partial]
    term = network._outputs(seen, 0, [0], np.ones((6, 5), bool))[0].get(operation, torch.zeros_like(seen))
    y = shuffled(network._with_rest(term, x), 16 // partial)  # the inverse of a shuffle of K groups
    changed = (y != x).any(dim=3).any(dim=2).any(dim=0)
    np.testing.assert_array_equal(changed.numpy(), np.arange(16) < 16 // partial)


def test_with_partial_channels_none_lets_the_rest_pass():
    task = SharedDigits(0.5, 0, partial=4)
    images, _ = task.valid_batch()
    logits = task.path(images, np.full(6, NONE))
    assert (logits != logits[0]).any()


def test_one_as_partial_is_the_plain_network():
    plain, one = SharedDigits(0.5, 3), SharedDigits(0.5, 3, partial=1)
    images, _ = plain.valid_batch()
    assert torch.equal(plain.path(images, CELL), one.path(images, CELL))


@pytest.mark.parametrize("partial", [0, 3, 32, True, 2.0])
def test_a_share_that_does_not_divide_the_channels_is_refused(partial):
    with pytest.raises(ArchGymError, match="divisor of the 16 channels"):
        SharedDigits(0.5, 0, partial=partial)


# Images


def test_fresh_images_are_new_every_epoch_and_validation_images_are_those_of_the_task():
    task, digits = SharedDigits(0.5, 0), load_digits_task(0.5)
    epochs = [torch.cat([task.train_batch().images for _ in range(task.batches)]) for _ in range(2)]
    assert not set(map(bytes, epochs[0].numpy())) & set(map(bytes, epochs[1].numpy()))
    validation = set(map(bytes, digits.valid_images))
    seen = [bytes(image) for _ in range(21) for image in task.valid_batch().images.numpy()]
    assert len(set(seen)) == len(seen) and set(seen) <= validation


def test_fixed_images_come_back_and_both_halves_are_disjoint():
    task = SharedDigits(0.5, 0, fresh=False)
    train_images, valid_images = (
        [set(map(bytes, torch.cat([draw().images for _ in range(14)]).numpy())) for _ in range(2)]
        for draw in (task.train_batch, task.valid_batch)
    )
    assert train_images[0] == train_images[1] and valid_images[0] == valid_images[1]
    assert len(train_images[0]) == len(valid_images[0]) == 896
    assert not train_images[0] & valid_images[0]
    assert not (train_images[0] | valid_images[0]) & set(map(bytes, load_digits_task(0.5).valid_images))


def tensors_of(value, seen):
    """Every array and tensor that can be reached through attributes and items."""
    if id(value) in seen or isinstance(value, (str, bytes, int, float, type)):
        return
    seen[id(value)] = value
    if isinstance(value, (np.ndarray, torch.Tensor)):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item, seen)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from tensors_of(item, seen)
    elif hasattr(value, "__dict__"):
        yield from tensors_of(vars(value), seen)
        if hasattr(value, "__self__"):
            yield from tensors_of(value.__self__, seen)


@pytest.mark.parametrize("fresh", [True, False])
def test_test_images_cannot_be_reached(fresh):
    task = SharedDigits(0.5, 0, fresh=fresh)
    held_out = set(map(bytes, load_digits_task(0.5).test_images))
    found = [*task.train_batch(), *task.valid_batch(), *task.on("digits-0.5").valid_batch()]
    found += tensors_of([task, task.clone()], {})
    images = [array for array in found if array.ndim == 4 and tuple(array.shape[2:]) == (8, 8)]
    assert images
    for array in images:
        assert not held_out & set(map(bytes, np.asarray(array.detach()).reshape(-1, 8, 8)))
    assert not [name for name in dir(task) if "test" in name.lower()]


# Estimates, copies and other data


def test_an_estimate_depends_on_the_cell_alone():
    task, cells = SharedDigits(0.5, 0), some_cells(3)
    train(task)
    together = task.estimate(cells, 128)
    np.testing.assert_array_equal(together, [task.estimate(cell[None], 128)[0] for cell in cells])
    np.testing.assert_array_equal(together, task.estimate(cells, 128))


def test_a_clone_equals_its_parent_and_then_goes_its_own_way():
    task = SharedDigits(0.5, 0)
    train(task)
    allowed = np.ones((6, 5), bool)
    allowed[0, NONE] = False
    twin = task.clone(allowed)
    cells, before = some_cells(2), state(task)
    np.testing.assert_array_equal(task.estimate(cells, 64), twin.estimate(cells, 64))
    np.testing.assert_array_equal(twin.allowed, allowed)
    assert task.allowed.all() and twin.meter is task.meter
    assert not torch.equal(task.train_batch().images, twin.train_batch().images)
    train(twin)
    assert equal(state(task), before) and not equal(state(twin), before)


def test_another_level_of_noise_has_the_same_weights_and_other_images():
    task = SharedDigits(0.5, 0)
    assert task.family == ("digits-0.5", "digits-0.3", "digits-0.7")
    other = task.on("digits-0.3")
    assert other.family[0] == "digits-0.3" and other.network is task.network and other.meter is task.meter
    validation = set(map(bytes, load_digits_task(0.3).valid_images))
    assert set(map(bytes, other.valid_batch().images.numpy())) <= validation
    with pytest.raises(ArchGymError, match="unknown data set"):
        task.on("cifar10")


def test_a_task_repeats_under_its_seed():
    first, second, third = (SharedDigits(0.5, seed) for seed in (4, 4, 5))
    for task in (first, second, third):
        train(task)
    assert equal(state(first), state(second)) and not equal(state(first), state(third))


# Costs


def test_charges_are_multiply_adds_times_images_and_passes():
    task = SharedDigits(0.5, 0)
    images, _ = task.train_batch()
    live = live_edges(CELL[None])[0]
    path = SKELETON + MACS3 * (live & (CELL == CONV3)).sum() + MACS1 * (live & (CELL == CONV1)).sum()
    assert task.macs(CELL) == path
    expected = 0
    task.path(images, CELL)
    expected += 64 * 3 * path
    assert task.meter.cost == expected
    task.mixture(images, one_hot(CELL))
    expected += 64 * 3 * (SKELETON + 6 * (MACS1 + MACS3))
    assert task.meter.cost == expected
    kept = np.zeros((6, 5), bool)
    kept[0, [CONV1, CONV3]] = kept[1, CONV3] = True
    with torch.no_grad():
        task.mixture(images, one_hot(CELL), kept=kept)
    expected += 64 * (SKELETON + MACS1 + 2 * MACS3)
    assert task.meter.cost == expected
    task.estimate(np.stack([CELL, DISCONNECTED]), 100)
    expected += 100 * (path + SKELETON)
    assert task.meter.cost == expected


@pytest.mark.parametrize("partial", [2, 4])
def test_partial_channels_divide_the_cost_of_operations(partial):
    task = SharedDigits(0.5, 0, partial=partial)
    assert task.macs() == SKELETON + 6 * (MACS1 + MACS3) / partial**2
    chosen = MACS1 * (CELL == CONV1).sum() + MACS3 * (CELL == CONV3).sum()
    assert task.macs(CELL) == SKELETON + chosen / partial**2


def test_costs_of_operations():
    task = SharedDigits(0.5, 0)
    macs, latency = (task.cost_of_operations(metric) for metric in task.cost_metrics)
    np.testing.assert_array_equal(macs, np.tile([0, 0, MACS1, MACS3, 0], (6, 1)))
    assert (latency[:, [NONE, SKIP, POOL]] == 0).all()
    assert (latency[:, CONV1] > 0).all() and (latency[:, CONV1] < latency[:, CONV3]).all()
    assert (task.cost_of_operations() == macs).all()
    with pytest.raises(ArchGymError, match="energy_j"):
        task.cost_of_operations("energy_j")


def test_known_metrics_are_those_of_the_table():
    cells = some_cells(50)
    known, table = SharedDigits(0.5, 0).known_metrics(cells), NasCell().evaluate_indices(cells)
    assert sorted(known) == ["macs", "params"]
    for name, column in known.items():
        np.testing.assert_array_equal(column, table[name])


def test_a_pass_that_the_budget_cannot_pay_does_not_run():
    task = SharedDigits(0.5, 0)
    images, _ = task.train_batch()
    ledger = Ledger(NasCell(), cost_budget=64 * 3 * task.macs(CELL))
    task.meter = Meter(ledger)
    before = state(task)
    task.path(images, CELL)
    paid, charges = ledger.cost, list(ledger.charges)
    for refused in (
        lambda: task.path(images, CELL),
        lambda: task.mixture(images, one_hot(CELL)),
        lambda: task.estimate(CELL[None], 1),
    ):
        with pytest.raises(BudgetExhausted):
            refused()
    assert ledger.cost == paid == ledger.cost_budget and ledger.charges == charges
    assert equal(state(task), before)


# Cells of a table


def test_a_query_costs_all_trainings_behind_it():
    cells = all_cells()
    macs = get_network("digits").costs(cells)["macs"].astype(float)
    for cell, seeds in ((NasCell(), 3), (NasCell(seed=0), 1), (NasCell(seed="random"), 1)):
        assert cell.cost_unit == "multiply-adds of training"
        np.testing.assert_array_equal(cell.cost_of(cells), seeds * 3 * 16 * 896 * macs)
    np.testing.assert_array_equal(NasCell(epochs=4).cost_of(cells), NasCell().cost_of(cells) / 4)
    for seed in ("mean", 7, "random"):
        trained = TrainedCell(epochs=2, seed=seed).cost_of(cells[:50])
        np.testing.assert_array_equal(trained, (3 if seed == "mean" else 1) * 3 * 2 * 896 * macs[:50])


def test_wrappers_forward_costs_and_shared_weights():
    cells, plain = some_cells(5), NasCell()
    for wrapped in (Tabulated(plain), Noisy(plain)):
        np.testing.assert_array_equal(wrapped.cost_of(cells), plain.cost_of(cells))
        assert wrapped.shared(0, partial=2).partial == 2
        assert wrapped.cost_before() == 0


def test_tables_of_other_data_share_nothing(monkeypatch):
    monkeypatch.setattr("archgym.simulators.nas.tabular.load_table", lambda name: toy_table(name))
    assert NasCell("toy").shared(0) is None
    assert NasCell("digits-0.3").shared(0).noise == 0.3


def test_without_pytorch_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "archgym.simulators.nas.training.supernet")
    with pytest.raises(MissingDependency, match=r"pip install 'archgym\[nas\]'"):
        NasCell().shared(0)


def test_controls_name_cells_by_their_convolutions():
    for simulator in (NasCell(), TrainedCell()):
        controls = simulator.controls()
        designs, _ = controls["all 3x3 convolutions"]
        np.testing.assert_array_equal(designs, [[CONV3] * 6])
        designs, priority = controls["most 3x3 convolutions"]
        assert len(designs) == 15_625
        np.testing.assert_array_equal(designs[priority == 6], [[CONV3] * 6])
        row = int(CELL_SPACE.to_ordinal(CELL[None])[0])
        np.testing.assert_array_equal(designs[row], CELL)
        assert priority[row] == (live_edges(CELL[None])[0] & (CELL == CONV3)).sum()


def test_the_environment_shares_weights_within_its_limits():
    env = gymnasium.make(ENV, macs=2.5e5)
    task = env.unwrapped.shared(0)
    cells = some_cells(200)
    np.testing.assert_array_equal(task.valid(cells), get_network("digits").costs(cells)["macs"] <= 2.5e5)
    task.estimate(CELL[None])
    assert env.unwrapped.evaluator.ledger.cost == 450 * task.macs(CELL)


# Cells judged by shared weights


def test_training_of_shared_weights_costs_what_it_was_said_to():
    simulator, cells = SharedCell(paths=6, images=64), some_cells(4)
    before = simulator.cost_before()
    columns = simulator.evaluate_indices(cells)
    assert simulator.task.meter.cost == before + simulator.cost_of(cells).sum()
    np.testing.assert_array_equal(columns["eval_macs"], [64 * simulator.task.macs(cell) for cell in cells])
    table = NasCell().evaluate_indices(cells)
    for name in ("valid_accuracy", "test_accuracy", "params", "macs"):
        np.testing.assert_array_equal(columns[name], table[name])
    again = SharedCell(paths=6, images=64).evaluate_indices(cells[::-1])
    np.testing.assert_array_equal(again["shared_accuracy"][::-1], columns["shared_accuracy"])


@pytest.mark.parametrize("agent", ["random", "tpe"])
def test_agents_search_shared_weights_and_pay_for_training_once(agent):
    result = archgym.search(ENV, agent, budget=12, env_kwargs=SHARED)
    before = SharedCell(paths=6, images=64).cost_before()
    assert len(result.history["sample"]) == 12
    assert [(charge.sample, charge.amount, charge.what) for charge in result.charges] == [
        (0, before, "training")
    ]
    assert result.cost == before + sum(result.history["eval_macs"])
    assert "shared_accuracy" in result.best_metrics


def test_single_steps_pay_for_training_before_the_first():
    env = gymnasium.make(ENV, **SHARED, disable_env_checker=True)
    env.reset(seed=0)
    ledger, before = env.unwrapped.evaluator.ledger, SharedCell(paths=6, images=64).cost_before()
    for steps in (1, 2):
        _, _, _, _, info = env.step(CELL)
        assert ledger.cost == before + steps * info["metrics"]["eval_macs"]
        env.reset()


def test_training_that_the_budget_cannot_pay_is_refused():
    env = gymnasium.make(ENV, **SHARED)
    env.reset(seed=0)
    evaluator = env.unwrapped.evaluator
    before = evaluator.simulator.cost_before()
    evaluator.ledger.cost_budget = before - 1
    with pytest.raises(BudgetExhausted):
        env.step(CELL)
    assert evaluator.ledger.cost == 0 and evaluator.ledger.samples == 0
    assert "task" not in vars(evaluator.simulator)


def test_each_context_pays_for_its_own_training_when_it_is_first_met():
    simulators = [SharedCell(paths=paths, images=64) for paths in (4, 6)]
    before = [simulator.cost_before() for simulator in simulators]
    ledger, cells = Ledger(simulators), some_cells(0)
    for contexts, paid in (([1, 1], before[1]), ([1, 1], before[1]), ([0, 1], sum(before))):
        assert ledger.admit(2, cells, np.array(contexts)) == 2
        assert ledger.cost == paid


def test_cells_judged_by_shared_weights_keep_the_rules_of_simulators():
    check_simulator(SharedCell(paths=3, images=32))


def test_the_reference_sample_of_shared_weights_is_an_estimate():
    simulator = SharedCell(paths=6, images=64)
    assert reference_cost(simulator) == np.median(simulator.cost_of(all_cells()))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"backend": "shared", "epochs": 4}, "no epochs and no seed"),
        ({"backend": "shared", "seed": 0}, "no epochs and no seed"),
        ({"paths": 10}, "backend='shared' with paths="),
        ({"backend": "shared", "images": 2000}, "images <= 1350"),
        ({"backend": "shared", "paths": 0}, "paths as a whole number"),
        ({"backend": "shared", "dataset": "cifar10"}, "data set of digits"),
    ],
)
def test_arguments_of_shared_weights_are_checked(arguments, reason):
    with pytest.raises(ArchGymError, match=reason):
        gymnasium.make(ENV, **arguments)
