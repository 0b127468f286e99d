"""The table of noisy digits that ships: complete, made of counts, and as reliable as its page says."""

from itertools import combinations
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import archgym.simulators.nas
from archgym.simulators.nas.cells import CONV3, all_cells, canonical_classes, live_edges
from archgym.simulators.nas.tables.summary import first_cells, spearman, summarize
from archgym.simulators.nas.tables.table import load_table

PATH = Path(archgym.simulators.nas.__file__).parent / "tables" / "digits-0.5.npz"
DOCS = Path(__file__).parents[2] / "docs" / "nas.md"
IMAGES = 1350

TABLE = load_table("digits-0.5")
CELLS = first_cells(TABLE)
CONNECTED = live_edges(CELLS).any(axis=1)


def test_every_class_was_trained_with_every_seed_and_has_counts_of_images():
    assert (TABLE.row == canonical_classes(all_cells(), shared_weights=False)).all()
    assert TABLE.valid_accuracy.shape == (5044, 3, 5) and TABLE.budgets.tolist() == [1, 2, 4, 8, 16]
    for accuracies in (TABLE.valid_accuracy, TABLE.test_accuracy):
        counts = accuracies.astype(float) * IMAGES
        np.testing.assert_allclose(counts, counts.round(), atol=1e-4)
        assert counts.min() > 0.05 * IMAGES
    assert (np.diff(TABLE.train_seconds, axis=1) > 0).all()


def test_it_is_small_and_says_where_it_is_from():
    assert PATH.stat().st_size <= 1_000_000
    provenance = TABLE.provenance
    assert provenance["source"] == "python -m archgym.simulators.nas.generate"
    assert (
        provenance["training_seeds"] == [0, 1, 2]
        and provenance["noise"] == 0.5
        and provenance["split_seed"] == 0
    )
    assert {"torch", "numpy", "scikit-learn"} <= set(provenance["versions"])


def test_training_seeds_agree_on_the_order_of_cells():
    for first, second in combinations(TABLE.test_accuracy.T, 2):
        assert spearman(first, second) >= 0.85


def test_accuracy_grows_with_live_convolutions():
    live = (live_edges(CELLS) & (CELLS == CONV3)).sum(axis=1)
    accuracy = TABLE.test_accuracy.mean(axis=1)
    means = [accuracy[live == count].mean() for count in range(6)]
    assert (np.diff(means) > 0).all(), means


def test_cells_that_are_not_connected_predict_one_digit():
    pytest.importorskip("sklearn")
    from archgym.simulators.nas.training.digits import load_digits_task

    digits = load_digits_task(0.5)
    for accuracies, labels in (
        (TABLE.valid_accuracy[~CONNECTED, :, -1], digits.valid_labels),
        (TABLE.test_accuracy[~CONNECTED], digits.test_labels),
    ):
        shares = np.bincount(labels) / len(labels)
        assert (np.abs(accuracies.ravel()[:, None] - shares).min(axis=1) < 1e-6).all()
    assert TABLE.test_accuracy[~CONNECTED].max() < TABLE.test_accuracy[CONNECTED].min()


def test_its_page_states_its_figures():
    summary, page = summarize(TABLE), DOCS.read_text()
    assert f"| {summary.seeds:.3f} |" in page
    assert f"| {summary.reliability:.3f}, {summary.top_reliability:.3f} |" in page


def test_zero_cost_proxies_are_those_of_the_functions_that_compute_them():
    pytest.importorskip("torch")
    from archgym.simulators.nas.training.zero_cost import zero_cost

    for row in (10, 4000):
        for name, values in zero_cost(CELLS[row]).items():
            assert TABLE.columns[name][row] == pytest.approx(values.mean(), rel=1e-3), name


def test_the_environment_by_default_is_this_table():
    env = gymnasium.make("archgym/NasCell-v0")
    env.reset(seed=0)
    for cell in all_cells()[[0, 777, 15624]]:
        _, _, _, _, info = env.step(cell)
        row = TABLE.row[env.unwrapped.simulator.space.to_ordinal(cell[None])[0]]
        assert info["metrics"]["valid_accuracy"] == pytest.approx(
            TABLE.valid_accuracy[row, :, -1].astype(float).mean()
        )
        assert info["metrics"]["test_accuracy"] == pytest.approx(
            TABLE.test_accuracy[row].astype(float).mean()
        )
        env.reset()
