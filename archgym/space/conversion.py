"""Design spaces of other libraries: ConfigSpace (Lindauer et al., 2019) and Optuna (Akiba et al., 2019).

    archgym                            ConfigSpace                               Optuna
    Categorical                        Categorical, Constant                     categorical
    Ordinal                            Ordinal                                   categorical, unordered
    Integer                            UniformInteger; Ordinal with a step       int
    Real                               Ordinal of its levels                     float, with a step unless log
    when={"a": 1, "b": [2, 3]}         And(Equals(a, 1), In(b, [2, 3]))          kept by `suggest` alone

A converted hyperparameter holds its parameter in `meta["archgym"]`, so that `from_configspace` gives an equal
space back. From elsewhere, a condition becomes the list of values that it admits, a continuous hyperparameter
a grid of levels, and a default the nearest of them. ConfigSpace's forbidden clauses have no counterpart in a
space: they make designs infeasible.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from archgym.errors import ArchGymError, MissingDependency, unknown
from archgym.space.design_space import DesignSpace
from archgym.space.parameters import Array, Categorical, Integer, Ordinal, Parameter, Real

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

LEVELS = 64  # of a continuous hyperparameter
META = "archgym"  # key of a hyperparameter's `meta`: JSON of its parameter and of its place in the space

Feasible = Callable[[Mapping[str, Array]], Array]
"""Columns of designs, as simulators get them -> bool [B]."""


def to_configspace(space: DesignSpace) -> ConfigurationSpace:
    """The space in ConfigSpace; needs `archgym[configspace]`.

    Raises:
        MissingDependency: ConfigSpace is not installed.
    """
    library = _library()
    found = library.ConfigurationSpace()
    found.add(*(_hyperparameter(library, p, parameter) for p, parameter in enumerate(space)))
    for parameter in space:
        child = found[parameter.name]
        conditions = [
            library.EqualsCondition(child, found[name], values[0])
            if len(values) == 1
            else library.InCondition(child, found[name], list(values))
            for name, values in parameter.when.items()
        ]
        if conditions:
            found.add(conditions[0] if len(conditions) == 1 else library.AndConjunction(*conditions))
    return found


def from_configspace(given: ConfigurationSpace, *, levels: int = LEVELS) -> tuple[DesignSpace, Feasible]:
    """A space of ConfigSpace, and a function that finds the designs which its forbidden clauses allow.

    Args:
        given: the space.
        levels: levels of each continuous hyperparameter.

    Returns:
        The design space, and a function: columns of designs -> bool [B], for a simulator's `feasible`.

    Raises:
        MissingDependency: ConfigSpace is not installed.
        ArchGymError: an Or of conditions on several hyperparameters, or a hyperparameter without bounds.
    """
    library = _library()
    made = {each.name: _parameter(library, each, levels) for each in sorted(given.values(), key=_place)}
    conditions: dict[str, dict[str, list[Any]]] = {}
    for condition in given.conditions:
        first = getattr(condition, "components", [condition])[0]
        _merge(conditions.setdefault(first.child.name, {}), _admitted(library, condition, made))
    order: list[str] = []

    def place(name: str) -> None:  # parents first, else in ConfigSpace's order
        for parent in conditions.get(name, ()):
            place(parent)
        if name not in order:
            order.append(name)

    for name in made:
        place(name)
    space = DesignSpace([replace(made[name], when=conditions.get(name, {})) for name in order])
    clauses = list(given.forbidden_clauses)

    def feasible(designs: Mapping[str, Array]) -> Array:
        rows, group = np.unique(space.encode(designs), axis=0, return_inverse=True)
        allowed = [
            not any(_forbids(library, clause, space.design(row)) for clause in clauses) for row in rows
        ]
        return np.array(allowed, bool)[group.reshape(-1)]

    return space, feasible


def to_optuna(space: DesignSpace) -> dict[str, BaseDistribution]:
    """Optuna's distribution of every parameter, without conditions, which `suggest` keeps."""
    return {parameter.name: _distribution(parameter) for parameter in space}


def from_optuna(distributions: Mapping[str, BaseDistribution], *, levels: int = LEVELS) -> DesignSpace:
    """The space of Optuna's distributions, such as `study.best_trial.distributions`.

    Args:
        distributions: distribution by name.
        levels: levels of a float without a step.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    parameters: list[Parameter] = []
    for name, given in distributions.items():
        if isinstance(given, CategoricalDistribution):
            parameters.append(Categorical(name, given.choices))
        elif isinstance(given, IntDistribution):
            parameters.append(Integer(name, given.low, given.high, given.step))
        elif isinstance(given, FloatDistribution):
            low, high, step = given.low, given.high, given.step
            n = levels if step is None else round((high - low) / step) + 1
            parameters.append(Real(name, low, high, given.log, 1 if low == high else n))
        else:
            raise unknown("Optuna distribution", type(given).__name__, ("Categorical", "Int", "Float"))
    return DesignSpace(parameters)


def suggest(trial: Trial, space: DesignSpace) -> dict[str, Any]:
    """A design by Optuna's trial, which is asked for active parameters alone: name -> value on the grid."""
    design: dict[str, Any] = {}
    for parameter in space:
        if all(name in design and design[name] in values for name, values in parameter.when.items()):
            asked = trial._suggest(parameter.name, _distribution(parameter))
            design[parameter.name] = _nearest(parameter, asked)
    return design


def _library() -> Any:
    try:
        import ConfigSpace
    except ImportError as error:
        raise MissingDependency(
            'spaces of ConfigSpace need it: pip install "archgym[configspace]"'
        ) from error
    return ConfigSpace


def _hyperparameter(library: Any, place: int, parameter: Parameter) -> Any:
    meta = {META: json.dumps([place, replace(parameter, when={}).to_json()])}
    default = _nearest(parameter, parameter.default_value)
    values: dict[str, Any]
    if isinstance(parameter, Categorical):
        kind, values = library.CategoricalHyperparameter, {"choices": parameter.plain}
    elif isinstance(parameter, Integer) and parameter.step == 1 and len(parameter) > 1:
        kind, values = library.UniformIntegerHyperparameter, {"lower": parameter.low, "upper": parameter.high}
    else:
        kind, values = library.OrdinalHyperparameter, {"sequence": list(parameter.plain)}
    return kind(parameter.name, **values, default_value=default, meta=meta)


def _place(given: Any) -> int:
    """Place of a hyperparameter in the space that it comes from, 0 without one."""
    return int(json.loads(given.meta[META])[0]) if given.meta and META in given.meta else 0


def _parameter(library: Any, given: Any, levels: int) -> Parameter:
    """The parameter of a hyperparameter, without its conditions."""
    if given.meta and META in given.meta:
        return Parameter.from_json({**json.loads(given.meta[META])[1], "name": given.name})
    if isinstance(given, library.Constant):
        return Categorical(given.name, [given.value])
    if isinstance(given, library.CategoricalHyperparameter):
        return Categorical(given.name, given.choices, given.default_value)
    if isinstance(given, library.OrdinalHyperparameter):
        return Ordinal(given.name, given.sequence, given.default_value)
    if not np.isfinite([given.lower, given.upper]).all():
        raise ArchGymError(f"expected bounds of the hyperparameter {given.name!r}, got none; give it some")
    if isinstance(given, library.hyperparameters.IntegerHyperparameter):
        return Integer(given.name, int(given.lower), int(given.upper), default=int(given.default_value))
    real = Real(
        given.name, float(given.lower), float(given.upper), bool(getattr(given, "log", False)), levels
    )
    return replace(real, default=_nearest(real, float(given.default_value)))


def _nearest(parameter: Parameter, value: Any) -> Any:
    """The value itself, or the level of a Real nearest to it."""
    if not isinstance(parameter, Real):
        return value
    scale = np.log if parameter.log else np.asarray
    return parameter.value(int(np.abs(scale(parameter.grid) - scale(value)).argmin()))


Admitted = dict[str, list[Any]]  # parent -> values that open the child


def _merge(into: Admitted, other: Admitted) -> None:
    """Both conditions: of one parent, the values that both admit."""
    for name, values in other.items():
        into[name] = [value for value in into.get(name, values) if value in values]


def _admitted(library: Any, condition: Any, parameters: Mapping[str, Parameter]) -> Admitted:
    """The values of each parent that a condition admits."""
    if isinstance(condition, library.AndConjunction):
        together: Admitted = {}
        for each in condition.components:
            _merge(together, _admitted(library, each, parameters))
        return together
    if isinstance(condition, library.OrConjunction):
        parts = [_admitted(library, each, parameters) for each in condition.components]
        parents = {name for part in parts for name in part}
        if len(parents) > 1:
            raise ArchGymError(
                f"expected conditions of which all hold, got {condition}; make a parameter of the "
                f"combinations of {' and '.join(sorted(parents))}"
            )
        (name,) = parents
        return {name: [v for v in parameters[name].plain if any(v in part[name] for part in parts)]}
    parent = parameters[condition.parent.name]
    return {parent.name: list(_values(library, condition, parent))}


def _values(library: Any, condition: Any, parent: Parameter) -> Iterable[Any]:
    if isinstance(condition, library.InCondition):
        return [_nearest(parent, value) for value in condition.values]
    if isinstance(condition, library.EqualsCondition):
        return [_nearest(parent, condition.value)]
    if isinstance(condition, library.NotEqualsCondition):
        return [value for value in parent.plain if value != _nearest(parent, condition.value)]
    value, below = condition.value, isinstance(condition, library.LessThanCondition)
    if isinstance(parent, Ordinal):  # by its order
        place = list(parent.plain).index(value)
        return parent.plain[:place] if below else parent.plain[place + 1 :]
    return [each for each in parent.plain if (each < value if below else each > value)]


def _forbids(library: Any, clause: Any, design: Mapping[str, Any]) -> bool:
    """Whether a clause forbids a design; a relation needs both of its hyperparameters to be active."""
    if isinstance(clause, library.forbidden.ForbiddenRelation):
        return {clause.left.name, clause.right.name} <= design.keys() and clause.is_forbidden_value(design)
    return bool(clause.is_forbidden_value(design))


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.value(len(parameter) - 1), step=parameter.step)
    if isinstance(parameter, Real):
        low, high, n = float(parameter.low), float(parameter.high), len(parameter)
        if parameter.log or n == 1:
            return FloatDistribution(low, low if n == 1 else high, log=parameter.log)
        return FloatDistribution(low, high, step=(high - low) / (n - 1))
    return CategoricalDistribution(parameter.plain)
