"""Quantities, numbers of designs and objectives in words."""

from __future__ import annotations

from collections.abc import Sequence

from archgym.objective import AtMost, Maximize, Minimize, Objective, Target
from archgym.simulator import Metric
from archgym.words import number


def quantity(value: float, metric: Metric) -> str:
    """ "1.5e-05 s"."""
    return number(value) if metric.unit == "1" else f"{number(value)} {metric.unit}"


def count(size: int) -> str:
    """A number of designs: "17,280", "8.92e+16", "about 10^412"."""
    return (
        f"{size:,}"
        if size < 10**15
        else f"{size:.3g}"
        if size < 10**300
        else f"about 10^{len(str(size)) - 1}"
    )


def objective_in_words(objective: Objective, metrics: Sequence[Metric]) -> str:
    """ "minimize latency_s, with area_mm2 <= 4 mm2"."""
    schema = {m.name: m for m in metrics}
    terms = []
    for term in objective.terms:
        verb = (
            "minimize"
            if isinstance(term, Minimize)
            else "maximize"
            if isinstance(term, Maximize)
            else "bring to target"
        )
        goal = f" {quantity(term.value, schema[term.metric])}" if isinstance(term, Target) else ""
        weight = f" (weight {number(term.weight)})" if term.weight != 1 else ""
        floor = term.floor if isinstance(term, Minimize) else 0
        down_to = f" down to {quantity(floor, schema[term.metric])}" if floor else ""
        terms.append(f"{verb} {term.metric}{goal}{down_to}{weight}")
    limits = [
        f"{c.metric} {'<=' if isinstance(c, AtMost) else '>='} {quantity(c.limit, schema[c.metric])}"
        for c in objective.constraints
    ]
    reference = [
        f"{t.metric} relative to {quantity(objective.reference[t.metric], schema[t.metric])}"
        for t in objective.terms
        if t.metric in objective.reference
    ]
    text = (
        " and ".join(terms)
        + (f", with {' and '.join(limits)}" if limits else "")
        + (f"; {', '.join(reference)}" if reference else "")
    )
    return (
        text
        + (f"; form {objective.form}" if objective.form != "log" else "")
        + ("; strict" if objective.strict else "")
    )
