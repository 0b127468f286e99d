"""Sets of contexts: tasks that an environment draws from, as mappings of its arguments.

[{"rows": 1, "cols": 256}, {"rows": 16, "cols": 256}]       a list
{"rows": [1, 16], "cols": [256]}                            ranges: every combination
"shapes"                                                    a set that comes with the environment
"presets"                                                   its presets
"mine.json", "mine.toml"                                    a file with one of these, or a table "contexts"
"""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from archgym.errors import ArchGymError, reason_of, unknown
from archgym.files.paths import check_readable
from archgym.values import load, read, write
from archgym.words import one_line, plain, shown

if TYPE_CHECKING:
    from archgym.task import Task

_FILES = (".json", ".toml")
_NAME = 80  # characters of a name that is made from arguments
_FORM = (
    "a Contexts, a list of mappings of arguments, ranges such as {'cols': [256, 1024]}, the name of a set, "
    "or a .json or .toml file of these"
)


@dataclass(frozen=True)
class Contexts:
    """C tasks of one environment.

    Args:
        arguments: the environment's arguments that each context sets.
        names: distinct names; default: the arguments in words.
        weights: positive weights with which contexts are drawn; None draws uniformly.
        optima: the exact best design of each context by parameter name, or None where it is not stated; an
            environment with an objective or other arguments of its own does not use them.
        groups: names of the groups that each context belongs to, such as the networks that have a layer.
        constants: feature -> (mean, scale) with which features are standardised; None: those of this set.

    Raises:
        ArchGymError: no context, one twice, or a field of another length or form.
    """

    arguments: tuple[Mapping[str, Any], ...]
    names: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    optima: tuple[Mapping[str, Any] | None, ...] | None = None
    groups: tuple[tuple[str, ...], ...] | None = None
    constants: Mapping[str, tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        for each in self.arguments:
            if not isinstance(each, Mapping) or not all(isinstance(name, str) for name in each):
                raise ArchGymError(
                    f"expected contexts as mappings of arguments and values, got {shown(each)}"
                )
        if not self.arguments:
            raise ArchGymError("expected at least one context, got none")
        frozen: dict[str, Any] = {
            "arguments": tuple(dict(each) for each in self.arguments),
            "names": tuple(self.names) or tuple(map(_name, self.arguments)),
        }
        for field in ("weights", "optima", "groups"):
            given = getattr(self, field)
            frozen[field] = None if given is None else tuple(given)
        for field, value in frozen.items():
            if value is not None and len(value) != len(self.arguments):
                raise ArchGymError(f"expected {field} for {len(self.arguments)} contexts, got {len(value)}")
            object.__setattr__(self, field, value)
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ArchGymError(f"expected distinct contexts, got {twice!r} twice")
        if self.weights is not None and not all(0 < w < np.inf for w in self.weights):
            raise ArchGymError(f"expected weights > 0, got {shown(list(self.weights))}")

    def __len__(self) -> int:
        return len(self.arguments)

    @classmethod
    def ranges(cls, values: Mapping[str, Any]) -> Contexts:
        """Every combination of the values of arguments; a value that is not a list stands for itself."""
        axes = [list(v) if isinstance(v, (list, tuple, range, np.ndarray)) else [v] for v in values.values()]
        rows = [dict(zip(values, map(_item, row), strict=True)) for row in itertools.product(*axes)]
        return cls(tuple(rows))

    @classmethod
    def read(cls, path: str | Path) -> Contexts:
        """The contexts of a .json or .toml file.

        Raises:
            ArchGymError: a file that cannot be read, or has another form.
        """
        path = Path(path).expanduser()
        check_readable(path, "the contexts")
        try:
            text = path.read_text(encoding="utf-8-sig")
            data = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
        except OSError as error:
            raise ArchGymError(f"cannot read the contexts in {path}: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            kind = path.suffix.lower()[1:].upper()
            raise ArchGymError(f"expected contexts as {kind} in {path}, got {reason_of(error)}") from error
        if isinstance(data, Mapping) and data.keys() == {"contexts"}:
            data = data["contexts"]
        return cls.of(data)

    @classmethod
    def of(cls, source: ContextSource, task: Task | None = None) -> Contexts:
        """Contexts in any of the forms that an environment takes.

        Args:
            source: the contexts.
            task: task whose sets of contexts may be named.

        Raises:
            ArchGymError: another form, or an unknown name (with the nearest ones).
        """
        if isinstance(source, Contexts):
            return source
        if isinstance(source, (str, Path)):
            sets = {} if task is None else context_sets(task)
            if source in sets:
                return cls.of(sets[str(source)])
            if Path(source).suffix.lower() in _FILES:
                return cls.read(source)
            if ":" in str(source):
                return cls.of(load(str(source)))
            where = "set of contexts" if task is None else f"set of contexts of {task.id}"
            raise unknown(where, source, sets)
        if callable(source):
            return cls.of(source())
        if isinstance(source, Mapping):
            return cls.from_dict(source) if "arguments" in source else cls.ranges(source)
        if isinstance(source, (list, tuple)):
            return cls(tuple(source))
        raise ArchGymError(f"expected contexts as {_FORM}, got {shown(source)}")

    def to_dict(self) -> dict[str, Any]:
        """The contexts as JSON; `from_dict` gives equal ones back."""
        fields = {
            "arguments": write([dict(each) for each in self.arguments]),
            "names": list(self.names),
            "weights": None if self.weights is None else list(self.weights),
            "optima": None if self.optima is None else [None if d is None else dict(d) for d in self.optima],
            "groups": None if self.groups is None else [list(names) for names in self.groups],
            "constants": None
            if self.constants is None
            else {name: list(pair) for name, pair in self.constants.items()},
        }
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contexts:
        """The inverse of `to_dict`.

        Raises:
            ArchGymError: an unknown key, or a value of another form.
        """
        for name in data:
            if name not in cls.__dataclass_fields__:
                raise unknown("key of contexts", name, cls.__dataclass_fields__)
        fields = dict(data)
        fields["arguments"] = tuple(read(list(fields["arguments"])))
        if fields.get("groups") is not None:
            fields["groups"] = tuple(tuple(names) for names in fields["groups"])
        if fields.get("constants") is not None:
            fields["constants"] = {name: tuple(pair) for name, pair in fields["constants"].items()}
        return cls(**fields)

    def subset(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> Contexts:
        """The contexts at these positions, in this order."""

        def take(field: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(field[int(row)] for row in rows)

        return Contexts(
            take(self.arguments),
            take(self.names),
            None if self.weights is None else take(self.weights),
            None if self.optima is None else take(self.optima),
            None if self.groups is None else take(self.groups),
            self.constants,
        )

    def like(self, other: Contexts) -> Contexts:
        """These contexts, with features standardised as those of another set."""
        return replace(self, constants=other.constants)

    def split(
        self, held_out: float = 0.3, seed: int = 0, by: Literal["context", "group"] = "context"
    ) -> tuple[Contexts, Contexts]:
        """Contexts to train on, and contexts to test on, which training sees nothing of.

        Args:
            held_out: share of the contexts, or of the groups, to test on; at least one, and not all.
            seed: seed of the draw.
            by: "context", or "group": those of the held-out groups are tested, those of none of them trained.

        Raises:
            ArchGymError: no groups, or a split that leaves nothing on one side.
        """
        if by not in ("context", "group"):
            raise unknown("way to split contexts", by, ("context", "group"))
        units: list[Any] = list(range(len(self)))
        if by == "group":
            if self.groups is None:
                raise ArchGymError("expected contexts with groups to hold out groups; use by='context'")
            units = sorted({name for names in self.groups for name in names})
        if not (0 < held_out < 1) or len(units) < 2:
            raise ArchGymError(
                f"expected a share of at least two {by}s to hold out, between 0 and 1, got {held_out!r} of "
                f"{len(units)}"
            )
        count = min(max(round(held_out * len(units)), 1), len(units) - 1)
        order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(7,))).permutation(len(units))
        out = {units[i] for i in order[:count].tolist()}
        own: list[set[Any]] = [{i} for i in range(len(self))]
        if by == "group":
            own = [set(names) for names in self.groups or ()]
        test = [i for i, mine in enumerate(own) if mine & out]
        train = [i for i in range(len(self)) if i not in set(test)]
        if not train:
            raise ArchGymError(f"holding out {sorted(out)} leaves no context to train on; hold out fewer")
        return self.subset(train), self.subset(test)


ContextSource = (
    Contexts | str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]] | Callable[[], "ContextSource"]
)


def context_sets(task: Task) -> dict[str, ContextSource]:
    """Name -> set of contexts that come with an environment, its presets among them."""
    presets = {name: {"preset": name} for name in task.presets}
    own = {"presets": Contexts(tuple(presets.values()), tuple(presets))} if presets else {}
    return {**own, **task.contexts}


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _name(arguments: Mapping[str, Any]) -> str:
    """A context's arguments in words."""
    words = " ".join(f"{name}={plain(value)}" for name, value in arguments.items())
    return one_line(words, _NAME) or "default"
