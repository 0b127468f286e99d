"""`check_simulator`: whether a simulator keeps the contract."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.errors import reason_of
from archgym.simulator import Outcome, Simulator, check_schema
from archgym.space import Array, DesignSpace, Indices
from archgym.testing._common import corners_and_samples, must


def check_simulator(simulator: Simulator, *, samples: int = 64, seed: int = 0) -> None:
    """Check that a simulator keeps its contract on random designs and on the corners of its space.

    Args:
        simulator: simulator to check, neither closed nor changed.
        samples: number of random designs, besides the corners.
        seed: seed for the designs and declared noise.

    Raises:
        ArchGymError: the space and the metrics do not fit together.
        AssertionError: an answer that the contract forbids.

    Warns:
        UserWarning: answers share memory with later answers. The kernel copies, so that this is allowed, but
            other callers may not. The default objective takes logarithms of metrics that are below 0, which
            makes the design infeasible.
    """
    must(
        isinstance(simulator, Simulator),
        f"{simulator!r} is not an archgym.Simulator: derive its class from archgym.Simulator",
    )
    what = type(simulator).__name__
    check_schema(simulator)
    _check_metrics(simulator, what)
    must(
        DesignSpace.from_json(simulator.space.to_json()) == simulator.space,
        f"{what}.space changes in a JSON round trip: use numbers, text, tuples or enums as parameter values",
    )
    try:
        json.dumps(simulator.specification)
    except TypeError as error:
        raise AssertionError(
            f"{what}.specification is not JSON ({error}): make the simulator with plain arguments"
        ) from error

    _check_features(simulator, what)
    indices = corners_and_samples(simulator.space, samples, np.random.default_rng(seed))
    columns = _ask(simulator, indices, seed, what)
    _check_columns(simulator, columns, len(indices), what)
    again = _ask(simulator, indices, seed, what)
    if simulator.deterministic:
        how = "under the same rng" if simulator.stochastic else "twice"
        measured = "declare `deterministic = False` or `stochastic = True`"
        undeclared = "draw noise from the given rng only, in rows" if simulator.stochastic else measured
        _same(
            simulator,
            columns,
            again,
            f"{what} gives other metrics for the same designs when asked {how}: {undeclared}",
        )
        _check_rows(simulator, indices, columns, seed, what)
    else:
        _check_columns(simulator, again, len(indices), what)
    _check_designs_by_value(simulator, indices, columns, seed, what)
    _check_canonical(simulator, indices, columns, seed, what)
    _warn_of_shared_buffers(simulator, indices, seed, what)
    _warn_of_logarithms(simulator, columns, what)


def _check_metrics(simulator: Simulator, what: str) -> None:
    for metric in simulator.metrics:
        must(
            isinstance(metric.name, str) and metric.name,
            f"{what}: a metric's name is a non-empty string, not {metric.name!r}",
        )
        must(
            metric.better in ("lower", "higher", None),
            f"{what}: metric {metric.name!r} is better={metric.better!r}; it takes 'lower', 'higher' or None",
        )
    must(
        any(not metric.report_only for metric in simulator.metrics),
        f"{what}: every metric is report_only, so that nothing can be observed or rewarded; leave it out of "
        "at least one",
    )


def _check_features(simulator: Simulator, what: str) -> None:
    found = simulator.context_features()
    must(
        isinstance(found, Mapping) and all(isinstance(name, str) for name in found),
        f"{what}.context_features() returned {type(found).__name__}: return numbers by name",
    )
    for name, value in found.items():
        must(
            isinstance(value, (int, float, np.number)) and np.isfinite(value),
            f"{what}.context_features() has {name!r} = {value!r}: return finite numbers",
        )
    must(
        simulator.context_features() == found,
        f"{what}.context_features() changes between calls: it describes what is simulated, not a design",
    )


def _ask(simulator: Simulator, indices: Indices, seed: int, what: str) -> dict[str, Array]:
    """`evaluate_indices` as the environment calls it, with the answer copied and the question checked."""
    asked = indices.copy()
    asked.flags.writeable = False
    try:
        columns = simulator.evaluate_indices(asked, np.random.default_rng(seed))
    except Exception as error:
        raise AssertionError(
            f"{what} raised {reason_of(error)} on {len(indices)} legal designs: return feasible=False for "
            "designs that cannot exist, and do not write into the indices, which are read-only"
        ) from error
    must(isinstance(columns, Mapping), f"{what} returned {type(columns).__name__}; return a dict of columns")
    return {name: _copy(name, column, what) for name, column in columns.items()}


def _copy(name: str, column: Any, what: str) -> Array:
    try:
        return np.array(column, subok=isinstance(column, np.ma.MaskedArray))
    except ValueError as error:
        raise AssertionError(
            f"{what} returned {name!r} with values of several shapes ({error}); return one number per design"
        ) from error


def _check_columns(simulator: Simulator, columns: Mapping[str, Array], n: int, what: str) -> None:
    for name in (*(m.name for m in simulator.metrics), "feasible"):
        must(
            name in columns,
            f"{what} returned no column {name!r}: return one for every metric, and 'feasible'",
        )
    for name, column in columns.items():
        must(
            column.shape == (n,),
            f"{what} returned {name!r} with shape {column.shape} for {n} designs; return shape ({n},)",
        )
        must(
            not np.ma.is_masked(column),
            f"{what} returned {name!r} with masked values; return feasible=False for designs without one",
        )
    for name in ("feasible", "cached"):
        if name in columns:
            must(
                columns[name].dtype == bool, f"{what} returned {name!r} as {columns[name].dtype}; return bool"
            )
    reasons = columns.get("failure", np.array([], str))
    must(
        reasons.dtype.kind in "OUT"
        and all(reason is None or isinstance(reason, str) for reason in reasons.tolist()),
        f"{what} returned 'failure' as {reasons.dtype}; return a text for every row, empty where it did not "
        "fail",
    )
    for metric in simulator.metrics:
        column = columns[metric.name]
        must(
            column.dtype.kind in "biuf",
            f"{what} returned {metric.name!r} as {column.dtype}; return real numbers",
        )
        bad = columns["feasible"] & ~np.isfinite(column.astype(float))
        must(
            not bad.any(),
            f"{what} returned {metric.name!r} = {column[bad][:1]} on a feasible design; metrics are finite "
            "where feasible: set feasible=False there",
        )


def _same(simulator: Simulator, one: Mapping[str, Array], other: Mapping[str, Array], message: str) -> None:
    """Equal feasibility, and equal metrics (up to rounding) where feasible."""
    feasible = one["feasible"]
    must(np.array_equal(feasible, other["feasible"]), f"{message} (the column 'feasible' differs)")
    for metric in simulator.metrics:
        a, b = one[metric.name][feasible].astype(float), other[metric.name][feasible].astype(float)
        must(np.allclose(a, b, rtol=1e-9, atol=0), f"{message} (the column {metric.name!r} differs)")


def _check_rows(
    simulator: Simulator, indices: Indices, columns: Mapping[str, Array], seed: int, what: str
) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(len(indices)):
        answer = simulator.evaluate_indices(indices[i : i + 1].copy(), rng)
        rows.append({name: np.array(column) for name, column in answer.items()})
    for i, row in enumerate(rows):
        for name, column in row.items():
            must(
                np.shape(column) == (1,),
                f"{what} returned {name!r} with shape {np.shape(column)} for row {i} alone; return shape "
                "(1,)",
            )
    joined = {
        name: np.concatenate([row[name] for row in rows])
        for name in columns
        if all(name in row for row in rows)
    }
    hint = (
        "draw noise row by row, as one rng.random((B, k))"
        if simulator.stochastic
        else "treat every row by itself"
    )
    _same(simulator, columns, joined, f"{what} gives a batch other metrics than its rows one by one: {hint}")


def _check_designs_by_value(
    simulator: Simulator, indices: Indices, columns: Mapping[str, Array], seed: int, what: str
) -> None:
    designs = simulator.space.decode(indices)
    before = {name: column.copy() for name, column in designs.items()}
    by_value = simulator.evaluate(designs, np.random.default_rng(seed))
    for name, column in before.items():
        must(
            name in designs and np.array_equal(designs[name], column),
            f"{what}.evaluate changed its input column {name!r}: work on a copy",
        )
    if simulator.deterministic:
        message = (
            f"{what}.evaluate(decode(indices)) differs from evaluate_indices(indices): define one of the "
            "two, or make them agree"
        )
        _same(simulator, columns, {name: np.asarray(column) for name, column in by_value.items()}, message)


def _check_canonical(
    simulator: Simulator, indices: Indices, columns: Mapping[str, Array], seed: int, what: str
) -> None:
    asked = indices.copy()
    representatives = np.array(simulator.canonical(asked))
    must(np.array_equal(asked, indices), f"{what}.canonical changed its input: work on a copy")
    must(
        representatives.shape == indices.shape and representatives.dtype.kind in "iu",
        f"{what}.canonical returned {representatives.dtype} of shape {representatives.shape}; return "
        f"integers of shape {indices.shape}",
    )
    must(
        ((representatives >= 0) & (representatives < simulator.space.nvec)).all(),
        f"{what}.canonical returned indices outside the space: a representative is itself a design",
    )
    must(
        np.array_equal(simulator.canonical(representatives.copy()), representatives),
        f"{what}.canonical is not idempotent: a representative must be its own representative",
    )
    if simulator.deterministic and not simulator.stochastic:
        message = (
            f"{what}.canonical maps designs to ones with other metrics: map only designs that are the same "
            "thing"
        )
        _same(simulator, columns, _ask(simulator, representatives, seed, what), message)


def _warn_of_shared_buffers(simulator: Simulator, indices: Indices, seed: int, what: str) -> None:
    half = len(indices) // 2
    first = simulator.evaluate_indices(indices[:half].copy(), np.random.default_rng(seed))
    kept = {name: np.array(column) for name, column in first.items()}
    simulator.evaluate_indices(indices[half : 2 * half].copy(), np.random.default_rng(seed))
    for name, column in kept.items():
        if not np.array_equal(column, first[name], equal_nan=column.dtype.kind == "f"):
            warnings.warn(
                f"{what} overwrote the column {name!r} of its last answer: archgym copies answers, other "
                "callers may not; return a copy",
                stacklevel=3,
            )
            return


def _warn_of_logarithms(simulator: Simulator, columns: Mapping[str, Array], what: str) -> None:
    objective, names = simulator.default_objective, [metric.name for metric in simulator.metrics]
    if objective is None:
        return
    objective.check(names)
    outcome = Outcome(
        np.stack([columns[name] for name in names], axis=1).astype(float), columns["feasible"].copy()
    )
    objective.judge(outcome, names)
    if outcome.failures:
        reason = next(iter(outcome.failures.values()))
        warnings.warn(
            f"{what}.default_objective makes {len(outcome.failures)} of {len(outcome.values)} designs "
            f"infeasible: {reason}",
            stacklevel=3,
        )
