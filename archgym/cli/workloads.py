"""`archgym workloads`: the networks that accelerators are designed for, and their layers."""

from __future__ import annotations

from typing import Annotated

import typer

from archgym.cli.options import pairs
from archgym.cli.screen import fact_sheet, heading, new_table, stdout
from archgym.errors import ArchGymError, unknown
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.workloads import Workload, list_workloads, load_workload
from archgym.words import percent


def workloads(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|PATH]", help="Workload, or a .csv or .onnx file, to list the layers of."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="dimensions={...}",
            help='Sizes of an .onnx file\'s dynamic dimensions, such as {"batch": 1, "height": 224}.',
        ),
    ] = None,
) -> None:
    """List the networks that accelerators are designed for, or the layers of one.

    archgym workloads resnet18
    """
    settings = pairs("--set", set_)
    if other := settings.keys() - {"dimensions"}:
        raise unknown("setting of a workload", sorted(other)[0], ["dimensions"])
    if name is None:
        if settings:
            raise ArchGymError("--set dimensions={...} goes with the path of an .onnx file: name it")
        _print_all()
    else:
        _print_one(load_workload(name, **settings))


def _print_all() -> None:
    console = stdout()
    table = new_table(
        "Workload", "Title", "Layers>", "MACs, G>", "Parameters, M>", "Top-1>", expendable=["Layers", "Top-1"]
    )
    for workload in map(load_workload, list_workloads()):
        count = f"{sum(layer.repeats for layer in workload.layers):,}"
        parameters = f"{workload.parameters / 1e6:,.2f}" if workload.parameters else "-"
        table.add_row(
            workload.name,
            workload.title,
            count,
            f"{workload.macs / 1e9:,.2f}",
            parameters,
            _accuracy(workload),
        )
    console.print(table)
    console.print()
    explained = {
        "MACs": "multiply-adds",
        "Top-1": "accuracy on ImageNet, as published",
        "Layers": "archgym workloads NAME lists those of one, with its source",
    }
    console.print(fact_sheet(list(explained.items())))


def _print_one(workload: Workload) -> None:
    console = stdout()
    heading(console, workload.name, workload.title)
    table = new_table(
        "Layer/",
        "Kind",
        "Input>",
        "Weights>",
        "Output>",
        "Times>",
        "MACs>",
        "Share>",
        expendable=["Output", "Kind"],
    )
    for layer in workload.layers:
        share = percent(layer.macs / workload.macs)
        table.add_row(
            layer.name, layer.kind, *_shapes(layer), f"{layer.repeats:,}", _scaled(layer.macs), share
        )
    console.print(table)
    console.print()
    facts = {
        "Input": workload.input,
        "MACs": f"{workload.macs:,}",
        "Parameters": f"{workload.parameters:,}" if workload.parameters else "",
        "Top-1": f"{_accuracy(workload)} on ImageNet" if workload.accuracy is not None else "",
        "Source": workload.source,
        "Note": workload.note,
    }
    console.print(fact_sheet([(title, text) for title, text in facts.items() if text]))


def _accuracy(workload: Workload) -> str:
    return "-" if workload.accuracy is None else percent(workload.accuracy, 2)


def _scaled(count: int) -> str:
    """Three significant digits: "462 M"."""
    power = min((len(str(count)) - 1) // 3, 6)
    value = count / 1000**power
    places = 0 if not power or value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{places}f} {' kMGTPE'[power]}".rstrip()


def _shapes(layer: Layer) -> tuple[str, str, str]:
    """Shapes of the input, the weights (or a matmul's second operand) and the output; images are channels
    x height x width.
    """
    m, n, k = layer.shape
    if layer.kind == "conv":
        batch = (layer.batch,) if layer.batch > 1 else ()
        shapes: list[tuple[int, ...]] = [
            (*batch, layer.channels, layer.height, layer.width),
            (layer.filters, layer.channels // layer.groups, layer.kernel_h, layer.kernel_w),
            (*batch, layer.filters, layer.output_h, layer.output_w),
        ]
    else:
        groups = (layer.groups,) if layer.groups > 1 else ()
        shapes = [(*groups, m, k), (*groups, k, n), (*groups, m, n)]
    first, second, third = ("x".join(map(str, shape)) for shape in shapes)
    return first, second, third
