"""The agents that learn with PyTorch, and the view of our environments that they learn from."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym.agents._stable_baselines import as_vec_env, rollout_steps
from archgym.agents.a2c import A2C
from archgym.agents.dqn import DQN
from archgym.agents.genetic import Genetic
from archgym.agents.gp import GaussianProcess
from archgym.agents.independent_ppo import IndependentPPO, Learners
from archgym.agents.ppo import PPO
from archgym.agents.sac import SAC
from archgym.env import ArchVectorEnv
from archgym.errors import ArchGymError, MissingDependency
from archgym.objective import Minimize, Objective
from archgym.registry import Task
from archgym.simulator import Metric, Simulator
from archgym.space import Categorical, DesignSpace, Integer, Ordinal
from archgym.wrappers import vector as vector_wrappers

pytest.importorskip("stable_baselines3")

STABLE_BASELINES = [PPO, A2C, DQN, SAC]
AGENTS = [*STABLE_BASELINES, IndependentPPO]
SPACE = DesignSpace(
    [
        Integer("x", 1, 16),
        Ordinal("size", [1, 2, 4, 8, 16]),
        Categorical("isa", ["b", "a", "c"]),
        Integer("only", 5, 5),
    ]
)


class Bowl(Simulator):
    """The cost of a design is 1 plus its squared distance, in indices, from index n // 3 of every
    parameter; design 0 cannot exist.
    """

    metrics = (Metric("cost", "1", "lower"),)

    def __init__(self, space=SPACE):
        self.space = space

    def evaluate_indices(self, indices, rng=None):
        cost = 1.0 + ((indices - self.space.nvec // 3) ** 2).sum(axis=1)
        return {"cost": cost, "feasible": indices.sum(axis=1) > 0}

    def evaluate(self, designs, rng=None):
        return self.evaluate_indices(self.space.encode(designs))


def make(num_envs, *, space=SPACE, horizon=1):
    return ArchVectorEnv(
        Task("test/Bowl-v0", Bowl(space), Objective(Minimize("cost"))), num_envs, horizon=horizon
    )


def search(agent, *, budget, seed=0, num_envs=None, **kwargs):
    env = make(num_envs or agent.preferred_num_envs, **kwargs)
    env.ledger.budget = budget
    agent.search(env, budget=budget, seed=seed)
    return env.ledger


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("budget", [1, 3, 20, 137])
def test_every_budget_is_spent_exactly(agent, budget):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert search(agent(), budget=budget).samples == budget


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("num_envs", [1, 7])
def test_any_width_works(agent, num_envs):
    assert search(agent(), budget=60, num_envs=num_envs).samples == 60


@pytest.mark.parametrize("agent", AGENTS)
def test_episodes_of_several_designs_work(agent):
    assert search(agent(), budget=100, horizon=3).samples == 100


@pytest.mark.parametrize("agent", AGENTS)
def test_the_same_seed_gives_the_same_designs_and_another_seed_others(agent):
    first, again, other = (
        search(agent(), budget=150, seed=seed).column("indices").tolist() for seed in (3, 3, 4)
    )
    assert first == again != other


@pytest.mark.parametrize("agent", AGENTS)
def test_every_value_of_every_parameter_is_reached(agent):
    seen = search(agent(), budget=300).column("indices")
    assert [len(np.unique(column)) for column in seen.T] == SPACE.nvec.tolist()


@pytest.mark.parametrize("agent", AGENTS)
def test_agents_learn_to_propose_better_designs_than_random_ones(agent):
    space = DesignSpace([Integer(f"p{i}", 0, 7) for i in range(4)])
    late = [
        search(agent(), budget=1000, seed=seed, space=space).column("reward")[-200:].mean()
        for seed in range(3)
    ]
    uniform = -np.log(Bowl(space).evaluate_indices(space.sample(1000, np.random.default_rng(0)))["cost"])
    assert np.mean(late) > uniform.mean() + uniform.std()


@pytest.mark.parametrize("agent", AGENTS)
def test_a_search_leaves_global_random_states_and_torch_threads_alone(agent):
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        python, numpy, pytorch = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        search(agent(), budget=40)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state()[1], numpy)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), pytorch)


def test_searches_in_threads_have_the_rows_that_they_have_alone():
    import torch

    agents = [PPO, A2C, DQN, SAC, IndependentPPO, GaussianProcess, Genetic, PPO]
    alone = [search(agent(), budget=40, seed=5).column("indices").tolist() for agent in agents]
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(len(agents)) as pool:
        together = [pool.submit(search, agent(), budget=40, seed=5) for agent in agents]
        assert [future.result().column("indices").tolist() for future in together] == alone
    assert torch.get_num_threads() == threads


def test_a_search_inside_a_search_does_not_wait_for_itself():
    inner = []

    class Searching(Bowl):
        def evaluate_indices(self, indices, rng=None):
            if not inner:
                inner.append(None)
                inner[0] = search(PPO(), budget=20).column("indices").tolist()
            return super().evaluate_indices(indices)

    env = ArchVectorEnv(Task("test/Searching-v0", Searching(), Objective(Minimize("cost"))), 4)
    env.ledger.budget = 20
    A2C().search(env, budget=20, seed=0)
    assert env.ledger.samples == 20 and inner[0] == search(PPO(), budget=20).column("indices").tolist()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_process_that_is_forked_while_a_search_has_its_turn_can_search():
    from archgym.agents._torch import alone_with_torch

    has_turn, over = threading.Event(), threading.Event()

    def wait():
        with alone_with_torch():
            has_turn.set()
            over.wait(20)

    thread = threading.Thread(target=wait)
    thread.start()
    has_turn.wait(20)
    child = os.fork()
    if not child:
        signal.alarm(10)
        with alone_with_torch():
            os._exit(0)
    _, status = os.waitpid(child, 0)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("agent", AGENTS)
def test_a_space_without_parameters_is_refused_with_the_reason(agent):
    with pytest.raises(ArchGymError, match="a space without parameters has one design; use exhaustive"):
        search(agent(), budget=5, space=DesignSpace([]))


@pytest.mark.parametrize("agent", STABLE_BASELINES)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(agent, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("stable_baselines3.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(MissingDependency, match=r"archgym\[rl\]"):
        search(agent(), budget=5)


def test_a_missing_pytorch_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match=r"archgym\[rl\]"):
        search(IndependentPPO(), budget=5)


def test_agents_can_be_configured_without_importing_torch():
    code = (
        "import sys; from archgym.agents import ppo, a2c, dqn, sac, independent_ppo;"
        "ppo.PPO(clip=0.1), independent_ppo.IndependentPPO(group=2); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("budget", [1, 3, 20, 137, 5000])
@pytest.mark.parametrize("num_envs", [1, 3, 16])
@pytest.mark.parametrize("n_steps", [1, 4, 128])
def test_a_rollout_leaves_room_for_eight_updates_and_is_never_one_sample(n_steps, num_envs, budget):
    rollout = rollout_steps(n_steps, num_envs, budget) * num_envs
    assert 2 <= rollout <= max(budget // 8, num_envs, 2)


@pytest.mark.parametrize("minibatches", [1, 2, 8])
@pytest.mark.parametrize("num_envs", [1, 5])
def test_minibatches_divide_the_rollout(minibatches, num_envs):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert search(PPO(minibatches=minibatches, n_steps=8), budget=90, num_envs=num_envs).samples == 90


@pytest.mark.parametrize("group", [1, 2, 4, 16])
def test_independent_learners_share_the_parameters_out(group):
    import torch

    nvec = np.array([3, 5, 2, 7, 4])
    learners = Learners(nvec, group, observed=2)
    log_p = learners.log_policy(torch.randn(200, 2))
    actions = learners.sample(log_p)
    designs = learners.designs(actions)
    assert designs.shape == (200, 5) and [len(np.unique(column)) for column in designs.T] == nvec.tolist()
    per_learner = learners.log_prob(log_p, actions, learners.by_learner(np.ones((200, 5), bool)))
    assert per_learner.shape == (-(-5 // group), 200)
    flat = log_p.permute(1, 0, 2, 3).flatten(1, 2)[:, :5]  # [B, P, n]
    joint = flat.gather(2, torch.as_tensor(designs)[..., None]).sum(dim=(1, 2))
    torch.testing.assert_close(per_learner.sum(0), joint)
    assert (flat.exp().sum(2) - 1).abs().max() < 1e-5


def test_a_learner_is_moved_by_its_own_loss_alone_and_its_gradient_is_limited_alone():
    import torch

    learners = Learners(np.array([3, 3]), 1, observed=2)
    observations = torch.ones(8, 2)
    (learners.values(observations)[0].mean() * 100).backward()
    assert all((p.grad is None) or not p.grad[1].any() for p in learners.parameters)
    learners.limit_gradients(0.5)
    norms = sum(p.grad.pow(2).sum(dim=(1, 2)) for p in learners.parameters if p.grad is not None).sqrt()
    assert norms[0] == pytest.approx(0.5, rel=1e-3) and norms[1] == 0


@pytest.mark.parametrize(
    "view", [lambda env: env, vector_wrappers.SequentialDesign, vector_wrappers.ContinuousActions]
)
def test_the_adapter_keeps_the_promises_of_a_vec_env(view):
    from stable_baselines3.common.vec_env import VecEnv

    env = as_vec_env(view(make(3)))
    assert isinstance(env, VecEnv) and env.num_envs == 3
    env.seed(5)
    observations = env.reset()
    env.action_space.seed(0)
    for _ in range(10):
        assert observations.shape == (3, *env.observation_space.shape) and observations.dtype == np.float32
        assert all(env.observation_space.contains(row) for row in observations)
        observations, rewards, dones, infos = env.step(
            np.array([env.action_space.sample() for _ in range(3)])
        )
        assert rewards.shape == dones.shape == (3,) and rewards.dtype == np.float32 and dones.dtype == bool
        assert len({id(info) for info in infos}) == len(infos) == 3
        for done, info in zip(dones, infos, strict=True):
            assert ("terminal_observation" in info) == done and not info.get("TimeLimit.truncated", False)


def test_the_adapter_returns_the_rewards_and_last_observations_of_the_designs():
    env = make(2)
    adapted = as_vec_env(env)
    adapted.reset()
    observations, rewards, dones, infos = adapted.step(np.array([[0, 0, 0, 0], [5, 1, 1, 0]]))
    assert dones.all() and not observations.any()
    assert rewards.tolist() == [-11.0, 0.0]
    assert infos[0]["terminal_observation"].tolist() == [0.0, 0.0] and infos[1][
        "terminal_observation"
    ].tolist() == [0.0, 1.0]


def test_the_models_action_space_is_not_the_environments():
    env = make(2)
    assert as_vec_env(env).action_space is not env.single_action_space


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 99))
def test_the_product_of_categoricals_is_stable_baselines_own(nvec, seed):
    import torch
    from stable_baselines3.common.distributions import MultiCategoricalDistribution

    from archgym.agents._policy import ProductOfCategoricals

    torch.manual_seed(seed)
    logits = torch.randn(64, sum(nvec)) * 3
    ours, theirs = (
        ProductOfCategoricals(
            DesignSpace([Integer(f"p{p}", 1, n) for p, n in enumerate(nvec)])
        ).proba_distribution(logits),
        MultiCategoricalDistribution(nvec).proba_distribution(logits),
    )
    actions = theirs.sample()
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    assert torch.equal(ours.mode(), theirs.mode())
    drawn = ours.sample()
    assert drawn.shape == (64, len(nvec)) and (drawn >= 0).all() and (drawn < torch.tensor(nvec)).all()


def test_the_product_of_categoricals_is_drawn_with_its_probabilities():
    import torch

    from archgym.agents._policy import ProductOfCategoricals

    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 1.0, 2.0, 0.5, -0.5]])
    space = DesignSpace([Integer("a", 1, 3), Integer("b", 1, 2)])
    distribution = ProductOfCategoricals(space).proba_distribution(logits.repeat(20_000, 1))
    drawn = distribution.sample()
    for parameter, (low, high) in enumerate([(0, 3), (3, 5)]):
        share = torch.bincount(drawn[:, parameter], minlength=high - low) / 20_000
        torch.testing.assert_close(share, torch.softmax(logits[0, low:high], 0), atol=0.02, rtol=0)


def test_a_part_of_a_rollout_is_at_least_eight_designs():
    import archgym

    for num_envs, n_steps, minibatches in [(1, 1, 8), (1, 16, 8), (4, 2, 8), (64, 1, 2)]:
        agent = archgym.make_agent(
            "ppo", num_envs=num_envs, n_steps=n_steps, minibatches=minibatches, epochs=1
        )
        assert archgym.search("archgym/Softmax-v0", agent, budget=130).samples == 130
