"""A study of kind "generalise" in sentences: the section's text and the conclusions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from archgym.lottery.generalise.analysis import Analysis, Transfer
from archgym.lottery.generalise.data import Baseline
from archgym.lottery.words import Conclusion
from archgym.words import duration

MEANING = {
    Transfer.GENERALISES: (
        "its first design for a held-out context is better than a random valid design, than the one design "
        "that is best for all training contexts, and than the optimum of the nearest training context; each "
        "difference has an interval above 0"
    ),
    Transfer.COPIES: "better than a random valid design, but not than both kinds of copies",
    Transfer.NOTHING: "not better than a random valid design",
    Transfer.UNRESOLVED: "fewer than two splits are stored",
}
"""Each verdict, as the rest of a sentence."""


def conclude(analysis: Analysis) -> list[Conclusion]:
    """A few sentences on each task and each policy, at its largest number of training samples."""
    found = []
    for row in final(analysis.policies).to_dicts():
        mine = {name: row[name] for name in ("task", "agent", "samples")}
        found.append(Conclusion(row["task"], _policy(row)))
        compared = {b["baseline"]: b for b in _rows(analysis.baselines, mine)}
        if row["verdict"] != Transfer.UNRESOLVED:
            found.append(Conclusion(row["task"], _baselines(row, compared)))
        if row["verdict"] in (Transfer.GENERALISES, Transfer.COPIES):
            saved = _rows(analysis.samples_saved, mine)
            found += [Conclusion(row["task"], _saved(row, saved))] if saved else []
    return found


def final(policies: pl.DataFrame) -> pl.DataFrame:
    """The rows of each policy at its largest number of training samples."""
    return policies.filter(pl.col("samples") == pl.col("samples").max().over("task", "agent"))


def _rows(frame: pl.DataFrame, like: Mapping[str, Any]) -> list[dict[str, Any]]:
    return frame.filter(*(pl.col(name) == value for name, value in like.items())).to_dicts()


def _policy(row: Mapping[str, Any]) -> str:
    """contextual_value generalises: its first design ... has 0.93 of the exact optimum."""
    agent = f"the policy {row['agent']}"
    says = {
        Transfer.GENERALISES: f"{agent} generalises",
        Transfer.COPIES: f"{agent} is no better than copying",
        Transfer.NOTHING: f"{agent} shows no generalisation",
        Transfer.UNRESOLVED: f"whether {agent} generalises is not resolved",
    }[Transfer(row["verdict"])]
    verified = f"{row['verified']:.2f} ({interval(row['verified_low'], row['verified_high'])})"
    return (
        f"{says}: after {row['samples']:,} training samples ({duration(row['seconds'])}), its first design "
        f"for a context that it never saw has {row['share']:.2f} of the exact optimum "
        f"({interval(row['share_low'], row['share_high'])}), and the best of {row['verify']} simulated "
        f"proposals {verified}; the worst context of a split has {_number(row['worst'])} on average, "
        f"the lowest of all {row['lowest']:.2f} ({row['lowest_context']})."
    )


def _baselines(row: Mapping[str, Any], compared: Mapping[str, Mapping[str, Any]]) -> str:
    """The share of a policy's first design against designs that need no policy."""
    parts = []
    for baseline, words in _AGAINST.items():
        if baseline in compared:
            one = compared[baseline]
            gap = f"{one['difference']:+.2f} ({interval(one['low'], one['high'], '+.2f')})"
            parts.append(f"{gap} against {words} ({one['share']:.2f})" + ("" if one["excludes_0"] else _OPEN))
    return f"the share of the first design of {row['agent']} is {'; '.join(parts)}."


_OPEN = ", which is not resolved"
_AGAINST = {
    Baseline.NEAREST: "the optimum of the nearest training context",
    Baseline.ONE_FOR_ALL: "the one design that is best for all training contexts",
    Baseline.RANDOM: "a random valid design",
}


def _saved(row: Mapping[str, Any], saved: list[dict[str, Any]]) -> str:
    parts = []
    for quality in dict.fromkeys(one["quality"] for one in saved):
        mine = [one for one in saved if one["quality"] == quality]
        spent = mine[0]["spent"]
        searches = ", ".join(f"{one['search']} {equal_in_words(one)}" for one in mine)
        own = f"the {quality}" + (f", which takes {spent} itself" if spent else "")
        parts.append(f"as {own}: {searches}")
    equal = f"with which a search is as good as {row['agent']}, {'; '.join(parts)}"
    return f"samples of the held-out context {equal}."


def equal_in_words(row: Mapping[str, Any]) -> str:
    """45 (38 to 60), 250 (180 to > 300), or > 300."""
    equal, low, high = (_samples(row[name], row["limit"]) for name in ("equal", "low", "high"))
    return equal if row["low"] is None or equal == low == high else f"{equal} ({low} to {high})"


def _samples(value: float | None, limit: int) -> str:
    if value is None:
        return "unknown"
    return f"> {limit:,}" if np.isinf(value) else f"{value:,.0f}"


def interval(low: float | None, high: float | None, form: str = ".2f") -> str:
    """The limits of an interval: 0.91 to 0.95."""
    return "interval unknown" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
