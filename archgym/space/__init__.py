"""Design spaces: ordered sets of finite parameters, with designs as rows of indices.

A design is a row i of P indices, one per parameter p with n_p values. With the first parameter most
significant,

    size       = prod_p n_p
    ordinal(i) = sum_p i_p * prod_{q > p} n_q            (mixed radix, 0 <= ordinal < size)

A parameter may be active only `when` earlier ones have given values; size and ordinals are then those of
distinct designs (`archgym.space.orders`).

Agents act on indices; simulators read values. `decode` and `encode` go between the two, a column per
parameter.
"""

from archgym.space.conversion import from_configspace, from_optuna, suggest, to_configspace, to_optuna
from archgym.space.design_space import DesignSpace
from archgym.space.parameters import (
    LONGEST_GRID,
    Array,
    Categorical,
    Indices,
    Integer,
    Ordinal,
    Parameter,
    Real,
    all_true,
    condition_in_words,
)

__all__ = [
    "LONGEST_GRID",
    "Array",
    "Categorical",
    "DesignSpace",
    "Indices",
    "Integer",
    "Ordinal",
    "Parameter",
    "Real",
    "all_true",
    "condition_in_words",
    "from_configspace",
    "from_optuna",
    "suggest",
    "to_configspace",
    "to_optuna",
]
