"""The terminal for results, progress and errors: nothing raw reaches it, and no word is broken.

Imported when something is printed, as Rich is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from archgym.cli.tables import Prose
from archgym.progress import forget_unusable_size
from archgym.words import printable


class Terminal(Console):
    """Rich's console without markup and emoji (`module:A:` holds one), whose every text is printable (see
    `archgym.words`).
    """

    def __init__(self, *, stderr: bool = False):
        forget_unusable_size()
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        if not options.get("soft_wrap"):
            objects, options = (
                tuple(Prose(each) if isinstance(each, str) else each for each in objects),
                {"crop": False, **options},
            )
        super().print(*objects, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield (
                segment
                if segment.control or not segment.text
                else Segment(_shown(segment.text, self.encoding), segment.style)
            )

    def on_broken_pipe(self) -> None:
        """Stop writing and raise the error for Click: Rich's own SystemExit would be taken for a
        plug-in's.
        """
        with suppress(SystemExit):
            super().on_broken_pipe()
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _shown(text: str, encoding: str) -> str:
    """The text in printable characters of the encoding, its line ends excepted."""
    if text == "\n":
        return text
    text = "\n".join(map(printable, text.split("\n")))
    return text if encoding.startswith("utf") else text.encode(encoding, "backslashreplace").decode(encoding)
