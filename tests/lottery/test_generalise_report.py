"""Reports of studies of kind "generalise": statistics with known coverage, verdicts with known truths, the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

pl = pytest.importorskip("polars")
pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from unseen import held_out, task  # noqa: E402

from archgym.lottery.generalise.analysis import TABLES, Transfer, analyse, verdict  # noqa: E402
from archgym.lottery.generalise.data import Baseline  # noqa: E402
from archgym.lottery.generalise.statistics import (  # noqa: E402
    mean_over_splits,
    samples_to_equal,
    spread_of_seeds,
)
from archgym.lottery.generalise.words import conclude  # noqa: E402
from archgym.lottery.report.generalise import write_generalise_report  # noqa: E402

HOSTILE = """</script><img src=x onerror=alert(1)>"&'{{ 7 * 7 }}"""

# ------------------------------------------------------------------------------------------------ statistics


def test_the_interval_is_nadeau_and_bengios():
    values, ratio = np.array([0.9, 0.8, 0.95, 0.85]), 3 / 7
    low, high = mean_over_splits(values, ratio).interval()
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1) * np.sqrt(1 / 4 + 3 / 7)
    assert (low, high) == pytest.approx((0.875 - half, 0.875 + half))


def test_missing_splits_are_left_out_and_one_split_has_no_interval():
    values = np.array([0.9, np.nan, 0.95, 0.85])
    found, expected = mean_over_splits(values, 0.5), mean_over_splits(values[[0, 2, 3]], 0.5)
    assert found.interval() == expected.interval() and found.value == expected.value
    assert np.isnan(mean_over_splits(values[:2], 0.5).interval()).all()
    assert np.isnan(mean_over_splits(np.full(3, np.nan), 0.5).value)


@pytest.mark.parametrize(("contexts", "splits"), [(20, 10), (60, 10), (60, 30)])
def test_intervals_over_overlapping_splits_cover_the_truth(contexts, splits):
    """Contexts with values of their own: the naive t interval covers it less the more splits there are."""
    rng = np.random.default_rng(contexts + splits)
    count, hits, naive = round(0.3 * contexts), 0, 0
    ratio, studies = count / (contexts - count), 1500
    for _ in range(studies):
        values = rng.normal(size=contexts)
        rows = held_out(contexts, count, splits, rng)
        means = np.where(rows, values, 0.0).sum(axis=1) / count
        low, high = mean_over_splits(means, ratio).interval()
        hits += low <= 0 <= high
        low, high = mean_over_splits(means, 0.0).interval()
        naive += low <= 0 <= high
    assert 0.92 <= hits / studies <= 0.98
    assert naive / studies < 0.8


def test_the_spread_of_seeds_is_pooled_within_splits():
    rng = np.random.default_rng(0)
    values = 10 * rng.normal(size=(400, 1)) + 0.3 * rng.normal(size=(400, 3))
    assert spread_of_seeds(values) == pytest.approx(0.3, rel=0.1)
    values[:, 1:] = np.nan
    assert np.isnan(spread_of_seeds(values))


def test_samples_to_equal_is_where_the_curve_of_a_search_crosses_the_policy():
    curve = np.linspace(0.1, 1.0, 10)
    searched = np.stack([curve, curve, curve])
    assert samples_to_equal(searched, np.full(3, 0.55), 0.4) == (6, 6, 6)
    assert samples_to_equal(searched, np.full(3, 0.05), 0.4) == (1, 1, 1)
    assert samples_to_equal(searched[:, :4], np.full(3, 0.55), 0.4) == (np.inf, np.inf, np.inf)
    noisy = np.stack([curve - 0.1, curve, curve + 0.1])
    samples, low, high = samples_to_equal(noisy, np.full(3, 0.55), 0.4)
    half = stats.t.ppf(0.975, 2) * 0.1 * np.sqrt(1 / 3 + 0.4)
    assert samples == 6 and low == 1 + np.argmax(curve + half >= 0.55)
    assert high == 1 + np.argmax(curve - half >= 0.55) == 10
    assert samples_to_equal(noisy, np.full(3, 0.65), 0.4)[2] == np.inf
    samples, low, high = samples_to_equal(noisy[:1], np.array([0.55]), 0.4)
    assert samples == 7 and np.isnan([low, high]).all()


# -------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("share", "levels", "expected"),
    [
        (0.93, {}, Transfer.GENERALISES),
        (0.81, {}, Transfer.COPIES),  # as good as the nearest, better than one for all
        (0.30, {}, Transfer.NOTHING),  # a random design
        (0.15, {}, Transfer.NOTHING),  # worse than a random design
        (0.93, {"one_for_all": 0.95}, Transfer.COPIES),
    ],
)
def test_verdicts_are_those_of_the_planted_truth(share, levels, expected):
    analysis = analyse([task({"mine": share}, **levels)])
    final = analysis.policies.filter(pl.col("samples") == 10_000)
    assert final["verdict"].to_list() == [expected.value]
    text = " ".join(map(str, conclude(analysis)))
    words = {Transfer.GENERALISES: "mine generalises", Transfer.COPIES: "mine is no better than copying"}
    assert words.get(expected, "mine shows no generalisation") in text
    assert ("samples of the held-out context" in text) == (expected is not Transfer.NOTHING)


def test_a_policy_of_random_designs_generalises_in_no_more_studies_than_the_level_allows():
    verdicts = [
        analyse([task({"mine": 0.3}, seed=seed, limit=3, budgets=(10,))]).policies["verdict"][0]
        for seed in range(120)
    ]
    assert verdicts.count(Transfer.NOTHING.value) >= 0.95 * len(verdicts)


def test_one_split_resolves_nothing():
    analysis = analyse([task({"mine": 0.9}, splits=1)])
    assert set(analysis.policies["verdict"]) == {Transfer.UNRESOLVED.value}
    assert verdict({}) is Transfer.UNRESOLVED
    assert "whether the policy mine generalises is not resolved" in str(conclude(analysis)[0])


# ---------------------------------------------------------------------------------------------------- tables


def test_tables_are_plain_means_over_seeds_contexts_and_splits():
    made = task({"mine": 0.85})
    analysis = analyse([made])
    shares = made.policies["mine"][10_000].shares
    first = [
        np.mean([shares[j, s, c, 0] for s in range(3) for c in np.flatnonzero(made.held_out[j])])
        for j in range(10)
    ]
    row = analysis.policies.filter(pl.col("samples") == 10_000).to_dicts()[0]
    assert row["share"] == pytest.approx(np.mean(first))
    assert row["lowest"] == np.nanmin(shares[..., 0])
    worst = [np.mean([np.nanmin(shares[j, s, :, 0]) for s in range(3)]) for j in range(10)]
    assert row["worst"] == pytest.approx(np.mean(worst))
    near = analysis.baselines.filter(
        pl.col("samples") == 10_000, pl.col("baseline") == Baseline.NEAREST.value
    )
    gaps = np.array(first) - [made.baselines[Baseline.NEAREST][j][made.held_out[j]].mean() for j in range(10)]
    half = stats.t.ppf(0.975, 9) * gaps.std(ddof=1) * np.sqrt(1 / 10 + 3 / 7)
    assert near["difference"][0] == pytest.approx(gaps.mean())
    assert (near["low"][0], near["high"][0]) == pytest.approx((gaps.mean() - half, gaps.mean() + half))
    saved = analysis.samples_saved.filter(pl.col("search") == "bo", pl.col("samples") == 10_000)
    curve = np.mean([made.searches["bo"][:, made.held_out[j]].mean(axis=(0, 1)) for j in range(10)], axis=0)
    assert saved["equal"][0] == 1 + np.argmax(curve >= np.mean(first)) and saved["spent"].to_list() == [0, 5]


def test_a_study_in_part_gives_the_splits_that_are_there():
    made = task({"mine": 0.85})
    runs = made.policies["mine"][10_000]
    runs.shares[7:] = np.nan
    runs.seconds[7:] = np.nan
    row = analyse([made]).policies.filter(pl.col("samples") == 10_000).to_dicts()[0]
    assert row["runs"] == 21 and 0.8 < row["share"] < 0.9
    made.searches["bo"][:, 0] = np.nan  # a context without runs: splits that hold it out are left out
    saved = analyse([made]).samples_saved.filter(pl.col("search") == "bo", pl.col("samples") == 10_000)
    assert saved["equal"].is_finite().all()
    empty = replace(made, policies={"mine": {10: replace(runs, shares=np.full_like(runs.shares, np.nan))}})
    assert not len(analyse([empty]).policies)


# ------------------------------------------------------------------------------------------------------ page


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two tasks and two policies, some named by an attacker."""
    tasks = [task({"mine": 0.93, HOSTILE: 0.4}, name=name, seed=s) for s, name in enumerate(("one", HOSTILE))]
    folder = tmp_path_factory.mktemp("report")
    write_generalise_report(analyse(tasks), folder, title=f"A {HOSTILE}", provenance={"Study": HOSTILE})
    return folder


def test_the_page_has_conclusions_first_its_files_and_nothing_from_elsewhere(written):
    page = (written / "report.html").read_text()
    assert HOSTILE not in page and page.count("<script") == page.count("</script>") == 3
    order = [
        page.index(f'id="{name}"')
        for name in ("conclusions", "unseen", "training", "saved", "contexts", "study")
    ]
    assert order == sorted(order) and page.index("mine generalises") < order[1]
    links = set(re.findall(r'href="((?:figures|tables)/[^"]+)"', page))
    assert {f"tables/{name}.csv" for name in TABLES} <= links and len(links) >= 13
    assert all((written / link).is_file() for link in links)
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert data["agents"] == ["mine", HOSTILE, "random", "bo"] and len(data["charts"]) == 6


def test_tables_are_the_frames(written):
    tasks = [task({"mine": 0.93, HOSTILE: 0.4}, name=name, seed=s) for s, name in enumerate(("one", HOSTILE))]
    analysis = analyse(tasks)
    for name in TABLES:
        frame = getattr(analysis, name)
        read = pl.read_csv(written / "tables" / f"{name}.csv", schema=frame.schema)
        assert read.equals(frame), name


def test_a_study_file_becomes_a_report_with_conclusions_in_the_terminal(plugins, tmp_path):
    (tmp_path / "study.toml").write_text("""
[study]
kind = "generalise"
name = "targets"
budget = [60, 600]
splits = 5
seeds = 2
verify = 3
search_budget = 20

[[env]]
id = "targets:test/Target-v0"
label = "target"
contexts = "all"

[[agent]]
name = "targets:Copier"
label = "copier"

[[agent]]
name = "targets:Guesser"
label = "guesser"

[[agent]]
name = "random"
""")
    command = [sys.executable, "-m", "archgym.cli", "lottery", "study.toml", "--out", "out", "--workers", "2"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    text = " ".join(found.stdout.split())
    assert "the policy copier is no better than copying: after 600 training samples" in text
    assert "the policy guesser shows no generalisation" in text
    assert "with which a search is as good as copier, as the first proposal: random" in text
    policies = pl.read_csv(tmp_path / "out" / "tables" / "policies.csv")
    assert policies.height == 4 and (policies["runs"] == 10).all()
    copies = pl.read_csv(tmp_path / "out" / "tables" / "baselines.csv").filter(
        pl.col("agent") == "copier", pl.col("samples") == 600, pl.col("baseline") == Baseline.NEAREST.value
    )
    assert copies["difference"][0] == pytest.approx(0, abs=0.02)  # it copies the nearest context's best
