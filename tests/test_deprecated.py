"""Old names keep working, with a warning that names the new one."""

import importlib
import inspect
import re
import sys

import pytest

import archgym
from archgym.deprecated.arguments import renamed
from archgym.deprecated.modules import MODULES


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


@pytest.mark.parametrize("old", sorted(MODULES))
def test_a_module_that_moved_is_one_module_under_both_names(old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=re.escape(f"{old} is deprecated: import {MODULES[old]}")):
        found = importlib.import_module(old)
    assert found is importlib.import_module(MODULES[old])


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (archgym, "VectorSequentialDesign", archgym.wrappers.vector.SequentialDesign),
        (archgym.wrappers, "VectorContinuousActions", archgym.wrappers.vector.ContinuousActions),
        (archgym.wrappers, "VectorReward", archgym.RewardVector),
        (archgym.wrappers, "VectorVectorReward", archgym.wrappers.vector.RewardVector),
    ],
)
def test_a_class_with_a_new_name_is_found_under_the_old_one(module, old, new):
    with pytest.warns(DeprecationWarning, match=rf"{old} is deprecated: use archgym\.wrappers"):
        assert getattr(module, old) is new
    with pytest.raises(AttributeError, match="has no attribute 'Absent'"):
        _ = module.Absent


def test_environments_are_called_env():
    with pytest.warns(DeprecationWarning, match=r"get_task\(env_id=\.\.\.\) is deprecated: write env="):
        assert archgym.get_task(env_id="archgym/NKLandscape-v0").id == "archgym/NKLandscape-v0"
