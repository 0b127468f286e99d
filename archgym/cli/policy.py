"""`archgym train`, `archgym propose`: a policy learned from contexts, and its designs for new ones."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from archgym.cli.options import Env, Settings, building, pairs
from archgym.cli.screen import end_interrupted, fact_sheet, heading, new_table, print_to_copy, stdout
from archgym.cli.words import print_design
from archgym.contexts.policy import Policy
from archgym.contexts.sets import Contexts
from archgym.contexts.training import trained, training
from archgym.errors import ArchGymError
from archgym.files.paths import check_writable
from archgym.optimum import known_optimum
from archgym.progress import progress_bar
from archgym.registry import get_task
from archgym.simulator import evaluate_safely
from archgym.words import assignments, number, percent, plain

if TYPE_CHECKING:
    from archgym.evaluator import Evaluator
    from archgym.space import Array

_SHOWN = 12  # features that are named


def train(
    env: Env,
    contexts: Annotated[
        str,
        typer.Option(
            metavar="SET|FILE",
            help="Contexts to train on: a set that comes with the environment, or a .json or .toml file.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File for the policy.")],
    budget: Annotated[int, typer.Option(help="Samples in all contexts together; spent exactly.")] = 20_000,
    agent: Annotated[str, typer.Option(help="Contextual agent.")] = "contextual_value",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    set_: Settings = None,
    hp: Annotated[
        list[str] | None,
        typer.Option("--hp", metavar="NAME=VALUE", help="Hyperparameter of the agent (repeatable)."),
    ] = None,
) -> None:
    """Train a policy on many contexts, so that it designs for new ones without a sample.

    archgym train archgym/Softmax-v0 --contexts shapes --budget 20000 --out policy
    """
    settings, hyperparameters = pairs("--set", set_), pairs("--hp", hp)
    task, out = get_task(env), check_writable(out)
    with building(task, settings):
        run = training(
            env,
            agent,
            contexts=Contexts.of(contexts, task),
            budget=budget,
            seed=seed,
            agent_kwargs=hyperparameters,
            env_kwargs=settings,
        )
    evaluator: Any = run.env.evaluator
    start = perf_counter()

    def look() -> tuple[str, float]:
        return f"{run.ledger.samples:,}/{budget:,} samples", run.ledger.samples / budget

    try:
        with progress_bar(look):
            policy = trained(run)
    except KeyboardInterrupt:
        end_interrupted(f"after {run.ledger.samples:,} of {budget:,} samples; no policy is written")
    seconds = perf_counter() - start
    policy.save(out)
    names = policy.features.names
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    facts = [
        ("Contexts", f"{len(policy.contexts):,}; the optimum of {int(evaluator.exact.sum()):,} is known"),
        ("Features", ", ".join(names[:_SHOWN]) + more if names else "none that varies"),
        ("Samples", f"{run.ledger.samples:,}; {seconds:.3g} s"),
        ("Policy", str(out)),
    ]
    console = stdout()
    heading(console, f"{env}  {agent}", ", ".join(filter(None, [assignments(settings), f"seed {seed}"])))
    console.print(fact_sheet(facts))


def propose(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="File that archgym train wrote.")],
    set_: Settings = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of designs.")] = 1,
    verify: Annotated[
        int, typer.Option(min=0, help="Number of best designs to simulate; the best of them is shown.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print designs as JSON.")] = False,
) -> None:
    """Propose designs for a context, without a sample, or the best of a few that are simulated.

    archgym propose policy --set rows=4 --set cols=12345 --verify 5
    """
    found, context = Policy.load(policy), pairs("--set", set_)
    with building(get_task(found.env), context):
        designs = found.propose(context, max(n, verify))
    console = stdout()
    if verify:
        with closing(found.task_of(context)) as task:
            _show_verified(task, found, context, designs[:verify], as_json)
        return
    if as_json:
        print(json.dumps(designs[:n], indent=1))
        return
    heading(console, f"{found.env}  proposed by {policy}", assignments(context))
    table = new_table("Parameter", *(f"{rank}" for rank in range(1, len(designs[:n]) + 1)))
    for name in found.space.names:
        table.add_row(name, *(plain(design.get(name, "-")) for design in designs[:n]))
    console.print(table)
    print_to_copy("Simulate the best", f"archgym propose {policy} {_options(context)}--verify 5")


def _options(context: dict[str, Any]) -> str:
    return "".join(f"--set {name}={plain(value)} " for name, value in context.items())


def _show_verified(
    task: Evaluator, policy: Policy, context: dict[str, Any], designs: list[dict[str, Any]], as_json: bool
) -> None:
    """Simulate designs, and print the best of them."""
    indices = np.concatenate([policy.space.encode(design) for design in designs])
    outcome = evaluate_safely(task.simulator, indices, np.random.default_rng(0))
    rewards = task.objective.judge(outcome, task.metric_names)
    merit: Array = np.where(rewards.valid, rewards.reward, -np.inf)
    best = int(merit.argmax())
    metrics = dict(zip(task.metric_names, outcome.values[best].tolist(), strict=True))
    if not rewards.valid.any():
        raise ArchGymError(
            f"none of the {len(designs)} proposed designs is valid; simulate more (--verify), or search this "
            f"context: archgym search {policy.env} bo {_options(context)}"
        )
    if as_json:
        print(
            json.dumps({"design": designs[best], "metrics": metrics, "reward": float(merit[best])}, indent=1)
        )
        return
    console = stdout()
    heading(console, f"{policy.env}  best of {len(designs)} proposed designs", assignments(context))
    print_design(console, designs[best], metrics, task.simulator.metrics)
    facts = [("Reward", number(float(merit[best]))), ("Rank", f"{best + 1} among the proposals")]
    optimum = known_optimum(task.simulator, task.objective)
    if optimum is not None and optimum.best_reward is not None:
        share = float(np.exp(min(merit[best] - optimum.best_reward, 0.0)))
        facts.append(("Share", f"{percent(share, 4)} of the exact optimum"))
    facts.append(("Samples", f"{len(designs)}"))
    console.print(fact_sheet(facts))
