"""The data card of a data set: its environment, its sources, its coverage of the space."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

import numpy as np

from archgym.dataset.data import Dataset
from archgym.space import Array, DesignSpace
from archgym.version import __version__
from archgym.words import markdown_table

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
    even = _even_distance(data.space)
    of_those, can_be = "", ""
    if data.space.conditional:
        of_those, can_be = " Of designs that have the parameter.", " that a design can have"
    sections = [
        f"# {data.env.id}: {len(data.distinct()):,} designs",
        _origin(data),
        "## Metrics\nOf feasible designs.",
        _metrics(data),
        "## Parameters\nValues seen of all values, and their evenness: the entropy of their frequencies, "
        f"divided by that of an even draw.{of_those}",
        _parameters(data),
        f"## Pairs of parameters\nPairs of values seen of all pairs{can_be}, least covered first.",
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
    indices, space = data.distinct().indices, data.space
    active = space.active(indices)
    rows = []
    for p, parameter in enumerate(space):
        counts = np.unique(indices[active[:, p], p], return_counts=True)[1]
        rows.append(
            [
                f"`{parameter.name}`",
                *([f"{active[:, p].mean():.1%}"] if space.conditional else []),
                f"{len(counts)} of {len(parameter)}",
                f"{_evenness(counts, len(parameter)):.2f}",
            ]
        )
    share = ["designs with it"] if space.conditional else []
    return markdown_table(["parameter", *share, "values seen", "evenness"], rows)


def _pairs(data: Dataset) -> str:
    indices, active = data.distinct().indices, data.space.active(data.distinct().indices)
    needed = _needed(data.space)
    # ranks stay small where values do not
    ranks = [np.unique(column, return_inverse=True)[1] for column in indices.T]
    found = []
    for a, b in itertools.combinations(range(len(data.space)), 2):
        both = active[:, a] & active[:, b]
        seen = len(np.unique((ranks[a] * len(indices) + ranks[b])[both]))
        if (possible := _possible(data.space, needed, a, b)) == 0:
            continue
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


def _needed(space: DesignSpace) -> list[dict[int, Array]]:
    """The values of each parameter's ancestors with which it is active: position -> bool [n]."""
    needed: list[dict[int, Array]] = []
    for parameter in space:
        own: dict[int, Array] = {}
        for name, values in parameter.when.items():
            parent = space.names.index(name)
            allowed = np.zeros(len(space[name]), bool)
            allowed[space[name].index(list(values))] = True
            own = _both(own, _both(needed[parent], {parent: allowed}))
        needed.append(own)
    return needed


def _both(some: Mapping[int, Array], others: Mapping[int, Array]) -> dict[int, Array]:
    """The values that meet both needs."""
    return {**some, **others, **{p: some[p] & others[p] for p in some.keys() & others.keys()}}


def _possible(space: DesignSpace, needed: list[dict[int, Array]], a: int, b: int) -> int:
    """The number of pairs of values of two parameters that designs with both have."""
    together = _both(needed[a], needed[b])
    if not all(values.any() for values in together.values()):
        return 0
    first, second = (int(together[p].sum()) if p in together else len(space.parameters[p]) for p in (a, b))
    return first * second


def _even_distance(space: DesignSpace) -> float:
    """The mean share of parameters in which two random designs differ."""
    if not space.conditional:
        return float(np.mean(1 - 1 / space.nvec))
    a, b = (space.sample(_N_DISTANCES, np.random.default_rng(seed)) for seed in (0, 1))
    return float((a != b).mean())


def _evenness(counts: Array, size: int) -> float:
    if not len(counts):
        return 0.0
    p = counts / counts.sum()
    return float(-(p * np.log(p)).sum() / np.log(size)) if size > 1 else 1.0
