"""What is printed: whole numbers at every width, nothing raw on a terminal, Ctrl-C from the first moment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import unicodedata
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import archgym
from archgym import Categorical, DesignSpace, Integer, Metric, Simulator
from archgym.cli import app
from archgym.cli.screen import fact_sheet, new_table, say, stdout
from archgym.cli.tables import Beside, Prose, wrapped
from archgym.files.charts import svg
from archgym.progress import progress_line
from archgym.registry import Finding
from archgym.words import number

SOFTMAX = "archgym/Softmax-v0"
HOSTILE = "a\x1b[2J\0\nb\u200f\u202ec\ufffe<script>alert(1)</script>"
WIDTHS = [*range(20, 90, 5), 120, 160, 200]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))


def shown(*renderables: object, width: int) -> str:
    from archgym.cli.terminal import Terminal

    console = Terminal()
    console.width = width
    with console.capture() as capture:
        for each in renderables:
            console.print(each)
    return capture.get()


def run(*arguments: object, **environment: str) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def raw(text: str) -> set[str]:
    """Characters that a terminal acts on, or that XML forbids."""
    return {
        c
        for c in text
        if c != "\n" and (unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") or c in "\ufffe\uffff")
    }


# --- whole or absent ---

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(number),
    st.integers(-(10**14), 10**14).map(lambda n: f"{n:,}"),
    st.floats(0, 100).map(lambda share: f"{share:.2f}"),
)


@given(st.data())
def test_numbers_and_names_are_whole_at_every_width(data):
    columns, rows = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    choices = st.sampled_from(["metric_of_a_very_long_name_with_over_forty_letters", "Reward", "Seconds"])
    headers = data.draw(st.lists(choices, min_size=columns, max_size=columns))
    names = data.draw(st.lists(st.text("abcdef_", min_size=1, max_size=50), min_size=rows, max_size=rows))
    units = ["", "GB/s"]
    table = new_table(
        "Agent", *(part for i, header in enumerate(headers) for part in (f"{header}{'xyzuvw'[i % 6]}>", ""))
    )
    known = set()
    for name in names:
        cells = data.draw(st.lists(NUMBERS, min_size=columns, max_size=columns))
        known |= set(cells)
        table.add_row(name, *(part for i, cell in enumerate(cells) for part in (cell, units[i % 2])))
    for width in WIDTHS:
        text = shown(table, width=width).partition("Left out")[0]
        assert set(re.findall(r"(?<!\S)-?[0-9]\S*", text)) <= known
        assert all(f"{name}" in text for name in names)
        assert any(cell in text.split() for cell in known), "a number is shown at every width"


@pytest.mark.parametrize("width", WIDTHS)
def test_facts_and_designs_keep_their_numbers_whole(width):
    facts = [
        ("Reward", "-0.745"),
        ("Samples", "1,234,567 (1,000 distinct); 0.0123 s, 98,765 per second"),
        ("A long name of a fact", "2.006e-05"),
    ]
    text = shown(fact_sheet(facts), width=width)
    assert {"-0.745", "1,234,567", "98,765", "2.006e-05", "0.0123"} <= set(re.split(r"[\s(]+", text))
    left, right = new_table("Best design", ""), new_table("Metric", "Value>", "")
    left.add_row("parameter_of_a_very_long_name_with_over_forty_letters", "16,384")
    right.add_row("memory_traffic_bytes", "1,099,511,627,776", "B")
    assert {"16,384", "1,099,511,627,776", "B"} <= set(shown(Beside(left, right), width=width).split())


def test_columns_are_left_out_in_the_order_declared_and_named():
    table = new_table("Agent", "Reward>", "Regret>", "Seconds>", expendable=["Regret"], elsewhere="--json")
    table.add_row("genetic", "0.896123", "0.745123", "12.345")
    assert "Left out" not in shown(table, width=80)
    text = shown(table, width=28)
    assert "0.896123" in text and "12.345" in text and "0.745123" not in text
    assert "Left out at 28 columns: Regret (shown by a wider terminal or --json)." in " ".join(text.split())
    facts = shown(table, width=14)
    assert [line.strip() for line in facts.splitlines()][2:] == [
        "genetic",
        "Reward:",
        "0.896123",
        "Regret:",
        "0.745123",
        "Seconds:",
        "12.345",
    ]


def test_prose_is_wrapped_between_words_at_its_own_indentation():
    assert shown(Prose("  a = b + 12345 c\nplain"), width=12) == "  a = b +\n  12345 c\nplain\n"
    assert wrapped("12,345,678,901", 5) == ["12,345,678,901"]
    assert wrapped("layer1.0.conv1/weights", 14, breakable=True) == ["layer1.0.", "  conv1/", "  weights"]


def test_a_progress_line_shows_whole_remarks():
    for width in range(5, 120, 3):
        text = shown(
            progress_line(0.5, ("1,234/5,678", "best reward 0.896", "99.5 samples/s"), width), width=width
        )
        assert set(re.findall(r"\d[\d.,/]*", text)) <= {"1,234/5,678", "0.896", "99.5"}


@pytest.mark.parametrize("width", [20, 32, 40, 52, 60, 68, 80, 120, 200])
def test_search_shows_whole_numbers_at_every_width(width):
    wide = run("search", SOFTMAX, "random", "genetic", "--budget", 20, COLUMNS="200")
    text = run("search", SOFTMAX, "random", "genetic", "--budget", 20, COLUMNS=str(width))
    pattern = r"(?<![\w.])-?\d[\d.,e-]*(?![\w.])"
    seconds = re.findall(r"(?:random|genetic) .* (\S+)$", wide, re.MULTILINE)
    seconds += re.findall(r"Seconds: (\S+)", text) + re.findall(
        r"(?:random|genetic) .* (\S+)$", text, re.MULTILINE
    )
    assert set(re.findall(pattern, text.replace("Left out at", ""))) - {str(width)} <= set(
        re.findall(pattern, wide)
    ) | set(seconds)
    assert "genetic" in text and "0.3061" in text and "1.499e-05" in text and "memory_traffic_bytes" in text


COMMANDS = (
    "list envs", f"describe {SOFTMAX}", "workloads", "workloads resnet18", "data list", "data show digits-0.5", "backends list",
    "calibrate --show xeon-2mb-l2", "fidelity accelerator", "fidelity attention", "study expand quick",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_whole_numbers(command):
    def numbers(width: int) -> set[str]:
        text = run(*command.split(), COLUMNS=str(width)).partition("ns per float32 that")
        rest = re.sub(r"Left out at \d+ columns:.*?\)\.", "", text[-1] or text[0], flags=re.DOTALL)
        return {
            word.strip("():,;") for word in rest.split() if re.fullmatch(r"\(?-?\d[\d.,e-]*[),:;]?", word)
        }

    known = numbers(200)
    for width in (24, 40, 60, 80):
        assert numbers(width) <= known, width


@pytest.mark.parametrize("columns", ["0", "-5", "abc", "", "²", "9" * 5000])
def test_columns_that_are_no_width_are_as_if_not_set(columns):
    text = run("list", "envs", COLUMNS=columns)
    assert SOFTMAX in text and max(map(len, text.splitlines())) <= 80
    assert "search" in run("--help", COLUMNS=columns)


# --- nothing raw ---


@given(st.text(), st.integers(1, 200))
def test_nothing_raw_is_printed(text, width):
    table = new_table("Name", f"{text}>", text, text)
    table.add_row(text, text, text, text)
    printed = shown(table, fact_sheet([(text, text)]), text, Prose(text), width=width)
    assert not raw(printed)


def test_errors_warnings_and_long_texts_are_lines_of_bounded_length(capsys):
    say("error", HOSTILE + "x" * 10**6, "red")
    printed = capsys.readouterr().err
    assert not raw(printed) and printed.count("\n") == 1 and len(printed) < 20_000
    stdout().print(HOSTILE, soft_wrap=True)
    assert not raw(capsys.readouterr().out)


@pytest.mark.parametrize(
    "words", [["--no\x1b]0;title\x07"], ["list", "--no\x1b[2J"], ["\x1b[2J"], ["list", "\u202e"]]
)
def test_wrong_command_lines_are_quoted_printably(words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and re.search(r"\\x1b|\\u202e", result.output) and not raw(result.output)


class Hostile(Simulator):
    """Whose every text is hostile."""

    space = DesignSpace([Integer("p" + HOSTILE, 0, 9), Categorical("q", ["v\x1b[2J", "x" * 10**5])])
    metrics = (Metric("m" + HOSTILE, "u" + HOSTILE), Metric("n"))

    def evaluate(self, designs, rng=None):
        import numpy as np

        p = designs["p" + HOSTILE]
        warnings.warn(HOSTILE, stacklevel=2)
        reason = np.where(p > 6, HOSTILE + "y" * 10_000, "")
        return {"m" + HOSTILE: 1.0 + p, "n": 10.0 - p, "feasible": p <= 6, "failure": reason}


@pytest.fixture
def hostile():
    archgym.register_env("hostile/Texts-v0", simulator=Hostile, objective={"minimize": ["m" + HOSTILE]})
    return "hostile/Texts-v0"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("width", ["30", "80"])
def test_texts_of_a_simulator_are_printed_printably(hostile, width):
    for command in (
        "describe {}",
        "search {} random --budget 30",
        "search {} random genetic --budget 9",
        "list envs",
    ):
        text = run(*command.format(hostile).split(), COLUMNS=width)
        assert not raw(text) and len(text) < 50_000


def test_doctor_prints_findings_printably(monkeypatch):
    found = [Finding("Plug-ins", HOSTILE, "broken", HOSTILE + "x" * 10**6, HOSTILE, HOSTILE)]
    monkeypatch.setattr("archgym.cli.doctor.run_checks", lambda dask, ray: found)
    for arguments in ([], ["--json"]):
        assert not raw(run("doctor", *arguments))


def test_names_of_entry_points_are_printed_printably(tmp_path):
    info = tmp_path / "hostile-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    groups = ("agents", "envs", "requirements", "commands", "findings")
    points = (
        f"[archgym.{group}]\nbad\x1b[2J\u202e<b>{group} = nowhere:x\nns/Bad\x1b[2J-v0 = nowhere:x\n"
        for group in groups
    )
    (info / "entry_points.txt").write_text("".join(points), encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    for command in ("list", "doctor", "--help"):
        program = [sys.executable, "-m", "archgym", command]
        result = subprocess.run(
            program, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        assert result.returncode == 0 and not raw(result.stdout) and not raw(result.stderr)


def test_charts_are_drawn_of_any_text():
    alt = pytest.importorskip("altair")
    rows = [{"agent": HOSTILE + "x" * 10**5, "reward": 1.0}]
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar()
        .encode(x="reward:Q", y="agent:N")
        .properties(title=HOSTILE)
    )
    drawing = svg(chart)
    assert not raw(drawing) and r"\x1b" in drawing


# --- the program ---


def started(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_python_m_archgym_is_the_program():
    with started("-m", "archgym", "--version") as process:
        assert process.communicate()[0].strip() == archgym.__version__ and process.returncode == 0


@pytest.mark.parametrize("module", ["numpy", "archgym._search", "archgym.cli", "rich.console"])
def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(module, tmp_path):
    """The signal comes when a given module is looked for, so that no clock decides."""
    finder = f"""
        import os, runpy, signal, sys

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    for _ in range(20):
                        os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Finder())
        sys.argv = ["archgym", "list"]
        sys.orig_argv = ["python", "-m", "archgym", "list"]
        runpy.run_module("archgym", run_name="__main__", alter_sys=False)
    """
    script = tmp_path / "archgym"
    script.write_text(textwrap.dedent(finder))
    with started(str(script)) as process:
        _, stderr = process.communicate()
    assert process.returncode == 130 and stderr == "interrupted\n"


@pytest.mark.parametrize(("times", "gap_s"), [(1, 0), (2, 0.2), (20, 0.01)])
def test_ctrl_c_any_number_of_times_keeps_what_was_found(times, gap_s, tmp_path):
    out = tmp_path / "history.parquet"
    seen = tmp_path / "seen"
    search = f"-m archgym search archgym/NKLandscape-v0 tpe --budget 1000000 --cache {seen} --out {out}"
    with started(*search.split()) as process:
        while not seen.exists():
            time.sleep(0.02)
        time.sleep(0.3)
        for _ in range(times):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                time.sleep(gap_s)
        stdout_, stderr = process.communicate()
    assert (
        process.returncode == 130
        and "Traceback" not in stderr
        and "interrupted after" in stdout_
        and out.exists()
    )


@pytest.mark.parametrize(
    ("place", "statement"),
    [
        # after which Python would end by the signal
        ("code that a library made from text", 'exec("os.kill(os.getpid(), signal.SIGINT)")'),
        ("a destructor", "Ignoring()"),
        ("an import", "import interrupts_imported; os.write(1, b'whole')"),  # an extension module may abort
    ],
)
def test_ctrl_c_ends_a_command_wherever_it_comes(place, statement, tmp_path):
    module = f"""
        import os, signal, time
        import archgym

        class Ignoring:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)

        class Interrupted(archgym.Simulator):
            space = archgym.DesignSpace([archgym.Integer("x", 0, 9)])
            metrics = (archgym.Metric("fitness", better="higher"),)

            def evaluate(self, designs, rng=None):
                {statement}
                time.sleep(1)
                return {{"fitness": designs["x"]}}

        archgym.register_env("interrupts/Here-v0", simulator=Interrupted, objective=archgym.Objective(archgym.Maximize("fitness")))
    """
    (tmp_path / "interrupts_here.py").write_text(textwrap.dedent(module))
    (tmp_path / "interrupts_imported.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    command = [
        sys.executable,
        "-m",
        "archgym",
        "search",
        "interrupts_here:interrupts/Here-v0",
        "random",
        "--budget",
        "500",
        "--num-envs",
        "1",
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    }
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert (
        result.returncode == 130
        and "interrupted" in result.stderr + result.stdout
        and "Traceback" not in result.stderr
    )
    assert (place == "an import") == ("whole" in result.stdout)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_printed_as_an_escape(encoding, tmp_path):
    study = '[study]\nname = "é文"\nbudget = 5\n[[env]]\nid = "archgym/NKLandscape-v0"\nlabel = "é文"\n[[agent]]\nname = "random"\n'
    (tmp_path / "study.toml").write_text(study, encoding="utf-8")
    command = [sys.executable, "-m", "archgym", "study", "expand", str(tmp_path / "study.toml")]
    result = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert result.returncode == 0 and "é文".encode(encoding, "backslashreplace") in result.stdout


def test_importing_archgym_leaves_ctrl_c_to_other_programs():
    code = "import signal, archgym; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_pipe_that_closes_ends_a_command_without_a_word():
    """As `archgym list | head -1` does."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "archgym", "list"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
