"""`archgym optimum`: the exact optimum of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from time import perf_counter
from typing import Annotated, Any

import typer

from archgym.cli.options import Settings, building, pairs
from archgym.cli.screen import end_interrupted, fact_sheet, heading, stdout
from archgym.cli.words import count, objective_in_words, print_design
from archgym.contexts.sets import Contexts
from archgym.errors import ArchGymError
from archgym.files.paths import check_folder
from archgym.objective import Objective
from archgym.optimum import (
    Optimum,
    find_optimum,
    known_optimum,
    optimum_path,
    save_optimum,
    stored_optimum,
    to_enumerate,
)
from archgym.progress import progress_bar
from archgym.registry import get_task
from archgym.simulator import Simulator
from archgym.task import Task
from archgym.words import assignments, number


def optimum(
    env: Annotated[
        str,
        typer.Argument(
            metavar="ENV",
            help="Id of an environment with up to 1e8 designs, or of a known optimum.",
        ),
    ],
    set_: Settings = None,
    contexts: Annotated[
        str | None,
        typer.Option(metavar="SET|FILE", help="Contexts whose optima to find, one after the other."),
    ] = None,
    save: Annotated[
        bool,
        typer.Option("--save/--no-save", help="Store the optimum, so that later results state their regret."),
    ] = True,
) -> None:
    """Find the exact optimum by enumeration in chunks, and store it for later results.

    archgym optimum archgym/Accelerator-v0 --set workload=mobilenet_v2
    """
    settings = pairs("--set", set_)
    task = get_task(env)
    if contexts is not None:
        if not save:
            raise ArchGymError("--contexts stores the optima that it finds: leave --no-save out")
        _of_contexts(task, settings, Contexts.of(contexts, task))
        return
    with building(task, settings):
        simulator, objective = task.build(**{k: v for k, v in settings.items() if k != "horizon"})
    if save:
        check_folder(optimum_path(simulator, objective).parent)
    done, total = 0, (to_enumerate(simulator, objective) or simulator.space).size
    start = perf_counter()
    try:
        with progress_bar(lambda: (f"{done:,}/{total:,} designs", done / total)):

            def progress(what: str, share: float) -> None:
                nonlocal done
                done = round(share * total)

            found = find_optimum(simulator, objective, progress=progress)
    except KeyboardInterrupt:
        end_interrupted(f"after {done:,} of {total:,} designs; nothing is stored")
    finally:
        simulator.close()
    _print_optimum(env, settings, simulator, objective, found, done, perf_counter() - start, save)


def _of_contexts(task: Task, settings: Mapping[str, Any], contexts: Contexts) -> None:
    """Find and store the optimum of every context that lacks one; the same command goes on after Ctrl-C."""
    known, at, share = 0, 0, 0.0
    start = perf_counter()

    def look() -> tuple[str, float]:
        return f"{at}/{len(contexts)} contexts", (at + share) / len(contexts)

    def progress(what: str, done: float) -> None:
        nonlocal share
        share = done

    try:
        with progress_bar(look):
            for at, arguments in enumerate(contexts.arguments):  # noqa: B007 - the bar shows it
                share = 0.0
                with building(task, {**settings, **arguments}):
                    simulator, objective = task.build(**{**settings, **arguments})
                with closing(simulator):
                    known += known_optimum(simulator, objective) is not None
                    stored_optimum(simulator, objective, progress=progress)
    except KeyboardInterrupt:
        end_interrupted(f"after {at:,} of {len(contexts):,} contexts; the same command goes on")
    console = stdout()
    heading(console, f"{task.id}  exact optima", assignments(settings))
    found = f"{len(contexts):,}; {known:,} were known, {len(contexts) - known:,} found now"
    console.print(fact_sheet([("Contexts", found), ("Time", f"{perf_counter() - start:.3g} s")]))


def _print_optimum(
    env: str,
    settings: Mapping[str, Any],
    simulator: Simulator,
    objective: Objective,
    found: Optimum,
    tried: int,
    seconds: float,
    save: bool,
) -> None:
    if found.best_design is None or found.best_metrics is None or found.best_reward is None:
        raise ArchGymError(
            f"no design of {env} is valid under {objective_in_words(objective, simulator.metrics)}"
        )
    console = stdout()
    heading(console, f"{env}  exact optimum", assignments(settings))
    print_design(console, found.best_design, found.best_metrics, simulator.metrics)
    facts = [
        ("Objective", objective_in_words(objective, simulator.metrics)),
        ("Reward", number(found.best_reward)),
    ]
    rate = f"{seconds:.3g} s, {tried / max(seconds, 1e-9):,.0f} per second"
    if found.designs is not None:
        counts = f"{found.designs:,} distinct, {found.feasible:,} feasible, {found.valid:,} valid"
        facts.append(("Designs", f"{counts}; {rate}"))
    elif tried:
        facts.append(("Designs", f"{count(simulator.space.size)}; the best is one of {tried:,}; {rate}"))
    else:
        facts.append(("Designs", f"{count(simulator.space.size)}; the optimum is known without trying all"))
    if save:
        facts.append(("Stored in", str(save_optimum(simulator, objective, found))))
    console.print(fact_sheet(facts))
