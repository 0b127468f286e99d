"""Gaussian processes over finite mixed spaces (Rasmussen & Williams, 2006), in NumPy and SciPy.

    k(x, x') = s^2 (1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r)                       Matern-5/2
    r^2      = sum_q w_q d_q(x, x')
    d_q      = 1{x_p != x'_p}                  each categorical parameter
               ((x_p - x'_p) / (n_p - 1))^2    each ordered one, and 1{x_p != x'_p} beside it; where a
                                               parameter is inactive it has a value of its own in the latter

    posterior at x, with K = k(X, X) + s^2 noise I = s^2 L L^T:
        mean     = k(x, X) K^-1 y
        variance = k(x, x) - k(x, X) K^-1 k(X, x)

The scale s^2 = y^T (K / s^2)^-1 y / n is the maximum of the likelihood in closed form; log w and log noise
maximise the posterior density under independent normal priors, of which the one of log w falls with the
number of parameters P as the lengthscales' in Hvarfner, Hellsten & Nardi (2024):

    log w ~ N(-2 (sqrt(2) + log(P) / 2 - 1), 2.3^2)        log noise ~ N(log 10^-3, 2^2)
    d(-log density) / d theta = - tr((a a^T / s^2 - (K / s^2)^-1) d(K / s^2) / d theta) / 2 + prior,
                                                           a = (K / s^2)^-1 y

The improvement over `best` is max(0, f - best); its expectation in the stable form of Ament et al. (2023):

    log EI(mean, sd) = log sd + log h(u),     u = (mean - best) / sd,     h(u) = phi(u) + u Phi(u)
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack, solve_triangular
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr, logsumexp, ndtr

from archgym.space import Array, DesignSpace, Indices

SQRT5 = np.sqrt(5.0)
MAX_CLASSES = 64  # of a Hamming distance; values equal modulo 64 are then one class
LOG_NOISE, LOG_NOISE_SD = np.log(1e-3), 2.0
LOG_WEIGHT_SD = 2.3
HAMMING_OFFSET = -1.5  # of an ordered parameter's Hamming part: order explains more
BOUNDS_WEIGHT, BOUNDS_NOISE = (-12.0, 6.0), (np.log(1e-6), np.log(0.3))
JITTER = 1e-6
NODES = 24  # of the quadrature


class GaussianProcess:
    """A Gaussian process over the designs of a space; targets have any unit.

    Args:
        space: the design space.

    Attributes:
        theta: log w of each distance and log noise, [Q + 1]; kept from one fit to the next.
    """

    def __init__(self, space: DesignSpace):
        ordered = np.array([p.ordered for p in space], bool)
        n, self.space = space.nvec, space
        conditional = np.array([bool(p.when) for p in space], bool)
        self.ordered = np.flatnonzero(ordered & (n > 1))
        named = np.flatnonzero(
            (~ordered & (n > 1)) | (ordered & (n > 2) & (n <= MAX_CLASSES)) | (conditional & (n > 1))
        )
        self.named, self.width = named, (np.minimum(n, MAX_CLASSES) + conditional)[named]
        self.span = np.maximum(n - 1, 1)[self.ordered].astype(float)
        self.start = np.cumsum(self.width) - self.width  # of each parameter's classes among all
        free = max(len(np.union1d(self.ordered, named)), 1)
        self.mean_theta = np.full(
            len(self.ordered) + len(named) + 1, -2 * (np.sqrt(2) + np.log(free) / 2 - 1)
        )
        self.mean_theta[len(self.ordered) : -1] += np.where(ordered[named], HAMMING_OFFSET, 0.0)
        self.mean_theta[-1] = LOG_NOISE
        self.sd_theta = np.append(np.full(len(self.mean_theta) - 1, LOG_WEIGHT_SD), LOG_NOISE_SD)
        self.theta = self.mean_theta.copy()

    def fit(self, x: Indices, y: Array, *, iterations: int) -> None:
        """Condition on targets; the hyperparameters are first improved by some steps of L-BFGS.

        Args:
            x: designs, int64 [N, P], N >= 1.
            y: targets, float64 [N].
            iterations: largest number of steps; 0 keeps the hyperparameters.
        """
        self.shift, self.unit = float(y.mean()), float(y.std()) or 1.0
        self.x, self.z = x, (y - self.shift) / self.unit
        squared = self._distances(x)
        if iterations:
            bounds = [BOUNDS_WEIGHT] * (len(self.theta) - 1) + [BOUNDS_NOISE]
            found = minimize(
                self.negative_log_posterior,
                self.theta,
                args=(squared, self.z),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": iterations},
            )
            self.theta = found.x
        n = len(x)
        r2 = (np.exp(self.theta[:-1]) @ squared).reshape(n, n)
        self.noise = np.exp(self.theta[-1]) + JITTER
        while (factor := _cholesky(_matern(r2) + self.noise * np.eye(n))) is None:
            self.noise *= 10
        self.factor = factor
        self.alpha = _solve(factor, self.z)
        self.scale = max(float(self.z @ self.alpha) / n, 1e-12)

    def predict(self, x: Indices) -> tuple[Array, Array]:
        """Posterior mean and standard deviation of the noise-free target at designs [C, P]: two of [C]."""
        k = _matern(self.squared_distances(x, self.x))
        v = solve_triangular(self.factor, k.T, lower=True, check_finite=False)
        variance = self.scale * np.maximum(1 - np.einsum("nc,nc->c", v, v), 1e-10)
        return self.shift + self.unit * (k @ self.alpha), self.unit * np.sqrt(variance)

    def believe(self, x: Indices) -> None:
        """Condition on one more design [P] whose target equals its posterior mean (Ginsbourger, Le Riche &
        Carraro, 2010): the mean stays as it is everywhere, the variance falls around the design.
        """
        k = _matern(self.squared_distances(x[None], self.x))[0]
        row = solve_triangular(self.factor, k, lower=True, check_finite=False)
        n = len(row)
        factor = np.zeros((n + 1, n + 1))
        factor[:n, :n], factor[n, :n] = self.factor, row
        factor[n, n] = np.sqrt(max(1 + self.noise - row @ row, JITTER))
        self.factor, self.alpha = factor, np.append(self.alpha, 0.0)
        self.x = np.concatenate([self.x, x[None]])

    def negative_log_posterior(self, theta: Array, squared: Array, z: Array) -> tuple[float, Array]:
        """Minus the log of the hyperparameters' posterior density, up to a constant, and its gradient.

        Args:
            theta: log w and log noise, [Q + 1].
            squared: d_q of all pairs, [Q, N * N].
            z: standardised targets, [N].

        Returns:
            The value, and its gradient [Q + 1].
        """
        n = len(z)
        weights, noise = np.exp(theta[:-1]), np.exp(theta[-1])
        r2 = (weights @ squared).reshape(n, n)
        r = np.sqrt(r2)
        decay = np.exp(-SQRT5 * r)
        factor = _cholesky((1 + SQRT5 * r + 5 / 3 * r2) * decay + (noise + JITTER) * np.eye(n))
        if factor is None:
            return 1e10, np.zeros_like(theta)
        inverse = _inverse(factor)
        a = inverse @ z
        scale = max(float(z @ a) / n, 1e-12)
        off = (theta - self.mean_theta) / self.sd_theta
        value = 0.5 * n * np.log(scale) + np.log(np.diag(factor)).sum() + 0.5 * off @ off
        half = 0.5 * (np.outer(a, a) / scale - inverse)
        slope = half * (-5 / 6) * (1 + SQRT5 * r) * decay  # times dk / d(r^2)
        gradient = np.append(weights * (squared @ slope.ravel()), noise * np.trace(half))
        return float(value), off / self.sd_theta - gradient

    def _distances(self, x: Indices) -> Array:
        """d_q of all pairs of designs [N, P]: float64 [Q, N * N]."""
        place = (x[:, self.ordered] / self.span).T
        classes = self._classes(x).T
        near = (place[:, :, None] - place[:, None]) ** 2
        other = (classes[:, :, None] != classes[:, None]).astype(float)
        return np.concatenate([near, other]).reshape(len(near) + len(other), len(x) ** 2)

    def _classes(self, x: Indices) -> Indices:
        """The classes of named parameters, the last one where it is inactive: [N, P] -> [N, named]."""
        classes = x[:, self.named] % MAX_CLASSES
        if not self.space.conditional:
            return classes
        return np.where(self.space.active(x)[:, self.named], classes, self.width - 1)

    def _embed(self, x: Indices) -> Array:
        """Points whose squared Euclidean distance is r^2: float64 [C, ordered + classes]."""
        w_near, w_other = np.split(np.exp(self.theta[:-1]), [len(self.ordered)])
        points = np.zeros((len(x), len(self.ordered) + int(self.width.sum())))
        points[:, : len(self.ordered)] = x[:, self.ordered] / self.span * np.sqrt(w_near)
        columns = len(self.ordered) + self.start + self._classes(x)
        points[np.arange(len(x))[:, None], columns] = np.sqrt(w_other / 2)
        return points

    def squared_distances(self, a: Indices, b: Indices) -> Array:
        """r^2 between designs [A, P] and [B, P] under the present hyperparameters: float64 [A, B]."""
        a, b = self._embed(a), self._embed(b)
        norms = np.einsum("ad,ad->a", a, a)[:, None] + np.einsum("bd,bd->b", b, b)
        return np.maximum(norms - 2 * a @ b.T, 0.0)


def _matern(r2: Array) -> Array:
    r = np.sqrt(r2)
    return np.asarray((1 + SQRT5 * r + 5 / 3 * r2) * np.exp(-SQRT5 * r))


def _cholesky(matrix: Array) -> Array | None:
    """The lower factor; None where the matrix is not positive definite."""
    factor, info = lapack.dpotrf(matrix, lower=True, clean=True)
    return None if info else factor


def _solve(factor: Array, y: Array) -> Array:
    return np.asarray(lapack.dpotrs(factor, y, lower=True)[0])


def _inverse(factor: Array) -> Array:
    """The inverse of the matrix with this lower factor."""
    lower = lapack.dpotri(factor, lower=True)[0]
    return np.tril(lower) + np.tril(lower, -1).T


def log_expected_improvement(mean: Array, sd: Array, best: float) -> Array:
    """log E[max(0, f - best)] of normal f, stable where the expectation underflows.

    Args:
        mean: means, [C].
        sd: standard deviations > 0, [C].
        best: the value to improve on.

    Returns:
        float64 [C].
    """
    u = (mean - best) / sd
    log_phi = -0.5 * u**2 - 0.5 * np.log(2 * np.pi)
    near = np.maximum(u, -1.0)
    far = np.minimum(u, -1.0)
    # h(u) = phi(u) (1 + u Phi(u) / phi(u)); the ratio of Mills is sqrt(pi / 2) erfcx(-u / sqrt(2))
    log_h_near = np.log(np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi) + near * ndtr(near))
    mills = np.sqrt(np.pi / 2) * erfcx(-far / np.sqrt(2))
    # beyond -1000 the difference has lost its digits: 1 + u m(u) = 1 / u^2 - 3 / u^4 + ...
    tail = np.where(far < -1000, (1 - 3 / far**2) / far**2, 1 + far * mills)
    return np.asarray(np.log(sd) + np.where(u > -1, log_h_near, log_phi + np.log(tail)))


def log_expected_improvement_of_least(means: Array, sds: Array, best: float) -> Array:
    """log E[max(0, min_i f_i - best)] of independent normal f_i, by Gauss-Legendre quadrature of

        integral from best of prod_i P(f_i > t) dt,

    up to six standard deviations above the least mean.

    Args:
        means: means, [M, C].
        sds: standard deviations > 0, [M, C].
        best: the value to improve on.

    Returns:
        float64 [C].
    """
    node, weight = np.polynomial.legendre.leggauss(NODES)
    least = means.argmin(axis=0), np.arange(means.shape[1])
    length = np.maximum(means[least] + 6 * sds[least] - best, 6 * sds[least])
    t = best + length * (node[:, None] + 1) / 2  # [nodes, C]
    log_product = log_ndtr((means - t[:, None]) / sds).sum(axis=1)
    return np.asarray(np.log(length / 2) + logsumexp(log_product, axis=0, b=weight[:, None]))


def log_probability_below(mean: Array, sd: Array, limit: float) -> Array:
    """log P(f <= limit) of normal f: float64 [C]."""
    return np.asarray(log_ndtr((limit - mean) / sd))
