"""The data card of a data set: its environment, its sources, its coverage of the space."""

from __future__ import annotations

import itertools
import json

import numpy as np

from archgym.dataset.data import Dataset
from archgym.space import Array
from archgym.text import markdown_table
from archgym.version import __version__

_MAX_PAIRS = 10  # pairs of parameters shown, the least covered first
_N_DISTANCES = 2000  # pairs of designs from which an agent's diversity is estimated
_USE = """## Use
```python
from archgym.dataset import load_dataset

data = load_dataset("DIR")  # data.indices, data.column("metric"), data.distinct()
```
`archgym proxy train DIR --target METRIC --model hist_gradient_boosting --out MODEL`

Licence: state yours here."""


def card(data: Dataset) -> str:
    """The data card, as Markdown."""
    even = np.mean(1 - 1 / data.space.nvec)
    sections = [
        f"# {data.env.id}: {len(data.distinct()):,} designs",
        _origin(data),
        "## Metrics\nOf feasible designs.",
        _metrics(data),
        "## Parameters\nValues seen of all values, and their evenness: the entropy of their frequencies, "
        "divided by that of an even draw.",
        _parameters(data),
        "## Pairs of parameters\nPairs of values seen of all pairs, least covered first.",
        _pairs(data),
        "## Agents\nDistance: the share of parameters in which two random designs of the agent differ; an "
        f"even draw has {even:.2f}.",
        _agents(data),
        _USE,
    ]
    return "\n\n".join(sections) + "\n"


def _origin(data: Dataset) -> str:
    designs, env = data.distinct(), data.env
    facts = {
        "environment": f"`{env.id}` with `{json.dumps(env.kwargs)}`",
        "simulator": f"`{json.dumps(env.simulator)}`",
        "archgym": __version__,
        "rows": f"{len(data):,}, one per design and agent",
        "designs": f"{len(designs):,} of {data.space.size:,} ({len(designs) / data.space.size:.3%})",
        "feasible": f"{designs.feasible.mean():.1%} of them",
        "evaluations": f"{int(data.count.sum()):,}; equal designs of one agent are one row with a `count`",
    }
    sources = "".join(f"\n- {source}" for source in data.sources)
    return markdown_table(["", ""], [[name, text] for name, text in facts.items()]) + "\n\nSources:" + sources


def _metrics(data: Dataset) -> str:
    designs = data.distinct()
    rows = []
    for j, metric in enumerate(data.metrics):
        column = designs.values[designs.feasible, j]
        quantiles = np.quantile(column, [0, 0.25, 0.5, 0.75, 1]) if len(column) else np.full(5, np.nan)
        rows.append([f"`{metric.name}`", metric.unit, metric.better or "", *(f"{q:.5g}" for q in quantiles)])
    return markdown_table(["metric", "unit", "better", "lowest", "25 %", "median", "75 %", "highest"], rows)


def _parameters(data: Dataset) -> str:
    indices = data.distinct().indices
    rows = []
    for p, parameter in enumerate(data.space):
        counts = np.unique(indices[:, p], return_counts=True)[1]
        rows.append(
            [
                f"`{parameter.name}`",
                f"{len(counts)} of {len(parameter)}",
                f"{_evenness(counts, len(parameter)):.2f}",
            ]
        )
    return markdown_table(["parameter", "values seen", "evenness"], rows)


def _pairs(data: Dataset) -> str:
    indices, nvec = data.distinct().indices, data.space.nvec.tolist()
    # ranks stay small where values do not
    ranks = [np.unique(column, return_inverse=True)[1] for column in indices.T]
    found = []
    for a, b in itertools.combinations(range(len(nvec)), 2):
        seen, possible = len(np.unique(ranks[a] * len(indices) + ranks[b])), nvec[a] * nvec[b]
        found.append((seen / possible, seen, possible, f"`{data.space.names[a]}` x `{data.space.names[b]}`"))
    found.sort(key=lambda pair: pair[0])
    complete = sum(share == 1 for share, *_ in found)
    rows = [
        [name, f"{seen} of {possible}", f"{share:.1%}"]
        for share, seen, possible, name in found[:_MAX_PAIRS]
        if share < 1
    ]
    return f"{complete} of {len(found)} pairs are complete." + (
        "\n\n" + markdown_table(["pair", "seen", "share"], rows) if rows else ""
    )


def _agents(data: Dataset) -> str:
    rng = np.random.default_rng(0)
    rows = []
    for agent in np.unique(data.agent):
        own = data.rows(data.agent == agent)
        a, b = rng.integers(len(own), size=(2, _N_DISTANCES))
        distance = (own.indices[a] != own.indices[b])[a != b].mean() if len(own) > 1 else 0.0
        share = f"{len(own) / data.space.size:.3%}"
        rows.append(
            [
                f"`{agent}`",
                f"{len(own):,}",
                share,
                f"{int(own.count.sum()):,}",
                f"{own.feasible.mean():.1%}",
                f"{distance:.2f}",
            ]
        )
    return markdown_table(["agent", "designs", "of the space", "evaluations", "feasible", "distance"], rows)


def _evenness(counts: Array, size: int) -> float:
    p = counts / counts.sum()
    return float(-(p * np.log(p)).sum() / np.log(size)) if size > 1 else 1.0
