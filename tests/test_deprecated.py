"""Old names of arguments keep working, with a warning that names the new one."""

import inspect

import pytest

from archgym.deprecated.arguments import renamed


@renamed(test="test_size", designs="train_size")
def split(
    rows: int, *, test_size: float = 0.2, train_size: int | None = None
) -> tuple[int, float, int | None]:
    return rows, test_size, train_size


class Holder:
    @renamed(samples="budget")
    def __init__(self, budget: int = 10):
        self.budget = budget


def test_an_old_name_works_with_a_warning_that_names_the_new_one():
    with pytest.warns(
        DeprecationWarning, match=r"split\(test=\.\.\.\) is deprecated: write test_size=\.\.\."
    ) as caught:
        assert split(5, test=0.5) == (5, 0.5, None)
    assert caught[0].filename == __file__  # the caller's line
    with pytest.warns(
        DeprecationWarning, match=r"Holder\(samples=\.\.\.\) is deprecated: write budget=\.\.\."
    ):
        assert Holder(samples=3).budget == 3


@pytest.mark.filterwarnings("error")
def test_new_names_do_not_warn_and_the_signature_has_them_alone():
    assert split(5, test_size=0.5, train_size=2) == (5, 0.5, 2)
    assert Holder(4).budget == 4
    assert list(inspect.signature(split).parameters) == ["rows", "test_size", "train_size"]


def test_both_names_at_once_are_an_error():
    with pytest.raises(TypeError, match="'test_size' and its old name 'test'"):
        split(5, test=0.5, test_size=0.5)


def test_an_unknown_name_is_the_function_s_own_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'tset'"):
        split(5, tset=0.5)
