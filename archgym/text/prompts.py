"""A task and the samples so far in words for a language model.

    describe(env)      what the task is, its parameters, metrics, objective, budget, the schema of a design
    schema(env)        that schema
    parse(text, env)   the designs in an answer
    report(ledger)     the best and the latest samples within a limit of tokens
    quoted(text)       text from elsewhere between marks that it cannot hold

Metrics that are only reported, and the optimum, are in none of them. Names, labels and reasons are written as
JSON strings, or in one line without control characters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from archgym.errors import ArchGymError
from archgym.evaluator import Evaluator
from archgym.infos import core
from archgym.ledger import Ledger
from archgym.simulator import Metric
from archgym.space import DesignSpace, Parameter
from archgym.text.designs import Checker, Values, as_json, forms_of, schema_of
from archgym.text.documentation import documentation_of, meanings_in, summary_of
from archgym.text.finding import find
from archgym.text.phrases import count, objective_in_words
from archgym.words import one_line

_MEANING = 200  # characters of a docstring that are shown
_PROBLEMS = 5  # that an error lists


def evaluator_of(env: Any) -> Evaluator:
    """What is below an environment, a vector environment, or an evaluator.

    Raises:
        ArchGymError: an environment of another package.
    """
    found: Evaluator = env if isinstance(env, Evaluator) else core(env).evaluator
    return found


def schema(env: Any) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a design: a property for each parameter; those of conditional
    parameters are required where they are active and absent elsewhere.

    Args:
        env: an environment, a vector environment or an Evaluator.

    Raises:
        ArchGymError: an environment of another package.
    """
    return schema_of(evaluator_of(env).simulator.space)


def describe(env: Any) -> str:
    """A task in compact words, with the JSON schema of a design in the last line.

    Args:
        env: an environment, a vector environment or an Evaluator.

    Raises:
        ArchGymError: an environment of another package.
    """
    evaluator = evaluator_of(env)
    return "\n".join(_lines(evaluator))


def _lines(evaluator: Evaluator) -> Iterator[str]:
    simulator, objective = evaluator.simulator, evaluator.objective
    documentation = documentation_of(evaluator.task)
    name = evaluator.task.id
    yield one_line(f"Task {name}: {summary_of(documentation, name)}", 400)
    arguments = {key: value for key, value in evaluator.kwargs.items() if _tells(value)}
    if arguments:
        yield f"Arguments: {one_line(as_json(arguments), 600)}"
    distinct = "distinct " if simulator.space.conditional else ""
    yield f"Parameters ({count(simulator.space.size)} {distinct}designs):"
    meanings = meanings_in(documentation)
    for parameter in simulator.space:
        yield _parameter(parameter, simulator.space, meanings)
    yield "Metrics:"
    for metric in visible(simulator.metrics):
        unit = "" if metric.unit == "1" else f" in {one_line(metric.unit, 40)}"
        better = f", {metric.better} is better" if metric.better else ""
        yield f"- {one_line(as_json(metric.name), 100)}{unit}{better}"
    yield f"Objective: {one_line(objective_in_words(objective, simulator.metrics), 1000)}."
    yield _reward(evaluator)
    yield f"Budget: {budget_in_words(evaluator.ledger)}."
    yield "A design is a JSON object of this schema:"
    yield as_json(schema_of(simulator.space))


def _tells(value: Any) -> bool:
    """Whether an argument is shown: numbers and names, no paths and no objects."""
    return isinstance(value, (bool, int, float)) or (
        isinstance(value, str) and len(value) <= 100 and "/" not in value and "\\" not in value
    )


def _parameter(parameter: Parameter, space: DesignSpace, meanings: Mapping[str, str]) -> str:
    order = "" if parameter.ordered or len(parameter) == 1 else " (no order)"
    conditions = [
        f"{as_json(name)} = {' or '.join(map(as_json, forms_of(space[name], allowed)))}"
        for name, allowed in parameter.when.items()
    ]
    only = one_line(f"; only with {' and '.join(conditions)}", 400) if conditions else ""
    meaning = meanings.get(parameter.name, "")
    line = f"- {as_json(parameter.name)}: {Values(parameter).expected}{order}{only}"
    return one_line(line, 1200) + (f". {one_line(meaning, _MEANING)}" if meaning else "")


def _reward(evaluator: Evaluator) -> str:
    text = "The reward grows with the quality of a design"
    if evaluator.objective.form == "log":
        text += "; a metric that is better by a factor of 2 adds 0.69"
    text += ". Valid designs keep all limits; infeasible ones have no metrics."
    if evaluator.contexts is not None:
        text += f" Each design is judged on one of {len(evaluator.contexts):,} contexts, drawn anew."
    return text


def visible(metrics: tuple[Metric, ...]) -> list[Metric]:
    """The metrics without those that are only reported."""
    return [metric for metric in metrics if not metric.report_only]


def budget_in_words(ledger: Ledger) -> str:
    """ "31 of 100 samples spent, 69 left"."""
    parts = []
    if ledger.budget is not None:
        left = max(ledger.budget - ledger.samples, 0)
        parts.append(f"{ledger.samples:,} of {ledger.budget:,} samples spent, {left:,} left")
    else:
        parts.append(f"{ledger.samples:,} samples spent")
    if ledger.cost_budget is not None:
        unit = one_line(ledger.cost_unit, 40)
        parts.append(f"{ledger.cost:,.0f} of {ledger.cost_budget:,.0f} {unit} spent")
    return ", ".join(parts)


def parse(text: str, env: Any = None) -> list[dict[str, Any]]:
    """The designs in an answer of a language model.

    JSON objects are found wherever they stand, in fenced blocks first, and read generously
    (`archgym.text.finding`); nothing is executed. At most 1,000 designs are taken, from the last 2,000,000
    characters.

    Args:
        text: the answer.
        env: an environment, a vector environment or an Evaluator, whose space they must be of; None for any
            flat objects.

    Returns:
        Designs as mappings of parameters and values. With an environment, values are those of its grid, so
        that `space.encode` takes them; objects that name no parameter are passed over.

    Raises:
        ArchGymError: no design, or with an environment an illegal one: which parameter, what was expected,
            and the nearest value.
    """
    if not isinstance(text, str):
        raise ArchGymError(f"expected an answer as text, got {type(text).__name__}")
    if env is None:
        if found := find(text):
            return found
        raise ArchGymError(
            f"expected designs as JSON objects, got none in {len(text):,} characters{_EXAMPLE}"
        )
    space = evaluator_of(env).simulator.space
    checker = Checker(space)
    objects = find(text, checker.names_a_parameter)
    if not objects:
        names = one_line(", ".join(map(as_json, space.names)), 300)
        raise ArchGymError(
            f"expected designs as JSON objects with the parameters {names}, got none in {len(text):,} "
            "characters; write one object per design"
        )
    proposals = [checker.check(each) for each in objects]
    if problems := problems_of([proposal.problems for proposal in proposals]):
        raise ArchGymError("; ".join(problems))
    return [space.design(proposal.row) for proposal in proposals if proposal.row is not None]


_EXAMPLE = '; write {"parameter": value, ...} for each design'


def problems_of(each: list[tuple[str, ...]]) -> list[str]:
    """Problems of several designs, a line each, with a last line for those beyond the fifth."""
    lines = [f"design {i}: {line}" for i, found in enumerate(each, start=1) for line in found]
    more = [f"and {len(lines) - _PROBLEMS} more problems"] if len(lines) > _PROBLEMS else []
    return lines[:_PROBLEMS] + more


def quoted(text: str) -> str:
    """Text between two marks that it does not hold, so that nothing in it can end the quotation.

    A model can still be misled by what it reads there. What holds whatever it answers: only legal
    designs come out, nothing is executed, and the budget is the ledger's.
    """
    mark = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    size = next((n for n in range(8, len(mark)) if mark[:n] not in text), len(mark))
    return f"<data-{mark[:size]}>\n{text}\n</data-{mark[:size]}>"
