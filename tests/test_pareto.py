"""Pareto fronts: against brute force, Monte Carlo and Optuna, in every direction; and the command on every
kind of source.
"""

from __future__ import annotations

import csv
import re

import gymnasium
import numpy as np
import pytest
from conftest import Bowl
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner, Result

import archgym
from archgym import ArchGymError, Metric, make_agent
from archgym.agents.nsga2 import NSGA2
from archgym.cli import app
from archgym.dataset import build, save_dataset
from archgym.pareto import (
    choose_metrics,
    crowding_distance,
    find_front,
    front_ranks,
    growing_hypervolume,
    hypervolume,
    non_dominated,
)
from archgym.wrappers import vector as vector_wrappers

COST = (Metric("cost_j", "J", "lower"), Metric("speed", "1", "higher"))


def shapes(most: int = 12, least: int = 0):
    return st.tuples(st.integers(least, most), st.integers(1, 5))


few_values = shapes().flatmap(
    lambda shape: arrays(float, shape, elements=st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0, 2.0]))
)
any_values = shapes(8).flatmap(lambda shape: arrays(float, shape, elements=st.floats(-3, 3)))


def by_definition(points):
    """Nothing is at most as large everywhere and smaller somewhere."""
    return np.array([not any((q <= p).all() and (q < p).any() for q in points) for p in points], bool)


def by_inclusion_and_exclusion(points, reference):
    """|A u B| = |A| + |B| - |A n B|, over all subsets of the boxes."""
    total = 0.0
    for subset in range(1, 1 << len(points)):
        chosen = points[[i for i in range(len(points)) if subset >> i & 1]]
        total -= (-1) ** len(chosen) * np.maximum(reference - chosen.max(axis=0), 0).prod()
    return total


# --- which points are not dominated ---


@given(st.one_of(few_values, any_values))
def test_what_is_not_dominated_is_what_the_definition_says(points):
    assert non_dominated(points).tolist() == by_definition(points).tolist()


def test_equal_points_do_not_dominate_each_other():
    assert non_dominated(np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 1.0]])).tolist() == [True, True, False]


@pytest.mark.parametrize("points", [np.zeros(3), np.zeros((3, 0)), [[0.0, np.nan]], [[np.inf, 0.0]]])
def test_what_is_no_array_of_finite_points_is_refused(points):
    with pytest.raises(ArchGymError):
        front_ranks(points)
    with pytest.raises(ArchGymError):
        non_dominated(points)
    with pytest.raises(ArchGymError):
        hypervolume(points, np.ones(2))


# --- the fronts behind, and how crowded they are ---


@given(st.one_of(few_values, any_values))
def test_a_front_is_what_is_not_dominated_once_the_fronts_before_it_are_removed(points):
    ranks = front_ranks(points)
    assert ranks.dtype == np.int64 and sorted(set(ranks)) == list(range(len(set(ranks))))
    for rank in set(ranks):
        left = ranks >= rank
        assert by_definition(points[left]).tolist() == (ranks[left] == rank).tolist()


@given(any_values, st.integers(1, 4))
def test_crowding_is_the_gap_between_the_neighbours_in_the_same_front(points, fronts):
    ranks = np.arange(len(points)) % fronts
    found = crowding_distance(points, ranks)
    for rank in set(ranks):
        front, expected = points[ranks == rank], np.zeros((ranks == rank).sum())
        for column in front.T:
            order = np.argsort(column, kind="stable")
            extent = np.ptp(column) or 1.0
            for place, row in enumerate(order):
                inside = 0 < place < len(order) - 1
                gap = column[order[place + 1]] - column[order[place - 1]] if inside else np.inf
                expected[row] += gap / extent
        assert found[ranks == rank] == pytest.approx(expected)


def test_equal_points_are_of_one_front_and_those_between_equal_ones_have_no_room():
    points = np.array([[1.0, 2.0], [0.0, 3.0], [1.0, 2.0], [1.0, 2.0], [2.0, 0.0], [2.0, 3.0]])
    assert front_ranks(points).tolist() == [0, 0, 0, 0, 0, 1]
    assert crowding_distance(points, front_ranks(points))[2] == 0.0
    assert front_ranks(np.array([[3.0], [-1.0], [3.0], [2.0]])).tolist() == [2, 0, 2, 1]


# --- how much they dominate ---


@settings(max_examples=60)
@given(st.one_of(few_values, any_values))
def test_the_hypervolume_is_the_volume_of_the_union_of_boxes(points):
    reference = np.full(points.shape[1], 1.5)
    points = points[:8]
    assert hypervolume(points, reference) == pytest.approx(
        by_inclusion_and_exclusion(points, reference), rel=1e-9, abs=1e-9
    )


@given(st.one_of(few_values, any_values))
def test_each_point_adds_to_the_hypervolume_what_it_alone_dominates(points):
    reference = np.full(points.shape[1], 1.5)
    volumes = growing_hypervolume(points, reference)
    assert (np.diff(volumes) >= 0).all()
    assert volumes == pytest.approx(
        [hypervolume(points[: n + 1], reference) for n in range(len(points))], rel=1e-9, abs=1e-9
    )


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 40))
def test_the_hypervolume_is_optunas(seed, metrics, n):
    wfg = pytest.importorskip("optuna._hypervolume")
    points = np.random.default_rng(seed).random((n, metrics))
    reference = np.full(metrics, 0.9)
    inside = points[(points < reference).all(axis=1)]
    expected = wfg.compute_hypervolume(inside, reference) if len(inside) else 0.0
    assert hypervolume(points, reference) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("metrics", [2, 3, 4, 6])
def test_the_hypervolume_is_what_darts_find(metrics):
    rng = np.random.default_rng(metrics)
    points, darts = rng.random((25, metrics)), rng.random((100_000, metrics))
    hit = np.zeros(len(darts), bool)
    for point in points:
        hit |= (darts >= point).all(axis=1)
    assert hypervolume(points, np.ones(metrics)) == pytest.approx(
        hit.mean(), abs=5 * np.sqrt(0.25 / len(darts))
    )


@given(any_values, st.integers(0, 2**32 - 1))
def test_the_hypervolume_minds_neither_order_nor_repetition_nor_the_metrics_order(points, seed):
    rng, reference = np.random.default_rng(seed), np.linspace(1, 2, points.shape[1])
    columns = rng.permutation(points.shape[1])
    again = rng.permutation(np.concatenate([points, points]))[:, columns]
    assert hypervolume(again, reference[columns]) == pytest.approx(
        hypervolume(points, reference), rel=1e-9, abs=1e-12
    )


def test_a_reference_of_other_dimension_is_refused():
    with pytest.raises(ArchGymError, match="reference point of 2 metrics, as the points have, got 3"):
        hypervolume(np.zeros((1, 2)), np.ones(3))


# --- fronts of metrics with directions ---


def test_a_front_minds_directions_and_ends_at_the_worst_values():
    values = np.array([[4.0, 5.0], [1.0, 2.0], [2.0, 4.0], [2.0, 3.0], [5.0, 1.0]])
    front = find_front(values, COST)
    assert front.rows.tolist() == [1, 2, 0]
    assert front.reference.tolist() == [5.0, 1.0]
    assert front.hypervolume == (5 - 1) * (2 - 1) + (5 - 2) * (4 - 2) + (5 - 4) * (5 - 4)
    assert front.share == front.hypervolume / ((5 - 1) * (5 - 1))


def test_a_given_reference_counts_and_the_others_remain_the_worst():
    values = np.array([[1.0, 2.0], [2.0, 3.0]])
    front = find_front(values, COST, {"speed": 0.0})
    assert front.reference.tolist() == [2.0, 0.0] and front.hypervolume == 2.0
    beyond = find_front(values, COST, {"cost_j": 0.5})
    assert beyond.hypervolume == 0 and beyond.share is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: choose_metrics(["cost"], COST), "unknown metric 'cost'; did you mean 'cost_j'"),
        (lambda: choose_metrics(["speed", "speed"], COST), "distinct metrics, got 'speed' twice"),
        (
            lambda: choose_metrics(["kind"], (*COST, Metric("kind"))),
            "metric with a direction, got 'kind'; those with one: cost_j, speed",
        ),
        (lambda: find_front(np.ones((3, 1)), COST[:1]), "at least two metrics"),
        (lambda: find_front(np.ones((0, 2)), COST), "at least one feasible design, got none"),
        (lambda: find_front(np.ones((3, 2)), COST, {"sped": 1.0}), "did you mean 'speed'"),
    ],
)
def test_what_has_no_front_is_refused_with_what_to_do(call, message):
    with pytest.raises(ArchGymError, match=re.escape(message)):
        call()


# --- NSGA-II on reward vectors ---


def searched(env_id: str, agent: archgym.Agent, seed: int, *metrics: str):
    """What a search of 600 samples sees of some metrics; on a reward vector, where the metrics are to be
    told to the agent.
    """
    env = gymnasium.make_vec(env_id, num_envs=32)
    env.unwrapped.ledger.budget = 600
    agent.search(
        vector_wrappers.RewardVector(env, metrics) if isinstance(agent, NSGA2) else env, budget=600, seed=seed
    )
    ledger, names = env.unwrapped.ledger, env.unwrapped.evaluator.metric_names
    assert ledger.samples == 600
    return ledger.column("values")[ledger.column("valid")][:, [names.index(name) for name in metrics]]


def test_nsga2_on_reward_vectors_finds_better_fronts_than_random_search():
    metrics = ("latency_s", "power_w")
    seen = {
        name: [
            np.log(searched("archgym/Accelerator-v0", make_agent(name), seed, *metrics)) for seed in range(3)
        ]
        for name in ("nsga2", "random")
    }
    every = np.concatenate([points for runs in seen.values() for points in runs])
    nsga2, random = (
        [hypervolume(points, every.max(axis=0)) for points in seen[name]] for name in ("nsga2", "random")
    )
    assert min(nsga2) > max(random)


def test_nsga2_forgets_the_reward_vector_of_an_earlier_search(bowl):
    agent, fresh = NSGA2(population=8), NSGA2(population=8)
    vector = gymnasium.make_vec(bowl[0], num_envs=8)
    vector.unwrapped.ledger.budget = 40
    agent.search(vector_wrappers.RewardVector(vector, ["cost_j", "area_mm2"]), budget=40, seed=0)
    asked = []
    for each in (agent, fresh):
        env = gymnasium.make_vec(bowl[0], num_envs=8)
        env.unwrapped.ledger.budget = 40
        each.search(env, budget=40, seed=1)
        asked.append(env.unwrapped.ledger.column("indices"))
    assert np.array_equal(*asked)


# --- the command ---


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["pareto", *map(str, arguments)])


def error_of(result: Result) -> str:
    """The one line that an error is."""
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def search_file(bowl, tmp_path):
    """Every design of the bowl, as a file of `archgym search --out`."""
    return archgym.search(bowl[0], "exhaustive", budget=144).to_parquet(tmp_path / "search.parquet")


def expected_front():
    """Points of the bowl's front, and of all its feasible designs."""
    columns = Bowl().evaluate_indices(next(Bowl.space.enumerate()))
    points = np.stack([columns["cost_j"], columns["area_mm2"]], axis=1)[columns["feasible"]]
    return points[by_definition(points)], points


def test_the_command_prints_the_front_its_units_and_its_hypervolume(search_file, tmp_path):
    result = run(search_file, "--metrics", "cost_j,area_mm2", "--csv", tmp_path / "front.csv")
    assert result.exit_code == 0, result.output
    front, points = expected_front()
    assert f"{len(front)} of {len(points)} feasible designs are on the front" in result.stdout
    assert "cost_j (J)" in result.stdout and "area_mm2 (mm2)" in result.stdout
    volume = hypervolume(points, points.max(axis=0))
    assert f"{volume:.6g} J mm2" in result.stdout
    assert f"{volume / np.ptp(points, axis=0).prod():.6f} of the box" in result.stdout
    rows = list(csv.DictReader((tmp_path / "front.csv").open()))
    assert sorted((float(r["cost_j"]), float(r["area_mm2"])) for r in rows) == sorted(
        map(tuple, front.tolist())
    )


def test_the_command_reads_data_sets_and_several_sources_at_once(search_file, bowl, tmp_path):
    folder = save_dataset(build([search_file]), tmp_path / "data")
    alone = run(search_file, "--metrics", "cost_j,area_mm2").stdout
    both = run(search_file, folder, "--metrics", "cost_j,area_mm2").stdout
    assert alone.partition("Sources")[0].split() == both.partition("Sources")[0].split()
    assert both.count("a search in search.parquet") == 2


def test_the_command_reads_a_task_of_a_study(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    study = tmp_path / "study.toml"
    study.write_text(
        '[study]\nname = "s"\nbudget = 40\nhistory = "full"\n[[agent]]\nname = "random"\n'
        '[[env]]\nid = "archgym/Accelerator-v0"\nlabel = "one"\n[[env]]\nid = "archgym/DramController-v0"\nlabel = "two"\n'
    )
    done = CliRunner().invoke(
        app, ["study", "run", str(study), "--out", str(tmp_path / "out"), "--workers", "1"]
    )
    assert done.exit_code == 0, done.output
    for option in ("--env", "--task"):  # the latter is a former name
        result = run(tmp_path / "out", option, "two", "--metrics", "latency_s,energy_j")
        assert result.exit_code == 0 and "archgym/DramController-v0" in result.stdout, result.output
    assert "these differ in id" in error_of(run(tmp_path / "out", "--metrics", "latency_s,energy_j"))


@pytest.mark.parametrize(
    ("suffix", "beginning"), [("html", b"<!doctype html>"), ("svg", b"<svg"), ("png", b"\x89PNG")]
)
def test_charts_open_without_a_network(search_file, tmp_path, suffix, beginning):
    metrics = "cost_j,area_mm2,secret" if suffix == "svg" else "cost_j,area_mm2"
    path = tmp_path / f"front.{suffix}"
    assert run(search_file, "--metrics", metrics, "--out", path).exit_code == 0
    content = path.read_bytes()
    assert content.startswith(beginning)
    if suffix != "png":
        assert b"cost_j (J)" in content and not re.search(rb'(src|href)="http', content)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metrics", "cost,area_mm2"), "did you mean 'cost_j'"),
        (("--metrics", "cost_j"), "at least two metrics"),
        (("--metrics", "cost_j,area_mm2", "--reference", "cost_j=cheap"), "takes a number for 'cost_j'"),
        (("--metrics", "cost_j,area_mm2", "--reference", "cost_j"), "--reference takes name=value"),
        (("--metrics", "cost_j,area_mm2", "--reference", "secret=1"), "unknown metric of the front 'secret'"),
        (
            ("--metrics", "cost_j,area_mm2", "--out", "front.pdf"),
            "--out takes the name of a .html, .svg or .png file",
        ),
        (("--metrics", "cost_j,area_mm2", "--csv", "/no/such/folder/front.csv"), "does not exist"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(search_file, options, message):
    assert message in error_of(run(search_file, *options))
