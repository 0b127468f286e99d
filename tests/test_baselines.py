"""Designs that need no policy, against brute force over small spaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import archgym.contexts.baselines as module
from archgym.contexts.baselines import baselines, nearest_contexts, share_table
from archgym.contexts.evaluator import ContextualEvaluator
from archgym.contexts.sets import Contexts
from archgym.errors import ArchGymError
from archgym.optimum import find_optimum


@pytest.fixture
def pair(monkeypatch):
    """Evaluators of training contexts 0, 2, 5 and held-out contexts 1, 9 of a task with 40 designs."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "study"))
    env = "targets:test/Target-v0"
    every = ContextualEvaluator(env, None, 1, {}, [{"target": t} for t in range(10)])
    optima = tuple(find_optimum(m.simulator, m.objective).best_design for m in every.members)
    contexts = replace(every.given, optima=optima)
    train = ContextualEvaluator(env, None, 1, {}, contexts.subset([0, 2, 5]))
    test = ContextualEvaluator(env, None, 1, {}, contexts.subset([1, 9]).like(train.contexts))
    return train, test


def time_s(x: int, y: int, target: int) -> float:
    return 1 + abs(x - target) + 0.5 * y


def share(x: int, y: int, target: int) -> float:
    return 1 / time_s(x, y, target) if y < 3 else 0.0


def table_of(pair) -> dict[str, np.ndarray]:
    return {**share_table(pair[0]), **share_table(pair[1])}


def test_each_baseline_is_what_enumeration_by_hand_gives(pair):
    found = baselines(*pair, table_of(pair))
    # 1 is as near to 0 as to 2, of which the first counts; 9 is nearest to 5
    assert found.nearest == pytest.approx([share(0, 0, 1), share(5, 0, 9)])
    designs = [(x, y) for x in range(10) for y in range(4)]
    best = max(designs, key=lambda d: np.mean([share(*d, t) for t in (0, 2, 5)]))
    assert found.one_for_all == pytest.approx([share(*best, t) for t in (1, 9)], rel=1e-6)
    valid = [[share(x, y, t) for x, y in designs if y < 3] for t in (1, 9)]
    assert found.random == pytest.approx(np.mean(valid, axis=1), rel=1e-6)


def test_a_space_too_large_is_sampled_and_one_for_all_is_the_best_of_the_optima(pair, monkeypatch):
    exact = baselines(*pair, table_of(pair))
    monkeypatch.setattr(module, "LIMIT", 79)
    assert share_table(pair[1]) is None  # 2 contexts x 40 designs
    found = baselines(*pair)
    assert found.nearest == pytest.approx(exact.nearest)
    best = max((0, 2, 5), key=lambda x: np.mean([share(x, 0, t) for t in (0, 2, 5)]))
    assert found.one_for_all == pytest.approx([share(best, 0, t) for t in (1, 9)])
    spread = [np.std([share(x, y, t) for x in range(10) for y in range(3)]) for t in (1, 9)]
    assert (np.abs(found.random - exact.random) < 4 * np.array(spread) / np.sqrt(module.DRAWS)).all()
    assert baselines(*pair).random.tolist() == found.random.tolist()


def test_a_table_has_the_share_of_every_design_and_nan_where_it_is_not_valid(pair):
    table = share_table(pair[1])
    assert list(table) == ["target=1", "target=9"]
    for name, target in (("target=1", 1), ("target=9", 9)):
        expected = [share(x, y, target) if y < 3 else np.nan for x in range(10) for y in range(4)]
        np.testing.assert_allclose(table[name], expected, rtol=1e-6)


def test_features_decide_what_is_near():
    train, test = (
        np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]),
        np.array([[2.0, 0.5], [0.0, 2.0], [0.0, 0.0]]),
    )
    assert nearest_contexts(train, test).tolist() == [1, 2, 0]
    assert nearest_contexts(np.zeros((3, 0)), np.zeros((2, 0))).tolist() == [0, 0]


def test_contexts_without_optima_are_refused(pair):
    bare = ContextualEvaluator(
        "targets:test/Target-v0", None, 1, {}, Contexts(({"target": 1}, {"target": 2}))
    )
    with pytest.raises(ArchGymError, match="with their optima"):
        baselines(bare, pair[1])
