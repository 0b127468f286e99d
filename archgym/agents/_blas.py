"""Small matrices on one thread: the threads of BLAS wait for each other longer than they compute.

On two busy cores a search of 100 samples by `bo` took 25 s with BLAS on two threads and .8 s on one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Function = TypeVar("Function", bound=Callable[..., Any])


@cache
def _libraries() -> ThreadpoolController:
    """The BLAS libraries of NumPy and SciPy, which are loaded by now."""
    return ThreadpoolController().select(user_api="blas")


def one_thread(function: Function) -> Function:
    """The function with BLAS on one thread while it runs, where BLAS has several."""

    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        libraries = _libraries()
        if all(library.num_threads == 1 for library in libraries.lib_controllers):
            return function(*args, **kwargs)
        with libraries.limit(limits=1):
            return function(*args, **kwargs)

    return limited  # type: ignore[return-value]
