"""The DRAM controller: rates on one core, the landscape of a trace, and what a unit that is dropped does to
the rankings of agents.

python benchmarks/dram.py rates          lookups and steps per second, beside the published environment's; the
                                         event model in C and in Python
python benchmarks/dram.py landscape      distribution, variance by parameter, and samples that a random search
                                         needs
python benchmarks/dram.py rankings DIR   of a folder of the study archgym-2023: agents under the right and the
                                         wrong latency
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import gymnasium
import numpy as np
from scipy.stats import kendalltau

from archgym.env import Evaluator
from archgym.simulators.dram import ControllerModel, DramController
from archgym.space import Array
from archgym.study.design import Study
from archgym.study.store import Store

ROUNDS = 7
BATCH = 10_000
STEPS = 5_000
PUBLISHED = (10, 15)  # steps/s of the published environment
SEARCHES = 200_000
REPLICATES = 500
RUN_MS = (25, 70)  # a run of DRAMSys on 10,000 requests, recorded when the table was made
DROPPED = ", unit dropped"  # ends the label of a task whose latency has lost its unit


def rates() -> None:
    rng = np.random.default_rng(0)
    model = DramController()
    for batch in (BATCH, 100 * BATCH):
        designs = model.space.sample(batch, rng)
        seconds = _best(lambda designs=designs: model.evaluate_indices(designs))
        print(f"lookups, batches of {batch:,}".ljust(50), f"{batch / seconds:14,.0f} designs/s")
    env = gymnasium.make("archgym/DramController-v0", trace="cloud-1")
    actions = [env.action_space.sample() for _ in range(STEPS)]

    def episodes() -> None:
        for action in actions:
            env.reset()
            env.step(action)

    cart = gymnasium.make("CartPole-v1")

    def carts() -> None:
        for _ in range(STEPS):
            cart.reset()
            cart.step(0)

    rate, beside = STEPS / _best(episodes), STEPS / _best(carts)
    ratios = f"{rate / PUBLISHED[1]:,.0f} to {rate / PUBLISHED[0]:,.0f} times the published 10 to 15"
    print(
        "reset + step".ljust(50),
        f"{rate:14,.0f} /s, {ratios}; Gymnasium's CartPole-v1 {beside:,.0f} /s, ratio {rate / beside:.2f}",
    )
    envs = gymnasium.make_vec("archgym/DramController-v0", num_envs=BATCH)
    envs.reset()
    batch_of_actions = envs.action_space.sample()
    print(
        f"step of {BATCH:,} environments".ljust(50),
        f"{BATCH / _best(lambda: envs.step(batch_of_actions)):14,.0f} designs/s",
    )

    _model_rates(rng)


def _model_rates(rng: np.random.Generator) -> None:
    """Designs per second of the event model on 10,000 random requests, in CPU time."""
    quoted = f"DRAMSys {1e3 / RUN_MS[1]:.0f} to {1e3 / RUN_MS[0]:.0f} (quoted)"
    for engine, alone, batches in (("c", 200, (1_000, 10_000, 100_000)), ("python", 5, ())):
        model = ControllerModel("random", engine=engine)
        designs = model.canonical(model.space.sample(alone, rng))
        forgetful = [_forgetful(model) for _ in designs]
        start = process_time()
        for fresh, design in zip(forgetful, designs, strict=True):
            fresh.evaluate_indices(design[None])
        rate = alone / (process_time() - start)
        print(f"model, {engine}, each design simulated".ljust(50), f"{rate:14,.1f} designs/s; {quoted}")
        for batch in batches:
            designs = model.space.sample(batch, rng)
            fresh = _forgetful(model)
            start = process_time()
            fresh.evaluate_indices(designs)
            rate = batch / (process_time() - start)
            print(
                f"model, {engine}, {batch:,} random designs".ljust(50),
                f"{rate:14,.0f} designs/s, {fresh.simulated:,} simulated",
            )


def _forgetful(model: ControllerModel) -> ControllerModel:
    """The model, without what it has simulated."""
    return copy.copy(model)


def landscape() -> None:
    right, wrong = DramController(), DramController(time_unit="dropped")
    space = right.space
    everything = space.from_ordinal(np.arange(space.size))
    designs = everything[(right.canonical(everything) == everything).all(axis=1)]
    metrics = right.evaluate_indices(designs)
    latency, faulty = metrics["latency_s"], wrong.evaluate_indices(designs)["latency_s"]
    outcomes = len(np.unique(np.stack([latency, metrics["energy_j"]]), axis=1).T)
    print(
        f"{len(designs):,} designs differ, {outcomes:,} distinct (latency, energy); in whole ns: "
        f"{(faulty < latency / 2).mean():.3f}\n"
    )
    print(
        "quantiles".ljust(24), *(f"{q:>10}" for q in ("lowest", "1 %", "25 %", "median", "75 %", "highest"))
    )
    for name, unit, scale in (
        ("latency_s", "us", 1e6),
        ("energy_j", "uJ", 1e6),
        ("power_w", "W", 1),
        ("bandwidth_bytes_s", "GB/s", 1e-9),
    ):
        quantiles = np.quantile(metrics[name] * scale, [0, 0.01, 0.25, 0.5, 0.75, 1])
        print(f"{name}, {unit}".ljust(24), *(f"{q:10.2f}" for q in quantiles))
    columns = {
        "log latency": latency,
        "log wrong latency": faulty,
        "log energy": metrics["energy_j"],
        "log power": metrics["power_w"],
    }
    print("\nvariance explained".ljust(25), *(f"{name:>18}" for name in columns))
    for p, name in enumerate(space.names):
        shares = [_explained(np.log(column), designs[:, p]) for column in columns.values()]
        print(name.ljust(24), *(f"{share:18.3f}" for share in shares))
    print(
        "\nrandom search on the lowest latency, samples until".ljust(52),
        *(f"{q:>9}" for q in ("10 %", "median", "90 %")),
    )
    rng = np.random.default_rng(0)
    everywhere = right.evaluate_indices(everything)["latency_s"]
    for name, share in (("10 %", 0.1), ("1 %", 0.01), ("0", 0.0)):
        reached = (everywhere <= latency.min() * (1 + share)).mean()
        samples = np.quantile(rng.geometric(reached, SEARCHES), [0.1, 0.5, 0.9])
        print(
            f"  within {name} of it ({reached:.5f} of the designs)".ljust(51),
            *(f"{q:9,.0f}" for q in samples),
        )


def figure() -> None:
    import altair
    import pandas

    right, wrong = DramController(), DramController(time_unit="dropped")
    everything = right.space.from_ordinal(np.arange(right.space.size))
    designs = everything[(right.canonical(everything) == everything).all(axis=1)]
    edges = np.geomspace(5e-8, 5e-4, 121)
    kinds = {"as the simulator printed it": right, "without its unit, as published": wrong}
    frames = []
    for kind, model in kinds.items():
        counts, _ = np.histogram(model.evaluate_indices(designs)["latency_s"], edges)
        frames.append(
            pandas.DataFrame(
                {"latency": kind, "low": edges[:-1] * 1e6, "high": edges[1:] * 1e6, "designs": counts}
            )
        )
    scale = altair.Scale(type="log", domain=[edges[0] * 1e6, edges[-1] * 1e6])
    bars = (
        altair.Chart(pandas.concat(frames))
        .mark_rect(opacity=0.65)
        .encode(
            x=altair.X(
                "low",
                scale=scale,
                title="latency of the trace (us)",
                axis=altair.Axis(values=[0.1, 1, 10, 100]),
            ),
            x2="high",
            y=altair.Y("designs", title="designs"),
            y2=altair.datum(0),
            color=altair.Color(
                "latency", sort=list(kinds), title=None, legend=altair.Legend(orient="top", symbolOpacity=1)
            ),
        )
    )
    target = altair.Chart(pandas.DataFrame({"x": [100], "text": ["published target 100 us"]})).encode(x="x")
    marks = target.mark_rule(strokeDash=[4, 3]) + target.mark_text(align="right", dx=-6, dy=-118).encode(
        text="text"
    )
    subtitle = (
        "cloud-1: all 235,008 controllers that differ; 70,202 of them take a whole number of nanoseconds"
    )
    title = altair.TitleParams(
        "A unit that is dropped moves three designs in ten by 1000", subtitle=subtitle, anchor="start"
    )
    path = Path(__file__).parents[1] / "docs" / "figures" / "dram.svg"
    (bars + marks).properties(width=560, height=260, title=title, background="white").save(path)


def rankings(folder: Path) -> None:
    """Agents by the probability that a run of theirs beats one of another agent (ties are halves), in pairs
    of tasks.

    The tasks of a pair differ in the latency alone. A search under the wrong one is ranked by the rewards
    that it saw, as in print, and by what its best designs are really worth.
    """
    study, store = Study.read(folder / "study.toml"), Store(folder)
    found = _best_designs(study, store)
    for task in study.tasks:
        wrong = f"{task}{DROPPED}"
        if wrong not in study.tasks:
            continue
        env = study.tasks[task]
        judge = Evaluator(env["id"], env["objective"], env["horizon"], {**env["kwargs"]})
        seen = {agent: rewards for agent, (_, rewards) in found[wrong].items()}
        worth = {
            agent: judge.evaluate(designs, len(designs)).reward
            for agent, (designs, _) in found[wrong].items()
        }
        right = {agent: rewards for agent, (_, rewards) in found[task].items()}
        columns = {"right latency": right, "wrong, as rewarded": seen, "wrong, true worth": worth}
        strengths = {name: _strengths(rewards) for name, rewards in columns.items()}
        print(f"\n{task}: rank, probability of beating another agent's run, 95 % interval")
        print("agent".ljust(12), *(name.rjust(26) for name in columns))
        order = sorted(right, key=lambda agent: -strengths["right latency"][agent][0])
        for agent in order:
            cells = []
            for drawn in strengths.values():
                rank = 1 + sum(other[0] > drawn[agent][0] for other in drawn.values())
                low, high = np.quantile(drawn[agent][1:], [0.025, 0.975])
                cells.append(f"{rank}   {drawn[agent][0]:.2f} ({low:.2f} to {high:.2f})".rjust(26))
            print(agent.ljust(12), *cells)
        for name in ("wrong, as rewarded", "wrong, true worth"):
            pairs = zip(_rows(strengths["right latency"]), _rows(strengths[name]), strict=True)
            tau = [kendalltau(a, b).statistic for a, b in pairs]
            low, high = np.quantile(tau[1:], [0.025, 0.975])
            print(f"Kendall's tau of the right ranking and {name}: {tau[0]:.2f} ({low:.2f} to {high:.2f})")


def _best_designs(study: Study, store: Store) -> dict[str, dict[str, tuple[Array, Array]]]:
    """Task -> agent -> the best designs of its runs, int64 [N, P], and their rewards as searched, float64
    [N].
    """
    space = DramController().space
    runs = {run.id: run for run in study.runs() if study.tasks[run.task]["id"] == "archgym/DramController-v0"}
    stored = [item for id_, item in store.read().items() if id_ in runs and item.done]
    rows: dict[str, dict[str, list[tuple[Array, float]]]] = {}
    for item, table in store.table(stored, (*space.names, "reward")):
        run, best = runs[item.id], int(np.argmax(table["reward"].to_numpy()))
        design = space.encode({name: [table[name][best].as_py()] for name in space.names})[0]
        rows.setdefault(run.task, {}).setdefault(run.agent, []).append(
            (design, table["reward"][best].as_py())
        )
    return {
        task: {
            agent: (np.stack([d for d, _ in pairs]), np.array([r for _, r in pairs]))
            for agent, pairs in agents.items()
        }
        for task, agents in rows.items()
    }


def _strengths(rewards: dict[str, Array]) -> dict[str, Array]:
    """Agent -> P(its run beats a run of another agent), of all runs and then of REPLICATES bootstrap
    draws: float64 [1 + REPLICATES].
    """
    rng = np.random.default_rng(0)
    draws = {
        a: np.concatenate([[r], r[rng.integers(len(r), size=(REPLICATES, len(r)))]], axis=0)
        for a, r in rewards.items()
    }

    def beats(a: Array, b: Array) -> float:
        b = np.sort(b)
        return float((np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")).mean() / (2 * len(b)))

    return {
        agent: np.mean(
            [
                [beats(a, b) for a, b in zip(own, draws[other], strict=True)]
                for other in rewards
                if other != agent
            ],
            axis=0,
        )
        for agent, own in draws.items()
    }


def _rows(strengths: dict[str, Array]) -> Array:
    """Strengths [1 + REPLICATES, agents], agents in the order of their names."""
    return np.stack([strengths[agent] for agent in sorted(strengths)], axis=1)


def _explained(values: Array, levels: Array) -> float:
    """Share of the variance between the levels of one parameter (its main effect in a full grid)."""
    groups = [values[levels == level] for level in np.unique(levels)]
    return (
        sum(len(group) * (group.mean() - values.mean()) ** 2 for group in groups) / len(values) / values.var()
    )


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        work()
        seconds.append(perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    commands = {"rates": rates, "landscape": landscape, "figure": figure}
    match sys.argv[1:]:
        case [name] if name in commands:
            commands[name]()
        case ["rankings", folder]:
            rankings(Path(folder))
        case _:
            sys.exit(__doc__)
