"""Statistics: against SciPy, published definitions and enumeration, and by simulation where they claim to
cover or not to err.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from archgym.lottery import statistics
from archgym.lottery.statistics import Estimate

LN2 = math.log(1.02)
scores_with_ties = st.lists(
    st.lists(st.sampled_from([-1.0, -0.5, -0.1, 0.0]), min_size=3, max_size=3), min_size=2, max_size=6
).map(np.array)
gappy = st.lists(
    st.lists(st.sampled_from([-1.0, -0.3, -0.2, 0.0, np.nan]), min_size=3, max_size=3), min_size=2, max_size=6
).map(np.array)  # fmt: skip


def estimate(value, error, freedom):
    return Estimate(np.asarray(value), np.asarray(error), np.asarray(freedom))


# ------------------------------------------------------------------------------------------ definitions


def test_quantiles_leave_out_missing_runs_at_each_budget():
    scores = np.array([[[0.0, 1.0], [np.nan, 2.0]], [[4.0, 3.0], [2.0, np.nan]]])
    found = statistics.quantiles(scores, [0.5, 1.0])
    assert found.shape == (2, 2) and np.allclose(found, [[2, 2], [4, 3]])
    assert np.isnan(statistics.quantiles(np.full((2, 2), np.nan), [0.5])).all()


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(0, 29))
def test_the_percentile_is_scipys_mean_percentile(values, at):
    value = values[at % len(values)]
    assert statistics.percentile_among(value, np.array([*values, np.nan])) == pytest.approx(
        stats.percentileofscore(values, value, kind="mean")
    )


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_the_interquartile_mean_is_the_published_trimmed_mean(values):
    published = stats.trim_mean(np.reshape(values, (len(values), 1)), proportiontocut=0.25, axis=None)
    assert statistics.interquartile_mean(np.array(values)) == pytest.approx(published)


@given(gappy, st.integers(0, 2**32))
def test_the_interquartile_mean_of_a_replicate_is_that_of_its_runs(scores, seed):
    counts = statistics.resample(len(scores), 5, np.random.default_rng(seed))
    for found, times in zip(statistics.interquartile_mean_resampled(scores, counts), counts, strict=True):
        assert found == pytest.approx(
            statistics.interquartile_mean(np.repeat(scores, times, axis=0)), nan_ok=True
        )


@given(scores_with_ties, scores_with_ties)
def test_the_probability_of_improvement_is_the_mann_whitney_statistic(x, y):
    u = stats.mannwhitneyu(x.ravel(), y.ravel(), alternative="greater").statistic
    assert statistics.probability_of_improvement(x, y) == pytest.approx(u / (x.size * y.size))


def test_the_variance_of_placements_is_delongs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 1)), rng.normal(size=(9, 1))
    psi = (x > y.T).astype(float)  # the kernel of the U-statistic, [7, 9]
    assert np.allclose(statistics.placements(x, y)[:, 0], psi.mean(axis=1))
    assert np.allclose(1 - statistics.placements(y, x)[:, 0], psi.mean(axis=0))


def test_wilsons_interval_is_scipys():
    found = statistics.wilson(0.3, 50, 1e9)
    published = stats.binomtest(15, 50).proportion_ci(0.95, "wilson")
    assert np.allclose(found, published)


def test_the_share_of_runs_counts_configurations_where_their_runs_agree():
    same = np.repeat((np.arange(20) < 6).astype(float)[:, None], 5, axis=1)
    share, low, high = statistics.share_of_runs(same)
    assert share == 0.3
    z, t = stats.norm.ppf(0.975), stats.t.ppf(0.975, 19)
    # 20 independent things, not 100
    assert np.allclose((low, high), statistics.wilson(0.3, 20, 19), atol=0.01)
    assert high - low > (z / t) * 2 * 0.15
    assert statistics.share_of_runs(np.zeros((20, 5)))[2] == pytest.approx(statistics.wilson(0.0, 20, 19)[1])
    assert statistics.share_of_runs(np.array([[1.0, 0.0], [np.nan, 1.0]]))[0] == pytest.approx(2 / 3)
    assert np.isnan(statistics.share_of_runs(np.full((2, 2), np.nan))).all()


def test_variance_components_are_those_of_a_textbook_analysis_of_variance():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(12, 1)) + rng.normal(size=(12, 5))
    found = statistics.variance_components(scores)
    f = stats.f_oneway(*scores).statistic
    seeds = scores.var(axis=1, ddof=1).mean()
    assert found.seeds == pytest.approx(seeds)
    assert found.configurations == pytest.approx(scores.mean(axis=1).var(ddof=1) - seeds / 5)
    assert found.share == pytest.approx(found.configurations / (found.configurations + seeds))
    assert statistics.variance_ratio(scores).value == pytest.approx(math.log(f / 6))
    holes = scores.copy()
    holes[0, 1:] = holes[3, 0] = np.nan
    f = stats.f_oneway(*[row[~np.isnan(row)] for row in holes]).statistic
    runs = (~np.isnan(holes)).sum(axis=1)
    n0 = (runs.sum() - (runs**2).sum() / runs.sum()) / 11
    assert statistics.variance_components(holes).configurations == pytest.approx(
        statistics.variance_components(holes).seeds * (f - 1) / n0
    )


def test_variance_components_are_truncated_and_need_two_of_each():
    assert statistics.variance_components(np.array([[0.0, 1.0], [0.0, 1.0]])).configurations == 0
    for scores in (np.zeros((1, 5)), np.zeros((5, 1)), np.full((3, 3), np.nan)):
        assert np.isnan(statistics.variance_components(scores).configurations)
        assert np.isnan(statistics.variance_ratio(scores).value)
    assert np.isnan(statistics.variance_components(np.zeros((3, 3))).share)


# ------------------------------------------------------------------------------------------ best of k


@given(scores_with_ties, st.integers(1, 6))
def test_the_best_of_k_is_the_mean_over_all_subsets(scores, k):
    values = scores[:, 0]
    subsets = list(itertools.combinations(values, k))
    expected = np.mean([max(s) for s in subsets]) if subsets else np.nan
    assert statistics.best_of_k(values[None], values[None], [k])[0] == pytest.approx(expected, nan_ok=True)


def cross_fit_by_hand(scores, k):
    """Every subset of k configurations, every held-out seed; tied winners share."""
    folds = []
    for held in range(scores.shape[1]):
        kept = [
            c
            for c in range(len(scores))
            if not np.isnan(scores[c, held]) and (~np.isnan(np.delete(scores[c], held))).any()
        ]
        by = {c: np.round(np.nanmean(np.delete(scores[c], held)), 9) for c in kept}
        subsets = [
            np.mean([scores[c, held] for c in subset if by[c] == max(by[c] for c in subset)])
            for subset in itertools.combinations(kept, k)
        ]
        if subsets:
            folds.append(_mean_with_fair_ties(scores, held, by, kept, k))
    return np.mean(folds) if folds else np.nan


def _mean_with_fair_ties(scores, held, by, kept, k):
    """A tie is broken by chance, before the subset is drawn: the mean over all orders of the tied."""
    total, count = 0.0, 0
    groups = [[c for c in kept if by[c] == v] for v in sorted(set(by.values()))]
    mean = {c: np.mean([scores[d, held] for d in group]) for group in groups for c in group}
    for subset in itertools.combinations(kept, k):
        total, count = total + mean[max(subset, key=lambda c: by[c])], count + 1
    return total / count


@settings(max_examples=60)
@given(gappy, st.integers(2, 5))
def test_cross_fitting_selects_on_the_other_seeds_and_scores_on_the_held_out_one(scores, k):
    assert statistics.cross_fitted_best_of_k(scores, [k])[0] == pytest.approx(
        cross_fit_by_hand(scores, k), nan_ok=True
    )


@settings(max_examples=60)
@given(gappy, st.integers(2, 4), st.integers(0, 2**32))
def test_a_replicate_is_the_statistic_of_the_configurations_that_it_drew(scores, k, seed):
    counts = statistics.resample(len(scores), 4, np.random.default_rng(seed))
    for name in ("cross_fitted_best_of_k", "naive_best_of_k", "best_of_k_runs"):
        function = getattr(statistics, name)
        found = function(scores, [1, k], counts)
        for row, times in zip(found, counts, strict=True):
            assert np.allclose(row, function(np.repeat(scores, times, axis=0), [1, k]), equal_nan=True), name


def test_best_of_k_orders():
    scores = np.random.default_rng(0).normal(size=(30, 4))
    ks = [1, 2, 4, 8, 16, 30, 31]
    honest, naive, runs = (
        f(scores, ks)
        for f in (statistics.cross_fitted_best_of_k, statistics.naive_best_of_k, statistics.best_of_k_runs)
    )
    assert honest[0] == pytest.approx(scores.mean()) == pytest.approx(naive[0]) == pytest.approx(runs[0])
    assert (np.diff(naive[:6]) > 0).all() and naive[5] == pytest.approx(scores.mean(axis=1).max())
    assert (honest[1:6] < naive[1:6]).all() and np.isnan([honest[6], naive[6], runs[6]]).all()
    assert runs[5] == pytest.approx(scores.max(axis=0).mean())


def test_best_of_k_ignores_the_order_in_which_seeds_are_summed():
    values = np.array([0.1, 0.2, 0.3, 0.7])
    scores = np.array([np.roll(values, i) for i in range(4)])
    naive = statistics.naive_best_of_k(scores, [2])
    assert naive[0] == pytest.approx(values.mean(), abs=1e-15)


def test_one_seed_can_be_averaged_but_not_cross_fitted():
    scores = np.array([[0.0], [-1.0], [-2.0]])
    assert np.allclose(statistics.cross_fitted_best_of_k(scores, [1, 2]), [-1.0, np.nan], equal_nan=True)


def test_many_runs_do_not_overflow():
    values = np.arange(2000.0)
    assert statistics.best_of_k(values[None], values[None], [1, 1000, 2000]) == pytest.approx(
        [999.5, 2001 * 1000 / 1001 - 1, 1999]
    )


def test_under_equal_configurations_cross_fitting_is_unbiased_while_the_naive_form_claims_two_standard_errors():
    rng = np.random.default_rng(1)
    runs = rng.normal(size=(600, 30, 5))
    honest = np.array([statistics.cross_fitted_best_of_k(r, [30])[0] for r in runs]) * math.sqrt(5)
    # in standard errors of a mean
    naive = np.array([statistics.naive_best_of_k(r, [30])[0] for r in runs]) * math.sqrt(5)
    assert naive.mean() == pytest.approx(2.04, abs=0.06)  # the expected maximum of 30 standard normal values
    assert abs(honest.mean()) < 3 * honest.std() / math.sqrt(600)


def test_where_configurations_differ_the_naive_form_claims_two_sigma_and_the_truth_is_one_and_a_half():
    """Configurations and seeds with equal variance: means over S = 5 seeds have variance 1.2, those over
    the 4 selected on 1.25.
    """
    rng = np.random.default_rng(2)
    k, honest, naive, truth = 16, [], [], []
    for _ in range(500):
        mu = rng.normal(size=(40, 1))
        scores = mu + np.sqrt(1.0) * rng.normal(size=(40, 5))
        honest.append(statistics.cross_fitted_best_of_k(scores, [k])[0])
        naive.append(statistics.naive_best_of_k(scores, [k])[0])
        chosen = (mu + rng.normal(size=(40, 4)).mean(axis=1, keepdims=True))[:, 0]
        truth.append(statistics.best_of_k(chosen[None], mu.T, [k])[0])
    top = stats.norm.expect(lambda z: z * k * stats.norm.cdf(z) ** (k - 1))  # 1.766 sigma
    assert np.mean(naive) == pytest.approx(top * math.sqrt(1.2), abs=0.06)
    assert np.mean(truth) == pytest.approx(top / math.sqrt(1.25), abs=0.06)
    assert abs(np.mean(honest) - np.mean(truth)) < 3 * math.hypot(np.std(honest), np.std(truth)) / math.sqrt(
        500
    )


def test_pooled_runs_of_random_search_are_one_longer_random_search():
    rng = np.random.default_rng(3)
    short = rng.random((400, 50)).max(axis=1)[:, None]  # 400 runs of 50 samples
    # the expected maximum of 400 uniform samples
    assert statistics.best_of_k_runs(short, [8])[0] == pytest.approx(400 / 401, abs=5e-4)


def test_replicates_are_centred_on_the_estimate():
    rng = np.random.default_rng(0)
    counts = statistics.resample(30, 200, rng)
    found, replicates = statistics.resampled_best_of_k(rng.normal(size=(30, 4)), [1, 8, 16, 31], counts)
    assert np.allclose(replicates[:, :2].mean(axis=0), found.value[:2]) and replicates.shape == (200, 4)
    assert np.allclose(found.error[:2], replicates[:, :2].std(axis=0) * math.sqrt(30 / 29))
    # more than half; more than all
    assert np.isfinite(found.value[2]) and np.isnan(found.error[2:]).all() and np.isnan(found.value[3])


# ------------------------------------------------------------------------------------------ samples to a
# target


def test_expected_running_time_counts_failed_runs_until_a_success():
    samples = np.array([[10.0, np.inf], [30.0, np.nan]])
    spent = np.array([[100.0, 100.0], [100.0, np.nan]])
    assert statistics.expected_running_time(samples, spent) == pytest.approx((10 + 100 + 30) / 2)
    assert np.allclose(
        statistics.expected_running_time(samples, spent, np.array([[2, 0], [0, 2], [1, 1]])), [110, 30, 70]
    )
    assert np.allclose(
        statistics.reached_within(samples, np.array([9, 10, 29, 30, 1000])), [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3]
    )


def test_expected_running_time_is_the_cost_of_restarting():
    rng = np.random.default_rng(0)
    samples = np.where(rng.random(400) < 0.3, rng.integers(1, 100, 400), np.inf)[:, None]
    costs = []
    for _ in range(4000):
        cost = 0.0
        while True:
            run = samples[rng.integers(400), 0]
            cost += min(run, 100)
            if np.isfinite(run):
                break
        costs.append(cost)
    assert statistics.expected_running_time(samples, np.full((400, 1), 100.0)) == pytest.approx(
        np.mean(costs), rel=0.05
    )


def test_a_target_that_is_never_reached_has_a_lower_limit_only():
    counts = statistics.resample(80, 100, np.random.default_rng(0))
    time, low, high = statistics.expected_running_time_interval(
        np.full((80, 5), np.inf), np.full((80, 5), 1000.0), counts
    )
    # 3.8 successes in 80 could have been missed
    assert np.isinf(time) and np.isinf(high) and 10_000 < low < 100_000
    assert np.isnan(
        statistics.expected_running_time_interval(
            np.full((8, 1), np.nan), np.full((8, 1), np.nan), counts[:, :8]
        )
    ).all()
    rare = np.full((80, 5), np.inf)
    rare[0, 0] = 10.0
    time, low, high = statistics.expected_running_time_interval(rare, np.full((80, 5), 1000.0), counts)
    assert low < time == 399_010 and np.isinf(high)


# ------------------------------------------------------------------------------------------ verdicts


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(2, 9), st.integers(2, 9))
def test_comparing_seeds_is_welchs_test(seed, n, m):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n), 0.3 + 2 * rng.normal(size=m)
    found = statistics.compare(statistics.mean_of_runs(x), statistics.mean_of_runs(y), margin=0.1)
    published = stats.ttest_ind(x, y, equal_var=False)
    assert found.p == pytest.approx(published.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(published.confidence_interval(0.95)))
    lower = stats.ttest_ind(x + 0.1, y, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(x - 0.1, y, equal_var=False, alternative="less").pvalue
    assert found.p_equivalence == pytest.approx(max(lower, upper))


@given(st.floats(-1, 1), st.floats(1e-6, 1), st.floats(1, 100), st.floats(0.001, 1))
def test_intervals_and_p_values_never_contradict_each_other(value, error, freedom, margin):
    zero = estimate(0.0, 0.0, 1.0)
    found = statistics.compare(estimate(value, error, freedom), zero, margin=margin)
    if abs(found.p - 0.05) > 1e-9 and value:
        assert (found.p <= 0.05) == (found.low > 0 or found.high < 0)
    narrow = statistics.compare(estimate(value, error, freedom), zero, margin=margin, alpha=0.1)
    if abs(found.p_equivalence - 0.05) > 1e-9:
        assert (found.p_equivalence <= 0.05) == (-margin < narrow.low and narrow.high < margin)


def test_groups_without_spread():
    same, other, spread = (
        statistics.mean_of_runs(np.array(x)) for x in ([0.0] * 5, [-0.5] * 5, [0.0, -0.1, 0.0, 0.0, 0.0])
    )
    equal = statistics.compare(same, same, margin=LN2)
    assert (equal.p, equal.p_equivalence) == (1, 0) and statistics.verdict(
        1.0, float(equal.p_equivalence)
    ) == ("equivalent")
    apart = statistics.compare(same, other, margin=LN2)
    assert apart.p == 2**-9 and apart.p_equivalence == 1 and np.isnan(apart.low)
    assert 0.05 < statistics.compare(same, spread, margin=LN2).p < 1
    third = statistics.mean_of_runs(np.full(3, 0.1))
    assert (
        third.error == 0
        and statistics.compare(third, statistics.mean_of_runs(np.full(7, 0.1)), margin=LN2).p == 1
    )  # rounding is no spread


def test_one_seed_resolves_nothing():
    one = statistics.mean_of_runs(np.array([0.0]))
    found = statistics.compare(one, statistics.mean_of_runs(np.array([-5.0])), margin=LN2)
    assert np.isnan([found.p, found.p_equivalence, found.low, found.high]).all()
    assert statistics.verdict(float(found.p), float(found.p_equivalence)) == "not resolved"
    assert np.isnan(statistics.mean_of_runs(np.array([np.nan])).value)


def test_verdicts():
    assert statistics.verdict(0.01, 0.5) == "different"
    assert statistics.verdict(0.06, 0.5) == "not resolved"
    assert statistics.verdict(0.01, 0.01) == "equivalent"  # surely different, and surely by less than matters


def test_holms_correction():
    # R: p.adjust(p, "holm")
    assert np.allclose(statistics.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert np.allclose(statistics.holm(np.array([0.02, np.nan, 0.6])), [0.04, np.nan, 0.6], equal_nan=True)
    assert len(statistics.holm(np.array([]))) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p):
    rejected, remaining = set(), sorted(range(len(p)), key=lambda i: p[i])
    for step, i in enumerate(remaining):
        if p[i] * (len(p) - step) > 0.05:
            break
        rejected.add(i)
    assert {i for i, q in enumerate(statistics.holm(np.array(p))) if q <= 0.05} == rejected


def test_a_task_is_saturated_where_half_of_the_agents_or_random_search_sit_at_the_optimum():
    def saturated(**typical):
        return statistics.saturated(typical, tolerance=0.01)

    assert saturated(a=-0.001, b=-0.2) and saturated(a=0.0, b=float("nan"))
    assert not saturated(a=-0.001, b=-0.2, random=-0.2) and not saturated(a=-0.011, b=-0.2)
    assert saturated(a=-0.2, b=-0.2, random=-0.01)
    assert not saturated() and not saturated(a=float("nan"))


def test_agents_that_become_easier_to_measure_do_not_seem_to_converge():
    rng = np.random.default_rng(14)
    claims = {"none": 0, "some": 0, "shrinking": 0}
    for _ in range(200):
        place = rng.normal(size=6)
        for name, late in (("none", 0.0), ("some", 0.02), ("shrinking", 0.004)):
            moments = []
            for spread, error in ((0.02 if late else 0.0, 0.01), (late, 0.003)):
                values = spread * place + error * rng.normal(size=6)
                moments.append(
                    (
                        estimate(values, np.full(6, error), np.full(6, 6.0)),
                        values + error * rng.normal(size=(200, 6)),
                    )
                )
            (before, drawn_before), (after, drawn_after) = moments
            low, high = statistics.change_of_spread(before, after, drawn_before, drawn_after)[1].interval()
            claims[name] += bool(high < 0 or low > 0)
    assert claims["none"] <= 10 and claims["some"] <= 10 and claims["shrinking"] > 40


# ------------------------------------------------------------------------------------------ importance


def configurations(n, rng):
    return [
        {
            "population": int(2 ** rng.integers(1, 8)), "rate": float(np.exp(rng.uniform(-7, 0))), "kind": str(rng.choice(["a", "b", "c"])),
            "flag": bool(rng.random() < 0.5), "constant": 3,
        }
        for _ in range(n)
    ]  # fmt: skip


def test_importance_finds_what_matters_its_direction_and_its_share():
    rng = np.random.default_rng(0)
    settings_ = configurations(80, rng)
    rate = np.array([math.log(c["rate"]) for c in settings_])
    kind = np.array([c["kind"] == "b" for c in settings_], float)
    scores = -rate / rate.std() + 0.7 * kind / kind.std() + 0.5 * rng.normal(size=80)
    found = {i.name: i for i in statistics.importance(settings_, scores, rng=rng)}
    assert list(found) == ["population", "rate", "kind", "flag"]
    assert found["rate"].importance == pytest.approx(1 / 1.74, abs=0.12) and found["rate"].direction < -0.6
    assert (
        found["kind"].importance == pytest.approx(0.49 / 1.74, abs=0.12) and found["kind"].direction is None
    )
    assert found["flag"].importance == 0 == found["flag"].low and found["flag"].direction is None
    assert 0 < found["rate"].low < found["rate"].importance


def test_importance_sees_an_optimum_inside_the_range():
    rng = np.random.default_rng(1)
    settings_ = configurations(80, rng)
    scores = -np.abs(np.array([math.log(c["rate"]) + 3.5 for c in settings_])) + 0.2 * rng.normal(size=80)
    found = {i.name: i for i in statistics.importance(settings_, scores, rng=rng)}
    assert found["rate"].importance > 0.6 and abs(found["rate"].direction) < 0.4


def test_noise_is_reported_as_importance_no_more_often_than_alpha():
    rng = np.random.default_rng(2)
    settings_ = configurations(40, rng)
    false = [
        any(
            i.importance
            for i in statistics.importance(settings_, rng.normal(size=40), replicates=200, rng=rng)
        )
        for _ in range(300)
    ]
    assert np.mean(false) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_importance_says_nothing_of_what_does_not_vary_or_of_too_few():
    rng = np.random.default_rng(3)
    assert statistics.importance(configurations(7, rng), rng.normal(size=7), rng=rng) == []
    assert statistics.importance(configurations(20, rng), np.zeros(20), rng=rng) == []
    assert statistics.importance([{}] * 20, rng.normal(size=20), rng=rng) == []


# ------------------------------------------------------------------------------------------ coverage and
# errors, by simulation


def covered(intervals, truth, at_least, repetitions):
    intervals = np.asarray(intervals)
    share = ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean(axis=0)
    return np.all(share >= at_least - 3 * math.sqrt(at_least * (1 - at_least) / repetitions)), share


@pytest.mark.parametrize(
    ("size", "seeds", "ks", "at_least"),
    [(80, 5, [1, 4, 16], 0.945), (16, 3, [1, 4], 0.94), (8, 5, [1, 2], 0.94)],
)
def test_the_interval_of_the_tuned_score_covers(size, seeds, ks, at_least):
    rng = np.random.default_rng(4)
    many = rng.normal(size=(20000, max(ks)))
    chosen = many + rng.normal(size=many.shape) / math.sqrt(seeds - 1)
    truth = [
        np.take_along_axis(many[:, :k], chosen[:, :k].argmax(axis=1)[:, None], axis=1).mean() for k in ks
    ]
    found = []
    for _ in range(400):
        scores = rng.normal(size=(size, 1)) + rng.normal(size=(size, seeds))
        found.append(
            statistics.resampled_best_of_k(scores, ks, statistics.resample(size, 200, rng))[0].interval()
        )
    fine, share = covered(found, truth, at_least, 400)
    assert fine, share


def test_the_interval_of_the_best_of_k_runs_covers():
    rng = np.random.default_rng(15)
    ks = [1, 4, 16]
    many = math.sqrt(2) * rng.normal(size=(20000, 16))
    truth = [many[:, :k].max(axis=1).mean() for k in ks]
    found = []
    for _ in range(300):
        scores = rng.normal(size=(80, 1)) + rng.normal(size=(80, 5))
        counts = statistics.resample(80, 200, rng)
        found.append(
            statistics.resampled_best_of_k(scores, ks, counts, statistics.best_of_k_runs)[0].interval()
        )
    fine, share = covered(found, truth, 0.94, 300)
    assert fine, share


def test_resampling_seeds_as_well_would_overstate_the_error():
    """Why configurations are resampled whole: the variance of the seeds would count twice."""
    rng = np.random.default_rng(5)
    whole, both, means = [], [], []
    for _ in range(150):
        scores = 0.5 * rng.normal(size=(40, 1)) + rng.normal(size=(40, 5))
        means.append(scores.mean())
        whole.append(statistics.resampled_best_of_k(scores, [1], statistics.resample(40, 200, rng))[1].std())
        rows = rng.integers(0, 40, size=(200, 40, 1))
        both.append(scores[rows, rng.integers(0, 5, size=(200, 40, 5))].mean(axis=(1, 2)).std())
    assert np.mean(whole) == pytest.approx(np.std(means), rel=0.2)
    assert np.mean(both) > 1.12 * np.mean(whole)


@pytest.mark.parametrize(("size", "seeds", "at_least"), [(80, 5, 0.93), (16, 5, 0.9), (8, 3, 0.93)])
@pytest.mark.parametrize(("a", "b"), [(0.1, 0.9), (1, 9), (1, 1)])
def test_the_interval_of_winning_tickets_covers(size, seeds, at_least, a, b):
    rng = np.random.default_rng(6)
    hits = rng.random((800, size, seeds)) < rng.beta(a, b, size=(800, size, 1))
    fine, share = covered(
        [statistics.share_of_runs(h.astype(float))[1:] for h in hits], a / (a + b), at_least, 800
    )
    assert fine, share


@pytest.mark.parametrize("harder", [2.0, 0.0, -1.0])
def test_the_interval_of_the_expected_running_time_covers(harder):
    rng = np.random.default_rng(8)

    def samples(*shape):
        times = np.exp(
            math.log(1000) + harder + 1.2 * (rng.normal(size=(*shape[:-1], 1)) + 0.7 * rng.normal(size=shape))
        )
        return np.where(times <= 1000, times, np.inf)

    everything = samples(200_000, 1)
    truth = np.minimum(everything, 1000).mean() / np.isfinite(everything).mean()
    spent = np.full((80, 5), 1000.0)
    found = [
        statistics.expected_running_time_interval(samples(80, 5), spent, statistics.resample(80, 200, rng))[
            1:
        ]
        for _ in range(300)
    ]
    fine, share = covered(found, truth, 0.93, 300)
    assert fine, share


def test_the_interval_of_the_interquartile_mean_covers():
    rng = np.random.default_rng(9)
    truth = statistics.interquartile_mean(
        -np.exp(rng.normal(size=(400_000, 1))) - np.exp(rng.normal(size=(400_000, 1)))
    )
    found = []
    for _ in range(300):
        scores = -np.exp(rng.normal(size=(80, 1))) - np.exp(rng.normal(size=(80, 5)))
        found.append(
            np.quantile(
                statistics.interquartile_mean_resampled(scores, statistics.resample(80, 200, rng)),
                [0.025, 0.975],
            )
        )
    fine, share = covered(found, truth, 0.93, 300)
    assert fine, share


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0])
def test_the_interval_of_the_variance_ratio_covers(ratio):
    rng = np.random.default_rng(10)
    scores = ratio * rng.normal(size=(400, 80, 1)) + rng.normal(size=(400, 80, 5))
    fine, share = covered(
        [statistics.variance_ratio(s).interval() for s in scores], math.log((1 + 5 * ratio**2) / 6), 0.94, 400
    )
    assert fine, share


DRAWS = {
    "normal": lambda rng, shape: 0.03 * rng.normal(size=shape),
    "exponential": lambda rng, shape: -0.03 * rng.exponential(size=shape),
    "ceiling": lambda rng, shape: np.where(rng.random(shape) < 0.7, 0.0, -0.03 * rng.exponential(size=shape)),
    "two values": lambda rng, shape: np.where(rng.random(shape) < 0.8, 0.0, -0.03),
}


@pytest.mark.parametrize("name", DRAWS)
def test_equal_defaults_are_called_different_no_more_often_than_alpha(name):
    rng = np.random.default_rng(11)
    a, b = (estimate(*_moments(DRAWS[name](rng, (4000, 5)))) for _ in range(2))
    found = statistics.compare(a, b, margin=LN2)
    assert np.mean(found.p <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)
    # at the margin they are not equivalent
    apart = statistics.compare(Estimate(a.value + LN2, a.error, a.freedom), b, margin=LN2)
    assert np.mean(apart.p_equivalence <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)


def _moments(runs):
    """`mean_of_runs` for many groups at once."""
    return (
        runs.mean(axis=1),
        runs.std(axis=1, ddof=1) / math.sqrt(runs.shape[1]),
        np.full(len(runs), runs.shape[1] - 1.0),
    )


def test_few_defaults_against_many_runs_need_a_variance_that_they_cannot_fall_below():
    rng = np.random.default_rng(12)
    plain, guarded = [], []
    for _ in range(600):
        many = DRAWS["ceiling"](rng, (80, 5))
        few = DRAWS["ceiling"](rng, 5)
        rest = statistics.mean_of_configurations(many)
        least = (statistics.variance_components(many).seeds, 80 * 4.0)
        plain.append(statistics.compare(statistics.mean_of_runs(few), rest, margin=LN2).p <= 0.05)
        guarded.append(statistics.compare(statistics.mean_of_runs(few, least), rest, margin=LN2).p <= 0.05)
    assert np.mean(plain) > 0.2 and np.mean(guarded) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


def test_a_family_of_equal_tuned_agents_is_called_different_no_more_often_than_alpha():
    rng = np.random.default_rng(13)
    pairs = np.array(list(itertools.combinations(range(5), 2))).T
    family, equivalent = [], []
    for _ in range(120):
        scores = 0.05 * rng.normal(size=(5, 80, 1)) + 0.05 * rng.normal(size=(5, 80, 5))
        found = [statistics.resampled_best_of_k(s, [8], statistics.resample(80, 200, rng))[0] for s in scores]
        agents = Estimate(*(np.array([part[0] for part in parts]) for parts in zip(*found, strict=True)))
        a, b = (Estimate(*(part[side] for part in agents)) for side in pairs)
        family.append((statistics.holm(statistics.compare(a, b, margin=LN2).p) <= 0.05).any())
        shifted = Estimate(a.value + LN2, a.error, a.freedom)
        equivalent.append(statistics.compare(shifted, b, margin=LN2).p_equivalence <= 0.05)
    assert np.mean(family) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 120)
    assert np.mean(equivalent) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 120)


# --- luck that all configurations share with a seed ---


def crossed(rng, c, s, configurations, shared, own):
    """Scores [C, S] whose seeds are lucky or not for all configurations alike."""
    return (
        configurations * rng.standard_normal((c, 1))
        + shared * rng.standard_normal((1, s))
        + own * rng.standard_normal((c, s))
    )


def test_the_variance_of_shared_luck_is_estimated_without_bias():
    rng = np.random.default_rng(0)
    found = [statistics.shared_seed_variance(crossed(rng, 40, 5, 1.0, 0.7, 0.5)) for _ in range(1500)]
    assert np.mean(found) == pytest.approx(0.7**2 / 5, rel=0.07)
    assert (
        statistics.shared_seed_variance(np.ones((1, 5)))
        == statistics.shared_seed_variance(np.ones((5, 1)))
        == 0
    )


@pytest.mark.parametrize(
    ("configurations", "shared", "own"), [(0.0, 1.0, 0.3), (0.5, 0.5, 0.5), (1.0, 0.0, 1.0)]
)
def test_intervals_cover_when_configurations_share_the_luck_of_their_seeds(configurations, shared, own):
    rng = np.random.default_rng(1)
    covered, best, intervals = 0, [], []
    for _ in range(300):
        scores = crossed(rng, 80, 5, configurations, shared, own)
        low, high = statistics.mean_of_configurations(scores).interval()
        covered += low <= 0 <= high
        estimate, _ = statistics.resampled_best_of_k(scores, [4], statistics.resample(80, 100, rng))
        best.append(float(estimate.value[0]))
        intervals.append([float(end[0]) for end in estimate.interval()])
    assert covered / 300 > 0.9
    assert np.mean([low <= np.mean(best) <= high for low, high in intervals]) > 0.9


def test_equal_agents_with_shared_luck_are_rarely_called_different():
    rng = np.random.default_rng(2)
    different = 0
    for _ in range(300):
        a, b = (statistics.mean_of_configurations(crossed(rng, 80, 5, 0.2, 1.0, 0.3)) for _ in range(2))
        different += float(statistics.compare(a, b, margin=0.02).p) < 0.05
    assert different / 300 < 0.08
