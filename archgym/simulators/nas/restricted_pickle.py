"""Pickles read as data: no file that a user brings can run code.

A pickle is a program. It may fetch any function by its name and call it, so unpickling a stranger's file runs the stranger's code. Here
the program may only build plain values: None, booleans, numbers, text, bytes, tuples, lists, dictionaries and the empty set, besides

    collections.OrderedDict()                  an empty one, to be filled
    numpy.core.multiarray.scalar(dtype, bytes) one boolean or number (`numpy._core` since NumPy 2)
    numpy.dtype("f8", False, True)             the type of such a number

None of these names is looked up: the three calls are carried out here, and nothing of a file reaches NumPy but the bytes of a number whose
type is on a list. Instructions that could do more (objects of classes, extension codes, persistent ids) are not carried out at all.
What a file unpacks to is bounded, and so are the keys of dictionaries, whose hashing recurses.

Format: Python's `pickletools`.
"""

from __future__ import annotations

import bz2
import io
import os
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from archgym.errors import ArchGymError

MIB = 2**20
_BZIP2 = b"BZh"  # how such files begin

_ADMITTED = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}
_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
_DATA = (  # instructions that the standard library carries out as they are
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG1", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "EMPTY_SET"),
    *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "INST"),
)


def load_pickle(path: str | os.PathLike[str], *, limit: int = 16 * MIB) -> Any:
    """What a pickle holds, compressed by bzip2 or not.

    Args:
        path: the file.
        limit: bytes that it may unpack to; objects take up to 80 times as many.

    Raises:
        ArchGymError: the file wants something that is not data (it names what), is larger than the limit, damaged, or cannot be read.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            head = file.read(len(_BZIP2))
        with bz2.open(path) if head == _BZIP2 else open(path, "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        if error.errno is None:  # of bz2
            raise ArchGymError(f"{name} is damaged: {error}; get it again") from error
        raise ArchGymError(f"cannot read {name}: {error.strerror}") from error
    except EOFError as error:
        raise ArchGymError(f"{name} is cut off; get it again") from error
    if len(content) > limit:
        raise ArchGymError(f"{name} unpacks to more than {limit / MIB:,.0f} MiB, which no file of its kind does")
    try:
        return _Reader(io.BytesIO(content)).load()
    except ArchGymError as error:
        raise ArchGymError(f"{name} wants to run code: {error}; it was not carried out, and nothing was read") from None
    except Exception as error:  # of a damaged program, anything
        raise ArchGymError(f"{name} is not a pickle, or is damaged or cut off ({type(error).__name__}: {error})") from error


@dataclass(frozen=True)
class _Global:
    """A name that a file may call; no more than a label."""

    name: str


class _NumberType:
    """`numpy.dtype` of a number while it is unpickled: its code, and the byte order, which comes later as its state."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, flags: list[Any]):
        if code not in _NUMBERS or flags not in ([], [False, True]):  # not aligned, a copy: how NumPy writes every type
            raise ArchGymError(f"it calls numpy.dtype({code[:40]!r}), which is not the type of a plain number")
        self.code, self.order = code, "|" if code[1] == "1" else "="

    def set_state(self, state: object) -> None:
        """State 3 of `numpy.dtype`: (version, byte order, and nothing of records)."""
        if not (isinstance(state, tuple) and state[:1] == (3,) and state[1:2] in (("<",), (">",), ("|",)) and state[2:5] == (None,) * 3):
            raise ArchGymError("it gives a numpy.dtype a state that no plain number has")
        self.order = state[1]

    def number(self, content: bytes) -> np.generic:
        """The number that these bytes are."""
        dtype = np.dtype(self.order + self.code)
        if len(content) != dtype.itemsize:
            raise pickle.UnpicklingError(f"a number of {dtype.itemsize} bytes has {len(content)}")
        found: np.generic = np.frombuffer(content, dtype)[0]
        return found


class _Reader(pickle._Unpickler):
    """The standard library's unpickler in Python, left with instructions that build data."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def find_class(self, module: str, name: str) -> _Global:
        if (module, name) not in _ADMITTED:
            raise ArchGymError(f"it asks for {module}.{name}"[:200])
        return _Global(name)

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        match function, arguments:
            case _Global("OrderedDict"), ():
                self.stack.append(OrderedDict())
            case _Global("dtype"), (str(code), *flags):
                self.stack.append(_NumberType(code, flags))
            case _Global("scalar"), (_NumberType() as kind, bytes(content)):
                self.stack.append(kind.number(content))
            case _Global(name), _:
                raise ArchGymError(f"it calls {name} with arguments that make no plain data")
            case _:
                raise ArchGymError("it calls something that is not a function")

    def _set_state(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, _NumberType):
            raise ArchGymError("it sets the state of an object")
        target.set_state(state)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key], [value])

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._fill(items[::2], items[1::2])

    def _fill(self, keys: list[Any], values: list[Any]) -> None:
        for key in keys:
            if type(key) not in (str, int) and not (type(key) is tuple and all(type(part) in (str, int) for part in key)):
                raise pickle.UnpicklingError("a dictionary has a key that is neither text nor a number nor a tuple of those")
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ArchGymError("it sets items of something that is not a dictionary")
        target.update(zip(keys, values, strict=True))

    dispatch: ClassVar[Any] = {}  # by opcode; filled below


def _refusing(instruction: str) -> Callable[[_Reader], None]:
    def refuse(reader: _Reader) -> None:
        raise ArchGymError(f"it uses the instruction {instruction}")

    return refuse


_OWN = {"REDUCE": _Reader._call, "BUILD": _Reader._set_state, "SETITEM": _Reader._set_item, "SETITEMS": _Reader._set_items}
for _instruction in pickletools.opcodes:
    _known = pickle._Unpickler.dispatch if _instruction.name in _DATA else {}
    _opcode = ord(_instruction.code)
    _Reader.dispatch[_opcode] = _known.get(_opcode) or _OWN.get(_instruction.name) or _refusing(_instruction.name)
