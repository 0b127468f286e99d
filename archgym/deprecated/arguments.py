"""Arguments that were renamed: the old name still works as a keyword, with a DeprecationWarning that names
the new one.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**old_to_new: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator of functions and methods whose arguments were renamed: `@renamed(old="new")`.

    Raises (in a call):
        TypeError: both names are given.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given: dict[str, Any] = kwargs
            for old, new in old_to_new.items():
                if old not in given:
                    continue
                if new in given:
                    raise TypeError(f"{name}() got {new!r} and its old name {old!r}; give {new!r} alone")
                warnings.warn(
                    f"{name}({old}=...) is deprecated: write {new}=...", DeprecationWarning, stacklevel=2
                )
                given[new] = given.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate
