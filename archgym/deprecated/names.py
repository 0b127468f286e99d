"""Names that moved to another module or were renamed: still found where they were, with a
DeprecationWarning.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any


def old_names(module: str, **old_to_new: str) -> Callable[[str], Any]:
    """A module's `__getattr__` for its old names: `__getattr__ = old_names(__name__, Old="New",
    moved="package.module:")`.

    Args:
        module: name of the module.
        **old_to_new: old name -> new name in the module, "module:name" elsewhere, or "module:" for the same
            name elsewhere.
    """

    def find(name: str) -> Any:
        if name not in old_to_new:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, new = old_to_new[name].rpartition(":")
        place, new = place or module, new or name
        warnings.warn(f"{module}.{name} is deprecated: use {place}.{new}", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(place), new)

    return find
