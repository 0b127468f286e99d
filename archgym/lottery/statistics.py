"""Statistics of the hyperparameter lottery, as pure functions over arrays.

Scores are float64 [C, S]: C configurations drawn from an agent's hyperparameters, S seeds of each; NaN for a
missing run. The model is

    x_cs = mu_c + nu_s + e_cs

Configurations are drawn independently. The luck nu_s of a seed is shared by all of them, since an agent with
a different learning rate begins with the same random designs. Higher is better; with logarithms of ratios
(best reward - optimum <= 0) all differences are ratios.

Every comparison uses an `Estimate` (a value, its standard error, its degrees of freedom), so that an
interval, the test of a difference and the test of equivalence never contradict each other. Standard errors
are Welch's for the seeds of one configuration and the bootstrap's over configurations otherwise: tasks are
fixed, whole configurations are resampled, and their seeds stay with them. That is the cluster bootstrap; of
the ways to resample a nested design it is the one whose variance is right (Davison and Hinkley, Bootstrap
Methods and their Application, 1997, section 3.8): resampling seeds within the resampled configurations as
well counts the variance of the seeds twice, and puts copies of a selected seed on the held-out side of a
cross-fit. The bootstrap over configurations does not include the luck nu_s that all configurations share; it
is added as a separate variance component (`shared_seed_variance`, S - 1 degrees of freedom).

Coverage of 95 % intervals in simulations (400 to 1,500 studies each; tests/lottery/test_statistics.py repeats
the main ones). Scores are normal, equal except for the seeds, log-normal gaps, or rarely good (one
configuration in ten):

    interval                                          80 configurations x 5 seeds        16 x 3 to 8 x 5
    ================================================  =================================
                                                      ===========================================
    best of k <= 16, cross-fitted, t on the           92-96 %                            93-99 %; rarely good
                                                      59-82 %
      bootstrap's error (percentile: 80-94 %,
      basic: 78-91 %)
    best of k <= 16 runs, the same                  94-99 %                    93-98 %
    mean of configurations, t                       92-96 %; log-normal 91 %   95 %; log-normal 81-84 %,
                                                                               rarely good 64-82 %
    share of runs, Wilson on effective runs         90-96 %                    90-98 %
    expected running time, wider of bootstrap and   93-96 %                    91-96 %
      Wilson (bootstrap alone: 82-95 %)
    ln(MSB / MSW), jackknife                          90-95 %                            86-96 %
    interquartile mean, percentile bootstrap          94-95 %                            93 %
    Welch's t, 5 seeds against 5                      96-99.8 %                          3 against 3: 97-99 %

The table is for scores without shared luck. With shared luck, intervals without its component cover as little
as 6 %, those with it 93 to 96 % (shares of runs 77 to 94 %). Small studies stay small: if one configuration
in ten is good and eight were drawn, no interval accounts for the good ones that were not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from scipy import special, stats

from archgym.space import Array

LEVEL = 0.95


class Estimate(NamedTuple):
    """A value, its standard error and the degrees of freedom of that error, each a float or an array; an
    unknown error is NaN.
    """

    value: Array
    error: Array
    freedom: Array

    def interval(self, level: float = LEVEL) -> tuple[Array, Array]:
        """Student's t interval (low, high); NaN where the error is not known."""
        with np.errstate(invalid="ignore"):
            half = stats.t.ppf(0.5 + level / 2, self.freedom) * self.error
        half = np.where(self.error == 0, 0.0, half)
        return np.asarray(self.value - half), np.asarray(self.value + half)


# --------------------------------------------------------------------------------------------- distributions


def known_mean(values: Array, axis: int | None = None) -> Array:
    """Mean of the values that are not NaN, over an axis or over everything; NaN, without a warning, if
    there are none.
    """
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis))


def quantiles(scores: Array, probabilities: Sequence[float]) -> Array:
    """Quantiles over all runs.

    Args:
        scores: float64 [C, S, ...].
        probabilities: Q probabilities.

    Returns:
        float64 [Q, ...], linearly interpolated as NumPy does by default; NaN where there are no runs.
    """
    flat = scores.reshape(-1, *scores.shape[2:])
    found: Array = np.full((len(probabilities), *flat.shape[1:]), np.nan)
    some = ~np.isnan(flat).all(axis=0)
    if some.any():
        found[:, some] = np.nanquantile(flat[:, some], probabilities, axis=0)
    return found


def percentile_among(value: float, values: Array) -> float:
    """Percentile of a value among values [N], with ties counted half: 100 (below + equal / 2) / N, 0 to
    100.
    """
    known = values[~np.isnan(values)]
    if not len(known) or np.isnan(value):
        return np.nan
    return float(100.0 * ((known < value).mean() + 0.5 * (known == value).mean()))


def interquartile_mean(scores: Array) -> float:
    """Mean of the middle half of all runs, without missing ones: scores of any shape -> float.

    As rliable's `aggregate_iqm`: SciPy's 25 % trimmed mean over everything, which drops int(N / 4) runs at
    each end (Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS
    2021, section 4.3).
    """
    known = scores[~np.isnan(scores)]
    return float(stats.trim_mean(known, 0.25)) if len(known) else np.nan


def interquartile_mean_resampled(scores: Array, counts: Array) -> Array:
    """The interquartile mean of every bootstrap replicate.

    Args:
        scores: float64 [C, S].
        counts: number of times that each configuration was drawn, int64 [R, C].

    Returns:
        float64 [R].
    """
    configuration, seed = np.nonzero(~np.isnan(scores))
    if not len(configuration):
        return np.full(len(counts), np.nan)
    order = np.argsort(scores[configuration, seed], kind="stable")
    values = scores[configuration, seed][order]
    place = np.cumsum(counts[:, configuration[order]], axis=1)  # runs up to and including this one, [R, N]
    total = place[:, -1:]
    cut = total // 4
    kept = np.clip(place, cut, total - cut)
    weights = np.diff(kept, axis=1, prepend=cut)
    with np.errstate(invalid="ignore"):
        return np.asarray(weights @ values / (total - 2 * cut)[:, 0])


# --------------------------------------------------------------------------------------------- proportions


def wilson(share: float, size: float, freedom: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a proportion from `size` effective observations, widened by Student's t for
    `freedom` degrees.

    Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data, 1998; compared by Dean and Pagano, Evaluating confidence interval methods for
    binomial proportions in clustered surveys, 2015.
    """
    if not size > 0 or not freedom > 0:
        return 0.0, 1.0
    z = stats.norm.ppf(0.5 + level / 2)
    size *= (z / stats.t.ppf(0.5 + level / 2, freedom)) ** 2
    middle = share + z * z / (2 * size)
    half = z * np.sqrt(share * (1 - share) / size + z * z / (4 * size * size))
    scale = 1 + z * z / size
    low, high = (middle - half) / scale, (middle + half) / scale
    return (0.0 if share == 0 else max(0.0, float(low))), (1.0 if share == 1 else min(1.0, float(high)))


def share_of_runs(hits: Array, level: float = LEVEL) -> tuple[float, float, float]:
    """Share of runs that hit, with an interval that accounts for the similarity of runs of one configuration.

    Args:
        hits: 1 for a hit, 0 for a miss, NaN for a missing run, float64 [C, S].

    Returns:
        (share, low, high). The effective number of runs is share (1 - share) / variance, with the variance
        between configurations and that of the seeds' shared luck. It is at most the number of runs, and at
        least the number of configurations (unless the shared luck alone makes it smaller), which is also its
        value where all runs or none hit.
    """
    runs = (~np.isnan(hits)).sum(axis=1)
    hits, runs = hits[runs > 0], runs[runs > 0]
    clusters, total = len(runs), runs.sum()
    if not clusters:
        return np.nan, np.nan, np.nan
    share = float(np.nansum(hits) / total)
    if clusters == 1:  # the interval is of this configuration alone
        return share, *wilson(share, float(total), float(total - 1), level)
    residuals = np.nansum(hits, axis=1) - share * runs
    parts = np.array(
        [clusters / (clusters - 1) * (residuals**2).sum() / total**2, shared_seed_variance(hits)]
    )
    variance = parts.sum()
    if not variance > 0:
        return share, *wilson(share, float(clusters), clusters - 1.0, level)
    least = min(clusters, share * (1 - share) / parts[1]) if parts[1] > 0 else clusters
    freedom = _satterthwaite(parts, np.array([clusters - 1.0, max(hits.shape[1] - 1.0, 1.0)]))
    return share, *wilson(
        share, float(np.clip(share * (1 - share) / variance, least, total)), float(freedom), level
    )


def probability_of_improvement(x: Array, y: Array) -> float:
    """P(X > Y) + P(X = Y) / 2 over all pairs of runs, of any shapes: the Mann-Whitney statistic over its
    maximum.

    As rliable's `probability_of_improvement` on one task (Agarwal et al. 2021, section 4.3).
    """
    return float(known_mean(placements(x, y)))


def placements(x: Array, y: Array) -> Array:
    """Share of the runs of y that each run of x beats, with ties counted half: arrays of any shape; NaN
    where x is missing.
    """
    known = np.sort(y[~np.isnan(y)])
    if not len(known):
        return np.full(x.shape, np.nan)
    below, up_to = np.searchsorted(known, x, side="left"), np.searchsorted(known, x, side="right")
    return np.where(np.isnan(x), np.nan, (below + up_to) / (2.0 * len(known)))


# --------------------------------------------------------------------------------------------- variance


class VarianceComponents(NamedTuple):
    """Variance between configurations, between seeds of one configuration, and the configurations' share
    of both (NaN for 0 / 0).
    """

    configurations: float
    seeds: float
    share: float


def variance_components(scores: Array) -> VarianceComponents:
    """One-way random-effects analysis of variance, for unequal numbers of seeds.

        seeds = MSW        configurations = max(0, (MSB - MSW) / n0)        n0 = (N - sum n_c^2 / N) / (C - 1)

    In a complete study that is the variance of the configurations' means minus the seeds' variance / S
    (Searle, Casella and McCulloch, Variance Components, 1992, section 3.6).

    Args:
        scores: float64 [C, S].

    Returns:
        NaN with fewer than two configurations, or no configuration with two seeds.
    """
    between, within, n0 = (
        float(part[0]) for part in _mean_squares(scores, np.ones((1, len(scores)), np.int64))
    )
    if not n0 > 0 or np.isnan(within):
        return VarianceComponents(np.nan, np.nan, np.nan)
    configurations = max(0.0, (between - within) / n0)
    return VarianceComponents(
        configurations,
        within,
        configurations / (configurations + within) if configurations + within > 0 else np.nan,
    )


def variance_ratio(scores: Array) -> Estimate:
    """ln(MSB / MSW) - ln(1 + n0): positive where configurations have a larger variance than seeds.

    The error is the jackknife's over configurations, on this scale because the bootstrap of the share itself
    covers only 80-94 %.

    Args:
        scores: float64 [C, S].

    Returns:
        A scalar estimate; NaN without variance, or with fewer than three configurations.
    """
    runs = scores[(~np.isnan(scores)).any(axis=1)]
    size = len(runs)
    drawn = np.concatenate([np.ones((1, size), np.int64), 1 - np.eye(size, dtype=np.int64)])
    between, within, n0 = _mean_squares(runs, drawn)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.log(between / within) - np.log1p(n0)
    if size < 3 or not np.isfinite(value).all():
        return Estimate(np.asarray(np.nan), np.asarray(np.nan), np.asarray(np.nan))
    error = np.sqrt((size - 1) / size * ((value[1:] - value[1:].mean()) ** 2).sum())
    return Estimate(np.asarray(value[0]), np.asarray(error), np.asarray(size - 1.0))


def _mean_squares(scores: Array, drawn: Array) -> tuple[Array, Array, Array]:
    """(MSB, MSW, n0), float64 [R] each, of scores [C, S] with configurations drawn [R, C] times."""
    runs = (~np.isnan(scores)).sum(axis=1)
    mean = known_mean(scores, 1)
    centre = known_mean(mean)  # for precision
    mean = np.where(runs > 0, mean - centre, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        number, clusters = drawn @ runs, drawn @ (runs > 0)
        between = np.maximum(0.0, drawn @ (runs * mean**2) - (drawn @ (runs * mean)) ** 2 / number) / (
            clusters - 1
        )
        within = drawn @ np.nansum((scores - centre - mean[:, None]) ** 2, axis=1) / (number - clusters)
        return between, within, (number - (drawn @ runs**2) / number) / (clusters - 1)


# --------------------------------------------------------------------------------------------- resampling


def resample(size: int, replicates: int, rng: np.random.Generator) -> Array:
    """Bootstrap draws of `size` configurations (or runs): number of times that each was drawn with
    replacement, int64 [R, C].
    """
    return rng.multinomial(size, np.full(size, 1.0 / size), size=replicates)


# --------------------------------------------------------------------------------------------- the best of k


def order_statistic_table(size: int, ks: Sequence[int]) -> Array:
    """P(all k of a random subset of `size` are among the j smallest) = C(j, k) / C(size, k): float64 [size
    + 1, K]; NaN for k > size.
    """
    j, k = np.arange(size + 1.0)[:, None], np.asarray(ks, float)[None]
    log = (
        special.gammaln(j + 1)
        - special.gammaln(np.maximum(j - k, 0) + 1)
        - special.gammaln(size + 1)
        + _gammaln(size - k + 1)
    )
    return np.where(k > size, np.nan, np.where(j >= k, np.exp(log), 0.0))


def best_of_k(selection: Array, scores: Array, ks: Sequence[int], counts: Array | None = None) -> Array:
    """Expected score of the configuration, out of k drawn without replacement, whose selection score is the
    highest.

        sum_i scores_(i) C(i - 1, k - 1) / C(n, k),        i the rank by selection score; averaged over folds

    This is the average over all C(n, k) subsets (a U-statistic, hence unbiased), for all k at once.
    Configurations whose selection scores tie share their weight equally. A configuration without a selection
    score or without a score is left out of that fold.

    Args:
        selection, scores: selection scores and scores in F folds, float64 [F, C].
        ks: numbers of configurations, K of them.
        counts: number of times that each configuration was drawn, int64 [R, C]; once each if None.

    Returns:
        float64 [R, K], or [K] without counts; NaN where fewer than k configurations are known.
    """
    drawn = np.ones((1, scores.shape[1]), np.int64) if counts is None else counts
    replicates, size = len(drawn), int(drawn.sum(axis=1).max(initial=1))
    table = order_statistic_table(size, ks)
    rows = np.arange(replicates)[:, None] * (size + 1)
    total = np.zeros((replicates, len(ks)))
    folds = np.zeros((replicates, len(ks)))
    # the order in which seeds are summed must not break ties
    for by, of in zip(np.round(selection, 12), scores, strict=True):
        known = np.flatnonzero(~np.isnan(by) & ~np.isnan(of))
        if not len(known):
            continue
        order = known[np.argsort(by[known], kind="stable")]
        starts = np.flatnonzero(np.r_[True, np.diff(by[order]) != 0])
        times, values = drawn[:, order], of[order]
        if len(starts) < len(order):  # ties: the mean of the group, as often as it was drawn
            grouped = np.add.reduceat(times, starts, axis=1)
            values = np.add.reduceat(times * values, starts, axis=1) / np.maximum(grouped, 1)
            times = grouped
        else:
            values = np.broadcast_to(values, times.shape)
        # summed by parts, sum_g (T[n_g] - T[n_(g-1)]) v_g = T[n_G] v_G - sum_g T[n_g] (v_(g+1) - v_g): one
        # histogram per replicate
        place = np.cumsum(times, axis=1)
        steps = np.bincount(
            (rows + place[:, :-1]).ravel(), np.diff(values, axis=1).ravel(), minlength=replicates * (size + 1)
        )
        subsets = table[place[:, -1]]
        with np.errstate(invalid="ignore", divide="ignore"):
            found = values[:, -1:] - steps.reshape(replicates, size + 1) @ table / subsets
        usable = subsets > 0
        total += np.where(usable, found, 0.0)
        folds += usable
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / folds
    return np.asarray(mean if counts is not None else mean[0])


def cross_fitted_best_of_k(scores: Array, ks: Sequence[int], counts: Array | None = None) -> Array:
    """Expected score of a new run of the best of k configurations, chosen by the mean of all seeds but one
    and scored on that one.

    An unbiased estimate of tuning with S - 1 runs of each configuration: for equal configurations it is their
    mean, while `naive_best_of_k` overestimates it by about 2.0 standard errors for k = 30. k = 1 selects
    nothing, so that one seed is enough.

    Args and returns as `best_of_k`, with scores [C, S].
    """
    runs = (~np.isnan(scores)).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        others = (np.nansum(scores, axis=1, keepdims=True) - scores) / (runs - 1)
    alone = [k == 1 for k in ks]
    found = best_of_k(np.where(runs > 1, others, np.nan).T, scores.T, ks, counts)
    if any(alone):
        mean = best_of_k(np.zeros((1, len(scores))), known_mean(scores, 1)[None], [1], counts)
        found[..., alone] = mean
    return found


def naive_best_of_k(scores: Array, ks: Sequence[int], counts: Array | None = None) -> Array:
    """Expected highest mean over seeds of k configurations: an overestimate of the winner's score (the
    winner's curse).

    Args and returns as `best_of_k`, with scores [C, S].
    """
    mean = known_mean(scores, 1)[None]
    return best_of_k(mean, mean, ks, counts)


def best_of_k_runs(scores: Array, ks: Sequence[int], counts: Array | None = None) -> Array:
    """Expected score of the best design that k runs with different configurations find: maximum over k runs,
    averaged over seeds.

    It has no winner's curse, since the best design found is known and can be built. k runs of B samples spend
    k B samples in total. For runs of a single configuration, such as random search, give each run its own
    row, [N, 1]: k runs of B samples are then one random search of k B samples.

    Args and returns as `best_of_k`, with scores [C, S].
    """
    return best_of_k(scores.T, scores.T, ks, counts)


# --------------------------------------------------------------------------------------------- samples to a
# target


def reached_within(samples_to: Array, samples: Array) -> Array:
    """Share of runs that reached the target within each number of samples.

    Args:
        samples_to: samples of each run to the target, float64 [C, S]; inf if it was not reached, NaN for a
            missing run.
        samples: numbers of samples, [X].

    Returns:
        float64 [X]. It is the distribution function as long as no run ended before `samples`.
    """
    known = np.sort(samples_to[~np.isnan(samples_to)])
    if not len(known):
        return np.full(len(samples), np.nan)
    return np.asarray(np.searchsorted(known, samples, side="right") / len(known))


def expected_running_time(samples_to: Array, spent: Array, counts: Array | None = None) -> Array:
    """Expected samples to the target with restarts: samples spent until success or the end of each run, per
    success.

    ERT = sum over runs of min(samples to the target, samples spent) / number of successes (Hansen et al.,
    COCO, 2021, section 4).

    Args:
        samples_to: samples of each run to the target, float64 [C, S]; inf if it was not reached, NaN for a
            missing run.
        spent: samples of each run, float64 [C, S].
        counts: number of times that each configuration was drawn, int64 [R, C]; once each if None.

    Returns:
        float64 [R], or a scalar array without counts; inf if no run succeeds, NaN if there are no runs.
    """
    drawn = np.ones((1, len(samples_to)), np.int64) if counts is None else counts
    cost = np.nansum(np.where(np.isnan(samples_to), np.nan, np.minimum(samples_to, spent)), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (drawn @ cost) / (drawn @ np.isfinite(samples_to).sum(axis=1))
    return np.asarray(found if counts is not None else found[0])


def expected_running_time_interval(
    samples_to: Array, spent: Array, counts: Array, level: float = LEVEL
) -> tuple[float, float, float]:
    """`expected_running_time` with an interval over configurations.

    Returns:
        (time, low, high). The interval is the wider of the percentile bootstrap and the mean cost of a run
        over the interval of the share of successes (`share_of_runs`), which is wider for few successes. If no
        run succeeds, time and high are inf and low is finite.
    """
    time = float(expected_running_time(samples_to, spent))
    if np.isnan(time):
        return time, np.nan, np.nan
    known = ~np.isnan(samples_to)
    _, least, most = share_of_runs(np.where(known, np.isfinite(samples_to), np.nan), level)
    cost = float(np.minimum(samples_to, spent)[known].mean())
    low, high = cost / most, cost / least if least > 0 else np.inf
    if np.isfinite(time):
        replicates = expected_running_time(samples_to, spent, counts)
        levels = [(1 - level) / 2, (1 + level) / 2]
        # inf cannot be interpolated
        first, last = np.quantile(replicates[~np.isnan(replicates)], levels, method="nearest")
        low, high = min(low, float(first)), max(high, float(last))
    return time, low, high


# --------------------------------------------------------------------------------------------- estimates and
# verdicts


def mean_of_runs(scores: Array, least: tuple[float, float] = (0.0, np.inf)) -> Estimate:
    """The mean of independent runs [N]; the error of a single run is NaN.

    Args:
        least: lower bound of a run's variance, and its degrees of freedom, for comparisons of few runs with
            many. Few runs may miss rare values; Welch's t is then wrong in up to 30 % of comparisons of 5
            with 400 equal runs, but in less than 5 % of 5 with 5.
    """
    known = scores[~np.isnan(scores)]
    n = len(known)
    if n == 0:
        return Estimate(np.asarray(np.nan), np.asarray(np.nan), np.asarray(np.nan))
    variance, freedom = (float(np.var(known, ddof=1)), n - 1.0) if n > 1 else (np.nan, 0.0)
    if least[0] > variance:
        variance, freedom = least
    return Estimate(
        np.asarray(known.mean()), _without_rounding(np.sqrt(variance / n), known.mean()), np.asarray(freedom)
    )


def mean_of_configurations(scores: Array) -> Estimate:
    """The mean of configurations' means: scores [C, S]. Their variance includes that of e_cs, / S; that of
    nu_s is added.
    """
    return _with_shared_seeds(mean_of_runs(known_mean(scores, 1)), scores)


def shared_seed_variance(scores: Array) -> float:
    """Variance of a mean over configurations due to the luck of a seed that all configurations share: scores
    [C, S].

    With two-way mean squares, Var(nu) = max(0, (MS_seeds - MS_residual) / C), divided by S. It is 0 where C
    or S is 1, or where the configurations have different seeds, whose luck is then part of the residual.
    Seeds that half of the configurations lack are left out.
    """
    scores = scores[:, (~np.isnan(scores)).mean(axis=0) > 0.5]
    c, s = scores.shape
    if c < 2 or s < 2:
        return 0.0
    grand, of_seeds, of_configurations = known_mean(scores), known_mean(scores, 0), known_mean(scores, 1)
    residual = scores - of_configurations[:, None] - of_seeds + grand
    between = c * ((of_seeds - grand) ** 2).sum() / (s - 1)
    within = np.nansum(residual**2) / ((c - 1) * (s - 1))
    return float(max(0.0, between - within) / c / s)


def _with_shared_seeds(estimate: Estimate, scores: Array) -> Estimate:
    """Add the shared luck of the seeds to the error of an estimate over configurations."""
    shared = shared_seed_variance(scores)
    if shared == 0:
        return estimate
    parts = np.stack(np.broadcast_arrays(estimate.error**2, shared))
    freedom = np.stack(np.broadcast_arrays(estimate.freedom, scores.shape[1] - 1.0))
    return Estimate(estimate.value, np.sqrt(parts.sum(axis=0)), _satterthwaite(parts, freedom))


def resampled_best_of_k(
    scores: Array, ks: Sequence[int], counts: Array, statistic: Callable[..., Array] = cross_fitted_best_of_k
) -> tuple[Estimate, Array]:
    """A best of k with its error, from the bootstrap over configurations and the shared luck of the seeds.

    The t interval has min(C, 1.5 C / k) - 1 degrees of freedom, since only about C / k of the configurations
    are ever the best of k. The module's table has its coverage. For k > C / 2 the error is NaN.

    Args:
        scores: float64 [C, S].
        ks: numbers of configurations, K of them.
        counts: bootstrap draws from `resample`, int64 [R, C].
        statistic: `cross_fitted_best_of_k` or `best_of_k_runs`.

    Returns:
        The estimate, [K], and its replicates over configurations, float64 [R, K]. They are centred on it,
        since draws with replacement have duplicates, which lower the best of k.
    """
    size = int((~np.isnan(scores)).any(axis=1).sum())
    value = statistic(scores, ks)
    replicates = statistic(scores, ks, counts)
    replicates = replicates - known_mean(replicates, 0) + value
    k = np.asarray(ks, float)
    error = np.sqrt(known_mean((replicates - value) ** 2, 0) * size / max(size - 1, 1))
    error = np.where((k > size / 2) | (size < 2), np.nan, error)
    of_configurations = Estimate(value, _without_rounding(error, value), np.minimum(size, 1.5 * size / k) - 1)
    return _with_shared_seeds(of_configurations, scores), replicates


def sum_of(parts: Estimate, weight: float = 1.0) -> Estimate:
    """The weighted sum of independent estimates [N], a scalar; weight 1 / N makes it their mean."""
    variances = (weight * parts.error) ** 2
    return Estimate(
        np.asarray(weight * parts.value.sum()),
        np.sqrt(variances.sum()),
        _satterthwaite(variances, parts.freedom),
    )


def change_of_spread(
    before: Estimate, after: Estimate, replicates_before: Array, replicates_after: Array
) -> tuple[Array, Estimate]:
    """The change of the variance between agents from an earlier to a later checkpoint.

    The mean squared error of the estimates is subtracted from their variance, so that a drop in measurement
    noise is not mistaken for convergence. The error of the change is that of the replicates' variances.

    Args:
        before, after: estimates of A agents, [A].
        replicates_before, replicates_after: replicates of the estimates from the same draws, float64 [R, A].

    Returns:
        The two standard deviations between agents, float64 [2], 0 where they do not exceed the errors, and
        the change of their squares.
    """
    moments = ((before, replicates_before), (after, replicates_after))
    variances = [float(np.var(e.value, ddof=1) - np.mean(e.error**2)) for e, _ in moments]
    drawn = [np.var(replicates, axis=1, ddof=1) for _, replicates in moments]
    freedom = min(float(np.min(e.freedom)) for e, _ in moments)
    change = Estimate(
        np.asarray(variances[1] - variances[0]),
        np.asarray(np.std(drawn[1] - drawn[0], ddof=1)),
        np.asarray(freedom),
    )
    return np.sqrt(np.maximum(variances, 0.0)), change


class Comparison(NamedTuple):
    """A difference a - b, its interval, the p value of "equal", and that of "at least a margin apart";
    floats or arrays.
    """

    difference: Array
    low: Array
    high: Array
    p: Array
    p_equivalence: Array


def compare(a: Estimate, b: Estimate, *, margin: float, alpha: float = 0.05) -> Comparison:
    """Welch's t tests of a difference and of equivalence.

    difference / error has Student's t distribution with Satterthwaite's degrees of freedom; p < alpha exactly
    where the 1 - alpha interval excludes 0, and p_equivalence, the larger p of two one-sided tests, is <
    alpha exactly where the 1 - 2 alpha interval is within +-margin (Schuirmann 1987). A known value may be
    given with error 0.

    If neither side has any spread, equal values are equivalent (p 1, p_equivalence 0); unequal values have no
    interval, and their p is 2^(1 - runs), the largest chance of this split of two groups drawn from the same
    two values. An unknown error gives NaN.

    Args:
        a, b: estimates, scalars or arrays that broadcast.
        margin: largest difference that is negligible, in the units of the values.
        alpha: significance level of the interval.
    """
    difference = _without_rounding(a.value - b.value, a.value)
    parts = np.stack(np.broadcast_arrays(np.square(a.error), np.square(b.error))).astype(float)
    degrees = np.stack(np.broadcast_arrays(a.freedom, b.freedom)).astype(float)
    error = np.sqrt(parts.sum(axis=0))
    freedom = _satterthwaite(parts, degrees)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(difference) / error, freedom)
        p_equivalence = stats.t.sf((margin - np.abs(difference)) / error, freedom)
        half = stats.t.ppf(1 - alpha / 2, freedom) * error
    exact, same = error == 0, difference == 0
    half = np.where(exact, np.where(same, 0.0, np.nan), half)
    p = np.where(exact, np.where(same, 1.0, np.exp2(-1.0 - degrees.sum(axis=0))), p)
    p_equivalence = np.where(exact, np.where(same, 0.0, 1.0), p_equivalence)
    return Comparison(difference, difference - half, difference + half, p, p_equivalence)


def holm(p: Array) -> Array:
    """p values after Holm's correction over a family [N] (Holm 1979); NaN (no test) stays NaN and does not
    count.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else []
    return adjusted


class PairVerdict(StrEnum):
    """Whether two agents differ."""

    DIFFERENT = "different"
    EQUIVALENT = "equivalent"
    UNRESOLVED = "not resolved"


def verdict(p_holm: float, p_equivalence: float, alpha: float = 0.05) -> PairVerdict:
    """Equivalent if closer than the margin, even where a difference is certain; else different if so after
    Holm; else not resolved.
    """
    if p_equivalence <= alpha:
        return PairVerdict.EQUIVALENT
    return PairVerdict.DIFFERENT if p_holm <= alpha else PairVerdict.UNRESOLVED


def saturated(typical: Mapping[str, float], *, tolerance: float, random: str = "random") -> bool:
    """Whether agents are at the ceiling, where differences between them cannot be seen and no conclusion is
    drawn.

    They are if the typical score of at least half of the agents, or that of random search, is within the
    tolerance of the optimum.

    Args:
        typical: median run (or tuned score) of each agent, relative to the optimum: <= 0, NaN if it is not
            known.
        tolerance: distance from the optimum in the units of the scores, such as ln 1.01.
        random: name of random search.
    """
    top = {agent: score >= -tolerance for agent, score in typical.items() if not np.isnan(score)}
    return bool(top) and (top.get(random, False) or 2 * sum(top.values()) >= len(top))


# ---------------------------------------------------------------------------------------------
# hyperparameters


class Importance(NamedTuple):
    """The importance of one hyperparameter.

    Attributes:
        name: name of the hyperparameter.
        importance: share of the variance between configurations' means that it explains alone, corrected for
            chance; 0 if it is not significant.
        low: excess over the largest share of any hyperparameter in 95 % of permutations of the scores.
        p: share of permutations in which some hyperparameter explains at least this share.
        direction: Spearman's correlation of value and score for ordered values; None for unordered ones and
            for importance 0.
    """

    name: str
    importance: float
    low: float
    p: float
    direction: float | None


def importance(
    configurations: Sequence[Mapping[str, Any]],
    scores: Array,
    *,
    replicates: int = 1000,
    alpha: float = 0.05,
    rng: np.random.Generator,
) -> list[Importance]:
    """Main effects of hyperparameters: functional analysis of variance (Hutter et al. 2014) on the scores
    themselves, without a model.

    Configurations are drawn independently, so that a mean over the other hyperparameters is a mean over
    configurations. Ordered values (numbers, booleans) enter as a parabola over their ranks, which detects
    optima inside the range; others by the mean of each value. The explained share is corrected for its
    degrees of freedom, epsilon^2 = 1 - (1 - R^2) (n - 1) / (n - 1 - d), and compared with the largest share
    of any hyperparameter in permutations of the scores (Westfall and Young 1993), so that noise is not
    reported as importance.

    Args:
        configurations: hyperparameters of C configurations.
        scores: means of the configurations, float64 [C]; NaN leaves a configuration out.
        replicates: number of permutations.
        alpha: significance level.
        rng: generator of the permutations.

    Returns:
        One entry per hyperparameter that varies, in the order of declaration; empty with fewer than 8
        configurations, or equal scores.
    """
    known = np.flatnonzero(~np.isnan(scores))
    values = scores[known] - scores[known].mean() if len(known) else scores[known]
    names = list(dict.fromkeys(name for c in configurations for name in c))
    if len(known) < 8 or np.ptp(values) == 0:
        return []
    bases = {name: _basis([configurations[int(c)].get(name, _INACTIVE) for c in known]) for name in names}
    bases = {name: basis for name, basis in bases.items() if 0 < basis[0].shape[1] < len(known) - 2}
    if not bases:
        return []
    shuffled = rng.permuted(np.tile(values, (replicates, 1)), axis=1)
    square = float(values @ values)

    def explained(of: Array) -> Array:  # [..., C] -> [..., H]
        shares = [
            1 - (1 - ((of @ q) ** 2).sum(-1) / square) * (len(known) - 1) / (len(known) - 1 - q.shape[1])
            for q, _ in bases.values()
        ]
        return np.stack(shares, axis=-1)

    observed, chance = explained(values), explained(shuffled).max(axis=-1)
    limit = float(np.quantile(chance, 1 - alpha))
    found = []
    for (name, (_, ranks)), share in zip(bases.items(), observed, strict=True):
        p = (1 + int((chance >= share - 1e-12).sum())) / (1 + replicates)
        sure = p <= alpha
        direction = (
            float(np.corrcoef(ranks, stats.rankdata(values))[0, 1]) if sure and ranks is not None else None
        )
        found.append(
            Importance(
                name,
                float(share) if sure else 0.0,
                max(0.0, float(share) - limit) if sure else 0.0,
                p,
                direction,
            )
        )
    return found


_INACTIVE = object()  # for the value of a hyperparameter that a configuration has not


def _basis(values: list[Any]) -> tuple[Array, Array | None]:
    """Orthonormal contrasts of a hyperparameter, float64 [C, D] (D = 0 for a constant), and the ranks [C]
    of ordered values; configurations without it have contrasts 0, and then there are no ranks.
    """
    active = np.array([value is not _INACTIVE for value in values], bool)
    if not active.all():
        own, _ = _basis([value for value in values if value is not _INACTIVE])
        columns = np.zeros((len(values), own.shape[1]))
        columns[active] = own
        return columns, None
    ordered = all(isinstance(v, (int, float, np.number, np.bool_)) for v in values)
    ranks: Array | None = None
    if ordered:
        ranks = stats.rankdata([float(v) for v in values])
        centred = (ranks - ranks.mean()) / len(ranks)
        columns = np.stack([centred, centred**2], axis=1)
    else:
        columns = np.equal.outer([repr(v) for v in values], sorted({repr(v) for v in values})).astype(float)
    left, strength, _ = np.linalg.svd(columns - columns.mean(axis=0), full_matrices=False)
    return left[:, strength > 1e-9 * np.sqrt(len(values))], ranks


# --------------------------------------------------------------------------------------------- helpers


def _satterthwaite(variances: Array, freedom: Array) -> Array:
    """Degrees of freedom of a sum of variances: variances and freedom [N, ...] -> [...]; zero variances do
    not count.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            variances.sum(axis=0) ** 2 / np.where(variances > 0, variances**2 / freedom, 0.0).sum(axis=0)
        )


def _without_rounding(difference: Array | float, value: Array) -> Array:
    """A difference or an error, or 0 where it is within rounding of the value, so that equal runs have no
    spread.
    """
    return np.where(np.abs(difference) <= 1e-12 * (1 + np.abs(value)), 0.0, difference)


def _gammaln(x: Array) -> Array:
    return np.where(x > 0, special.gammaln(np.maximum(x, 1.0)), 0.0)
