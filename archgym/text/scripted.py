"""A completion without a model: for tests, examples, and a first run of the agent `language_model`.

`propose` reads of a prompt what a model would read: the schema, the rows of its report, and how many
designs it asks for. It is local search in text: two thirds of its designs change one or two values of
a sample among the three best, the others are drawn at random. It says nothing about what a language model
would find.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import Any

PARENTS = 3
_SCHEMA = re.compile(r'^\{"\$schema".*$', re.MULTILINE)
_COLUMNS = re.compile(r"^Columns: (\[.*\])$", re.MULTILINE)
_BEST = re.compile(r"^Best:\n((?:\[.*\]\n?)*)", re.MULTILINE)
_REQUEST = re.compile(r"^Propose (\d+) new designs", re.MULTILINE)


def propose(prompt: str) -> str:
    """Designs in a fenced block, the same for the same prompt."""
    rng = random.Random(hashlib.sha256(prompt.encode("utf-8", "backslashreplace")).digest())
    schema, request = _SCHEMA.search(prompt), _REQUEST.search(prompt)
    if schema is None or request is None:
        return "I see no schema of a design, or no request for designs."
    values: dict[str, dict[str, Any]] = json.loads(schema[0])["properties"]
    parents = _parents(prompt, values)
    designs = [
        _changed(rng.choice(parents), values, rng) if parents and i % 3 else _drawn(values, rng)
        for i in range(int(request[1]))
    ]
    return f"Changes of the best designs, and some others:\n```json\n{json.dumps(designs)}\n```\n"


def _parents(prompt: str, values: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The best designs in the report, by parameter."""
    columns, best = _COLUMNS.search(prompt), _BEST.search(prompt)
    if columns is None or best is None:
        return []
    names = json.loads(columns[1])
    rows = [json.loads(line) for line in best[1].splitlines()[:PARENTS]]
    return [{n: v for n, v in zip(names, row, strict=True) if n in values} for row in rows]


def _drawn(values: dict[str, dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    return {name: _value(schema, rng) for name, schema in values.items()}


def _changed(parent: dict[str, Any], values: dict[str, dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    """A design with one or two values redrawn, and those that it lacks, which a change may open."""
    design = {n: _value(s, rng) if parent.get(n) is None else parent[n] for n, s in values.items()}
    for name in rng.sample(sorted(values), min(rng.choice([1, 2]), len(values))):
        design[name] = _value(values[name], rng)
    return design


def _value(schema: dict[str, Any], rng: random.Random) -> Any:
    if "enum" in schema:
        return rng.choice(schema["enum"])
    low, high = schema["minimum"], schema["maximum"]
    return rng.randint(low, high) if schema["type"] == "integer" else rng.uniform(low, high)
