"""`archgym dataset`: build, sample, show and export data sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archgym.cli.options import Env, Settings, TaskOrEnv, building, check_folder_free, pairs
from archgym.cli.screen import fact_sheet, heading, new_table, print_to_copy, say, stdout
from archgym.progress import progress_bar
from archgym.words import assignments, number, percent

if TYPE_CHECKING:
    from archgym.dataset.data import Dataset

app = typer.Typer(
    no_args_is_help=True, help="Data sets of designs and their metrics, from searches or sampled."
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a data set.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the data set.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing data set.")]


class Method(StrEnum):
    """Ways to draw designs."""

    random = "random"
    sobol = "sobol"
    grid = "grid"


class Format(StrEnum):
    """Formats of an exported data set."""

    csv = "csv"
    minari = "minari"


@app.command("build")
def build_(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|DIR...", help="Files of archgym search --out, folders of studies, data sets."
        ),
    ],
    out: Out,
    env: TaskOrEnv = None,
    overwrite: Overwrite = False,
) -> None:
    """Build one data set from all designs that searches of one environment have measured.

    archgym dataset build results/quick --env "softmax 4K" --out data/softmax
    """
    from archgym.dataset import build
    from archgym.dataset.files import FILE

    check_folder_free(out, FILE, "a data set", overwrite)
    _save(build(sources, env=env), out)


@app.command("sample")
def sample_(
    env: Env,
    out: Out,
    budget: Annotated[int, typer.Option(min=1, help="Number of distinct designs to simulate.")] = 1000,
    method: Annotated[Method, typer.Option(help="Way to draw designs.")] = Method.random,
    seed: Annotated[int, typer.Option(min=0, help="Seed for the random and Sobol designs.")] = 0,
    set_: Settings = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Store of simulated designs, from which an interrupted command resumes."
        ),
    ] = None,
    overwrite: Overwrite = False,
    n: Annotated[int | None, typer.Option("--n", min=1, hidden=True)] = None,  # the former name of --budget
) -> None:
    """Simulate designs drawn at random, by a Sobol sequence or evenly from the enumeration.

    archgym dataset sample archgym/DramController-v0 --budget 20000 --method random --out data/dram
    """
    from archgym.dataset import sample
    from archgym.dataset.files import FILE
    from archgym.registry import get_task

    check_folder_free(out, FILE, "a data set", overwrite)
    budget = n or budget
    settings = pairs("--set", set_)
    with building(get_task(env), settings), progress_bar() as progress:
        data = sample(
            env,
            budget,
            method=method.value,
            seed=seed,
            env_kwargs=settings,
            cache=cache,
            progress=progress,
        )
    if len(data) < budget:
        say(
            "note",
            f"the space has {len(data):,} designs, fewer than {budget:,}: the data set holds all of them",
            "yellow",
        )
    _save(data, out)


@app.command()
def show(folder: Folder) -> None:
    """Show the contents of a data set; the whole data card is its README.md.

    archgym dataset show data/dram
    """
    from archgym.dataset import load_dataset

    _show(load_dataset(folder), folder)


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="PATH", help="CSV file, or Minari's folder of data sets.")],
    format: Annotated[
        Format, typer.Option("--format", help="Format: csv, or minari for offline reinforcement learning.")
    ] = Format.csv,
    name: Annotated[str | None, typer.Option(help="Minari data set id, namespace/name-vN.")] = None,
) -> None:
    """Write a data set for other tools.

    archgym dataset export data/dram --format csv --out dram.csv
    """
    from archgym.dataset import load_dataset
    from archgym.dataset.export import to_csv, to_minari

    data = load_dataset(folder)
    if format is Format.csv:
        print_to_copy("CSV", f"{to_csv(data, out)}, its schema beside it")
        return
    written = to_minari(data, out, name)
    python = f"import minari; minari.load_dataset('{written}')"
    print_to_copy("Minari", f'{written}: MINARI_DATASETS_PATH={out} python -c "{python}"')


def _save(data: Dataset, out: Path) -> None:
    from archgym.dataset import save_dataset

    save_dataset(data, out)
    _show(data, out)


def _show(data: Dataset, folder: Path) -> None:
    import numpy as np

    console = stdout()
    designs = data.distinct()
    env = data.env
    heading(console, env.id, assignments(env.kwargs))
    shares = percent(len(designs) / data.space.size, 2), percent(designs.feasible.mean())
    facts = [
        ("Designs", f"{len(designs):,} of {data.space.size:,} ({shares[0]}), {shares[1]} feasible"),
        ("Rows", f"{len(data):,}, one per design and agent; {int(data.count.sum()):,} evaluations"),
        ("Sources", "; ".join(data.sources)),
        ("Folder", f"{folder}, its card in README.md"),
    ]
    console.print(fact_sheet(facts))
    console.print()
    table = new_table("Metric", "Unit", "Lowest>", "Median>", "Highest>")
    for metric in data.metrics:
        column = designs.column(metric.name)[designs.feasible]
        if len(column):
            table.add_row(
                metric.name, metric.unit, *(number(float(q)) for q in np.quantile(column, [0, 0.5, 1]))
            )
    console.print(table)
