"""The report: its files without a browser, then the page in a real headless Chromium (Debian's), opened
from disk.
"""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

pl = pytest.importorskip("polars")
pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from test_charts import FEW, HOSTILE, SCHEMAS, empty, fake  # noqa: E402

from archgym.errors import ArchGymError, MissingDependency  # noqa: E402
from archgym.lottery import report  # noqa: E402
from archgym.lottery.claims import Verdict  # noqa: E402
from archgym.lottery.report import agents_by_rank, write_report  # noqa: E402
from archgym.lottery.report.page import colour_of, pack_columns, script_safe_json  # noqa: E402
from archgym.lottery.report.sections import final_rows  # noqa: E402
from archgym.lottery.tables import TABLES  # noqa: E402
from archgym.lottery.words import Conclusion  # noqa: E402

PROVENANCE = {"study": "studies/test.toml", HOSTILE: HOSTILE}


def hostile() -> SimpleNamespace:
    """A study whose task, agent, hyperparameter, note, family, claims and conclusions are named by an
    attacker.
    """
    analysis = SimpleNamespace(**vars(FEW))
    evil = pl.lit(HOSTILE)
    analysis.tasks = FEW.tasks.with_columns(
        note=pl.concat_str(evil, pl.lit(" is why 3 runs failed")), env=evil
    )
    analysis.hypotheses = FEW.hypotheses.with_columns(evidence=evil, statement=evil)
    analysis.comparisons = pl.concat([FEW.comparisons, FEW.comparisons.with_columns(family=evil)])
    analysis.sentences = [
        Conclusion("", f"In general {HOSTILE}"),
        Conclusion("Softmax", f"{HOSTILE} wins"),
        Conclusion(HOSTILE, f"{HOSTILE} loses"),
    ]
    return analysis


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the hostile study."""
    return write_report(
        hostile(),
        tmp_path_factory.mktemp("report") / "new",
        title=f"A study {HOSTILE}",
        provenance=PROVENANCE,
    )  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------
# files


def test_tables_are_the_frames(written: Path) -> None:
    analysis = hostile()
    for name in TABLES:
        frame = getattr(analysis, name)
        read = pl.read_csv(written.parent / "tables" / f"{name}.csv", schema=frame.schema)
        assert read.equals(frame), name


def test_each_figure_is_a_drawing_and_a_pdf(written: Path) -> None:
    drawings = sorted((written.parent / "figures").glob("*.svg"))
    kinds = (
        "lottery-map distributions winning-tickets curves-samples curves-seconds samples-to-target tuning "
        "importance variance"
    )
    for kind in [*kinds.split(), "comparisons", "effort"]:
        assert any(path.name.startswith(kind) for path in drawings), kind
    for path in drawings:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF-")


def test_the_page_links_to_files_that_are_there(written: Path) -> None:
    links = set(re.findall(r'href="((?:figures|tables)/[^"]+)"', written.read_text(encoding="utf-8")))
    assert len(links) > 30
    assert all((written.parent / link).is_file() for link in links)
    assert {f"tables/{name}.csv" for name in TABLES} <= links


def test_the_page_is_one_file_that_loads_nothing(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    assert len(page) < 2e6
    outside_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=\"?(?:https?:)?//|url\(|@import|<link|<img|<iframe", outside_scripts)
    assert "default-src 'none'" in page


def test_data_cannot_end_its_script_element(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert page.count("<script") == page.count("</script>") == 3
    data = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert HOSTILE in json.loads(data)["agents"]
    for text in ("</script>", "<!--", "<script", "]]>", "\u2028\u2029", "&amp;", 'quo"te', "\\"):
        encoded = script_safe_json({text: [text]})
        assert json.loads(encoded) == {text: [text]} and not set(encoded) & set("<>&\u2028\u2029")


def test_rows_are_packed_without_loss_but_for_digits() -> None:
    rows = [
        {"a": "x", "n": 0.123456789, "i": 7, "b": True},
        {"a": None, "n": None, "i": None, "b": False},
        {"a": "x", "n": float("nan"), "i": 1, "b": None},
    ]
    packed = pack_columns(rows)
    assert packed["rows"] == 3
    text = packed["columns"]["a"]
    assert [text["levels"][code] for code in text["codes"]] == ["x", None, "x"]
    assert packed["columns"]["n"] == [0.123457, None, None]
    assert packed["columns"]["i"] == [7, None, 1] and packed["columns"]["b"] == [True, False, None]
    assert pack_columns([]) == {"rows": 0, "columns": {}}


def test_agents_are_listed_by_their_mean_rank_over_tasks() -> None:
    rows = [
        ("t", "b", 10, 0.9),
        ("t", "a", 10, 0.8),
        ("t", "c", 10, None),
        ("u", "b", 10, 0.9),
        ("u", "a", 10, 0.1),
        ("t", "a", 5, 0.99),
    ]
    frame = pl.DataFrame(rows, schema=["task", "agent", "samples", "q50"], orient="row")
    analysis = empty()
    analysis.distribution = pl.concat([analysis.distribution, frame], how="diagonal")
    assert agents_by_rank(analysis) == ["b", "a", "c"]


@pytest.mark.parametrize("hidden", ["tasks", "distribution", "runs and configurations", "all numbers"])
def test_partial_analyses_are_reported(tmp_path: Path, hidden: str) -> None:
    small = fake(("one",), ("alone",), configurations=1, seeds=1)
    if hidden == "all numbers":
        for name, schema in SCHEMAS.items():
            gone = [
                pl.lit(None, dtype=kind).alias(c)
                for c, kind in schema.items()
                if kind in (pl.Float64, pl.Boolean)
            ]
            setattr(small, name, getattr(small, name).with_columns(gone))
    else:
        for name in hidden.split(" and "):
            setattr(small, name, getattr(small, name).clear())
    page = write_report(small, tmp_path, title="Partial", provenance={}).read_text(encoding="utf-8")
    assert "alone" in page and 'value="one"' in page


def test_an_analysis_of_nothing_is_reported(tmp_path: Path) -> None:
    page = write_report(empty(), tmp_path, title="Nothing", provenance={}).read_text(encoding="utf-8")
    assert page.count("This study has no data for this part.") == 10
    assert "supports no conclusion" in page
    assert not list((tmp_path / "figures").iterdir()) and len(list((tmp_path / "tables").iterdir())) == len(
        TABLES
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two tasks, of 1,000 and of 300 samples."""
    import synthetic

    from archgym.lottery.analysis import analyse

    agents = ("random", "genetic")
    long, short = (
        synthetic.tasks(1, agents, configurations=8, seeds=3, budget=budget)[0] for budget in (1000, 300)
    )
    found = analyse([long, replace(short, task="short")], replicates=50)
    return write_report(found, tmp_path_factory.mktemp("mixed"), title="Mixed", provenance={})


def test_figures_show_each_task_at_its_own_budget(mixed: Path) -> None:
    for name in ("winning-tickets", "variance", "tuning", "lottery-map"):
        drawing = (mixed.parent / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert ">task 1<" in drawing and ">short<" in drawing
    assert ">full<" in drawing  # in the map of all tasks


def test_where_budgets_differ_the_final_numbers_are_those_that_all_agents_reached() -> None:
    rows = [("t", "a", 10), ("t", "a", 20), ("t", "b", 10), ("t", "b", 20), ("t", "b", 50), ("u", "a", 5)]
    frame = pl.DataFrame(rows, schema=["task", "agent", "samples"], orient="row")
    assert final_rows(frame).rows() == [("t", "a", 20), ("t", "b", 20), ("u", "a", 5)]


def test_the_statistics_of_a_study_are_reported(tmp_path: Path) -> None:
    analysis = pytest.importorskip("archgym.lottery.analysis")
    tasks = pytest.importorskip("synthetic").tasks(
        1, ("random", "genetic"), configurations=12, seeds=3, budget=100
    )
    found = analysis.analyse(tasks, replicates=50)
    page = write_report(found, tmp_path, title="Synthetic", provenance={}).read_text(encoding="utf-8")
    assert "This study has no data for this part." not in page


def test_tables_are_no_formulas_and_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    analysis, folder, outside = empty(), tmp_path / "report", tmp_path / "outside"
    analysis.hypotheses = pl.DataFrame(
        [{name: "=1+1" for name, kind in SCHEMAS["hypotheses"].items() if kind == pl.String}]
    )
    analysis.hypotheses = pl.concat([empty().hypotheses, analysis.hypotheses], how="diagonal")
    outside.mkdir()
    (outside / "precious").write_text("precious")
    (folder / "tables").mkdir(parents=True)
    for name in ("report.html", "tables/hypotheses.csv", "tables/runs.csv"):
        (folder / name).symlink_to(outside / "precious")
    write_report(analysis, folder, title="", provenance={})  # type: ignore[arg-type]
    lines = (folder / "tables" / "hypotheses.csv").read_text().splitlines()
    assert "'=1+1" in lines[1] and '"=1+1' not in lines[1] and ",=1+1" not in lines[1]
    shutil.rmtree(folder / "figures")
    (folder / "figures").symlink_to(outside)
    with pytest.raises(
        ArchGymError, match="figures is a link, where archgym keeps a folder of its own: remove it"
    ):
        write_report(analysis, folder, title="", provenance={})  # type: ignore[arg-type]
    assert (outside / "precious").read_text() == "precious" and len(list(outside.iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArchGymError, match="cannot make the folder"):
        write_report(empty(), tmp_path / "file", title="", provenance={})


def test_without_the_extra_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingDependency("archgym[report]")

    monkeypatch.setattr(report, "require", missing)
    with pytest.raises(MissingDependency):
        write_report(empty(), tmp_path / "new", title="", provenance={})
    assert not (tmp_path / "new").exists()


def test_every_verdict_has_its_colour() -> None:
    colours = {
        "supported": "yes",
        "contradicted": "no",
        "not resolved": "open",
        "no conclusion: saturated": "open",
    }
    assert {str(verdict): colour_of(verdict) for verdict in Verdict} == colours
    assert {verdict: colour_of(verdict) for verdict in colours} == colours and colour_of("?") == "open"


def test_conclusions_are_listed_under_their_task(written: Path) -> None:
    page = html.unescape(written.read_text(encoding="utf-8"))
    listed = page.split('<section id="conclusions">')[1].split("</section>")[0]
    assert (
        listed.index(f"In general {HOSTILE}")
        < listed.index("<h3>Softmax</h3>")
        < listed.index(f"<li>{HOSTILE} wins</li>")
    )
    assert listed.index(f"<h3>{HOSTILE}</h3>") < listed.index(f"<li>{HOSTILE} loses</li>")


# ----------------------------------------------------------------------------------------------------
# browser

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=executable, args=FLAGS.split())
        yield chromium
        chromium.close()


class Opened:
    """A page and what went wrong in it."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.settle()

    def settle(self) -> None:
        """Wait until all charts are as the filters want them."""
        self.page.wait_for_function("document.documentElement.dataset.drawn === 'yes'", timeout=30_000)

    def marks(self, section: str) -> int:
        """Marks drawn in the visible charts of a section."""
        selector = f"#{section} figure.panel:not([hidden]) svg .role-mark > *"
        return int(self.page.evaluate("selector => document.querySelectorAll(selector).length", selector))

    def text(self, selector: str) -> str:
        """The visible text of all elements that a selector finds."""
        return "\n".join(e.inner_text() for e in self.page.query_selector_all(selector) if e.is_visible())

    def drawn(self, section: str) -> str:
        """The text in the visible charts of a section."""
        script = "s => [...document.querySelectorAll(s)].map(e => e.textContent).join('\\n')"
        return str(self.page.evaluate(script, f"#{section} figure.panel:not([hidden]) svg text"))

    def toggle(self, kind: str, name: str) -> None:
        """Click a check box of the filter bar."""
        boxes = self.page.query_selector_all(f"#filters input[name={kind}]")
        next(box for box in boxes if box.get_attribute("value") == name).evaluate("box => box.click()")
        self.settle()


SECTIONS = (
    "map",
    "distributions",
    "tickets",
    "curves",
    "targets",
    "tuning",
    "importance",
    "variance",
    "comparisons",
    "effort",
)


@pytest.fixture(scope="module")
def shared(browser: Any, written: Path) -> Iterator[Opened]:
    """One page for the tests that leave it as it was."""
    opened = Opened(browser, written)
    yield opened
    opened.context.close()


def test_all_charts_are_drawn_without_errors_and_without_the_network(shared: Opened, written: Path) -> None:
    for section in SECTIONS:
        assert shared.marks(section) > 3, section
    undrawn = (
        "[...document.querySelectorAll('figure.panel:not([hidden]) .chart')].filter(e => "
        "!e.querySelector('svg')).length"
    )
    assert shared.page.evaluate(undrawn) == 0
    assert shared.errors == []
    assert shared.requests == [written.as_uri()]


def test_names_are_inert_and_shown_as_they_are(shared: Opened) -> None:
    assert shared.page.evaluate("window.pwned") is None
    assert (
        shared.page.evaluate(
            "document.querySelectorAll('main script, #filters script, header script').length"
        )
        == 0
    )
    places = (
        "h1 | #filters | .provenance | #conclusions | .claims | #distributions figcaption | #importance "
        "figcaption | #targets table"
    )
    for selector in [*places.split(" | "), "#study table", "#comparisons .choices"]:
        assert HOSTILE.lower() in shared.text(selector).lower(), selector
    assert shared.page.title() == f"A study {HOSTILE}"


def test_tool_tips_show_names_as_they_are(shared: Opened) -> None:
    figure = next(
        f for f in shared.page.query_selector_all("#distributions figure.panel") if HOSTILE in f.inner_text()
    )
    figure.scroll_into_view_if_needed()
    point = next(
        m
        for m in figure.query_selector_all(".mark-symbol path")
        if HOSTILE in (m.get_attribute("aria-label") or "")
    )
    point.dispatch_event("pointermove", {"bubbles": True})
    box = point.bounding_box()
    shared.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = shared.page.wait_for_selector("#vg-tooltip-element.visible")
    assert HOSTILE in tip.inner_text()
    assert tip.query_selector("script") is None and shared.page.evaluate("window.pwned") is None
    shared.page.mouse.move(0, 0)


def test_charts_have_names_for_those_who_cannot_see_them(shared: Opened) -> None:
    labels = shared.page.evaluate(
        "[...document.querySelectorAll('figure.panel:not([hidden]) .chart')].map(e => "
        "e.getAttribute('aria-label'))"
    )
    assert all(labels) and len(set(labels)) == len(labels)
    levels = shared.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_filter_of_agents_changes_every_chart_and_table(shared: Opened) -> None:
    before = {section: shared.marks(section) for section in SECTIONS}
    rows = len(shared.page.query_selector_all("#targets tbody tr:not([hidden])"))
    assert "genetic" in shared.drawn("distributions")
    shared.toggle("agents", "genetic")
    for section in SECTIONS:
        assert shared.marks(section) < before[section] or section == "map", section
        assert "genetic" not in shared.drawn(section), section
    assert len(shared.page.query_selector_all("#targets tbody tr:not([hidden])")) == rows * 3 // 4
    assert "3 of 4 agents" in shared.page.inner_text("#shown")
    shared.toggle("agents", "genetic")
    assert {section: shared.marks(section) for section in SECTIONS} == before
    assert shared.errors == []


def test_the_filter_of_environments_changes_every_chart_and_table(shared: Opened) -> None:
    before = {section: shared.marks(section) for section in SECTIONS}
    shared.toggle("tasks", "Softmax")
    for section in SECTIONS:
        if section != "effort":  # one bar for each agent, however many tasks
            assert shared.marks(section) < before[section], section
    assert "Softmax" not in shared.text("main h3, main td, main th, .verdicts") + shared.drawn("importance")
    shared.toggle("tasks", "Softmax")
    assert {section: shared.marks(section) for section in SECTIONS} == before


def test_hours_are_summed_over_the_environments_shown(shared: Opened) -> None:
    before = shared.drawn("effort")
    shared.toggle("tasks", "Softmax")
    assert shared.drawn("effort") != before
    shared.toggle("tasks", "Softmax")
    assert shared.drawn("effort") == before


def test_nothing_selected_is_said_and_all_brings_it_back(shared: Opened) -> None:
    before = shared.marks("distributions")
    shared.page.click("#filters fieldset[data-kind=agents] [data-set=none]")
    shared.settle()
    assert shared.marks("distributions") == 0 and "Nothing is selected" in shared.text(
        "#distributions .empty"
    )
    shared.page.click("#filters fieldset[data-kind=agents] [data-set=all]")
    shared.settle()
    assert shared.marks("distributions") == before and shared.text("#distributions .empty") == ""
    assert shared.errors == []


def test_choices_change_what_a_section_shows(shared: Opened) -> None:
    def choose(section: str, column: str, value: str) -> None:
        shared.page.evaluate(
            "s => document.querySelector(s).click()",
            f'[data-section={section}][data-column={column}][value="{value}"]',
        )
        shared.settle()

    assert "wall time" not in shared.drawn("curves")
    choose("curves", "axis", "seconds")
    assert "wall time" in shared.drawn("curves")
    choose("curves", "axis", "samples")
    ends = "document.querySelector('#tickets figure.panel svg .mark-rule').innerHTML"
    before = shared.page.evaluate(ends)
    choose("tickets", "samples", "10")
    assert shared.page.evaluate(ends) != before
    choose("tickets", "samples", "1000")
    assert shared.page.evaluate(ends) == before


def test_a_reader_sees_each_task_at_its_own_budget(browser: Any, mixed: Path) -> None:
    opened = Opened(browser, mixed)
    bars = (
        "s => [...document.querySelectorAll(s)].map(e => e.querySelectorAll('svg g.mark-rect path').length)"
    )
    chosen = "s => [...document.querySelectorAll(s)].filter(e => e.checked).map(e => e.value)"
    for section in ("tickets", "variance"):
        assert opened.page.evaluate(chosen, f"[data-section={section}][data-column=samples]") == ["full"]
    assert opened.page.evaluate(bars, "#tickets figure.panel") == [4, 4]  # 2 agents, within 1 % and 5 %
    assert not opened.errors
    opened.context.close()


def brightness(opened: Opened, selector: str, what: str) -> float:
    """Mean of red, green and blue of a colour as the browser computes it."""
    colour = opened.page.evaluate(
        "([s, w]) => getComputedStyle(document.querySelector(s))[w]", [selector, what]
    )
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_and_its_charts_follow_the_colour_scheme_and_its_button(
    browser: Any, written: Path, scheme: str
) -> None:
    opened = Opened(browser, written, color_scheme=scheme)
    label = "#distributions svg .role-axis-label text"
    for dark in (scheme == "dark", scheme != "dark"):
        assert (brightness(opened, "body", "backgroundColor") < 128) is dark
        assert (brightness(opened, label, "fill") > 128) is dark
        opened.page.click("#theme")
        opened.settle()
    assert opened.errors == []
    opened.context.close()


def test_a_phone_scrolls_downwards_only(browser: Any, written: Path) -> None:
    opened = Opened(browser, written, viewport={"width": 390, "height": 844}, device_scale_factor=2)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    widths = opened.page.evaluate(
        "[...document.querySelectorAll('figure.panel:not([hidden]) .chart svg')].map(e => "
        "e.getBoundingClientRect().width)"
    )
    assert widths and max(widths) <= 390
    assert opened.page.evaluate("document.querySelector('#filters').offsetHeight") < 844 / 4
    opened.context.close()


def test_an_empty_page_opens(browser: Any, tmp_path: Path) -> None:
    opened = Opened(browser, write_report(empty(), tmp_path, title="Nothing", provenance={}))
    assert opened.errors == [] and "no data" in opened.text("main")
    opened.context.close()
