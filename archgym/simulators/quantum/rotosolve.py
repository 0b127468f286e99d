"""The least energy that the angles of a circuit can reach, for many circuits at once.

With the state r_k before gate k and the observable h_(k+1) carried back to after it, the energy depends on
the gate's own angle as

    E(theta) = A + B cos(theta) + C sin(theta),    least at (cos, sin) = -(B, C) / sqrt(B^2 + C^2)
    B = sum h_b r_b + h_c r_c,   C = sum h_c r_b - h_b r_c    over the pairs that the gate turns (`pauli`)

so that one angle after the other is set to its exact best (Rotosolve: Ostaszewski et al., Quantum 5, 2021;
Nakanishi et al., Phys. Rev. Research 2, 2020). A sweep sets them from the first gate to the last and back:
forwards the states are renewed, backwards the observables, so that both ways cost the same. After a sweep,
every angle makes its last change once more, if the energy falls by that; this takes a third of the sweeps.
A run ends with a sweep that gains less than `TOLERANCE`.

    1. All starts run for `SHORT` sweeps, the best quarter of them then to the end.
    2. A circuit that ends in rotations is first solved without the last, whose best angles, with 0 for the
       last, are one more start. So a further rotation at the end never raises the energy, unless by noise.

Starts are fixed points, so that a circuit always has the same energy. Angles are kept as (cos, sin), sums are
added in halves, and nothing but + - * / and roots is used: any machine, batch, and `compiled`, which does the
same in C, give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from archgym.simulators.quantum.pauli import Floats, PauliBasis
from archgym.simulators.quantum.space import CNOT, MOST_SLOTS, NONE, ROTATION
from archgym.space import Array, Indices

TOLERANCE = 1e-9  # hartree gained by a sweep
SHORT, LONG = 10, 1000  # sweeps of all starts, and of the best quarter at most
ROUNDING = 1e-13  # gain of one angle, per unit of the observable's norm, that may be rounding
MOST_STARTS = 256
_BYTES = 1 << 26  # of states and observables at a time


@dataclass(frozen=True)
class Problem:
    """What angles are set for.

    Args:
        basis: gates and noise.
        observable: coefficients of the Hamiltonian, float64 [4^n], hartree.
        starts: number of starts.
    """

    basis: PauliBasis
    observable: Floats
    starts: int
    points: Floats = field(init=False)  # [starts, MOST_SLOTS, 2]: (cos, sin) at the start of each run
    least_gain: float = field(init=False)

    def __post_init__(self) -> None:
        # a frozen stream of numbers, whose first starts and slots do not depend on how many there are
        square = np.random.RandomState(0).uniform(-1, 1, (self.starts, MOST_SLOTS, 2))
        length = np.sqrt(square[..., 0] * square[..., 0] + square[..., 1] * square[..., 1])
        object.__setattr__(self, "points", square / length[..., None])
        object.__setattr__(self, "least_gain", ROUNDING * float(np.abs(self.observable[1:]).sum()))


def pack(circuits: Indices, kind: Indices) -> tuple[Indices, Indices]:
    """Circuits [B, L] with their gates moved to the front, and the slots that these come from, [B, L]."""
    order = np.argsort(kind[circuits] == NONE, axis=1, kind="stable")
    return np.take_along_axis(circuits, order, axis=1), order


def solve(problem: Problem, circuits: Indices) -> tuple[Floats, Floats]:
    """The least energies of circuits, and the points of their angles; `compiled.solve` does the same.

    Args:
        circuits: gates [B, L], with none only at the end.

    Returns:
        Energies [B], hartree, and (cos, sin) of every gate's angle, [B, L, 2]; (1, 0) where it has none.
    """
    energies = np.empty(len(circuits))
    points = np.empty((*circuits.shape, 2))
    row = 24 * (circuits.shape[1] + 1) * problem.basis.size * (problem.starts + 1)
    chunk = max(_BYTES // row, 1)
    for at in range(0, len(circuits), chunk):
        part = slice(at, at + chunk)
        energies[part], points[part] = _solve(problem, circuits[part])
    return energies, points


def states_at(problem: Problem, circuits: Indices, points: Array) -> Floats:
    """The states that circuits [B, L] leave at points [B, L, 2], as Pauli expectations [B, 4^n]."""
    state: Floats = np.tile(problem.basis.zero, (len(circuits), 1))
    for gates, (c, s) in zip(circuits.T, np.moveaxis(points, (1, 2), (0, 1)), strict=True):
        state = _moved(problem.basis, gates, state, c, s)
    return state


def energies_at(problem: Problem, circuits: Indices, points: Array) -> Floats:
    """The energies of circuits [B, L] at points [B, L, 2], hartree: [B]."""
    return _sum(problem.observable * states_at(problem, circuits, points))


def _solve(problem: Problem, circuits: Indices) -> tuple[Floats, Floats]:
    kind = problem.basis.gates.kind[circuits]
    count, slots = (kind != NONE).sum(axis=1), np.arange(1, circuits.shape[1] + 1)
    entangled = ((kind == CNOT) * slots).max(axis=1)  # gates up to the last CNOT
    energies = np.full(len(circuits), _sum(problem.observable * problem.basis.zero))
    points = np.tile([1.0, 0.0], (*circuits.shape, 1))
    for extra in range(int((count - entangled).max(initial=-1)) + 1):
        length = entangled + extra
        rows = np.flatnonzero((length <= count) & (length > 0))
        gates = np.where(slots <= length[rows, None], circuits[rows], NONE)
        starts = np.broadcast_to(
            problem.points[:, None, : circuits.shape[1]],
            (problem.starts, len(rows), circuits.shape[1], 2),
        )
        if extra:
            starts = np.concatenate([starts, points[None, rows]])
        energies[rows], found = _best_run(problem, gates, starts)
        rotated = problem.basis.gates.kind[gates] == ROTATION
        points[rows] = np.where(rotated[..., None], found, [1.0, 0.0])
    return energies, points


def _best_run(problem: Problem, gates: Indices, starts: Array) -> tuple[Floats, Floats]:
    """Energies and points of circuits [B, L] from starts [S, B, L, 2], by short runs and long ones."""
    for most, keep in ((SHORT, max(len(starts) // 4, 1)), (LONG, 1)):
        n, b = starts.shape[:2]
        every = np.tile(gates, (n, 1))
        energies, points = _run(problem, every, starts.reshape(n * b, *starts.shape[2:]), most)
        energies, points = energies.reshape(n, b), points.reshape(starts.shape)
        best = np.argsort(energies, axis=0, kind="stable")[:keep]
        energies = np.take_along_axis(energies, best, axis=0)
        starts = np.take_along_axis(points, best[..., None, None], axis=0)
    return energies[0], starts[0]


def _run(problem: Problem, gates: Indices, points: Array, most: int) -> tuple[Floats, Floats]:
    """Sweeps from points [R, L, 2] until they gain nothing, `most` at most."""
    run = _Sweeps(problem, gates, points)
    energies, found = np.empty(len(gates)), points.copy()
    live = np.arange(len(gates))
    before = points.copy()
    energy = run.backward()
    for sweep in range(1, most + 1):
        run.forward()
        swept = run.backward(update=True)
        energies[live], found[live] = swept, run.points
        more = energy - swept >= TOLERANCE
        if sweep == most or not more.any():
            break
        live = live[more]
        run.keep(more)
        energy, after = swept[more], run.points.copy()
        energy = run.repeat(before[more], energy)
        before = after
        energies[live], found[live] = energy, run.points
    return energies, found


class _Sweeps:
    """Rows of circuits [R, L] at points [R, L, 2], with states and observables between all gates."""

    def __init__(self, problem: Problem, gates: Indices, points: Array):
        self.basis, self.observable, self.least_gain = problem.basis, problem.observable, problem.least_gain
        self.gates, self.points = gates, points.copy()
        shape = (gates.shape[1] + 1, len(gates), self.basis.size)
        self.states, self.observables = np.empty(shape), np.empty(shape)
        self.states[0], self.observables[-1] = self.basis.zero, self.observable

    def keep(self, rows: Array) -> None:
        """Go on with some rows only."""
        self.gates, self.points = self.gates[rows], self.points[rows]
        self.states, self.observables = self.states[:, rows], self.observables[:, rows]

    def forward(self) -> None:
        """Set the angles from the first gate to the last."""
        for k in range(self.gates.shape[1]):
            self._set(k)
            c, s = self.points[:, k].T
            self.states[k + 1] = _moved(self.basis, self.gates[:, k], self.states[k], c, s)

    def backward(self, update: bool = False) -> Floats:
        """Carry the observable back, with the angles set on the way if `update`; energies [R]."""
        for k in range(self.gates.shape[1] - 1, -1, -1):
            if update:
                self._set(k)
            c, s = self.points[:, k].T
            self.observables[k] = _moved(self.basis, self.gates[:, k], self.observables[k + 1], c, -s)
        return _sum(self.observables[0] * self.basis.zero)

    def repeat(self, before: Array, energy: Floats) -> Floats:
        """Make the change since points [R, L, 2] once more where the energy [R] falls; energies [R]."""
        (c, s), (c0, s0) = np.moveaxis(self.points, -1, 0), np.moveaxis(before, -1, 0)
        turn_c, turn_s = c * c0 + s * s0, s * c0 - c * s0
        x, y = c * turn_c - s * turn_s, c * turn_s + s * turn_c
        length = np.sqrt(x * x + y * y)
        points, observables = self.points, self.observables
        self.points, self.observables = np.stack([x / length, y / length], axis=-1), observables.copy()
        tried = self.backward()
        worse = ~(tried < energy)
        self.points[worse], self.observables[:, worse] = points[worse], observables[:, worse]
        return np.where(worse, energy, tried)

    def _set(self, k: int) -> None:
        """Set the angle of gate k to its best, where that gains more than rounding."""
        rows = np.flatnonzero(self.basis.gates.kind[self.gates[:, k]] == ROTATION)
        at_b, at_c = np.moveaxis(self.basis.turned[self.gates[rows, k], :2], 1, 0)
        h, r = self.observables[k + 1][rows], self.states[k][rows]
        h_b, h_c = np.take_along_axis(h, at_b, 1), np.take_along_axis(h, at_c, 1)
        r_b, r_c = np.take_along_axis(r, at_b, 1), np.take_along_axis(r, at_c, 1)
        b, c = _sum(h_b * r_b + h_c * r_c), _sum(h_c * r_b - h_b * r_c)
        length = np.sqrt(b * b + c * c)
        old = self.points[rows, k]
        gains = length + b * old[:, 0] + c * old[:, 1] > self.least_gain
        divisor = np.where(gains, length, 1.0)
        new = np.stack([-b / divisor, -c / divisor], axis=1)
        self.points[rows, k] = np.where(gains[:, None], new, old)


def _moved(basis: PauliBasis, gates: Indices, vectors: Array, c: Array, s: Array) -> Floats:
    """Vectors [R, N] after one gate each, of cosine c and sine s; -s carries an observable back."""
    moved = vectors.copy()
    kind = basis.gates.kind[gates]
    rows = np.flatnonzero(kind == ROTATION)
    places = np.moveaxis(basis.turned[gates[rows]], 1, 0)
    given = vectors[rows]
    x, y, z, same = (np.take_along_axis(given, at, 1) for at in places)
    kept = basis.damping[0]
    c, s = kept * c[rows, None], kept * s[rows, None]
    for at, value in zip(places, (c * x - s * y, s * x + c * y, kept * z, same), strict=True):
        np.put_along_axis(given, at, value, 1)
    moved[rows] = given
    rows = np.flatnonzero(kind == CNOT)
    turned = np.take_along_axis(vectors[rows], basis.permutation[gates[rows]], 1)
    moved[rows] = basis.weight[gates[rows]] * turned
    return moved


def _sum(values: Array) -> Floats:
    """The sums of [..., 2^k] along the last axis, in halves."""
    while (half := values.shape[-1] // 2) > 0:
        values = values[..., :half] + values[..., half:]
    total: Floats = values[..., 0]
    return total
