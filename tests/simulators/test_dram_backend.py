"""The DRAM simulator as a backend, against a small program that stands in for it: it reads the same files
and prints the same lines.
"""

from __future__ import annotations

import json
import os
import sys
import time

import gymnasium
import numpy as np
import psutil
import pytest

import archgym
import archgym.envs.dram_controller
from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.simulator import evaluate_safely
from archgym.simulator_wrappers.parallel import Parallel
from archgym.simulators.dram import DramController, DramSys
from archgym.simulators.dram.dramsys import parse
from archgym.simulators.dram.space import SPACE
from archgym.testing import check_simulator

ENV = "archgym/DramController-v0"
TABLE = DramController()

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="the stand-in is a script that names its interpreter"
)

STAND_IN = """#!{python} -IS
import json, os, subprocess, sys, time

simulation = json.load(open(sys.argv[1]))["simulation"]
resources = sys.argv[2]
def read(folder, name, part):
    return json.load(open(resources + "configs/" + folder + "/" + name))[part]
controller = read("mcconfigs", simulation["mcconfig"], "mcconfig")
settings = read("simulator", simulation["simconfig"], "simconfig")
read("memspecs", simulation["memspec"], "memspec"), read("amconfigs", simulation["addressmapping"], "CONGEN")
(player,) = simulation["tracesetup"]
trace = open(resources + "/traces/" + player["name"]).read()
open("litter.tdb", "w").write("what runs leave behind")

def say(time, bandwidth, energy, power):
    print("DRAMSys4.0, Copyright (c) 2020")
    print("DRAMSys.controller0  Total Time:     " + time)
    print("DRAMSys.controller0  AVG BW:         " + bandwidth + " |   3.66 GB/s |  28.61 %")
    print("DRAMSys.controller0  AVG BW\\\\IDLE:     99.99 Gb/s |  12.50 GB/s |  97.64 %")
    print("DRAMSys.controller0  MAX BW:         102.40 Gb/s |  12.80 GB/s | 100.00 %")
    if settings["PowerAnalysis"]:
        print("DRAMSys.dram0  Total Energy:   " + energy)
        print("DRAMSys.dram0  Average Power:  " + power)
    print("Simulation took 0.05 seconds.")

{body}
"""
LINES = dict(time="174755 ns", bandwidth=" 29.30 Gb/s", energy="226677450.00 pJ", power="1297.12 mW")
FILES = {
    "configs/amconfigs/am_ddr3_8x1Gbx8_dimm_p1KB_rbc.json": '{"CONGEN": {}}',
    "configs/memspecs/MICRON_1Gb_DDR3-1600_8bit_G.json": '{"memspec": {}}',
    "configs/mcconfigs/fifo.json": '{"mcconfig": {}}',
    "configs/thermalsim/config.json": "{}",
    "traces/cloud-1.stl": "0: read 0x0",
    "traces/mine.stl": "0: write 0x0",
}


@pytest.fixture
def stand_in(tmp_path):
    """stand_in(body, **lines, timeout_s=, trace=) -> DramSys around a program that runs the body after
    having read its configuration.
    """
    resources = tmp_path / "resources"
    for name, content in FILES.items():
        (resources / name).parent.mkdir(parents=True, exist_ok=True)
        (resources / name).write_text(content)

    def make(body="", timeout_s=30.0, trace="cloud-1", **lines):
        program = tmp_path / "DRAMSys"
        said = ", ".join(f"{name}={text!r}" for name, text in {**LINES, **lines}.items())
        program.write_text(STAND_IN.format(python=sys.executable, body=f"{body}\nsay({said})"))
        program.chmod(0o755)
        return DramSys(program, resources, trace, timeout_s)

    return make


def reason_of(simulator):
    """Why the first design fails, as a search records it."""
    outcome = evaluate_safely(simulator, np.zeros((1, 10), np.int64))
    assert not outcome.feasible[0] and np.isnan(outcome.values).all()
    return outcome.failures[0]


# --- what is understood ---


@pytest.mark.parametrize(
    "lines",
    [
        {},
        {"time": "174755000 ps"},
        {"time": "174.755 us", "energy": "226677.45 nJ", "power": "1.29712 W", "bandwidth": "3.6625 GB/s"},
        {"time": "0.174755 ms", "energy": "2.2667745e-4 J", "power": "1297120 uW", "bandwidth": "29300 Mb/s"},
    ],
)
def test_one_run_is_the_same_in_whatever_units_it_is_printed(stand_in, lines):
    metrics = stand_in(**lines).evaluate(SPACE.defaults())
    expected = {
        "latency_s": 174.755e-6,
        "energy_j": 226.67745e-6,
        "power_w": 1.29712,
        "bandwidth_bytes_s": 29.3e9 / 8,
        "feasible": True,
    }
    assert {name: column.tolist() for name, column in metrics.items()} == {
        name: [value] for name, value in expected.items()
    }


def test_runs_give_the_figures_of_the_table_to_their_last_digit(stand_in, tmp_path):
    """The stand-in prints the table's figures as DRAMSys does: the time in the largest unit that divides
    it.
    """
    indices = SPACE.sample(12, np.random.default_rng(0))
    runs = {}
    for row in indices:
        time_ps, energy, power, bandwidth = TABLE.table.figures[
            TABLE.table.outcome[SPACE.to_ordinal(row)]
        ].tolist()
        time_said = f"{time_ps // 1000} ns" if time_ps % 1000 == 0 else f"{time_ps} ps"
        printed = [
            time_said,
            f"{bandwidth / 100:6.2f} Gb/s",
            f"{energy / 100:.2f} pJ",
            f"{power / 100:.2f} mW",
        ]
        runs["/".join(str(value) for value in SPACE.design(row).values())] = printed
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    names = ["".join(word.capitalize() for word in name.split("_")) for name in SPACE.names]
    body = (
        f"say(*json.load(open({str(tmp_path / 'runs.json')!r}))['/'.join(str(controller[name]) for name in "
        f"{names!r})]); sys.exit()"
    )
    found, expected = stand_in(body).evaluate_indices(indices), TABLE.evaluate_indices(indices)
    assert {len(said[0].split()[1]) for said in runs.values()} == {2} and len(
        {said[0].split()[1] for said in runs.values()}
    ) == 2
    for name, column in expected.items():
        assert found[name].tolist() == column.tolist(), name


def test_the_program_is_told_the_design_the_trace_and_the_memory(stand_in, tmp_path):
    told = tmp_path / "told.json"
    body = f"json.dump([controller, settings, simulation, trace, os.getcwd()], open({str(told)!r}, 'w'))"
    design = {
        **SPACE.defaults(),
        "page_policy": "ClosedAdaptive",
        "scheduler": "FrFcfsGrp",
        "request_buffer_size": 64,
    }
    assert stand_in(body, trace="mine").evaluate(design)["feasible"].all()
    controller, settings, simulation, trace, _ = json.loads(told.read_text())
    assert controller == {
        "PagePolicy": "ClosedAdaptive",
        "Scheduler": "FrFcfsGrp",
        "SchedulerBuffer": "Bankwise",
        "RequestBufferSize": 64,
        "RespQueue": "Fifo",
        "RefreshPolicy": "NoRefresh",
        "RefreshMaxPostponed": 1,
        "RefreshMaxPulledin": 1,
        "Arbiter": "Simple",
        "MaxActiveTransactions": 1,
        "CmdMux": "Oldest",
        "PowerDownPolicy": "NoPowerDown",
    }
    assert settings["PowerAnalysis"] is True and settings["DatabaseRecording"] is False
    assert (
        simulation["tracesetup"] == [{"clkMhz": 800, "name": "mine.stl"}]
        and trace == FILES["traces/mine.stl"]
    )
    assert (
        simulation["memspec"] == "MICRON_1Gb_DDR3-1600_8bit_G.json"
        and simulation["thermalconfig"] == "config.json"
    )


def test_every_run_has_a_folder_of_its_own_and_leaves_nothing_behind(stand_in, tmp_path):
    seen = tmp_path / "seen.txt"
    simulator = stand_in(f"open({str(seen)!r}, 'a').write(os.getcwd() + chr(10))")
    before = set(tmp_path.rglob("*"))
    assert simulator.evaluate_indices(np.zeros((3, 10), np.int64))["feasible"].all()
    folders = seen.read_text().split()
    assert len(set(folders)) == 3 and not any(os.path.exists(folder) for folder in folders)
    assert set(tmp_path.rglob("*")) - before == {seen}
    for name, content in FILES.items():
        assert (tmp_path / "resources" / name).read_text() == content


def test_it_keeps_the_contract_and_runs_in_worker_processes(stand_in):
    simulator = stand_in()
    said = "c  Total Time: 2 us\nc  AVG BW: 8.00 Gb/s\nd  Total Energy: 3 uJ\nd  Average Power: 1500 mW\n"
    # the checks run it hundreds of times
    simulator.executable.write_text(f"#!/bin/sh\ncat <<END\n{said}END\n")
    check_simulator(simulator, samples=2)
    indices = SPACE.sample(4, np.random.default_rng(1))
    parallel = Parallel(simulator, workers=2)
    try:
        found, expected = parallel.evaluate_indices(indices), simulator.evaluate_indices(indices)
    finally:
        parallel.close()
    assert all(found[name].tolist() == column.tolist() for name, column in expected.items())


# --- what is not ---


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            {"time": "174755 cycles"},
            "unknown unit of what DRAMSys printed as 'Total Time' 'cycles'; known: fs, ps, ns, us, ms, s",
        ),
        ({"time": "174755"}, "printed 'Total Time' as '174755', which is not a number with a unit"),
        ({"time": "nan ns"}, "printed 'Total Time' as 'nan ns'"),
        ({"energy": "0.2 kWh"}, "unknown unit of what DRAMSys printed as 'Total Energy' 'kWh'"),
        ({"energy": "-5.00 pJ"}, "printed 'Total Energy' as '-5.00 pJ'"),
        ({"power": "1297.12 dBm"}, "unknown unit of what DRAMSys printed as 'Average Power' 'dBm'"),
        (
            {"bandwidth": "29.30 Gb"},
            "unknown unit of what DRAMSys printed as 'AVG BW' 'Gb'; did you mean 'Gb/s'",
        ),
        ({"time": "174755 ps"}, "energy of 0.000226677 J, but power x time is 2.26678e-07 J"),
        ({"energy": "223400000.00 pJ"}, "power x time is"),
        ({"energy": "0.00 pJ", "time": "0 s"}, "energy of 0 J"),
    ],
)
def test_lines_that_cannot_be_trusted_fail_the_design_with_the_reason(stand_in, lines, reason):
    assert reason in reason_of(stand_in(**lines))


def test_energy_may_differ_from_power_times_time_by_less_than_a_per_cent(stand_in):
    assert stand_in(energy="224600000.00 pJ").evaluate(SPACE.defaults())["feasible"].all()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "print('Fatal: trace is empty'); sys.exit(3)",
            "DRAMSys ended with exit code 3: Fatal: trace is empty",
        ),
        ("sys.exit('no such memory')", "DRAMSys ended with exit code 1: no such memory"),
        ("os.abort()", "DRAMSys was killed by SIGABRT: it printed nothing"),
        ("sys.exit()", "expected exactly one line with 'Total Time' in DRAMSys's output, found none"),
        (
            "settings['PowerAnalysis'] = False",
            "expected exactly one line with 'Total Energy' in DRAMSys's output, found none",
        ),
        (
            "say('1 ns', '1 Gb/s', '1 pJ', '1 mW')",
            "expected exactly one line with 'Total Time' in DRAMSys's output, found 2",
        ),
        (
            "sys.stdout.buffer.write(bytes([255])); sys.exit()",
            "expected exactly one line with 'Total Time' in DRAMSys's output, found none",
        ),
    ],
)
def test_a_program_that_fails_fails_the_design_with_the_reason(stand_in, body, reason):
    assert reason in reason_of(stand_in(body))


def test_a_run_that_hangs_is_killed_with_all_that_it_started(stand_in, tmp_path):
    started = tmp_path / "started.txt"
    body = (
        f"child = subprocess.Popen(['sleep', '60']); open({str(started)!r}, 'w').write(f'{{os.getpid()}} "
        "{child.pid}'); time.sleep(60)"
    )
    assert "DRAMSys was killed after 1 s: raise timeout_s" in reason_of(stand_in(body, timeout_s=1.0))
    deadline = time.monotonic() + 10
    for pid in map(int, started.read_text().split()):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"process {pid} still runs"
            time.sleep(0.05)


def test_what_a_run_detached_ends_with_it_though_it_succeeds(stand_in, tmp_path):
    started = tmp_path / "started.txt"
    body = (
        f"open({str(started)!r}, 'w').write(str(subprocess.Popen(['sleep', '60'], start_new_session=True, "
        "env={}).pid))"
    )
    assert stand_in(body).evaluate(SPACE.defaults())["feasible"].all()
    pid = int(started.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_only_the_designs_that_fail_are_infeasible_and_none_is_run_twice(stand_in, tmp_path):
    count = tmp_path / "count.txt"
    simulator = stand_in(
        f"open({str(count)!r}, 'a').write('x')\nif controller['PagePolicy'] == 'Closed': sys.exit(1)"
    )
    indices = np.zeros((6, 10), np.int64)
    indices[[1, 4], 0] = 2
    outcome = evaluate_safely(simulator, indices)
    assert outcome.feasible.tolist() == [True, False, True, True, False, True] and sorted(
        outcome.failures
    ) == [1, 4]
    assert len(count.read_text()) == 6


def test_a_program_that_cannot_be_started_ends_the_search(stand_in):
    simulator = stand_in()
    simulator.executable.write_text("#!/no/such/interpreter\n")
    with pytest.raises(SimulatorUnavailable, match="DRAMSys cannot be started"):
        evaluate_safely(simulator, np.zeros((2, 10), np.int64))


def test_arguments_that_cannot_work_are_refused_with_what_to_do(stand_in, tmp_path):
    good = stand_in()
    program, resources = good.executable, good.resources
    for arguments, message in (
        ((tmp_path / "none", resources), "is not a program; give the path of DRAMSys 4.0 as executable="),
        ((tmp_path, resources), "is not a program"),
        ((resources / "traces/mine.stl", resources), "is not a program"),
        (
            (program, tmp_path),
            "has no configs/amconfigs/.*give DRAMSys 4.0's folder DRAMSys/library/resources as resources=",
        ),
        ((program, resources, "cloud-2"), "unknown trace of .*traces 'cloud-2'; did you mean 'cloud-1'"),
        ((program, resources, "mine", 0), "timeout_s must be positive, not 0"),
    ):
        with pytest.raises(ArchGymError, match=message):
            DramSys(*arguments)


def test_another_build_or_trace_is_another_simulator(stand_in):
    first = stand_in().specification
    assert stand_in().specification == first
    assert stand_in("pass  # another build").specification["digest"] != first["digest"]
    assert stand_in(trace="mine").specification["digest"] != first["digest"]


def test_parsing_needs_nothing_but_the_four_lines():
    text = (
        "c  Total Time:     2 us\nc  AVG BW:  8.00 Gb/s\nd  Total Energy:   3 uJ\nd  Average Power:  1500 "
        "mW\n"
    )
    assert parse(text) == {"latency_s": 2e-6, "energy_j": 3e-6, "power_w": 1.5, "bandwidth_bytes_s": 1e9}


# --- the environment ---


def test_a_search_runs_the_program_and_records_failures(stand_in):
    simulator = stand_in("if controller['PagePolicy'].startswith('Open'): sys.exit('no')")
    kwargs = {
        "backend": "dramsys",
        "executable": str(simulator.executable),
        "resources": str(simulator.resources),
        "timeout_s": 20.0,
    }
    result = archgym.search(ENV, "random", budget=12, seed=0, env_kwargs=kwargs)
    assert result.samples == 12 and result.best_metrics["latency_s"] == 174.755e-6
    assert 0 < len(result.failures) < 12 and all(
        "exit code 1: no" in failure.reason for failure in result.failures
    )


def test_the_environment_runs_as_many_workers_as_it_is_told(stand_in):
    simulator = stand_in()
    where = {"backend": "dramsys", "executable": simulator.executable, "resources": simulator.resources}
    assert isinstance(gymnasium.make(ENV, **where).unwrapped.simulator, DramSys)
    env = gymnasium.make(ENV, **where, workers=2)
    assert isinstance(env.unwrapped.simulator, Parallel) and env.unwrapped.simulator.workers == 2
    env.close()


# --- what agents see of a trace ---


def test_features_of_a_trace_are_its_statistics(stand_in, tmp_path):
    trace = "# cycles of 800 MHz\n0: read 0x0\n0:\twrite\t0x1fff\n\n5 : WRITE 0x2000\n7: read 0x2040\n"
    (tmp_path / "resources/traces/four.stl").write_text(trace)
    assert stand_in(trace="four").context_features() == {
        "requests": np.log2(5),
        "cycles": 3.0,
        "rows": np.log2(3),
        "writes": 0.5,
        "hits": 0.5,
        "bursts": 0.25,
    }
    (tmp_path / "resources/traces/none.stl").write_text("")
    assert set(stand_in(trace="none").context_features().values()) == {0.0}
    assert stand_in(timeout_s=1.0).context_features() == stand_in().context_features()
