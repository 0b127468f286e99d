"""Objects in free text: what in an answer could be a design.

One pass over the text with a stack of open braces and brackets: time and memory grow linearly with the text,
whatever it holds, and nothing of it is executed. Beside JSON it reads what language models write for it:

    comments, trailing or missing commas, single quotes, names and values without quotes, = for :
    True, None, NaN; numbers with underscores; (1, 2) for [1, 2]

An object counts if its values are scalars or flat lists of them; objects around others do not. What is in
fenced blocks (``` or ~~~) goes before the text around them, and what follows "</think>" before that tag.
Text that does not fit is skipped, up to the next brace.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

MOST_CHARACTERS = 2_000_000  # that are read, the last ones: an answer ends with its designs
MOST_OBJECTS = 1000
_DEEPEST = 16  # open braces and brackets
_MOST_ITEMS = 10_000  # of an object or a list
_LONGEST_NUMBER = 400  # characters; longer ones stay text, since Python reads them in quadratic time

_FENCE = re.compile(r"^[ \t]{0,8}(?:```|~~~)[^\n]*$", re.MULTILINE)
_BEGIN = re.compile(r"\{(?=\s{0,1000}[\w\"'}/#])")
_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|\#[^\n]*|/\*[^*]{0,1000}\*/)
    |(?P<mark>[{}\[\]():=,])
    |"(?P<double>(?:[^"\\\n]|\\[^\n]){0,1000})"
    |'(?P<single>(?:[^'\\\n]|\\[^\n]){0,1000})'
    |(?P<word>(?:[^\s{}\[\]():=,"'#/]|/(?![/*])){1,401})""",
    re.VERBOSE,
)
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
_NESTED = object()  # a value that holds objects

Found = dict[str, Any]
"""An object with scalars, or lists of them, as values."""


def find(text: str, wanted: Callable[[Found], bool] = bool) -> list[Found]:
    """The objects in a text that are wanted (by default those with a name), in order; at most 1,000."""
    text = text[-MOST_CHARACTERS:].rpartition("</think>")[2]
    for part in (_fenced(text), text):
        found: list[Found] = []
        for each in _objects(part):
            if wanted(each):
                found.append(each)
            if len(found) == MOST_OBJECTS:
                break
        if found:
            return found
    return []


def _fenced(text: str) -> str:
    """The insides of fenced blocks, joined by lines that open nothing; a block without an end reaches to
    the last line.
    """
    fences = [(match.start(), match.end()) for match in _FENCE.finditer(text)]
    ends = [start for start, _ in fences[1::2]] + [len(text)]
    return "\n;\n".join(text[end:stop] for (_, end), stop in zip(fences[::2], ends, strict=False))


class _Frame:
    """An object or a list that is open.

    Attributes:
        closing: its closing mark.
        state: kind of the next token: "key", "colon", "value" or "comma".
        flat: whether it holds no objects.
    """

    __slots__ = ("closing", "flat", "items", "key", "state")

    def __init__(self, mark: str):
        self.closing = {"{": "}", "[": "]", "(": ")"}[mark]
        self.state = "key" if mark == "{" else "value"
        self.items: list[Any] = []  # values of a list, pairs of an object
        self.key = ""
        self.flat = True

    def put(self, value: Any) -> bool:
        """Take a value, or a name; False where none may stand."""
        if self.state == "comma":  # one that was left out
            self.state = "key" if self.closing == "}" else "value"
        if self.state == "key":
            self.key = value if isinstance(value, str) else json.dumps(value)
            self.state = "colon"
            return value is not _NESTED
        if self.state != "value" or len(self.items) == _MOST_ITEMS:
            return False
        self.flat = self.flat and value is not _NESTED
        self.items.append((self.key, value) if self.closing == "}" else value)
        self.state = "comma"
        return True

    def value(self) -> Any:
        """What it is once it is closed."""
        if not self.flat or any(isinstance(item, list) for item in self.items):
            return _NESTED  # lists of lists are no values of a parameter
        return self.items


def _objects(text: str) -> Iterator[Found]:
    """Every flat object of a text, in the order of their closing braces."""
    stack: list[_Frame] = []
    place = 0
    while True:
        if not stack:
            begin = _BEGIN.search(text, place)
            if begin is None:
                return
            stack.append(_Frame("{"))
            place = begin.end()
        token = _TOKEN.match(text, place)
        if token is None:
            stack.clear()
            place += 1
            continue
        if token["skip"] is None:
            found = _take(stack, token)
            if found is not None:
                yield found
            elif not stack and token["mark"] == "{":  # the object may begin here
                continue
        place = token.end()


def _take(stack: list[_Frame], token: re.Match[str]) -> Found | None:
    """Go on by a token; the object that it completes. What cannot go on closes everything that is open."""
    mark, top = token["mark"], stack[-1]
    good = True
    if mark is None:
        named = top.state == "key" or (top.state == "comma" and top.closing == "}")
        good = top.put(_text_of(token) if named else _value_of(token))
    elif mark in "{[(":
        good = top.state in ("value", "comma") and not (mark != "{" and top.state == "comma")
        good = good and len(stack) < _DEEPEST and (top.state == "value" or top.closing != "}")
        if good:
            stack.append(_Frame(mark))
    elif mark in ":=":
        good, top.state = top.state == "colon", "value"
    elif mark == ",":
        good, top.state = top.state == "comma", "key" if top.closing == "}" else "value"
    else:
        return _close(stack, mark)
    if not good:
        stack.clear()
    return None


def _close(stack: list[_Frame], mark: str) -> Found | None:
    """Close the innermost object or list, whose value the one around it takes."""
    closed = stack.pop()
    complete = closed.state in (("comma", "key") if mark == "}" else ("comma", "value"))
    if mark != closed.closing or not complete:
        stack.clear()
        return None
    value = closed.value()
    if stack and not stack[-1].put(value if mark != "}" else _NESTED):
        stack.clear()
    if mark != "}" or not closed.flat:
        return None
    return dict(closed.items)


def _text_of(token: re.Match[str]) -> str:
    """A word or a string in quotes, its escapes read as JSON's."""
    if token["word"] is not None:
        return token["word"]
    body = token["double"]
    if body is None:
        body = token["single"].replace("\\'", "'").replace('\\"', '"').replace('"', '\\"')
    try:
        return str(json.loads(f'"{body}"', strict=False))
    except ValueError:
        return body


def _value_of(token: re.Match[str]) -> Any:
    """A number, a constant, or text."""
    word = token["word"]
    return _text_of(token) if word is None else scalar(word)


def scalar(word: str) -> Any:
    """A number or a constant that a word is, else the word."""
    if word.lower() in _CONSTANTS:
        return _CONSTANTS[word.lower()]
    if len(word) > _LONGEST_NUMBER or not word.isascii():
        return word
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word
