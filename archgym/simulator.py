"""Simulators: what a design costs. Batch in, batch out, and nothing about rewards.

A simulator maps columns of parameter values [B] to columns of metrics [B] and says which designs are
feasible. Units and directions live in its `Metric` schema. `evaluate_safely` is the one place where a
simulator is called on behalf of a search: there a design that raises, or whose metrics are not finite,
becomes a recorded failure instead of a lost search.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
from abc import ABC
from collections.abc import Callable, Container, Iterator, Mapping, Set
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from archgym.errors import ArchGymError, BudgetExhausted, SimulatorUnavailable, reason_of
from archgym.objective import Objective
from archgym.space import Array, DesignSpace, Indices, all_true
from archgym.values import Unwritable, identify, identity_of
from archgym.words import REASON, is_unicode, one_line

if TYPE_CHECKING:
    from archgym.shared import SharedTask


@dataclass(frozen=True)
class Metric:
    """One quantity that a simulator reports.

    Args:
        name: name, with its SI unit as suffix where it has one (`latency_s`, `energy_j`).
        unit: the unit in words for tables; "1" for a pure number.
        better: "lower", "higher", or None where neither is.
        report_only: True for a metric of results alone, hidden from observations and agents (a test accuracy,
            a noise estimate).
    """

    name: str
    unit: str = "1"
    better: Literal["lower", "higher"] | None = None
    report_only: bool = False


@dataclass(frozen=True)
class Candidates:
    """Designs among which the best valid one of a space is, where a simulator can name far fewer than the
    space has.

    Args:
        size: number of designs.
        enumerate: function chunk -> iterator over all of them once, in arrays int64 [<= chunk, P]; can be
            called again.
    """

    size: int
    enumerate: Callable[[int], Iterator[Indices]]


class Simulator(ABC):
    """What a design costs. Subclasses set `space` and `metrics` and define `evaluate` or `evaluate_indices`.

    Attributes:
        space: the design space.
        metrics: schema of the reported metrics, in order.
        deterministic: False for measured simulators, whose results differ between calls.
        stochastic: True where `evaluate` draws declared noise from `rng`, reproducible under a seed.
        tabulated: True where results are looked up in memory, always the same, so that environments may keep
            them; subclasses have their own.
        counted_elsewhere: True where a service counts every evaluation as a sample, so that nothing but the
            samples of a ledger may be evaluated.
        default_horizon: designs per episode of environments that name no other number.
        default_objective: the objective of environments around this simulator, unless they name another.
        cost_unit: unit of `cost_of`.
        fidelity: name of the parameter that sets how much of a full evaluation is carried out, whose last
            value is the full one; None where there is none.
        identity: the name of this very class in results, caches and stored optima, "module:name" by default;
            set it to the old name when the class moves, so that they stay valid. Subclasses have their own.
    """

    space: DesignSpace
    metrics: tuple[Metric, ...]
    deterministic: bool = True
    stochastic: bool = False
    tabulated: ClassVar[bool] = False
    counted_elsewhere: bool = False
    default_horizon: int = 1
    default_objective: Objective | None = None
    cost_unit: str = "samples"
    fidelity: str | None = None
    identity: ClassVar[str]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls.evaluate is Simulator.evaluate and cls.evaluate_indices is Simulator.evaluate_indices:
            raise ArchGymError(
                f"{cls.__name__} must define evaluate(designs, rng) or evaluate_indices(indices, rng)"
            )
        simulator = super().__new__(cls)
        simulator._arguments = (args, kwargs)
        return simulator

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def evaluate(
        self, designs: Mapping[str, Array], rng: np.random.Generator | None = None
    ) -> dict[str, Array]:
        """Simulate a batch of designs.

        Args:
            designs: a column [B] of values for every parameter of `space`.
            rng: source of declared noise, drawn row by row (one `rng.random((B, k))`), so that a batch equals
                its rows.

        Returns:
            A column [B] for every metric, plus `feasible` (bool [B]); optionally `cached` (bool [B]: answered
            without simulating) and `failure` (str [B]: why a row failed, "" where it did not). Metrics are
            real numbers, finite where feasible.
        """
        return self.evaluate_indices(self.space.encode(designs), rng)

    def evaluate_indices(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """`evaluate` for designs given as indices: int64 [B, P] in, columns [B] out. Environments call
        this.
        """
        return self.evaluate(self.space.decode(indices), rng)

    def remeasure(self, indices: Indices, rng: np.random.Generator | None = None) -> dict[str, Array]:
        """`evaluate_indices` once more, independent of earlier results: a cache does not answer."""
        return self.evaluate_indices(indices, rng)

    def canonical(self, indices: Indices) -> Indices:
        """The representative of designs that are the same thing: [B, P] -> [B, P], idempotent. By default
        each design of the space stands for itself, whatever its inactive parameters.
        """
        return self.space.canonical(indices)

    def optimum(self, objective: Objective) -> Indices | None:
        """The exact best valid design under an objective, [P], where it is known without search; otherwise
        None.
        """
        return None

    def bound(self, objective: Objective) -> float | None:
        """A reward that no valid design exceeds, where one is known without search; None by default. Results
        state the regret against it, labelled as a bound, where the optimum is not known.
        """
        return None

    def export(self, indices: Indices) -> tuple[str, bytes] | None:
        """A design [P] as a file in a form that tools of its field read: its suffix, such as ".qasm", and its
        content; None by default. `archgym export` writes it.
        """
        return None

    def candidates(self, objective: Objective) -> Candidates | None:
        """Designs that contain an optimum under an objective, if any design is valid; None where that may be
        all of them.

        `find_optimum` evaluates these where the space is too large to enumerate.
        """
        return None

    def cost_of(self, indices: Indices) -> Array:
        """What carrying out each evaluation costs, in `cost_unit`: designs [B, P] -> float64 [B], by default
        1 each. It depends on the designs alone, so that budgets are cut before anything runs.
        """
        return np.ones(len(indices))

    def cost_after(self, indices: Indices, before: Indices) -> Array:
        """`cost_of` designs that are evaluated in order, [B, P], after others, [N, P], from which they may
        take results: float64 [B]. Ledgers charge it. By default nothing is taken.
        """
        return self.cost_of(indices)

    def cost_before(self) -> float:
        """What has to be done once before the first evaluation costs, in `cost_unit`, such as training shared
        weights; by default nothing. Ledgers charge it as training before their first sample.
        """
        return 0.0

    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask | None:
        """Weights that all designs share, with training and validation batches; None where there is no
        network to share. `ArchEnv.shared` also charges them to the ledger.

        Args:
            seed: seed for initial weights and batches.
            fresh: whether training images get new noise every epoch; else few fixed ones are reused.
            partial: K, where operations see 1/K of the channels.
        """
        return None

    def controls(self) -> dict[str, tuple[Indices, Array]]:
        """Designs that take no search, by the rule that names them: designs [K, P], and their priorities [K];
        the highest come first, equal ones in random order. Reports compare agents with them.
        """
        return {}

    def masks(self, indices: Indices, p: int) -> Array:
        """The values that parameter p may have after the first p indices of designs [B, >= p], so that the
        design may become feasible, and no copy of a smaller one: bool [B, n_p]. By default those of the
        space.
        """
        return self.space.masks(indices, p)

    def state_features(self, indices: Indices) -> Array | None:
        """What designs [B, P] that are built step by step have become, as numbers for an observation:
        float32 [B, F]; None where designs are not (`archgym.wrappers.PrefixDesign`).
        """
        return None

    @property
    def left(self) -> int | None:
        """Samples that a service still allows; None without a limit."""
        return None

    @property
    def unwrapped(self) -> Simulator:
        """The simulator inside the wrappers around it: itself, unless it is one."""
        return self

    @property
    def specification(self) -> dict[str, Any]:
        """What identifies this simulator in results, caches and stored optima: its class and the arguments
        it was made with.
        """
        return {"simulator": identity_of(type(self)), **_bound_arguments(self)}

    def context_features(self) -> dict[str, float]:
        """What is simulated, as finite numbers by name, from which agents generalise to other contexts: the
        constructor's arguments (`argument_features`); of a wrapper, those of the simulator inside.
        """
        if self.unwrapped is not self:
            return self.unwrapped.context_features()
        return argument_features(self)

    def close(self) -> None:  # noqa: B027 - most simulators have nothing to release
        """Release processes and files; using the simulator afterwards is an error."""


def argument_features(simulator: Simulator, but: Container[str] = ()) -> dict[str, float]:
    """The arguments that a simulator was made with, defaults included, as finite numbers by name.

        number x      log2 x, or -log2(1 + |x|) where x <= 0
        bool          0 or 1
        word, None    1 under "name=word"; so are paths, infinities, and other objects by a hash
        items         "name.key" of a mapping, "name.0", "name.1", ... of a list

    Args:
        but: names of arguments to leave out.
    """
    return {
        feature: number
        for name, value in _bound(simulator, defaults=True).items()
        if name not in but
        for feature, number in _features(name, value)
    }


def _features(name: str, value: Any) -> Iterator[tuple[str, float]]:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        yield name, float(value)
    elif _is_number(value) and (isinstance(value, int) or math.isfinite(value)):
        yield name, math.log2(value) if value > 0 else 0.0 - math.log2(1 - value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _features(f"{name}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _features(f"{name}.{place}", item)
    elif value is None or isinstance(value, (str, os.PathLike)) or _is_number(value):
        yield f"{name}={value}", 1.0
    else:
        text = json.dumps(_identified(value), sort_keys=True)
        yield f"{name}={hashlib.sha256(text.encode()).hexdigest()[:8]}", 1.0


def _bound(simulator: Simulator, defaults: bool = False) -> dict[str, Any]:
    args, kwargs = simulator._arguments
    try:
        bound = inspect.signature(type(simulator)).bind(*args, **kwargs)
    except TypeError:
        return {"arguments": list(args), **kwargs}
    if defaults:
        bound.apply_defaults()
    return dict(bound.arguments)


def _bound_arguments(simulator: Simulator) -> dict[str, Any]:
    bound = _bound(simulator)
    return {"arguments": {name: _identified(value) for name, value in bound.items()}} if bound else {}


def _identified(value: Any) -> Any:
    """A constructor argument in a specification: a simulator by its own, what cannot be identified as
    "unknown".
    """
    if isinstance(value, Simulator):
        return value.specification
    if type(value) in (list, tuple) and any(isinstance(item, Simulator) for item in value):
        return [_identified(item) for item in value]
    try:
        return identify(value)
    except Unwritable as error:
        return {"$": "unknown", "of": str(error)}


def reference_cost(simulator: Simulator) -> float:
    """The cost of a reference sample: the median of `cost_of` over the space, at full fidelity, or over 4,096
    random designs of a large space.
    """
    space = simulator.space
    if space.size <= _LISTED:
        designs = space.from_ordinal(np.arange(space.size))
    else:
        designs = space.sample(4096, np.random.default_rng(0))
    if simulator.fidelity is not None:
        place = space.names.index(simulator.fidelity)
        designs[:, place] = space.nvec[place] - 1
    return float(np.median(simulator.cost_of(designs)))


_LISTED = 1 << 17  # designs of the largest space whose median cost is exact


def is_table(simulator: Simulator) -> bool:
    """Whether the simulator's own class looks results up (`Simulator.tabulated`)."""
    return bool(vars(type(simulator)).get("tabulated", False))


def unidentified(specification: Any) -> str:
    """Why a specification does not identify its simulator; "" where it does."""
    if isinstance(specification, Mapping):
        if specification.get("$") == "unknown":
            return str(specification["of"])
        specification = list(specification.values())
    return next(filter(None, map(unidentified, specification)), "") if isinstance(specification, list) else ""


@dataclass
class Outcome:
    """A simulator's results for a batch, checked.

    Attributes:
        values: metrics in schema order, float64 [B, M]; NaN where infeasible.
        feasible: bool [B].
        cached: bool [B]; None where the simulator has no such column.
        failures: reason by row, for rows that raised or returned what the contract forbids.
    """

    values: Array
    feasible: Array
    cached: Array | None = None
    failures: dict[int, str] = field(default_factory=dict)

    def fail(self, row: int, reason: str) -> None:
        """Make a design infeasible, with the reason."""
        self.values[row], self.feasible[row], self.failures[row] = np.nan, False, reason


def evaluate_safely(
    simulator: Simulator, indices: Indices, rng: np.random.Generator | None = None, *, again: bool = False
) -> Outcome:
    """Evaluate designs [B, P]; failures become infeasible rows with a reason instead of exceptions.

    A batch that raises, or comes back malformed, is evaluated again in halves, down to single rows, so that
    only the guilty rows fail.

    Args:
        again: `remeasure` them.

    Raises:
        SimulatorUnavailable: not the design but what runs the simulator is at fault.
        BudgetExhausted: a service that counts samples allows no more.
    """
    state = rng.bit_generator.state if rng is not None and simulator.stochastic else None
    try:
        columns = simulator.remeasure(indices, rng) if again else simulator.evaluate_indices(indices, rng)
        return _checked(simulator, columns, len(indices))
    except (SimulatorUnavailable, BudgetExhausted):
        raise
    except Exception as error:
        if len(indices) == 1:
            return _failed(simulator, reason_of(error, REASON))
    if rng is not None and state is not None:
        rng.bit_generator.state = state
    middle = len(indices) // 2
    first, second = (
        evaluate_safely(simulator, half, rng, again=again) for half in (indices[:middle], indices[middle:])
    )
    return Outcome(
        values=np.concatenate([first.values, second.values]),
        feasible=np.concatenate([first.feasible, second.feasible]),
        cached=_join_cached(first, second),
        failures={**first.failures, **{middle + row: reason for row, reason in second.failures.items()}},
    )


def _join_cached(first: Outcome, second: Outcome) -> Array | None:
    if first.cached is None and second.cached is None:
        return None
    parts = [np.zeros(len(o.feasible), bool) if o.cached is None else o.cached for o in (first, second)]
    return np.concatenate(parts)


def _failed(simulator: Simulator, reason: str) -> Outcome:
    return Outcome(np.full((1, len(simulator.metrics)), np.nan), np.zeros(1, bool), failures={0: reason})


def _checked(simulator: Simulator, columns: Mapping[str, Array], n: int) -> Outcome:
    """Check a simulator's columns against the contract; copies them, since simulators may reuse their
    buffers.
    """
    if isinstance(columns, (np.ndarray, str, bytes, list, tuple)) or not hasattr(columns, "__getitem__"):
        raise ArchGymError(f"the simulator returned {type(columns).__name__}; expected a dict of columns")
    names = [metric.name for metric in simulator.metrics]
    values = _plain_columns(columns, names, n)
    if values is None:  # column by column, which takes longer and finds the wrong one
        values = np.stack([_numbers(columns, name, n) for name in names], axis=1)
    feasible = _flags(columns, "feasible", n)
    cached = _flags(columns, "cached", n) if "cached" in columns else None
    failures = {}
    if "failure" in columns:
        failures = _reasons(columns["failure"], n)
        feasible[list(failures)] = False
    if not all_true(np.isfinite(values)):
        for i in np.flatnonzero(feasible & ~np.isfinite(values).all(axis=1)).tolist():
            guilty = [
                m.name
                for m, finite in zip(simulator.metrics, np.isfinite(values[i]), strict=True)
                if not finite
            ]
            failures[i] = f"not finite: {', '.join(guilty)}"
            feasible[i] = False
    if not all_true(feasible):
        values[~feasible] = np.nan
    return Outcome(values, feasible, cached, failures)


def _plain_columns(columns: Mapping[str, Array], names: list[str], n: int) -> Array | None:
    """Metrics in one step, float64 [n, M]; None unless all of them are plain columns [n] of real numbers."""
    try:
        found = [columns[name] for name in names]
        if not _PLAIN.issuperset(map(type, found)):
            return None
        values = np.array(found)
    except (KeyError, TypeError, ValueError):
        return None
    if values.dtype.kind not in _REAL or values.shape != (len(names), n):
        return None
    return values.T if values.dtype == float else values.T.astype(float)


_PLAIN = frozenset({np.ndarray, list})  # others take longer; a masked array would lose its mask
_REAL = "fiub"  # kinds of NumPy types; a metric of True and False counts as 1 and 0


def _numbers(columns: Mapping[str, Array], name: str, n: int) -> Array:
    """A metric, float64 [n]; NaN where the simulator has None or a masked value."""
    column = _column(columns, name, n)
    if column.dtype.kind == "O":
        for value in column.tolist():
            if not (value is None or _is_number(value)):
                raise ArchGymError(
                    f"the simulator returned {name!r} with a value of type {type(value).__name__}; expected "
                    "a real number"
                )
    elif column.dtype.kind not in _REAL:
        raise ArchGymError(
            f"the simulator returned {name!r} as {column.dtype.type.__name__}; expected real numbers"
        )
    numbers: Array = np.ma.filled(column.astype(float), np.nan)
    return numbers


def _is_number(value: object) -> bool:
    # NumPy's durations are integers
    return isinstance(value, (Real, Decimal, np.bool_)) and not isinstance(value, np.timedelta64)


def _flags(columns: Mapping[str, Array], name: str, n: int) -> Array:
    """A column of True and False, bool [n]; 1 and 0 will do."""
    column = _column(columns, name, n)
    if column.dtype.kind != "b" or (type(column) is not np.ndarray and np.ma.is_masked(column)):
        for value in column.tolist():  # None where masked
            if not (_is_number(value) and value in (0, 1)):
                shown = value if _is_number(value) else type(value).__name__
                raise ArchGymError(f"the simulator returned {name!r} with {shown}; expected True or False")
    return np.array(column, bool)


def _reasons(column: Any, n: int) -> dict[int, str]:
    """The column `failure` as row -> reason. Reasons are cut before they are gathered, since a batch has
    thousands.
    """
    if (
        isinstance(column, (str, bytes, Mapping, Set))
        or not hasattr(column, "__len__")
        or getattr(column, "ndim", 1) != 1
    ):
        raise ArchGymError(
            f"the simulator returned 'failure' as {type(column).__name__}; expected a column of {n} texts"
        )
    if len(column) != n:
        raise ArchGymError(f"the simulator returned 'failure' with shape ({len(column)},); expected ({n},)")
    lines = {row: one_line(str(reason)) for row, reason in enumerate(column) if _is_reason(reason)}
    return {row: line for row, line in lines.items() if line}


def _is_reason(reason: Any) -> bool:
    try:
        return bool(reason) and bool(reason == reason)  # NaN, where pandas has no reason
    except TypeError:  # NA, where it has none either
        return False
    except ValueError:
        raise ArchGymError(
            f"the simulator returned 'failure' with a value of type {type(reason).__name__}; expected text"
        ) from None


def _column(columns: Mapping[str, Array], name: str, n: int) -> Array:
    try:
        given = columns[name]
    except KeyError:
        raise ArchGymError(f"the simulator returned no column {name!r}") from None
    try:
        column = np.asanyarray(given)
    except Exception as error:  # a ragged list, a tensor with a gradient or of a type that NumPy lacks
        got = f"a {type(given).__name__}, which NumPy cannot turn into an array ({error})"
        raise ArchGymError(f"the simulator returned {name!r} as {got}; expected {n} values") from None
    if column.shape != (n,):
        raise ArchGymError(f"the simulator returned {name!r} with shape {column.shape}; expected ({n},)")
    return column


def design_by_design(
    simulator: Simulator, indices: Indices, simulate: Callable[[Mapping[str, Any]], Mapping[str, float]]
) -> dict[str, Array]:
    """Columns [B] of a batch of designs [B, P], from a function of one design; `failure` has the reason
    where it raises.
    """
    columns: dict[str, Array] = {metric.name: np.full(len(indices), np.nan) for metric in simulator.metrics}
    failures = [""] * len(indices)
    for row, design in enumerate(map(simulator.space.design, indices)):
        try:
            for name, value in simulate(design).items():
                columns[name][row] = value
        except SimulatorUnavailable:
            raise
        except ArchGymError as error:
            failures[row] = str(error)
    columns["feasible"] = np.array([not reason for reason in failures], bool)
    if any(failures):
        columns["failure"] = np.array(failures)
    return columns


def check_schema(simulator: Simulator) -> None:
    """Refuse a simulator whose space and metrics do not fit together.

    Raises:
        ArchGymError: no space or metrics, repeated metric names, or a metric named like a parameter or a
            reserved column.
    """
    what = type(simulator).__name__
    if not isinstance(getattr(simulator, "space", None), DesignSpace):
        raise ArchGymError(f"expected {what}.space to be a DesignSpace; set it in the class or in __init__")
    metrics = getattr(simulator, "metrics", ())
    if not metrics or not all(isinstance(m, Metric) for m in metrics):
        raise ArchGymError(
            f"expected {what}.metrics to be a non-empty tuple of Metric; set it in the class or in __init__"
        )
    names = [m.name for m in metrics]
    if not all(isinstance(name, str) and is_unicode(name) for name in names):
        raise ArchGymError(
            f"{what}: expected names of metrics in Unicode, which files can store, got {names!r}"
        )
    reserved = {*simulator.space.names, *RESERVED_COLUMNS}
    for name in names:
        if names.count(name) > 1 or name in reserved:
            raise ArchGymError(
                f"{what}: metric name {name!r} is taken by another metric, a parameter or a column of the "
                "ledger"
            )
    for name in simulator.space.names:
        if name in RESERVED_COLUMNS:
            raise ArchGymError(f"{what}: parameter name {name!r} is taken by a column of the ledger")


RESERVED_COLUMNS = ("sample", "feasible", "valid", "reward", "cached", "seconds", "failure")
