"""The best plan of a model on a cluster, what it costs to use less memory or fewer GPUs, and what would make
it faster.

All plans that divide are evaluated, on N, N / 2, N / 4, ... GPUs. The front is what no other plan beats in
step time, memory per GPU and GPUs. A relaxation doubles one quantity of the cluster, its GPUs or the batch,
and is answered by all plans again; its gain is the ratio of tokens per second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archgym.errors import ArchGymError
from archgym.pareto import non_dominated
from archgym.progress import Progress, silent
from archgym.simulators.parallelism.clusters import Cluster, load_cluster
from archgym.simulators.parallelism.simulator import Parallelism
from archgym.space import Array

NEAR = 0.01  # of the best step time
MOST_GPUS = 1 << 17  # of the search for a number of GPUs on which a model fits
GIB = 2.0**30
AXES = ("step_time_s", "memory_bytes", "gpus")


@dataclass(frozen=True)
class Plan:
    """One plan.

    Attributes:
        gpus: number of GPUs.
        design: parameters of the plan, with `data`, the number of replicas.
        metrics: metrics of `Parallelism`.
    """

    gpus: int
    design: dict[str, Any]
    metrics: dict[str, float]

    def point(self) -> list[float]:
        """Its values of `AXES`."""
        return [self.metrics["step_time_s"], self.metrics["memory_bytes"], float(self.gpus)]


@dataclass(frozen=True)
class Relaxation:
    """The best plan where one thing is doubled.

    Attributes:
        what: name of the quantity that is doubled.
        best: the best plan then; None where none fits.
        gain: tokens per second over those of the best plan without it.
    """

    what: str
    best: Plan | None
    gain: float


@dataclass(frozen=True)
class Planning:
    """The answer for one model, cluster and number of GPUs.

    Attributes:
        gpus, batch: number of GPUs, and of sequences per step.
        cluster: cluster.
        plans, fitting, near: numbers of plans that divide, that also fit, and within 1 % of the best.
        best: the plan of least step time.
        front: plans that no other beats in step time, memory and GPUs; most GPUs and shortest step first.
        relaxations: best plans with one quantity doubled, largest gain first.
    """

    gpus: int
    batch: int
    cluster: Cluster
    plans: int
    fitting: int
    near: int
    best: Plan
    front: tuple[Plan, ...]
    relaxations: tuple[Relaxation, ...]


def plan(
    model: str | os.PathLike[str],
    gpus: int,
    system: str | os.PathLike[str] = "a100",
    batch: int | None = None,
    *,
    literal: bool = False,
    progress: Progress = silent,
) -> Planning:
    """The best plan, the front and the relaxations.

    Args:
        model: name of a model, or a .json file.
        gpus: number of GPUs.
        system: name of a cluster, or a .json file.
        batch: sequences per step; None: that of a shipped model.
        literal: whether Calculon's overlap window is used.
        progress: a function of (what is being done, the share that is done).

    Raises:
        ArchGymError: an unknown model or cluster, or no plan that divides and fits; the message says what
            would fit.
    """
    cluster = load_cluster(system)
    first = Parallelism(str(model), gpus, cluster, batch, literal)
    rows, columns, fits = first.plans()
    best = _best(first)
    if best is None:
        raise ArchGymError(_nothing_fits(first, str(model), literal))
    relaxed = list(_doubled(cluster, first.gpus, first.batch))
    found = []
    for done, (what, one, number, sequences) in enumerate(relaxed):
        progress("plans on better clusters", done / len(relaxed))
        then = _best(_simulator(str(model), number, one, sequences, literal))
        gain = 0.0 if then is None else then.metrics["tokens_s"] / best.metrics["tokens_s"]
        found.append(Relaxation(what, then, gain))
    step = columns["step_time_s"][fits]
    return Planning(
        first.gpus,
        first.batch,
        cluster,
        len(rows),
        int(fits.sum()),
        int((step <= (1 + NEAR) * step.min()).sum()),
        best,
        tuple(_front(first, str(model), literal)),
        tuple(sorted(found, key=lambda each: -each.gain)),
    )


def _doubled(cluster: Cluster, gpus: int, batch: int) -> Iterator[tuple[str, Cluster, int, int]]:
    """Words, cluster, GPUs and batch of every relaxation."""
    yield "GPUs", cluster, 2 * gpus, batch
    yield "batch", cluster, gpus, 2 * batch
    compute = replace(
        cluster, matrix_tflops=2 * cluster.matrix_tflops, vector_tflops=2 * cluster.vector_tflops
    )
    yield "compute of a GPU", compute, gpus, batch
    yield "memory of a GPU", replace(cluster, hbm_gib=2 * cluster.hbm_gib), gpus, batch
    yield "bandwidth of its memory", replace(cluster, hbm_gb_s=2 * cluster.hbm_gb_s), gpus, batch
    for number, network in enumerate(cluster.networks):
        words = network.name or f"network {number}"
        faster, larger = replace(network, gb_s=2 * network.gb_s), replace(network, gpus=2 * network.gpus)
        yield f"bandwidth of {words}", _with(cluster, number, faster), gpus, batch
        if number < len(cluster.networks) - 1:
            yield f"GPUs that {words} joins", _with(cluster, number, larger), gpus, batch


def _with(cluster: Cluster, number: int, network: Any) -> Cluster:
    networks = list(cluster.networks)
    networks[number] = network
    return replace(cluster, networks=tuple(networks))


def _simulator(model: str, gpus: int, cluster: Cluster, batch: int, literal: bool) -> Parallelism | None:
    """None where no plan divides."""
    try:
        return Parallelism(model, gpus, cluster, batch, literal)
    except ArchGymError:
        return None


def _best(simulator: Parallelism | None) -> Plan | None:
    """The plan of least step time that fits, the one of less memory among equals."""
    if simulator is None:
        return None
    _, columns, fits = simulator.plans()
    order = np.lexsort([columns["memory_bytes"], np.where(fits, columns["step_time_s"], np.inf)])
    return _plan(simulator, order[0]) if fits.any() else None


def _plan(simulator: Parallelism, place: int) -> Plan:
    rows, columns, _ = simulator.plans()
    design = simulator.space.design(rows[place])
    replicas = simulator.gpus // (design["tensor"] * design["pipeline"])
    named = {name: value for name, value in design.items() if name not in ("tensor", "pipeline")}
    split = {"tensor": design["tensor"], "pipeline": design["pipeline"], "data": replicas}
    metrics = {name: float(column[place]) for name, column in columns.items()}
    return Plan(simulator.gpus, {**split, **named}, metrics)


def _front(first: Parallelism, model: str, literal: bool) -> list[Plan]:
    """Plans that no other beats in `AXES`, of GPUs halved as often as plans divide and fit."""
    kept: list[Plan] = []
    simulator: Parallelism | None = first
    while simulator is not None and simulator.plans()[2].any():
        _, columns, fits = simulator.plans()
        places = np.flatnonzero(fits)
        points: Array = np.stack([columns[name][places] for name in AXES[:2]], axis=1)
        best_of_these = non_dominated(points)
        # one of each set of plans with the same time and memory
        _, new = np.unique(points[best_of_these], axis=0, return_index=True)
        kept += [_plan(simulator, place) for place in places[best_of_these][new].tolist()]
        half, odd = divmod(simulator.gpus, 2)
        simulator = None if odd else _simulator(model, half, first.cluster, first.batch, literal)
    chosen = non_dominated(np.array([each.point() for each in kept]))
    return [each for each, keep in zip(kept, chosen.tolist(), strict=True) if keep]


def _nothing_fits(first: Parallelism, model: str, literal: bool) -> str:
    """Which GPUs have too little memory, and how many would do."""
    least = float(first.plans()[1]["memory_bytes"].min()) / GIB
    capacity = f"{first.gpus:,} GPUs of {first.cluster.hbm_gib:g} GiB"
    text = f"no plan fits {capacity}: the least memory is {least:,.1f} GiB"
    gpus = first.gpus
    while (gpus := 2 * gpus) <= MOST_GPUS:
        if _best(_simulator(model, gpus, first.cluster, first.batch, literal)) is not None:
            return f"{text}; {gpus:,} GPUs would do"
    return f"{text}; choose GPUs with more memory"
