"""What works on a machine and what is missing is told with a remedy; only what archgym cannot do without
is a failure.
"""

from __future__ import annotations

import json
import os
import socket

import pytest
from typer.testing import CliRunner

from archgym.cli import app, doctor


def run(*arguments: str):
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, ["doctor", *arguments])


def test_a_sound_machine_passes_and_every_extra_is_told_with_what_it_brings():
    done = run("--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    findings = {(each["section"], each["name"]): each for each in told["findings"]}
    assert findings["Core", "packages"]["state"] == findings["Core", "search"]["state"] == "ok"
    assert {name for section, name in findings if section == "Extras"} == set(doctor.ENABLES)
    for each in told["findings"]:
        assert each["state"] in ("ok", "missing", "broken")
        if each["state"] != "ok":
            assert each["remedy"], f"{each['name']} is {each['state']} and nothing is said of what to do"


def test_every_extra_of_the_project_is_known_to_the_doctor():
    from importlib.metadata import metadata

    extras = set(metadata("archgym").get_all("Provides-Extra")) - {"all", "test", "docs"}
    assert extras == set(doctor.ENABLES)


def test_the_page_names_versions_and_commands():
    done = run()
    assert (
        done.exit_code == 0
        and "gymnasium" in done.output
        and "Core" in done.output
        and "Backends" in done.output
    )


def test_a_missing_package_is_a_choice_in_an_extra_and_a_fault_in_the_core(monkeypatch):
    from packaging.requirements import Requirement

    wanted = [Requirement("no-such-package>=1")]
    assert doctor._packages("Extras", "x", wanted, "pip install x").state == "missing"
    assert doctor._packages("Core", "x", wanted, "pip install x", needed=True).state == "broken"
    old = doctor._packages("Core", "x", [Requirement("numpy>=999")], "pip install x", needed=True)
    assert old.state == "broken" and "expected >=999" in old.found


def test_a_folder_that_cannot_be_written_fails(monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("ARCHGYM_HOME", os.fspath(file / "below"))
    done = run()
    assert done.exit_code == 1 and "ARCHGYM_HOME" in done.output


@pytest.mark.parametrize(
    ("option", "address"), [("--dask", "tcp://127.0.0.1:{}"), ("--ray", "ray://127.0.0.1:{}")]
)
def test_a_cluster_that_does_not_answer_fails_and_says_so(option, address):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = run(option, address.format(port))
    assert done.exit_code == 1 and "correct" in done.output


def test_a_dask_cluster_that_answers_is_counted():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        if not cluster.scheduler_address.startswith("tcp://"):
            pytest.skip("the cluster listens on no port")
        done = run("--dask", cluster.scheduler_address)
        assert done.exit_code == 0 and "1 runs at once" in done.output
