"""Theme of all charts, light and dark, and conversion of a chart to a page, an SVG or a PNG (Altair and
vl-convert).
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from archgym.errors import ArchGymError, MissingDependency
from archgym.files.paths import check_writable, write_atomically
from archgym.words import REASON, is_printable, one_line

if TYPE_CHECKING:
    from archgym.simulator import Metric

SUFFIXES = (".html", ".svg", ".png")
FONT = "Inter, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
GREY = "#8b929c"

ON_DARK = {
    "#1652dc": "#3d8bff", "#fb8900": "#fb9a2a", "#006f06": "#1f9d55", "#d90151": "#ff4d6d",
    "#894696": "#c25bd6", "#f487e3": "#fbc0f0", "#8d77fe": "#a79dff", "#41c37b": "#1fc8a0",
    "#0583c7": "#2fb0ea", "#b47a0a": "#d9b04a", "#d3666b": "#ff9a8c", "#c34bb1": "#e58bd0",
    "#b33911": "#e2713f", "#0cbaf6": "#6fd8f5", "#b50b76": "#f06aa8", "#039775": "#2cc79e",
}  # fmt: skip
"""Lighter variants of the charts' hues, for the dark theme of a page."""


def config(dark: bool = False) -> dict[str, Any]:
    """Vega-Lite's configuration of all charts, with the named styles of marks."""
    ink, soft, line, paper = (
        ("#e8eaed", "#a3abb8", "#333a45", "#171b21") if dark else ("#1b2027", "#5c6673", "#dfe3e8", "#ffffff")
    )
    return {
        "background": "transparent" if dark else "#ffffff",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": soft,
            "titleColor": soft,
            "titleFontWeight": "normal",
            "titleFontSize": 11,
            "labelFontSize": 11,
            "gridColor": line,
            "domainColor": line,
            "tickColor": line,
            "titlePadding": 8,
        },
        "legend": {
            "symbolBaseFillColor": soft,
            "symbolBaseStrokeColor": soft,
            "labelColor": ink,
            "titleColor": soft,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "labelLimit": 180,
        },
        "title": {
            "color": ink,
            "subtitleColor": soft,
            "anchor": "start",
            "fontSize": 13,
            "fontWeight": 600,
            "subtitleFontSize": 11,
            "limit": 420,
        },
        "mark": {"color": soft},
        "text": {"color": ink, "fontSize": 11},
        "rule": {"color": ink},
        "style": {
            "interval": {"stroke": ink, "strokeWidth": 1.5},
            "box": {"stroke": ink, "strokeWidth": 4, "strokeOpacity": 0.8, "strokeCap": "butt"},
            "median": {"color": ink, "stroke": paper, "strokeWidth": 1.5},
            "default": {"color": paper, "stroke": ink, "strokeWidth": 1.6},
            "paper": {"stroke": paper},
            "level": {"color": soft, "strokeDash": [2, 3]},
            "name": {"color": soft, "fontSize": 11},
            "diagonal": {"color": soft, "strokeWidth": 1, "strokeDash": [4, 3]},
        },
    }


def check_chart(path: Path, option: str = "--chart") -> Path:
    """Check that a chart can be drawn and written to a path, and return the path.

    Args:
        path: path of the chart.
        option: name of the command's option, for errors.

    Raises:
        ArchGymError: the suffix is not that of a chart, or the path cannot be written.
        MissingDependency: Altair or vl-convert is not installed; the message names the extra that brings it.
    """
    if path.suffix not in SUFFIXES:
        raise ArchGymError(
            f"{option} takes the name of a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file, not "
            f"{str(path)!r}"
        )
    require_drawing("a chart", "altair", "vl_convert")
    return check_writable(path)


def require_drawing(what: str, *modules: str) -> None:
    """Check that modules of the extra `report` are installed.

    Args:
        what: subject of the error, such as "a chart".
        modules: names of the modules.

    Raises:
        MissingDependency: the message names the first module that is missing and the extra that brings it.
    """
    for name in modules:
        try:
            import_module(name)
        except ImportError as error:
            raise MissingDependency(f"{what} needs {error.name}: pip install 'archgym[report]'") from error


def axis_title(metric: Metric) -> str:
    """A metric's name, with its unit if it has one."""
    return metric.name if metric.unit == "1" else f"{metric.name} ({metric.unit})"


def specification(chart: Any) -> dict[str, Any]:
    """The chart as Vega-Lite JSON with all its rows in `datasets`, not validated again after Altair's own
    checks.
    """
    import altair as alt

    with alt.data_transformers.enable("default", max_rows=None):
        spec: dict[str, Any] = chart.to_dict(validate=False)
    spec.pop("config", None)
    return dict(drawable(spec))


def drawable(value: Any) -> Any:
    """JSON with printable texts of bounded length, since characters that XML forbids crash the renderer.
    Markup is unchanged.
    """
    if isinstance(value, dict):
        return {drawable(key): drawable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [drawable(entry) for entry in value]
    if type(value) is str and not (len(value) <= REASON and is_printable(value)):
        return one_line(value)
    return value


def vega_lite() -> str:
    """The version of Vega-Lite: Altair's if vl-convert has it, else the newest of vl-convert."""
    import altair as alt
    import vl_convert

    known = [str(v) for v in vl_convert.get_vegalite_versions()]
    own = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return own if own in known else known[-1]


@cache
def vega_script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, safe inside a script element."""
    import vl_convert

    bundle = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite()))
    return re.sub(r"</(script)", r"<\\/\1", bundle, flags=re.IGNORECASE).replace("<!--", "<\\!--")


def svg(chart: Any) -> str:
    """The chart as SVG with the light configuration, drawn without a browser."""
    import vl_convert

    drawn = config() | {"aria": False}
    return str(
        vl_convert.vegalite_to_svg(
            specification(chart), vl_version=vega_lite(), config=drawn, allowed_base_urls=[]
        )
    )


def write_chart(chart: Any, path: Path) -> Path:
    """Write a chart in the format of the path's suffix: .svg, .png, or .html, which needs no network and
    follows the system's theme.

    Raises:
        ArchGymError: the path cannot be written.
    """
    import vl_convert

    if path.suffix == ".html":
        content = _page(chart).encode()
    elif path.suffix == ".svg":
        content = svg(chart).encode()
    else:
        png = vl_convert.vegalite_to_png(
            specification(chart), vl_version=vega_lite(), scale=2.0, config=config(), allowed_base_urls=[]
        )
        content = bytes(png)

    def write(file: BinaryIO) -> None:
        file.write(content)

    return write_atomically(path, write)


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'">
<title>archgym</title>
<style>
body {{ margin: 2rem; background: #fff; font-family: {font}; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #171b21; }} }}
</style>
<div id="chart"></div>
<script>{script}</script>
<script>
const light = {light}, dark = {dark}, onDark = {on_dark}, specification = {specification};
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
function draw() {{
  const shown = (c) => (prefersDark.matches && onDark[c]) || c;
  const text = JSON.stringify(specification).replace(/#[0-9a-f]{{6}}/g, shown);
  const config = prefersDark.matches ? dark : light;
  vegaEmbed("#chart", JSON.parse(text), {{config, actions: false, renderer: "svg"}});
}}
prefersDark.addEventListener("change", draw);
draw();
</script>
</html>
"""


def _page(chart: Any) -> str:
    """A page in one file, without network requests."""
    data = {
        "light": config(),
        "dark": config(dark=True),
        "on_dark": ON_DARK,
        "specification": specification(chart),
    }
    shown = {name: json.dumps(value).replace("<", "\\u003c") for name, value in data.items()}
    return _PAGE.format(font=FONT, script=vega_script(), **shown)
