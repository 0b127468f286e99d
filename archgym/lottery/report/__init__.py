"""The report: one HTML page that opens offline, its figures and its tables. Importing it does not import
the extra that it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from archgym.files.charts import require_drawing

if TYPE_CHECKING:
    from archgym.lottery.analysis import Analysis

__all__ = ["agents_by_rank", "require", "write_report"]


def require() -> None:
    """Check that everything the report needs is installed.

    Raises:
        MissingDependency: the message names the extra that brings it.
    """
    require_drawing("the report", "altair", "jinja2", "polars", "vl_convert")


def write_report(analysis: Analysis, folder: Path, *, title: str, provenance: Mapping[str, str]) -> Path:
    """Write `report.html`, `figures/*.svg`, `figures/*.pdf` and `tables/*.csv` into a folder.

    Args:
        analysis: the analysis to report.
        folder: folder of the report, created if needed; files of an earlier report are replaced, each
            atomically.
        title: heading of the page.
        provenance: where the numbers come from (study, version, machine, date, ...), in the order in which it
            is listed.

    Returns:
        The path of report.html.

    Raises:
        MissingDependency: altair, vl-convert-python, jinja2 or polars is not installed.
        ArchGymError: the folder cannot be written.
    """
    require()
    from archgym.lottery.report.page import write

    return write(analysis, Path(folder), title, provenance)


def agents_by_rank(analysis: Analysis) -> list[str]:
    """All agents of the study, the best first: by the mean over tasks of the rank of the median at the
    largest number of samples.
    """
    from archgym.lottery.report.sections import ranked_agents

    return ranked_agents(analysis)
