"""The analysis: its tables against direct computation, verdicts on studies whose answer is known, and
studies with little in them.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import synthetic
from scipy import stats

pl = pytest.importorskip("polars")

from archgym.lottery import statistics, words  # noqa: E402
from archgym.lottery.analysis import Analysis, analyse  # noqa: E402
from archgym.lottery.claims import Claim, Obstacle, Verdict  # noqa: E402
from archgym.lottery.data import AgentRuns, TaskRuns, Trace  # noqa: E402
from archgym.lottery.scores import checkpoints  # noqa: E402
from archgym.lottery.tables import TABLES  # noqa: E402

COLUMNS = {
    "tasks": "task env scale budget optimum configurations seeds runs failed saturated note effort",
    "runs": "task agent configuration seed samples score ratio seconds",
    "configurations": "task agent configuration hyperparameters is_default mean_score mean_ratio beats_random",
    "distribution": "task agent samples mean q05 q25 q50 q75 q95 iqr tickets_1 tickets_1_low tickets_1_high tickets_5 tickets_5_low "
    "tickets_5_high default_ratio default_percentile variance_configurations variance_seeds "
    "share_configurations beats_random iqm iqm_low iqm_high",
    "curves": "task agent series axis x q25 q50 q75",
    "targets": "task agent target samples reached",
    "running_time": "task agent target reached expected_samples low high",
    "importance": "task agent hyperparameter importance low direction",
    "tuning": "task agent configurations samples tuned low high naive untuned random_search",
    "comparisons": "family task agent_a agent_b ratio low high p p_holm p_equivalence verdict",
    "lottery_map": "task configurations samples agent ratio confidence runner_up runner_up_ratio",
    "hypotheses": "hypothesis statement task verdict evidence",
    "effort": "agent runs seconds share cost charges",
    "controls": "task control samples cost score ratio percentile",
}
SATURATED = "no conclusion: saturated"


def constant(scores, *, name="x", hyperparameters=True, budget=1000):
    """Runs whose first design is their best: rewards [C, S], NaN for a missing run, -inf for no valid
    design.
    """
    scores = np.asarray(scores, float)
    traces = tuple(
        tuple(
            None
            if np.isnan(r)
            else Trace(
                np.zeros(int(np.isfinite(r)), np.int64),
                np.full(int(np.isfinite(r)), r),
                np.full(int(np.isfinite(r)), 0.1),
                budget,
                1.0,
            )
            for r in row
        )
        for row in scores
    )
    settings = tuple({"rate": float(c)} if hyperparameters else {} for c in range(len(scores)))
    return AgentRuns(name, settings, 0, traces)


def task(agents, *, optimum=0.0, average=None, log=True, budget=1000, name="task", failures=()):
    runs = {
        agent: constant(scores, name=agent, hyperparameters=agent != "random", budget=budget)
        for agent, scores in agents.items()
    }
    return TaskRuns(name, "archgym/Synthetic-v0", optimum, average, log, runs, budget, failures)


def noisy(rng, mean, *, configurations=40, seeds=5, between=0.0, within=0.01):
    return (
        mean
        + between * rng.normal(size=(configurations, 1))
        + within * rng.normal(size=(configurations, seeds))
    )


def verdicts(analysis, hypothesis):
    return analysis.hypotheses.filter(pl.col("hypothesis") == hypothesis)["verdict"].to_list()


def frames(analysis):
    return {f.name: getattr(analysis, f.name) for f in dataclasses.fields(analysis) if f.name != "sentences"}


@pytest.fixture(scope="module")
def study():
    return synthetic.tasks(2, configurations=16, seeds=4)


@pytest.fixture(scope="module")
def analysis(study):
    return analyse(study, replicates=200)


# ------------------------------------------------------------------------------------------ tables


def test_tables_have_the_columns_that_the_report_reads(analysis):
    assert {name: " ".join(frame.columns) for name, frame in frames(analysis).items()} == COLUMNS
    assert all(len(frame) for frame in frames(analysis).values()) and analysis.conclusions
    empty = analyse([])
    assert {n: (f.schema, len(f)) for n, f in frames(empty).items()} == {
        n: (f.schema, 0) for n, f in frames(analysis).items()
    }
    for name, frame in frames(analysis).items():
        for column in frame.select(pl.selectors.float()):
            assert not column.is_nan().any(), (name, column.name)  # what is not known is null


def test_an_analysis_has_a_frame_for_every_table_and_sentences():
    assert [field.name for field in dataclasses.fields(Analysis)] == [*TABLES, "sentences"]


def test_runs_and_configurations_are_those_of_the_study(study, analysis):
    runs = study[1].agents["tpe"]
    rows = analysis.runs.filter(pl.col("task") == "task 2", pl.col("agent") == "tpe")
    assert len(rows) == 64
    row = rows.filter(pl.col("configuration") == 3, pl.col("seed") == 2).to_dicts()[0]
    assert row["score"] == pytest.approx(runs.traces[3][2].reward[-1] - study[1].optimum) and row[
        "ratio"
    ] == pytest.approx(math.exp(row["score"]))
    configuration = analysis.configurations.filter(
        pl.col("task") == "task 2", pl.col("agent") == "tpe", pl.col("configuration") == 3
    ).to_dicts()[0]
    assert (
        json.loads(configuration["hyperparameters"]) == dict(runs.configurations[3])
        and not configuration["is_default"]
    )
    assert configuration["mean_score"] == pytest.approx(
        rows.filter(pl.col("configuration") == 3)["score"].mean()
    )
    random = analysis.runs.filter(pl.col("task") == "task 2", pl.col("agent") == "random")["score"].to_numpy()
    mine = rows.filter(pl.col("configuration") == 3)["score"].to_numpy()
    assert configuration["beats_random"] == pytest.approx(
        stats.mannwhitneyu(mine, random).statistic / (len(mine) * len(random))
    )


def test_the_distribution_is_that_of_the_runs_at_each_checkpoint(study, analysis):
    row = analysis.distribution.filter(
        pl.col("task") == "task 1", pl.col("agent") == "genetic", pl.col("samples") == 100
    ).to_dicts()[0]
    scores = study[0].agents["genetic"].best_after([100])[..., 0] - study[0].optimum
    assert [row[q] for q in ("q05", "q25", "q50", "q75", "q95")] == pytest.approx(
        np.exp(np.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95]))
    )
    assert row["mean"] == pytest.approx(math.exp(scores.mean())) and row["iqr"] == pytest.approx(
        row["q75"] - row["q25"]
    )
    assert row["tickets_5"] == pytest.approx((scores >= -math.log(1.05)).mean())
    assert row["default_ratio"] == pytest.approx(math.exp(scores[0].mean()))
    assert row["default_percentile"] == pytest.approx(
        stats.percentileofscore(scores.mean(axis=1), scores[0].mean(), kind="mean")
    )
    assert (
        row["iqm"] == pytest.approx(math.exp(stats.trim_mean(scores, 0.25, axis=None)))
        and row["iqm_low"] < row["iqm"] < row["iqm_high"]
    )
    assert row["share_configurations"] == pytest.approx(statistics.variance_components(scores).share)


def test_random_search_has_no_configurations_to_choose_from(analysis):
    rows = analysis.distribution.filter(pl.col("agent") == "random")
    assert rows["variance_configurations"].is_null().all() and rows["default_percentile"].is_null().all()
    assert np.allclose(rows["beats_random"], 0.5)
    assert "random" not in analysis.importance["agent"].to_list()
    tuned = analysis.tuning.filter(
        pl.col("agent") == "random", pl.col("task") == "task 1", pl.col("samples") == 1000
    )
    assert tuned["tuned"].n_unique() == 1 and tuned["naive"].is_null().all()  # nothing to tune


def test_tuning_is_held_against_defaults_and_random_search_with_as_many_samples(study, analysis):
    rows = analysis.tuning.filter(pl.col("task") == "task 1", pl.col("agent") == "ppo")
    at = {(r["configurations"], r["samples"]): r for r in rows.to_dicts()}
    scores = study[0].agents["ppo"].best_after([100, 400])[:, :, :] - study[0].optimum
    assert at[4, 100]["untuned"] == pytest.approx(math.exp(scores[0, :, 1].mean()))
    assert at[4, 100]["tuned"] == pytest.approx(
        math.exp(statistics.cross_fitted_best_of_k(scores[..., 0], [4])[0])
    )
    assert at[1, 100]["tuned"] == pytest.approx(math.exp(scores[..., 0].mean()))
    assert (
        at[4, 100]["naive"] > at[4, 100]["tuned"]
        and at[4, 100]["low"] < at[4, 100]["tuned"] < at[4, 100]["high"]
    )
    assert at[8, 500]["untuned"] is None  # 4,000 samples were not run
    random = (study[0].agents["random"].best_after([1000]) - study[0].optimum).ravel()
    assert at[2, 1000]["random_search"] == pytest.approx(
        math.exp(np.mean([max(p) for p in itertools.combinations(random, 2)]))
    )


def test_defaults_are_compared_by_welchs_test_and_corrected_over_all_pairs(study, analysis):
    rows = analysis.comparisons.filter(pl.col("task") == "task 1", pl.col("family") == "defaults")
    assert len(rows) == 6 and np.allclose(rows["p_holm"], statistics.holm(rows["p"].to_numpy()))
    scores = {a: r.best_after([1000])[0, :, 0] for a, r in study[0].agents.items()}
    for row in rows.to_dicts():
        published = stats.ttest_ind(scores[row["agent_a"]], scores[row["agent_b"]], equal_var=False)
        assert row["p"] == pytest.approx(published.pvalue)
        assert (row["low"], row["high"]) == pytest.approx(tuple(np.exp(published.confidence_interval())))
        assert row["ratio"] == pytest.approx(
            np.exp(scores[row["agent_a"]].mean() - scores[row["agent_b"]].mean())
        )
    assert analysis.comparisons["family"].unique(maintain_order=True).to_list() == [
        "defaults",
        "tuned over 4",
    ]


def test_curves_and_targets_follow_the_runs(study, analysis):
    curves = analysis.curves.filter(
        pl.col("task") == "task 1", pl.col("agent") == "tpe", pl.col("axis") == "samples", pl.col("x") == 1000
    )
    scores = study[0].agents["tpe"].best_after([1000])[..., 0] - study[0].optimum
    by = {row["series"]: row for row in curves.to_dicts()}
    assert by["all configurations"]["q50"] == pytest.approx(math.exp(np.median(scores)))
    assert by["defaults"]["q25"] == pytest.approx(math.exp(np.quantile(scores[0], 0.25)))
    held = [scores[np.delete(scores, s, axis=1).mean(axis=1).argmax(), s] for s in range(4)]
    assert by["best configuration, cross-fitted"]["q50"] == pytest.approx(math.exp(np.median(held)))
    assert (
        set(analysis.curves["axis"]) == {"samples", "seconds"} and not analysis.curves["q50"].is_null().any()
    )
    targets = analysis.targets.filter(
        pl.col("task") == "task 1", pl.col("agent") == "tpe", pl.col("target") == 0.1
    )
    assert targets["samples"].is_sorted() and targets["reached"].is_sorted()
    assert targets["reached"][-1] == pytest.approx((scores >= -math.log(1.1)).mean())
    time = analysis.running_time.filter(
        pl.col("task") == "task 1", pl.col("agent") == "tpe", pl.col("target") == 0.1
    ).to_dicts()[0]
    assert time["low"] < time["expected_samples"] < time["high"] and time["reached"] == pytest.approx(
        targets["reached"][-1]
    )


def test_the_curve_of_the_best_configuration_is_of_seeds_that_did_not_choose_it():
    # by all seeds the second is best; without one of its bad seeds, the first
    scores = [[-0.5, -1.5, -1.5], [-1.1, -1.1, -1.1]]
    curves = analyse([task({"a": scores, "b": np.array(scores) - 0.1})], replicates=20).curves
    last = curves.filter(
        pl.col("agent") == "a", pl.col("series") == "best configuration, cross-fitted", pl.col("x") == 1000
    )
    assert last["q50"][0] == pytest.approx(math.exp(-1.5))


def test_the_map_names_the_agent_with_the_highest_tuned_score(analysis):
    for name in ("task 1", "task 2"):
        cell = analysis.lottery_map.filter(
            pl.col("task") == name, pl.col("configurations") == 4, pl.col("samples") == 200
        ).to_dicts()[0]
        scores = analysis.tuning.filter(
            pl.col("task") == name, pl.col("configurations") == 4, pl.col("samples") == 200
        ).sort("tuned")
        assert (cell["agent"], cell["runner_up"]) == (scores["agent"][-1], scores["agent"][-2])
        assert cell["ratio"] == pytest.approx(scores["tuned"][-1]) and 0 < cell["confidence"] <= 1
    # of 16 no two disjoint groups of 16 were drawn
    assert set(analysis.lottery_map["configurations"]) == {1, 2, 4, 8}
    together = analysis.lottery_map.filter(
        pl.col("task") == "all tasks", pl.col("configurations") == 4, pl.col("samples") == 200
    )
    means = (
        analysis.tuning.filter(pl.col("configurations") == 4, pl.col("samples") == 200)
        .group_by("agent")
        .agg(pl.col("tuned").log().mean())
    )
    assert together["agent"][0] == means.sort("tuned")["agent"][-1]


def test_confidence_in_the_map_is_high_where_agents_differ_and_shared_where_they_do_not():
    rng = np.random.default_rng(0)
    apart = analyse([task({"a": noisy(rng, -0.1), "b": noisy(rng, -0.3)})], replicates=200).lottery_map
    assert (apart["agent"] == "a").all() and (apart["confidence"] == 1).all()
    scores = noisy(rng, -0.1)
    alike = analyse([task({"a": scores, "b": scores[::-1]})], replicates=400).lottery_map
    assert alike.filter(pl.col("configurations") == 1)["confidence"].to_list() == pytest.approx(
        [0.5] * 7, abs=0.1
    )


def test_importance_names_the_hyperparameter_that_matters(analysis):
    rows = analysis.importance.filter(pl.col("importance") > 0)
    assert (
        set(rows["hyperparameter"]) >= {"rate"}
        and (rows.filter(pl.col("hyperparameter") == "rate")["direction"] > 0.5).all()
    )


def test_effort_adds_up(study, analysis):
    assert (
        analysis.effort["share"].sum() == pytest.approx(1)
        and analysis.effort["runs"].sum() == len(analysis.runs) == 2 * 4 * 64
    )
    assert analysis.effort["seconds"].sum() == pytest.approx(analysis.runs["seconds"].sum())


def test_the_same_runs_give_the_same_numbers_whatever_else_is_in_the_study(study, analysis):
    again = analyse(study, replicates=200)
    assert all(frame.equals(getattr(again, name)) for name, frame in frames(analysis).items())
    assert again.conclusions == analysis.conclusions
    fewer = dataclasses.replace(study[0], agents={a: study[0].agents[a] for a in ("random", "ppo")})
    alone = analyse([fewer], replicates=200)
    same = pl.col("task") == "task 1", pl.col("agent") == "ppo"
    for name in ("tuning", "distribution", "running_time", "importance"):
        assert getattr(alone, name).filter(*same).equals(getattr(analysis, name).filter(*same)), name


# ------------------------------------------------------------------------------------------ verdicts


def test_every_claim_and_every_obstacle_has_words(analysis):
    assert set(words.STATEMENTS) == set(words.CLAIMS) == set(Claim) and set(words.OBSTACLES) == set(Obstacle)
    assert set(analysis.hypotheses["hypothesis"]) == {str(claim) for claim in Claim}
    assert set(analysis.hypotheses["verdict"]) <= {str(verdict) for verdict in Verdict}
    assert analysis.conclusions == [f"{task}: {text}" if task else text for task, text in analysis.sentences]


def test_agents_that_are_alike_support_the_first_hypothesis_and_one_that_is_not_contradicts_it():
    rng = np.random.default_rng(1)
    alike = {a: noisy(rng, -0.1, between=0.01) for a in "abc"}
    found = analyse([task(alike)], replicates=200)
    assert verdicts(found, "H1") == ["supported"]
    assert set(found.comparisons.filter(pl.col("family") == "tuned over 4")["verdict"]) == {"equivalent"}
    assert any("equivalent within 2 %" in line for line in found.conclusions)
    found = analyse([task({**alike, "d": noisy(rng, -0.2)})], replicates=200)
    assert verdicts(found, "H1") == ["contradicted"] and any(
        "d (" in line and "worse" in line for line in found.conclusions
    )
    found = analyse([task({a: noisy(rng, -0.1, between=0.1, within=0.1) for a in "abc"})], replicates=200)
    assert verdicts(found, "H1") == ["not resolved"]
    assert any("not resolved by 40 configurations of 5 seeds" in line for line in found.conclusions)


def test_random_search_is_not_among_the_agents_that_tuning_makes_equal():
    rng = np.random.default_rng(2)
    found = analyse(
        [task({"random": noisy(rng, -0.5), "a": noisy(rng, -0.1), "b": noisy(rng, -0.1)})], replicates=200
    )
    assert verdicts(found, "H1") == ["supported"] and verdicts(found, "H5") == ["supported"]


def test_the_lottery_is_supported_where_configurations_matter_and_contradicted_where_only_seeds_do():
    rng = np.random.default_rng(3)
    lottery = {a: noisy(rng, -0.5, between=0.1, within=0.02) for a in "ab"}
    luck = {a: noisy(rng, -0.5, between=0.01, within=0.1) for a in "ab"}
    middle = {a: noisy(rng, -0.5, between=0.1, within=0.1) for a in "ab"}
    assert [verdicts(analyse([task(t)], replicates=100), "H2")[0] for t in (lottery, luck, middle)] == [
        "supported", "contradicted", "not resolved",
    ]  # fmt: skip
    common = {
        a: np.where(np.arange(40)[:, None] % 5 < 2, -0.001, noisy(rng, -0.5)) for a in "ab"
    }  # configurations matter, tickets do not lack
    assert verdicts(analyse([task(common)], replicates=100), "H2") == ["contradicted"]


def converging(rng, early, late, agents="abcd"):
    """Agents that are apart by `early` at first and by `late` after 500 samples."""
    runs = {}
    for i, agent in enumerate(agents):
        traces = tuple(
            tuple(
                Trace(
                    np.array([0, 500]),
                    np.array([-1.0 - early * i, -0.4 - late * i]) + 0.003 * rng.normal(),
                    np.array([0.1, 0.6]),
                    1000,
                    1.0,
                )
                for _ in range(3)
            )
            for _ in range(24)
        )
        runs[agent] = AgentRuns(agent, tuple({"rate": c} for c in range(24)), 0, traces)
    return TaskRuns("task", "archgym/Synthetic-v0", 0.0, None, True, runs, 1000)


def test_convergence_is_supported_where_agents_come_together_and_contradicted_where_they_part():
    rng = np.random.default_rng(4)
    found = [
        verdicts(analyse([converging(rng, *d)], replicates=200), "H3")[0]
        for d in ((0.1, 0.01), (0.01, 0.1), (0.0, 0.0))
    ]
    assert found == ["supported", "contradicted", "not resolved"]


def test_defaults_are_held_against_random_configurations():
    rng = np.random.default_rng(5)

    def with_default(score):
        scores = noisy(rng, -0.3, between=0.05, within=0.03)
        scores[0] = score + 0.03 * rng.normal(size=5)
        return verdicts(analyse([task({"a": scores})], replicates=100), "H4")[0]

    assert [with_default(s) for s in (-0.2, -0.6, -0.31)] == ["supported", "contradicted", "not resolved"]


def test_an_agent_no_better_than_random_search_contradicts_the_last_hypothesis():
    rng = np.random.default_rng(6)
    random, good = noisy(rng, -0.3, within=0.02), noisy(rng, -0.1)
    assert verdicts(analyse([task({"random": random, "a": good})], replicates=200), "H5") == ["supported"]
    few = analyse([task({"random": random[:1, :3], "a": good, "b": noisy(rng, -0.2)})], replicates=200)
    assert "1 run of 1,000 samples" in few.hypotheses["evidence"][-1] and not any(
        "nan" in text for text in few.conclusions
    )
    alike = analyse([task({"random": random, "a": good, "b": noisy(rng, -0.3, within=0.02)})], replicates=200)
    assert verdicts(alike, "H5") == ["contradicted"] and "equivalent: b" in alike.hypotheses["evidence"][-1]
    # better than a run of random search, worse than the best of as many
    steady = noisy(rng, -0.29, within=0.001)
    assert verdicts(
        analyse([task({"random": noisy(rng, -0.3, within=0.1), "a": steady})], replicates=200), "H5"
    ) == ["contradicted"]


def test_no_conclusion_is_drawn_from_a_saturated_task():
    rng = np.random.default_rng(7)
    top = np.minimum(noisy(rng, -0.001, within=0.003), 0)
    found = analyse([task({"a": top, "b": top[::-1], "c": noisy(rng, -0.5)})], replicates=100)
    assert found.tasks["saturated"].to_list() == [True] and "saturated" in found.tasks["note"][0]
    assert set(found.hypotheses["verdict"]) == {SATURATED} and set(found.comparisons["verdict"]) == {
        "not resolved"
    }
    assert (
        len(found.conclusions) == 1
        and "no conclusion" in found.conclusions[0]
        and found.lottery_map.is_empty()
    )


def test_tuned_agents_at_the_ceiling_do_not_support_that_agents_are_alike():
    rng = np.random.default_rng(8)

    def study(good, bad):
        scores = {
            a: np.where(np.arange(80)[:, None] % 20 < good, 0.0, noisy(rng, bad, configurations=80))
            for a in "abc"
        }
        return analyse([task(scores)], replicates=100)

    some = study(6, -0.2)  # the best of 16 configurations is optimal, that of 4 often not
    assert verdicts(some, "H1") == ["not resolved"] and "tuned over 4" in some.hypotheses["evidence"][0]
    assert set(some.comparisons.filter(pl.col("family") == "tuned over 16")["verdict"]) == {"not resolved"}
    many = study(9, -0.1)  # even the best of 4 is, while the median configuration is not
    assert not many.tasks["saturated"][0] and verdicts(many, "H1") == [SATURATED] == verdicts(many, "H3")
    assert any("no conclusion on tuned agents" in line for line in many.conclusions)


def test_a_saturated_task_does_not_enter_the_map_of_all_tasks():
    rng = np.random.default_rng(9)
    open_ = {"a": noisy(rng, -0.2), "b": noisy(rng, -0.3)}
    full = {"a": np.full((40, 5), -0.005), "b": np.zeros((40, 5))}
    two = [task(open_, name="one"), task(open_, name="two")]
    both = analyse(two, replicates=50).lottery_map
    more = analyse([*two, task(full, name="full")], replicates=50).lottery_map
    assert (
        both.filter(pl.col("task") == "all tasks").equals(more.filter(pl.col("task") == "all tasks"))
        and "all tasks" in both["task"]
    )
    assert "all tasks" not in analyse([two[0], task(full, name="full")], replicates=50).lottery_map["task"]


# ------------------------------------------------------------------------------------------ scales and
# partial studies


def test_without_an_optimum_ratios_are_to_the_average_random_design():
    rng = np.random.default_rng(10)
    found = analyse(
        [task({"a": noisy(rng, 0.4), "b": noisy(rng, 0.3)}, optimum=None, average=0.1)], replicates=50
    )
    assert (
        found.tasks["scale"][0] == "ratio to the average random design" and found.tasks["optimum"][0] is None
    )
    assert found.runs.filter(pl.col("agent") == "a")["ratio"].mean() == pytest.approx(math.exp(0.3), rel=0.01)
    assert not found.tasks["saturated"][0] and "not known" in found.tasks["note"][0]
    seen = analyse([task({"a": noisy(rng, 0.4), "b": noisy(rng, 0.3)}, optimum=None)], replicates=50)
    assert seen.tasks["scale"][0] == "ratio to the best design seen" and seen.runs["ratio"].max() == 1


def test_without_an_optimum_a_task_is_saturated_only_where_runs_end_at_the_very_same_best():
    rng = np.random.default_rng(11)
    near, same = noisy(rng, 0.3, within=0.001), np.where(rng.random((40, 5)) < 0.7, 0.3, 0.2)
    assert not analyse([task({"a": near, "b": near[::-1]}, optimum=None)], replicates=50).tasks["saturated"][
        0
    ]
    assert analyse([task({"a": same, "b": near - 0.2}, optimum=None)], replicates=50).tasks["saturated"][0]


def test_rewards_that_are_no_logarithms_are_compared_by_differences():
    rng = np.random.default_rng(12)
    found = analyse(
        [task({"a": noisy(rng, 90.0), "b": noisy(rng, 80.0)}, optimum=100.0, log=False)], replicates=100
    )
    assert found.tasks["scale"][0] == "difference from the optimum"
    row = found.comparisons.filter(pl.col("family") == "tuned over 4").to_dicts()[0]
    assert row["ratio"] == pytest.approx(10, abs=0.1) and row["verdict"] == "different"
    alike = analyse(
        [task({"a": noisy(rng, 90.0), "b": noisy(rng, 89.5)}, optimum=100.0, log=False)], replicates=100
    )
    # 0.5 of 100 is within 2 %
    assert set(alike.comparisons.filter(pl.col("family") == "tuned over 4")["verdict"]) == {"equivalent"}


def test_runs_without_a_valid_design_stay_in_as_the_worst():
    scores = np.array([[-0.1, -np.inf], [-0.3, -0.2]] * 4)
    found = analyse([task({"a": scores, "b": scores - 0.5})], replicates=50)
    a = found.runs.filter(pl.col("agent") == "a")["score"].to_numpy()
    # the worst finite score of the task, of b
    assert len(a) == 16 and np.sort(a)[:4] == pytest.approx([-0.8] * 4)
    assert "8 runs found no valid design" in found.tasks["note"][0]


def test_failed_and_missing_runs_are_counted_and_left_out(study, analysis):
    partial = synthetic.without_runs(study[0], 0.3)
    found = analyse([partial], replicates=100)
    row = found.tasks.to_dicts()[0]
    assert (
        row["failed"] == len(partial.failures) == 256 - row["runs"] == 256 - len(found.runs)
        and "failed: time-out" in row["note"]
    )
    whole = analysis.distribution.filter(pl.col("task") == "task 1", pl.col("samples") == 1000)[
        "mean"
    ].to_numpy()
    assert np.allclose(found.distribution.filter(pl.col("samples") == 1000)["mean"], whole, atol=0.03)
    begun = dataclasses.replace(partial, failures=())
    assert "are still to come" in analyse([begun], replicates=50).tasks["note"][0]


def shapes():
    rng = np.random.default_rng(13)

    def draw(configurations, seeds):
        return noisy(rng, -0.2, configurations=configurations, seeds=seeds, between=0.05)

    gone = draw(4, 3)
    gone[2] = np.nan
    return {
        "one seed": {"random": draw(16, 1), "a": draw(16, 1), "b": draw(16, 1)},
        "one agent": {"a": draw(16, 5)},
        "only random search": {"random": draw(16, 5)},
        "one configuration": {"random": draw(1, 5), "a": draw(1, 5), "b": draw(1, 5)},
        "one run": {"a": draw(1, 1)},
        "one run each": {"random": draw(1, 1), "a": draw(1, 1)},
        "two configurations": {"random": draw(2, 2), "a": draw(2, 2), "b": draw(2, 2)},
        "unequal": {"random": draw(30, 5), "a": draw(7, 2), "b": draw(1, 5), "c": draw(16, 1)},
        "an agent without runs": {"random": draw(4, 3), "a": np.full((4, 3), np.nan), "b": gone},
        "an agent without valid designs": {
            "random": draw(4, 3),
            "a": np.full((4, 3), -np.inf),
            "b": draw(4, 3),
        },
        "no default": {"a": np.concatenate([np.full((1, 3), np.nan), draw(5, 3)]), "b": draw(6, 3)},
        "all the same": {
            "random": np.full((4, 3), -0.5),
            "a": np.full((4, 3), -0.5),
            "b": np.full((4, 3), -0.7),
        },
        "no seed spread": {"a": np.repeat(draw(9, 1), 3, axis=1), "b": np.repeat(draw(9, 1), 3, axis=1)},
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", shapes())
@pytest.mark.parametrize("optimum", [0.0, None])
def test_studies_with_little_in_them_are_analysed_without_claims(name, optimum):
    found = analyse([task(shapes()[name], optimum=optimum)], replicates=50)
    assert isinstance(found, Analysis) and len(found.tasks) == 1
    assert {n: " ".join(f.columns) for n, f in frames(found).items()} == COLUMNS
    if name in ("one seed", "one run", "one run each"):
        assert set(found.comparisons.filter(pl.col("family") == "defaults")["verdict"]) <= {"not resolved"}
        assert "one seed" in found.tasks["note"][0]
    if name in ("one agent", "only random search", "one run"):
        assert found.comparisons.is_empty() and "supported" not in verdicts(found, "H1") + verdicts(
            found, "H5"
        )
    for frame in frames(found).values():
        assert not any(column.is_nan().any() for column in frame.select(pl.selectors.float()))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("score", [np.nan, -np.inf])
def test_a_task_in_which_nothing_worked_says_so(score):
    failures = (("a", 0, 0, "exploded"),)
    found = analyse(
        [
            task({"a": np.full((3, 2), score)}, failures=failures),
            task({"a": np.full((3, 2), -0.5)}, name="other"),
        ],
        replicates=50,
    )
    row = found.tasks.to_dicts()[0]
    assert (
        not row["saturated"]
        and "exploded" in row["note"]
        and ("found a valid design" in row["note"] or "no run has finished" in row["note"])
    )
    assert any("no conclusion" in line for line in found.conclusions) and set(found.distribution["task"]) == {
        "other"
    }


def test_nothing_is_concluded_where_rewards_are_clipped():
    scores = {"a": np.full((3, 2), -0.5), "b": np.full((3, 2), -0.4)}
    other = task({"a": np.full((3, 2), -0.5)}, name="other")
    for blind, reason in [
        (dataclasses.replace(task(scores), clipped=0.995), "100 % of the valid rewards are clipped"),
        (dataclasses.replace(task(scores), capped=True), "the optimum's reward is clipped at 10"),
    ]:
        found = analyse([blind, other], replicates=50)
        assert any(
            line.startswith("task: no conclusion, as") and reason in line for line in found.conclusions
        )
        assert reason in found.tasks["note"][0] and set(found.comparisons["task"]) <= {"other"}
    some = analyse([dataclasses.replace(task(scores), clipped=0.6)], replicates=50)
    assert "60 % of the valid rewards are clipped" in some.tasks["note"][0] and set(
        some.comparisons["task"]
    ) == {"task"}
    assert (
        "clipped"
        not in analyse([dataclasses.replace(task(scores), clipped=0.4)], replicates=50).tasks["note"][0]
    )


def test_agents_are_compared_at_samples_that_all_of_them_spent():
    rng = np.random.default_rng(14)
    long, short = (
        converging(rng, 0.0, 0.0, "a"),
        constant(noisy(rng, -0.9, configurations=24, seeds=3), name="b", budget=400),
    )
    mixed = dataclasses.replace(long, agents={**long.agents, "b": short})
    found = analyse([mixed], replicates=100)
    assert "compared at 400 samples" in found.tasks["note"][0]
    row = found.comparisons.filter(pl.col("family") == "tuned over 4").to_dicts()[0]
    assert row["ratio"] == pytest.approx(math.exp(-1 + 0.9), abs=0.02)  # before a improved at 500 samples
    assert set(found.distribution.filter(pl.col("agent") == "b")["samples"]) < set(
        found.distribution["samples"]
    )


def test_checkpoints_include_the_budget_and_a_tenth_of_it():
    assert checkpoints(1000, 1000) == (10, 20, 50, 100, 200, 500, 1000)
    assert checkpoints(300, 300) == (2, 5, 10, 20, 30, 50, 100, 200, 300)
    assert checkpoints(250, 1000) == (10, 20, 25, 50, 100, 200, 250, 500, 1000)
    assert checkpoints(3, 3) == (1, 2, 3)


@pytest.fixture(scope="module")
def mixed():
    """Two tasks, of 1,000 and of 300 samples."""
    short = synthetic.tasks(1, configurations=16, seeds=4, budget=300, seed=1)[0]
    return [*synthetic.tasks(1, configurations=16, seeds=4), dataclasses.replace(short, task="short")]


def test_each_task_is_analysed_at_its_own_budget(mixed):
    found = analyse(mixed, replicates=50)
    assert dict(found.tasks.select("task", "budget").iter_rows()) == {"task 1": 1000, "short": 300}
    for frame in (found.runs, found.distribution, found.tuning, found.targets, found.curves):
        x = "x" if "x" in frame.columns else "samples"
        rows = frame if x == "samples" else frame.filter(pl.col("axis") == "samples")
        assert dict(rows.group_by("task").agg(pl.col(x).max()).iter_rows()) == {"task 1": 1000, "short": 300}
    alone = [analyse([runs], replicates=50) for runs in mixed]
    for name in ("distribution", "curves", "comparisons", "hypotheses", "tuning"):
        parts = pl.concat(getattr(part, name) for part in alone)
        keys = [c for c, kind in parts.schema.items() if kind == pl.String]
        assert getattr(found, name).sort(keys).equals(parts.sort(keys)), name
    text = " ".join(found.conclusions)
    assert "configurations of 1,000 samples" in text and "configurations of 300 samples" in text
    early = found.hypotheses.filter(pl.col("hypothesis") == "H3")["evidence"].to_list()
    assert "at 100 samples and by" in early[0] and "at 30 samples and by" in early[1]


def test_the_map_of_all_tasks_ends_at_the_full_budget_of_each(mixed):
    found = analyse(mixed, replicates=50)
    cells = found.lottery_map
    every = cells.filter(pl.col("task") == "all tasks")
    assert set(every["samples"]) == {10, 20, 50, 100, 200, None}
    assert cells.filter(pl.col("task") != "all tasks")["samples"].null_count() == 0
    last = found.tuning.filter(pl.col("samples") == pl.col("samples").max().over("task"))
    means = last.group_by("agent", "configurations").agg(pl.col("tuned").log().mean().exp(), pl.len())
    for k in (1, 2, 4, 8):
        best = means.filter(pl.col("configurations") == k, pl.col("len") == 2).sort("tuned")[-1]
        cell = every.filter(pl.col("configurations") == k, pl.col("samples").is_null())
        assert cell["agent"].item() == best["agent"].item()
        assert cell["ratio"].item() == pytest.approx(best["tuned"].item())
    assert "of the full budget of each task (" in found.conclusions[1]
    equal = analyse([mixed[0], dataclasses.replace(mixed[0], task="again")], replicates=50)
    assert equal.lottery_map["samples"].null_count() == 0 and "full budget" not in equal.conclusions[1]


def test_conclusions_are_few_and_claim_no_more_than_the_verdicts(analysis):
    for name in ("task 1", "task 2"):
        lines = [line for line in analysis.conclusions if line.startswith(f"{name}: ")]
        assert 2 <= len(lines) <= 4
        tuned = next(line for line in lines if "tuned over 4 configurations of 1,000 samples" in line)
        rows = analysis.comparisons.filter(
            pl.col("task") == name, pl.col("family") == "tuned over 4"
        ).to_dicts()
        pairs = {
            v: {frozenset((r["agent_a"], r["agent_b"])) for r in rows if r["verdict"] == v}
            for v in ("equivalent", "different")
        }
        assert ("equivalent" in tuned) <= bool(pairs["equivalent"]) and ("worse" in tuned) <= bool(
            pairs["different"]
        )


def test_several_tasks_are_summed_up_first_and_one_is_not(analysis):
    first, second = analysis.conclusions[:2]
    counts = {(row["hypothesis"], row["verdict"]): 0 for row in analysis.hypotheses.to_dicts()}
    for row in analysis.hypotheses.to_dicts():
        counts[row["hypothesis"], row["verdict"]] += 1
    assert first.startswith(
        f"Over {analysis.tasks.height} tasks, the claim that no tuned agent is better than another is "
    )
    for verdict in ("supported", "contradicted"):
        n = counts.get(("H1", verdict), 0)
        assert (f"{verdict} on {n}" in first.split(";")[0]) == (n > 0)
    assert second.startswith("Over all tasks that are not saturated, pick ")
    alone = analyse(synthetic.tasks(tasks=1, configurations=8, seeds=3), replicates=50)
    assert not any(line.startswith("Over ") for line in alone.conclusions)
