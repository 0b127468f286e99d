"""The same task for those who need another interface: other action spaces, a vector of rewards, or an agent
per parameter.

    SequentialDesign    one parameter per step
    PrefixDesign        one parameter per step, and every prefix evaluated as a design
    Curriculum          a goal that moves with the agent's success
    RandomHalting       a drawn number of steps at most
    ContinuousActions   the whole design as a point of [-1, 1]^P
    RewardVector        a reward for each metric (MO-Gymnasium)
    MultiAgentDesign    one agent per parameter or group of parameters (PettingZoo; `archgym[marl]`)
    vector              those of vector environments: SequentialDesign, PrefixDesign, ContinuousActions,
                        RewardVector

The ledger below is shared: every interface counts samples at the same place.
"""

from typing import Any

from archgym.deprecated.names import old_names
from archgym.wrappers import vector
from archgym.wrappers.continuous import ContinuousActions
from archgym.wrappers.curriculum import Curriculum, RandomHalting
from archgym.wrappers.prefix import PrefixDesign
from archgym.wrappers.reward_vector import RewardVector, VectorObjective
from archgym.wrappers.sequential import SequentialDesign

__all__ = [
    "ContinuousActions",
    "Curriculum",
    "MultiAgentDesign",
    "PrefixDesign",
    "RandomHalting",
    "RewardVector",
    "SequentialDesign",
    "VectorObjective",
    "vector",
]


def __getattr__(name: str) -> Any:
    if name == "MultiAgentDesign":  # a PettingZoo class, imported when it is asked for
        from archgym.wrappers.multi_agent import MultiAgentDesign

        return MultiAgentDesign
    return _old_names(name)


_old_names = old_names(
    __name__,
    VectorContinuousActions="archgym.wrappers.vector:ContinuousActions",
    VectorSequentialDesign="archgym.wrappers.vector:SequentialDesign",
    VectorReward="RewardVector",
    VectorVectorReward="archgym.wrappers.vector:RewardVector",
)
