"""The `archgym` program: in process where output matters, as real processes where exit codes, signals and
terminals do.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import typer
from conftest import Bowl
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

import archgym
from archgym import DesignSpace, Integer
from archgym.cli import app

SOFTMAX = "archgym/Softmax-v0"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A data folder of its own, and a wide terminal."""
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "home"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def program(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "archgym.cli", *map(str, arguments)],
        env=_environment(path),
        capture_output=True,
        text=True,
    )


def _environment(path: Path | None) -> dict[str, str]:
    return {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}


def words(text: str) -> str:
    return " ".join(text.split())


# --- list, describe, help ---


def test_version_is_the_packages():
    assert run("--version").stdout.strip() == archgym.__version__


def test_list_shows_sizes_of_environments_and_hyperparameters_of_agents():
    envs, agents = run("list", "envs").stdout, run("list", "agents").stdout
    assert re.search(r"archgym/Softmax-v0 +17,280 +Write the fastest softmax kernel", envs)
    assert re.search(r"genetic +.*population, tournament, crossover, mutation, elite", agents)
    assert "archgym/" not in agents
    assert "genetic" not in envs
    both = run("list").stdout
    assert "genetic" in both and SOFTMAX in both


def test_describe_environment_states_parameters_metrics_arguments_and_optimum():
    text = run("describe", SOFTMAX).stdout
    assert re.search(r"unroll +Ordinal +1, 2, 4, 8 +vectors per loop iteration", text)
    assert re.search(r"bandwidth_gb_s +GB/s +higher", text)
    assert re.search(r"cols +65536 +elements per row", text)
    assert re.search(r"l1 +rows=1, cols=4096", text)
    assert "minimize time_per_element_ns, with sum_error <= 1e-05" in text
    assert re.search(r"Optimum +known: time_per_element_ns 0\.\d+ ns", text)


def test_describe_follows_the_arguments_given():
    assert "64 designs" in run("describe", "archgym/NKLandscape-v0", "--set", "n=3").stdout
    text = run("describe", SOFTMAX, "--set", 'objective={"maximize": ["bandwidth_gb_s"]}').stdout
    assert "maximize bandwidth_gb_s" in text and "sum_error <=" not in text


def test_an_argument_is_described_by_its_own_row_beside_a_set_of_contexts_of_that_name():
    text = run("describe", "archgym/SoC-v0").stdout
    assert re.search(r"budgets +None +latency_s, power_w, area_mm2 in place", text)


def test_describe_agent_states_hyperparameters_with_meaning_and_version():
    text = run("describe", "genetic").stdout
    assert "agent, version" in text and "Holland, 1975" in text
    default = archgym.make_agent("genetic").population
    assert re.search(rf"population +Ordinal +2, 4, 8, .* +{default} +designs per generation", text)
    assert "No hyperparameters" in run("describe", "random").stdout


@pytest.mark.parametrize(
    ("width", "arguments"),
    [(80, ["list"]), (80, ["describe", SOFTMAX]), (80, ["search", SOFTMAX, "random", "--budget", 9])],
)
def test_output_fits_the_terminal(width, arguments, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    result = run(*arguments)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= width


# --- search ---


def test_search_prints_the_best_design_its_metrics_and_regret_and_writes_the_history(tmp_path):
    out = tmp_path / "history.parquet"
    result = run(
        "search",
        SOFTMAX,
        "genetic",
        "--budget",
        150,
        "--seed",
        3,
        "--set",
        "preset=l1",
        "--hp",
        "population=32",
        "--num-envs",
        32,
        "--out",
        out,
    )
    assert result.exit_code == 0, result.output
    expected = archgym.search(
        SOFTMAX,
        "genetic",
        budget=150,
        seed=3,
        num_envs=32,
        env_kwargs={"preset": "l1"},
        agent_kwargs={"population": 32},
    )
    for name, value in expected.best_design.items():
        assert re.search(rf"^{name} +{value}\b", result.stdout, re.MULTILINE)
    assert re.search(
        rf"time_per_element_ns +{expected.best_metrics['time_per_element_ns']:.4g} +ns", result.stdout
    )
    assert f"150 ({expected.unique} distinct)" in result.stdout
    assert re.search(r"^Regret ", result.stdout, re.MULTILINE) and re.search(
        r"^Percentile ", result.stdout, re.MULTILINE
    )
    table = pyarrow.parquet.read_table(out)
    assert table.column("reward").to_pylist() == expected.history["reward"].tolist()


def test_search_states_the_distance_from_the_optimum_in_the_metric():
    result = archgym.search(SOFTMAX, "random", budget=5, seed=0)
    off = result.best_metrics["time_per_element_ns"] / result.optimum.best_metrics["time_per_element_ns"] - 1
    assert (
        f"{100 * off:.3f} % from the optimum's time_per_element_ns"
        in run("search", SOFTMAX, "random", "--budget", 5).stdout
    )


def test_search_counts_failures_with_their_reasons(tmp_path):
    _slow_module(tmp_path, seconds=0, failing=True)
    result = program("search", "slow_env:slow/Slow-v0", "random", "--budget", 40, path=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"Failures +\d+ samples +\n +\d+ x RuntimeError: the tool crashed", result.stdout)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("1e-5", 1e-5),
        ("65_536", 65536),
        ("true", True),
        ("False", False),
        ("None", None),
        ("attention_4k", "attention_4k"),
        ('{"minimize": ["time_s"]}', {"minimize": ["time_s"]}),
        ('{minimize = ["time_s"]}', {"minimize": ["time_s"]}),
        ("[1, 2]", [1, 2]),
        ("2024-01-01", "2024-01-01"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_values_are_literals_where_they_can_be_and_strings_otherwise(text, value):
    from archgym.cli.options import pairs

    parsed = pairs("--set", [f"name={text}"])["name"]
    assert parsed == value and type(parsed) is type(value)


# --- bad input ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["search", "archgym/Sofmax-v0", "random"],
            "unknown environment 'archgym/Sofmax-v0'; did you mean 'archgym/Softmax-v0'",
        ),
        (["search", SOFTMAX, "genetics"], "unknown agent 'genetics'; did you mean 'genetic'"),
        (
            ["search", SOFTMAX, "genetic", "--hp", "populaton=8"],
            "unknown hyperparameter of Genetic 'populaton'; did you mean 'population'",
        ),
        (
            ["search", SOFTMAX, "genetic", "--hp", "population=7"],
            "7 is not a value of parameter 'population'",
        ),
        (["search", SOFTMAX, "random", "--set", "foo"], "--set takes name=value, not 'foo'"),
        (["search", SOFTMAX, "random", "--hp", "=1"], "--hp takes name=value, not '=1'"),
        (["search", SOFTMAX, "random", "--set", "cols=1", "--set", "cols=2"], "--set gives 'cols' twice"),
        (["search", SOFTMAX, "random", "--set", "colls=1"], "did you mean 'cols'"),
        (["search", SOFTMAX, "random", "--set", "cols=many"], "cols"),
        (["search", SOFTMAX, "random", "--set", "num_envs=3"], "use --num-envs"),
        (["search", SOFTMAX, "random", "--set", "preset=l9"], "unknown preset of archgym/Softmax-v0 'l9'"),
        (
            ["search", SOFTMAX, "random", "--set", 'objective={"minimize": ["latency"]}'],
            "unknown metric 'latency'",
        ),
        (["search", SOFTMAX, "random", "--budget", "-1"], "expected budget as a whole number >= 1, got -1"),
        (["describe", "genetik"], "did you mean 'genetic'"),
        (["describe", "genetic", "--set", "n=1"], "--set is for environments"),
        (["optimum", "archgym/Softmax-v1"], "did you mean 'archgym/Softmax-v0'"),
        (
            ["optimum", "archgym/NKLandscape-v0", "--set", "n=40", "--set", "neighbourhood=random"],
            "enumeration is for up to 100,000,000",
        ),
    ],
)
def test_bad_input_is_one_line_on_stderr_with_exit_code_2_and_leaves_nothing_behind(
    arguments, message, tmp_path, home
):
    out = ["--out", tmp_path / "out.parquet"] if arguments[0] == "search" else []
    result = run(*arguments, *out)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_bad_input_shows_no_traceback_in_a_real_process():
    result = program("search", SOFTMAX, "genetics")
    assert result.returncode == 2
    assert result.stderr.startswith("error: unknown agent 'genetics'; did you mean 'genetic'")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("out", "message"),
    [("missing/out.parquet", "does not exist"), ("out.csv", "takes the name of a .parquet file")],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_simulated(
    out, message, tmp_path, monkeypatch
):
    monkeypatch.setattr("archgym.cli.search.Search", lambda *a, **k: pytest.fail("the search was made"))
    result = run("search", SOFTMAX, "random", "--out", tmp_path / out)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_clipped_optimum_is_nothing_to_measure_a_result_by():
    found = run("search", SOFTMAX, "random", "--budget", 5, "--set", 'objective={"minimize": ["time_s"]}')
    assert (
        "not known: the optimum's reward is clipped at 10" in words(found.stdout)
        and "exact optimum" not in found.stdout
    )


# --- optimum ---


def test_optimum_is_stored_and_later_searches_state_their_regret(home):
    landscape = ["archgym/NKLandscape-v0", "--set", "n=6", "--set", "neighbourhood=random"]
    before = run("search", landscape[0], "random", *landscape[1:], "--budget", 50)
    assert "not known: archgym optimum" in words(before.stdout)
    found = run("optimum", *landscape)
    assert found.exit_code == 0, found.output
    assert "4,096 distinct, 4,096 feasible, 4,096 valid" in found.stdout
    (stored,) = home.rglob("*.npz")
    assert stored.name in found.stdout
    after = run("search", landscape[0], "random", *landscape[1:], "--budget", 50)
    assert "% from the optimum's fitness" in after.stdout
    assert re.search(r"Percentile +[\d.]+ % of the 4,096 valid designs are no better", after.stdout)
    exact = run("search", landscape[0], "exhaustive", *landscape[1:], "--budget", 4096)
    assert "0: this is the exact optimum" in exact.stdout


def test_an_enumeration_that_would_take_days_is_not_advised(register):
    class Slow(Bowl):
        space = DesignSpace([*Bowl.space.parameters, Integer("y", 1, 600_000)])  # 86.4 million designs

        def evaluate(self, designs, rng=None):
            time.sleep(0.002 * len(designs["x"]))
            return super().evaluate(designs, rng)

        def canonical(self, indices):
            return indices

    env_id, _ = register(Slow())
    found = words(run("search", env_id, "random", "--budget", 10).stdout)
    assert re.search(r"not known: to enumerate 86,400,000 designs at this rate would take \d+ days", found)


def test_optimum_is_not_stored_when_told_so(home):
    assert run("optimum", SOFTMAX, "--no-save").exit_code == 0
    assert not home.exists()


def test_a_folder_for_optima_that_cannot_be_made_is_refused_before_the_enumeration(home, monkeypatch):
    home.write_text("in the way")
    monkeypatch.setattr(
        "archgym.cli.optimum.find_optimum", lambda *a, **k: pytest.fail("the enumeration began")
    )
    result = run("optimum", SOFTMAX)
    assert result.exit_code == 2
    assert "ARCHGYM_HOME" in result.stderr


# --- Ctrl-C, on a terminal ---


def _slow_module(folder: Path, seconds: float, failing: bool = False) -> None:
    (folder / "slow_env.py").write_text(
        textwrap.dedent(
            f"""
            import time
            import archgym
            from archgym import Metric, Minimize, Objective, Ordinal

            class Slow(archgym.Simulator):
                space = archgym.DesignSpace([Ordinal("a", list(range(1, 1001))), Ordinal("b", list(range(1, 1001)))])
                metrics = (Metric("cost_j", "J", "lower"),)

                def evaluate(self, designs, rng=None):
                    time.sleep({seconds})
                    if {failing} and (designs["a"] < 500).any():
                        raise RuntimeError("the tool crashed")
                    return {{"cost_j": designs["a"] * 1.0, "feasible": designs["a"] > 0}}

            archgym.register_env("slow/Slow-v0", simulator=Slow, objective=Objective(Minimize("cost_j"), reference={{"cost_j": 500}}))
            """
        )
    )


def _interrupted_on_a_terminal(arguments: list[object], path: Path, sign: str) -> tuple[int, str, str]:
    """Run with stderr on a pseudo-terminal, press Ctrl-C once `sign` has been drawn there; exit code,
    stdout, stderr.
    """
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "archgym.cli", *map(str, arguments)]
    process = subprocess.Popen(
        command, env=_environment(path), stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    drawn, sent, deadline = "", False, time.monotonic() + 20
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                drawn += os.read(ours, 65536).decode()
            except OSError:  # the other end is closed
                break
        if not sent and re.search(sign, drawn):
            process.send_signal(signal.SIGINT)
            sent = True
    os.close(ours)
    stdout, _ = process.communicate(timeout=20)
    assert sent, drawn
    return process.returncode, stdout, drawn


def test_ctrl_c_prints_and_writes_what_was_found_so_far(tmp_path):
    _slow_module(tmp_path, seconds=0.01)
    out = tmp_path / "out.parquet"
    arguments = [
        "search",
        "slow_env:slow/Slow-v0",
        "random",
        "--budget",
        1000000,
        "--num-envs",
        4,
        "--out",
        out,
    ]
    code, stdout, stderr = _interrupted_on_a_terminal(arguments, tmp_path, r"[1-9]\d*/1,000,000.*best reward")
    assert code == 130
    assert "Traceback" not in stderr
    table = pyarrow.parquet.read_table(out)
    assert 0 < table.num_rows < 1000000
    assert f"interrupted after {table.num_rows:,} of 1,000,000 samples" in stdout
    assert re.search(rf"cost_j +{min(table.column('cost_j').to_pylist()):.0f} +J", stdout)
    assert sorted(p.name for p in tmp_path.iterdir() if "__pycache__" not in p.name) == [
        "out.parquet",
        "slow_env.py",
    ]


def test_ctrl_c_stops_an_enumeration_and_stores_nothing(tmp_path, home):
    _slow_module(tmp_path, seconds=0.5)
    code, stdout, stderr = _interrupted_on_a_terminal(
        ["optimum", "slow_env:slow/Slow-v0"], tmp_path, r"65,536/1,000,000"
    )
    assert code == 130
    assert "Traceback" not in stderr and "nothing is stored" in stderr
    assert stdout == ""
    assert not home.exists()


# --- plug-ins ---


@pytest.fixture
def plugin(tmp_path):
    """An installed package, half of which is broken."""
    folder = tmp_path / "site"
    information = folder / "plugin-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        textwrap.dedent(
            """
            [archgym.agents]
            broken_agent = no_such_module:Agent
            heavy_agent = heavy_plugin:Agent
            [archgym.envs]
            broken/Env-v0 = broken_plugin
            [archgym.commands]
            hello = good_plugin:hello
            group = good_plugin:group
            broken = broken_plugin:command
            list = broken_plugin:command
            fidelity.mine = good_plugin:hello
            shared.one = good_plugin:hello
            shared.app = good_plugin:group
            shared.broken = broken_plugin:command
            group.two = good_plugin:hello
            """
        )
    )
    (folder / "broken_plugin.py").write_text("raise RuntimeError('half installed')\n")
    (folder / "heavy_plugin.py").write_text(
        "import archgym\nraise archgym.MissingDependency('install it with pip install heavy')\n"
    )
    (folder / "good_plugin.py").write_text(
        textwrap.dedent(
            '''
            import typer
            import archgym

            group = typer.Typer(help="A group of commands.")

            def hello(name: str, loud: bool = False) -> None:
                """Say hello."""
                if name == "nobody":
                    raise archgym.ArchGymError("nobody is here")
                print(f"hello {name}{'!' if loud else ''}")

            @group.command()
            def one() -> None:
                """The first."""
                print("one")
            '''
        )
    )
    return folder


def test_commands_of_plugins_run_and_a_broken_one_breaks_nothing_else(plugin):
    text = words(program("--help", path=plugin).stdout)
    assert "Say hello." in text and "A group of commands." in text
    assert "'broken' cannot be loaded: RuntimeError: half installed" in text.replace("│ │ ", "")
    assert program("hello", "world", "--loud", path=plugin).stdout == "hello world!\n"
    assert program("group", "one", path=plugin).stdout == "one\n"
    failed = program("hello", "nobody", path=plugin)
    assert (failed.returncode, failed.stderr) == (2, "error: nobody is here\n")
    broken = program("broken", "--anything", "x", path=plugin)
    assert (broken.returncode, broken.stderr) == (
        2,
        "error: the command 'broken' cannot be loaded: RuntimeError: half installed\n",
    )


def test_plugins_add_commands_to_groups_of_ours_of_others_and_of_their_own(plugin):
    ours = words(program("fidelity", "--help", path=plugin).stdout)
    assert re.search(r"mine +.{0,9}Say hello\..*softmax", ours)
    assert program("fidelity", "mine", "world", path=plugin).stdout == "hello world\n"
    assert program("shared", "one", "world", "--loud", path=plugin).stdout == "hello world!\n"
    assert program("shared", "app", "one", path=plugin).stdout == "one\n"
    assert "Commands: app, broken, one." in words(program("--help", path=plugin).stdout)
    # an application, and what is added to it
    for own, printed in ((["one"], "one\n"), (["two", "world"], "hello world\n")):
        assert program("group", *own, path=plugin).stdout == printed
    usage = program("shared", "one", "--help", path=plugin).stdout
    assert re.search(r"Usage: .* shared one \[OPTIONS\]", usage)


def test_a_broken_command_of_a_group_breaks_nothing_but_itself(plugin):
    text = words(program("shared", "--help", path=plugin).stdout)
    assert (
        "Say hello." in text
        and "'shared broken' cannot be loaded: RuntimeError: half installed" in text.replace("│ │ ", "")
    )
    broken = program("shared", "broken", "--anything", "x", path=plugin)
    assert (broken.returncode, broken.stderr) == (
        2,
        "error: the command 'shared broken' cannot be loaded: RuntimeError: half installed\n",
    )
    missing = program("shared", "nothing", path=plugin)
    assert missing.returncode == 2 and "No such command 'nothing'" in missing.stderr
    failed = program("shared", "one", "nobody", path=plugin)
    assert (failed.returncode, failed.stderr) == (2, "error: nobody is here\n")


def test_a_command_of_a_group_runs_without_importing_the_others(plugin):
    assert program("shared", "one", "world", path=plugin).returncode == 0
    (plugin / "broken_plugin.py").write_text("import os\nos._exit(3)\n")
    assert program("shared", "one", "world", path=plugin).stdout == "hello world\n"


def test_broken_plugins_are_listed_with_their_errors(plugin):
    result = program("list", path=plugin)
    assert result.returncode == 0, result.stderr
    assert re.search(r"broken/Env-v0 .*RuntimeError: half installed", result.stdout)
    assert re.search(r"broken_agent +.*No module named 'no_such_module'", words(result.stdout))
    assert "install it with pip install heavy" in words(result.stdout)
    assert SOFTMAX in result.stdout and "genetic" in result.stdout


def test_help_and_lists_import_neither_torch_nor_pandas():
    code = """
        import sys
        from archgym.cli import app
        for arguments in (["--help"], ["list"], ["describe", "ppo"]):
            try:
                app(arguments)
            except SystemExit as end:
                assert not end.code, end.code
        print(sorted({"torch", "pandas", "stable_baselines3"} & set(sys.modules)))
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert result.stdout.rstrip().endswith("[]"), result.stdout[-500:] + result.stderr


class Measured(Bowl):
    """Costs that differ from call to call."""

    deterministic = False

    def evaluate(self, designs, rng=None):
        columns = super().evaluate(designs)
        return {
            **columns,
            "cost_j": columns["cost_j"] * np.random.default_rng().uniform(1, 1.1, len(columns["cost_j"])),
        }


def test_a_measured_search_shows_its_best_designs_measured_again(register):
    env_id, _ = register(Measured())
    alone = run("search", env_id, "random", "--budget", "30", "--num-envs", "10")
    assert alone.exit_code == 0
    header, _, *rows = alone.stdout.partition("Measured again")[2].splitlines()[:7]
    assert "cost_j" in header and "Before" in header
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4", "5"]
    several = run("search", env_id, "random", "genetic", "--budget", "30", "--num-envs", "10")
    assert "Measured again" in several.stdout and "Regret" not in several.stdout


def test_several_agents_are_compared_in_one_table_of_80_columns(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = run("search", "archgym/Softmax-v0", "random", "genetic", "--budget", "60")
    assert result.exit_code == 0
    assert re.search(r"^random +\d", result.stdout, re.MULTILINE) and re.search(
        r"^genetic +\d", result.stdout, re.MULTILINE
    )
    assert max(map(len, result.stdout.splitlines())) <= 80
    refused = run("search", "archgym/Softmax-v0", "random", "genetic", "--out", str(tmp_path / "x.parquet"))
    assert refused.exit_code == 2 and "one agent" in refused.stderr


# --- searches that end early ---


class Tiring(Bowl):
    """Ends the search that asks for the 40th design, in its own way."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def evaluate(self, designs, rng=None):
        if self.rows >= 40:
            raise self.error
        return super().evaluate(designs)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (archgym.SimulatorUnavailable("no worker starts"), 1, "error: random: no worker starts"),
        (SystemExit(3), 1, "error: random: SystemExit: 3"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_search_that_ends_early_prints_and_writes_what_there_is(register, tmp_path, error, code, says):
    env_id, _ = register(Tiring(error))
    out = tmp_path / "out.parquet"
    done = run("search", env_id, "random", "--budget", 100, "--num-envs", 10, "--out", out)
    assert done.exit_code == code and says in done.stderr and "Traceback" not in done.output
    assert ("interrupted" if code == 130 else "ended by an error") + " after 40 of 100 samples" in done.stdout
    assert "Best design" in done.stdout and str(out) in done.stdout
    assert pyarrow.parquet.read_table(out).num_rows == 40


class A(archgym.AskTellAgent):
    """Exits before its first sample, or cannot go on after it."""

    version = 1
    hyperparameters = DesignSpace([Integer("most", 0, 9)])

    def start(self, space, *, budget, rng):
        if not self.most:
            raise SystemExit(0)
        self.width = len(space)

    def ask(self, n):
        return np.zeros((n, self.width), int)

    def tell(self, indices, rewards, metrics, feasible):
        raise ValueError("no more")


def test_a_plug_in_that_exits_does_not_choose_the_exit_code(bowl):
    done = run("search", bowl[0], f"{__name__}:A", "--budget", 10)
    assert done.exit_code == 1 and "error: SystemExit: 0" in done.stderr


def test_no_emoji_is_made_of_names(bowl):
    done = run("search", bowl[0], f"{__name__}:A", "--budget", 10, "--hp", "most=1", "--num-envs", 1)
    assert f"error: {__name__}:A: ValueError: no more" in done.stderr


def test_a_search_that_ends_early_shows_its_traceback_with_debug(register):
    env_id, _ = register(Tiring(archgym.SimulatorUnavailable("no worker starts")))
    with pytest.raises(archgym.ArchGymError) as raised:
        CliRunner().invoke(
            app,
            ["--debug", "search", env_id, "random", "--budget", "100", "--num-envs", "10"],
            catch_exceptions=False,
        )
    assert isinstance(raised.value.__cause__, archgym.SimulatorUnavailable)


def test_an_agent_that_fails_leaves_the_others_of_a_comparison(bowl, monkeypatch):
    from archgym.agents.genetic import Genetic

    def tell(self, *told):
        raise ZeroDivisionError("no more")

    monkeypatch.setattr(Genetic, "tell", tell)
    done = run("search", bowl[0], "random", "genetic", "local_search", "--budget", 100)
    assert done.exit_code == 1 and "error: genetic: ZeroDivisionError: no more" in done.stderr
    for name in ("random", "genetic", "local_search"):
        assert re.search(rf"^{name} +\d", done.stdout, re.MULTILINE), done.stdout
    assert "ended by an error: the row of genetic is of an unfinished search" in done.stdout


def test_results_are_printed_where_the_history_cannot_be_written(bowl, tmp_path, monkeypatch):
    def full(*arguments):
        raise archgym.ArchGymError("the disk is full")

    monkeypatch.setattr(archgym.SearchResult, "to_parquet", full)
    done = run("search", bowl[0], "random", "--budget", 20, "--out", tmp_path / "out.parquet")
    assert (
        done.exit_code == 1
        and "the disk is full" in done.stderr
        and "Best design" in done.stdout
        and "History" not in done.stdout
    )


def test_a_metric_of_0_at_the_optimum_is_an_exact_optimum_and_everything_else_is_not_finitely_far(register):
    class Stalls(Bowl):
        def evaluate(self, designs, rng=None):
            columns = super().evaluate(designs)
            return {**columns, "cost_j": columns["cost_j"] - 1}

    env_id, _ = register(
        archgym.Tabulated(Stalls()), archgym.Objective(archgym.Minimize("cost_j"), reference={"cost_j": 4.0})
    )
    assert "Regret 0: this is the exact optimum" in words(
        run("search", env_id, "exhaustive", "--budget", 144).stdout
    )
    assert "Regret not finite: cost_j is 0 at the optimum" in words(
        run("search", env_id, "exhaustive", "--budget", 20).stdout
    )


def test_an_optimum_of_0_to_maximise_is_compared_without_a_ratio(register):
    class Nothing(Bowl):
        def evaluate(self, designs, rng=None):
            columns = super().evaluate(designs)
            return {**columns, "cost_j": columns["cost_j"] * 0}

    env_id, _ = register(archgym.Tabulated(Nothing()), archgym.Objective(archgym.Maximize("cost_j")))
    assert "Regret 0: this is the exact optimum" in words(
        run("search", env_id, "random", "--budget", 20).stdout
    )


# --- examples, exit codes, tracebacks ---


def commands_of(command, name, context):
    """Every command below a group, with its words."""
    if not isinstance(command, TyperGroup):
        yield name, command
        return
    for each in command.list_commands(context):
        yield from commands_of(command.get_command(context, each), f"{name} {each}", context)


def every_command():
    program = typer.main.get_command(app)
    return dict(commands_of(program, "archgym", program.make_context("archgym", [], resilient_parsing=True)))


@pytest.mark.parametrize("words", every_command())
def test_every_command_has_an_example_in_its_help_that_it_accepts(words):
    command = every_command()[words]
    examples = [line.strip() for line in (command.help or "").split("\n\n")[-1].splitlines()]
    assert examples and all(line.startswith(f"{words} ") or line == words for line in examples), (
        f"no example in the help of {words}"
    )
    for line in examples:
        command.make_context(words, shlex.split(line)[len(words.split()) :])


def test_a_typo_suggests_the_right_word():
    for words, right in (
        (["serach"], "search"),
        (["calibrat"], "calibrate"),
        (["fidelity", "softmx"], "softmax"),
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2 and f"Did you mean '{right}'" in done.output


def test_what_goes_wrong_is_one_line_and_exit_code_1_and_a_traceback_only_with_debug(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug\nof ours")

    monkeypatch.setattr("archgym.cli.search.Search", broken)
    arguments = ["search", "archgym/Softmax-v0", "random"]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    assert (
        done.exit_code == 1
        and "error: RuntimeError: a bug of ours; archgym --debug" in done.output
        and "Traceback" not in done.output
    )
    with pytest.raises(RuntimeError, match="a bug"):
        CliRunner().invoke(app, ["--debug", *arguments], catch_exceptions=False)
    monkeypatch.undo()
    assert CliRunner().invoke(app, ["search", "archgym/Softmax-v0", "nobody"]).exit_code == 2
    assert CliRunner().invoke(app, ["search", "archgym/Softmax-v0"]).exit_code == 2
