"""The tiling against accelforge's mapper: the cases, the recorded runs, and the command."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from archgym.cli import app
from archgym.files.paths import data_folder
from archgym.simulators.accelerator.backends.environments import installed
from archgym.simulators.accelerator.design import KIB
from archgym.simulators.accelerator.fidelity import mapper
from archgym.simulators.accelerator.fidelity.accelerator import chip_costs, nvdla_like
from archgym.simulators.accelerator.layers import Layer

HOME = str(data_folder().absolute())  # the user's: tests are given one of their own
RECORDED = json.loads(mapper.RECORD.read_text())


def run(*arguments):
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["fidelity", "accelerator", *map(str, arguments)])


def test_cases_are_twenty_layers_that_no_table_lists_and_follow_the_seed():
    first, again, other = mapper.cases(0), mapper.cases(0), mapper.cases(1)
    assert first == again != other
    assert len(first) == len({gemm for _, gemm in first}) == 20
    assert not {tuple(gemm) for _, gemm in first + other} & mapper.TABLED
    assert sum(name.startswith("random") for name, _ in first) == 10


def test_the_record_is_of_these_cases_in_every_setting():
    runs = [
        (row["setting"], row["name"], row["m"], row["n"], row["k"], row["buffer_kb"])
        for row in RECORDED["rows"]
    ]
    assert runs == [
        (setting, name, *gemm, size)
        for setting in mapper.SETTINGS
        for name, gemm in mapper.cases(RECORDED["seed"])
        for size in mapper.BUFFERS_KB
    ]
    assert RECORDED["summary"] == json.loads(json.dumps(mapper.summary(RECORDED["rows"])))
    assert json.loads(mapper.record_of(RECORDED)) == RECORDED


def test_the_recorded_figures_of_the_model_are_those_of_today():
    for row in RECORDED["rows"]:
        chip = replace(nvdla_like(), dataflow=mapper.SETTINGS[row["setting"]][0])
        layer = Layer.gemm("gemm", row["m"], row["n"], row["k"])
        costs = chip_costs(layer, KIB * row["buffer_kb"], chip)
        figures = costs.energy_pj, costs.off_chip_reads + costs.off_chip_writes, costs.reads + costs.writes
        recorded = [row[f"model_{name}"] for name in ("energy", "off_chip", "buffer")]
        assert recorded == pytest.approx(figures, rel=1e-5)


def test_energy_is_the_mappers_within_five_per_cent_on_average_whatever_stays():
    for setting, found in RECORDED["summary"].items():
        assert found["overall"]["rows"] == 60, setting
        assert found["overall"]["mean"] <= 0.05
        assert found["overall"]["largest"] <= 0.2
        assert found["overall"]["spearman"] >= 0.99
        assert found["by_buffer_kb"]["32"]["mean"] <= 0.055


def test_no_traffic_is_below_what_nothing_avoids_and_the_model_s_is_not_below_the_best_mapping_s():
    for row in RECORDED["rows"]:
        assert min(row["mapper_off_chip"], row["model_off_chip"]) >= row["compulsory_bytes"] * (1 - 1e-5)
    for setting in ("free", "inputs"):
        assert RECORDED["summary"][setting]["differences"]["off_chip"]["least"] >= -1e-5


def test_the_command_shows_the_record_and_its_json():
    result = run()
    assert result.exit_code == 0, result.output
    assert "seed 0, recorded" in result.stdout
    overall = RECORDED["summary"]["outputs"]["overall"]
    assert f"{100 * overall['mean']:.2f} %" in result.stdout
    assert "random 3" in result.stdout  # the worst case
    found = json.loads(run("--json").stdout)
    assert found["rows"] == 266 + 27 + 32 + 8
    assert found["mapper"] == RECORDED["summary"]
    largest = RECORDED["summary"]["free"]["differences"]["energy"]["largest"]
    assert found["largest_relative_difference"]["mapper_energy"] == largest
    assert found["largest_difference"]["scalesim"]["cycles"] == 0


def test_a_tool_is_run_with_live_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    refused = run("accelforge")
    assert refused.exit_code == 2
    assert "archgym fidelity accelerator --live accelforge" in " ".join(refused.stderr.split())
    assert (
        "unknown tool of --live 'timeloop'; known: scalesim, accelforge" in run("--live", "timeloop").stderr
    )
    for arguments, tool in (
        (["--live"], "scalesim"),
        (["--live", "scalesim"], "scalesim"),
        (["--live", "--seed", "1"], "scalesim"),
        (["--live", "accelforge"], "accelforge"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert f"archgym backends install {tool}" in " ".join(result.stderr.split())


def test_a_record_is_of_one_comparison(tmp_path):
    for arguments in ([], ["--live", "scalesim"], ["--live", "accelforge", "--data", tmp_path]):
        result = run(*arguments, "--record", tmp_path / "new.json")
        assert result.exit_code == 2
        assert "--record writes one comparison" in " ".join(result.stderr.split())


@pytest.mark.skipif(
    not installed("accelforge"), reason="accelforge is not installed (archgym backends install accelforge)"
)
def test_a_run_of_the_mapper_is_the_recorded_one(monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", HOME)
    first = mapper.cases(0)[:1]
    monkeypatch.setattr(mapper, "cases", lambda seed: first)
    monkeypatch.setattr(mapper, "BUFFERS_KB", (32,))
    monkeypatch.setattr(mapper, "summary", lambda rows: {})
    recorded = [row for row in RECORDED["rows"] if (row["name"], row["buffer_kb"]) == (first[0][0], 32)]
    assert len(recorded) == 4
    assert mapper.run_live(0)["rows"] == recorded
