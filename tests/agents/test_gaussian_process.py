"""Gaussian processes over mixed spaces: the equations literally, scikit-learn's posterior, improvements by
quadrature.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal, norm

from archgym.agents._gaussian_process import (
    GaussianProcess,
    log_expected_improvement,
    log_expected_improvement_of_least,
    log_probability_below,
)
from archgym.space import Categorical, DesignSpace, Integer, Ordinal

MIXED = DesignSpace(
    [
        Integer("x", 0, 8),
        Categorical("isa", ["a", "b", "c", "d"]),
        Categorical("only", ["one"]),
        Ordinal("binary", [2, 4]),  # its order says no more than its classes
        Integer("single", 7, 7),
        Integer("long", 0, 999),
        Categorical("names", list(range(100))),
    ]
)
NAMES = ["x near", "binary near", "long near", "x", "isa", "names"]  # parameters of more than one value
SQRT5 = 5**0.5


def process_of(space, n, seed, *, iterations=0, theta=None):
    """A process of random designs and targets, and both."""
    rng = np.random.default_rng(seed)
    x = space.sample(n, rng)
    y = 40 + 3 * np.sin(x @ rng.random(len(space))) + rng.standard_normal(n)
    process = GaussianProcess(space)
    if theta is not None:
        process.theta = theta(process, rng)
    process.fit(x, y, iterations=iterations)
    return process, x, y


def scattered(process, rng):
    return process.mean_theta + 0.7 * rng.standard_normal(len(process.theta))


def d(a, b):
    """Every d_q of the module's equations between two designs of `MIXED`, by hand."""
    return [
        ((a[0] - b[0]) / 8) ** 2,
        float((a[3] - b[3]) ** 2),
        ((a[5] - b[5]) / 999) ** 2,
        float(a[0] != b[0]),
        float(a[1] != b[1]),
        float(a[6] % 64 != b[6] % 64),
    ]


def matern(r2):
    r = np.sqrt(r2)
    return (1 + SQRT5 * r + 5 / 3 * r2) * np.exp(-SQRT5 * r)


# --- distances ---


@pytest.mark.parametrize("seed", range(2))
def test_distances_are_the_docstrings_one_pair_at_a_time(seed):
    process, x, _ = process_of(MIXED, 12, seed, theta=scattered)
    x[3, 6], x[4, 6] = 5, 69  # one class modulo 64
    expected = np.array([[d(a, b) for b in x] for a in x])
    assert process._distances(x).reshape(len(NAMES), 12, 12) == pytest.approx(np.moveaxis(expected, 2, 0))
    weights = np.exp(process.theta[:-1])
    assert process.squared_distances(x[:5], x) == pytest.approx(expected[:5] @ weights, abs=1e-12)


def test_only_parameters_of_several_values_have_a_weight():
    assert len(GaussianProcess(MIXED).theta) == len(NAMES) + 1
    single = GaussianProcess(DesignSpace([Integer("a", 1, 1), Categorical("b", ["x"])]))
    assert len(single.theta) == 1


@pytest.mark.parametrize("space", [DesignSpace([]), DesignSpace([Integer("a", 1, 1)])], ids=["none", "one"])
def test_a_space_of_one_design_has_a_posterior(space):
    process = GaussianProcess(space)
    x = np.zeros((8, len(space)), np.int64)
    process.fit(x, np.arange(8.0), iterations=20)
    mean, sd = process.predict(x[:2])
    assert mean == pytest.approx([3.5, 3.5], rel=0.01) and (sd > 0).all()


def test_indices_of_the_longest_grids_keep_their_distance():
    space = DesignSpace([Integer("a", 0, 10**17)])
    process = GaussianProcess(space)
    x = np.array([[0], [10**17], [5 * 10**16]])
    expected = np.exp(process.theta[0]) * np.array([0, 1, 0.25])
    assert process.squared_distances(x[:1], x)[0] == pytest.approx(expected)


# --- the posterior density of the hyperparameters ---


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_that_of_finite_differences(seed):
    process, x, _ = process_of(MIXED, 15, seed, theta=scattered)
    arguments = process._distances(x), process.z
    _, gradient = process.negative_log_posterior(process.theta, *arguments)
    value = lambda theta: process.negative_log_posterior(theta, *arguments)[0]  # noqa: E731
    numeric = approx_fprime(process.theta, value, 1e-6)
    assert len(gradient) == len(NAMES) + 1
    assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("seed", range(2))
def test_the_minimised_function_is_minus_the_log_density_up_to_a_constant(seed):
    process, x, _ = process_of(MIXED, 15, seed)
    squared, z, n = process._distances(x), process.z, len(x)
    rest = []
    for theta in (process.theta, scattered(process, np.random.default_rng(seed)), process.theta + 1):
        k = matern((np.exp(theta[:-1]) @ squared).reshape(n, n)) + (np.exp(theta[-1]) + 1e-6) * np.eye(n)
        scale = z @ np.linalg.solve(k, z) / n
        log_density = multivariate_normal(np.zeros(n), scale * k).logpdf(z)
        log_density += norm(process.mean_theta, process.sd_theta).logpdf(theta).sum()
        rest.append(process.negative_log_posterior(theta, squared, z)[0] + log_density)
        likelihoods = [multivariate_normal(np.zeros(n), scale * f * k).logpdf(z) for f in (0.9, 1, 1.1)]
        assert np.argmax(likelihoods) == 1, "the scale is the maximum of the likelihood"
    assert rest == pytest.approx([rest[0]] * 3)


def test_priors_are_those_of_the_docstring():
    process = GaussianProcess(MIXED)
    log_w = -2 * (np.sqrt(2) + np.log(5) / 2 - 1)  # five parameters have several values
    assert process.mean_theta[:3] == pytest.approx(log_w)
    assert process.mean_theta[-1] == pytest.approx(np.log(1e-3))
    assert process.sd_theta == pytest.approx([2.3] * 6 + [2.0])


def test_fitting_lowers_the_function_and_finds_what_matters():
    space = DesignSpace([Integer(f"p{i}", 0, 7) for i in range(4)])
    x = space.sample(60, np.random.default_rng(0))
    process = GaussianProcess(space)
    process.fit(x, np.sin(x[:, 1] * 0.8), iterations=0)
    assert np.array_equal(process.theta, process.mean_theta), "no step keeps the hyperparameters"
    arguments = process._distances(x), process.z
    before = process.negative_log_posterior(process.theta, *arguments)[0]
    process.fit(x, np.sin(x[:, 1] * 0.8), iterations=30)
    assert process.negative_log_posterior(process.theta, *arguments)[0] < before - 10
    assert process.theta[:4].argmax() == 1
    everything = next(space.enumerate())
    mean, _ = process.predict(everything)
    assert np.abs(mean - np.sin(everything[:, 1] * 0.8)).max() < 0.05


# --- the posterior ---


@pytest.mark.parametrize("iterations", [0, 15])
@pytest.mark.parametrize("space", [MIXED, DesignSpace(MIXED.parameters[1:3])], ids=["mixed", "categorical"])
def test_mean_and_standard_deviation_are_scikit_learns(space, iterations):
    reason = "the reference implementation is not installed"
    gaussian = pytest.importorskip("sklearn.gaussian_process", reason=reason)
    kernels = gaussian.kernels
    process, x, y = process_of(space, 20, 7, iterations=iterations)
    weights = np.exp(process.theta[:-1])

    def embedded(designs):
        """Points at the Euclidean distance r: sqrt(w / 2) at the place of a class."""
        position, columns = iter(np.sqrt(weights)), []
        for p, parameter in enumerate(space):
            if parameter.ordered and len(parameter) > 1:
                columns.append(designs[:, [p]] / (len(parameter) - 1) * next(position))
        for p, parameter in enumerate(space):
            n = len(parameter)
            if n > 1 and (not parameter.ordered or 2 < n <= 64):
                columns.append(np.eye(64)[designs[:, p] % 64] * next(position) / np.sqrt(2))
        return np.hstack(columns)

    kernel = kernels.ConstantKernel(process.scale) * kernels.Matern(nu=2.5, length_scale=1.0)
    reference = gaussian.GaussianProcessRegressor(
        kernel, alpha=process.scale * (np.exp(process.theta[-1]) + 1e-6), optimizer=None
    )
    reference.fit(embedded(x), (y - y.mean()) / y.std())
    new = np.concatenate([space.sample(30, np.random.default_rng(1)), x[:5]])
    mean, sd = reference.predict(embedded(new), return_std=True)
    ours = process.predict(new)
    assert ours[0] == pytest.approx(y.mean() + y.std() * mean, rel=1e-7)
    assert ours[1] == pytest.approx(y.std() * sd, rel=1e-5)


def test_targets_have_any_unit():
    x = MIXED.sample(20, np.random.default_rng(0))
    y = np.random.default_rng(1).standard_normal(20)
    one, other = GaussianProcess(MIXED), GaussianProcess(MIXED)
    one.fit(x, y, iterations=5)
    other.fit(x, 1e-9 * y - 4e-9, iterations=5)
    for ours, theirs, shift in zip(one.predict(x), other.predict(x), (4e-9, 0), strict=True):
        assert theirs + shift == pytest.approx(1e-9 * ours, rel=1e-4, abs=1e-13)


@pytest.mark.parametrize("seed", range(2))
def test_a_believed_design_is_one_more_target_at_its_mean(seed):
    process, x, y = process_of(MIXED, 15, seed, iterations=5)
    new = MIXED.sample(40, np.random.default_rng(9))
    before = process.predict(new)
    for design in new[:3]:
        process.believe(design)
    after = process.predict(new)
    assert after[0] == pytest.approx(before[0], rel=1e-9), "the mean stays everywhere"
    assert (after[1] <= before[1] * (1 + 1e-9)).all() and (after[1][:3] < 0.2 * before[1][:3]).all()

    x, y = np.concatenate([x, new[:3]]), np.concatenate([y, before[0][:3]])
    k = matern(process.squared_distances(x, x)) + process.noise * np.eye(len(x))
    between = matern(process.squared_distances(new, x))
    mean = process.shift + between @ np.linalg.solve(k, y - process.shift)
    variance = process.scale * (1 - np.einsum("cn,nc->c", between, np.linalg.solve(k, between.T)))
    assert after[0] == pytest.approx(mean, rel=1e-6)
    assert after[1] == pytest.approx(process.unit * np.sqrt(variance), rel=1e-4)


def test_the_same_design_many_times_does_not_break_a_factorisation():
    process = GaussianProcess(MIXED)
    x = np.repeat(MIXED.sample(2, np.random.default_rng(0)), 30, axis=0)
    process.theta[-1] = np.log(1e-6)
    process.theta[:-1] = -12.0
    process.fit(x, np.arange(60.0), iterations=20)
    for _ in range(5):
        process.believe(x[0])
    mean, sd = process.predict(x)
    assert np.isfinite(mean).all() and (sd > 0).all()


def test_a_matrix_that_rounding_makes_indefinite_gets_more_noise(monkeypatch):
    calls = []

    def failing_twice(matrix):
        calls.append(matrix[0, 0])
        return None if len(calls) < 3 else np.linalg.cholesky(matrix)

    monkeypatch.setattr("archgym.agents._gaussian_process._cholesky", failing_twice)
    process, *_ = process_of(MIXED, 5, 0)
    assert len(calls) == 3 and calls[0] < calls[1] < calls[2] == pytest.approx(1 + process.noise)


@pytest.mark.parametrize("targets", [[3.0] * 6, [0.1] * 6, [0.0] * 6, [2.5]], ids=str)
def test_constant_targets_and_a_single_one_are_predicted(targets):
    process = GaussianProcess(MIXED)
    x = MIXED.sample(len(targets), np.random.default_rng(0))
    process.fit(x, np.array(targets), iterations=10)
    mean, sd = process.predict(MIXED.sample(20, np.random.default_rng(1)))
    assert mean == pytest.approx(targets[0]) and (sd > 0).all() and np.isfinite(sd).all()


# --- improvements ---


def log_h(u):
    """log of the integral of t phi(t - u) over t > 0, which is E max(0, N(u, 1))."""
    peak = max(u, 0.0)
    area, _ = quad(
        lambda t: t * np.exp(u * t - t * t / 2 - peak**2 / 2), 0, peak + 40 / max(1, -u), epsabs=0, limit=200
    )
    return np.log(area) + (peak**2 - u**2) / 2 - np.log(2 * np.pi) / 2


def test_log_expected_improvement_is_the_integral():
    u = np.concatenate([np.linspace(-30, 10, 161), [-1.0, np.nextafter(-1, 0), np.nextafter(-1, -2)]])
    expected = [log_h(each) for each in u]
    assert log_expected_improvement(u, np.ones(len(u)), 0.0) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_log_expected_improvement_has_any_mean_and_unit():
    u, sd = np.array([-3.0, 0.5, -700.0]), np.array([0.01, 5.0, 1e-6])
    expected = np.log(sd) + log_expected_improvement(u, np.ones(3), 0.0)
    assert log_expected_improvement(7 + sd * u, sd, 7.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("u", [-50.0, -999.0, -1000.0, -1001.0, -1e4, -1e8])
def test_log_expected_improvement_has_its_asymptotic_series(u):
    v = 1 / u**2
    series = 1 - 3 * v + 15 * v**2 - 105 * v**3 + 945 * v**4 - 10395 * v**5
    expected = -(u**2) / 2 - np.log(2 * np.pi) / 2 - 2 * np.log(-u) + np.log(series)
    found = log_expected_improvement(np.array([u]), np.ones(1), 0.0)
    assert found == pytest.approx([expected], rel=1e-14, abs=1e-8)


def test_log_expected_improvement_rises_everywhere_and_is_never_nan():
    u = np.sort(np.concatenate([np.linspace(-1100, 40, 11401), -np.geomspace(1101, 1e9, 500)]))
    found = log_expected_improvement(u, np.ones(len(u)), 0.0)
    assert np.isfinite(found).all() and (np.diff(found) > 0).all()


def log_least(means, sds, best):
    """log of the integral of prod_i P(f_i > t) over t > best, adaptively."""
    ends = [(mean + 9 * sd) for mean, sd in zip(means, sds, strict=True)]
    points = [mean for mean in means if best < mean < min(ends)]
    area, _ = quad(
        lambda t: np.prod(norm.sf(t, means, sds)),
        best,
        max(min(ends), best + 9 * min(sds)),
        points=points or None,
        epsabs=0,
        epsrel=1e-10,
        limit=300,
    )
    return np.log(area)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_improvement_of_the_least_is_the_integral(m):
    rng = np.random.default_rng(m)
    means, sds = rng.uniform(-4, 3, (m, 25)), rng.uniform(0.5, 2, (m, 25))
    found = log_expected_improvement_of_least(means, sds, 0.3)
    expected = [log_least(mean, sd, 0.3) for mean, sd in zip(means.T, sds.T, strict=True)]
    assert found == pytest.approx(expected, abs=2e-3)


def test_the_improvement_of_the_least_is_the_mean_over_samples():
    rng = np.random.default_rng(0)
    means, sds = np.array([[0.2], [0.5], [-0.1]]), np.array([[1.0], [0.6], [1.4]])
    samples = means + sds * rng.standard_normal((3, 400_000))
    expected = np.maximum(samples.min(axis=0) + 0.2, 0).mean()
    assert np.exp(log_expected_improvement_of_least(means, sds, -0.2)) == pytest.approx([expected], rel=0.02)


def test_the_improvement_of_the_least_of_one_is_the_expected_improvement():
    u = np.linspace(-8, 10, 73)
    found = log_expected_improvement_of_least(u[None], np.ones((1, len(u))), 0.0)
    assert found == pytest.approx(log_expected_improvement(u, np.ones(len(u)), 0.0), abs=1e-3)
    far = np.linspace(-400, -8, 50)
    found = log_expected_improvement_of_least(far[None], np.ones((1, 50)), 0.0)
    assert found == pytest.approx(log_expected_improvement(far, np.ones(50), 0.0), rel=0.01)
    assert (np.diff(found) > 0).all()


def test_the_probability_below_a_limit_is_that_of_the_normal():
    mean, sd = np.array([0.0, 3.0, 100.0]), np.array([1.0, 0.5, 1.0])
    assert log_probability_below(mean, sd, 2.0) == pytest.approx(norm(mean, sd).logcdf(2.0))
