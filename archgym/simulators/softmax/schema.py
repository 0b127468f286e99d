"""The format of calibration files, checked strictly by pydantic; an error names the entry and the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # that of Python 3.12, which pydantic needs

from archgym.errors import ArchGymError
from archgym.simulators.softmax.terms import (
    ADVICE,
    ALGORITHMS,
    FORMAT,
    ISAS,
    PASSES,
    PATTERNS,
    PREFETCH_BYTES,
    READABLE,
)
from archgym.words import shown

MAX_VALUES = 10_000  # values of one list


def _must_be(expected: str, is_right: Callable[[Any], bool]) -> AfterValidator:
    """Refuse other values: they "must be `expected`"."""

    def check(value: Any) -> Any:
        if not is_right(value):
            raise PydanticCustomError("refused", f"Input should be {expected}")
        return value

    return AfterValidator(check)


def _list(values: Any, *checks: AfterValidator) -> Any:
    return Annotated[list[values], Field(min_length=1, max_length=MAX_VALUES), *checks]


def _object(entries: Mapping[str, Any]) -> Any:
    """An object with these entries; others are ignored."""
    make: Any = TypedDict
    return make("_Object", entries)


def _each(names: Iterable[str], entry: Any) -> Any:
    """An object with an entry of this type under each name."""
    return _object(dict.fromkeys(names, entry))


@cache
def _format(isas: tuple[str, ...]) -> TypeAdapter[dict[str, Any]]:
    """The documents of machines that have these ISAs."""
    strict: Any = partial(Field, strict=True, allow_inf_nan=False)
    number, positive, share = (
        Annotated[float, strict(**limits)] for limits in ({"ge": 0}, {"gt": 0}, {"ge": 0, "le": 1})
    )
    whole = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    sizes = _list(
        number, _must_be("a list of increasing numbers", lambda v: all(a < b for a, b in pairwise(v)))
    )
    points = _list(
        tuple[whole, whole, positive],  # type: ignore[valid-type]  # unroll, accumulators, ns per element
        _must_be(
            "a list with each (unroll, accumulators) once",
            lambda v: len({point[:2] for point in v}) == len(v),
        ),
        _must_be(
            "a list with a point for one accumulator at least", lambda v: any(point[1] == 1 for point in v)
        ),
    )
    curves = _each(PATTERNS, _object({"log2_bytes": sizes, "ns_per_float": _list(positive)}))
    prefetch_factor = _each(map(str, PREFETCH_BYTES), _list(share))
    bias_factors = _each(ALGORITHMS, _each(isas, _each(("cached", "nontemporal"), _list(positive))))
    known_isas = _must_be(f"an object with keys among {', '.join(ISAS)}", lambda v: set() < {*v} <= {*ISAS})
    workload = _object({"log2_floats": sizes, "ns_per_float": _list(positive)})
    probe = _object(
        {
            "core_ns": _each(isas, positive),
            "workload": workload,
            "second_ns": NotRequired[positive],
            "workload_by_two": NotRequired[workload],
        }
    )
    entries = {
        "format": Annotated[Any, _must_be(repr(FORMAT), lambda v: v == FORMAT)],
        "version": Annotated[
            Any,
            _must_be(
                f"{' or '.join(map(str, READABLE))}, the versions that this archgym reads",
                lambda v: type(v) is int and v in READABLE,
            ),
        ],
        "machine": str,
        "lanes": Annotated[dict[str, whole], known_isas],
        "bandwidth": curves,
        "two_threads": NotRequired[_object({"bandwidth": curves})],
        "compute": _each(PASSES, _each(isas, points)),
        "overlap": _object({"log2_bytes": sizes, "phi": _list(share), "prefetch_factor": prefetch_factor}),
        "row_overhead_ns": number,
        "tile_overhead_ns": NotRequired[number],
        "threads": _object({"slowdown": positive, "start_ns": number}),
        "bias": NotRequired[_object({"log2_bytes": sizes, "factors": bias_factors})],
        "probe": NotRequired[probe],
    }
    return TypeAdapter(_object(entries))


def read(document: Any, name: str) -> dict[str, Any]:
    """The entries of a document.

    Raises:
        ArchGymError: one is missing or invalid (named in the message).
    """

    def invalid(path: str, rule: str, value: Any) -> ArchGymError:
        return ArchGymError(
            f"the calibration {name!r}: {path or 'the document'} must {rule}, not {shown(value)}; {ADVICE}"
        )

    lanes = document.get("lanes") if isinstance(document, dict) else None
    try:
        isas = tuple(isa for isa in ISAS if isinstance(lanes, dict) and isa in lanes)
        entries = _format(isas).validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in first["loc"]).lstrip(".")
        if first["type"] == "missing":
            raise ArchGymError(f"the calibration {name!r} lacks {path}; {ADVICE}") from None
        # of "Input should be ...", "List should have ..."
        rule = first["msg"].partition(" should ")[2].partition(" after validation")[0]
        rule = rule.replace("a valid dictionary", "an object").replace("valid tuple", "valid list")
        raise invalid(path, rule, first["input"]) from None
    for path, values, count in _beside_sizes(entries):
        if len(values) != count:
            sizes = "log2_floats" if path.startswith("probe.") else "log2_bytes"
            relation = f"one per {sizes}" if path.endswith("ns_per_float") else f"one more than {sizes}"
            raise invalid(path, f"be a list of {count} numbers, {relation}", values)
    return entries


def _beside_sizes(
    entries: Mapping[str, Any], sizes: Sequence[float] = (), path: str = ""
) -> Iterator[tuple[str, list[float], int]]:
    """The lists that belong to sizes, with their paths and the lengths that they must have."""
    sizes = entries.get("log2_bytes", entries.get("log2_floats", sizes))
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _beside_sizes(value, sizes, f"{path}{key}.")
        elif sizes and isinstance(value, list) and key not in ("log2_bytes", "log2_floats"):
            yield path + key, value, len(sizes) + (key != "ns_per_float")
