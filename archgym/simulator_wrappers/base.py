"""Base class of simulators around another simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from archgym.objective import Objective
from archgym.simulator import Candidates, Simulator
from archgym.space import Array, Indices

if TYPE_CHECKING:
    from archgym.shared import SharedTask


class SimulatorWrapper(Simulator):
    """A simulator around another one; subclasses define `evaluate_indices`.

    Attributes:
        simulator: the wrapped simulator.
        transparent: whether results equal those of the wrapped simulator exactly, so that a cache may share
            them.
    """

    transparent: ClassVar[bool] = False

    def __init__(self, simulator: Simulator):
        self.simulator = simulator
        self.space = simulator.space
        self.metrics = simulator.metrics
        self.deterministic = simulator.deterministic
        self.stochastic = simulator.stochastic
        self.counted_elsewhere, self.default_horizon = simulator.counted_elsewhere, simulator.default_horizon
        self.default_objective = simulator.default_objective
        self.cost_unit, self.fidelity = simulator.cost_unit, simulator.fidelity

    @property
    def left(self) -> int | None:
        """The wrapped simulator's samples left; None without a limit."""
        return self.simulator.left

    @property
    def unwrapped(self) -> Simulator:
        """The simulator inside all wrappers."""
        return self.simulator.unwrapped

    def canonical(self, indices: Indices) -> Indices:
        """The wrapped simulator's representatives: [B, P] -> [B, P]."""
        return self.simulator.canonical(indices)

    def optimum(self, objective: Objective) -> Indices | None:
        """The wrapped simulator's optimum, [P]; None if unknown."""
        return self.simulator.optimum(objective)

    def bound(self, objective: Objective) -> float | None:
        """The wrapped simulator's bound of rewards; None without, and where the wrapper adds noise."""
        return None if self.stochastic else self.simulator.bound(objective)

    def export(self, indices: Indices) -> tuple[str, bytes] | None:
        """The wrapped simulator's file of a design [P]; None without."""
        return self.simulator.export(indices)

    def candidates(self, objective: Objective) -> Candidates | None:
        """The wrapped simulator's candidates for an optimum."""
        return self.simulator.candidates(objective)

    def cost_of(self, indices: Indices) -> Array:
        """The wrapped simulator's costs: [B, P] -> float64 [B]."""
        return self.simulator.cost_of(indices)

    def cost_after(self, indices: Indices, before: Indices) -> Array:
        """The wrapped simulator's costs after other designs: [B, P] -> float64 [B]."""
        return self.simulator.cost_after(indices, before)

    def cost_before(self) -> float:
        """The wrapped simulator's cost before the first evaluation."""
        return self.simulator.cost_before()

    def shared(self, seed: int, *, fresh: bool = True, partial: int = 1) -> SharedTask | None:
        """The wrapped simulator's shared weights; None without."""
        return self.simulator.shared(seed, fresh=fresh, partial=partial)

    def controls(self) -> dict[str, tuple[Indices, Array]]:
        """The wrapped simulator's designs that take no search."""
        return self.simulator.controls()

    def masks(self, indices: Indices, p: int) -> Array:
        """The wrapped simulator's possible values: [B, >= p] -> bool [B, n_p]."""
        return self.simulator.masks(indices, p)

    def state_features(self, indices: Indices) -> Array | None:
        """The wrapped simulator's features: [B, P] -> float32 [B, F]; None without."""
        return self.simulator.state_features(indices)

    def close(self) -> None:
        """Close the wrapped simulator."""
        self.simulator.close()
