"""The same task for those who need another interface: other action spaces, a vector of rewards, or an agent per parameter.

    SequentialDesign    one parameter per step
    ContinuousActions   the whole design as a point of [-1, 1]^P
    VectorReward        a reward for each metric (MO-Gymnasium)
    MultiAgentDesign    one agent per parameter or group of parameters (PettingZoo; `archgym[marl]`)

The ledger below is shared: every interface counts samples at the same place.
"""

from typing import Any

from archgym.wrappers.continuous import ContinuousActions, VectorContinuousActions
from archgym.wrappers.sequential import SequentialDesign, VectorSequentialDesign
from archgym.wrappers.vector_reward import VectorObjective, VectorReward, VectorVectorReward

__all__ = [
    "ContinuousActions",
    "MultiAgentDesign",
    "SequentialDesign",
    "VectorContinuousActions",
    "VectorObjective",
    "VectorReward",
    "VectorSequentialDesign",
    "VectorVectorReward",
]


def __getattr__(name: str) -> Any:
    if name == "MultiAgentDesign":  # a PettingZoo class, imported when it is asked for
        from archgym.wrappers.multi_agent import MultiAgentDesign

        return MultiAgentDesign
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
