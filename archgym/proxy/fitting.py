"""Models fitted by scikit-learn, and converted to the arrays of `archgym.proxy.models`."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from scipy.optimize import minimize

from archgym.errors import ArchGymError, MissingDependency, unknown
from archgym.proxy.models import LEAF, MAX_GP_DESIGNS, MODELS, GaussianProcess, Linear, Model, Separate, Trees
from archgym.space import Array

N_TREES = 100  # trees of a forest
N_ITERATIONS = 1000  # iterations of boosting
LEARNING_RATE = 0.1  # of boosting
MAX_LEAVES = 31  # leaves per boosted tree
MIN_LEAF_DESIGNS = 5  # training designs per leaf
GP_TUNING_DESIGNS = 250  # designs that tune the hyperparameters of a Gaussian process
GP_TUNING_STEPS = 40  # L-BFGS iterations of that tuning
JITTER = 1e-6  # added to the diagonal of a covariance


def fit(model: str, x: Array, z: Array, seed: int) -> Model:
    """Fit a model to standardised targets.

    Args:
        model: name of a model in MODELS.
        x: features, [N, F].
        z: standardised targets, [N, K].
        seed: random seed, 31 bits.

    Raises:
        ArchGymError: an unknown model, or too many designs for a Gaussian process.
        MissingDependency: scikit-learn is not installed.
    """
    if model not in MODELS:
        raise unknown("model", model, MODELS)
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            'training a proxy needs scikit-learn: pip install "archgym[proxy]"'
        ) from error
    return {
        "random_forest": _forest,
        "hist_gradient_boosting": _boosting,
        "gaussian_process": _gaussian_process,
        "linear": _linear,
    }[model](x, z, seed)


def fit_classes(x: Array, feasible: Array, seed: int) -> Trees:
    """Gradient-boosted trees, above 0 for feasible designs; `feasible`, bool [N], has both values."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    with _one_thread():
        found = HistGradientBoostingClassifier(
            max_iter=N_ITERATIONS // 5,
            learning_rate=LEARNING_RATE,
            min_samples_leaf=MIN_LEAF_DESIGNS,
            early_stopping=False,
            random_state=seed,
        ).fit(x, feasible)
    return _boosted(found)


def _forest(x: Array, z: Array, seed: int) -> Trees:
    from sklearn.ensemble import RandomForestRegressor

    found = RandomForestRegressor(N_TREES, max_features=0.5, random_state=seed).fit(
        x, z if z.shape[1] > 1 else z[:, 0]
    )
    trees = [estimator.tree_ for estimator in found.estimators_]
    offsets = np.cumsum([0, *(tree.node_count for tree in trees)])
    left, right = (
        np.concatenate(
            [
                np.where(child < 0, LEAF, child + start)
                for child, start in zip(children, offsets, strict=False)
            ]
        )
        for children in ([tree.children_left for tree in trees], [tree.children_right for tree in trees])
    )
    inner = left != LEAF
    return Trees(
        roots=offsets[:-1].astype(np.int64),
        feature=np.where(inner, np.concatenate([tree.feature for tree in trees]), 0).astype(np.int64),
        threshold=np.where(inner, np.concatenate([tree.threshold for tree in trees]), 0.0),
        left=left.astype(np.int64),
        right=right.astype(np.int64),
        value=np.concatenate([tree.value[:, :, 0] for tree in trees]),
        base=np.zeros(z.shape[1]),
        scale=1 / len(trees),
    )


def _boosting(x: Array, z: Array, seed: int) -> Separate:
    from sklearn.ensemble import HistGradientBoostingRegressor

    boosting = HistGradientBoostingRegressor(
        max_iter=N_ITERATIONS,
        learning_rate=LEARNING_RATE,
        max_leaf_nodes=MAX_LEAVES,
        min_samples_leaf=MIN_LEAF_DESIGNS,
        early_stopping=False,
        random_state=seed,
    )
    with _one_thread():
        return Separate([_boosted(boosting.fit(x, column)) for column in z.T])


def _one_thread() -> AbstractContextManager[Any]:
    """One thread: for up to 1e5 designs two are not faster, and up to ten times slower on a busy
    processor.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    return threadpool_limits(1, user_api="openmp")


def _boosted(found: Any) -> Trees:
    """The trees of scikit-learn's histogram boosting of one output, from private attributes: hence the
    upper version in pyproject.toml.
    """
    nodes = [stage[0].nodes for stage in found._predictors]
    offsets = np.cumsum([0, *map(len, nodes)])
    start = np.repeat(offsets[:-1], np.diff(offsets))
    whole = np.concatenate(nodes)
    leaf = whole["is_leaf"].astype(bool)
    return Trees(
        roots=offsets[:-1].astype(np.int64),
        feature=np.where(leaf, 0, whole["feature_idx"]).astype(np.int64),
        threshold=np.where(leaf, 0.0, whole["num_threshold"]),
        left=np.where(leaf, LEAF, whole["left"] + start).astype(np.int64),
        right=np.where(leaf, LEAF, whole["right"] + start).astype(np.int64),
        value=whole["value"].astype(float)[:, None],
        base=np.asarray(found._baseline_prediction, float).reshape(1),
        scale=1.0,
    )


def _gaussian_process(x: Array, z: Array, seed: int) -> GaussianProcess:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    if len(x) > MAX_GP_DESIGNS:
        raise ArchGymError(
            f"a Gaussian process takes at most {MAX_GP_DESIGNS:,} designs, got {len(x):,}; "
            f"give --designs {MAX_GP_DESIGNS}, or another model"
        )
    chosen = np.random.default_rng(seed).permutation(len(x))[:GP_TUNING_DESIGNS]
    kernel = ConstantKernel(1.0, (1e-3, 1e5)) * Matern(
        np.ones(x.shape[1]), (1e-2, 1e3), nu=2.5
    ) + WhiteKernel(1e-4, (1e-8, 1.0))
    with warnings.catch_warnings():
        # a length at its bound is a result: the feature does not matter
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = (
            GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=_descend)
            .fit(x[chosen], z[chosen])
            .kernel_
        )
    return GaussianProcess(
        x,
        z,
        np.asarray(found.k1.k2.length_scale, float),
        found.k1.k1.constant_value,
        found.k2.noise_level + JITTER,
    )


def _descend(negative_log_likelihood: Any, start: Array, bounds: Array) -> tuple[Array, float]:
    found = minimize(
        negative_log_likelihood,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": GP_TUNING_STEPS},
    )
    return found.x, float(found.fun)


def _linear(x: Array, z: Array, seed: int) -> Linear:
    from sklearn.linear_model import Ridge

    found = Ridge(alpha=1e-6).fit(x, z)
    return Linear(
        np.asarray(found.coef_, float).reshape(z.shape[1], -1).T,
        np.asarray(found.intercept_, float).reshape(-1),
    )
