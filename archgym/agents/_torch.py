"""PyTorch for one search at a time.

PyTorch has one generator and one number of threads per process, and Stable-Baselines3 reseeds the process's
`random` and `numpy.random` too. So searches with PyTorch in threads of one process run one after the other,
and each gives the rows that it gives alone; for several at once use processes. Code in other threads that
draws from these generators during a search gets other numbers, and changes those of the search.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_turn = threading.RLock()  # a search may run another one inside


def _new_turn() -> None:
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_turn)  # the thread that had the turn does not exist in the child


@contextmanager
def alone_with_torch() -> Iterator[None]:
    """One torch thread (small networks are slower on several), and the global random states left as they
    were.
    """
    import torch

    with _turn:
        threads, torch_state, python_state = torch.get_num_threads(), torch.get_rng_state(), random.getstate()
        # Stable-Baselines3 reseeds and draws from the global state
        numpy_state = np.random.get_state()  # noqa: NPY002
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_rng_state(torch_state)
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
