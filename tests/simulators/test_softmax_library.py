"""Libraries of softmax kernels: what they cost follows from their kernels, and so does the best of them."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import archgym
from archgym.envs.softmax_library import PRESETS
from archgym.errors import ArchGymError
from archgym.objective import AtMost, Maximize, Minimize, Objective
from archgym.simulators.softmax import SoftmaxCostModel
from archgym.simulators.softmax.library import SoftmaxLibrary
from archgym.testing import check_env, check_simulator

WORKLOADS = [[1, 4096], [1024, 1024], [1, 50257]]
GOAL = Objective(
    Minimize("time_per_element_ns"), AtMost("sum_error", 1e-5), reference={"time_per_element_ns": 0.75}
)


def test_a_library_costs_what_its_kernels_cost():
    library = SoftmaxLibrary(WORKLOADS)
    indices = library.space.sample(500, np.random.default_rng(0))
    together = library.evaluate_indices(indices)
    apart = [
        SoftmaxCostModel(*w).evaluate_indices(part)
        for w, part in zip(WORKLOADS, np.split(indices, 3, axis=1), strict=True)
    ]
    feasible = np.all([kernel["feasible"] for kernel in apart], axis=0)
    assert 0 < feasible.sum() < 500 and (together["feasible"] == feasible).all()
    per_element = np.prod([kernel["time_per_element_ns"] for kernel in apart], axis=0) ** (1 / 3)
    expected = {
        "time_per_element_ns": per_element,
        "time_s": np.sum([kernel["time_s"] for kernel in apart], axis=0),
        "memory_traffic_bytes": np.sum([kernel["memory_traffic_bytes"] for kernel in apart], axis=0),
        "sum_error": np.max([kernel["sum_error"] for kernel in apart], axis=0),
    }
    for name, column in expected.items():
        np.testing.assert_allclose(together[name][feasible], column[feasible], rtol=1e-12)


@pytest.mark.parametrize(
    "goal", [GOAL, Objective(Minimize("time_s"), AtMost("sum_error", 1e-6), form="linear")]
)
def test_no_kernel_of_the_optimum_can_be_replaced_by_a_better_one(goal):
    library = SoftmaxLibrary(WORKLOADS)
    best = library.optimum(goal)
    (reward,), (valid,) = goal(library.evaluate_indices(best[None]), np.array([True]))
    assert valid
    every_kernel = next(SoftmaxCostModel.space.enumerate(1 << 20))
    for w in range(3):
        libraries = np.tile(best, (len(every_kernel), 1))
        libraries[:, 8 * w : 8 * w + 8] = every_kernel
        out = library.evaluate_indices(libraries)
        rewards = goal(out, out["feasible"])
        assert rewards.reward[rewards.valid].max() <= reward + 1e-12
    random = library.evaluate_indices(library.space.sample(100_000, np.random.default_rng(1)))
    rewards = goal(random, random["feasible"])
    assert rewards.reward[rewards.valid].max() < reward


def test_the_optimum_of_other_objectives_is_not_claimed_to_be_known():
    library = SoftmaxLibrary(WORKLOADS)
    for goal in (
        Objective(Maximize("time_s")),
        Objective(Minimize("time_s"), Minimize("sum_error")),
        Objective(Minimize("time_s"), AtMost("memory_traffic_bytes", 1e6)),
        Objective(Minimize("time_s", weight=-1.0)),
    ):
        assert library.optimum(goal) is None
    assert library.optimum(Objective(Minimize("time_s"), AtMost("sum_error", 1e-30))) is None, (
        "no library is that accurate"
    )


def test_the_environment_keeps_the_contract_and_knows_its_optimum():
    check_simulator(SoftmaxLibrary([[1, 4096], [4, 1000]]))
    check_env("archgym/SoftmaxLibrary-v0")
    for preset in PRESETS:
        env = gymnasium.make("archgym/SoftmaxLibrary-v0", preset=preset)
        result = archgym.search(
            "archgym/SoftmaxLibrary-v0", "local_search", budget=300, env_kwargs={"preset": preset}
        )
        assert result.regret is not None and result.regret > 0
        assert len(env.unwrapped.simulator.space) == 8 * len(PRESETS[preset]["workloads"])


@pytest.mark.parametrize("workloads", [[], "l1", [[1]], [[1, 2, 3]], [1, 2], [[0, 5]], [[1, 2.5]]])
def test_workloads_that_are_none_are_refused(workloads):
    with pytest.raises(ArchGymError):
        SoftmaxLibrary(workloads)
