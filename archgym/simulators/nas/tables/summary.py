"""Summary of an accuracy table: its distribution, its noise ceiling, and predictors of its accuracies.

With S training seeds per row, MSB the mean square between rows and MSW the mean square within them (one-way
analysis of variance),

    ICC(1, S) = (MSB - MSW) / MSB   the reliability of a mean over S seeds: the share of its variance that is
                                    not noise

(Shrout & Fleiss, "Intraclass correlations", 1979). It bounds what any predictor of the accuracies can reach,
and is smaller among the best rows, which differ less. "Live" convolutions are those on a path from the cell's
input to its output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from archgym.simulators.nas.cells import CONV3, all_cells, live_edges
from archgym.simulators.nas.costs import get_network
from archgym.simulators.nas.tables.table import Table
from archgym.space import Array, Indices


@dataclass(frozen=True)
class Summary:
    """A table of cells in figures; accuracies are means over the seeds, in test where it is known, of
    distinct rows.

    Attributes:
        kind: kind of accuracies: "test", or "validation" where no test accuracy is known.
        accuracy: accuracy of every row, float64 [rows].
        quantiles: accuracy at 0, 25, 50, 75 and 100 % of the rows.
        between, within: standard deviation of the rows' means, and of the seeds of a row; None with one seed.
        seeds: mean Spearman correlation of two seeds; None with one seed.
        reliability, top_reliability: ICC(1, S) of all rows, and of the quarter with the highest means; None
            with one seed.
        by_convolutions: mean accuracy of the rows with 0, 1, ... 6 live 3x3 convolutions.
        correlations: Spearman correlation of each other figure of a row with its accuracy.
        front: rows that no other row beats in accuracy at the same or fewer multiply-adds, by multiply-adds.
    """

    kind: str
    accuracy: npt.NDArray[np.float64]
    quantiles: tuple[float, ...]
    between: float
    within: float | None
    seeds: float | None
    reliability: float | None
    top_reliability: float | None
    by_convolutions: tuple[float, ...]
    correlations: Mapping[str, float]
    front: Indices


def summarize(table: Table) -> Summary:
    """The figures of a table of cells."""
    tested = bool(np.isfinite(table.test_accuracy).any())
    trials = (table.test_accuracy if tested else table.valid_accuracy[:, :, -1]).astype(float)  # [rows, S]
    trials = trials[:, np.isfinite(trials).all(axis=0)]  # seeds that all rows have
    accuracy = np.nanmean(
        table.test_accuracy if tested else table.valid_accuracy[:, :, -1], axis=1, dtype=float
    )
    cells = first_cells(table)
    several = trials.shape[1] > 1
    top = np.argsort(accuracy)[-len(accuracy) // 4 :]
    live = (live_edges(cells) & (cells == CONV3)).sum(axis=1)
    return Summary(
        kind="test" if tested else "validation",
        accuracy=accuracy,
        quantiles=tuple(np.quantile(accuracy, [0, 0.25, 0.5, 0.75, 1]).tolist()),
        between=float(accuracy.std(ddof=1)),
        within=float(np.sqrt(trials.var(axis=1, ddof=1).mean())) if several else None,
        seeds=float(np.mean([spearman(*pair) for pair in combinations(trials.T, 2)])) if several else None,
        reliability=reliability(trials) if several else None,
        top_reliability=reliability(trials[top]) if several else None,
        by_convolutions=tuple(
            float(accuracy[live == count].mean()) for count in range(7) if (live == count).any()
        ),
        correlations={
            name: spearman(column, accuracy) for name, column in _columns(table, cells, tested).items()
        },
        front=pareto_front(get_network(table.network).costs(cells)["macs"], accuracy),
    )


def first_cells(table: Table) -> Indices:
    """The first cell of every row, [rows, 6]."""
    rows, first = np.unique(table.row, return_index=True)
    cells = np.zeros((table.test_accuracy.shape[0], 6), np.int64)
    cells[rows] = all_cells()[first]
    return cells


def reliability(trials: Array) -> float:
    """ICC(1, S) of trials [rows, S]."""
    between = trials.shape[1] * trials.mean(axis=1).var(ddof=1)
    return float((between - trials.var(axis=1, ddof=1).mean()) / between)


def spearman(a: Array, b: Array) -> float:
    """Spearman's rank correlation, ties sharing their mean rank."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def pareto_front(cost: Array, accuracy: Array) -> Indices:
    """Rows that no other row beats in accuracy at the same or a lower cost, by cost."""
    order = np.lexsort((-accuracy, cost))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], accuracy[order][:-1]]))
    return order[accuracy[order] > best]


def _columns(table: Table, cells: Indices, tested: bool) -> dict[str, Array]:
    """Possible predictors of a row's accuracy: [rows] each."""
    budgets = table.budgets.tolist()
    seen = np.nanmean(table.valid_accuracy, axis=1, dtype=float)  # [rows, K]
    shown = len(budgets) if tested else len(budgets) - 1
    return {
        **get_network(table.network).costs(cells),
        **{f"valid_accuracy at {budget} epochs": seen[:, k] for k, budget in enumerate(budgets[:shown])},
        **table.columns,
    }
