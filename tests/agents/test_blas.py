"""BLAS has one thread while agents handle small matrices, and its own number of threads afterwards."""

from __future__ import annotations

import pytest

from archgym.agents._blas import _libraries, one_thread


def numbers():
    return {library.num_threads for library in _libraries().lib_controllers}


def test_the_number_of_threads_is_one_inside_and_restored_after_an_error():
    @one_thread
    def inner():
        assert numbers() == {1}

    @one_thread
    def outer():
        inner()
        assert numbers() == {1}
        raise ZeroDivisionError

    with _libraries().limit(limits=2):
        before = numbers()
        if before != {2}:
            pytest.skip("this BLAS does not take a number of threads")
        with pytest.raises(ZeroDivisionError):
            outer()
        assert numbers() == before
