"""benchmarks/peers.py: its tables are those of its runs, a run is made once, and what is not installed is
left out.
"""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import archgym

SOURCE = Path(__file__).parents[1] / "benchmarks" / "peers.py"


@pytest.fixture
def peers(monkeypatch):
    spec = importlib.util.spec_from_file_location("peers_benchmark", SOURCE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def row(task, agent, seed, budget, *scores, version="1", error="", seconds="2.0"):
    at = dict(zip(("100", "300", "1000"), [*map(str, scores), "", "", ""][:3], strict=True))
    fields = {"task": task, "agent": agent, "version": version, "seed": str(seed), "budget": str(budget)}
    return {**fields, **at, "seconds": seconds, "error": error}


def runs(agent, task, regrets, budget=100, **more):
    return [row(task, agent, seed, budget, regret, **more) for seed, regret in enumerate(regrets)]


def cells(lines, heading, agent):
    """The cells of an optimiser's line in the table below a heading, by column."""
    below = lines[lines.index(f"#### {heading}") :]
    names = next(line for line in below if line.startswith("| optimiser"))
    line = next(line for line in below if line.startswith(f"| {agent} "))
    return dict(
        zip(*([cell.strip() for cell in text.strip("|").split("|")] for text in (names, line)), strict=True)
    )


def test_medians_intervals_ranks_and_pairs_are_those_of_the_runs(peers):
    rows = [
        *runs("tpe", "nk", [0.1, 0.2, 0.3]),
        *runs("tpe", "accel", [1.0, 2.0, ""]),
        *runs("catcmawm", "nk", [0.1, 0.1, 0.4, 9.0], version="0.13.1"),
        *runs("catcmawm", "accel", [0.5, "", ""], version="0.13.1"),
        *runs("deap_ga", "nk", [0.0, 0.0, 0.0]),  # no run of the other task: no rank
    ]
    lines = peers.table(rows)
    ours = cells(lines, "100 samples", "**tpe**")
    assert ours["nk"] == "0.2 (0.1 to 0.3)" and ours["accel"] == "2 (1 to none)"
    assert (ours["seeds"], ours["mean rank"], ours["against tpe"]) == ("3", "1.0", "-")
    theirs = cells(lines, "100 samples", "catcmawm")
    assert theirs["nk"].startswith("0.25 (") and theirs["accel"] == "none (0.5 to none, n=3)"
    # nk: equal, better, worse; accel: better, worse, neither has a valid design
    assert (theirs["seeds"], theirs["mean rank"], theirs["against tpe"]) == ("4", "2.0", "2/2/2")
    assert theirs["CPU s per 100"] == "2"
    incomplete = cells(lines, "100 samples", "deap_ga")
    assert (incomplete["accel"], incomplete["mean rank"], incomplete["against tpe"]) == ("-", "-", "3/0/0")
    order = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert order[2:5] == ["**tpe**", "catcmawm", "deap_ga"]  # incomplete ones last, however good


def test_equal_medians_share_their_rank_and_too_few_seeds_have_none(peers):
    scores = {
        "a": {"nk": {0: 1.0, 1: 1.0, 2: 1.0}},
        "b": {"nk": {0: 0.0, 1: 1.0, 2: np.inf}},
        "c": {"nk": {0: np.inf, 1: np.inf, 2: np.inf}},
        "d": {"nk": {0: 0.0, 1: 0.0}},
    }
    assert peers.mean_ranks(scores, ["nk"]) == {"a": 1.5, "b": 1.5, "c": 3.0}


def test_a_checkpoint_has_the_run_with_the_least_budget_that_reaches_it(peers):
    rows = [row("nk", "tpe", 0, 100, 0.5), row("nk", "tpe", 0, 1000, 0.9, 0.4, 0.3)]
    assert [peers.scores_at(rows, c)["tpe"]["nk"][0] for c in (100, 300, 1000)] == [0.5, 0.4, 0.3]
    assert peers.scores_at(rows[:1], 300) == {}


def test_failed_runs_and_those_of_older_versions_are_left_out_and_failures_named(peers):
    rows = [
        *runs("optuna_tpe", "nk", [9.0, 9.0, 9.0], version="4.9.0"),
        *runs("optuna_tpe", "nk", [0.1, 0.2, 0.3], version="4.10.0"),
        row("nk", "optuna_tpe", 3, 100, version="4.10.0", error="ValueError: no", seconds=""),
    ]
    assert cells(peers.table(rows), "100 samples", "optuna_tpe")["nk"] == "0.2 (0.1 to 0.3)"
    assert "Failed: 1 x optuna_tpe on nk (ValueError: no)." in peers.versions(rows)
    assert "optuna 4.10.0." in peers.versions(rows)


def test_shares_of_the_front_are_ordered_by_the_last_checkpoint(peers):
    rows = [
        row("accel", "random", 0, 1000, 0.5, 0.8, 0.81),
        row("accel", "nsga2", 0, 300, 0.4, 0.9),
        row("accel", "nsga2", 0, 1000, 0.3, 0.7, 0.95),
        row("accel", "pymoo_nsga2_ux_32", 0, 1000, "", 0.6, 0.96),  # no valid design: no volume
    ]
    lines = peers.front_table(rows)
    heading = "Share of the exact front's hypervolume"
    assert cells(lines, heading, "**nsga2**")["300 samples"] == "0.9 (0.9 to 0.9)"
    assert cells(lines, heading, "pymoo_nsga2_ux_32")["100 samples"] == "0 (0 to 0)"
    assert [line.split("|")[1].strip() for line in lines[-3:]] == [
        "pymoo_nsga2_ux_32",
        "**nsga2**",
        "**random**",
    ]


def test_an_agent_has_a_run_for_each_budget_and_a_library_one(peers):
    assert peers.runs_of("tpe", None) == [100, 300, 1000]
    assert peers.runs_of("catcmawm", None) == [1000]
    assert peers.runs_of("optuna_gp", None) == [100]
    assert peers.runs_of("optuna_gp", [300, 100]) == [300]
    assert peers.runs_of("smac_rf", [300, 100]) == [100, 300]


def test_a_run_is_done_once_and_a_librarys_longer_run_has_its_shorter_ones_in_it(peers):
    longer = row("nk", "catcmawm", 0, 300, 0.1, 0.1)
    assert peers.is_done([longer], row("nk", "catcmawm", 0, 300))
    assert peers.is_done([longer], row("nk", "catcmawm", 0, 100))
    assert not peers.is_done([longer], row("nk", "catcmawm", 0, 1000))
    assert not peers.is_done([longer], row("nk", "catcmawm", 1, 100))
    assert not peers.is_done([longer], row("nk", "catcmawm", 0, 100, version="2"))
    ours = row("nk", "tpe", 0, 300, 0.1, 0.1)
    assert peers.is_done([ours], row("nk", "tpe", 0, 300)) and not peers.is_done(
        [ours], row("nk", "tpe", 0, 100)
    )


def test_an_interrupted_benchmark_goes_on_where_it_stopped(peers, tmp_path, monkeypatch):
    path = tmp_path / "runs.csv"
    peers.run(path, peers.regrets, ["nk"], ["random", "catcmawm"], [20, 100], seeds=1)
    first = path.read_text()
    real, made = peers.one_run, []

    def watched(score, *key):
        made.append(key)
        return real(score, *key)

    monkeypatch.setattr(peers, "one_run", watched)
    peers.run(path, peers.regrets, ["nk"], ["catcmawm", "random"], [20, 100], seeds=2)
    assert made == [("nk", "catcmawm", 100, 1), ("nk", "random", 20, 1), ("nk", "random", 100, 1)]
    lines = path.read_text().splitlines()
    assert set(first.splitlines()) <= set(lines)
    keys = [(r["agent"], int(r["budget"]), int(r["seed"])) for r in csv.DictReader(lines)]
    assert keys == sorted(keys)  # in whatever order they were made


def test_what_is_not_installed_is_skipped_with_its_reason(peers, tmp_path, monkeypatch, capsys):
    absent = peers.Library("No_Such_Package", peers.catcmawm)
    monkeypatch.setitem(peers.LIBRARIES, "deap_ga", absent)
    peers.run(tmp_path / "runs.csv", peers.regrets, ["nk"], ["deap_ga", "random"], [5], seeds=1)
    printed = capsys.readouterr().out
    assert "skipped deap_ga: ModuleNotFoundError: No module named 'no_such_package'" in printed
    assert 'pip install "archgym[gp,peers]"' in printed
    assert [r["agent"] for r in peers.read_rows(tmp_path / "runs.csv")] == ["random"]


def test_a_library_that_fails_is_recorded_with_its_reason_and_the_others_go_on(peers, tmp_path, monkeypatch):
    def broken(problem):
        problem.reward(np.zeros(8))
        raise ValueError("not\npositive definite")

    monkeypatch.setitem(peers.LIBRARIES, "catcmawm", peers.Library("cmaes", broken))
    peers.run(tmp_path / "runs.csv", peers.regrets, ["nk"], ["catcmawm", "random"], [100], seeds=1)
    failed, other = peers.read_rows(tmp_path / "runs.csv")
    assert (failed["100"], failed["error"]) == ("", "ValueError: not positive definite")
    assert float(other["100"]) > 0 and other["error"] == ""


@pytest.mark.parametrize("library", ["catcmawm", "optuna_tpe_mv"])
@pytest.mark.parametrize("task", ["nk", "nascell", "codesign"])  # ordered, categorical, both and a constant
def test_a_library_spends_the_budget_exactly_and_the_same_seed_gives_the_same_rows(peers, library, task):
    def rows_of(seed):
        search = peers.make_search(task, library, 33, seed)
        search.spend()
        assert search.ledger.samples == 33
        return search.ledger.column("indices").tolist()

    assert rows_of(4) == rows_of(4) != rows_of(5)


def test_regret_is_that_of_the_exact_optimum_and_infinite_before_a_valid_design(peers, monkeypatch):
    search = peers.make_search("nk", "random", 50, 3)
    result = search.run()
    assert peers.regrets(search, "nk")[-1] == pytest.approx(result.regret)
    monkeypatch.setattr(peers, "best_reward", lambda search, task: 2.0)
    search = peers.make_search("softmaxlib", "random", 200, 0)
    search.spend()
    first = int(search.ledger.column("valid").argmax())
    regrets = peers.regrets(search, "softmaxlib")
    assert first > 0 and np.isinf(regrets[:first]).all()
    assert regrets[first] == pytest.approx(2.0 - search.ledger.column("reward")[first])
    monkeypatch.setattr(peers, "best_reward", lambda search, task: -50.0)
    with pytest.raises(archgym.ArchGymError, match="no design of softmaxlib above the optimum"):
        peers.regrets(search, "softmaxlib")


@pytest.mark.parametrize("task", ["softmaxlib", "accel", "hetero", "nascell", "dram", "codesign"])
def test_the_stored_optima_are_of_the_simulators_as_they_are(peers, task, monkeypatch):
    env, kwargs = peers.TASKS[task]
    untabulated = {name: value for name, value in kwargs(0).items() if name != "tabulated"}
    monkeypatch.setitem(peers.TASKS, task, (env, lambda seed: untabulated))  # a table of all takes minutes
    monkeypatch.setattr(peers, "find_optimum", lambda *args: pytest.fail("delete it and run the benchmark"))
    monkeypatch.setattr(peers, "known_optimum", lambda *args: None)
    assert peers.best_reward(peers.make_search(task, "random", 1, 0), task) > 0


def test_a_stored_optimum_that_is_not_this_simulators_is_found_again(peers, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "RESULTS", tmp_path)
    search = peers.make_search("nascell", "random", 1, 0)
    exact = archgym.find_optimum(search.env.simulator, search.env.objective)
    assert peers.best_reward(search, "nascell") == exact.best_reward
    path = tmp_path / "peers_optima.json"
    written = path.read_text()
    path.write_text(written.replace(str(exact.best_reward), "9.5"))
    assert peers.best_reward(search, "nascell") == exact.best_reward
    assert path.read_text() == written


def test_libraries_are_paid_a_reward_for_each_metric_of_a_front(peers, monkeypatch):
    paid = []

    def one_design(problem):
        while True:
            paid.append(problem.reward(np.zeros(len(problem.nvec))))

    monkeypatch.setitem(peers.LIBRARIES, "pymoo_nsga2_ux_32", peers.Library("pymoo", one_design))
    peers.make_search("accel", "pymoo_nsga2_ux_32", 2, 0, front=peers.FRONT).spend()
    assert np.shape(paid) == (2, 2)


def test_a_share_of_the_front_is_that_of_the_valid_designs_so_far(peers, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "RESULTS", tmp_path)
    reference = {"latency_s": 0.1, "power_w": 1.0}
    peers.write_json(tmp_path / "peers_front.json", {"reference": reference, "log_hypervolume": 8.0})
    search = peers.make_search("accel", "random", 40, 0, front=peers.FRONT)
    history = search.run().history
    points = np.log(np.stack([history[name] for name in peers.FRONT], axis=1))
    valid = history["valid"]
    assert 0 < valid.sum() < 40
    volumes = [peers.hypervolume(points[:n][valid[:n]], np.log([0.1, 1.0])) for n in range(1, 41)]
    assert peers.shares(search, "accel") == pytest.approx(np.array(volumes) / 8.0)
    assert volumes[-1] > volumes[0]
