"""The base of wrappers of vector environments: Gymnasium's `VectorWrapper`, which takes type arguments
from Gymnasium 1.4 on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.vector import VectorWrapper

from archgym.space import Array

if TYPE_CHECKING:
    BatchWrapper = VectorWrapper[Array, Any, Array, Array]
else:
    BatchWrapper = VectorWrapper
