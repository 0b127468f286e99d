"""Exact optima: what makes regret true.

    regret(r)     = r* - r                                        r* the best reward of all valid designs
    percentile(r) = 100 * |{valid d : reward(d) <= r}| / |{valid d}|        over distinct designs
                                                                            (`Simulator.canonical`)

A space of up to 1e8 designs is enumerated in chunks with bounded memory. For a larger one a simulator may
have the optimum in closed form, or up to 1e8 candidates among which it is (`Simulator.candidates`): these are
enumerated instead, which gives regret but no percentile. Found optima are stored in the user's data folder
and, when read back, checked against the simulator as it is now.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archgym.errors import ArchGymError
from archgym.files.archive import save_arrays
from archgym.files.paths import data_folder, make_folder
from archgym.objective import INFEASIBLE_REWARD, Objective, R
from archgym.progress import Progress, silent
from archgym.simulator import Candidates, Simulator, evaluate_safely, unidentified
from archgym.space import Array, DesignSpace, Indices

LIMIT = 100_000_000
# reward bins: half of them of 8e-5 over [-R - 1, R], half logarithmic up to _LARGEST (form="archgym" goes
# beyond R)
_BINS = 1 << 19
_LARGEST = 1e12
_PROBES = 64


@dataclass(frozen=True)
class Optimum:
    """The best valid design of a task, and how the rewards of all valid designs are distributed where they
    were enumerated.

    Attributes:
        indices: int64 [P]; None where no design is valid.
        best_design, best_metrics, best_reward: the same design in words and numbers; None where no design is
            valid.
        designs, feasible, valid: numbers of distinct designs of each kind; None unless the whole space was
            enumerated.
        at_most: number of distinct valid designs up to and including each reward bin, int64 [bins]; None
            likewise.
    """

    indices: Indices | None
    best_design: dict[str, Any] | None
    best_metrics: dict[str, float] | None
    best_reward: float | None
    designs: int | None = None
    feasible: int | None = None
    valid: int | None = None
    at_most: Array | None = None

    def regret(self, reward: float) -> float | None:
        """How far a valid design's reward is below the optimum's."""
        return None if self.best_reward is None else self.best_reward - reward

    def percentile(self, reward: float) -> float | None:
        """The percentage of distinct valid designs that are at most as good as this reward; the optimum
        has 100.
        """
        if self.at_most is None or self.best_reward is None or not self.valid:
            return None
        return (
            100.0
            if reward >= self.best_reward
            else 100.0 * float(self.at_most[_bin(np.array([reward]))[0]]) / self.valid
        )


def _bin(rewards: Array) -> Indices:
    """Bins of rewards [B]: monotone, as fine as said above."""
    below, above = np.minimum(rewards, R) - INFEASIBLE_REWARD, np.log(np.maximum(rewards, R) / R)
    bins = np.floor((below / (R - INFEASIBLE_REWARD) + above / np.log(_LARGEST / R)) * (_BINS // 2))
    within: Indices = np.clip(bins, 0, _BINS - 1).astype(np.int64)
    return within


def to_enumerate(
    simulator: Simulator, objective: Objective, limit: int = LIMIT
) -> DesignSpace | Candidates | None:
    """What `find_optimum` enumerates: the space, or its candidates where it is larger than `limit`; None
    where these are too many too, or a service counts every evaluation.
    """
    if simulator.counted_elsewhere:
        return None
    if simulator.space.size <= limit:
        return simulator.space
    candidates = simulator.candidates(objective)
    return candidates if candidates is not None and candidates.size <= limit else None


def find_optimum(
    simulator: Simulator,
    objective: Objective,
    *,
    chunk: int = 65536,
    limit: int = LIMIT,
    progress: Progress = silent,
) -> Optimum:
    """The exact optimum by enumeration in chunks, or in closed form where the space is larger than `limit`
    and the simulator has one.

    Of a larger space whose optimum is not known, the simulator's candidates are enumerated, if they are
    within the limit.

    Args:
        progress: a function of (what is being done, the share that is done), called after each chunk.

    Raises:
        ArchGymError: a measured or noisy simulator, which has no exact optimum, one whose service counts
            every evaluation, or a space too large.
    """
    if simulator.counted_elsewhere:
        raise ArchGymError(
            "expected a simulator that may evaluate designs uncounted, got one whose service counts each; "
            "find the optimum where the task is served"
        )
    if not simulator.deterministic or simulator.stochastic:
        raise ArchGymError(
            "a measured or noisy simulator has no exact optimum; use search, which measures the best "
            "designs again"
        )
    space, names = simulator.space, [m.name for m in simulator.metrics]
    if space.size > limit:
        known = simulator.optimum(objective)
        if known is not None:
            return _optimum_at(simulator, objective, known)
    designs_to_try = to_enumerate(simulator, objective, limit)
    if designs_to_try is None:
        raise ArchGymError(_too_many(simulator, objective, limit))
    whole = designs_to_try is space
    histogram = np.zeros(_BINS, np.int64)
    best: tuple[float, Indices] | None = None
    designs = feasible = valid = 0
    done, what = 0, f"enumerating {designs_to_try.size:,} designs"
    for indices in designs_to_try.enumerate(chunk):
        done += len(indices)
        if whole:  # its statistics are those of distinct designs
            indices = indices[(simulator.canonical(indices) == indices).all(axis=1)]
        if len(indices):
            outcome = evaluate_safely(simulator, indices)
            rewards = objective.judge(outcome, names)
            good = rewards.reward[rewards.valid]
            designs, feasible, valid = (
                designs + len(indices),
                feasible + int(outcome.feasible.sum()),
                valid + len(good),
            )
            if len(good):
                histogram += np.bincount(_bin(good), minlength=_BINS)
                top = int(np.where(rewards.valid, rewards.reward, -np.inf).argmax())
                if best is None or rewards.reward[top] > best[0]:
                    best = float(rewards.reward[top]), indices[top].copy()
        progress(what, done / designs_to_try.size)
    found = Optimum(None, None, None, None) if best is None else _optimum_at(simulator, objective, best[1])
    if not whole:
        return found
    return Optimum(
        found.indices,
        found.best_design,
        found.best_metrics,
        found.best_reward,
        designs,
        feasible,
        valid,
        np.cumsum(histogram),
    )


def _too_many(simulator: Simulator, objective: Objective, limit: int) -> str:
    candidates = simulator.candidates(objective)
    among = "" if candidates is None else f", {candidates.size:,} of them candidates for the optimum"
    return f"the space has {simulator.space.size:,} designs{among}; enumeration is for up to {limit:,}"


def _optimum_at(simulator: Simulator, objective: Objective, indices: Indices) -> Optimum:
    outcome = evaluate_safely(simulator, np.asarray(indices, np.int64)[None])
    rewards = objective.judge(outcome, [m.name for m in simulator.metrics])
    design = simulator.space.design(np.asarray(indices, np.int64))
    metrics = {m.name: float(v) for m, v in zip(simulator.metrics, outcome.values[0], strict=True)}
    return Optimum(np.asarray(indices, np.int64), design, metrics, float(rewards.reward[0]))


def known_optimum(simulator: Simulator, objective: Objective) -> Optimum | None:
    """The optimum where it costs no search: stored earlier, in the simulator's table, or in its closed
    form; otherwise None.
    """
    # what a search saw would not be comparable with an exact optimum
    if not simulator.deterministic or simulator.stochastic or simulator.counted_elsewhere:
        return None
    stored = load_optimum(simulator, objective)
    if stored is not None:
        return stored
    indices = simulator.optimum(objective)
    if indices is None:
        return None
    table_rewards = getattr(simulator, "table_rewards", None)
    if table_rewards is not None:  # the whole grid is already in memory
        return find_optimum(simulator, objective, chunk=1 << 20)
    return _optimum_at(simulator, objective, indices)


def stored_optimum(
    simulator: Simulator, objective: Objective, *, progress: Progress = silent
) -> Optimum | None:
    """`known_optimum`; where it is not known, it is found by enumeration and stored. None where no design is
    valid.

    Args:
        progress: a function of (what is being done, the share that is done).

    Raises:
        ArchGymError: a measured or noisy simulator, or a space too large.
    """
    known = known_optimum(simulator, objective)
    if known is not None:
        return known
    found = find_optimum(simulator, objective, progress=progress)
    if found.indices is None:
        return None
    if unidentified(simulator.unwrapped.specification):
        return found
    try:
        save_optimum(simulator, objective, found)
    except ArchGymError as error:
        warnings.warn(f"the optimum is not stored, and is to be found again: {error}", stacklevel=2)
    return found


def _key(simulator: Simulator, objective: Objective) -> str:
    identity = {
        # wrappers change how results are obtained, not the results
        "simulator": simulator.unwrapped.specification,
        "space": simulator.space.to_json(),
        "metrics": [m.name for m in simulator.metrics],
        "objective": objective.to_dict(),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def optimum_path(simulator: Simulator, objective: Objective) -> Path:
    """The file that stores the optimum of this simulator under this objective."""
    return data_folder("optima", f"{_key(simulator, objective)}.npz")


def _probe(simulator: Simulator, objective: Objective) -> Array:
    """Rewards of designs spread evenly over the space, by which a changed simulator is detected."""
    size = simulator.space.size
    ordinals = [size * i // _PROBES for i in range(_PROBES)]
    indices = simulator.space.from_ordinal(np.array(ordinals, np.int64 if size < 2**63 else object))
    outcome = evaluate_safely(simulator, indices)
    return objective.judge(outcome, [m.name for m in simulator.metrics]).reward


def save_optimum(simulator: Simulator, objective: Objective, optimum: Optimum) -> Path:
    """Store an optimum, so that every later result of this task states its regret and percentile."""
    if optimum.indices is None:
        raise ArchGymError(
            "expected an optimum to store, got none: no design is valid under this objective; relax its "
            "constraints"
        )
    if reason := unidentified(simulator.unwrapped.specification):
        raise ArchGymError(
            "the optimum cannot be stored, since an argument does not tell this simulator from others: "
            f"{reason}"
        )
    path = optimum_path(simulator, objective)
    make_folder(path.parent)
    columns: dict[str, Any] = {"indices": optimum.indices, "probe": _probe(simulator, objective)}
    if optimum.at_most is not None:
        counts = np.diff(optimum.at_most, prepend=0)
        bins = np.flatnonzero(counts)
        columns |= {
            "bins": bins,
            "counts": counts[bins],
            "designs": [optimum.designs or 0, optimum.feasible or 0, optimum.valid or 0],
        }
    return save_arrays(path, columns)


def load_optimum(simulator: Simulator, objective: Objective) -> Optimum | None:
    """The stored optimum of this simulator under this objective; None without one, or if the simulator has
    changed since.
    """
    path = optimum_path(simulator, objective)
    if not path.is_file() or unidentified(simulator.unwrapped.specification):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        same = np.allclose(stored["probe"], _probe(simulator, objective), rtol=1e-9, atol=1e-9)
        if not same:
            warnings.warn(
                f"the stored optimum {path} is of another version of the simulator: run `archgym optimum` "
                "again",
                stacklevel=2,
            )
            return None
        found = _optimum_at(simulator, objective, stored["indices"])
        if "bins" not in stored:
            return found
        histogram = np.zeros(_BINS, np.int64)
        histogram[stored["bins"]] = stored["counts"]
        designs, feasible, valid = stored["designs"].tolist()
        return Optimum(
            found.indices,
            found.best_design,
            found.best_metrics,
            found.best_reward,
            designs,
            feasible,
            valid,
            np.cumsum(histogram),
        )
    except Exception as error:  # a damaged archive raises nearly anything
        warnings.warn(
            f"the stored optimum {path} cannot be read ({error}): run `archgym optimum` again", stacklevel=2
        )
        return None
