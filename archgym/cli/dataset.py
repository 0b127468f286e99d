"""`archgym dataset`: build, sample, show and export data sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archgym.cli.program import Settings, building, pairs
from archgym.cli.screen import fact_sheet, heading, new_table, say, stdout
from archgym.errors import ArchGymError
from archgym.progress import progress_bar
from archgym.text import number

if TYPE_CHECKING:
    from archgym.dataset.data import Dataset

app = typer.Typer(no_args_is_help=True, help="Data sets of designs and their metrics, from searches or sampled.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a data set.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="The data set's folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a data set that lies there.")]


class Method(StrEnum):
    """How designs are drawn."""

    random = "random"
    sobol = "sobol"
    grid = "grid"


class Format(StrEnum):
    """What a data set is exported as."""

    csv = "csv"
    minari = "minari"


@app.command("build")
def build_(
    sources: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Studies, files of archgym search --out, data sets.")],
    out: Out,
    env: Annotated[str | None, typer.Option(help="Of a study with several tasks: a task's label, or an environment's id.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """One data set of everything that searches of one environment have measured.

    archgym dataset build results/quick --env "softmax 4K" --out data/softmax
    """
    from archgym.dataset import build

    _check_free(out, overwrite)
    _save(build(sources, env=env), out)


@app.command("sample")
def sample_(
    env: Annotated[str, typer.Argument(metavar="ENV", help="An environment's id.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Distinct designs.")],
    out: Out,
    method: Annotated[Method, typer.Option(help="How designs are drawn.")] = Method.random,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    set_: Settings = None,
    cache: Annotated[Path | None, typer.Option(metavar="FILE", help="Remember what was simulated: interrupted, go on from there.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Simulate designs drawn at random, by a Sobol sequence or evenly from the enumeration.

    archgym dataset sample archgym/DramController-v0 --n 20000 --method random --out data/dram
    """
    from archgym.dataset import sample
    from archgym.registry import get_task

    _check_free(out, overwrite)
    settings = pairs("--set", set_)
    with building(get_task(env), settings), progress_bar() as progress:
        data = sample(
            env,
            n,
            method=method.value,
            seed=seed,
            env_kwargs=settings,
            cache=cache,
            progress=progress,
        )
    if len(data) < n:
        say("note", f"the space has {len(data):,} designs, fewer than {n:,}: the data set holds all of them", "yellow")
    _save(data, out)


@app.command()
def show(folder: Folder) -> None:
    """What a data set holds; the whole data card is its README.md.

    archgym dataset show data/dram
    """
    from archgym.dataset import load_dataset

    _show(load_dataset(folder), folder)


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="PATH", help="The CSV file, or Minari's folder of data sets.")],
    format: Annotated[Format, typer.Option("--format", help="csv, or minari for offline reinforcement learning.")] = Format.csv,
    name: Annotated[str | None, typer.Option(help="Of a Minari data set: namespace/name-vN.")] = None,
) -> None:
    """Write a data set for other tools.

    archgym dataset export data/dram --format csv --out dram.csv
    """
    from archgym.dataset import load_dataset
    from archgym.dataset.export import to_csv, to_minari

    data = load_dataset(folder)
    if format is Format.csv:
        stdout().print(f"CSV       {to_csv(data, out)}, its schema beside it", soft_wrap=True)
        return
    written = to_minari(data, out, name)
    stdout().print(
        f"Minari    {written}: MINARI_DATASETS_PATH={out} python -c \"import minari; minari.load_dataset('{written}')\"", soft_wrap=True
    )


def _check_free(folder: Path, overwrite: bool) -> None:
    from archgym.dataset.files import FILE

    if folder.exists() and not folder.is_dir():
        raise ArchGymError(f"{folder} is not a folder: give another --out")
    if overwrite or not folder.exists() or not any(folder.iterdir()):
        return
    held = "a data set" if (folder / FILE).exists() else "other files"
    raise ArchGymError(f"{folder} holds {held}: give another --out" + (", or --overwrite" if held == "a data set" else ""))


def _save(data: Dataset, out: Path) -> None:
    from archgym.dataset import save_dataset

    save_dataset(data, out)
    _show(data, out)


def _show(data: Dataset, folder: Path) -> None:
    import numpy as np

    from archgym.task import EnvSpecification

    console = stdout()
    designs = data.distinct()
    env = EnvSpecification.from_dict(data.environment)
    heading(console, env.id, ", ".join(f"{k}={v}" for k, v in env.kwargs.items()))
    share = len(designs) / data.space.size
    facts = [
        ("Designs", f"{len(designs):,} of {data.space.size:,} ({share:.2%}), {designs.feasible.mean():.1%} feasible"),
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
            table.add_row(metric.name, metric.unit, *(number(float(q)) for q in np.quantile(column, [0, 0.5, 1])))
    console.print(table)
