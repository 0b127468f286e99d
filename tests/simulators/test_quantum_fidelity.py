"""`archgym fidelity quantum`: recorded and live energies, starts, and files that are no table."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from archgym import ArchGymError
from archgym.cli import app
from archgym.simulators.quantum import fidelity, list_molecules

HEADER = "molecule,circuit,angles,energy_hartree\n"
ROW = "H2-2,ry 0; cx 0 1,0.1,-0.5\n"


def run(*arguments):
    return CliRunner().invoke(app, ["fidelity", "quantum", *map(str, arguments)])


def as_json(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def recorded():
    with fidelity.RECORDED.open() as lines:
        return list(csv.DictReader(lines))


def test_energies_are_those_that_qiskit_had_with_and_without_noise():
    found = as_json()
    assert found["rows"] >= 200 and found["tools"] == ["Qiskit 2.6.2"]
    assert found["largest_relative_difference"]["energy_hartree"] < 1e-13
    assert found["largest_absolute_difference"]["energy_hartree"] < 1e-12
    rows = recorded()
    assert {row["molecule"] for row in rows} == set(list_molecules())
    assert 50 < sum(float(row["p2"]) > 0 for row in rows) < len(rows)


def test_qiskit_has_the_same_energies_today(tmp_path):
    pytest.importorskip("qiskit")
    text = fidelity.RECORDED.read_text().splitlines(keepends=True)
    (tmp_path / "some.csv").write_text("".join(text[:1] + text[9::37]))
    found = as_json("--data", tmp_path / "some.csv", "--live")
    assert found["rows"] == 7 and found["tools"][0].startswith("Qiskit")
    assert found["largest_absolute_difference"]["energy_hartree"] < 1e-12


def test_a_changed_energy_angle_gate_or_noise_shows(tmp_path):
    row = next(row for row in recorded() if float(row["p2"]) > 0 and row["circuit"].count("cx") > 2)
    energy = float(row["energy_hartree"])
    changes = {
        "energy_hartree": str(2 * energy),
        "angles": row["angles"].replace(";", "1;", 1).replace("0.", "1.", 1),
        "circuit": row["circuit"].replace("ry", "rx").replace("rz", "ry"),
        "p2": "0.02",
    }
    for column, value in changes.items():
        with (tmp_path / "changed.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(row))
            table.writeheader()
            table.writerow({**row, column: value})
        difference = as_json("--data", tmp_path / "changed.csv")["largest_relative_difference"]
        assert difference["energy_hartree"] > 1e-6, column
        if column == "energy_hartree":
            assert difference["energy_hartree"] == pytest.approx(0.5)


def test_a_hamiltonian_beside_the_table_and_tabs_are_read(tmp_path):
    (tmp_path / "mine.csv").write_text("Z,-2\nX,0.5\n")
    (tmp_path / "H2-2").write_text("Z,1\n")  # the name is the molecule
    (tmp_path / "table.csv").write_text(
        "molecule\tcircuit\tangles\tenergy_hartree\nmine.csv\tnone; rx 0\t0\t-2\nH2-2\t\t\t-1.1\n"
    )
    comparison = fidelity.compare(tmp_path / "table.csv")
    assert comparison.ours[0] == -2 and 0.4 < comparison.ours[1] < 0.5  # without gates
    assert "mine.csv" in run("--data", tmp_path / "table.csv").output


def test_more_starts_are_nearer_to_the_best():
    found = as_json("--starts", 20, "--molecule", "H2-3", "--slots", 10)
    starts = found["starts"]
    assert found["circuits"] == 20 and starts["starts"] == [1, 2, 4, 8, 16]
    assert starts["within_0.0001"][-1] == 1 and starts["within_0.0001"][0] < 1
    assert starts["largest"][-1] <= 1e-4 < starts["largest"][0]
    output = run("--starts", 4, "--molecule", "H2-2", "--slots", 4, "--p2", 0.01).output
    assert "4 random circuits of 4 gates on H2-2" in output and "Within 1e-06 Ha" in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column"),
        (HEADER, "expected rows"),
        (HEADER.replace("angles", "angels"), "did you mean 'angles'"),
        ("molecule,circuit,angles\n", "expected a column 'energy_hartree'"),
        (HEADER + ROW.replace("H2-2", ""), "line 2 has no molecule"),
        (HEADER + ROW.replace("H2-2", "H2-5"), "H2-5"),
        (HEADER + ROW.replace("cx 0 1", "cx 0 0"), "unknown gate of 2 qubits in line 2 'cx 0 0'"),
        (HEADER + ROW.replace("0.1", "0.1; 0.2"), "line 2: expected 1 angles, one of each rotation, got 2"),
        (HEADER + ROW.replace("0.1", "nan"), "line 2: expected angles as a finite number, got 'nan'"),
        (HEADER + ROW.replace("-0.5", "low"), "line 2: expected energy_hartree as a finite number"),
        (HEADER + ROW + "H2-2\n", "line 3: expected energy_hartree as a finite number"),
        (HEADER + "H2-2," + "cx 0 1;" * 129 + ",,1\n", "at most 128 gates, got 129"),
        (HEADER.replace("mol", "p2,mol") + "2," + ROW, "expected p2 as a chance"),
        ("\0", "unknown column"),
    ],
)
def test_what_is_no_table_of_energies_is_one_line(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ArchGymError, match=message) as caught:
        fidelity.compare(tmp_path / "bad.csv")
    assert "\n" not in str(caught.value)
    assert run("--data", tmp_path / "bad.csv").exit_code == 2


def test_live_without_qiskit_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "qiskit", None)
    with pytest.raises(ArchGymError, match="Qiskit is not installed; pip install"):
        fidelity.compare(live=True)
