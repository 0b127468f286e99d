"""Conformance checks for simulators, environments and agents, in the spirit of Gymnasium's `check_env`.

    check_simulator(simulator)     what the kernel relies on in a simulator
    check_env(id or environment)   Gymnasium's and Stable-Baselines3's checks, and that the vector environment
                                   gives the same results
    check_agent(agent)             exact budgets, one seed one trajectory, legal actions, no value out of
                                   reach

Each returns None, or raises AssertionError (ArchGymError where the kernel itself refuses) with what is wrong
and what to do. They need no test framework; a plug-in's test is one line:

>>> def test_my_simulator():
...     check_simulator(MySimulator())   # doctest: +SKIP
"""

from archgym.testing.agents import check_agent
from archgym.testing.envs import check_env
from archgym.testing.simulators import check_simulator

__all__ = ["check_agent", "check_env", "check_simulator"]
