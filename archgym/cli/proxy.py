"""`archgym proxy`: train, show and report proxies."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archgym.cli.options import check_folder_free
from archgym.cli.screen import fact_sheet, heading, new_table, print_to_copy, say, stdout
from archgym.errors import ArchGymError
from archgym.progress import progress_bar
from archgym.words import percent

if TYPE_CHECKING:
    from archgym.proxy.speed import Speed
    from archgym.proxy.training import Trained

app = typer.Typer(
    no_args_is_help=True, help="Models of a simulator, trained on a data set, that replace it in a search."
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a proxy.")]


class Kind(StrEnum):
    """Models, each fitted by scikit-learn and computed with NumPy."""

    random_forest = "random_forest"
    hist_gradient_boosting = "hist_gradient_boosting"
    gaussian_process = "gaussian_process"
    linear = "linear"


@app.command("train")
def train_(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the proxy.")],
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", metavar="METRIC", help="Metric to predict (repeatable).", show_default="all"
        ),
    ] = None,
    model: Annotated[
        Kind, typer.Option(help="Kind of model; a Gaussian process is for small data.")
    ] = Kind.hist_gradient_boosting,
    designs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Use at most this many designs for training.", show_default="all but the test's"
        ),
    ] = None,
    test: Annotated[float, typer.Option(help="Share of the designs that is held out for the test.")] = 0.2,
    folds: Annotated[int, typer.Option(min=2, help="Number of cross-validation folds.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed for the train-test split and the model.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing proxy.")] = False,
) -> None:
    """Train a proxy on a data set, and measure its errors on designs that it has not seen.

    archgym proxy train data/dram --target latency_s --model hist_gradient_boosting --out models/dram
    """
    from archgym.dataset import load_dataset
    from archgym.proxy import save_trained, train
    from archgym.proxy.simulator import FILE

    check_folder_free(out, FILE, "a proxy", overwrite)
    data = load_dataset(dataset)
    with progress_bar() as progress:
        trained = train(
            data,
            target,
            model.value,
            train_size=designs,
            test_size=test,
            folds=folds,
            seed=seed,
            progress=progress,
        )
    save_trained(trained, out)
    _show(trained, out)


@app.command()
def show(folder: Folder) -> None:
    """Show a proxy's targets and errors; the whole model card is its README.md.

    archgym proxy show models/dram
    """
    from archgym.proxy import load_trained

    _show(load_trained(folder), folder)


@app.command()
def report(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Chart to write: a .html, .svg or .png file.", show_default="DIR/report.html"
        ),
    ] = None,
    speed: Annotated[
        bool, typer.Option("--speed/--no-speed", help="Measure the speed of the proxy and of its simulator.")
    ] = True,
) -> None:
    """Draw predictions, errors by parameter, learning curve, agents and intervals, and compare the proxy's
    speed with its simulator's.

    archgym proxy report models/dram
    """
    from archgym.files.charts import check_chart, write_chart
    from archgym.proxy import load_trained
    from archgym.proxy.speed import measure, simulator_of

    path = check_chart(out or folder / "report.html", "--out")
    from archgym.proxy.charts import draw  # imports Altair, hence after the check

    trained = load_trained(folder)
    _show(trained, folder)
    found: list[Speed] = []
    if speed:
        try:
            simulator = simulator_of(trained.simulator)
            found = measure(trained.simulator, simulator)
            simulator.close()
        except ArchGymError as error:
            say("note", f"the speed-up is not known: {error}", "yellow")
    if found:
        stdout().print()
        _show_speed(found)
    most = max(found, key=lambda each: each.ratio, default=None)
    line = (
        f"{most.ratio:,.2g} times as fast as the simulator in batches of {most.batch:,}"
        if most is not None and most.ratio > 1
        else ""
    )
    write_chart(draw(trained, line), path)
    stdout().print()
    print_to_copy("Report", str(path))


def _show(trained: Trained, folder: Path) -> None:

    console, report = stdout(), trained.report
    designs = report["designs"]
    heading(console, f"A proxy of {trained.simulator.env.id}", report["model"])
    facts = [
        (
            "Trained on",
            f"{designs['train']:,} designs of {designs['space']:,} "
            f"({percent(designs['train'] / designs['space'], 2)})",
        ),
        ("Tested on", f"{designs['test']:,} designs that it has not seen"),
    ]
    if report["feasibility"]:
        facts.append(("Feasibility", f"right for {percent(report['feasibility']['accuracy'], 2)} of these"))
    facts.append(("Folder", f"{folder}, its card in README.md"))
    console.print(fact_sheet(facts))
    console.print()
    table = new_table("Target", "RMSE>", "MAPE>", "R2>", "Spearman>", "Worst>", "Mean predictor>")
    for name, each in report["test"].items():
        shares = (
            "rmse_percent_of_range",
            "mape_percent",
            "worst_percent_of_range",
            "mean_predictor_rmse_percent_of_range",
        )
        rmse, mape, worst, mean = (
            "-" if each[share] != each[share] else f"{each[share]:.3g} %" for share in shares
        )
        table.add_row(name, rmse, mape, f"{each['r2']:.5f}", f"{each['spearman']:.5f}", worst, mean)
    console.print(table)
    console.print(
        "RMSE, worst error and the RMSE of predicting the mean in % of the metric's range", style="dim"
    )


def _show_speed(found: list[Speed]) -> None:
    table = new_table("Batch>", "Proxy, designs/s>", "Simulator, designs/s>", "Ratio>")
    for each in found:
        table.add_row(
            f"{each.batch:,}",
            f"{1 / each.proxy_s:,.0f}",
            f"{1 / each.simulator_s:,.3g}",
            f"{each.ratio:,.3g}",
        )
    stdout().print(table)
