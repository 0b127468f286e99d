"""The plug-in keeps archgym's contract."""

from archgym_plugin.simulator import CacheHierarchy

import archgym
from archgym.testing import check_agent, check_env, check_simulator


def test_the_simulator_keeps_the_contract():
    check_simulator(CacheHierarchy())
    check_env("plugin/CacheHierarchy-v0")


def test_the_agent_keeps_the_contract():
    check_agent("tabu", "plugin/CacheHierarchy-v0")


def test_larger_caches_miss_less_and_the_agent_finds_the_optimum():
    result = archgym.search("plugin/CacheHierarchy-v0", "tabu", budget=600, seed=0)
    best = archgym.search("plugin/CacheHierarchy-v0", "exhaustive", budget=600)
    assert result.best_reward >= best.best_reward - 0.05
