"""One run of a study: from its specification to the bytes of its Parquet file.

A run's table has the columns of a search's history (`sample`, parameters, metrics, `feasible`, `valid`,
`reward`), `cost` (after each sample) where costs are in a unit other than samples or the run has a cost
budget, and `elapsed_seconds`, the wall time since the run's start; metrics that an infeasible design does
not have are null. By default it holds only the rows where the best valid reward improved, those that extended
the front where metrics are traded off, and the last one. The file's metadata hold two JSON objects:
"archgym", the specification that repeats the run, and "archgym.result",

    status              "done" or "failed" (then with the reason, and the rows of what was simulated before)
    samples, unique     samples, distinct designs among them
    feasible, valid     numbers of feasible and of valid samples
    clipped             valid samples with a reward that is cut at +-R (`archgym.objective`)
    mean_valid_reward   of all valid samples: under random search, of the average design
    best_reward         null where no sample was valid
    failures, reasons   samples that the simulator could not evaluate; the most frequent reasons with their
                        counts
    seconds             wall time of the run
    cost, cost_unit     of all samples and charges, where the table has the column `cost`
    reference_cost      of a reference sample, in that unit
    charges             total of what was paid beside samples, by what it was for
    statistics          figures of the agent about its search, where it has some (`Agent.statistics`)
    stopped_early       with a cost budget: whether the agent ended the run before the budget refused anything
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow

from archgym._search import Search, specified
from archgym.callbacks.hook import CannotStart
from archgym.callbacks.named import make_callback
from archgym.errors import ArchGymError, MissingDependency, reason_of
from archgym.files.columns import arrow_table
from archgym.pareto import directions, extends_front
from archgym.simulator import Metric
from archgym.space import Array, Indices
from archgym.study.seal import sealed
from archgym.study.training import find_optima, held_out_table
from archgym.task import Specification, what_decides_rows
from archgym.version import __version__

SPECIFICATION, RESULT = b"archgym", b"archgym.result"
_MAX_REASONS = 5


class VersionMismatch(ArchGymError):
    """The worker's environment or agent differs from the one that the study was written for."""


def execute(
    specification: Mapping[str, Any],
    history: str = "improvements",
    cache: str | None = None,
    log: Sequence[str] = (),
) -> tuple[bytes, dict[str, Any]]:
    """Run a search.

    Args:
        specification: specification of the run, as in `Run.specification`.
        history: "full" or "improvements".
        cache: file of simulated designs.
        log: loggers by name (`archgym.callbacks.named`).

    Returns:
        The run's Parquet file and its result, both as described above; also of a run that failed after its
        first sample.

    Raises:
        VersionMismatch: the environment or the agent differs here.
        ArchGymError: the run cannot be made here.
        Exception: an error of the agent before its first sample.
    """
    failed: dict[str, Any] = {}
    with warnings.catch_warnings():
        # of clipped rewards and the like: useful for one search, not for twenty thousand
        warnings.simplefilter("ignore")
        find_optima(specification)
        search = specified(specification, cache, callbacks=[make_callback(text) for text in log])
        try:
            _check_same(search.specification, specification)
            start = perf_counter()
            try:
                search.spend()
            except (MemoryError, KeyboardInterrupt, MissingDependency, CannotStart):
                raise
            except BaseException as error:  # sys.exit, too
                if not search.ledger.samples:
                    raise
                failed = {"status": "failed", "reason": reason_of(error, 1000)}
            seconds = perf_counter() - start
            if log:
                search.callbacks.end(search.result())
            result = result_of(search, seconds)
            if "held_out" not in specification or failed:
                table = table_of(search, search.ledger.column("recorded") - start, history)
            else:
                table, more = held_out_table(search, specification)
                result |= more
        finally:
            search.env.close()
    result |= failed
    return to_bytes(table, specification, result), result


def failure(specification: Mapping[str, Any], reason: str) -> tuple[bytes, dict[str, Any]]:
    """The file and the result of a failed run without rows."""
    result = {"status": "failed", "reason": reason, "samples": 0, "seconds": 0.0}
    schema = {
        "sample": pyarrow.int64(),
        "feasible": pyarrow.bool_(),
        "valid": pyarrow.bool_(),
        "reward": pyarrow.float64(),
    }
    table = pyarrow.table({name: pyarrow.array([], type_) for name, type_ in schema.items()})
    return to_bytes(table, specification, result), result


def to_bytes(table: pyarrow.Table, specification: Mapping[str, Any], result: Mapping[str, Any]) -> bytes:
    """A run's Parquet file, sealed (`archgym.study.seal`)."""
    run = Specification.from_dict(specification)
    run = replace(run, version=run.version or __version__)
    metadata = {SPECIFICATION: json.dumps(run.to_dict()), RESULT: json.dumps(result)}
    small = table.num_rows < 1000  # of which dictionaries and statistics would be the larger part
    return sealed(
        table.replace_schema_metadata(metadata),
        use_dictionary=not small,
        write_statistics=not small,
        write_page_checksum=True,
    )


def _check_same(here: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse a run that differs from the requested one: a worker may have another version of an agent or a
    simulator.
    """
    for part, expected in what_decides_rows(asked).items():
        if part not in ("held_out", "verify") and here[part] != expected:  # these follow the training
            raise VersionMismatch(
                f"the run's {part} is {here[part]} here, but the study expects {expected}; run both with the "
                "same versions"
            )


def table_of(search: Search, elapsed: Array, history: str) -> pyarrow.Table:
    """The table of a run whose samples were recorded after so many seconds, [N]."""
    ledger = search.ledger
    columns = ledger.history()
    for name in ("cached", "seconds"):  # differ between executions
        del columns[name]
    if not _costed(search) and not _named_cost(search):
        del columns["cost"]
    columns["elapsed_seconds"] = elapsed
    if history != "full":
        kept = _improvements(columns, search.front)
        columns = {name: column[kept] for name, column in columns.items()}
    return arrow_table(search.env.simulator.space, columns, nan_is_null=True)


def _improvements(columns: Mapping[str, Array], front: Sequence[Metric]) -> Indices:
    """Samples whose valid reward is above all before, those that extend the front of valid designs, and
    the last one: int64 [I].
    """
    reward, valid = columns["reward"], columns["valid"]
    best = np.maximum.accumulate(np.where(valid, reward, -np.inf))
    improved = np.flatnonzero(best > np.concatenate([[-np.inf], best[:-1]]))
    if front and valid.any():
        points = directions(front) * np.stack([columns[metric.name][valid] for metric in front], axis=1)
        improved = np.union1d(improved, np.flatnonzero(valid)[extends_front(points)])
    return np.union1d(improved, [len(reward) - 1]) if len(reward) else improved


def result_of(search: Search, seconds: float) -> dict[str, Any]:
    """The result of a run that was finished."""
    ledger = search.ledger
    valid = ledger.column("valid")
    reasons = Counter(" ".join(failure.reason.split())[:300] for failure in ledger.failures)
    return {
        "status": "done",
        "samples": ledger.samples,
        "unique": ledger.unique if ledger.samples else 0,
        "feasible": int(ledger.column("feasible").sum()),
        "valid": int(valid.sum()),
        **({} if search.env.contexts else {"clipped": search.clipped}),
        "mean_valid_reward": float(ledger.column("reward")[valid].mean()) if valid.any() else None,
        "best_reward": ledger.best_reward,
        "failures": len(ledger.failures),
        "reasons": dict(reasons.most_common(_MAX_REASONS)),
        "seconds": seconds,
        **(_costs(search) if _costed(search) else {}),
        **({"statistics": dict(found)} if (found := search.agent.statistics) else {}),
    }


def _costs(search: Search) -> dict[str, Any]:
    ledger, allowed = search.ledger, search.ledger.cost_budget
    charges: dict[str, float] = {}
    for charge in ledger.charges:
        charges[charge.what] = charges.get(charge.what, 0.0) + charge.amount
    return {
        "cost": ledger.cost,
        "cost_unit": ledger.cost_unit,
        "reference_cost": search.env.evaluator.reference_cost,
        "charges": charges,
        **({} if allowed is None else {"stopped_early": not ledger.refused and ledger.cost < allowed}),
    }


def _costed(search: Search) -> bool:
    """Whether the run's file has costs: in files of other runs they are numbers of samples."""
    counted = search.ledger.cost_unit != "samples" or search.ledger.cost_budget is not None
    return counted and not _named_cost(search)


def _named_cost(search: Search) -> bool:
    """Whether the column `cost` is a parameter or a metric."""
    return "cost" in (*search.env.simulator.space.names, *search.env.evaluator.metric_names)
