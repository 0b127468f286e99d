"""The backends of the accelerator environments: against stand-ins of the tools, and against the tools
where they are installed.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from archgym.cli import backends as cli
from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.files.paths import data_folder, make_folder
from archgym.files.results import Records
from archgym.simulator_wrappers.parallel import Isolated
from archgym.simulators.accelerator import backends, systolic
from archgym.simulators.accelerator.backends import (
    AccelForge,
    ScaleSim,
    ZigZag,
    backend_simulator,
    environments,
)
from archgym.simulators.accelerator.backends.accelforge import architecture, job, mac, memory, pe_array
from archgym.simulators.accelerator.backends.jobs import Gemm, gemms
from archgym.simulators.accelerator.backends.session import WORKERS, Session
from archgym.simulators.accelerator.backends.tool import Tool, key_of
from archgym.simulators.accelerator.backends.zigzag import hardware
from archgym.simulators.accelerator.design import PRECISIONS, Precision, accelerator_space
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.fidelity.accelerator import nvdla_like
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.workloads import Workload
from archgym.testing import check_simulator

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "accelerator"
USERS_HOME = data_folder()  # before the tests get one of their own
POSIX = pytest.mark.skipif(os.name != "posix", reason="stand-ins are shell scripts")

# Runs archgym's own worker with another tool: python stub.py -s worker.py NAME SCRATCH
STUB = """
import sys
from pathlib import Path

_, program, name, scratch = sys.argv[1:]
sys.path[:0] = [str(Path(__file__).parent), str(Path(program).parent)]
import worker
worker.main(name, scratch)
"""

SCALESIM = """
def run(job):
    from archgym.simulators.accelerator import systolic
    with open(home + "/asked", "a") as file:
        file.write("x")
    counts = systolic.sram_accesses(**job)
    return {"cycles": int(systolic.cycles(**job))} | dict(zip(("ifmap_reads", "filter_reads", "ofmap_writes"), map(int, counts)))
"""

ZIGZAG = """
def run(job):
    return {"cycles": 2.5 * job["m"], "energy_pj": 3.0 * job["n"], "off_chip_accesses": 1.0 * job["k"]}
"""

ACCELFORGE = """
def run(job):
    with open(home + "/asked", "a") as file:
        file.write("x")
    m, n, k, rate = job["m"], job["n"], job["k"], job["architecture"][0]["actions"][0]["throughput"]
    assert rate == 1
    off_chip = m * k * job["operand"] + m * n * job["accumulator"]
    seconds = {"off_chip": off_chip, "buffer": 5.0, "network": 2 * off_chip, "l1": 3.0, "mac": 1.5 * m}
    return {"energy_pj": 1e4 * m * n, "seconds": seconds, "actions": {}}
"""

WORKLOAD = Workload(
    "small",
    "Two matrix multiplications, one of them twice, the other in three groups",
    "the tests",
    None,
    (
        Layer.gemm("first", 37, 101, 59, repeats=2),
        Layer.gemm("second", 20, 16, 30, groups=3),
        Layer("third", "conv", channels=59, filters=101, height=37),  # the same multiplication as the first
    ),
)
DESIGN = {
    "dataflow": "systolic_ws",
    "rows": 16,
    "cols": 32,
    "l1_bytes": 128,
    "buffer_kb": 64,
    "noc_bytes_per_cycle": 32,
    "dram_gb_s": 16,
    "precision": "int8",
    "double_buffering": True,
    "clock_mhz": 800,
}


def evaluate(simulator, **others):
    columns = simulator.evaluate({name: np.array([value]) for name, value in (DESIGN | others).items()})
    return {name: column[0].item() for name, column in columns.items()}


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def gone(pid):
    """Whether a process ended, or ends within ten seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data folder of the test's own."""
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def stand_in(home, tmp_path):
    """stand_in(name, code): an installed backend whose tool is this code; the path of its Python."""

    def make(name, code):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "stub.py").write_text(STUB)
        (folder / f"{name}_worker.py").write_text(
            f"import os, signal, sys, time\nhome = {str(folder)!r}\n{code}"
        )
        place = home / "backends" / name
        python = program(place / "bin" / "python", f'exec {sys.executable} {folder}/stub.py "$@"')
        (place / environments.MARKER).write_text(
            json.dumps({"lock": environments.lock_digest(name), "packages": []})
        )
        return python

    return make


# --- sessions ---


@POSIX
def test_a_session_answers_jobs_in_order_whatever_the_tool_prints(stand_in):
    code = """
print("loading", flush=True)
os.system("echo a child prints too")
def run(job):
    print("{}", flush=True)
    os.write(1, b"noise\\n")
    assert sys.stdin.read() == ""
    return {"double": 2 * job["x"]}
"""
    session = Session(stand_in("scalesim", code), "scalesim")
    assert [session.ask({"x": x})["double"] for x in (1, 2.5, 3)] == [2, 5.0, 6]
    session.close()
    assert gone(session.pid)


@POSIX
def test_a_job_that_the_tool_refuses_is_an_error_and_the_session_goes_on(stand_in):
    code = """
def run(job):
    if job["x"] < 0:
        raise ValueError("negative:\\n" + 2000 * "x")
    return {"x": job["x"]}
"""
    session = Session(stand_in("scalesim", code), "scalesim")
    with pytest.raises(ArchGymError, match="scalesim: ValueError: negative: x") as error:
        session.ask({"x": -1})
    assert len(str(error.value)) < 400
    assert session.ask({"x": 1}) == {"x": 1}
    session.close()


@POSIX
@pytest.mark.parametrize(
    ("death", "message"),
    [
        (
            "print('the last words', file=sys.stderr); sys.stderr.flush(); os._exit(3)",
            "ended with exit code 3: .*the last words",
        ),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os.write(4, b'no JSON\\n'); time.sleep(60)", "a line that is not JSON: 'no JSON'"),
        ("os.write(4, b'[1]\\n'); time.sleep(60)", "a line that is not JSON"),
    ],
)
def test_a_tool_that_dies_or_talks_nonsense_ends_the_session_with_the_reason(stand_in, death, message):
    # the worker's private answers are file 4: its jobs are 3
    session = Session(stand_in("scalesim", f"def run(job):\n    {death}\n"), "scalesim")
    scratch = Path(session._folder.name)
    with pytest.raises(ArchGymError, match=message):
        session.ask({})
    assert not session.alive
    assert gone(session.pid)
    assert not scratch.exists()


@POSIX
def test_what_a_tool_printed_for_earlier_jobs_is_not_shown(stand_in):
    code = """
def run(job):
    print("a long story" if job["x"] == 1 else "job 2", file=sys.stderr, flush=True)
    if job["x"] == 2:
        os._exit(1)
    return {}
"""
    session = Session(stand_in("scalesim", code), "scalesim")
    session.ask({"x": 1})
    with pytest.raises(ArchGymError) as error:
        session.ask({"x": 2})
    assert str(error.value).endswith("exit code 1: job 2")


@POSIX
@pytest.mark.parametrize(
    "code", ["raise ImportError('no module named tool')", "print('bye'); os._exit(0)", "run ="]
)
def test_a_tool_that_cannot_be_started_is_not_the_design_s_fault(stand_in, code):
    with pytest.raises(SimulatorUnavailable, match="cannot start scalesim"):
        Session(stand_in("scalesim", code), "scalesim")


@POSIX
def test_a_python_that_is_none_cannot_be_started(tmp_path):
    with pytest.raises(SimulatorUnavailable, match=r"cannot start zigzag.*archgym backends install zigzag"):
        Session(tmp_path / "python", "zigzag")
    with pytest.raises(
        SimulatorUnavailable, match="cannot start zigzag: zigzag sent a line that is not JSON: 'hello'"
    ):
        Session(program(tmp_path / "python", "echo hello; sleep 60"), "zigzag")
    with pytest.raises(SimulatorUnavailable, match=r"True} first, got \{\}"):
        Session(program(tmp_path / "python", "echo '{}'; sleep 60"), "zigzag")


@POSIX
def test_an_interrupted_job_closes_the_session(stand_in):
    session = Session(stand_in("scalesim", "def run(job):\n    time.sleep(60)\n"), "scalesim")

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            session.ask({})
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not session.alive
    assert gone(session.pid)


@POSIX
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_no_tool_outlives_the_process_that_asked_it_not_even_in_the_middle_of_a_job(stand_in, tmp_path, how):
    stand_in(
        "scalesim",
        "def run(job):\n    Path = home + '/pid'\n    open(Path, 'w').write(str(os.getpid()))\n    while "
        "True: pass\n",
    )
    script = (
        "from archgym.simulators.accelerator.backends import ScaleSim\nScaleSim('resnet18').gemm('ws', 8, "
        "8, 1, 1, 1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    note = tmp_path / "scalesim" / "pid"
    while not (note.exists() and note.read_text()):
        assert parent.poll() is None
        time.sleep(0.05)
    tool = int(note.read_text())
    scratch = Path(f"/proc/{tool}/cwd").resolve()
    parent.send_signal(signal.Signals[how])
    parent.wait()
    assert gone(tool)
    assert not scratch.exists()


# --- results ---


def test_results_are_found_by_any_process_and_the_first_counts(tmp_path):
    first, second = Records(tmp_path / "results.sqlite"), Records(tmp_path / "results.sqlite")
    key, other = key_of({"a": 1, "b": 2}), key_of({"a": 1, "b": 3})
    assert key == key_of({"b": 2, "a": 1}) != other
    assert first.get([key]) == {}
    first.put({key: '{"cycles": 0.1}'})
    second.put({key: '{"cycles": 7}'})
    assert second.get([key, other]) == {key: '{"cycles": 0.1}'}
    first.close()
    second.close()


def test_results_that_cannot_be_kept_are_not_the_design_s_fault(home):
    home.mkdir()
    (home / "results.sqlite").write_text(
        "this is no database, however long it may be, and so it cannot be opened as one"
    )
    with pytest.raises(SimulatorUnavailable, match=r"results\.sqlite as a cache of results: .*ARCHGYM_HOME"):
        Records(home / "results.sqlite")
    (home / "file").touch()
    with pytest.raises(ArchGymError, match=r"cannot make the folder .*ARCHGYM_HOME"):
        make_folder(home / "file" / "cache")


@POSIX
def test_a_tool_is_asked_once_per_job_by_all_who_want_to_know(stand_in, tmp_path):
    stand_in("scalesim", SCALESIM)
    job = {"dataflow": "ws", "rows": 8, "cols": 8, "m": 5, "n": 3, "k": 7}
    tool = Tool("scalesim")
    answers = [tool.ask(job), tool.ask(dict(reversed(job.items())))]
    tool.close()
    answers += [tool.ask(job), Tool("scalesim").ask(job)]
    assert all(
        answer == {"cycles": 26, "ifmap_reads": 35, "filter_reads": 21, "ofmap_writes": 15}
        for answer in answers
    )
    assert (tmp_path / "scalesim" / "asked").read_text() == "x"


@POSIX
def test_a_tool_that_died_of_one_job_does_the_next_and_is_asked_again(stand_in):
    code = """
def run(job):
    if job["x"] == 0:
        if not os.path.exists(home + "/again"):
            open(home + "/again", "w").close()
            os._exit(1)
    return {"x": job["x"]}
"""
    stand_in("zigzag", code)
    tool = Tool("zigzag")
    with pytest.raises(ArchGymError, match="exit code 1"):
        tool.ask({"x": 0})
    assert tool.ask({"x": 1}) == {"x": 1}
    assert tool.ask({"x": 0}) == {"x": 0}
    tool.close()


# --- simulators ---


def test_layers_are_counted_by_their_matrix_multiplication():
    assert gemms(WORKLOAD.layers) == {(37, 101, 59): 3, (20, 16, 30): 3}


@POSIX
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_scalesim_adds_up_groups_and_repeats(stand_in, tmp_path, dataflow):
    stand_in("scalesim", SCALESIM)
    simulator = ScaleSim(WORKLOAD)
    cycles = 3 * systolic.cycles(dataflow, 16, 32, 37, 101, 59) + 3 * systolic.cycles(
        dataflow, 16, 32, 20, 16, 30
    )
    macs = 3 * 37 * 101 * 59 + 3 * 20 * 16 * 30
    assert evaluate(simulator, dataflow=f"systolic_{dataflow}") == {
        "latency_s": pytest.approx(cycles / 800e6, rel=1e-15),
        "cycles": cycles,
        "compute_cycles": cycles,
        "utilization": pytest.approx(macs / (cycles * 512), rel=1e-15),
        "feasible": True,
    }
    others = {
        "l1_bytes": 1024,
        "buffer_kb": 16,
        "noc_bytes_per_cycle": 16,
        "dram_gb_s": 4,
        "precision": "fp32",
        "double_buffering": False,
    }
    assert evaluate(simulator, dataflow=f"systolic_{dataflow}", **others)["cycles"] == cycles
    assert (tmp_path / "scalesim" / "asked").read_text() == "xx"
    simulator.close()


@POSIX
def test_dataflows_that_a_tool_does_not_have_fail_with_those_that_it_has(stand_in):
    stand_in("scalesim", SCALESIM)
    stand_in("zigzag", ZIGZAG)
    scalesim, zigzag = (
        evaluate(ScaleSim(WORKLOAD), dataflow="eyeriss"),
        evaluate(ZigZag(WORKLOAD), dataflow="systolic_os"),
    )
    assert not scalesim["feasible"]
    assert scalesim["failure"] == (
        "SCALE-Sim simulates systolic arrays; choose dataflow systolic_ws, systolic_os or systolic_is, not "
        "eyeriss"
    )
    assert not zigzag["feasible"]
    assert (
        zigzag["failure"]
        == "ZigZag is given weight-stationary arrays; choose dataflow nvdla or systolic_ws, not systolic_os"
    )


@POSIX
def test_zigzag_adds_up_groups_and_repeats_in_si_units(stand_in):
    stand_in("zigzag", ZIGZAG)
    simulator = ZigZag(WORKLOAD)
    cycles, energy_j = 2.5 * (3 * 37 + 3 * 20), 3e-12 * (3 * 101 + 3 * 16)
    accesses, port_bits = 3 * 59 + 3 * 30, 160  # 16 GB/s at 800 MHz are 20 bytes per cycle
    found = evaluate(simulator)
    assert found["feasible"]
    assert {
        name: found[name] for name in ("latency_s", "cycles", "energy_j", "edp", "utilization", "dram_bytes")
    } == pytest.approx(
        {
            "latency_s": cycles / 800e6,
            "cycles": cycles,
            "energy_j": energy_j,
            "edp": energy_j * cycles / 800e6,
            "utilization": (3 * 37 * 101 * 59 + 3 * 20 * 16 * 30) / (cycles * 512),
            "dram_bytes": accesses * port_bits / 8,
        },
        rel=1e-12,
    )
    simulator.close()


@POSIX
@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (AccelForge, "accelforge", ACCELFORGE),
        (ScaleSim, "scalesim", SCALESIM),
        (ZigZag, "zigzag", ZIGZAG),
    ],
)
def test_the_simulators_keep_the_contract_and_their_canonical_designs_have_equal_results(
    stand_in, kind, name, code
):
    stand_in(name, code)
    simulator = kind(WORKLOAD)
    check_simulator(simulator, samples=16)
    designs = simulator.space.sample(32, np.random.default_rng(0))
    canonical = simulator.canonical(designs)
    assert (canonical != designs).any()
    np.testing.assert_array_equal(simulator.canonical(canonical), canonical)
    original, representative = simulator.evaluate_indices(designs), simulator.evaluate_indices(canonical)
    for column in original:
        np.testing.assert_array_equal(original[column], representative[column])
    simulator.close()


@POSIX
def test_a_simulator_s_specification_follows_its_layers(stand_in):
    stand_in("scalesim", SCALESIM)
    stand_in("zigzag", ZIGZAG)
    stand_in("accelforge", ACCELFORGE)
    other = Workload("small", "", "", None, WORKLOAD.layers[:2])
    for kind in (AccelForge, ScaleSim, ZigZag):
        assert kind(WORKLOAD).specification["jobs"] == kind(WORKLOAD).specification["jobs"]
        assert kind(WORKLOAD).specification["jobs"] != kind(other).specification["jobs"]
    for kind in (AccelForge, ZigZag):
        assert kind(WORKLOAD).specification["jobs"] != kind(WORKLOAD, technology="65nm").specification["jobs"]


@POSIX
def test_a_backend_is_cached_and_survives_tools_that_hang(stand_in, monkeypatch, tmp_path):
    hanging = (
        SCALESIM
        + "\nsimulate = run\ndef run(job):\n    while job['rows'] == 64: time.sleep(1)\n    return simulate(job)\n"
    )
    stand_in(
        "scalesim",
        hanging.replace(
            "    with open", "    open(home + '/pid', 'w').write(str(os.getpid()))\n    with open"
        ),
    )
    monkeypatch.setattr(backends, "TIMEOUT_S", 60.0)
    simulator = backend_simulator("scalesim", "resnet18")
    assert isinstance(simulator.simulator, Isolated)
    assert simulator.simulator.timeout_s == 60.0
    first = evaluate(simulator)
    assert first["feasible"]
    assert not first["cached"]
    assert evaluate(simulator)["cached"]
    simulator.simulator.timeout_s = 2.0
    assert evaluate(simulator, rows=64)["failure"] == "timed out after 2 s"
    simulator.simulator.timeout_s = 60.0
    assert gone(int((tmp_path / "scalesim" / "pid").read_text()))
    assert evaluate(simulator, rows=8)["feasible"]
    simulator.close()
    again = backend_simulator("scalesim", "resnet18")
    assert evaluate(again)["cached"]
    again.close()


@POSIX
@pytest.mark.parametrize("double_buffering", [False, True])
def test_accelforge_adds_up_groups_and_repeats_and_final_results_are_as_wide_as_operands(
    stand_in, double_buffering
):
    stand_in("accelforge", ACCELFORGE)
    simulator, table = AccelForge(WORKLOAD), load_energy_table("45nm")
    expected = dict.fromkeys(("cycles", "energy_j", "dram_bytes", "compute_cycles"), 0.0)
    buffer_pj = sum(float(cost) for cost in table.sram_pj_per_byte(64 * 1024))
    for m, n, k, count in ((37, 101, 59, 3), (20, 16, 30, 3)):
        off_chip = m * k + m * n  # bytes of an operand, in place of 4 per result
        terms = 1.5 * m, (2 * (m * k + 4 * m * n) - 3 * m * n) / 32, off_chip / 20
        expected["cycles"] += count * (max(terms) if double_buffering else sum(terms))
        pj = 1e4 * m * n - 3 * m * n * (buffer_pj + table.noc_pj_per_byte + table.dram_pj_per_byte)
        expected["energy_j"] += 1e-12 * count * pj
        expected["dram_bytes"] += count * off_chip
        expected["compute_cycles"] += count * 1.5 * m
    expected["latency_s"] = expected["cycles"] / 800e6
    expected["edp"] = expected["energy_j"] * expected["latency_s"]
    expected["utilization"] = 3 * (37 * 101 * 59 + 20 * 16 * 30) / (expected["cycles"] * 512)
    found = evaluate(simulator, double_buffering=double_buffering)
    assert found["feasible"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    simulator.close()


@POSIX
def test_accelforge_is_asked_once_for_all_bandwidths_and_clocks(stand_in, tmp_path):
    stand_in("accelforge", ACCELFORGE)
    simulator = AccelForge(WORKLOAD)
    designs = [{}, {"dram_gb_s": 4}, {"noc_bytes_per_cycle": 16}, {"clock_mhz": 200}, {"dataflow": "nvdla"}]
    cycles = [evaluate(simulator, double_buffering=False, **each)["cycles"] for each in designs]
    assert len(set(cycles)) == 4 and cycles[-1] == cycles[0]  # the last is the first under another name
    assert (tmp_path / "accelforge" / "asked").read_text() == "xx"
    evaluate(simulator, double_buffering=False, buffer_kb=128)
    assert (tmp_path / "accelforge" / "asked").read_text() == "xxxx"
    failure = evaluate(simulator, dataflow="shidiannao")["failure"]
    assert failure.startswith("accelforge is given arrays where one operand stays; choose dataflow nvdla, ")
    simulator.close()


@pytest.mark.parametrize(
    ("dataflow", "stays", "columns", "rows"),
    [
        ("nvdla", "weight", "input", "output"),
        ("systolic_os", "output", "input", "weight"),
        ("systolic_is", "input", "weight", "output"),
    ],
)
def test_the_architecture_that_accelforge_is_given_is_the_design(dataflow, stays, columns, rows):
    table = load_energy_table("45nm")
    nodes = architecture(DESIGN | {"dataflow": dataflow, "double_buffering": False}, table)
    off_chip, buffer, network, array, l1, multiplier = nodes
    assert [node["type"] for node in nodes] == ["Memory", "Memory", "Toll", "Container", "Memory", "Compute"]
    assert (off_chip["size"], buffer["size"], l1["size"]) == ("inf", 8 * 64 * 1024, 8 * 128)
    assert [side["fanout"] for side in array["spatial"]] == [32, 16]
    assert [side["reuse"] for side in array["spatial"]] == [columns, rows]
    assert (l1["tensors"], buffer["tensors"]) == ({"keep": stays}, {"keep": "All"})
    assert off_chip["actions"][0]["energy"] == pytest.approx(7.03e-12)  # of a bit, in 45 nm
    assert buffer["actions"][0]["energy"] == pytest.approx(25.8695e-12 / 64)
    assert network["actions"][0]["energy"] == pytest.approx(1e-12 * table.noc_pj_per_byte / 8)
    assert multiplier["actions"][0]["energy"] == pytest.approx(0.3e-12)
    halved = architecture(DESIGN | {"dataflow": dataflow}, table)
    assert halved[1]["size"] == buffer["size"] // 2
    assert halved[1]["actions"] == buffer["actions"]  # the memory itself is as large


def test_the_hardware_that_zigzag_is_given_is_the_design():
    described = hardware(DESIGN | {"precision": "fp16"})
    memories, array = described["memories"], described["operational_array"]
    assert {name: memory["size"] for name, memory in memories.items() if name != "off_chip"} == {
        "l1": 8 * 128,
        "accumulator": 32,
        "buffer": 8 * 64 * 1024,
    }
    assert [port["bandwidth_max"] for port in memories["buffer"]["ports"]] == [256, 256]
    assert [port["bandwidth_max"] for port in memories["off_chip"]["ports"]] == [160]
    assert [port["bandwidth_max"] for port in memories["l1"]["ports"]] == [16, 16]
    assert memories["off_chip"]["r_cost"] == pytest.approx(7.03 * 160)  # pJ of a bit, in 45 nm
    assert (array["sizes"], array["systolic_dimensions"]) == ([16, 32], ["D1", "D2"])
    assert hardware(DESIGN | {"dataflow": "nvdla"})["operational_array"]["systolic_dimensions"] == []


def test_every_off_chip_bandwidth_is_met_within_two_per_cent():
    space = accelerator_space()
    for gb_s in space["dram_gb_s"].grid.tolist():
        for mhz in space["clock_mhz"].grid.tolist():
            (port,) = hardware(DESIGN | {"dram_gb_s": gb_s, "clock_mhz": mhz})["memories"]["off_chip"][
                "ports"
            ]
            assert port["bandwidth_max"] / 8 * mhz / 1e3 == pytest.approx(gb_s, rel=0.02)
            assert port["bandwidth_min"] <= port["bandwidth_max"]


@pytest.fixture(scope="module")
def scalesim_worker():
    """The worker's module, with nothing where the tool would be."""
    names = ["scalesim", "scalesim.scale_config", "scalesim.single_layer_sim", "scalesim.topology_utils"]
    before = {name: sys.modules.get(name) for name in names}
    for name in names:
        sys.modules[name] = types.SimpleNamespace(scale_config=None, single_layer_sim=None, topologies=None)
    spec = importlib.util.spec_from_file_location(
        "scalesim_worker_of_the_tests", WORKERS / "scalesim_worker.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, module_before in before.items():
        if module_before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module_before
    return module


SIZES = st.integers(1, 3000)


@given(
    dataflow=st.sampled_from(systolic.DATAFLOWS),
    rows=st.integers(1, 256),
    cols=st.integers(1, 256),
    m=SIZES,
    n=SIZES,
    k=SIZES,
)
def test_the_blocks_that_scalesim_is_given_add_up_to_the_whole(
    scalesim_worker, dataflow, rows, cols, m, n, k
):
    rows, cols = max(rows, m // 500, k // 500), max(cols, m // 500, n // 500)  # some blocks, not thousands
    job = {"dataflow": dataflow, "rows": rows, "cols": cols, "m": m, "n": n, "k": k}
    blocks = list(scalesim_worker._blocks(job))
    assert sum(block["m"] * block["n"] * block["k"] for block in blocks) == m * n * k
    assert sum(int(systolic.cycles(**block)) + 1 for block in blocks) - 1 == systolic.cycles(**job)
    parts = np.array([systolic.sram_accesses(**block) for block in blocks]).sum(axis=0)
    assert parts.tolist() == [int(count) for count in systolic.sram_accesses(**job)]


# --- environments ---


@pytest.mark.parametrize("make", [AccelForge, ScaleSim, ZigZag])
def test_a_backend_that_is_not_installed_says_how_to_install_it(home, make):
    name = make.__name__.lower()
    with pytest.raises(
        ArchGymError, match=rf"{name} \S+ is not installed: run `archgym backends install {name}`"
    ):
        make(WORKLOAD)


def test_unknown_backends_are_named(home):
    for look_up in (
        backend_simulator,
        environments.install,
        environments.python_of,
        environments.installed,
        Tool,
    ):
        with pytest.raises(ArchGymError, match=r"unknown backend 'scale-sim'; did you mean 'scalesim'\?"):
            look_up("scale-sim")


@pytest.fixture
def pretend(home, tmp_path, monkeypatch):
    """pretend(pip): from now on, `python -m venv` makes an environment whose pip is this shell code, and
    whose tool starts.
    """

    def make(pip):
        (tmp_path / "stub.py").write_text(STUB)
        (tmp_path / "scalesim_worker.py").write_text("def run(job): return {}")
        start = f'exec {sys.executable} {tmp_path}/stub.py "$@"'
        inside = f'case "$*" in "-I -m pip"*install*) {pip};; "-I -m pip"*freeze*) echo tool==1.0;; *) {start};; esac'
        program(tmp_path / "inside", inside)
        venv = f'echo venv >> {tmp_path}/made; rm -rf "$4"; mkdir -p "$4/bin"; cp {tmp_path}/inside "$4/bin/python"'
        monkeypatch.delenv("ARCHGYM_PYTHON", raising=False)
        monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python", venv)))
        return home / "backends" / "scalesim"

    return make


@POSIX
def test_an_environment_is_made_once_and_again_for_another_lock(pretend, tmp_path, monkeypatch):
    place = pretend("echo Collecting tool; echo Installing collected packages: tool")
    told = []
    assert environments.install("scalesim", progress=lambda what, share: told.append((what, share))) == place
    assert environments.python_of("scalesim") == place / "bin" / "python"
    assert [what for what, _ in told] == [
        "making an environment",
        "downloading tool",
        "installing",
        "starting it",
        "installed",
    ]
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert json.loads((place / environments.MARKER).read_text())["packages"] == ["tool==1.0"]
    environments.install("scalesim")
    assert (tmp_path / "made").read_text().split() == ["venv"]
    (tmp_path / "scalesim.txt").write_text("scalesim==99 --hash=sha256:00\n")
    monkeypatch.setattr(environments, "LOCKS", tmp_path)
    assert not environments.installed("scalesim")
    environments.install("scalesim")
    assert (tmp_path / "made").read_text().split() == ["venv", "venv"]


@POSIX
def test_pip_is_given_the_lock_and_takes_nothing_but_wheels_with_its_hashes(pretend):
    place = pretend('echo "$@" > $(dirname "$0")/given')
    environments.install("scalesim")
    given = (place / "bin" / "given").read_text().split()
    assert (
        given[given.index("--only-binary") + 1] == ":all:"
        and "--require-hashes" in given
        and "--no-deps" in given
    )
    assert given[-2:] == ["-r", str(environments.LOCKS / "scalesim.txt")]


@pytest.mark.parametrize("name", environments.BACKENDS)
def test_a_lock_has_one_version_of_every_package_with_its_hashes_and_names_no_host(name):
    lock = (environments.LOCKS / f"{name}.txt").read_text()
    assert "://" not in lock
    lines = [line for line in lock.replace("\\\n", "").splitlines() if not line.startswith("#")]
    wanted = [
        (Requirement(line.partition(" --hash")[0]), re.findall(r" --hash=sha256:([0-9a-f]{64})(?= |$)", line))
        for line in lines
    ]
    for requirement, hashes in wanted:
        assert str(requirement.specifier).startswith("==") and hashes, requirement
    assert Requirement(environments.BACKENDS[name].tool) in [requirement for requirement, _ in wanted]
    for python in ("3.11.0", "3.12.1", "3.13.2"):
        there = [
            r.name
            for r, _ in wanted
            if r.marker is None or r.marker.evaluate({"python_full_version": python, "sys_platform": "linux"})
        ]
        assert {"numpy", "pandas", "matplotlib"} <= set(there) and len(there) == len(set(there))


@POSIX
def test_an_installation_that_was_killed_is_made_again(pretend):
    place = pretend("true")
    program(place / "bin" / "python", "exit 1")
    assert not environments.installed("scalesim")
    environments.install("scalesim")
    assert environments.installed("scalesim")


@POSIX
@pytest.mark.parametrize(
    ("pip", "message"),
    [
        (
            "echo first; echo ERROR: no such version; exit 7",
            r"pip cannot install scalesim==\S+: it ended with exit code 7: .*no such",
        ),
        (
            "echo '#!/bin/sh' > $0; echo exit 3 >> $0",
            "cannot start scalesim: scalesim ended with exit code 3",
        ),
    ],
)
def test_a_failed_installation_says_why_and_leaves_nothing(pretend, pip, message):
    place = pretend(pip)
    with pytest.raises(ArchGymError, match=message):
        environments.install("scalesim")
    assert not place.exists()


@POSIX
def test_an_interrupted_installation_leaves_nothing(pretend):
    place = pretend("echo Collecting tool")

    def interrupt(what, share):
        if what == "downloading tool":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.install("scalesim", progress=interrupt)
    assert not place.exists()


@POSIX
def test_the_commands_install_and_list_backends(pretend, capsys):
    place = pretend("true")
    cli.show()
    assert "no: archgym backends install scalesim" in capsys.readouterr().out
    cli.install("scalesim")
    out = capsys.readouterr().out
    assert f"scalesim 3.0.0 in {place}" in out
    assert "--set backend=scalesim" in out
    cli.show()
    out = capsys.readouterr().out
    assert "no: archgym backends install scalesim" not in out
    assert "no: archgym backends install zigzag" in out


# --- the tools themselves ---


@pytest.fixture
def live(home):
    """live(name): the user's own installation of a backend, in the test's data folder; skips where there
    is none.
    """

    def use(name):
        os.environ["ARCHGYM_HOME"] = str(USERS_HOME)
        there = environments.installed(name)
        os.environ["ARCHGYM_HOME"] = str(home)
        if not there:
            pytest.skip(f"{name} is not installed: archgym backends install {name}")
        home.mkdir()
        (home / "backends").symlink_to(USERS_HOME / "backends")

    return use


def test_live_scalesim_has_the_cycles_and_accesses_of_the_closed_forms(live):
    live("scalesim")
    rng, simulator = np.random.default_rng(0), ScaleSim(WORKLOAD)
    for dataflow in systolic.DATAFLOWS:
        for _ in range(8):
            rows, cols = rng.choice([3, 8, 16, 64, 256], 2).tolist()
            m, n, k = (2 ** rng.uniform(0, 9, 3)).astype(int).tolist()
            found = simulator.gemm(dataflow, rows, cols, m, n, k)
            assert found["cycles"] == systolic.cycles(dataflow, rows, cols, m, n, k)
            accesses = found["ifmap_reads"], found["filter_reads"], found["ofmap_writes"]
            assert accesses == systolic.sram_accesses(dataflow, rows, cols, m, n, k)
    assert evaluate(simulator)["cycles"] == sum(
        count * int(systolic.cycles("ws", 16, 32, *gemm)) for gemm, count in gemms(WORKLOAD.layers).items()
    )
    simulator.close()


def test_live_scalesim_reproduces_recorded_runs(live):
    path = DATA / "scalesim.csv"
    if not path.exists():
        pytest.skip("needs the shared data folder (scalesim.csv)")
    live("scalesim")
    simulator = ScaleSim(WORKLOAD)
    with open(path) as file:
        rows = [row for row in csv.DictReader(file) if int(row["macs"]) < 20e6]
    assert len(rows) > 50
    for row in rows[::7]:
        sizes = [int(row[name]) for name in ("rows", "cols", "M", "N", "Kdim")]
        assert simulator.gemm(row["dataflow"], *sizes) == {
            "cycles": int(row["total_cycles_reported"]),
            "ifmap_reads": int(row["sram_ifmap_reads"]),
            "filter_reads": int(row["sram_filter_reads"]),
            "ofmap_writes": int(row["sram_ofmap_writes"]),
        }
    simulator.close()


def test_live_zigzag_answers_within_what_is_possible(live):
    live("zigzag")
    simulator = ZigZag(WORKLOAD)
    # inputs, weights and outputs, each once at least
    compulsory = sum(count * (m * k + k * n + m * n) for (m, n, k), count in gemms(WORKLOAD.layers).items())
    small, large = (
        evaluate(simulator, buffer_kb=16, l1_bytes=32),
        evaluate(simulator, buffer_kb=4096, l1_bytes=1024),
    )
    for found in (small, large, evaluate(simulator, dataflow="nvdla")):
        assert found["feasible"]
        assert 0 < found["utilization"] <= 1
        assert found["dram_bytes"] >= 0.99 * compulsory  # the tool rounds accesses down
    assert large["dram_bytes"] <= small["dram_bytes"]
    assert evaluate(simulator, precision="fp32")["energy_j"] > evaluate(simulator)["energy_j"]
    assert evaluate(simulator, dram_gb_s=4)["cycles"] > evaluate(simulator, dram_gb_s=256)["cycles"]
    simulator.close()


def test_live_zigzag_reproduces_recorded_runs_of_its_own_tpu_like(live):
    path = DATA / "zigzag.csv"
    if not path.exists():
        pytest.skip("needs the shared data folder (zigzag.csv)")
    live("zigzag")
    python = environments.python_of("zigzag")
    inputs = "pathlib.Path(zigzag.__file__).parent / 'inputs/hardware/tpu_like.yaml'"
    read = f"import json, pathlib, yaml, zigzag; print(json.dumps(yaml.safe_load(({inputs}).open())))"
    described = json.loads(
        subprocess.run([python, "-c", read], capture_output=True, text=True, check=True).stdout
    )
    links = {"I": "I1", "W": "I2", "O": "O"}
    space = [
        {
            "name": "default",
            "spatial_mapping": {"D1": ["N, 32"], "D2": ["K, 32"]},
            "memory_operand_links": links,
        }
    ]
    with open(path) as file:
        rows = [row for row in csv.DictReader(file) if row["arch"] == "tpu_like"]
    assert len(rows) == 8
    session = Session(python, "zigzag")
    for row in rows:
        sizes = {"m": int(row["M"]), "n": int(row["N"]), "k": int(row["K"])}
        found = session.ask(
            {**sizes, "operand": 8, "accumulator": 16, "hardware": described, "mapping": space}
        )
        assert found["cycles"] == float(row["latency_cyc"])
        assert found["energy_pj"] == pytest.approx(float(row["energy_pJ"]), rel=1e-12)
    session.close()


def test_live_accelforge_reproduces_recorded_runs_of_its_nvdla_template(live):
    path = DATA / "accelforge_nvdla.csv"
    if not path.exists():
        pytest.skip("needs the shared data folder (accelforge_nvdla.csv)")
    live("accelforge")
    chip, session = nvdla_like(), Session(environments.python_of("accelforge"), "accelforge")
    with open(path) as file:
        rows = list(csv.DictReader(file))
    for row in rows[1::15]:
        nodes = [
            memory("off_chip", "inf", (chip.dram_read_pj, chip.dram_write_pj), "All"),
            memory("buffer", 8 * int(row["gb_bytes"]), (chip.read_pj, chip.write_pj), "All"),
            pe_array(192, 32, "weight", least_use=0.0),
            memory("l1", 8, (0.0, 0.0), "weight"),
            mac(chip.mac_pj),
        ]
        gemm = Gemm(*(int(row[size]) for size in "MNK"))
        found = session.ask(job(gemm, Precision(1, 1), nodes, imperfect=False))
        assert 1e-12 * found["energy_pj"] == pytest.approx(float(row["energy_J"]), rel=1e-6)
    session.close()


def test_live_accelforge_answers_within_what_is_possible(live):
    live("accelforge")
    simulator = AccelForge(WORKLOAD)
    compulsory = sum(count * (m * k + k * n + m * n) for (m, n, k), count in gemms(WORKLOAD.layers).items())
    small = evaluate(simulator, buffer_kb=16)
    large = [evaluate(simulator, dataflow=each) for each in ("systolic_ws", "systolic_os", "systolic_is")]
    for found in (small, *large):
        assert found["feasible"]
        assert 0 < found["utilization"] <= 1
        assert found["dram_bytes"] >= compulsory
        assert found["cycles"] >= found["compute_cycles"]
    assert [found["dram_bytes"] for found in large] == pytest.approx([compulsory] * 3)
    wider = evaluate(simulator, precision="fp32")
    assert wider["dram_bytes"] >= PRECISIONS["fp32"].operand_bytes * compulsory
    assert wider["energy_j"] > evaluate(simulator)["energy_j"]
    assert evaluate(simulator, dram_gb_s=4)["cycles"] > evaluate(simulator, dram_gb_s=256)["cycles"]
    simulator.close()
