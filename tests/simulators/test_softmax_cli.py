"""`archgym calibrate` and `archgym fidelity`: what they write and say, and what they refuse before
anything is measured.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from archgym import progress
from archgym.cli import app
from archgym.cli import calibrate as softmax_cli
from archgym.cli import fidelity_softmax as fidelity_cli
from archgym.simulators.compiler import CompilerError
from archgym.simulators.softmax import Calibration, SoftmaxCostModel
from archgym.simulators.softmax.calibration import RECORDED
from archgym.simulators.softmax.fitting import calibrate as calibrating
from archgym.simulators.softmax.fitting import sample
from archgym.simulators.softmax.machine import kernels, probing
from archgym.simulators.softmax.machine.cpu import processors
from archgym.simulators.softmax.machine.kernels import kernel_compiler
from archgym.simulators.softmax.terms import DEFAULT

try:
    kernel_compiler()
except CompilerError as error:
    WITHOUT_COMPILER = f"no C compiler: {error}"
else:
    WITHOUT_COMPILER = ""

measures = pytest.mark.skipif(bool(WITHOUT_COMPILER), reason=WITHOUT_COMPILER)

SMALL = {
    "LOG2_FLOATS": [10, 12, 14, 15],
    "MIN_LOG2_SHARED": 12,
    "POINTS": ((1, 1), (4, 4)),
    "SAMPLE_DESIGNS": 2,
    "SAMPLE_SHAPES": [(2, 256), (1, 4096)],
    "BIAS_DESIGNS": 6,
    "BIAS_SHAPES": [(1, 256), (2, 1000)],
}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def error_of(result):
    """The one line that an error is."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory, compiled):
    """A data folder for all tests here."""
    home = tmp_path_factory.mktemp("home")
    (home / "kernels").symlink_to(compiled)
    return home


@pytest.fixture(autouse=True)
def small(monkeypatch, folder):
    """No calibration of this machine yet, and measurements of less than a second."""
    monkeypatch.setenv("ARCHGYM_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    for name, value in SMALL.items():
        monkeypatch.setattr(calibrating, name, value)
    monkeypatch.setattr(probing, "PAUSE_S", 0.0)
    yield
    (folder / "calibrations" / "softmax.json").unlink(missing_ok=True)


@pytest.fixture
def never_measured(monkeypatch):
    """Fails a test that looks for a compiler."""

    def refuse(*arguments):
        raise AssertionError("something was about to be measured")

    monkeypatch.setattr(kernels, "kernel_compiler", refuse)


@pytest.fixture
def host():
    """A calibration of this machine that took no time: a copy of the recorded one."""
    Calibration.host().parent.mkdir(parents=True, exist_ok=True)
    Calibration.host().write_bytes((RECORDED / f"{DEFAULT}.json").read_bytes())


# --- archgym calibrate softmax ---


@measures
def test_a_calibration_is_written_for_this_machine_and_a_search_can_use_it():
    result = run("calibrate", "softmax", "--seed", 3)
    assert result.exit_code == 0, result.output
    calibration = Calibration.load("host")
    assert calibration.machine in " ".join(result.stdout.split())
    assert set(calibration.probe.core_s) == set(calibration.lanes)
    assert 0 < calibration.probe.workload_s(2**10, 1) < calibration.probe.workload_s(2**15, 1)
    assert (calibration.probe.second_s is None) == (len(processors()) == 1)
    assert str(Calibration.host()) in result.stdout
    (command,) = [
        line.split("archgym ", 1)[1]
        for line in result.stdout.splitlines()
        if "--set calibration=host" in line
    ]
    searched = run(*command.split(), "--budget", "20")
    assert searched.exit_code == 0, searched.output
    tables = [line for line in result.stdout.splitlines() if not line.startswith(("Written", "Next"))]
    assert max(map(len, tables)) <= 80


@measures
def test_the_file_says_when_and_by_what_it_was_measured_and_can_be_read_by_people(tmp_path):
    path = tmp_path / "mine.json"
    result = run("calibrate", "softmax", "--bias", "--out", path)
    assert result.exit_code == 0, result.output
    text = path.read_text()
    document = json.loads(text)
    assert Calibration.load(path).name == "mine"
    assert "measured by archgym" in document["provenance"] and document["units"]["log2_bytes"]
    assert list(document)[:5] == ["format", "version", "machine", "provenance", "units"]
    # every list stands on one line
    assert not [line for line in text.splitlines() if line.strip() in ("[", "]", "],")]
    assert len(text.splitlines()) < 300
    assert f"--set calibration={path}" in result.stdout
    assert not Calibration.host().exists()


@measures
def test_the_bias_table_is_fitted_to_some_designs_and_scored_on_others(monkeypatch):
    fitted, scored = [], []
    with_bias, score = calibrating.with_bias, calibrating.score
    monkeypatch.setattr(
        calibrating,
        "with_bias",
        lambda document, points: fitted.append(points) or with_bias(document, points),
    )
    monkeypatch.setattr(
        calibrating,
        "score",
        lambda document, points: scored.append((document, points)) or score(document, points),
    )
    result = run("calibrate", "softmax", "--bias")
    assert result.exit_code == 0, result.output
    written = json.loads(Calibration.host().read_text())
    assert "bias" in written and "bias fitted to 4 designs: on 2 others MAPE" in written["provenance"]
    (fit,), ((before, unseen), (after, the_same)) = fitted, scored
    assert the_same is unseen
    assert "bias" not in before and after["bias"] == written["bias"]
    assert not designs_of(fit) & designs_of(unseen)
    assert (len(fit), len(unseen)) == (8, 4)
    for name in ("without it", "with it", "4 random designs", "2 others"):
        assert name in result.stdout


def designs_of(points):
    return set(zip(*(column.tolist() for column in points.designs.values()), strict=True))


def test_all_points_of_a_design_are_held_out_or_none():
    rng = np.random.default_rng(0)
    designs = sample.random_designs(30, rng, isa="scalar", threads=1)
    shapes = 4
    points = sample.Sample(
        {
            name: np.tile([design[name] for design in designs], shapes)
            for name in SoftmaxCostModel.space.names
        },
        np.ones(30 * shapes, int),
        np.repeat([256, 512, 1024, 2048], 30),
        np.ones(30 * shapes),
        np.zeros(30 * shapes, bool),
    )
    kept = calibrating.held_out(points, rng)
    assert kept.dtype == bool and kept.sum() == 10 * shapes
    np.testing.assert_array_equal(kept.reshape(shapes, 30), np.tile(kept[:30], (shapes, 1)))
    assert calibrating.held_out(points, np.random.default_rng(1)).tolist() != kept.tolist()


def test_a_calibration_that_says_what_was_measured_has_no_error():
    document = json.loads((RECORDED / f"{DEFAULT}.json").read_text())
    designs = sample.random_designs(20, np.random.default_rng(0), isa="scalar", threads=1)
    columns = {name: np.array([design[name] for design in designs]) for name in SoftmaxCostModel.space.names}
    rows, cols = np.ones(len(designs), int), np.full(len(designs), 4096)
    points = sample.Sample(columns, rows, cols, np.ones(len(designs)), np.arange(len(designs)) == 0)
    seconds = points.predicted(Calibration.load())
    seconds[0] *= 100  # unreliable: does not count
    exact = sample.Sample(columns, rows, cols, seconds, points.unreliable)
    assert calibrating.score(document, exact) == pytest.approx((0, 1))
    slower = sample.Sample(columns, rows, cols, 2 * seconds, points.unreliable)
    assert calibrating.score(document, slower) == pytest.approx((0.5, 1))


@measures
@pytest.mark.parametrize("before", ["", "an earlier calibration"])
def test_an_interruption_writes_nothing_and_keeps_what_was_there(monkeypatch, before):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrating, "measure_sample", interrupt)
    if before:
        Calibration.host().parent.mkdir(parents=True, exist_ok=True)
        Calibration.host().write_text(before)
    result = run("calibrate", "softmax")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted: nothing was written\n")
    assert [path.read_text() for path in Calibration.host().parent.iterdir()] == [before][: len(before)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.txt"], "takes the name of a .json file, not 'x.txt'"),
        (["--out", "/no/such/folder/x.json"], "the folder /no/such/folder does not exist"),
        (["--seed", "-1"], "expected --seed as a whole number >= 0, got -1"),
    ],
)
def test_a_calibration_that_could_not_be_written_is_refused_before_it_is_measured(
    never_measured, arguments, message
):
    assert message in error_of(run("calibrate", "softmax", *arguments))


def test_a_data_folder_that_cannot_be_made_is_refused_before_measuring(never_measured, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "file" / "home"))
    assert "set ARCHGYM_HOME" in error_of(run("calibrate", "softmax"))


@pytest.mark.parametrize(
    "command", [["calibrate", "softmax"], ["fidelity", "softmax", "--calibration", DEFAULT]]
)
def test_what_would_not_fit_into_memory_is_refused(never_measured, monkeypatch, command):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 1000})())
    assert "GB of memory" in error_of(run(*command))


@pytest.mark.parametrize(
    "command", [["calibrate", "softmax"], ["fidelity", "softmax", "--calibration", DEFAULT]]
)
def test_without_a_compiler_one_line_says_so(monkeypatch, tmp_path, command):
    monkeypatch.setenv("CC", str(tmp_path / "no-such-compiler"))
    assert "needs a C compiler" in error_of(run(*command))


# --- archgym calibrate --show ---


def test_without_a_calibration_of_this_machine_the_recorded_one_is_shown():
    result = run("calibrate", "--show")
    assert result.exit_code == 0, result.output
    assert DEFAULT in result.stdout.splitlines()[0]
    assert Calibration.load().machine[:40] in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    for word in ("L1 ", "L2 ", "L3 ", "memory", "ns per float", "4 KB", "1 GB", "copy", "in place", "3.6 ns"):
        assert word in result.stdout


def test_this_machines_calibration_is_shown_where_there_is_one(host):
    assert "host" in run("calibrate", "--show").stdout.splitlines()[0]
    assert "host" in run("calibrate", "--show", "host").stdout.splitlines()[0]
    assert DEFAULT in run("calibrate", "--show", DEFAULT).stdout.splitlines()[0]
    assert str(Calibration.host()) in run("calibrate", "--show", Calibration.host()).stdout.replace("\n", "")


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_all_numbers_are_shown_at_any_width_and_in_plain_ascii(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    command = [sys.executable, "-m", "archgym.cli", "calibrate", "--show", DEFAULT]
    done = subprocess.run(
        command, capture_output=True, encoding="ascii", env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0 and not done.stderr
    numbers = done.stdout[done.stdout.rindex("Bytes") :]
    assert all(
        word in numbers for word in ("read", "write", "copy", "place", "non-temporal", "256 MB", "0.251")
    )
    assert max(map(len, done.stdout.splitlines())) <= int(columns)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--show", "nope"], "cannot read the calibration 'nope'"),
        (["--show", "host"], "make one with `archgym calibrate softmax`"),
        (["--show", "--chart", "x.pdf"], "takes the name of a .html, .svg or .png file, not 'x.pdf'"),
        (["--show", "--chart", "/no/such/folder/x.svg"], "does not exist"),
        (["--chart", "x.svg"], "--chart goes with --show"),
        (["--show", DEFAULT, "softmax"], "go without 'softmax'"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(arguments, message):
    if "--chart" in arguments:
        pytest.importorskip("altair", reason="needs the extra report")
    assert message in error_of(run("calibrate", *arguments))


def test_bytes_in_the_place_of_their_logarithms_are_said(tmp_path):
    document = json.loads((RECORDED / f"{DEFAULT}.json").read_text())
    document["overlap"]["log2_bytes"] = [65536, 2**21, 2**25]
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    assert "they are logarithms of bytes" in error_of(run("calibrate", "--show", tmp_path / "wrong.json"))


# --- archgym fidelity softmax ---


@measures
def test_fidelity_prints_every_shape_and_writes_all_points(tmp_path):
    path = tmp_path / "points.csv"
    shapes = ("--cols", 256, "--cols", 3000, "--cols", 256)
    result = run(
        "fidelity", "softmax", "--calibration", DEFAULT, "--rows", 2, *shapes, "--designs", 10, "--out", path
    )
    assert result.exit_code == 0, result.output
    for word in (
        "2 x 256",
        "2 x 3,000",
        "MAPE",
        "Spearman",
        "Regret",
        "Top 10",
        "As measured",
        "Drift",
        "has no probe times",
        "algorithm",
        "accumulators",
        str(path),
    ):
        assert word in result.stdout
    assert max(len(line) for line in result.stdout.splitlines() if str(path) not in line) <= 80
    with open(path, newline="") as file:
        points = list(csv.DictReader(file))
    assert list(points[0]) == [
        *SoftmaxCostModel.space.names,
        "rows",
        "cols",
        "measured_s",
        "predicted_s",
        "unreliable",
        "drift",
        "core_drift",
        "memory_drift",
        "second_thread_s",
    ]
    assert len(points) == 20 and {(point["rows"], point["cols"]) for point in points} == {
        ("2", "256"),
        ("2", "3000"),
    }
    for point in points:
        assert float(point["measured_s"]) > 0 and point["unreliable"] in ("true", "false")
        assert point["algorithm"] in SoftmaxCostModel.space["algorithm"].grid
    assert not list(tmp_path.glob(".*"))


@measures
def test_a_comparison_with_this_machines_calibration_states_the_drift_and_both_errors_as_json(tmp_path):
    assert run("calibrate", "softmax").exit_code == 0
    result = run("fidelity", "softmax", "--cols", 256, "--cols", 3000, "--designs", 10, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["rows"] == 20 and found["drift_since_calibration"] is True
    assert set(found["largest_relative_difference"]) == {"time_s"}
    assert [each["cols"] for each in found["shapes"]] == [256, 3000]
    for each in (found, *found["shapes"]):
        assert {"mape", "mape_as_measured", "unreliable", "drift"} <= set(each)
        assert set(each["drift"]) == {"time", "core", "memory", "second_thread_s"}
        assert set(each["drift"]["core"]) == {"median", "least", "largest"}
    printed = run("fidelity", "softmax", "--cols", 256, "--designs", 10)
    assert "over that at the calibration" in printed.stdout


def test_what_was_not_found_is_null_in_json():
    text = json.dumps(fidelity_cli._without_nan({"a": [float("nan"), 1], "b": {"c": float("nan")}}))
    assert json.loads(text) == {"a": [None, 1], "b": {"c": None}}


@measures
def test_predictions_in_the_file_are_the_models(tmp_path, host):
    path = tmp_path / "points.csv"
    result = run("fidelity", "softmax", "--cols", 1000, "--designs", 10, "--out", path)
    assert result.exit_code == 0, result.output
    with open(path, newline="") as file:
        points = list(csv.DictReader(file))
    columns = {}
    for name in SoftmaxCostModel.space.names:
        values = {str(value).lower(): value for value in SoftmaxCostModel.space[name].grid.tolist()}
        columns[name] = np.array([values[point[name]] for point in points])
    predicted = SoftmaxCostModel(1, 1000).evaluate(columns)["time_s"]
    np.testing.assert_allclose([float(point["predicted_s"]) for point in points], predicted)


@measures
def test_an_interrupted_comparison_writes_nothing(monkeypatch, tmp_path):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("archgym.simulators.softmax.fitting.fidelity.measure_sample", interrupt)
    path = tmp_path / "points.csv"
    result = run(
        "fidelity", "softmax", "--calibration", DEFAULT, "--cols", 256, "--designs", 10, "--out", path
    )
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted: nothing was written\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run `archgym calibrate softmax`, or name one with --calibration"),
        (["--calibration", "nope"], "cannot read the calibration 'nope'"),
        (["--calibration", DEFAULT, "--designs", "9"], "expected --designs as a whole number >= 10, got 9"),
        (
            ["--calibration", DEFAULT, "--cols", "256", "--cols", "0"],
            "expected --cols as a whole number >= 1, got 0",
        ),
        (["--calibration", DEFAULT, "--rows", "0"], "expected --rows as a whole number >= 1, got 0"),
        (["--calibration", DEFAULT, "--seed", "-1"], "expected --seed as a whole number >= 0, got -1"),
        (["--calibration", DEFAULT, "--out", "x.parquet"], "takes the name of a .csv file"),
        (["--calibration", DEFAULT, "--out", "/no/such/folder/x.csv"], "does not exist"),
        (["--calibration", DEFAULT, "--chart", "x.pdf"], ".html, .svg or .png"),
        (["--calibration", DEFAULT, "--cols", str(2**45)], "GB of memory"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_measuring(never_measured, arguments, message):
    assert message in error_of(run("fidelity", "softmax", *arguments))


def test_a_calibration_that_lacks_an_instruction_set_of_this_machine_is_refused(never_measured, tmp_path):
    document = json.loads((RECORDED / f"{DEFAULT}.json").read_text())
    del document["lanes"]["scalar"]
    (tmp_path / "other.json").write_text(json.dumps(document))
    assert "a machine without scalar" in error_of(
        run("fidelity", "softmax", "--calibration", tmp_path / "other.json")
    )


# --- charts ---


@measures
def test_charts_are_written_in_every_format(tmp_path):
    for module in ("altair", "vl_convert"):
        pytest.importorskip(module, reason="needs the extra report")
    beginnings = {"html": b"<!doctype html>", "svg": b"<svg", "png": b"\x89PNG"}
    for suffix, beginning in beginnings.items():
        path = tmp_path / f"curves.{suffix}"
        assert run("calibrate", "--show", DEFAULT, "--chart", path).exit_code == 0
        assert path.read_bytes().startswith(beginning)
    for suffix in ("html", "svg"):
        path = tmp_path / f"points.{suffix}"
        arguments = (
            "--calibration",
            DEFAULT,
            "--cols",
            256,
            "--cols",
            1000,
            "--designs",
            10,
            "--chart",
            path,
        )
        result = run("fidelity", "softmax", *arguments)
        assert result.exit_code == 0, result.output
        assert path.read_bytes().startswith(beginnings[suffix])
    assert "1 x 1,000" in (tmp_path / "points.svg").read_text()
    assert "memory" in (tmp_path / "curves.svg").read_text()


@pytest.mark.parametrize(
    "command", [["calibrate", "--show"], ["fidelity", "softmax", "--calibration", DEFAULT]]
)
def test_without_altair_the_extra_is_named_before_measuring(never_measured, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "altair", None)
    assert "archgym[report]" in error_of(run(*command, "--chart", "x.svg"))


# --- progress, and what help costs ---


def test_progress_is_a_line_now_and_then_without_a_terminal(monkeypatch, capsys):
    with progress.progress_bar() as tell:
        tell("measuring", 0.1)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with progress.progress_bar() as tell:
        tell("measuring", 0.25)
    assert capsys.readouterr() == ("", "measuring, 25 % done\n")


def test_progress_of_work_that_calls_none_is_looked_up(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.01)
    seen = threading.Event()

    def look():
        seen.set()
        return "3/12 runs", 0.25

    with progress.progress_bar(look):
        assert seen.wait(5)
        time.sleep(0.1)
    assert "3/12 runs, 25 % done\n" in capsys.readouterr().err
    assert not [each for each in threading.enumerate() if each.name.endswith("(follow)")]


def test_parts_of_the_progress_follow_one_another():
    told = []
    first, second = progress.parts(lambda what, share: told.append((what, share)), [1, 3])
    for each in (first, second):
        each("a", 0.0)
        each("a", 1.0)
    assert told == [("a", 0.0), ("a", 0.25), ("a", 0.25), ("a", 1.0)]


def test_progress_on_a_terminal_names_what_is_done_and_leaves_nothing_behind(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.progress_bar() as tell:
        tell("compiling", 0.0)
        tell("measuring", 0.5)
    text = sys.stderr.getvalue()
    assert "compiling" in text and "measuring" in text and "50 %" in text
    assert text.endswith("\x1b[2K")  # the line is erased


def test_the_time_left_follows_from_the_step_at_hand(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    pace = progress._Pace()
    assert pace.left("compiling", 0.5) == ""  # kept from before: took no time
    assert pace.left("measuring", 0.5) == ""
    now = 10.0
    assert pace.left("measuring", 0.6) == "40 s left"
    assert pace.left("1/9 runs, 3 failed", 0.1) == ""
    now = 20.0
    assert pace.left("2/9 runs, 4 failed", 0.2) == "1 min 20 s left"  # the same step


def test_helping_imports_neither_scipy_nor_altair():
    code = """
        import sys
        from archgym.cli import app
        for arguments in (["--help"], ["calibrate", "--help"], ["fidelity", "softmax", "--help"]):
            try:
                app(arguments)
            except SystemExit as end:
                assert not end.code, end.code
        print(sorted({"altair", "scipy", "polars", "psutil", "archgym.simulators.softmax"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("[]"), done.stdout[-500:] + done.stderr
    assert "calibrate" in done.stdout and "fidelity" in done.stdout and DEFAULT in done.stdout


def test_what_is_written_is_the_document():
    for path in RECORDED.glob("*.json"):
        document = json.loads(path.read_text())
        buffer = io.BytesIO()
        softmax_cli._write_json(document, buffer)
        assert json.loads(buffer.getvalue()) == document
