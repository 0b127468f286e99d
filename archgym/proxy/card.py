"""The card of a proxy: its report as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from archgym.task import EnvSpecification
from archgym.words import markdown_table

COLUMNS = {
    "rmse_percent_of_range": "RMSE, % of range",
    "rmse_percent_of_mean": "RMSE, % of mean",
    "mape_percent": "MAPE, %",
    "r2": "R2",
    "spearman": "Spearman",
    "worst_percent_of_range": "worst, % of range",
    "mean_predictor_rmse_percent_of_range": "mean predictor's RMSE, % of range",
}


def card(report: Mapping[str, Any]) -> str:
    """The card, as Markdown."""
    designs, env = report["designs"], EnvSpecification.from_dict(report["environment"])
    trained = f"{designs['train']:,} of {designs['space']:,} ({designs['train'] / designs['space']:.3%})"
    facts = {
        "environment": f"`{env.id}` with `{json.dumps(env.kwargs)}`",
        "simulator": f"`{json.dumps(env.simulator)}`",
        "model": f"`{report['model']}`, seed {report['seed']}",
        "archgym": report["archgym"],
        "designs trained on": trained,
        "designs tested on": f"{designs['test']:,}, distinct from the training designs",
    }
    sections = [
        f"# A proxy of {env.id}",
        markdown_table(["", ""], [[name, text] for name, text in facts.items()]),
        "Data: " + "; ".join(report["sources"]),
        "## Errors on unseen designs",
        errors(report["test"]),
        f"Cross-validated on the training designs, {report['folds']} folds:",
        errors(report["cross_validated"]),
    ]
    logs = [name for name, target in report["targets"].items() if target["log"]]
    if logs:
        sections.append(
            "Learnt as logarithms, since they span at least a decade: "
            f"{', '.join(f'`{name}`' for name in logs)}."
        )
    if report["feasibility"]:
        found = report["feasibility"]
        sections.append(
            f"Feasibility is predicted correctly for {found['accuracy']:.2%} of the test designs; "
            f"{found['wrongly_feasible']:.2%} are wrongly feasible, {found['wrongly_infeasible']:.2%} "
            "wrongly infeasible."
        )
    sections += ["## Learning curve\nRMSE on the test designs, % of range.", _curve(report)]
    if report["agents"]:
        n = report["agents"]["designs"]
        sections += [
            "## Generalisation between agents\nRMSE, % of range, averaged over targets; rows: agent of the "
            f"{n:,} training designs; columns: agent of the unseen test designs.",
            _agents(report["agents"]["errors"]),
        ]
    sections += [
        "## Intervals\nShare of the test designs within the interval of each level.",
        _coverage(report["coverage"]),
    ]
    sections.append(
        "## Use\n```python\nfrom archgym.proxy import ProxySimulator\n\n"
        'model = ProxySimulator.load("DIR")\n```'
    )
    return "\n\n".join(sections) + "\n"


def errors(found: Mapping[str, Mapping[str, float]]) -> str:
    """A table of the errors of each target."""
    rows = [[f"`{name}`", *(_figure(each[column]) for column in COLUMNS)] for name, each in found.items()]
    return markdown_table(["target", *COLUMNS.values()], rows)


def _curve(report: Mapping[str, Any]) -> str:
    names = list(report["targets"])
    rows = [
        [
            f"{point['designs']:,}",
            *(_figure(point["errors"][name]["rmse_percent_of_range"]) for name in names),
        ]
        for point in report["learning_curve"]
    ]
    return markdown_table(["designs", *(f"`{name}`" for name in names)], rows)


def _agents(found: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(next(iter(found.values())))
    return markdown_table(
        ["trained on", *columns],
        [[agent, *(_figure(each[name]) for name in columns)] for agent, each in found.items()],
    )


def _coverage(found: Mapping[str, Mapping[str, float]]) -> str:
    levels = list(next(iter(found.values())))
    rows = [[f"`{name}`", *(f"{share:.1%}" for share in each.values())] for name, each in found.items()]
    return markdown_table(["target", *(f"{float(level):.0%}" for level in levels)], rows)


def _figure(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4g}"
