"""Proxies: how far off they are on designs that they have not seen, how fast, and how many simulations they
save.

python benchmarks/proxy.py accuracy [ENV]    three environments, or one; at most a tenth of each trained on;
                                             all models
python benchmarks/proxy.py speed [N]         beside SCALE-Sim (archgym backends install scalesim) on a small
                                             layer, trained on N runs
python benchmarks/proxy.py search [ENV]      simulations until within 1 % of the optimum: direct, and by a
                                             proxy
python benchmarks/proxy.py astrasim FOLDER   the published AstraSim data (actions_feasible.csv,
                                             observations_feasible.csv)
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from time import perf_counter

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import gymnasium
import numpy as np

import archgym
from archgym import Categorical, DesignSpace, Metric, Ordinal
from archgym.dataset import Dataset, sample
from archgym.files.paths import data_folder
from archgym.proxy import ProxySearch, ProxySimulator, save_trained, train
from archgym.proxy.evaluate import scores
from archgym.proxy.fitting import KNOWN
from archgym.proxy.models import MODELS
from archgym.simulator import Simulator
from archgym.space import Array, Indices

LAYER = """# title: one layer of ResNet-18
# source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016
# input: 28 x 28 pixels of 128 channels
name,kind,channels,filters,height,width,kernel_h,kernel_w,stride,padding_h,padding_w,groups,vectors,repeats
layer2.1.conv1,conv,128,128,28,28,3,3,,1,1,,,
"""  # all of ResNet-18 takes SCALE-Sim seconds per design
# what SCALE-Sim is asked about; designs that differ in the rest share its answer
ASKED = ("dataflow", "rows", "cols")
TESTED = 20_000  # designs of a space that is too large to test all that are left
TASKS = {  # environment -> designs trained on, targets
    "archgym/DramController-v0": (20_000, ("latency_s", "energy_j", "power_w")),
    "archgym/Softmax-v0": (1_700, ("time_s",)),
    "archgym/Accelerator-v0": (60_000, ("latency_s", "energy_j", "area_mm2")),
}
SEARCHED = (
    "archgym/Accelerator-v0",
    "archgym/AttentionAccelerator-v0",
    "archgym/Softmax-v0",
    "archgym/DramController-v0",
)
DIRECT = ("random", "genetic", "aging_evolution", "local_search")
SEEDS = 10
LONGEST = 20_000  # samples of a direct search
TRAINED = (100, 200, 400, 800, 1600)
VERIFIED = 20
CLOSE = 0.01
PREDICTIONS = 20_000


def accuracy(tasks: Sequence[str]) -> None:
    heads = "".join(f"{head:>9}" for head in ("RMSE", "/ mean", "MAPE", "R2", "Spearman", "worst", "by mean"))
    print(f"{'environment, target':40}{'model':25}{'trained on':>18}{heads}")
    for env in tasks:
        n, targets = TASKS[env]
        data, simulator = sample(env, ceil(n / 0.99), seed=0), gymnasium.make(env).unwrapped.simulator
        for model in MODELS:
            found = train(
                data,
                targets,
                model,
                train_size=KNOWN if model == "gaussian_process" else n,
                test_size=0.01,
                folds=2,
            ).simulator
            known = data.indices  # what was trained on, and the few that the training tested itself
            unseen = _unseen(simulator, known)
            _print_errors(env, model, found, simulator, unseen, len(known), targets)
            if model == "hist_gradient_boosting":
                other = _of_unseen_kinds(simulator, known, unseen)
                if len(other) < len(unseen):
                    _print_errors(f"{env}, new classes", model, found, simulator, other, len(known), targets)


def _unseen(simulator: Simulator, known: Indices) -> Indices:
    """All other designs, or many of them at random."""
    space = simulator.space
    rng = np.random.default_rng(1)
    designs = (
        space.from_ordinal(np.arange(space.size))
        if space.size <= 10**6
        else np.unique(space.sample(TESTED, rng), axis=0)
    )
    ordinals = space.to_ordinal(designs)
    return designs[~np.isin(ordinals, space.to_ordinal(known))]


def _of_unseen_kinds(simulator: Simulator, known: Indices, unseen: Indices) -> Indices:
    """Those that the simulator does not call the same as a design that was trained on."""
    space = simulator.space
    classes = space.to_ordinal(simulator.canonical(known))
    return unseen[~np.isin(space.to_ordinal(simulator.canonical(unseen)), classes)]


def _print_errors(
    title: str,
    model: str,
    proxy: ProxySimulator,
    simulator: Simulator,
    designs: Indices,
    trained: int,
    targets: Sequence[str],
) -> None:
    true = simulator.evaluate_indices(designs)
    designs = designs[true["feasible"]]
    predicted = proxy.evaluate_indices(designs)
    known = min(KNOWN, trained) if model == "gaussian_process" else trained
    for target in targets:
        column = true[target][true["feasible"]]
        found = scores(column, predicted[target], np.ptp(column), float(column.mean()))
        rmse, of_mean, mape, r2, spearman, worst, mean = found.values()
        share = f"{known:,} ({known / simulator.space.size:.2%})"
        print(
            f"{title.removeprefix('archgym/') + ' ' + target:40}{model:25}{share:>18}{rmse:8.3f}%"
            f"{of_mean:8.3f}%{mape:8.3f}%{r2:9.5f}{spearman:9.5f}{worst:8.1f}%{mean:8.1f}%",
            flush=True,
        )


def speed(n: int) -> None:
    # a data folder in which no result of SCALE-Sim is remembered yet
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "backends").symlink_to(data_folder("backends"))
        os.environ["ARCHGYM_HOME"] = name
        (Path(name) / "layer.csv").write_text(LAYER)
        simulator = gymnasium.make(
            "archgym/Accelerator-v0", backend="scalesim", workload=f"{name}/layer.csv"
        ).unwrapped.simulator
        designs = simulator.canonical(simulator.space.sample(20 * n, np.random.default_rng(0)))
        designs = np.unique(designs, axis=0)
        seconds: list[float] = []
        kept, answers, asked, ran = [], [], set(), []
        columns = [simulator.space.names.index(name) for name in ASKED]
        for design in np.random.default_rng(0).permutation(designs):
            start = perf_counter()
            answer = simulator.evaluate_indices(design[None])
            if answer["feasible"][0]:
                seconds.append(perf_counter() - start)
                kept.append(design)
                answers.append(float(answer["latency_s"][0]))
                ran.append(tuple(design[columns]) not in asked)
                asked.add(tuple(design[columns]))
                _progress(len(kept), n)
            if len(kept) == n:
                break
        simulator.close()
    indices, latency = np.array(kept), np.array(answers)
    jobs = np.array(seconds)
    each, new = jobs.mean(), jobs[np.array(ran)].mean()
    print(
        f"SCALE-Sim: {new:.3f} s where it runs, for {sum(ran)} of {n:,} designs that differ; {each:.3f} s "
        "each with answers it remembers"
    )
    data = _made("SCALE-Sim", simulator.space, {"latency_s": latency}, indices)
    found = train(data)
    print("  ".join(f"{key} {value:.4g}" for key, value in found.report["test"]["latency_s"].items()))
    for batch in (1, 1000, 10_000):
        x = simulator.space.sample(batch, np.random.default_rng(1))
        proxy = min(_timed(found.simulator, x) for _ in range(9)) / batch
        print(
            f"batch {batch:>6,}: proxy {1 / proxy:9,.0f} designs/s, {new / proxy:9,.0f} times as fast; with "
            f"its memory {each / proxy:9,.0f}"
        )


def _timed(simulator: Simulator, designs: Indices) -> float:
    start = perf_counter()
    simulator.evaluate_indices(designs)
    return perf_counter() - start


def _made(name: str, space: DesignSpace, metrics: Mapping[str, Array], indices: Indices) -> Dataset:
    """A data set of feasible designs whose source is no environment."""
    n = len(indices)
    return Dataset(
        environment={"id": name, "kwargs": {}, "simulator": {}},
        space=space,
        metrics=tuple(Metric(metric) for metric in metrics),
        indices=indices,
        values=np.stack(list(metrics.values()), axis=1),
        feasible=np.ones(n, bool),
        agent=np.full(n, "given"),
        configuration=np.full(n, "{}"),
        seed=np.zeros(n, np.int64),
        sample=np.arange(n),
        count=np.ones(n, np.int64),
        sources=(name,),
    )


def search(tasks: Sequence[str]) -> None:
    for env in tasks:
        best = archgym.search(env, "random", budget=1).optimum
        if best is None:
            print(f"{env} has no known optimum: run archgym optimum {env}")
            continue
        print(
            f"\n{env}: simulations until within {CLOSE:.0%} of the optimum's reward scale, median of {SEEDS} "
            "seeds (found by)"
        )
        for agent in DIRECT:
            results = [archgym.search(env, agent, budget=LONGEST, seed=seed) for seed in range(SEEDS)]
            reached = [_first(result.best_so_far, best.best_reward) for result in results]
            print(
                f"  {agent:30}{_median(reached):>10}   ({sum(r is not None for r in reached)} of {SEEDS})",
                flush=True,
            )
        for n in TRAINED:
            found = [_by_proxy(env, n, seed, best.best_reward) for seed in range(SEEDS)]
            totals = [None if verified is None else n + verified for verified in found]
            print(
                f"  {f'proxy of {n:,} designs':30}{_median(totals):>10}   "
                f"({sum(t is not None for t in totals)} of {SEEDS})",
                flush=True,
            )


def _by_proxy(env: str, n: int, seed: int, best: float) -> int | None:
    """Verified designs until the search is close to the optimum, after training on n; None if 20 are not
    enough.
    """
    data = sample(env, n, seed=seed)
    goals = [term.metric for term in gymnasium.make(env).unwrapped.objective.terms]
    constraints = [part.metric for part in gymnasium.make(env).unwrapped.objective.constraints]
    varying = [m for m in dict.fromkeys([*goals, *constraints]) if np.ptp(data.column(m)[data.feasible]) > 0]
    with tempfile.TemporaryDirectory() as folder:
        save_trained(
            train(data, varying, "hist_gradient_boosting", test_size=0.05, folds=2, seed=seed), folder
        )
        result = archgym.search(env, ProxySearch(folder, "genetic", PREDICTIONS), budget=VERIFIED, seed=seed)
    return _first(result.best_so_far, best)


def _first(best_so_far: Array, best: float) -> int | None:
    """Samples until a reward's regret is at most log(1.01): 1 % of a single metric."""
    close = np.flatnonzero(best_so_far >= best - np.log1p(CLOSE))
    return int(close[0]) + 1 if len(close) else None


def _median(reached: Sequence[int | None]) -> str:
    middle = float(np.median([np.inf if r is None else r for r in reached]))
    return f"{middle:,.0f}" if np.isfinite(middle) else "not"


def astrasim(folder: Path) -> None:
    import pandas

    actions = pandas.read_csv(folder / "actions_feasible.csv")
    observed = pandas.read_csv(folder / "observations_feasible.csv")
    parameters = []
    for name, column in actions.items():
        values = sorted(column.unique().tolist())
        if len(values) > 1:
            kind = Categorical if column.dtype == object or column.dtype.kind not in "iuf" else Ordinal
            parameters.append(kind(str(name), values))
    space = DesignSpace(parameters)
    varying = [
        name
        for name in observed.columns
        if observed[name].nunique() > 1 and observed[name].dtype.kind in "iuf"
    ]
    indices = space.encode({p.name: actions[p.name].tolist() for p in parameters})
    data = _made("AstraSim", space, {str(name): observed[name].to_numpy(float) for name in varying}, indices)
    distinct = data.distinct()
    print(
        f"{len(data):,} rows, {len(distinct):,} distinct designs, {len(space)} parameters that vary; metrics "
        f"{', '.join(varying)}"
    )
    for model in MODELS:
        found = train(data, varying, model)
        for part in ("test", "cross_validated"):
            for name, errors in found.report[part].items():
                print(
                    f"{model:25}{part:18}{name:28}"
                    + "  ".join(f"{key} {value:.4g}" for key, value in errors.items()),
                    flush=True,
                )


def _progress(done: int, of: int) -> None:
    if done % 50 == 0 or done == of:
        print(f"{done:,} of {of:,}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["accuracy", *envs]:
            accuracy(envs or list(TASKS))
        case ["speed", *n]:
            speed(int(n[0]) if n else 400)
        case ["search", *envs]:
            search(envs or SEARCHED)
        case ["astrasim", folder]:
            astrasim(Path(folder))
        case _:
            sys.exit(__doc__)
