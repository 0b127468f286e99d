"""Callbacks by name: `tensorboard=FOLDER`, `wandb=PROJECT`, `mlflow=EXPERIMENT`, or `module:Class`.

A plug-in's entry point in the group `archgym.callbacks`, name = "module:Class", is called with the text after
the first "=", and without arguments where there is none.
"""

from __future__ import annotations

from archgym.callbacks.base import Callback
from archgym.errors import ArchGymError, reason_of, unknown
from archgym.registry import list_callbacks, load


def make_callback(text: str) -> Callback:
    """The callback that a text names.

    Args:
        text: a registered name or "module:Class", then "=" and the callback's argument where it takes one.

    Raises:
        ArchGymError: an unknown name (with the nearest ones), or a callback that cannot be made so.
    """
    name, given, argument = text.partition("=")
    known = list_callbacks()
    if name not in known and ":" not in name:
        raise unknown("callback", name, known)
    factory = load(known.get(name, name))
    try:
        made = factory(argument) if given else factory()
    except TypeError as error:
        reason = f"cannot make the callback {text!r}: {reason_of(error)}; write NAME=VALUE"
        raise ArchGymError(reason) from error
    if not isinstance(made, Callback):
        raise ArchGymError(f"expected a subclass of archgym.callbacks.Callback as {name!r}, got {factory!r}")
    return made
