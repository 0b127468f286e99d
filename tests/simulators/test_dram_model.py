"""The event model of the DRAM controller: equal to DRAMSys on its whole grid, to timings by hand, and in both of
its forms.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from archgym.errors import ArchGymError
from archgym.simulators.compiler import CompilerError
from archgym.simulators.dram import (
    ControllerModel,
    DramController,
    Memory,
    engines,
    findings,
    list_memories,
    load_memory,
)
from archgym.simulators.dram.interpreted import simulate_interpreted
from archgym.simulators.dram.memories import CURRENTS, CYCLES
from archgym.simulators.dram.merging import CATEGORIES, Answers, representatives
from archgym.simulators.dram.space import SPACE
from archgym.simulators.dram.traces import Trace
from archgym.testing import check_simulator

TRACES = Path(__file__).parents[2].parent / "shared" / "data" / "dram" / "traces"
MEMORY = load_memory("ddr3-1600-1gb-x8")
DESIGN = {
    "page_policy": "Open",
    "scheduler": "FrFcfs",
    "scheduler_buffer": "Shared",
    "request_buffer_size": 128,
    "resp_queue": "Fifo",
    "refresh_policy": "NoRefresh",
    "refresh_max_postponed": 1,
    "refresh_max_pulledin": 1,
    "arbiter": "Fifo",
    "max_active_transactions": 128,
}
SERIAL = {"request_buffer_size": 1, "max_active_transactions": 1}
ROW, BANK = 1 << 16, 1 << 13

needs_compiler = pytest.mark.usefixtures("compiler")


@pytest.fixture(scope="module")
def compiler():
    try:
        return engines.compiler()
    except CompilerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def cloud(compiler):
    if not TRACES.is_dir():
        pytest.skip("DRAMSys' traces (shared/data/dram beside the project) are not here")
    return ControllerModel(TRACES / "cloud-1.stl", engine="c")


def trace(*requests):
    """Requests ("r" or "w", address), one per cycle; or with a third element, the cycle."""
    cycle = [request[2] if len(request) == 3 else i for i, request in enumerate(requests)]
    return Trace(
        "test",
        np.array(cycle, np.int64),
        np.array([kind == "w" for kind, *_ in requests]),
        np.array([address for _, address, *_ in requests], np.int64),
    )


def random_trace(rng, n, writes=0.4, rows=3, banks=4, gap=3):
    address = (
        (rng.integers(0, rows, n) * ROW) | (rng.integers(0, banks, n) * BANK) | (rng.integers(0, 4, n) << 6)
    )
    return Trace("random", np.cumsum(rng.integers(0, gap + 1, n)), rng.random(n) < writes, address)


def cycles(requests, memory=MEMORY, engine="python", **design):
    """The time of a trace, in cycles."""
    model = ControllerModel(requests, memory, engine)
    column = model.evaluate({name: np.array([value]) for name, value in (DESIGN | design).items()})
    return round(column["latency_s"][0] / memory.period_s)


def outcome(requests, memory=MEMORY, **design):
    """What a design did, by name."""
    row = [
        SPACE[name].grid.tolist().index(value) if name in CATEGORIES else value
        for name, value in ((name, (DESIGN | design)[name]) for name in engines.DESIGN)
    ]
    simulated = simulate_interpreted(engines.Requests.of(requests, memory), np.array([row], np.int32))
    return dict(zip(engines.OUTCOME, simulated[0].tolist(), strict=True))


def as_rows(indices):
    """Designs as the engines take them."""
    values = SPACE.decode(indices)
    columns = [indices[:, SPACE.names.index(n)] if n in CATEGORIES else values[n] for n in engines.DESIGN]
    return np.stack(columns, axis=1).astype(np.int32)


def designs(rng, n, refresh=True):
    indices = SPACE.from_ordinal(rng.integers(SPACE.size, size=n))
    indices[:, SPACE.names.index("refresh_policy")] = rng.integers(0, 1 + refresh, n)
    return indices


# --- against DRAMSys ---


def test_time_and_energy_equal_those_of_dramsys_without_refreshes(cloud):
    """Every distinct outcome that the table has."""
    table = DramController("cloud-1")
    everything = SPACE.from_ordinal(np.arange(SPACE.size))
    still = everything[everything[:, SPACE.names.index("refresh_policy")] == 0]
    runs = table.evaluate_indices(still)
    _, first = np.unique(np.stack([runs["latency_s"], runs["energy_j"]]), axis=1, return_index=True)
    assert len(first) == 317
    assert_equal_to_runs(cloud, table, still[first])


def test_time_and_energy_equal_those_of_dramsys_with_refreshes(cloud):
    indices = designs(np.random.default_rng(0), 300)
    indices[:, SPACE.names.index("refresh_policy")] = 1
    assert_equal_to_runs(cloud, DramController("cloud-1"), indices)


def assert_equal_to_runs(model, table, indices):
    found, runs = model.evaluate_indices(indices), table.evaluate_indices(indices)
    np.testing.assert_array_equal(found["latency_s"], runs["latency_s"])
    np.testing.assert_allclose(found["energy_j"], runs["energy_j"], rtol=1e-12)
    np.testing.assert_allclose(found["power_w"], runs["power_w"], rtol=1e-5)  # printed with two decimals
    np.testing.assert_allclose(found["bandwidth_bytes_s"], runs["bandwidth_bytes_s"], rtol=1e-3)


def test_serial_access_takes_the_time_that_a_loop_of_ten_lines_computes(cloud):
    for page, expected in (("Closed", 314_270), ("Open", 248_004)):
        assert cycles(cloud.trace, engine="c", page_policy=page, **SERIAL) == expected
        assert serial(cloud.trace, page) == expected


def serial(requests, page, memory=MEMORY):
    """The end of a trace whose requests are served one after the other."""
    t = memory.cycles
    act, pre, read, write, row = ({} for _ in range(5))  # by bank
    bus_read = bus_write = -1000
    end = start = -1
    for cycle, is_write, address in zip(requests.cycle, requests.write, requests.address, strict=True):
        bank, wanted = address // BANK % 8, address // ROW
        start = at = max(end, start + 1, cycle)
        if row.get(bank) != wanted:
            if bank in row:
                pre[bank] = at = max(
                    at,
                    act[bank] + t["RAS"],
                    read.get(bank, -1000) + t["RTP"],
                    write.get(bank, -1000) + t["WL"] + memory.burst + t["WR"],
                )
            act[bank] = at = max(at, pre.get(bank, -1000) + t["RP"], act.get(bank, -1000) + t["RC"])
            at += t["RCD"]
        if is_write:
            at = max(at, bus_read + t["RL"] + memory.burst + 2 - t["WL"], bus_write + t["CCD"])
            bus_write = write[bank] = at
        else:
            at = max(at, bus_write + t["WL"] + memory.burst + t["WTR"], bus_read + t["CCD"])
            bus_read = read[bank] = at
        end = at + memory.burst + t["WL" if is_write else "RL"]
        row[bank] = wanted
        if page == "Closed":
            recovery = t["WL"] + memory.burst + t["WR"] if is_write else t["RTP"]
            pre[bank] = at + recovery
            del row[bank]
    return end


@pytest.mark.parametrize("page", ["Open", "Closed"])
@pytest.mark.parametrize("seed", range(6))
def test_serial_reads_and_writes_take_the_time_of_the_loop(page, seed):
    requests = random_trace(np.random.default_rng(seed), 120, writes=0.5)
    assert cycles(requests, page_policy=page, **SERIAL) == serial(requests, page)


# --- by hand: RCD 10, RP 10, RL 10, WL 8, burst 4, RAS 28, RC 38, RRD 5, FAW 24, WTR 6, WR 12, RTP 6 ---


@pytest.mark.parametrize(
    ("requests", "page", "expected"),
    [
        ([("r", 0)], "Open", 10 + 14),
        ([("w", 0)], "Open", 10 + 12),
        ([("r", 0), ("r", 64)], "Open", 14 + 14),
        ([("w", 0), ("w", 64)], "Open", 14 + 12),
        ([("r", 0), ("r", BANK)], "Open", 5 + 10 + 14),
        ([("r", 0), ("r", ROW)], "Open", 28 + 10 + 10 + 14),
        ([("r", 0), ("r", ROW)], "Closed", 38 + 10 + 14),
        ([("r", 0), ("w", 64)], "Open", 10 + (10 + 4 + 2 - 8) + 12),
        ([("w", 0), ("r", 64)], "Open", 10 + (8 + 4 + 6) + 14),
        ([("w", 0), ("r", BANK)], "Open", 10 + (8 + 4 + 6) + 14),
        ([("w", 0), ("r", ROW)], "Open", 10 + (8 + 4 + 12) + 10 + 10 + 14),
        ([("w", 0), ("r", ROW)], "Closed", 10 + (8 + 4 + 12) + 10 + 10 + 14),
        ([("r", bank * BANK) for bank in range(5)], "Open", 24 + 10 + 14),
        ([("r", 0, 100)], "Open", 100 + 24),
    ],
    ids=[
        *(
            "read",
            "write",
            "two reads of a row",
            "two writes of a row",
            "two banks",
            "two rows",
            "two rows, closed",
        ),
        *("read to write", "write to read", "write to read of a bank", "write recovery", "recovery, closed"),
        *("five activations", "a late request"),
    ],
)
def test_short_traces_take_the_time_that_the_timings_add_up_to(requests, page, expected):
    assert cycles(trace(*requests), page_policy=page) == expected


def test_a_write_that_waits_for_a_read_reopens_its_row_late_under_auto_precharge():
    """RDA after WR of a bank waits for the write's recovery: 10 + 24 - 6, or 18 after the write."""
    requests = trace(("w", 0), ("r", 64), ("r", ROW))
    assert cycles(requests, page_policy="OpenAdaptive", scheduler="Fifo") == 28 + 6 + 10 + 10 + 14


def test_hits_overtake_and_a_group_goes_on_with_its_kind():
    requests = trace(("r", 0), ("r", ROW), ("r", 64))
    assert outcome(requests, scheduler="Fifo")["activations"] == 3
    assert outcome(requests, scheduler="FrFcfs")["activations"] == 2
    mixed = trace(*(("rw"[i % 2], 64 * i) for i in range(8)))
    ends = [outcome(mixed, scheduler=scheduler)["end"] for scheduler in ("FrFcfs", "FrFcfsGrp")]
    assert ends[1] < ends[0]


def test_a_grouped_read_does_not_overtake_a_write_to_its_address():
    requests = trace(("r", 0), ("w", 64), ("r", 64))
    apart = trace(("r", 0), ("w", 64), ("r", 128))
    assert outcome(requests, scheduler="FrFcfsGrp")["overtaken"] == 0
    assert outcome(apart, scheduler="FrFcfsGrp")["overtaken"] == 1


def test_a_bankwise_buffer_counts_the_bank_of_the_last_request_and_read_write_both_kinds():
    requests = trace(*(("r", i % 2 * BANK + i * ROW) for i in range(8)))
    one = outcome(requests, scheduler_buffer="Bankwise", request_buffer_size=1)
    shared = outcome(requests, scheduler_buffer="Shared", request_buffer_size=1)
    assert one["end"] == shared["end"]  # a bank that is busy holds up requests to all others
    mixed = trace(*(("rw"[i % 2], i * ROW) for i in range(8)))
    stored = outcome(mixed, scheduler_buffer="ReadWrite", request_buffer_size=2)
    assert (stored["stored_read_write"], stored["stored_shared"]) == (1, 2)


def test_a_busy_controller_postpones_refreshes_and_an_idle_one_carries_them_out_ahead():
    memory = dataclasses.replace(MEMORY, cycles=MEMORY.cycles | {"REFI": 500})
    busy = random_trace(np.random.default_rng(0), 600, rows=50, gap=0)
    counts = [
        outcome(busy, memory, refresh_policy="AllBank", refresh_max_postponed=limit)["refreshes"]
        for limit in (1, 2, 4, 8)
    ]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    idle = trace(("r", 0), ("r", 0, 900))
    ahead = [
        outcome(idle, memory, refresh_policy="AllBank", refresh_max_pulledin=limit)["refreshes"]
        for limit in (1, 2)
    ]
    assert ahead == [2, 3]


def test_energy_is_the_sum_of_its_parts():
    """One read: an activation, a read, and the standing current until its data have come; the row stays open."""
    model = ControllerModel(trace(("r", 0)), engine="python")
    found = model.evaluate({name: np.array([value]) for name, value in DESIGN.items()})
    # mA x cycles of a chip
    charge = (70 - 45) * 28 + (140 - 45) * 4 + 45 * 24
    assert found["energy_j"][0] == pytest.approx(charge * 1.5 * 8 * 1.25e-12)
    assert found["power_w"][0] == pytest.approx(charge * 1.5 * 8 / 24 * 1e-3)
    assert found["bandwidth_bytes_s"][0] == pytest.approx(64 / 30e-9)


def test_precharged_cycles_draw_their_own_current():
    milliamperes = MEMORY.milliamperes | {"IDD2N": 30, "IDD3N": 50}
    memory = dataclasses.replace(MEMORY, milliamperes=milliamperes)
    model = ControllerModel(trace(("w", 0, 100)), memory, engine="python")
    found = model.evaluate({name: np.array([v]) for name, v in (DESIGN | {"page_policy": "Closed"}).items()})
    # the row is open from its activation at 100 until 34 cycles later; precharging takes 10, less the last
    charge = 30 * 100 + 50 * 34 + 30 * 9 + 20 * 28 + 40 * 10 + 95 * 4
    assert found["energy_j"][0] == pytest.approx(charge * 1.5 * 8 * 1.25e-12)


# --- properties ---


@needs_compiler
@pytest.mark.parametrize("timing", [name for name in CYCLES if name != "REFI"])
def test_slower_timings_take_longer_in_serial_access_and_no_trace_is_faster_than_its_bus(timing):
    rng = np.random.default_rng(1)
    requests = random_trace(rng, 200, rows=20)
    slow = dataclasses.replace(MEMORY, cycles=MEMORY.cycles | {timing: MEMORY.cycles[timing] + 9})
    for page in ("Open", "Closed"):
        times = [cycles(requests, memory, "c", page_policy=page, **SERIAL) for memory in (MEMORY, slow)]
        assert times[0] <= times[1]
    found = ControllerModel(requests, slow, "c").evaluate_indices(designs(rng, 50))
    assert (found["latency_s"] >= MEMORY.burst * len(requests) * MEMORY.period_s).all()


@needs_compiler
@pytest.mark.parametrize("seed", range(12))
def test_both_engines_do_the_same(seed):
    rng = np.random.default_rng(seed)
    memory = dataclasses.replace(MEMORY, cycles=MEMORY.cycles | {"REFI": int(rng.choice([150, 400, 6240]))})
    requests = engines.Requests.of(
        random_trace(rng, 150, rng.choice([0, 0.3, 1]), rows=rng.integers(1, 9), gap=rng.integers(0, 9)),
        memory,
    )
    rows = as_rows(designs(rng, 25))
    np.testing.assert_array_equal(
        engines.simulate_compiled(requests, rows), simulate_interpreted(requests, rows)
    )


@needs_compiler
@pytest.mark.parametrize("writes", [0, 0.4, 1])
def test_designs_that_are_merged_have_the_results_of_their_own_simulation(writes):
    rng = np.random.default_rng(5)
    memory = dataclasses.replace(MEMORY, cycles=MEMORY.cycles | {"REFI": 300})
    requests = engines.Requests.of(random_trace(rng, 250, writes, rows=4, gap=4), memory)
    indices = designs(rng, 3000)
    alone = engines.simulate_compiled(requests, as_rows(indices))[:, :6]
    merged = representatives(indices, requests.mixed)
    np.testing.assert_array_equal(representatives(merged, requests.mixed), merged)
    answers = Answers(lambda rows: engines.simulate_compiled(requests, rows), requests.mixed)
    first = answers.outcomes(as_rows(merged))[:, :6]
    np.testing.assert_array_equal(first, alone)
    assert answers.simulated < 2000
    before = answers.simulated
    np.testing.assert_array_equal(answers.outcomes(as_rows(merged[::7]))[:, :6], alone[::7])
    assert answers.simulated == before  # kept


# --- the simulator ---


def test_the_model_keeps_the_contract_of_simulators():
    check_simulator(ControllerModel(random_trace(np.random.default_rng(0), 40)))


def test_a_model_is_specified_by_trace_memory_and_version_whatever_its_engine(compiler):
    requests = random_trace(np.random.default_rng(0), 40)
    found = [ControllerModel(requests, engine=engine).specification for engine in ("c", "python")]
    assert found[0] == found[1]
    slower = dataclasses.replace(MEMORY, clock_mhz=400)
    other = [
        ControllerModel(requests, slower).specification,
        ControllerModel(random_trace(np.random.default_rng(1), 40)).specification,
    ]
    assert len({json.dumps(each, sort_keys=True) for each in (*found, *other)}) == 3


def test_a_model_can_be_sent_to_another_process():
    model = ControllerModel(random_trace(np.random.default_rng(0), 40), engine="python")
    there = pickle.loads(pickle.dumps(model))
    indices = designs(np.random.default_rng(0), 5)
    assert there.engine == "python" and there.specification == model.specification
    np.testing.assert_array_equal(
        there.evaluate_indices(indices)["energy_j"], model.evaluate_indices(indices)["energy_j"]
    )


def test_without_a_compiler_the_model_runs_in_python_and_doctor_says_so(monkeypatch):
    monkeypatch.setenv("CC", "false")
    for function in (engines.compiler, engines.compiled):
        function.cache_clear()
    try:
        requests = trace(("r", 0))
        assert ControllerModel(requests).engine == "python"
        with pytest.raises(CompilerError, match=r"no C compiler works here .*correct or unset CC"):
            ControllerModel(requests, engine="c")
        (line,) = [found for found in findings.findings() if found.name == "DRAM model"]
        assert line.state == "missing" and line.found.startswith("runs in Python")
    finally:
        for function in (engines.compiler, engines.compiled):
            function.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"engine": "rust"}, "unknown engine of ControllerModel 'rust'"),
        ({"memory": "ddr9"}, "unknown memory 'ddr9'.*ddr3-1600-1gb-x8.*FILE.json"),
        ({"memory": "none.json"}, "cannot read the memory none.json: No such file"),
    ],
)
def test_wrong_arguments_are_refused_in_a_line(arguments, reason):
    with pytest.raises(ArchGymError, match=reason) as caught:
        ControllerModel(trace(("r", 0)), **arguments)
    assert "\n" not in str(caught.value)


def test_addresses_beyond_the_memory_are_refused():
    with pytest.raises(ArchGymError, match="beyond the memory of 1,073,741,824 bytes"):
        ControllerModel(trace(("r", 1 << 30)))


# --- memories ---


@pytest.fixture
def file(tmp_path):
    """A memory's file with changes: file(cycles={"RP": 3}) -> its path; None leaves a key out."""

    def write(**changes):
        path = Path(engines.__file__).parent / "memories" / "ddr3-1600-1gb-x8.json"
        content = json.loads(path.read_text())
        for name, change in changes.items():
            if isinstance(change, dict):
                content[name] = {k: v for k, v in (content[name] | change).items() if v is not None}
            elif change is None:
                del content[name]
            else:
                content[name] = change
        (tmp_path / "mine.json").write_text(json.dumps(content))
        return tmp_path / "mine.json"

    return write


def test_other_speeds_banks_and_mappings_work(file):
    bits = {"byte": [0, 2], "bank": [6, 9], "column": [10, 16], "row": [17, 30]}
    bits["byte"] = [0, 5]
    path = file(clock_mhz=1066, banks=16, address_bits=bits, cycles={"RL": 14, "RCD": 14})
    memory = load_memory(path)
    assert (memory.banks, memory.capacity, memory.request_bytes) == (16, 1 << 31, 64)
    requests = trace(("r", 0), ("r", 1 << 9))
    assert cycles(requests, memory) == 5 + 14 + 14 + 4  # another bank, although the same one of eight
    assert memory.part("bank", np.array([1 << 9])) == 8


def test_the_memory_that_ships_is_found_and_equal_to_itself(file):
    assert list_memories() == ["ddr3-1600-1gb-x8"]
    assert load_memory(file()).digest == MEMORY.digest != load_memory(file(volts=1.35)).digest


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "archgym memory 2"}, '"format": "archgym memory 1"'),
        ({"banks": None}, "the key 'banks'"),
        ({"bansk": 8}, "unknown key of the memory 'bansk'.*banks"),
        ({"banks": 6}, "banks as a power of two, got 6"),
        ({"banks": 128}, "banks as a whole number from 1 to 64, got 128"),
        ({"banks": 16}, "expected address bits that number 16 banks"),
        ({"banks": True}, "banks as a whole number"),
        ({"clock_mhz": 0}, "clock_mhz as a number > 0, got 0"),
        ({"clock_mhz": "fast"}, "clock_mhz as a number > 0, got 'fast'"),
        ({"burst_length": 7}, "an even burst_length"),
        ({"cycles": {"RP": None}}, "the key 'RP' in cycles"),
        ({"cycles": {"RP": 0}}, "cycles RP as a whole number"),
        ({"cycles": {"RP": 10.5}}, "cycles RP as a whole number"),
        ({"cycles": {"REFI": 90}}, "REFI > RFC"),
        ({"cycles": 3}, "cycles as an object"),
        ({"milliamperes": {"IDD0": -1}}, "milliamperes IDD0 as a number > 0"),
        ({"address_bits": {"row": None}}, "the key 'row' in address_bits"),
        ({"address_bits": {"row": 16}}, "address_bits row as"),
        ({"address_bits": {"row": [15, 29]}}, "apart from other parts"),
        ({"address_bits": {"row": [17, 29]}}, "without gaps from bit 0"),
        ({"address_bits": {"row": [16, 60]}}, "address_bits row as a whole number from 0 to 47"),
    ],
)
def test_wrong_memories_are_refused_in_a_line_that_names_the_file(file, changes, reason):
    path = file(**changes)
    with pytest.raises(ArchGymError, match=reason) as caught:
        load_memory(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": "archgym memory 1"}', "\x00"])
def test_files_that_are_no_memories_are_refused_in_a_line(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(ArchGymError, match=r"broken.json is not a memory: ") as caught:
        load_memory(path)
    assert "\n" not in str(caught.value)


def test_a_memory_may_be_made_in_python():
    figures = {name: getattr(MEMORY, name) for name in Memory.__dataclass_fields__ if name != "identity"}
    assert Memory(**figures) == MEMORY and set(MEMORY.milliamperes) == set(CURRENTS)
