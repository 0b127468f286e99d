"""The multi-agent view: PettingZoo's own checks, and the same designs, rewards and samples as the
environment below.
"""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from conftest import LAYERS, Bowl

import archgym
from archgym import ArchGymError, MissingDependency

pettingzoo = pytest.importorskip("pettingzoo")
from pettingzoo.test import parallel_api_test, parallel_seed_test  # noqa: E402

from archgym.wrappers import MultiAgentDesign  # noqa: E402

TASKS = [
    ("archgym/DramController-v0", {}, {"pages": ["page_policy", "refresh_policy"]}),
    ("archgym/NKLandscape-v0", {"n": 6, "k": 2}, None),
    ("archgym/Softmax-v0", {"horizon": 5}, None),
]
NAMES = list(Bowl.space.names)


def make(id, arguments, groups):
    env = gymnasium.make(id, **arguments)
    if groups is not None:
        grouped = {name for names in groups.values() for name in names}
        groups = groups | {
            name: [name] for name in env.unwrapped.simulator.space.names if name not in grouped
        }
    return MultiAgentDesign(env, groups)


def bowl(**kwargs):
    return archgym.ArchEnv(archgym.registry.Task("tests/Bowl-v0", Bowl), **kwargs)


@pytest.mark.parametrize(("id", "arguments", "groups"), TASKS)
@pytest.mark.filterwarnings("ignore")
def test_pettingzoo_finds_no_fault(id, arguments, groups):
    env = make(id, arguments, groups)
    assert isinstance(env, pettingzoo.ParallelEnv)
    parallel_api_test(env, num_cycles=100)
    parallel_seed_test(lambda: make(id, arguments, groups), num_cycles=10)


@pytest.mark.parametrize("groups", [None, {"one": NAMES[1:], "other": NAMES[:1]}])
def test_a_joint_action_is_the_design_and_all_agents_have_its_reward(groups):
    joint, single = MultiAgentDesign(bowl(horizon=2), groups), bowl(horizon=2)
    rng = np.random.default_rng(0)
    for episode in range(3):
        observations, _ = joint.reset(seed=episode)
        expected, _ = single.reset(seed=episode)
        for last in (False, True):
            assert all(np.array_equal(observation, expected) for observation in observations.values())
            assert list(observations) == joint.agents == joint.possible_agents
            design = single.simulator.space.sample(1, rng)[0]
            by_name = dict(zip(NAMES, design, strict=True))
            actions = {
                agent: np.array([by_name[name] for name in names]) for agent, names in joint.groups.items()
            }
            actions = {agent: action if len(action) > 1 else action[0] for agent, action in actions.items()}
            observations, rewards, terminations, truncations, infos = joint.step(actions)
            expected, reward, terminated, truncated, info = single.step(design)
            assert set(rewards.values()) == {reward} and set(terminations.values()) == {terminated} == {last}
            assert set(truncations.values()) == {truncated} and all(
                said["metrics"] == info["metrics"] for said in infos.values()
            )
            assert np.array_equal(joint.state(), expected)
        assert joint.agents == []
    for column in ("indices", "values", "reward"):
        assert np.array_equal(joint.env.ledger.column(column), single.ledger.column(column), equal_nan=True)


def test_spaces_are_those_of_the_parameters():
    env = MultiAgentDesign(bowl(), {"first": NAMES[:1], "rest": NAMES[1:]})
    assert env.action_space("first") == gymnasium.spaces.Discrete(int(Bowl.space.nvec[0]))
    assert env.action_space("rest") == gymnasium.spaces.MultiDiscrete(Bowl.space.nvec[1:])
    assert env.action_space("rest") is env.action_space("rest")
    assert env.observation_space("first") == env.env.observation_space


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": NAMES[1:]}, f"parameters without an agent: {NAMES[0]}"),
        ({"a": NAMES, "b": NAMES[:1]}, f"parameters with two: {NAMES[0]}"),
        ({"a": NAMES, "b": []}, "agents without parameters: b"),
        ({"a": [*NAMES, "nothing"]}, "unknown parameter 'nothing'"),
    ],
)
def test_groups_that_do_not_share_out_the_parameters_are_refused(groups, message):
    with pytest.raises(ArchGymError, match=message):
        MultiAgentDesign(bowl(), groups)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda actions: actions.pop(NAMES[0]), f"got none of '{NAMES[0]}'"),
        (lambda actions: actions.update(nobody=0), "unknown agent 'nobody'"),
        (
            lambda actions: actions.update({NAMES[0]: 10_000}),
            f"expected an action of '{NAMES[0]}' in Discrete",
        ),
    ],
)
def test_joint_actions_that_are_no_design_are_refused_and_cost_no_sample(change, message):
    env = MultiAgentDesign(bowl())
    env.reset(seed=0)
    actions = {agent: 0 for agent in env.agents}
    change(actions)
    with pytest.raises(ArchGymError, match=message):
        env.step(actions)
    assert env.env.ledger.samples == 0


def test_pettingzoo_is_imported_only_by_those_who_ask_for_it():
    code = "import sys, archgym, archgym.wrappers; sys.exit('pettingzoo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_pettingzoo_the_extra_that_brings_it_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "archgym.wrappers.multi_agent")
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    with pytest.raises(MissingDependency, match=r"archgym\[marl\]"):
        archgym.wrappers.MultiAgentDesign  # noqa: B018


def test_agents_of_inactive_parameters_act_without_effect():
    env = MultiAgentDesign(archgym.ArchEnv(LAYERS))
    rewards = set()
    for choice in range(4):
        env.reset(seed=0)
        actions = {"depth": 0, "kind": 1, "width1": 2, "dilation": choice, "width2": choice, "width3": choice}
        _, reward, *_, infos = env.step(actions)
        assert infos["width3"]["design"] == {"depth": 1, "kind": "dense", "width1": 3}
        rewards.add(reward["width3"])
    assert len(rewards) == 1 == env.unwrapped.env.unwrapped.ledger.unique
    assert env.unwrapped.env.unwrapped.ledger.column("indices").tolist() == [[0, 1, 1, 2, 3, 0]] * 4
    parallel_api_test(MultiAgentDesign(archgym.ArchEnv(LAYERS)), num_cycles=20)
