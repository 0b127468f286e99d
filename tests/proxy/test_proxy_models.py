"""Encodings and models: what NumPy computes is what scikit-learn computes, and what is no model is
refused.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym import ArchGymError, Categorical, DesignSpace, Integer, Metric, Ordinal, Real
from archgym.proxy import fitting
from archgym.proxy.features import Encoding
from archgym.proxy.fitting import fit, fit_classes
from archgym.proxy.models import LEAF, MODELS, Trees
from archgym.proxy.targets import Targets

pytest.importorskip("sklearn", reason="training needs scikit-learn")

SPACE = DesignSpace(
    [
        Integer("x", 1, 6),
        Ordinal("size", [1, 2, 4, 8, 16]),
        Ordinal("quality", ["low", "middle", "high"]),
        Categorical("isa", ["scalar", "avx2", "avx512"]),
        Categorical("flag", [False, True]),
        Real("share", 0.0, 1.0),
    ]
)


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    monkeypatch.setattr(fitting, "N_ITERATIONS", 50)
    monkeypatch.setattr(fitting, "N_TREES", 7)


def problem(n: int = 150, outputs: int = 2):
    rng = np.random.default_rng(0)
    x = Encoding(SPACE)(SPACE.sample(n, rng))
    z = np.stack([np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 3], x[:, 2] - x[:, 5] ** 2], axis=1)[:, :outputs]
    return x, (z - z.mean(axis=0)) / z.std(axis=0), Encoding(SPACE)(SPACE.sample(400, rng))


# --- designs as numbers ---


def test_ordered_parameters_keep_their_order_and_categories_have_none():
    encoding = Encoding(SPACE)
    assert encoding.names == (
        "x",
        "size",
        "quality",
        "isa=scalar",
        "isa=avx2",
        "isa=avx512",
        "flag=True",
        "share",
    )
    assert encoding.parameter.tolist() == [0, 1, 2, 3, 3, 3, 4, 5]
    designs = {
        "x": [1, 6],
        "size": [4, 8],
        "quality": ["middle", "high"],
        "isa": ["avx2", "avx512"],
        "flag": [False, True],
    }
    x = encoding(SPACE.encode({**designs, "share": [0.0, 1.0]}))
    assert x[:, :3].tolist() == [[0, 0.5, 0.5], [1, 0.75, 1]], "sizes that span 16 lie on a logarithmic axis"
    assert x[:, 3:].tolist() == [[0, 1, 0, 0, 0], [0, 0, 1, 1, 1]]


@given(st.integers(0, 2**31))
def test_designs_differ_where_their_features_do_and_single_precision_holds_them(seed):
    indices = SPACE.sample(50, np.random.default_rng(seed))
    x = Encoding(SPACE)(indices)
    assert len(np.unique(x, axis=0)) == len(np.unique(indices, axis=0))
    assert np.array_equal(x, x.astype(np.float32)) and (x >= 0).all() and (x <= 1).all()


def test_a_parameter_of_one_value_is_a_feature_that_says_nothing():
    space = DesignSpace([Integer("one", 3, 3), Categorical("kind", ["a"])])
    assert Encoding(space)(np.zeros((4, 2), np.int64)).tolist() == [[0, 1]] * 4


def test_features_are_finite_where_a_value_is_not_and_a_very_long_parameter_is_refused():
    features = Encoding(DesignSpace([Ordinal("limit", [1.0, 2.0, float("inf")])]))(np.arange(3)[:, None])
    assert features[:, 0].tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(ArchGymError, match=r"at most 10,000,000, got 1,000,000,001 of 'x'; give it a step"):
        Encoding(DesignSpace([Integer("x", 0, 10**9)]))


# --- targets ---


def test_metrics_that_span_a_decade_are_learnt_as_logarithms_and_all_come_back():
    values = np.stack([np.geomspace(1e-9, 1e-6, 50), np.linspace(1, 5, 50), np.linspace(-1, 1e6, 50)], axis=1)
    targets = Targets.from_values([Metric("a"), Metric("b"), Metric("c")], values)
    assert targets.log.tolist() == [True, False, False]
    z = targets.standardised(values)
    assert z.mean(axis=0) == pytest.approx(0, abs=1e-12) and z.std(axis=0) == pytest.approx(1)
    assert targets.restored(z) == pytest.approx(values, rel=1e-12)
    assert np.isfinite(targets.restored(np.full((1, 3), 1e300))).all()


def test_a_constant_metric_is_refused():
    with pytest.raises(ArchGymError, match="b is 2 for all 3 designs"):
        Targets.from_values([Metric("a"), Metric("b")], np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]]))


# --- models ---


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_forest_predicts_what_scikit_learn_predicts(outputs):
    from sklearn.ensemble import RandomForestRegressor

    x, z, new = problem(outputs=outputs)
    theirs = RandomForestRegressor(fitting.N_TREES, max_features=0.5, random_state=3).fit(
        x, z if outputs > 1 else z[:, 0]
    )
    mean, spread = fit("random_forest", x, z, 3).predict(new)
    each = np.stack([tree.predict(new).reshape(len(new), outputs) for tree in theirs.estimators_])
    assert mean == pytest.approx(theirs.predict(new).reshape(mean.shape), abs=1e-9)
    assert spread == pytest.approx(np.maximum(each.std(axis=0), 1e-3), abs=1e-9)


def test_boosting_predicts_what_scikit_learn_predicts():
    from sklearn.ensemble import HistGradientBoostingRegressor

    x, z, new = problem()
    mean, spread = fit("hist_gradient_boosting", x, z, 3).predict(new)
    settings_ = {
        "max_iter": fitting.N_ITERATIONS,
        "learning_rate": 0.1,
        "max_leaf_nodes": 31,
        "min_samples_leaf": 5,
        "early_stopping": False,
    }
    for k in range(2):
        theirs = HistGradientBoostingRegressor(**settings_, random_state=3).fit(x, z[:, k])
        assert mean[:, k] == pytest.approx(theirs.predict(new), abs=1e-9)
    assert (spread == 1).all()


def test_feasibility_is_what_scikit_learn_says():
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, z, new = problem()
    feasible = z[:, 0] > -0.5
    theirs = HistGradientBoostingClassifier(
        max_iter=fitting.N_ITERATIONS // 5,
        learning_rate=0.1,
        min_samples_leaf=5,
        early_stopping=False,
        random_state=3,
    ).fit(x, feasible)
    assert np.array_equal(fit_classes(x, feasible, 3).predict(new)[0][:, 0] > 0, theirs.predict(new))


def test_a_gaussian_process_predicts_what_scikit_learn_predicts():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    x, z, new = problem()
    ours = fit("gaussian_process", x, z, 3)
    kernel = ConstantKernel(ours.variance) * Matern(ours.length, nu=2.5) + WhiteKernel(ours.noise)
    theirs = GaussianProcessRegressor(kernel, alpha=1e-15, optimizer=None).fit(x, z)
    mean, std = theirs.predict(new, return_std=True)
    ours_mean, ours_spread = ours.predict(new)
    assert ours_mean == pytest.approx(mean, abs=1e-6) and ours_spread == pytest.approx(std, rel=1e-4)
    assert np.abs(ours.predict(x)[0] - z).max() < 0.05, "it knows what it has seen"


def test_a_line_predicts_a_line_and_large_data_are_refused_by_a_gaussian_process(monkeypatch):
    x, _, new = problem()
    weights = np.arange(16.0).reshape(8, 2)
    assert fit("linear", x, x @ weights + 2, 0).predict(new)[0] == pytest.approx(new @ weights + 2, abs=1e-4)
    monkeypatch.setattr(fitting, "MAX_GP_DESIGNS", 100)
    with pytest.raises(ArchGymError, match="at most 100 designs, got 150; give --designs 100"):
        fit("gaussian_process", x, x @ weights, 0)
    with pytest.raises(ArchGymError, match="did you mean 'random_forest'"):
        fit("random_forrest", x, x @ weights, 0)


@pytest.mark.parametrize("kind", MODELS)
def test_arrays_make_the_same_model_again_and_fits_repeat(kind):
    x, z, new = problem()
    model = fit(kind, x, z, 3)
    again = MODELS[kind].from_arrays(model.arrays(), x.shape[1], 2)
    assert all(np.array_equal(a, b) for a, b in zip(model.predict(new), again.predict(new), strict=True))
    repeated = fit(kind, x, z, 3).arrays()
    assert all(np.array_equal(array, repeated[name]) for name, array in model.arrays().items())


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 5))
def test_trees_walk_as_one_would_by_hand(seed, depth, count):
    rng = np.random.default_rng(seed)
    parts = {"roots": [], "feature": [], "threshold": [], "left": [], "right": [], "value": []}

    def grow(left_over: int) -> int:
        node = len(parts["left"])
        inner = left_over > 0 and rng.random() < 0.8
        for name, value in (
            ("feature", int(rng.integers(3))),
            ("threshold", rng.random()),
            ("left", LEAF),
            ("right", LEAF),
        ):
            parts[name].append(value)
        parts["value"].append([rng.random()])
        if inner:
            parts["left"][node], parts["right"][node] = grow(left_over - 1), grow(left_over - 1)
        return node

    parts["roots"] = [grow(depth) for _ in range(count)]
    arrays = {name: np.array(values) for name, values in parts.items()} | {
        "base": np.array([0.5]),
        "scale": np.array(1.0),
    }
    trees = Trees.from_arrays(arrays, 3, 1)
    x = rng.random((20, 3))

    def walk(row, node: int) -> float:
        while parts["left"][node] != LEAF:
            node = parts["left" if row[parts["feature"][node]] <= parts["threshold"][node] else "right"][node]
        return parts["value"][node][0]

    by_hand = [0.5 + sum(walk(row, root) for root in parts["roots"]) for row in x]
    assert trees.predict(x)[0][:, 0] == pytest.approx(by_hand, rel=1e-12)
    walked = trees.base + trees.value[trees.leaves(x)].sum(axis=1)[:, 0]
    assert walked == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("left", lambda a: np.where(a == LEAF, a, a + 10**6), "beyond the last"),
        ("left", lambda a: np.where(a == LEAF, a, 0), "child before it"),
        ("right", lambda a: np.full_like(a, LEAF), "child before it"),
        ("right", lambda a: np.where(a == LEAF, a, a - 1), "no parent or with two"),
        ("feature", lambda a: a + 99, "feature beyond the space's"),
        ("feature", lambda a: a.astype(float), "feature is float64"),
        ("roots", lambda a: a - 1, "root that is not a node"),
        ("value", lambda a: a[:-1], "value is float64"),
        ("value", lambda a: a * np.nan, "not finite"),
        ("threshold", lambda a: a[:3], "threshold is float64"),
        ("base", lambda a: a[:0], "base is float64"),
    ],
)
def test_crafted_trees_are_refused(name, change, message):
    x, z, _ = problem()
    arrays = fit("random_forest", x, z, 0).arrays()
    with pytest.raises(ArchGymError, match=message):
        Trees.from_arrays({**arrays, name: change(arrays[name])}, x.shape[1], 2)


@pytest.mark.parametrize("kind", ["gaussian_process", "linear"])
def test_crafted_arrays_are_refused(kind):
    x, z, _ = problem()
    arrays = fit(kind, x, z, 0).arrays()
    for name, array in arrays.items():
        for bad in (array * np.nan, np.zeros((1, 2, 3)), array.astype(complex)):
            with pytest.raises(ArchGymError):
                MODELS[kind].from_arrays({**arrays, name: bad}, x.shape[1], 2)
