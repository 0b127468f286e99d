"""The environment archgym/Accelerator-v0: arguments, objective, and designs that fail."""

from __future__ import annotations

import numpy as np
import pytest

import archgym
from archgym.env import Evaluator
from archgym.errors import ArchGymError
from archgym.objective import AtMost, Minimize
from archgym.registry import get_task
from archgym.simulators.accelerator.workloads import list_workloads
from archgym.testing import check_env


def evaluator(**kwargs: object) -> Evaluator:
    return Evaluator(get_task("archgym/Accelerator-v0"), None, 1, kwargs)


def test_it_keeps_gymnasiums_and_our_contract():
    check_env("archgym/Accelerator-v0", preset="mobilenet_v2")


@pytest.mark.parametrize("workload", list_workloads())
def test_references_are_near_the_median_design(workload):
    made = evaluator(workload=workload)
    columns = made.simulator.evaluate_indices(made.simulator.space.sample(1000, np.random.default_rng(0)))
    for name in ("latency_s", "energy_j", "edp", "area_mm2"):
        ratio = np.median(columns[name][columns["feasible"]]) / made.objective.reference[name]
        assert 1 / 5 < ratio < 5, name


def test_limits_become_constraints():
    goal = evaluator(power_w=2.0, area_mm2=None, latency_s=0.01).objective
    assert goal.terms == (Minimize("edp"),) and goal.constraints == (
        AtMost("power_w", 2.0),
        AtMost("latency_s", 0.01),
    )
    assert evaluator().objective.constraints == (AtMost("area_mm2", 16.0),)


def test_parameters_may_be_fixed():
    result = archgym.search(
        "archgym/Accelerator-v0",
        "random",
        budget=50,
        seed=0,
        env_kwargs={"fixed": {"precision": "fp16", "rows": 32}},
    )
    assert set(result.history["precision"]) == {"fp16"} and set(result.history["rows"]) == {32}


def test_designs_that_do_not_fit_are_failures_with_reasons():
    result = archgym.search(
        "archgym/Accelerator-v0", "random", budget=600, seed=0, env_kwargs={"workload": "vit_b_16"}
    )
    assert 0 < len(result.failures) < 100
    assert all(
        "bytes does not hold a row of the kernel of conv_proj for dataflow eyeriss" in f.reason
        for f in result.failures
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workload": "resnet19"}, "unknown workload.*did you mean"),
        ({"technology": "5nm"}, "unknown energy table '5nm'"),
        (
            {"backend": "timeloop"},
            "unknown backend of archgym/Accelerator-v0 'timeloop'; known: model, accelforge, scalesim, zigzag",
        ),
        ({"backend": "scalesim", "technology": "65nm"}, "technology and fixed go with backend='model'"),
        ({"backend": "scalesim"}, "archgym backends install scalesim"),
        ({"fixed": {"row": 8}}, "unknown parameter 'row'; did you mean 'rows'"),
        ({"fixed": {"rows": 9}}, "unknown value of rows '9'"),
        ({"area_mm2": -1.0}, "expected a positive limit of 'area_mm2'"),
    ],
)
def test_bad_arguments_are_refused_with_what_to_do(arguments, message):
    with pytest.raises(ArchGymError, match=message):
        evaluator(**arguments)
