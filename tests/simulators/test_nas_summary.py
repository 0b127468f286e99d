"""The figures that describe an accuracy table."""

import numpy as np
import pytest
from nas_toys import toy_table

from archgym.simulators.nas.tables.summary import first_cells, pareto_front, reliability, summarize


def test_the_toys_figures_are_those_it_was_made_with():
    summary = summarize(toy_table())
    assert summary.within == pytest.approx(0.01, rel=0.05)
    assert summary.reliability > summary.top_reliability > 0
    assert summary.quantiles == tuple(sorted(summary.quantiles))
    assert np.diff(summary.by_convolutions) == pytest.approx(0.05, abs=0.02)
    assert summary.correlations["valid_accuracy at 16 epochs"] > 0.9
    assert {"params", "macs", "valid_accuracy at 1 epochs"} <= set(summary.correlations)


def test_a_table_of_one_seed_has_no_figures_of_noise():
    summary = summarize(toy_table(seeds=1))
    assert summary.within is summary.seeds is summary.reliability is summary.top_reliability is None


def test_reliability_is_the_squared_correlation_of_a_mean_with_the_truth():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(50_000)
    trials = truth[:, None] + 1.5 * rng.standard_normal((50_000, 3))
    assert reliability(trials) == pytest.approx(np.corrcoef(truth, trials.mean(axis=1))[0, 1] ** 2, abs=0.01)


def test_the_front_is_what_no_other_row_beats():
    rng = np.random.default_rng(0)
    cost, accuracy = rng.integers(0, 20, 300), rng.integers(0, 50, 300) / 50
    front = pareto_front(cost, accuracy)
    beaten = [
        ((cost <= c) & (accuracy >= a) & ((cost < c) | (accuracy > a))).any()
        for c, a in zip(cost, accuracy, strict=True)
    ]
    points = {(c, a) for c, a, b in zip(cost, accuracy, beaten, strict=True) if not b}
    assert {(cost[i], accuracy[i]) for i in front} == points
    assert len(front) == len(points)


def test_first_cells_are_those_of_their_rows():
    table = toy_table()
    cells = first_cells(table)
    assert len(cells) == 5044
    assert (table.row[cells @ 5 ** np.arange(5, -1, -1)] == np.arange(5044)).all()
