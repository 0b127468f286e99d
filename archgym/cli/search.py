"""`archgym search`: one agent on a design space, or several on the same task."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import gymnasium
import numpy as np
import typer

from archgym._search import Incumbent, Search, SearchResult, Start
from archgym.callbacks.named import make_callback
from archgym.cli.options import Env, Settings, building, check_file, names_of, pairs
from archgym.cli.screen import Unfinished, fact_sheet, heading, new_table, stdout
from archgym.cli.tables import Table
from archgym.cli.words import print_design, quantity
from archgym.contexts.policy import Policy
from archgym.contexts.sets import Contexts
from archgym.errors import ArchGymError, reason_of
from archgym.files.archive import reading
from archgym.files.columns import read_designs
from archgym.infos import core
from archgym.objective import CAPPED, Minimize, Objective, Target
from archgym.optimum import to_enumerate
from archgym.processes.exits import INTERRUPTED
from archgym.progress import Progress, progress_bar
from archgym.registry import get_task
from archgym.simulator import Metric, Simulator, reference_cost
from archgym.task import Specification
from archgym.values import read_arguments
from archgym.words import assignments, number, percent, plain

if TYPE_CHECKING:
    from rich.console import Console

    from archgym.agent import Agent

BUDGET = 1000  # samples
_REASONS = 3  # distinct failures that a result shows


def search(
    env: Env,
    agents: Annotated[
        list[str], typer.Argument(metavar="AGENT...", help="Agent, such as genetic; several are compared.")
    ],
    budget: Annotated[
        int | None,
        typer.Option(
            help="Samples, counted at the simulator; spent exactly.",
            show_default="1000 without --reference-samples",
        ),
    ] = None,
    reference_samples: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help=(
                "Cost budget in reference samples (the median cost of a design); training of shared weights "
                "counts, and the budget is never exceeded."
            ),
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of everything random; the same seed gives the same rows.")
    ] = 0,
    set_: Settings = None,
    hp: Annotated[
        list[str] | None,
        typer.Option(
            "--hp",
            metavar="NAME=VALUE",
            help="Hyperparameter of the agent (repeatable), such as population=128.",
        ),
    ] = None,
    num_envs: Annotated[
        int | None, typer.Option(help="Designs per step.", show_default="the agent's preference")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Store of simulated designs; an interrupted search replays from it at no cost.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.parquet", help="File for the history of all samples, with the specification."
        ),
    ] = None,
    proxy: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Proxy to spend the budget on; only the best designs are simulated."
        ),
    ] = None,
    verify_top: Annotated[int, typer.Option(min=1, help="Number of designs to simulate, with --proxy.")] = 20,
    front: Annotated[
        str | None,
        typer.Option(
            metavar="A,B[,C]",
            help=(
                "Metrics to trade off. nsga2 searches their Pareto front; for other agents it is computed "
                "afterwards."
            ),
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Designs to evaluate first, a .json or .csv file, or a policy, which proposes five.",
        ),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT",
            help="Logger (repeatable): tensorboard=FOLDER, wandb=PROJECT, mlflow=EXPERIMENT or module:Class.",
        ),
    ] = None,
) -> None:
    """Search a design space; prints the best design, its metrics and, where the optimum is known, the regret.

    archgym search archgym/Softmax-v0 genetic --budget 1000 --set cols=4096
    """
    settings, hyperparameters = pairs("--set", set_), pairs("--hp", hp)
    if len(agents) > 1:
        if hyperparameters or any(option is not None for option in (out, cache, proxy, front)):
            raise ArchGymError(
                "--hp, --cache, --proxy, --front and --out go with one agent, not with several"
            )
        _compare(
            env,
            agents,
            _budgets(env, settings, budget, reference_samples),
            seed,
            settings,
            num_envs,
            start,
            log or [],
        )
        return
    agent: str | Agent = agents[0]
    facts: list[tuple[str, str]] = []
    if proxy is not None:
        agent, facts = _on_proxy(proxy, agents[0], budget or BUDGET, hyperparameters, verify_top)
        budget, hyperparameters = verify_top, {}
    if out is not None:
        out = check_file("--out", out, ".parquet")
    with building(get_task(env), settings):
        run = Search(
            env,
            agent,
            **_budgets(env, settings, budget, reference_samples),
            seed=seed,
            env_kwargs=settings,
            agent_kwargs=hyperparameters,
            num_envs=num_envs,
            cache=cache,
            front=None if front is None else names_of(front),
            start=None if start is None else _designs(start, env, settings),
            callbacks=[make_callback(text) for text in log or ()],
        )
    found = _run(run, alone=True)
    chosen = ", ".join(filter(None, [assignments(settings), assignments(hyperparameters), f"seed {seed}"]))
    heading(stdout(), f"{env}  {agents[0]}{'' if proxy is None else f' on {proxy}'}", chosen)
    ended = _show(run, found, out, facts)
    if ended is not None:
        _end({agents[0]: ended})


def _budgets(
    env: str, settings: Mapping[str, Any], budget: int | None, reference_samples: float | None
) -> dict[str, Any]:
    """The budgets of a search, in samples and in the simulator's unit of cost."""
    if reference_samples is None:
        return {"budget": BUDGET if budget is None else budget}
    if not 0 < reference_samples < math.inf:
        raise ArchGymError(f"expected --reference-samples as a number > 0, got {reference_samples:g}")
    with closing(gymnasium.make(env, **settings)) as made:
        return {"budget": budget, "cost_budget": reference_samples * core(made).evaluator.reference_cost}


def _designs(path: Path, env: str, settings: Mapping[str, Any]) -> Start:
    """The designs, or the policy, in a file to start from.

    Raises:
        ArchGymError: a file that cannot be read, or of another kind.
    """
    if path.suffix not in (".json", ".csv"):
        return Policy.load(path)
    with reading(path, "a file of designs"):
        if path.suffix == ".json":
            designs: Start = json.loads(path.read_text(encoding="utf-8-sig"))
            return designs
        import pyarrow.csv

        with closing(gymnasium.make(env, **settings)) as made:
            space = core(made).simulator.space
        # an empty cell is an inactive parameter
        empty = pyarrow.csv.ConvertOptions(null_values=[""], strings_can_be_null=space.conditional)
        table = pyarrow.csv.read_csv(path, convert_options=empty if space.conditional else None)
        if missing := {p.name for p in space if not p.when} - set(table.column_names):
            raise ArchGymError(f"expected a column for every parameter, got none for {min(missing)!r}")
        return read_designs(space, table)


def _on_proxy(
    proxy: Path, agent: str, budget: int, hyperparameters: dict[str, Any], verify_top: int
) -> tuple[Agent, list[tuple[str, str]]]:
    """The agent that searches a proxy, and its fact for the result."""
    from archgym.proxy import ProxySearch

    searcher = ProxySearch(proxy, agent, budget, hyperparameters)
    simulated = searcher.training + verify_top
    text = (
        f"{budget:,} predictions; {simulated:,} designs simulated in all, {searcher.training:,} of them to "
        "train and test it"
    )
    return searcher, [("Proxy", text)]


class _Found(NamedTuple):
    """The result of a search, its seconds, and the exception that ended it early."""

    result: SearchResult
    seconds: float
    ended: BaseException | None


def _run(run: Search, alone: bool = False) -> _Found:
    """Run a search; its result is what it found, whatever ended it. One that is alone and has no sample
    raises the exception.
    """
    ended: BaseException | None = None
    start = perf_counter()
    try:
        with _watched(run):
            result = run.run()
    except BaseException as error:  # sys.exit, too
        if alone and not run.ledger.samples:
            raise
        ended, result = error, run.result()
    return _Found(result, perf_counter() - start, ended)


def _watched(run: Search) -> AbstractContextManager[Progress]:
    def look() -> tuple[str, float]:
        samples, best = run.ledger.samples, run.ledger.best_reward
        return f"{samples:,}/{run.budget:,} samples" + (
            "" if best is None else f", best reward {number(best)}"
        ), run.share_done

    return progress_bar(look)


def _end(ended: Mapping[str, BaseException]) -> NoReturn:
    """End a command whose agents did not all finish; their results have been printed."""
    for error in ended.values():
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(INTERRUPTED)
    raise Unfinished("; ".join(f"{name}: {reason_of(error)}" for name, error in ended.items())) from next(
        iter(ended.values())
    )


def _how_it_ended(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "ended by an error"


# --- several agents ---


def _compare(
    env: str,
    agents: Sequence[str],
    budgets: Mapping[str, Any],
    seed: int,
    settings: dict[str, Any],
    num_envs: int | None,
    start: Path | None,
    log: Sequence[str],
) -> None:
    """Run several agents on one task, one after the other, and print a table of their results."""
    with building(get_task(env), settings):
        first = None if start is None else _designs(start, env, settings)
        runs = [
            Search(
                env,
                name,
                **budgets,
                seed=seed,
                env_kwargs=settings,
                num_envs=num_envs,
                start=first,
                callbacks=[make_callback(text) for text in log],
            )
            for name in agents
        ]
    simulator, goals = runs[0].env.simulator, _goals(runs[0].env.simulator, runs[0].env.objective)
    against = ["Regret>", "Percentile>"] if simulator.deterministic else ["Measured again>"]
    table = new_table(
        "Agent",
        *(f"{m.name if m.unit == '1' else f'{m.name} ({m.unit})'}>" for m in goals),
        "Reward>",
        *against,
        "Seconds>",
    )
    found: dict[str, _Found] = {}
    for name, run in zip(agents, runs, strict=True):
        found[name] = _run(run)
        table.add_row(
            name, *_row(found[name].result, goals, simulator.deterministic), f"{found[name].seconds:.2f}"
        )
        if isinstance(found[name].ended, KeyboardInterrupt):
            break
    console = stdout()
    ends = f"budget {runs[0].budget:,}" + (" reference samples" if budgets.get("cost_budget") else "")
    heading(console, env, ", ".join(filter(None, [assignments(settings), ends, f"seed {seed}"])))
    console.print(table)
    winner = max(
        (each.result for each in found.values()),
        key=lambda result: -np.inf if result.best_reward is None else result.best_reward,
    )
    if winner.best_design is not None and winner.best_metrics is not None:
        console.print()
        print_design(console, winner.best_design, winner.best_metrics, simulator.metrics)
    ended = {name: each.ended for name, each in found.items() if each.ended is not None}
    for name, end in ended.items():
        console.print(f"{_how_it_ended(end)}: the row of {name} is of an unfinished search", style="yellow")
    if ended:
        _end(ended)


def _row(result: SearchResult, goals: Sequence[Metric], deterministic: bool) -> list[str]:
    """Metrics, reward, and a comparison with the optimum, or a second measurement."""
    best = result.best_metrics
    again = result.incumbents[0].remeasured_reward if result.incumbents else None
    figures = [result.best_reward, *([result.regret, result.percentile] if deterministic else [again])]
    return [
        *(number(best[m.name]) if best else "none valid" for m in goals),
        *("-" if x is None else number(x) for x in figures),
    ]


def _goals(simulator: Simulator, objective: Objective) -> list[Metric]:
    """The metrics that the objective optimises."""
    names = {term.metric for term in objective.terms}
    return [metric for metric in simulator.metrics if metric.name in names]


# --- one agent ---


def _show(
    run: Search, found: _Found, out: Path | None, facts: Sequence[tuple[str, str]]
) -> BaseException | None:
    """Write and print a result; returns what ended the search or the writing early."""
    result, ended = found.result, found.ended
    if out is not None:
        try:
            result.to_parquet(out)
        except Exception as error:  # a full disk; the result is printed all the same
            ended, out = ended or error, None
    console = stdout()
    if ended is not None:
        console.print(
            f"{_how_it_ended(ended)} after {result.samples:,} of {run.budget:,} samples", style="yellow"
        )
    _print_result(console, result, run.env.simulator, run.env.objective, found.seconds, out, facts)
    return ended


def _print_result(
    console: Console,
    result: SearchResult,
    simulator: Simulator,
    objective: Objective,
    seconds: float,
    out: Path | None,
    more_facts: Sequence[tuple[str, str]],
) -> None:
    if result.best_design is None or result.best_metrics is None or result.best_reward is None:
        infeasible = int((~result.history["feasible"]).sum())
        console.print(
            f"no valid design found; {infeasible:,} of {result.samples:,} were infeasible", style="yellow"
        )
    else:
        print_design(console, result.best_design, result.best_metrics, simulator.metrics)
    facts = [] if result.best_reward is None else [("Reward", number(result.best_reward))]
    speed = f"{seconds:.3g} s, {_rate(result.samples / max(seconds, 1e-9))} per second"
    cached = f", {result.cache_hits:,} from the cache" if result.cache_hits else ""
    facts.append(("Samples", f"{result.samples:,} ({result.unique:,} distinct{cached}); {speed}"))
    facts += [
        *_cost(result, simulator),
        *_statistics(result),
        *more_facts,
        *_comparison(result, simulator, objective),
    ]
    if result.front is not None:
        names = ", ".join(metric.name for metric in result.front.metrics)
        file = (
            f"archgym pareto {out} --metrics {names.replace(' ', '')}"
            if out is not None
            else "archgym pareto, with a file of --out,"
        )
        facts.append(("Front", f"{len(result.front.rows):,} designs trade off {names}; {file} shows them"))
    if result.failures:
        reasons = Counter(" ".join(failure.reason.split()) for failure in result.failures)
        text = "\n".join(f"{count:,} x {reason}" for reason, count in list(reasons.items())[:_REASONS])
        more = f"\nand {len(reasons) - _REASONS} other reasons" if len(reasons) > _REASONS else ""
        facts.append(("Failures", f"{len(result.failures):,} samples\n{text}{more}"))
    if out is not None:
        facts.append(("History", str(out)))
    console.print(fact_sheet(facts))
    if result.incumbents:
        console.print()
        console.print(_measured_again(result.incumbents, simulator, objective))


def _statistics(result: SearchResult) -> list[tuple[str, str]]:
    """What the agent says about its search, in a line."""
    texts = [
        f"{name.removesuffix('_share').replace('_', ' ')} "
        + (percent(value) if name.endswith("_share") else number(value))
        for name, value in result.statistics.items()
    ]
    return [("Agent", ", ".join(texts))] if texts else []


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _cost(result: SearchResult, simulator: Simulator) -> list[tuple[str, str]]:
    """What a search cost, where samples do not cost one each."""
    if result.cost_unit == "samples" and not result.charges:
        return []
    reference, spent = reference_cost(simulator), dict.fromkeys((c.what for c in result.charges), 0.0)
    for charge in result.charges:
        spent[charge.what] += charge.amount
    beside = ", ".join(f"{what} {number(amount / reference)}" for what, amount in spent.items())
    parts = f" ({beside}, samples {number((result.cost - sum(spent.values())) / reference)})" if spent else ""
    total = f"{number(result.cost / reference)} reference samples"
    return [("Cost", f"{total}{parts}; {number(result.cost)} {result.cost_unit}")]


def _measured_again(incumbents: Sequence[Incumbent], simulator: Simulator, objective: Objective) -> Table:
    """The best designs of a measured search by their second measurements, with the parameters in which
    they differ.
    """
    goals = _goals(simulator, objective)
    names = [
        name
        for name in simulator.space.names
        if len({incumbent.design.get(name) for incumbent in incumbents}) > 1
    ]
    table = new_table(
        "Measured again", *(f"{m.name}>" for m in goals), "Before>", "Reward>", ", ".join(names)
    )
    for rank, incumbent in enumerate(incumbents, start=1):
        again = incumbent.remeasured_metrics
        now = [number(again[m.name]) if again else "failed" for m in goals]
        before = ", ".join(number(incumbent.metrics[m.name]) for m in goals)
        reward = "-" if incumbent.remeasured_reward is None else number(incumbent.remeasured_reward)
        reward += "" if incumbent.valid else " (not valid)"
        table.add_row(
            f"{rank}",
            *now,
            before,
            reward,
            ", ".join(plain(incumbent.design.get(name, "-")) for name in names),
        )
    return table


def _comparison(result: SearchResult, simulator: Simulator, objective: Objective) -> list[tuple[str, str]]:
    """A result against the known optimum: regret, distance in the metric itself, percentile."""
    regret, optimum = result.regret, result.optimum
    if "context" in result.history:  # the reward is the share of the optimum
        return _of_contexts(result)
    if result.regret_bound is not None and result.bound is not None:
        text = f"at most {number(result.regret_bound)}, against {number(result.bound)}, a bound of rewards"
        return [("Regret", text)]
    exact = simulator.deterministic and not simulator.stochastic
    if optimum is None and exact and (designs := to_enumerate(simulator, objective)) is not None:
        simulated = result.history["seconds"][~result.history["cached"]]
        days = designs.size * float(simulated.mean()) / 86_400 if simulated.size else 0.0
        if days > 1:
            return [
                (
                    "Regret",
                    f"not known: to enumerate {designs.size:,} designs at this rate would take {days:,.0f} "
                    "days",
                )
            ]
        return [("Regret", "not known: archgym optimum, with the same --set, finds the optimum")]
    if regret is None or optimum is None or optimum.best_metrics is None or result.best_metrics is None:
        return []
    unbounded = objective.unbounded(optimum.best_metrics)
    if objective.caps(optimum.best_reward) and not unbounded:
        return [("Regret", f"not known: {CAPPED}")]
    if objective.unbounded(result.best_metrics) or (regret <= 0 and not unbounded):
        text = "0: this is the exact optimum"
    elif unbounded:
        zeros = [term.metric for term in objective.terms if optimum.best_metrics[term.metric] == 0]
        text = f"not finite: {' and '.join(zeros) or 'a metric'} is 0 at the optimum"
    else:
        distance = _distance(result.best_metrics, optimum.best_metrics, simulator.metrics, objective)
        text = ", ".join(filter(None, [number(regret), distance]))
    facts = [("Regret", text)]
    if result.percentile is not None:
        shown = (
            f"{result.percentile:.4g}"
            if result.percentile < 99.9
            else f"{result.percentile:.4f}".rstrip("0").rstrip(".")
        )
        facts.append(("Percentile", f"{shown} % of the {optimum.valid:,} valid designs are no better"))
    return facts


def _of_contexts(result: SearchResult) -> list[tuple[str, str]]:
    """Of which context the best design is, and how good the valid designs are in all of them."""
    env = Specification.from_dict(result.specification).env
    names = Contexts.of(read_arguments(env.kwargs)["contexts"]).names
    valid = result.history["valid"]
    if not valid.any():
        return []
    best = int(np.where(valid, result.history["reward"], -np.inf).argmax())
    shares = np.where(valid, np.exp(np.minimum(result.history["reward"], 0)), 0)
    return [
        ("Context", f"{names[int(result.history['context'][best])]}, one of {len(names):,}"),
        ("Mean share", f"{percent(float(shares.mean()), 3)} of each context's optimum, over all samples"),
    ]


def _distance(
    found: Mapping[str, float], best: Mapping[str, float], metrics: Sequence[Metric], objective: Objective
) -> str:
    """For a logarithmic objective of one metric "3.2 % from the optimum's latency_s (1.5e-05 s)", else ""."""
    if objective.form != "log" or len(objective.terms) != 1 or isinstance(objective.terms[0], Target):
        return ""
    term = objective.terms[0]
    name, floor = term.metric, term.floor if isinstance(term, Minimize) else 0.0
    if min(found[name], best[name]) < floor:  # a ratio of tolerances says nothing
        return ""
    metric = next(m for m in metrics if m.name == name)
    return (
        f"{percent(abs(found[name] / best[name] - 1), 3)} from the optimum's {name} "
        f"({quantity(best[name], metric)})"
    )
