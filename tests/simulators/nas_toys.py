"""Accuracy tables of cells that were never trained, for tests of everything around real ones."""

import numpy as np

from archgym.simulators.nas.cells import CONV3, all_cells, canonical_classes, live_edges
from archgym.simulators.nas.tables.table import Table

BUDGETS = (1, 4, 16)


def toy_table(name: str = "toy", *, seeds: int = 3, network: str = "digits") -> Table:
    """Accuracies that grow with live 3x3 convolutions and with epochs, and training seeds that differ by
    noise.
    """
    rng = np.random.default_rng(0)
    row = canonical_classes(all_cells(), shared_weights=False)
    rows, first = np.unique(row, return_index=True)
    cells = all_cells()[first]
    live = (live_edges(cells) & (cells == CONV3)).sum(axis=1)
    worth = 0.3 + 0.05 * live + 0.05 * rng.random(len(rows))
    test = worth[:, None] + 0.01 * rng.standard_normal((len(rows), seeds))
    noise = 0.01 * rng.standard_normal((len(rows), seeds, len(BUDGETS)))
    valid = np.clip(worth[:, None, None] * np.array([0.3, 0.6, 1.0]) + noise, 0, 1)
    seconds = (1 + live)[:, None] * np.array(BUDGETS) / 16
    return Table(
        name=name,
        space="cell",
        network=network,
        row=row,
        budgets=np.array(BUDGETS),
        valid_accuracy=valid.astype(np.float32),
        test_accuracy=test.astype(np.float32),
        train_seconds=seconds.astype(np.float32),
        provenance={"source": "made up"},
    )
