"""The wrappers of `archgym.wrappers` for vector environments, under the same names, as Gymnasium has it."""

from archgym.wrappers.vector.continuous import ContinuousActions
from archgym.wrappers.vector.prefix import PrefixDesign
from archgym.wrappers.vector.reward_vector import RewardVector
from archgym.wrappers.vector.sequential import SequentialDesign

__all__ = ["ContinuousActions", "PrefixDesign", "RewardVector", "SequentialDesign"]
