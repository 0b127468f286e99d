"""The closed forms of attention accelerators against the published tables of FuseMax, and the page that
shows it.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from archgym.cli import fidelity
from archgym.errors import ArchGymError
from archgym.simulators.accelerator import fusemax as forms
from archgym.simulators.accelerator.fidelity import attention as page
from archgym.simulators.accelerator.fusemax import CLOCK_HZ, LENGTHS, MODELS, Attention

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "accelerator"
published = pytest.mark.skipif(
    not (DATA / "fusemax").is_dir(), reason="the published tables (shared/data/accelerator) are not here"
)

app = typer.Typer()
app.command()(fidelity.attention)


def shown(*arguments):
    result = CliRunner().invoke(
        app, list(map(str, arguments)), env={"COLUMNS": "100"}, catch_exceptions=False
    )
    assert result.exit_code == 0
    return result.stdout


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def edit(path, column, value, row=0):
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[row][column] = value
    write(path, rows)


@pytest.fixture
def tables(tmp_path):
    """A folder of tables that are the forms themselves, FLAT keeping everything on chip, with energies 3
    and 4.
    """
    rows = {name: [] for name in page.FILES}
    for model, length in page.ROWS:
        attention = Attention.of_model(model, LENGTHS[length])
        compulsory = forms.compulsory_bytes(attention)
        figures = {
            "attn-binding.csv": (
                forms.fusemax_cycles(attention) / CLOCK_HZ,
                forms.fusemax_bytes(attention),
                3,
            ),
            "attn-arch.csv": (
                forms.fusemax_cycles(attention, interleaved=False) / CLOCK_HZ,
                forms.fusemax_bytes(attention),
                3,
            ),
            "attn-cascade.csv": (
                forms.one_pass_on_flat_cycles(attention) / CLOCK_HZ,
                forms.one_pass_on_flat_bytes(attention),
                3,
            ),
            "attn-flat.csv": (forms.flat_latency_s(attention, compulsory), compulsory, 4),
        }
        for name, (latency, traffic, energy) in figures.items():
            rows[name].append(
                {
                    "model": model,
                    "seq_len": length,
                    "traffic": float(traffic),
                    "latency": float(latency),
                    "energy": energy,
                    "more": "text",
                }
            )
        places = dict.fromkeys(["Q_loc", "K_loc", "V_loc", "QK_loc"], "onchip") | {
            "proportion_spilled": 0,
            "P1": 256,
        }
        rows[page.PLACEMENTS] += [
            {"platform": "cloud", "models": model, "seq_len": length, **places},
            {"platform": "edge", "models": model, "seq_len": length, **places, "P1": "none"},
        ]
    for name in page.FILES:
        write(tmp_path / name, rows[name])
    return tmp_path


# --- the published tables ---


@published
def test_every_form_equals_all_rows_of_its_table():
    found = page.compare(DATA)["forms"]
    assert {name: each["rows"] for name, each in found.items()} == dict.fromkeys(page.FORMS, 24)
    for name, each in found.items():
        assert each["latency"] <= 1e-6, name
        assert each["traffic"] <= 1e-6, name


@published
def test_the_papers_speed_up_and_energy_come_out():
    found = page.compare(DATA / "fusemax")
    assert np.mean(list(found["speed_up"].values())) == pytest.approx(6.72, abs=0.005)
    assert found["speed_up_by_the_forms"] == pytest.approx(
        np.mean(list(found["speed_up"].values())), rel=1e-6
    )
    assert np.mean(list(found["energy"].values())) == pytest.approx(0.787, abs=0.0005)


@published
def test_fusemax_on_smaller_and_larger_arrays():
    with (DATA / "fusemax" / "pareto.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    for row in rows:
        cycles = forms.fusemax_cycles(Attention.of_model(row["model"], 2**18), int(row["PE_dim"]))
        assert cycles / CLOCK_HZ == pytest.approx(float(row["latency"]), rel=1e-9)


@published
def test_the_record_is_what_the_tables_give():
    recorded, found = json.loads(page.RECORD.read_text()), page.compare(DATA)
    assert recorded["forms"].keys() == found["forms"].keys()
    assert recorded["speed_up_by_the_forms"] == pytest.approx(found["speed_up_by_the_forms"])
    for ratio in ("speed_up", "energy"):
        assert recorded[ratio].keys() == found[ratio].keys()
        for model in MODELS:
            assert recorded[ratio][model] == pytest.approx(found[ratio][model])


# --- the page ---


def test_without_data_the_page_shows_the_record_and_says_so():
    text = shown()
    assert "recorded; --data DIR compares anew" in text
    assert "6.72x" in text and "0.787" in text and "Energy, published" in text
    assert all(name in text for name in [*page.FORMS, *MODELS, *LENGTHS])
    assert max(map(len, text.splitlines())) <= 100


def test_with_data_the_page_shows_what_the_tables_give(tables):
    text = shown("--data", tables)
    assert "recorded" not in text and "tables of" in text
    assert "0.750" in text


def test_the_folder_may_hold_the_tables_as_fusemax(tables):
    (tables / "outer").mkdir()
    shutil.copytree(tables, tables / "outer" / "fusemax", ignore=lambda *_: ["outer"])
    assert page.compare(tables / "outer") == page.compare(tables)


def test_a_difference_is_seen_wherever_it_is(tables):
    found = page.compare(tables)["forms"]
    assert all(each["latency"] <= 1e-12 and each["traffic"] <= 1e-12 for each in found.values())
    doubled = forms.fusemax_bytes(Attention.of_model("XLM", 2**20)) / 2
    edit(tables / "attn-binding.csv", "traffic", float(doubled), row=-1)
    found = page.compare(tables)["forms"]
    assert found["attn-binding"]["traffic"] == pytest.approx(1)
    assert found["attn-binding"]["latency"] <= 1e-12 and found["attn-arch"]["traffic"] <= 1e-12


def test_a_folder_without_the_tables_names_what_it_lacks(tables):
    (tables / "attn-flat.csv").unlink()
    with pytest.raises(
        ArchGymError,
        match=r"lacks attn-flat\.csv; give the folder with attn-binding\.csv, .*flat_validation\.csv",
    ):
        page.compare(tables)
    with pytest.raises(
        ArchGymError,
        match=r"lacks attn-binding\.csv, attn-arch\.csv, .*flat_validation\.csv; give the folder with",
    ):
        page.compare(tables / "nowhere")


@pytest.mark.parametrize(
    ("name", "column", "value", "message"),
    [
        ("attn-arch.csv", "latency", "fast", "could not convert string to float: 'fast'"),
        ("attn-arch.csv", "latency", "nan", "'nan' is not a positive number"),
        ("attn-flat.csv", "traffic", "-3", "'-3' is not a positive number"),
        (
            "attn-flat.csv",
            "model",
            "BART",
            r"has no \('BERT', '1K'\); give FuseMax's table with columns model, seq_len, latency",
        ),
        (page.PLACEMENTS, "Q_loc", "nearby", "'nearby' is neither offchip nor onchip"),
        (page.PLACEMENTS, "proportion_spilled", "1.5", "'1.5' is not a share from 0 to 1"),
        (page.PLACEMENTS, "P1", "", "could not convert"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(tables, name, column, value, message):
    edit(tables / name, column, value)
    with pytest.raises(ArchGymError, match=message) as error:
        page.compare(tables)
    assert name in str(error.value)


def test_a_table_without_a_column_or_of_other_bytes_is_refused(tables):
    (tables / "attn-cascade.csv").write_text("model,seq_len,latency\nBERT,1K,1\n")
    with pytest.raises(ArchGymError, match=r"attn-cascade\.csv has no \('BERT', '4K'\)"):
        page.compare(tables)
    (tables / "attn-cascade.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArchGymError, match=r"attn-cascade\.csv is not one of FuseMax's tables"):
        page.compare(tables)
    (tables / "attn-cascade.csv").write_text("")
    with pytest.raises(ArchGymError, match=r"attn-cascade\.csv has no"):
        page.compare(tables)
