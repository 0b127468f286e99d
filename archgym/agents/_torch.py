"""PyTorch for one search at a time.

PyTorch has one random generator and one number of threads per process, and Stable-Baselines3 also reseeds the process's `random` and
`numpy.random`. Searches that use PyTorch in threads of one process therefore take turns, and each has the rows that it has alone; use
processes to run them in parallel. Code in other threads that draws from these generators meanwhile disturbs the search, and is disturbed.
"""

from __future__ import annotations

import importlib
import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from archgym.errors import MissingDependency

_turn = threading.RLock()  # a search may run another one within itself


def _new_turn() -> None:
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_turn)  # the thread that has the turn does not exist in the child


@contextmanager
def alone_with_torch() -> Iterator[None]:
    """One torch thread (small networks are slower on several), and the global random states left as they were."""
    import torch

    with _turn:
        threads, torch_state, python_state = torch.get_num_threads(), torch.get_rng_state(), random.getstate()
        numpy_state = np.random.get_state()  # noqa: NPY002 - Stable-Baselines3 reseeds and draws from the global state
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_rng_state(torch_state)
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


def require(agent: object, module: str, library: str, extra: str) -> None:
    """Refuse to start a search whose library is not installed.

    Args:
        agent: the agent that searches.
        module: name of the module to import.
        library: name of the library in the message.
        extra: extra of archgym that installs it.

    Raises:
        MissingDependency: the module cannot be imported.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(f'the agent {type(agent).__name__} needs {library}: pip install "archgym[{extra}]"') from error
