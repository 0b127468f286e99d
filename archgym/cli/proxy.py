"""`archgym proxy`: train, show and report proxies."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archgym.cli.screen import fact_sheet, heading, new_table, say, stdout
from archgym.errors import ArchGymError
from archgym.progress import progress_bar

if TYPE_CHECKING:
    from archgym.proxy.speed import Speed
    from archgym.proxy.training import Trained

app = typer.Typer(no_args_is_help=True, help="Models that learn a simulator from a data set and stand in for it.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a proxy.")]


class Kind(StrEnum):
    """Models, each fitted by scikit-learn and computed with NumPy."""

    random_forest = "random_forest"
    hist_gradient_boosting = "hist_gradient_boosting"
    gaussian_process = "gaussian_process"
    linear = "linear"


@app.command("train")
def train_(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="The folder of a data set.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The proxy's folder.")],
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="METRIC", help="A metric to learn (repeatable).", show_default="all")
    ] = None,
    model: Annotated[Kind, typer.Option(help="A Gaussian process is for small data.")] = Kind.hist_gradient_boosting,
    designs: Annotated[int | None, typer.Option(min=1, help="Train on at most as many.", show_default="all but the test's")] = None,
    test: Annotated[float, typer.Option(help="Share of the designs that is kept for the test.")] = 0.2,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a proxy that lies there.")] = False,
) -> None:
    """Train a proxy on a data set, and say how far off it is on designs that it has not seen.

    archgym proxy train data/dram --target latency_s --model hist_gradient_boosting --out models/dram
    """
    from archgym.dataset import load_dataset
    from archgym.proxy import save_trained, train
    from archgym.proxy.simulator import FILE

    if out.exists() and any(out.iterdir()) and not (overwrite and (out / FILE).exists()):
        held = "a proxy" if (out / FILE).exists() else "other files"
        raise ArchGymError(f"{out} holds {held}: give another --out" + (", or --overwrite" if held == "a proxy" else ""))
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
    """What a proxy has learnt, and how far off it is; the whole card is its README.md.

    archgym proxy show models/dram
    """
    from archgym.proxy import load_trained

    _show(load_trained(folder), folder)


@app.command()
def report(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="An .html, .svg or .png file.", show_default="DIR/report.html")] = None,
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Time the proxy beside the simulator.")] = True,
) -> None:
    """Draw predictions, errors by parameter, learning curve, agents and intervals, and time the proxy beside its simulator.

    archgym proxy report models/dram
    """
    from archgym.files.charts import check_chart, write_chart
    from archgym.proxy import load_trained
    from archgym.proxy.charts import draw
    from archgym.proxy.speed import measure, simulator_of

    path = check_chart(out or folder / "report.html", "--out")
    trained = load_trained(folder)
    _show(trained, folder)
    found: list[Speed] = []
    if speed:
        try:
            simulator = simulator_of(trained.simulator)
            found = measure(trained.simulator, simulator)
            simulator.close()
        except ArchGymError as error:
            say("note", f"no speed-up is known: {error}", "yellow")
    if found:
        stdout().print()
        _show_speed(found)
    most = max(found, key=lambda each: each.ratio, default=None)
    line = f"{most.ratio:,.2g} times as fast as the simulator in batches of {most.batch:,}" if most is not None and most.ratio > 1 else ""
    write_chart(draw(trained, line), path)
    stdout().print(f"\nReport    {path}", soft_wrap=True)


def _show(trained: Trained, folder: Path) -> None:
    from archgym.task import EnvSpecification

    console, told = stdout(), trained.report
    designs = told["designs"]
    heading(console, f"A proxy of {EnvSpecification.from_dict(trained.simulator.environment).id}", told["model"])
    facts = [
        ("Trained on", f"{designs['train']:,} designs of {designs['space']:,} ({designs['train'] / designs['space']:.2%})"),
        ("Tested on", f"{designs['test']:,} designs that it has not seen"),
    ]
    if told["feasibility"]:
        facts.append(("Feasibility", f"right for {told['feasibility']['accuracy']:.2%} of these"))
    facts.append(("Folder", f"{folder}, its card in README.md"))
    console.print(fact_sheet(facts))
    console.print()
    table = new_table("Target", "RMSE>", "MAPE>", "R2>", "Spearman>", "Worst>", "Mean predictor>")
    for name, each in told["test"].items():
        shares = ("rmse_percent_of_range", "mape_percent", "worst_percent_of_range", "mean_predictor_rmse_percent_of_range")
        rmse, mape, worst, mean = ("-" if each[share] != each[share] else f"{each[share]:.3g} %" for share in shares)
        table.add_row(name, rmse, mape, f"{each['r2']:.5f}", f"{each['spearman']:.5f}", worst, mean)
    console.print(table)
    console.print("RMSE, worst error and the RMSE of predicting the mean in % of the metric's range", style="dim")


def _show_speed(found: list[Speed]) -> None:
    table = new_table("Batch>", "Proxy, designs/s>", "Simulator, designs/s>", "Ratio>")
    for each in found:
        table.add_row(f"{each.batch:,}", f"{1 / each.proxy_s:,.0f}", f"{1 / each.simulator_s:,.3g}", f"{each.ratio:,.3g}")
    stdout().print(table)
