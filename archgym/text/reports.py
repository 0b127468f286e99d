"""The samples of a ledger for a language model, within a limit of tokens.

Tokens are counted without a tokenizer: one for every three letters of a word or part of them, one for every
other byte of UTF-8 (digits, marks and spaces). Tokenizers in use join spaces with words, and several digits
or marks, so that they count fewer in such text; one that splits names into single letters counts more.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import numpy as np

from archgym.errors import whole
from archgym.ledger import Ledger
from archgym.space import Array, Indices
from archgym.text.designs import Values, as_json
from archgym.text.prompts import budget_in_words, visible
from archgym.words import one_line

LEAST_TOKENS = 100
_BEST, _RECENT = 64, 32  # samples at most
_REASONS = 3  # distinct failures
_REASON = 160  # characters
_TEXT = 200  # characters of a value
_TOKEN = re.compile(rb"[A-Za-z]{1,3}|[^A-Za-z]")


def tokens_in(text: str) -> int:
    """Tokens of a text by the rule above."""
    return len(_TOKEN.findall(text.encode("utf-8", "backslashreplace")))


def report(ledger: Ledger, tokens: int = 1000, *, reason_as: Callable[[str], str] = one_line) -> str:
    """The best and the latest samples within a limit, and why others failed.

    Args:
        ledger: ledger of an environment.
        tokens: limit on the text, counted as above; at least 100.
        reason_as: function that makes a failure's reason fit to show.

    Returns:
        Lines: numbers of samples; names of columns; rows as JSON lists, best first (distinct designs) and
        then the latest ones; failures by their reason. Infeasible designs have null for their metrics,
        inactive parameters for their value.

    Raises:
        ArchGymError: a limit below 100.
    """
    left = whole("tokens", tokens, least=LEAST_TOKENS)
    writer = _Writer(ledger, reason_as)
    head = [f"Samples: {budget_in_words(ledger)}{writer.counts()}."]
    left -= tokens_in(head[0]) + 1
    if not ledger.samples:
        return head[0]
    failures = _within(writer.failures(), left // 4)
    left -= sum(tokens_in(line) + 1 for line in failures)
    columns = writer.columns()
    left -= tokens_in(columns) + tokens_in("Best:\nLatest:\n") + 1
    best, latest = _rows(writer, left)
    if not best and not latest:
        return "\n".join([*head, *failures])
    return "\n".join(
        [
            *head,
            columns,
            *(["Best:", *best] if best else []),
            *(["Latest:", *latest] if latest else []),
            *failures,
        ]
    )


def _within(lines: Iterator[str], tokens: int) -> list[str]:
    kept = []
    for line in lines:
        tokens -= tokens_in(line) + 1
        if tokens < 0:
            break
        kept.append(line)
    return kept


def _rows(writer: _Writer, left: int) -> tuple[list[str], list[str]]:
    """The best samples, and the latest beside them (newest first), alternately as long as there is room."""
    best, latest = writer.chosen()
    kept: tuple[list[str], list[str]] = ([], [])
    for pair in zip_longest(best, latest):
        for lines, sample in zip(kept, pair, strict=True):
            if sample is None:
                continue
            line = writer.row(sample)
            left -= tokens_in(line) + 1
            if left < 0:
                return kept
            lines.append(line)
    return kept


class _Writer:
    """Lines about a ledger."""

    def __init__(self, ledger: Ledger, reason_as: Callable[[str], str]):
        self.reason_as = reason_as
        self.ledger, self.simulator = ledger, ledger.simulator
        metrics = self.simulator.metrics
        self.shown = [(j, metric) for j, metric in enumerate(metrics) if metric in visible(metrics)]
        self.values = [Values(parameter) for parameter in self.simulator.space]

    def counts(self) -> str:
        """ "; 30 distinct, 2 repeated; 25 valid, 3 violate a limit, 4 infeasible"."""
        ledger = self.ledger
        if not ledger.samples:
            return ""
        feasible, valid = int(ledger.column("feasible").sum()), int(ledger.column("valid").sum())
        repeated = ledger.duplicates
        parts = [f"{ledger.samples - repeated:,} distinct"]
        parts += [f"{repeated:,} repeated"] if repeated else []
        states = [f"{valid:,} valid"]
        states += [f"{feasible - valid:,} violate a limit"] if feasible > valid else []
        states += [f"{ledger.samples - feasible:,} infeasible"] if ledger.samples > feasible else []
        return f"; {', '.join(parts)}; {', '.join(states)}"

    def columns(self) -> str:
        """What the rows hold."""
        names = ["sample", *(["context"] if self.ledger.contextual else []), "reward", "state"]
        names += [_cut(name) for name in self.simulator.space.names]
        names += [_cut(metric.name) for _, metric in self.shown]
        return f"Columns: {as_json(names)}"

    def failures(self) -> Iterator[str]:
        """The most frequent reasons why samples could not be evaluated."""
        reasons = Counter(one_line(self.reason_as(f.reason), _REASON) for f in self.ledger.failures)
        for reason, times in reasons.most_common(_REASONS):
            yield f"Failed, {times:,} x: {as_json(reason)}"

    def chosen(self) -> tuple[list[int], list[int]]:
        """The best valid samples of distinct designs, and the latest that are not among them."""
        ledger = self.ledger
        valid = np.flatnonzero(ledger.column("valid"))
        rewards: Array = ledger.column("reward")[valid]
        if len(valid) > 8 * _BEST:  # of long ledgers only the top is sorted
            top = np.sort(np.argpartition(-rewards, 8 * _BEST)[: 8 * _BEST])
            valid, rewards = valid[top], rewards[top]
        best = self._distinct(valid[np.argsort(-rewards, kind="stable")])[:_BEST]
        latest = range(ledger.samples - 1, max(-1, ledger.samples - 1 - _RECENT), -1)
        return best, [sample for sample in latest if sample not in set(best)]

    def _distinct(self, samples: Indices) -> list[int]:
        if self.ledger.contextual or not len(samples):
            found: list[int] = samples.tolist()
            return found
        rows = self.ledger.column("indices")[samples].astype(np.int64)
        _, first = np.unique(self.simulator.canonical(rows), axis=0, return_index=True)
        chosen: list[int] = samples[np.sort(first)].tolist()
        return chosen

    def row(self, sample: int) -> str:
        """A sample as a JSON list."""
        ledger, space = self.ledger, self.simulator.space
        indices = ledger.column("indices")[sample].astype(np.int64)
        on = space.active(indices[None])[0].tolist()
        feasible, valid = bool(ledger.column("feasible")[sample]), bool(ledger.column("valid")[sample])
        row: list[Any] = [sample]
        row += [int(ledger.column("context")[sample])] if ledger.contextual else []
        row += [_rounded(ledger.column("reward")[sample])]
        row += ["valid" if valid else "violates" if feasible else "infeasible"]
        for values, index, active in zip(self.values, indices.tolist(), on, strict=True):
            row.append(_short(values.form(index)) if active else None)
        metrics = ledger.column("values")[sample]
        row += [_rounded(metrics[j]) if feasible else None for j, _ in self.shown]
        return as_json(row)


def _rounded(value: float) -> float | int | None:
    """Five significant digits, which is what a reader can compare; None where JSON has no such number."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _short(value: Any) -> Any:
    """A value of a design: floats with six significant digits (the nearest level is meant), text cut."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return _cut(value) if isinstance(value, str) else value


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else one_line(text, _TEXT)
