"""Agents of archgym against the best public libraries, at equal samples.

Every optimiser searches the same environments, is paid the same rewards, and is counted by the same ledger;
it sees ordered parameters as integers and categorical ones as choices, proposes one design at a time where
that is its default, and has its defaults otherwise; a number at the end of its name is its population, where
another than the default suits these budgets. Its regret is the reward of the exact optimum less that
of the best valid design. One line per finished run goes to a CSV file, so a benchmark that was interrupted
goes on where it stopped:

    pip install "archgym[gp,peers]"
    python benchmarks/peers.py run                                # everything; days for the slow libraries
    python benchmarks/peers.py run --agents catcmawm,tpe --tasks nk,accel --budgets 100 --seeds 3
    python benchmarks/peers.py fronts                             # hypervolumes of two metrics
    python benchmarks/peers.py table                              # the tables in the documentation

An agent has a run for each budget, since some adapt to it. A library has one, to the largest budget, with the
best so far at each smaller one; SMAC, whose first designs are a share of its budget, has a run for each.

HEBO is not in the extra: it pins NumPy below 1.25 and pymoo 0.6.0. It runs beside the others with
`pip install --no-deps HEBO` and `pip install pandas scikit-learn gpytorch disjoint-set`.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import logging
import math
import os
import random
import re
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from filelock import FileLock
from scipy.stats import rankdata

import archgym
from archgym import Agent, ArchGymError, Categorical, DesignSpace
from archgym.files.paths import write_atomically
from archgym.optimum import find_optimum, known_optimum
from archgym.pareto import choose_metrics, exact_front, growing_hypervolume, hypervolume
from archgym.simulator import evaluate_safely

RESULTS = Path(__file__).parent / "results"
CHECKPOINTS = (100, 300, 1000)  # samples
MIN_SEEDS = 3  # runs on every task without which an optimiser has no rank
MOST = {  # samples of the longest run of slow ones, unless budgets are given
    **dict.fromkeys(["gp", "hebo", "optuna_gp", "smac_rf"], 100),
    **dict.fromkeys(["hyperopt_tpe", "nevergrad_discrete", "nevergrad_fastga"], 300),
    **dict.fromkeys(["optuna_tpe", "optuna_tpe_mv"], 300),
}
RIVALS = ("bo", "tpe")  # agents with which the others are compared seed by seed
TASKS: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {  # environment, arguments for a seed
    "nk": ("archgym/NKLandscape-v0", lambda seed: {"n": 8, "k": 1, "alleles": 3, "seed": seed}),
    "nk30": ("archgym/NKLandscape-v0", lambda seed: {"n": 30, "k": 2, "alleles": 4, "seed": seed}),
    "softmaxlib": ("archgym/SoftmaxLibrary-v0", lambda seed: {}),
    "accel": ("archgym/Accelerator-v0", lambda seed: {"workload": "mobilenet_v2"}),
    "hetero": ("archgym/HeterogeneousAccelerator-v0", lambda seed: {"tabulated": True}),
    "nascell": ("archgym/NasCell-v0", lambda seed: {}),
    "dram": ("archgym/DramController-v0", lambda seed: {}),
    "codesign": ("archgym/CoDesign-v0", lambda seed: {}),
}
FRONT = ("latency_s", "power_w")  # metrics of the task `accel`
COLUMNS = ["task", "agent", "version", "seed", "budget", *map(str, CHECKPOINTS), "seconds", "error"]

Row = dict[str, str]


# ---- libraries ---------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """What a library searches.

    Attributes:
        nvec: values of each parameter that has more than one, int64 [P].
        ordered: parameters with an order, bool [P].
        budget: samples.
        seed: seed of the library.
        reward: indices [P] -> reward, or rewards [M] of a front; raises BudgetExhausted at the end.
    """

    nvec: np.ndarray
    ordered: np.ndarray
    budget: int
    seed: int
    reward: Callable[[Any], Any]

    def axes(self, integer: Callable[[int], Any], choice: Callable[[int], Any]) -> list[Any]:
        """A library's parameters: `integer(n)` where ordered, else `choice(n)`."""
        pairs = zip(self.nvec.tolist(), self.ordered.tolist(), strict=True)
        return [integer(n) if ordered else choice(n) for n, ordered in pairs]


def optuna(problem: Problem, sampler: str, **options: Any) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    integer, choice = optuna.distributions.IntDistribution, optuna.distributions.CategoricalDistribution
    axes = problem.axes(lambda n: integer(0, n - 1), lambda n: choice(range(n)))
    named = {str(p): axis for p, axis in enumerate(axes)}
    study = optuna.create_study(
        direction="maximize", sampler=getattr(optuna.samplers, sampler)(seed=problem.seed, **options)
    )
    while True:
        trial = study.ask(named)
        study.tell(trial, problem.reward([trial.params[name] for name in named]))


def catcmawm(problem: Problem, population: int | None = None) -> None:
    from cmaes import CatCMAwM

    integer = problem.ordered & (problem.nvec > 2)  # its documentation wants binary parameters as choices
    row = np.zeros(len(integer), np.int64)
    optimizer = CatCMAwM(
        z_space=[list(range(n)) for n in problem.nvec[integer].tolist()] or None,
        c_space=problem.nvec[~integer].tolist() or None,
        population_size=population,
        seed=problem.seed,
    )
    while True:
        solutions = []
        for _ in range(optimizer.population_size):
            solution = optimizer.ask()
            if integer.any():
                row[integer] = solution.z
            if not integer.all():
                row[~integer] = solution.c.argmax(axis=1)
            solutions.append((solution, -problem.reward(row)))
        optimizer.tell(solutions)


def pycma(problem: Problem) -> None:
    """From the middle, then from random designs whenever it stops by its own criteria."""
    import cma

    rng, start = np.random.default_rng(problem.seed), (problem.nvec - 1) / 2
    options = {
        "bounds": [np.zeros(len(start)), problem.nvec - 1],
        "integer_variables": list(range(len(start))),
        "CMA_stds": problem.nvec / 4,
        "verbose": -9,
    }
    while True:
        # 0 would be the clock
        strategy = cma.CMAEvolutionStrategy(start, 1.0, {**options, "seed": int(rng.integers(1, 2**31))})
        while not strategy.stop():
            points = strategy.ask()
            strategy.tell(points, [-problem.reward(np.rint(point)) for point in points])
        start = rng.integers(problem.nvec)


def nevergrad(problem: Problem, optimizer: str) -> None:
    import nevergrad as ng

    integer, choice = (lambda n: ng.p.Scalar(lower=0, upper=n - 1).set_integer_casting()), ng.p.Choice
    axes = ng.p.Tuple(*problem.axes(integer, choice))
    axes.random_state = np.random.RandomState(problem.seed)
    search = ng.optimizers.registry[optimizer](axes, budget=problem.budget)
    while True:
        candidate = search.ask()
        search.tell(candidate, -problem.reward(candidate.value))


def pymoo(problem: Problem, algorithm: Any, *, mixed: bool, objectives: int = 1) -> None:
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.core.variable import Choice, Integer
    from pymoo.optimize import minimize

    class Negated(ElementwiseProblem):
        def _evaluate(self, x: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            row = [x[name] for name in self.vars] if mixed else x
            out["F"] = -np.asarray(problem.reward(row))

    axes = problem.axes(lambda n: Integer(bounds=(0, n - 1)), lambda n: Choice(options=range(n)))
    named = {"vars": {f"x{p}": axis for p, axis in enumerate(axes)}}
    box = {"n_var": len(axes), "xl": 0, "xu": problem.nvec - 1, "vtype": int}
    negated = Negated(n_obj=objectives, **(named if mixed else box))
    minimize(negated, algorithm(), ("n_gen", 10**9), seed=problem.seed, verbose=False)


def pymoo_ga(problem: Problem, population: int = 100) -> None:
    from pymoo.algorithms.soo.nonconvex.ga import GA

    pymoo(problem, partial(GA, pop_size=population, **_integer_operators()), mixed=False)


def pymoo_mixed_ga(problem: Problem) -> None:
    from pymoo.core.mixed import MixedVariableGA

    pymoo(problem, MixedVariableGA, mixed=True)


def pymoo_nsga2(problem: Problem, operators: str, population: int) -> None:
    from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowdingSurvival
    from pymoo.core.mixed import MixedVariableGA
    from pymoo.operators.crossover.ux import UX

    options = {
        "mixed": {"survival": RankAndCrowdingSurvival()},
        "sbx": _integer_operators(),
        "ux": {**_integer_operators(), "crossover": UX()},
    }[operators]
    mixed = operators == "mixed"
    algorithm = partial(MixedVariableGA if mixed else NSGA2, pop_size=population, **options)
    pymoo(problem, algorithm, mixed=mixed, objectives=len(FRONT))


def _integer_operators() -> dict[str, Any]:
    """The operators for integers in pymoo's documentation."""
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    rounded = {"vtype": float, "repair": RoundingRepair()}
    return {"sampling": IntegerRandomSampling(), "crossover": SBX(**rounded), "mutation": PM(**rounded)}


def deap(problem: Problem) -> None:
    """The genetic algorithm of its documentation's first example, with integers for its numbers."""
    from deap import algorithms, base, tools

    class Fitness(base.Fitness):
        weights = (1.0,)

    class Individual(list):
        def __init__(self, genes: Iterable[int]):
            super().__init__(genes)
            self.fitness = Fitness()

    random.seed(problem.seed)
    top, toolbox = (problem.nvec - 1).tolist(), base.Toolbox()
    toolbox.register("evaluate", lambda individual: (problem.reward(individual),))
    toolbox.register("mate", tools.cxTwoPoint)
    toolbox.register("mutate", tools.mutUniformInt, low=0, up=top, indpb=0.1)
    toolbox.register("select", tools.selTournament, tournsize=3)
    population = [Individual(random.randint(0, last) for last in top) for _ in range(50)]
    algorithms.eaSimple(population, toolbox, cxpb=0.5, mutpb=0.2, ngen=10**9, verbose=False)


def hyperopt(problem: Problem) -> None:
    from hyperopt import fmin, hp, tpe

    names = iter(map(str, range(len(problem.nvec))))
    axes = problem.axes(
        lambda n: hp.uniformint(next(names), 0, n - 1), lambda n: hp.choice(next(names), range(n))
    )
    fmin(
        lambda row: -problem.reward(row),
        axes,
        tpe.suggest,
        max_evals=problem.budget,
        rstate=np.random.default_rng(problem.seed),
        verbose=False,
        show_progressbar=False,
    )


def smac(problem: Problem) -> None:
    from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, UniformIntegerHyperparameter
    from smac import HyperparameterOptimizationFacade, Scenario
    from smac.runhistory.dataclasses import TrialValue

    names = [f"x{p:03}" for p in range(len(problem.nvec))]
    fresh = iter(names)
    space = ConfigurationSpace(seed=problem.seed)
    space.add(
        problem.axes(
            lambda n: UniformIntegerHyperparameter(next(fresh), 0, n - 1),
            lambda n: CategoricalHyperparameter(next(fresh), range(n)),
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            space,
            deterministic=True,
            n_trials=problem.budget,
            seed=problem.seed,
            output_directory=Path(folder),
        )
        intensifier = HyperparameterOptimizationFacade.get_intensifier(scenario, max_config_calls=1)
        search = HyperparameterOptimizationFacade(
            scenario, lambda config, seed: 0.0, intensifier=intensifier, overwrite=True, logging_level=False
        )
        while True:
            trial = search.ask()
            row = [trial.config[name] for name in names]
            search.tell(trial, TrialValue(cost=-problem.reward(row)))


def hebo(problem: Problem) -> None:
    import torch
    from hebo.design_space.design_space import DesignSpace
    from hebo.optimizers.hebo import HEBO

    np.random.seed(problem.seed)  # noqa: NPY002
    torch.manual_seed(problem.seed)
    names = [f"x{p}" for p in range(len(problem.nvec))]
    axes = problem.axes(
        lambda n: {"type": "int", "lb": 0, "ub": n - 1},
        lambda n: {"type": "cat", "categories": list(range(n))},
    )
    space = DesignSpace().parse([{"name": name, **axis} for name, axis in zip(names, axes, strict=True)])
    search = HEBO(space, scramble_seed=problem.seed)
    while True:
        design = search.suggest()
        row = design[names].to_numpy(np.int64)[0]
        search.observe(design, np.array([[-problem.reward(row)]]))


class Library(NamedTuple):
    """A library's optimiser.

    Attributes:
        package: its distribution on PyPI, of which the module has the name in lower case.
        optimise: searches a problem until the budget is spent.
        per_budget: whether it has a run for each budget.
    """

    package: str
    optimise: Callable[[Problem], None]
    per_budget: bool = False


PEERS = {
    "catcmawm": Library("cmaes", catcmawm),
    "catcmawm_16": Library("cmaes", partial(catcmawm, population=16)),
    "deap_ga": Library("deap", deap),
    "hebo": Library("HEBO", hebo),
    "hyperopt_tpe": Library("hyperopt", hyperopt),
    "nevergrad_discrete": Library("nevergrad", partial(nevergrad, optimizer="DiscreteOnePlusOne")),
    "nevergrad_fastga": Library("nevergrad", partial(nevergrad, optimizer="FastGADiscreteOnePlusOne")),
    "optuna_gp": Library("optuna", partial(optuna, sampler="GPSampler", deterministic_objective=True)),
    "optuna_tpe": Library("optuna", partial(optuna, sampler="TPESampler")),
    "optuna_tpe_mv": Library("optuna", partial(optuna, sampler="TPESampler", multivariate=True)),
    "pycma": Library("cma", pycma),
    "pymoo_ga": Library("pymoo", pymoo_ga),
    "pymoo_ga_32": Library("pymoo", partial(pymoo_ga, population=32)),
    "pymoo_mixed_ga": Library("pymoo", pymoo_mixed_ga),
    "smac_rf": Library("smac", smac, per_budget=True),
}
FRONT_PEERS = {
    f"pymoo_nsga2_{operators}_{size}": Library(
        "pymoo", partial(pymoo_nsga2, operators=operators, population=size)
    )
    for operators in ("mixed", "sbx", "ux")
    for size in (32, 100)
}
LIBRARIES = PEERS | FRONT_PEERS


class Peer(Agent):
    """A library's optimiser as an agent.

    Args:
        library: a name in `LIBRARIES`.
    """

    version = 1
    multi_objective = True  # it is paid a reward vector where a front is asked for
    hyperparameters = DesignSpace([Categorical("library", list(LIBRARIES))])

    def search(self, env: Any, *, budget: int, seed: int) -> None:
        space = env.unwrapped.simulator.space
        free = np.flatnonzero(space.nvec > 1)
        action = np.zeros((1, len(space)), np.int64)

        def reward(row: Any) -> Any:
            action[0, free] = row
            return env.step(action)[1][0]

        ordered = np.array([parameter.ordered for parameter in space], bool)[free]
        env.reset(seed=seed)
        LIBRARIES[self.library].optimise(Problem(space.nvec[free], ordered, budget, seed, reward))


# ---- runs --------------------------------------------------------------------------------------------------


def missing(agent: str) -> str:
    """Why an optimiser cannot run here; empty where it can."""
    if agent not in LIBRARIES:
        return ""
    try:
        importlib.import_module(LIBRARIES[agent].package.lower())
    except Exception as error:  # an old library may fail in any way beside new ones
        return f'{type(error).__name__}: {error}; pip install "archgym[gp,peers]"'
    return ""


def version_of(agent: str) -> str:
    """The version of a library, or of an agent."""
    return version(LIBRARIES[agent].package) if agent in LIBRARIES else str(archgym.make_agent(agent).version)


def runs_of(agent: str, budgets: Sequence[int] | None) -> list[int]:
    """The budgets that an optimiser has a run for; None is all checkpoints up to its longest run."""
    asked = sorted(budgets or [budget for budget in CHECKPOINTS if budget <= MOST.get(agent, budget)])
    return asked if has_run_per_budget(agent) else asked[-1:]


def has_run_per_budget(agent: str) -> bool:
    return agent not in LIBRARIES or LIBRARIES[agent].per_budget


def is_done(rows: Iterable[Row], key: Row) -> bool:
    """Whether a run is among the rows: a library's longer run has the shorter ones in it."""
    budget = int(key["budget"])
    same = [int(row["budget"]) for row in rows if all(row[name] == key[name] for name in COLUMNS[:4])]
    return budget in same or (not has_run_per_budget(key["agent"]) and max(same, default=0) > budget)


def read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, row: Row) -> None:
    """Add a run to the file, which stays sorted; other processes may do the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(Path(tempfile.gettempdir()) / f"{path.name}.lock"):
        rows = sorted([*read_rows(path), row], key=lambda row: (row["task"], row["agent"], *_numbers(row)))
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue().encode())


def _numbers(row: Row) -> tuple[Any, ...]:
    return _version_key(row["version"]), int(row["budget"]), int(row["seed"])


def _version_key(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def make_search(task: str, agent: str, budget: int, seed: int, **options: Any) -> archgym.Search:
    env, kwargs = TASKS[task]
    chosen = Peer(library=agent) if agent in LIBRARIES else agent
    return archgym.Search(env, chosen, budget=budget, seed=seed, env_kwargs=kwargs(seed), **options)


def run(
    path: Path,
    score: Callable[[archgym.Search, str], np.ndarray],
    tasks: Sequence[str],
    agents: Sequence[str],
    budgets: Sequence[int] | None,
    seeds: int,
    **options: Any,
) -> None:
    """Run what is not in the file yet.

    Args:
        path: CSV file of the runs.
        score: a search whose budget is spent -> the score after each sample, [N].
        tasks: names in `TASKS`.
        agents: names of archgym's agents and of libraries.
        budgets: samples; None for all checkpoints up to the longest run of each.
        seeds: runs with seeds 0, 1, ...
        options: further arguments of `archgym.Search`.
    """
    for agent in agents:
        if reason := missing(agent):
            print(f"skipped {agent}: {reason}", flush=True)
            continue
        for task in tasks:
            for budget in runs_of(agent, budgets):
                for seed in range(seeds):
                    key = {"task": task, "agent": agent, "version": version_of(agent)}
                    key |= {"seed": str(seed), "budget": str(budget)}
                    if not is_done(read_rows(path), key):
                        add_row(path, key | one_run(score, task, agent, budget, seed, **options))
            print(agent, task, flush=True)


def one_run(
    score: Callable[[archgym.Search, str], np.ndarray],
    task: str,
    agent: str,
    budget: int,
    seed: int,
    **options: Any,
) -> Row:
    """Scores of a run at the checkpoints (empty where no design was valid), its CPU seconds, and why it
    failed.
    """
    search = make_search(task, agent, budget, seed, **options)
    empty = dict.fromkeys(COLUMNS[5:], "")
    with closing(search.env):
        start = time.process_time()
        try:
            search.spend()
        except Exception as error:  # of the library: the others go on
            return empty | {"error": " ".join(f"{type(error).__name__}: {error}".split())[:200]}
        seconds = time.process_time() - start
        scores = score(search, task)
    reached = {c: scores[min(c, len(scores)) - 1] for c in CHECKPOINTS if c <= budget}
    shown = {str(c): f"{value:.6g}" for c, value in reached.items() if np.isfinite(value)}
    return empty | shown | {"seconds": f"{seconds:.3f}"}


# ---- scores ------------------------------------------------------------------------------------------------


def regrets(search: archgym.Search, task: str) -> np.ndarray:
    """Regret of the best valid design after each sample: [N], infinite before the first.

    Raises:
        ArchGymError: a design is better than the optimum.
    """
    found = best_reward(search, task) - search.ledger.best_so_far()
    if found.min() < -1e-9:
        raise ArchGymError(f"expected no design of {task} above the optimum, got one by {-found.min():.3g}")
    return np.maximum(found, 0.0)


def best_reward(search: archgym.Search, task: str) -> float:
    """The reward of the exact optimum: known, stored in the results with its design, or enumerated (minutes)
    and stored.
    """
    simulator, objective = search.env.simulator, search.env.objective
    if task.startswith("nk"):
        return known_optimum(simulator, objective).best_reward
    path = RESULTS / "peers_optima.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    if task in stored:
        row = np.array([stored[task]["indices"]], np.int64)
        rewards = objective.judge(evaluate_safely(simulator, row), [m.name for m in simulator.metrics])
        if rewards.valid[0] and math.isclose(rewards.reward[0], stored[task]["reward"], abs_tol=1e-9):
            return stored[task]["reward"]
    found = known_optimum(simulator, objective) or find_optimum(simulator, objective)
    env, kwargs = TASKS[task]
    stored[task] = {
        "env": env,
        "kwargs": kwargs(0),
        "reward": found.best_reward,
        "indices": found.indices.tolist(),
    }
    write_json(path, stored)
    return found.best_reward


def shares(search: archgym.Search, task: str) -> np.ndarray:
    """Hypervolume of the valid designs so far, as a share of the exact front's, after each sample: [N].

    Metrics are logarithms, and the reference point has the largest value of each among all valid designs.
    """
    simulator, objective = search.env.simulator, search.env.objective
    metrics = choose_metrics(FRONT, simulator.metrics)
    path = RESULTS / "peers_front.json"
    if not path.exists():
        front, ends = exact_front(simulator, objective, metrics)
        exact = hypervolume(np.log(front), np.log(ends[1]))
        reference = dict(zip(FRONT, ends[1].tolist(), strict=True))
        write_json(path, {"task": task, "reference": reference, "log_hypervolume": exact})
    stored = json.loads(path.read_text())
    corner = np.log([stored["reference"][name] for name in FRONT])
    columns = [[m.name for m in simulator.metrics].index(name) for name in FRONT]
    points = np.log(search.ledger.column("values")[:, columns])
    points[~search.ledger.column("valid")] = corner  # adds nothing
    return growing_hypervolume(points, corner) / stored["log_hypervolume"]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a line for each key."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(content.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


# ---- tables ------------------------------------------------------------------------------------------------


def latest(rows: Iterable[Row]) -> list[Row]:
    """Finished runs of the highest version of each optimiser."""
    done = [row for row in rows if not row["error"]]
    highest: dict[str, list[int]] = {}
    for row in done:
        key = _version_key(row["version"])
        highest[row["agent"]] = max(highest.get(row["agent"], key), key)
    return [row for row in done if _version_key(row["version"]) == highest[row["agent"]]]


def at_checkpoint(rows: Iterable[Row], checkpoint: int) -> list[Row]:
    """Of each task, optimiser and seed, the run with the least budget that reaches the checkpoint."""
    chosen: dict[tuple[str, str, int], Row] = {}
    for row in sorted(rows, key=lambda row: -int(row["budget"])):
        if int(row["budget"]) >= checkpoint:
            chosen[row["task"], row["agent"], int(row["seed"])] = row
    return list(chosen.values())


Scores = dict[str, dict[str, dict[int, float]]]  # optimiser -> task -> seed -> score


def scores_at(rows: Iterable[Row], checkpoint: int, absent: float = np.inf) -> Scores:
    """Scores at a checkpoint; `absent` where no design was valid."""
    scores: Scores = {}
    for row in at_checkpoint(rows, checkpoint):
        value = float(row[str(checkpoint)] or absent)
        scores.setdefault(row["agent"], {}).setdefault(row["task"], {})[int(row["seed"])] = value
    return scores


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Median [N] -> median, and its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).integers(len(values), size=(4000, len(values)))
    medians = np.sort(np.median(values[draws], axis=1))
    return float(np.median(values)), float(medians[100]), float(medians[-101])


def mean_ranks(scores: Scores, tasks: Sequence[str]) -> dict[str, float]:
    """Rank of the median regret, 1 the best, ties shared, averaged over tasks: of the optimisers that have at
    least `MIN_SEEDS` runs on each.
    """
    complete = [a for a in scores if all(len(scores[a].get(task, {})) >= MIN_SEEDS for task in tasks)]
    if not complete:
        return {}
    medians = [[np.median(list(scores[a][task].values())) for a in complete] for task in tasks]
    return dict(zip(complete, rankdata(medians, axis=1).mean(axis=0).tolist(), strict=True))


def paired(scores: Scores, agent: str, rival: str) -> tuple[int, int, int]:
    """Runs of the same task and seed in which an optimiser's regret is less than, equal to, and more than the
    rival's.
    """
    pairs = [
        (regret, scores[rival][task][seed])
        for task, by_seed in scores[agent].items()
        for seed, regret in by_seed.items()
        if seed in scores.get(rival, {}).get(task, {})
    ]
    own, other = np.array(pairs, float).reshape(-1, 2).T
    return int((own < other).sum()), int((own == other).sum()), int((own > other).sum())


def seconds_per_100(rows: Iterable[Row], agent: str, checkpoint: int) -> str:
    """Median CPU seconds per 100 samples of an optimiser's runs at a checkpoint."""
    seconds = [
        100 * float(row["seconds"]) / int(row["budget"])
        for row in at_checkpoint(rows, checkpoint)
        if row["agent"] == agent
    ]
    return f"{np.median(seconds):.2g}"


def _cell(by_seed: dict[int, float], most: int) -> str:
    """A median with its interval, and the number of seeds where it is not `most`."""
    if not by_seed:
        return "-"
    figures = median_interval(np.array(list(by_seed.values())))
    median, low, high = (f"{x:.3g}" if np.isfinite(x) else "none" for x in figures)
    seeds = f", n={len(by_seed)}" if len(by_seed) != most else ""
    return f"{median} ({low} to {high}{seeds})"


def _name(agent: str) -> str:
    return agent if agent in LIBRARIES else f"**{agent}**"


CAPTION = """\
Median regret of the best valid design, with the 95 % bootstrap interval of the median ("none": no valid
design), and the number of seeds where a task has fewer than the row says. The mean rank is that of the
medians, of optimisers with at least {} seeds on every task. "Against": runs of the same task and seed that
were better/equal/worse. Agents of archgym are in bold."""


def table(rows: list[Row]) -> list[str]:
    """Lines of Markdown: for each checkpoint the regrets of every optimiser, those with a rank first."""
    rows = latest(rows)
    lines = CAPTION.format(MIN_SEEDS).split("\n")
    for checkpoint in CHECKPOINTS:
        scores = scores_at(rows, checkpoint)
        tasks = [task for task in TASKS if any(task in by_task for by_task in scores.values())]
        ranks = mean_ranks(scores, tasks)
        rivals = [rival for rival in RIVALS if rival in scores]
        heads = ["optimiser", *tasks, "seeds", "mean rank", *(f"against {rival}" for rival in rivals)]
        lines += ["", f"#### {checkpoint:,} samples", "", _line([*heads, "CPU s per 100"])]
        lines.append(_line(["---"] * (len(heads) + 1)))
        for agent in sorted(scores, key=lambda agent: (ranks.get(agent, np.inf), agent)):
            most = max(map(len, scores[agent].values()))
            cells = [_cell(scores[agent].get(task, {}), most) for task in tasks]
            rank = f"{ranks[agent]:.1f}" if agent in ranks else "-"
            pairs = ["/".join(map(str, paired(scores, agent, r))) if r != agent else "-" for r in rivals]
            cost = seconds_per_100(rows, agent, checkpoint)
            lines.append(_line([_name(agent), *cells, str(most), rank, *pairs, cost]))
    return lines


def front_table(rows: list[Row]) -> list[str]:
    """Lines of Markdown: shares of the exact front's hypervolume, the best at the last checkpoint first."""
    rows = latest(rows)
    at = {checkpoint: scores_at(rows, checkpoint, absent=0.0) for checkpoint in CHECKPOINTS}
    heads = ["optimiser", *(f"{checkpoint:,} samples" for checkpoint in CHECKPOINTS), "CPU s per 100"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    lines = ["#### Share of the exact front's hypervolume", "", *lines]
    found = []
    for agent in sorted({row["agent"] for row in rows}):
        by_seed = [next(iter(at[checkpoint].get(agent, {}).values()), {}) for checkpoint in CHECKPOINTS]
        most = max(map(len, by_seed))
        reached = [c for c, values in zip(CHECKPOINTS, by_seed, strict=True) if values]
        cells = [_cell(values, most) for values in by_seed]
        order = [-np.median(list(values.values())) if values else 0.0 for values in by_seed[::-1]]
        found.append((order, _line([_name(agent), *cells, seconds_per_100(rows, agent, reached[-1])])))
    return lines + [line for _, line in sorted(found)]


def versions(rows: list[Row]) -> str:
    """The versions behind the tables, and the runs that failed."""
    used = sorted({(row["agent"], row["version"]) for row in latest(rows)})
    packages = sorted({f"{LIBRARIES[a].package} {v}" for a, v in used if a in LIBRARIES}, key=str.lower)
    agents = [f"{a} {v}" for a, v in used if a not in LIBRARIES]
    failed = Counter(f"{row['agent']} on {row['task']} ({row['error']})" for row in rows if row["error"])
    text = f"Libraries: {', '.join(packages)}. Versions of archgym's agents: {', '.join(agents)}."
    return text + "".join(f" Failed: {count} x {what}." for what, count in sorted(failed.items()))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


# ---- program -----------------------------------------------------------------------------------------------


def _names(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    own = [agent for agent in archgym.list_agents() if agent not in ("exhaustive", "language_model")]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["run", "fronts", "table"])
    parser.add_argument("--agents", type=_names, help="names, with commas between; default: all")
    parser.add_argument("--tasks", type=_names, default=list(TASKS), help=f"default: {','.join(TASKS)}")
    parser.add_argument("--budgets", type=_names, help="samples; default: 100,300,1000, slow libraries less")
    parser.add_argument("--seeds", type=int, default=20, help="seeds of each; default: 20")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files")
    options = parser.parse_args()
    regret_file, front_file = options.results / "peers.csv", options.results / "peers_fronts.csv"
    budgets = options.budgets and [int(budget) for budget in options.budgets]
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # of libraries; those of archgym are errors or in the results
    if options.action == "run":
        agents = options.agents or [*PEERS, *own]
        run(regret_file, regrets, options.tasks, agents, budgets, options.seeds)
    elif options.action == "fronts":
        agents = options.agents or [*FRONT_PEERS, *own]
        run(front_file, shares, ["accel"], agents, budgets, options.seeds, front=FRONT)
    else:
        rows, front_rows = read_rows(regret_file), read_rows(front_file)
        print("\n".join([*table(rows), "", *front_table(front_rows), "", versions(rows + front_rows)]))


if __name__ == "__main__":
    main()
