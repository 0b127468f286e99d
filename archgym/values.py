"""Values as JSON and back: arguments of simulators, values of parameters, hyperparameters of agents.

    write(value)      JSON that `read` turns back into an equal value of the same type, where the value allows
                      it
    identify(value)   JSON that differs wherever values differ: what caches, stored optima and identifiers of
                      runs are keyed by

None, bools, integers, floats, text, lists and dictionaries with text as keys stand for themselves, NumPy
scalars for the Python values that they hold. Everything else is an object {"$": kind, ...}:

    tuple, set, frozenset, dict         "of" their items (sets in the order of their JSON, dictionaries with
                                        other keys as pairs)
    int (very long), complex, range, bytes, fraction, decimal,
    date, path, dtype, array            "of" numbers or text
    enum, flag, dataclass, namedtuple   "class" is "module:Class", "of" the member or the fields
    name                                a class or function, "of" its "module:name"
    content                             any other object: its class and a SHA-256 of its content: identified,
                                        but not read back

The content of an object is what it would be pickled as (`__reduce_ex__`), written by `identify`. Nothing is
pickled or unpickled, and `read` calls no code of the classes that it makes objects of but `_make` of named
tuples: a dataclass gets its fields, not its constructor.
"""

from __future__ import annotations

import base64
import copyreg
import dataclasses
import enum
import hashlib
import importlib
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any, cast

import numpy as np

from archgym.errors import ArchGymError, unknown

INLINE_BYTES = 1 << 16  # the largest array that a specification holds, rather than its hash

WRITTEN = "archgym.values"  # of a portable value

LONGEST_BITS = 8192  # of an integer as JSON; Python reads no longer decimals by default

_KIND, _OF, _CLASS = "$", "of", "class"

# type: its kind, to JSON, from JSON
_SCALARS: dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    complex: ("complex", lambda v: [v.real, v.imag], lambda of: complex(*of)),
    range: ("range", lambda v: [v.start, v.stop, v.step], lambda of: range(*of)),
    bytes: ("bytes", bytes.hex, bytes.fromhex),
    Fraction: ("fraction", str, Fraction),
    Decimal: ("decimal", str, Decimal),
    date: ("date", date.isoformat, date.fromisoformat),
    type(Path()): ("path", os.fspath, Path),
}
_FROM_TEXT = {kind: back for kind, _, back in _SCALARS.values()}


class Unwritable(ArchGymError):
    """A value that can neither be written as JSON nor be identified by its content."""


def write(value: Any) -> Any:
    """The JSON form of a value, which `read` turns back into an equal one, unless it holds an object of kind
    "content".

    Raises:
        Unwritable: a lambda, an open file, an object that holds one, a class that its module does not have
            under its name.
    """
    return _guarded(value, exact=True)


def identify(value: Any) -> Any:
    """A JSON form that differs wherever values differ; arrays are hashes of their type, shape and bytes.

    Raises:
        Unwritable: a value that `write` refuses.
    """
    return _guarded(value, exact=False)


def _guarded(value: Any, exact: bool) -> Any:
    try:
        return _written(value, exact, [])
    except RecursionError:
        raise Unwritable(
            f"a {type(value).__name__} that contains itself or is nested too deeply cannot be written"
        ) from None


def _written(value: Any, exact: bool, outer: list[Any]) -> Any:
    """`write` or `identify`; `outer` are the values that this one is inside of."""
    kind = type(value)
    if kind is int and value.bit_length() > LONGEST_BITS:
        return {_KIND: "int", _OF: hex(value)}
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple, set, frozenset, dict):
        return _container(value, kind, exact, outer)
    if kind in _SCALARS:
        name, to_json, _ = _SCALARS[kind]
        return {_KIND: name, _OF: to_json(value)}
    if isinstance(value, (np.bool_, np.number, np.str_, np.bytes_)) and not isinstance(
        plain := value.item(), np.generic
    ):
        return _written(plain, exact, outer)
    if isinstance(value, enum.Enum):
        name, of = ("enum", value.name) if value.name in kind.__members__ else ("flag", value.value)
        return {_KIND: name, _CLASS: reference(kind, exact), _OF: of}
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return {_KIND: "name", _OF: reference(value)}
    if isinstance(value, np.dtype) and not value.hasobject:
        return {_KIND: "dtype", _OF: np.lib.format.dtype_to_descr(value)}
    if kind is np.ndarray and (value.dtype == object or not value.dtype.hasobject):
        return _array(value, exact, outer)
    if issubclass(kind, tuple) and hasattr(kind, "_fields") and not getattr(value, "__dict__", None):
        return {
            _KIND: "namedtuple",
            _CLASS: reference(kind, exact),
            _OF: [_written(item, exact, [*outer, value]) for item in value],
        }
    if dataclasses.is_dataclass(value) and (written := _dataclass(value, exact, outer)):
        return written
    return _content(value, outer)


def _container(value: Any, kind: type, exact: bool, outer: list[Any]) -> Any:
    inside = [*outer, value]
    if kind is dict and all(type(key) is str for key in value) and _KIND not in value:
        return {key: _written(item, exact, inside) for key, item in value.items()}
    pairs = value.items() if kind is dict else ()
    items = [[_written(part, exact, inside) for part in pair] for pair in pairs] or [
        _written(item, exact, inside) for item in value
    ]
    if kind is list:
        return items
    if kind in (set, frozenset) or (kind is dict and not exact):  # equal ones have their items in any order
        items.sort(key=lambda item: json.dumps(item, sort_keys=True))
    return {_KIND: kind.__name__, _OF: items}


def _array(array: Any, exact: bool, outer: list[Any]) -> Any:
    shape = list(array.shape)
    if array.dtype.hasobject:  # its bytes are addresses
        items = [_written(item, exact, [*outer, array]) for item in array.ravel().tolist()]
        return {_KIND: "array", "dtype": "O", "shape": shape, _OF: items}
    if exact and array.nbytes <= INLINE_BYTES:
        of = base64.b64encode(array.tobytes()).decode()
        return {_KIND: "array", "dtype": np.lib.format.dtype_to_descr(array.dtype), "shape": shape, _OF: of}
    described = {
        "dtype": str(array.dtype),
        "shape": shape,
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }
    return {_KIND: "content", _CLASS: "numpy:ndarray", **described} if exact else described


def _dataclass(value: Any, exact: bool, outer: list[Any]) -> dict[str, Any] | None:
    """A dataclass by its fields; None where these are not all that it holds."""
    names = {field.name for field in dataclasses.fields(value)}
    new: Any = type(value).__new__
    # such as the items of a dictionary
    more = set(getattr(value, "__dict__", ())) - names or new is not object.__new__
    if more or not all(hasattr(value, name) for name in names):
        return None
    unset = {field.name for field in _optional(type(value)) if not getattr(value, field.name)}
    of = {name: _written(getattr(value, name), exact, [*outer, value]) for name in sorted(names - unset)}
    return {_KIND: "dataclass", _CLASS: reference(type(value), exact), _OF: of}


def _optional(cls: type) -> list[dataclasses.Field[Any]]:
    """Fields that are written where they are not empty, so that values from before them keep their form."""
    return [field for field in dataclasses.fields(cls) if field.metadata.get("written") == "where set"]


def _content(value: Any, outer: list[Any]) -> dict[str, Any]:
    """Any object by its class and a hash of what it would be pickled as; a simulator by its specification."""
    for up, other in enumerate(reversed(outer)):
        if other is value:  # an object that refers to one it is part of
            return {_KIND: "outer", _OF: up}
    try:
        reducer = copyreg.dispatch_table.get(type(value))
        reduced: Any
        if hasattr(value, "evaluate_indices") and isinstance(
            getattr(type(value), "specification", None), property
        ):
            reduced = (type(value), value.specification)
            if '"$": "unknown"' in json.dumps(reduced[1]):
                raise TypeError("it is made with an argument that cannot")
        else:
            reduced = _tensor(value) or (reducer(value) if reducer else value.__reduce_ex__(4))
    except Exception as error:
        raise Unwritable(f"a {type(value).__name__} cannot be identified by its content ({error})") from None
    if isinstance(reduced, str):
        module = pickle.whichmodule(value, reduced)  # type: ignore[attr-defined]
        return {_KIND: "name", _OF: f"{module}:{reduced}"}
    # of the items of lists and dictionaries
    parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
    text = json.dumps(_written(parts, False, [*outer, value]), sort_keys=True)
    return {
        _KIND: "content",
        _CLASS: reference(type(value), False),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _tensor(value: Any) -> tuple[Any, ...] | None:
    """What a dense tensor of PyTorch holds, which is pickled differently in every process; None of
    anything else.
    """
    torch = sys.modules.get("torch")
    if (
        torch is None
        or not isinstance(value, torch.Tensor)
        or value.layout is not torch.strided
        or value.is_quantized
    ):
        return None
    data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return type(value), str(value.dtype), list(value.shape), value.requires_grad, data


def read(written: Any) -> Any:
    """The value that `write` was given.

    Raises:
        ArchGymError: an object of kind "content", which is stored as a hash only; a class that cannot be
            loaded; not a written value.
    """
    if isinstance(written, list):
        return [read(item) for item in written]
    if not isinstance(written, Mapping):
        return written
    if _KIND not in written:
        return {key: read(item) for key, item in written.items()}
    kind = written[_KIND]
    if kind == "content":
        raise ArchGymError(f"only a hash of this {written[_CLASS]} is stored: pass the object itself again")
    try:
        return _read(kind, written)
    except ArchGymError:
        raise
    except Exception as error:  # a damaged or foreign text raises nearly anything
        raise ArchGymError(
            f"expected a written value of kind {kind!r}, got {str(dict(written))[:200]} ({error})"
        ) from error


def _read(kind: str, written: Mapping[str, Any]) -> Any:
    of = written[_OF]
    if kind == "int":
        return int(of, 16)
    if kind in _FROM_TEXT:
        return _FROM_TEXT[kind](of)
    if kind in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](read(of))
    if kind == "dict":
        return {read(key): read(item) for key, item in of}
    if kind == "array":
        return _read_array(written)
    if kind == "dtype":
        return _dtype(of)
    if kind == "name":
        return load(of)
    if kind not in ("enum", "flag", "dataclass", "namedtuple"):
        raise unknown(
            "kind of written value",
            kind,
            [*_FROM_TEXT, "tuple", "set", "frozenset", "dict", "array", "dtype", "name", "enum"],
        )
    cls = load(written[_CLASS])
    if kind in ("enum", "flag") and isinstance(cls, type) and issubclass(cls, enum.Enum):
        return cls[of] if kind == "enum" else cls(of)
    if kind == "dataclass" and isinstance(cls, type) and dataclasses.is_dataclass(cls):
        return _read_dataclass(cls, read(of))
    if kind == "namedtuple" and isinstance(cls, type) and issubclass(cls, tuple):
        return cls._make(read(of))  # type: ignore[attr-defined]
    raise ArchGymError(f"{written[_CLASS]} is not a class of kind {kind!r}")


def _read_dataclass(cls: type, fields: Mapping[str, Any]) -> Any:
    """An object with these fields; its constructor is not called, which may convert what it is given once
    more.
    """
    names = {field.name for field in dataclasses.fields(cls)}
    unset = {field.name: cast(Any, field).default_factory() for field in _optional(cls)}
    if names != {*unset, *fields}:
        raise ArchGymError(f"expected the fields {', '.join(sorted(names))}, got {', '.join(sorted(fields))}")
    value: Any = object.__new__(cls)
    for name, item in {**unset, **fields}.items():
        object.__setattr__(value, name, item)
    return value


def _read_array(written: Mapping[str, Any]) -> Any:
    if written["dtype"] == "O":
        array = np.empty(len(written[_OF]), object)
        array[:] = read(written[_OF])
    else:
        array = np.frombuffer(base64.b64decode(written[_OF]), _dtype(written["dtype"])).copy()
    return array.reshape(written["shape"])


def _dtype(descr: Any) -> Any:
    """A dtype from its description, whose tuples JSON has made lists."""
    return np.lib.format.descr_to_dtype(
        [tuple(field) for field in descr] if isinstance(descr, list) else descr
    )


def settle(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments as written, and as they are read back: what is made with these can be made again.

    Arguments that are written as a hash of their content are passed on as they are.

    Raises:
        ArchGymError: an argument that cannot be written, with its name and what to do.
    """
    written, values = {}, {}
    for name, value in arguments.items():
        try:
            written[name] = write(value)
        except Unwritable as error:
            raise ArchGymError(
                f"argument {name!r} cannot be written down, so that the search could not be repeated: "
                f"{error}; pass numbers, text, arrays or objects of module-level classes, or register an "
                "environment whose simulator is made with it"
            ) from error
        values[name] = value if hashed(written[name]) else read(written[name])
    return written, values


def read_arguments(written: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keyword arguments behind their written forms.

    Args:
        given: the objects of arguments that are stored as a hash only.

    Raises:
        ArchGymError: an argument that is stored as a hash only and not given, or a given one that differs
            from the stored one.
    """
    values = {}
    for name in (given or {}).keys() - written.keys():
        raise unknown("argument", name, written)
    for name, form in written.items():
        if given is not None and name in given:
            if json.dumps(write(given[name]), sort_keys=True) != json.dumps(form, sort_keys=True):
                raise ArchGymError(
                    f"expected the stored argument {name!r}, got a different one; pass the same object"
                )
            values[name] = given[name]
            continue
        try:
            values[name] = read(form)
        except ArchGymError as error:
            raise ArchGymError(
                f"argument {name!r} cannot be read back: {error}, env_kwargs={{{name!r}: ...}}"
            ) from error
    return values


def portable(value: Any) -> Any:
    """A value that any writer of JSON can write: itself, or its written form by the name `WRITTEN`, from
    which `restored` makes it again.

    What cannot be written, or not be read back, stays itself.
    """
    try:
        written = write(value)
    except Unwritable:
        return value
    if not _holds(written, lambda of: _KIND in of):
        return written
    return value if hashed(written) else {WRITTEN: written}


def restored(value: Any) -> Any:
    """The inverse of `portable`."""
    return read(value[WRITTEN]) if type(value) is dict and value.keys() == {WRITTEN} else value


def hashed(written: Any) -> bool:
    """Whether a written value holds an object as a hash only."""
    return _holds(written, lambda of: of.get(_KIND) == "content")


def _holds(written: Any, wanted: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Whether one of the dictionaries within a written value is a wanted one."""
    if isinstance(written, Mapping):
        return wanted(written) or any(_holds(item, wanted) for item in written.values())
    return isinstance(written, list) and any(_holds(item, wanted) for item in written)


def reference(thing: Any, check: bool = True) -> str:
    """ "module:name" of a class or function.

    Args:
        check: refuse what its module does not have under its name.

    Raises:
        Unwritable: a lambda, or something defined within a function.
    """
    text = (
        identity_of(thing)
        if isinstance(thing, type)
        else f"{getattr(thing, '__module__', None)}:{getattr(thing, '__qualname__', repr(type(thing)))}"
    )
    if check:
        try:
            found = load(text)
        except ArchGymError:
            found = None
        if found is not thing:
            raise Unwritable(f"{text} cannot be found under its name: define it at module level")
    return text


def identity_of(cls: type) -> str:
    """The name of a class in results, caches and identifiers of runs: its own attribute `identity`, or
    "module:name".

    A class that has the attribute can move to another module without orphaning what was stored; subclasses do
    not inherit it.
    """
    return str(vars(cls).get("identity") or f"{cls.__module__}:{cls.__qualname__}")


def load(reference: str) -> Any:
    """The object named by "module:name" (or "module:outer.name").

    Raises:
        ArchGymError: it cannot be imported, or has no such name.
    """
    module, _, name = reference.partition(":")
    if not module:
        raise ArchGymError(f"cannot load {reference!r}: expected module:name")
    try:
        found: Any = importlib.import_module(module)
        for part in filter(None, name.split(".")):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        if isinstance(error, ArchGymError):
            raise
        raise ArchGymError(f"cannot load {reference!r}: {error}") from error
    return found
