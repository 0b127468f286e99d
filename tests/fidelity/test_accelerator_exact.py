"""The accelerator model against what SCALE-Sim, MAESTRO, accelforge and ZigZag say, and the command that
prints it.
"""

import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from archgym.cli import app
from archgym.errors import ArchGymError
from archgym.files.paths import data_folder
from archgym.simulators.accelerator.backends.environments import installed
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.fidelity import accelerator as fidelity
from archgym.simulators.accelerator.fidelity.accelerator import COMPARED, RECORD, compare, run_live
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.model import LayerModel

HOME = str(data_folder().absolute())  # the user's: tests are given one of their own
DATA = Path(__file__).parents[3] / "shared" / "data" / "accelerator"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(),
    reason=("the simulators' tables (shared/data/accelerator beside the project) are not here"),
)


def read(name):
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


def run(*arguments):
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["fidelity", "accelerator", *map(str, arguments)])


# Exact


@needs_data
def test_cycles_and_sram_accesses_are_scale_sims_on_every_row():
    found = fidelity.scalesim(read("scalesim.csv"))
    assert found.rows == 266
    assert found.largest == {"cycles": 0, "ifmap reads": 0, "filter reads": 0, "ofmap writes": 0}


@needs_data
def test_runtimes_are_maestros_on_every_row_of_a_convolution_without_a_limit_on_bandwidth():
    found = fidelity.maestro_(read("maestro.csv"))
    assert (found.rows, found.largest) == (27, {"cycles": 0})


@needs_data
@pytest.mark.parametrize(
    ("name", "function", "column"),
    [
        ("scalesim.csv", fidelity.scalesim, c)
        for c in ("total_cycles_reported", "sram_ifmap_reads", "sram_filter_reads", "sram_ofmap_writes")
    ]
    + [("maestro.csv", fidelity.maestro_, "runtime_cycles")],
)
def test_a_difference_of_one_in_one_row_is_seen(name, function, column):
    rows = read(name)
    place = next(
        i for i, row in enumerate(rows) if name == "scalesim.csv" or (row["noc_bw"] == "100000" and row["S"])
    )
    rows[place][column] = str(int(rows[place][column]) + 1)
    assert sorted(function(rows).largest.values())[-1] == 1


# Energy


@needs_data
def test_energy_is_accelforges_within_five_per_cent_on_average():
    found = fidelity.accelforge(read("accelforge_nvdla.csv"))
    for size, errors in {**found.by_buffer_kb, "all": found.overall}.items():
        print(
            f"\n{size} KB: mean {errors.mean:.2%}, largest {errors.largest:.2%}, Spearman "
            f"{errors.spearman:.4f}",
            end="",
        )
    assert found.overall.rows == 32
    assert found.overall.mean <= 0.05
    assert found.overall.largest <= 0.15
    assert found.overall.spearman >= 0.98
    assert list(found.by_buffer_kb) == [16, 64, 256, 1024]
    assert all(errors.rows == 8 for errors in found.by_buffer_kb.values())


@needs_data
def test_energy_of_accelforges_multiply_adds_and_off_chip_traffic_is_ours_where_all_fits():
    table = load_energy_table("accelforge_nvdla")
    for row in read("accelforge_nvdla.csv"):
        m, n, k = (int(row[size]) for size in "MNK")
        assert 1e-12 * m * n * k * table.mac_pj("int8") == pytest.approx(float(row["E_MAC"]), rel=0.01)
        if int(row["gb_bytes"]) == 2**20:
            assert 1e-12 * (m * k + k * n + m * n) * table.dram_pj_per_byte == pytest.approx(
                float(row["E_MainMemory"]), rel=0.02
            )


@needs_data
def test_energy_per_multiply_add_has_the_order_of_zigzags_with_its_constants():
    found = fidelity.zigzag(read("zigzag.csv"))
    assert len(found.names) == len(found.predicted) == len(found.simulated) == 8
    assert found.spearman >= 0.9
    ratios = np.array(found.predicted) / np.array(found.simulated)
    assert (np.abs(ratios - 1) < 0.25).all()


@needs_data
def test_what_the_comparison_with_zigzag_does_not_show_is_stated():
    found = fidelity.zigzag(read("zigzag.csv"))
    assert found.spearman_compulsory >= 0.9  # the order is that of compulsory traffic, almost
    layers = tuple(
        Layer.gemm(row["wl"], *(int(row[size]) for size in "MNK")) for row in read("zigzag.csv")[:8]
    )
    costs = LayerModel(layers, load_energy_table("45nm")).costs(
        {name: np.array([v]) for name, v in fidelity.TPU_LIKE_DESIGN.items()}
    )
    per_mac = costs.energy_j[0] / [layer.macs for layer in layers]
    ranks = [np.argsort(np.argsort(values)) for values in (per_mac, found.simulated)]
    assert found.spearman_45nm == pytest.approx(np.corrcoef(ranks)[0, 1])


# The command


@needs_data
def test_the_record_is_what_the_tables_give():
    recorded, found = json.loads(RECORD.read_text()), compare(DATA)
    assert recorded["scalesim"] == found["scalesim"]
    assert recorded["maestro"] == found["maestro"]
    assert recorded["zigzag"]["names"] == found["zigzag"]["names"]
    for one, other in zip(_numbers(recorded), _numbers(found), strict=True):
        assert one == pytest.approx(other, rel=1e-9)


def _numbers(value):
    if isinstance(value, dict):
        return [number for each in value.values() for number in _numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [value] if isinstance(value, (int, float)) else []


def test_without_data_the_command_shows_the_record_and_says_so():
    result = run()
    assert result.exit_code == 0, result.output
    assert "recorded" in result.stdout.splitlines()[0]
    recorded = json.loads(RECORD.read_text())
    overall = recorded["accelforge_nvdla"]["overall"]
    for text in (
        f"{100 * overall['mean']:.2f} %",
        f"{recorded['zigzag']['spearman_45nm']:.4f}",
        "SCALE-Sim",
        "MAESTRO",
        "16 KB",
        "1,024 KB",
    ):
        assert text in result.stdout
    for text in ("Not validated", "Stalls", "Joules", "row-stationary", "Area"):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@needs_data
def test_with_data_the_command_compares_anew_and_writes_what_it_found(tmp_path):
    result = run("--data", DATA, "--record", tmp_path / "new.json")
    assert result.exit_code == 0, result.output
    assert str(DATA) in result.stdout.replace("\n", "")
    assert json.loads((tmp_path / "new.json").read_text()) == compare(DATA)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dataflow,rows\nws,8\n", "scalesim.csv has no column 'cols'"),
        ("dataflow,rows,cols,M,N,Kdim\n", "scalesim.csv is not a valid table: it has no rows"),
        ("dataflow,rows,cols,M,N,Kdim\nws,8,8,x,4,4\n", "scalesim.csv is not a valid table: invalid literal"),
        (
            "dataflow,rows,cols,M,N,Kdim\nws,8,8,0,4,4\n",
            "scalesim.csv is not a valid table: m must be a positive integer",
        ),
        (
            "dataflow,rows,cols,M,N,Kdim\nxs,8,8,4,4,4\n",
            "scalesim.csv is not a valid table: unknown dataflow",
        ),
        ("dataflow,rows,cols,M,N,Kdim\nws,8,8\n", "scalesim.csv is not a valid table"),
        (b"\xff\xfe\x00", "scalesim.csv is not a valid table"),
    ],
)
def test_a_table_that_is_malformed_is_refused_by_name(tmp_path, content, message):
    for name in COMPARED:
        (tmp_path / name).write_text("")
    (tmp_path / "scalesim.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ArchGymError, match=message):
        compare(tmp_path)


@needs_data
@pytest.mark.parametrize(
    ("name", "column", "value", "message"),
    [
        ("maestro.csv", "noc_bw", "64", "it has no row of a convolution"),
        ("maestro.csv", "dataflow", "other", "unknown dataflow of MAESTRO 'other'"),
        ("maestro.csv", "num_pes", "nan", "'nan' is not a positive number"),
        ("accelforge_nvdla.csv", "energy_J", "0", "'0' is not a positive number"),
        ("accelforge_nvdla.csv", "gb_bytes", "2", "a buffer of 2 bytes holds no tile"),
        ("zigzag.csv", "arch", "other", "it has no row of arch tpu_like"),
        ("zigzag.csv", "energy_pJ", "inf", "'inf' is not a positive number"),
    ],
)
def test_a_cell_that_cannot_be_is_refused_with_the_name_of_its_file(tmp_path, name, column, value, message):
    for each in COMPARED:
        shutil.copyfile(DATA / each, tmp_path / each)
    rows = [{**row, column: value} for row in read(name)]
    with (tmp_path / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(ArchGymError, match=f"{name} is not a valid table: {message}"):
        compare(tmp_path)


def test_missing_tables_are_named(tmp_path):
    (tmp_path / "zigzag.csv").write_text("")
    result = run("--data", tmp_path)
    assert result.exit_code == 2
    assert "lacks scalesim.csv, maestro.csv, accelforge_nvdla.csv;" in " ".join(result.stderr.split())
    assert run("--data", tmp_path / "nowhere").exit_code == 2


def test_a_record_needs_data():
    result = run("--record", "new.json")
    assert result.exit_code == 2
    assert "--data" in result.stderr


def test_a_single_row_has_no_order():
    row = {"M": "128", "N": "128", "K": "64", "gb_bytes": "16384", "energy_J": "1e-6"}
    found = asdict(fidelity.accelforge([row]))
    assert np.isnan(found["overall"]["spearman"])
    assert list(found["by_buffer_kb"]) == [16]


@pytest.mark.skipif(
    not installed("scalesim"), reason="SCALE-Sim is not installed (archgym backends install scalesim)"
)
def test_cycles_and_accesses_are_scale_sims_where_it_is_run_on_random_cases(monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", HOME)
    assert [case["difference"] for case in run_live(seed=1)] == [0] * 12


def test_live_without_scale_sim_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path))
    result = run("--live")
    assert result.exit_code == 2
    assert "archgym backends install scalesim" in result.stderr
