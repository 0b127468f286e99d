"""Pickles read as data: no file that a user brings can run code.

A pickle is a program that may fetch any function by its name and call it. Here the program may only build
plain values: None, booleans, numbers, text, bytes, tuples, lists, dictionaries, the empty set, and

    collections.OrderedDict()                  an empty one, to be filled
    numpy.core.multiarray.scalar(dtype, bytes) one boolean or number (`numpy._core` since NumPy 2)
    numpy.dtype("f8", False, True)             the type of such a number

These names are not looked up: the three calls are carried out here, and only the bytes of a number whose type
is on a list reach NumPy. Instructions that could do more (objects of classes, extension codes, persistent
ids) are refused.

A small file cannot take all memory or time either. Limits hold for the unpacked size, also relative to the
file's size; for the cost of its instructions, at prices that follow their memory (numbers of eight bytes are
free, since a file with many is large itself); and for keys that are not text, which could be chosen to
collide. A result may still nest or refer to itself without end: check the type of a value before any use.

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
from typing import IO, Any

import numpy as np

from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import foreign
from archgym.words import one_line

MIB = 2**20
_BZIP2 = b"BZh"  # first bytes of such files
_AHEAD = 2 * MIB  # bytes unpacked at once
_HEAD = MIB // 16  # bytes that tell a pickle from other files
_SMALL = 16 * MIB  # unpacked size that every compressed file may have
_RATIO = 10  # unpacked bytes per byte of a larger file: accuracies shrink to a quarter
_MAX_VALUE = MIB  # bytes of one text or number
# total price of instructions, plus 1 for each 100 bytes; a record of NATS-Bench takes 0.1 million, NASLib 6
_BUDGET = 7_000_000
_STEPS = 4096  # instructions between two checks of their total price
_MAX_WAITING = 100_000  # values on the stack: pickles write lists and dictionaries in parts of 1,000
_MAX_DEPTH = 1000  # parts within parts
_MAX_OTHER_KEYS = 1000  # keys of one dictionary that are not text: 200 epochs
_MAX_ALL_OTHER_KEYS = 50_000  # in all dictionaries: a record of NATS-Bench has 7,457

_ADMITTED = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}
NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
_DATA = (  # instructions that the standard library carries out as they are
    *("PROTO", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG1", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "EMPTY_SET"),
    *("GET", "BINGET", "LONG_BINGET", "BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "INST"),
)
_PRICES = {  # by the memory that an instruction takes, about 50 bytes; 1 for all others
    **dict.fromkeys(("EMPTY_LIST", "LIST", "EMPTY_DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), 2),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"), 2),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), 3),
    # a first item makes room for eight
    **{"REDUCE": 3, "SETITEM": 4, "SETITEMS": 4, "DICT": 6, "EMPTY_SET": 6},
    "BINFLOAT": 0,
}


def load_pickle(path: str | os.PathLike[str], *, limit: int = 16 * MIB) -> Any:
    """What a pickle holds, compressed by bzip2 or not.

    Args:
        path: the file.
        limit: largest unpacked size, bytes.

    Raises:
        ArchGymError: the file is not a pickle, contains code (the message names it), is larger than the limit
            or makes more values than its kind does, is damaged, or cannot be read.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return _load(file, name, limit)
    except OSError as error:
        raise ArchGymError(f"cannot read {name}: {error.strerror or error}") from error


def _load(file: IO[bytes], name: str, limit: int) -> Any:
    head, size = file.read(len(_BZIP2)), os.fstat(file.fileno()).st_size
    file.seek(0)
    content: IO[bytes] = file
    if head == _BZIP2:
        content = bz2.open(file)  # noqa: SIM115 - closed with the file below it
        limit = min(limit, max(_SMALL, _RATIO * size))
    buffered: io.BufferedReader[Any] = io.BufferedReader(_Bounded(content, name, limit), _AHEAD)
    head = buffered.peek(_HEAD)[:_HEAD]
    try:
        return _Reader(buffered, _BUDGET + size // 100).load()
    except ArchGymError:
        raise
    except _Refusal as refusal:
        if _is_pickle(head):
            raise ArchGymError(f"{name} contains code: {refusal}; nothing was run or read") from None
        reason = "its instructions make no sense"
    except _Excess as excess:
        raise ArchGymError(f"{name} has {excess}, which no file of its kind does") from None
    except Exception as error:  # a damaged program raises anything
        reason = reason_of(error, 200)
    if kind := foreign(head):
        raise ArchGymError(f"{name} is not a pickle but {kind}")
    shown = f"; it begins with {one_line(head[:40].decode(), 40)!r}" if _is_text(head) else ""
    raise ArchGymError(f"{name} is not a pickle, or is damaged or cut off ({reason}{shown})")


class _Bounded(io.RawIOBase):
    """The bytes of a file as they are unpacked, up to a limit."""

    def __init__(self, content: IO[bytes], name: str, limit: int):
        self._content, self._name, self._limit, self._left = content, name, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count: int = self._content.readinto(buffer)  # type: ignore[attr-defined]
        except EOFError as error:
            raise ArchGymError(f"{self._name} is cut off; get it again") from error
        except OSError as error:
            if error.errno is not None:  # not bz2's
                raise
            raise ArchGymError(f"{self._name} is damaged: {error}; get it again") from error
        self._left -= count
        if self._left < 0:
            limit = f"{self._limit / MIB:,.0f} MiB"
            raise ArchGymError(f"{self._name} unpacks to more than {limit}, which no file of its kind does")
        return count


def _is_pickle(head: bytes) -> bool:
    """Whether a file may be a pickle: it begins as in protocol 2 and later, or is instructions to its end."""
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    place = 0
    try:
        for _, _, position in pickletools.genops(head):
            place = position or 0
    except Exception:  # any error on bytes that are not an instruction; a large file may be cut off here
        return len(head) == _HEAD and place > _HEAD // 2
    return place == len(head) - 1


def _is_text(head: bytes) -> bool:
    try:
        return bool(head) and head[:40].decode().replace("\n", "").replace("\r", "").isprintable()
    except UnicodeDecodeError:
        return False


class _Refusal(Exception):
    """An instruction that is not carried out."""


class _Excess(Exception):
    """More of something than data have."""


@dataclass(frozen=True)
class _Global:
    """A name that a file may call; no more than a label."""

    name: str


class _NumberType:
    """`numpy.dtype` of a number while it is unpickled: its code, then its byte order as its state."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, flags: list[Any]):
        # not aligned, a copy: how NumPy writes every type
        if code not in NUMBERS or flags not in ([], [False, True]):
            raise _Refusal(f"it calls numpy.dtype({code[:40]!r}), which is not the type of a plain number")
        self.code, self.order = code, "|" if code[1] == "1" else "="

    def set_state(self, state: object) -> None:
        """State 3 of `numpy.dtype`: (version, byte order, and nothing of records)."""
        match state:
            case (3, "<" | ">" | "|" as order, None, None, None, *_) if isinstance(state, tuple):
                self.order = order
            case _:
                raise _Refusal("it gives a numpy.dtype a state that no plain number has")

    def number(self, content: bytes) -> np.generic:
        """The number that these bytes are."""
        dtype = np.dtype(self.order + self.code)
        if len(content) != dtype.itemsize:
            raise pickle.UnpicklingError(f"a number of {dtype.itemsize} bytes has {len(content)}")
        return np.frombuffer(content, dtype)[0]


class _Reader(pickle._Unpickler):
    """The standard library's unpickler in Python, left with instructions that build data."""

    stack: list[Any]
    memo: dict[int, Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, content: io.BufferedReader[Any], budget: int):
        super().__init__(content)
        self._content, self._budget = content, budget
        self._other_keys = 0

    def load(self) -> Any:
        """The value that the pickle's program leaves on its stack."""
        self.read, self.readline = self._content.read, self._line
        self.metastack: list[list[Any]] = []
        self.stack = []
        self.append = self.stack.append
        self.proto = 0
        read, instructions, spent = self._content.read, _INSTRUCTIONS, 0
        try:
            while True:
                for _ in range(_STEPS):
                    price, carry_out = instructions[read(1)]
                    spent += price
                    carry_out(self)
                if spent > self._budget:
                    raise _Excess("more objects than it could need")
                waiting = len(self.stack) + sum(map(len, self.metastack))
                if len(self.metastack) > _MAX_DEPTH or waiting > _MAX_WAITING:
                    raise _Excess("values nested deeper, or more in one part, than data have them")
        except pickle._Stop as stop:  # type: ignore[attr-defined]
            return stop.value

    def _line(self) -> bytes:
        line = self._content.readline(_MAX_VALUE)
        if line[-1:] != b"\n":
            raise pickle.UnpicklingError("a line without an end")
        return line

    def _counted(self) -> bytes:
        """Bytes behind their number."""
        count = int.from_bytes(self.read(4), "little")
        if count > _MAX_VALUE:
            raise _Excess(f"one value of {count:,} bytes")
        return self.read(count)

    def find_class(self, module: str, name: str) -> _Global:
        if (module, name) not in _ADMITTED:
            raise _Refusal(one_line(f"it asks for {module}.{name}", 200))
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
                raise _Refusal(f"it calls {name} with arguments that make no plain data")
            case _:
                raise _Refusal("it calls something that is not a function")

    def _set_state(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, _NumberType):
            raise _Refusal("it sets the state of an object")
        target.set_state(state)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key], [value])

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._fill(items[::2], items[1::2])

    def _dictionary(self) -> None:
        """Items at once, as protocol 0 has them."""
        items = self.pop_mark()
        self.append({})
        self._fill(items[::2], items[1::2])

    def _fill(self, keys: list[Any], values: list[Any]) -> None:
        for key in keys:
            if type(key) not in (str, int) and not (
                type(key) is tuple and all(type(part) in (str, int) for part in key)
            ):
                raise pickle.UnpicklingError(
                    "a dictionary has a key that is neither text nor a number nor a tuple of those"
                )
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise _Refusal("it sets items of something that is not a dictionary")
        others = sum(type(key) is not str for key in keys)
        self._other_keys += others
        if others and (len(target) + len(keys) > _MAX_OTHER_KEYS or self._other_keys > _MAX_ALL_OTHER_KEYS):
            raise _Excess("dictionaries with more keys that are not text than epochs")
        target.update(zip(keys, values, strict=True))

    def _remember(self, number: int) -> None:
        # numbers count up; others could be chosen to collide
        if not 0 <= number < len(self.memo) + 256:
            raise pickle.UnpicklingError("its memo numbers are not consecutive")
        self.memo[number] = self.stack[-1]

    def _remember_by_line(self) -> None:
        self._remember(int(self.readline()))

    def _remember_by_four_bytes(self) -> None:
        self._remember(int.from_bytes(self.read(4), "little"))

    def _long(self) -> None:
        self.append(int.from_bytes(self._counted(), "little", signed=True))

    def _text(self) -> None:
        self.append(str(self._counted(), "utf-8", "surrogatepass"))

    def _bytes(self) -> None:
        self.append(self._counted())

    def _skip_frame(self) -> None:
        """The number of bytes to read at once is a hint."""
        self.read(8)


def _refusing(instruction: str) -> Callable[[_Reader], None]:
    def refuse(reader: _Reader) -> None:
        raise _Refusal(f"it uses the instruction {instruction}")

    return refuse


def _unknown(reader: _Reader) -> None:
    raise pickle.UnpicklingError("a byte that is not an instruction")


def _end(reader: _Reader) -> None:
    raise EOFError("it has no end")


_OWN = {
    "REDUCE": _Reader._call,
    "BUILD": _Reader._set_state,
    "DICT": _Reader._dictionary,
    "SETITEM": _Reader._set_item,
    "SETITEMS": _Reader._set_items,
    "PUT": _Reader._remember_by_line,
    "LONG_BINPUT": _Reader._remember_by_four_bytes,
    "BINUNICODE": _Reader._text,
    "BINBYTES": _Reader._bytes,
    "LONG4": _Reader._long,
    "FRAME": _Reader._skip_frame,
}
# by opcode: its price and what carries it out
_INSTRUCTIONS: dict[bytes, tuple[int, Callable[[_Reader], None]]] = {b"": (0, _end)}
_INSTRUCTIONS |= {bytes([code]): (0, _unknown) for code in range(256)}
for _instruction in pickletools.opcodes:
    _opcode = _instruction.code.encode("latin-1")
    _known: Any = pickle._Unpickler.dispatch[_opcode[0]] if _instruction.name in _DATA else None
    _carry_out = _known or _OWN.get(_instruction.name) or _refusing(_instruction.name)
    _INSTRUCTIONS[_opcode] = _PRICES.get(_instruction.name, 1), _carry_out
