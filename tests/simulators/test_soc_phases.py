"""The phase simulation of systems on chip: examples by hand, and the equations one design at a time."""

from __future__ import annotations

import numpy as np
import pytest
from soc_toys import FAST, WIDE, Reference, random_systems, random_workload, system, toy

from archgym.simulators.soc.blocks import blocks_of
from archgym.simulators.soc.memories import LARGEST_BYTES, memories
from archgym.simulators.soc.phases import simulate
from archgym.simulators.soc.workload import list_workloads, load_workload

SLOW = "LMEM_ic_0_1_ic"  # 4e8 B/s
CPUS = ["A53_pe", "A53_pe", "A53_pe"]  # 1e9 instructions per second in toys


def run(workload, *systems, literal=False):
    return simulate(workload, blocks_of(workload, systems), literal=literal)


# --- examples by hand ---


def test_two_tasks_on_one_bus_take_the_time_of_the_bus(tmp_path):
    edges = [("source", "a", 1e6), ("a", "b", 2e6), ("b", "sink", 5e5)]
    chain = toy(tmp_path, {"a": 1e6, "b": 4e6}, edges)
    found = run(chain, system(chain, CPUS, [0, 0], buses=[SLOW]))
    # a writes 2e6 B and b reads them, at 4e8 B/s: slower than 1e9 instructions per second
    rates = 4e8 * 1e6 / 2e6, 4e8 * 4e6 / 2e6
    assert found["latency_s"][0] == pytest.approx(1e6 / rates[0] + 4e6 / rates[1], rel=1e-12)
    assert (found["bus_s"], found["compute_s"], found["phases"]) == (found["latency_s"], 0, 2)


def test_two_processing_elements_share_a_bus_by_halves_and_a_memory_by_bursts(tmp_path):
    edges = [("source", "a", 2e6), ("source", "b", 1e6), ("a", "sink", 1e5), ("b", "sink", 1e5)]
    pair = toy(tmp_path, {"a": 1e6, "b": 1e6}, edges)
    by_bus, by_memory = run(
        pair,
        system(pair, CPUS, [0, 1], buses=[SLOW]),
        system(pair, CPUS, [0, 1], memories=["LMEM_0_1_mem"]),
    )["latency_s"]
    # b ends first: a reads half of its bytes at half of the bus's rate, and then alone
    assert by_bus == pytest.approx(1e6 / 2e8 + 1e6 / 4e8, rel=1e-12)
    # bursts of a read floor(2e6 / 1953) bytes, those of b floor(1e6 / 976): nearly alike
    units = np.array([2_000_000 // 1953, 1_000_000 // 976])
    rate = 4e8 * units / units.sum()
    assert by_memory == pytest.approx(1e6 / rate[1] + (2e6 - 1e6 / rate[1] * rate[0]) / 4e8, rel=1e-12)


def test_an_edge_that_crosses_buses_shares_the_bus_into_which_it_leads(tmp_path):
    edges = [("source", "a", 1e6), ("source", "b", 1e6), ("a", "sink", 1e6), ("b", "sink", 1e6)]
    pair = toy(tmp_path, {"a": 1e6, "b": 1e6}, edges)
    two = {"pe_bus": [0, 1, 1], "buses": [SLOW, WIDE], "bus_parent": [-1, 0], "memories": [FAST] * 3}
    apart = [1, 0, 2, 1]  # memory that each task writes to: source and b on bus 1
    together, crossing = run(
        pair,
        system(pair, CPUS, [0, 1], **two, memory_bus=[0, 0, 1], task_memory=[0, 1, 2, 0]),
        system(pair, CPUS, [0, 1], **two, memory_bus=[0, 1, 1], task_memory=apart),
    )["latency_s"]
    # b reads across from bus 0, on which a reads, too: each gets half of 4e8 B/s
    assert together == pytest.approx(1e6 / 2e8, rel=1e-12)
    # a reads across from bus 1 through bus 0, alone on it
    assert crossing == pytest.approx(1e6 / 4e8, rel=1e-12)


def test_a_slower_bus_on_the_path_decides(tmp_path):
    chain = toy(tmp_path, {"a": 1e6}, [("source", "a", 1e6), ("a", "sink", 10)])
    tree = {"bus_parent": [-1, 0], "pe_bus": [0, 1, 1], "memories": [FAST] * 2, "memory_bus": [0, 1]}
    near, far = run(
        chain,
        system(chain, CPUS, [0], **tree, buses=[WIDE, SLOW]),
        system(chain, CPUS, [1], **tree, buses=[WIDE, SLOW]),
    )["latency_s"]
    assert (near, far) == (pytest.approx(1e-3, rel=1e-12), pytest.approx(1e6 / 4e8, rel=1e-12))


def test_a_processing_element_runs_the_task_launched_last(tmp_path):
    # CPU 0: x from the start; y waits from the start, z from 1 ms, when s ends. d follows z.
    work = {"x": 4e6, "y": 3e6, "s": 1e6, "z": 2e6, "d": 5e6}
    edges = [("source", t, 10) for t in "xys"] + [("s", "z", 10), ("z", "d", 10)]
    edges += [(t, "sink", 10) for t in "xyd"]
    load = toy(tmp_path, work, edges)
    found = run(load, system(load, CPUS, [0, 0, 1, 0, 2], task_pe=[1, 0, 0, 1, 0, 2, 1]))
    assert found["latency_s"][0] == pytest.approx(4e-3 + 2e-3 + 5e-3, rel=1e-12)


def test_tasks_launched_at_once_run_in_order(tmp_path):
    edges = [("source", "x", 10), ("source", "y", 10), ("y", "d", 10), ("x", "sink", 10), ("d", "sink", 10)]
    load = toy(tmp_path, {"x": 4e6, "y": 3e6, "d": 5e6}, edges)
    usual, turned = run(
        load,
        system(load, CPUS, [0, 0, 1]),
        system(load, CPUS, [0, 0, 1], order=["source", "y", "x", "d", "sink"]),
    )["latency_s"]
    assert (usual, turned) == (pytest.approx(12e-3, rel=1e-12), pytest.approx(8e-3, rel=1e-12))


@pytest.mark.parametrize(("longer", "phases"), [(1.005, 1), (1.02, 2)])
def test_a_task_within_one_percent_of_its_end_completes(tmp_path, longer, phases):
    edges = [("source", "a", 10), ("source", "b", 10), ("a", "sink", 10), ("b", "sink", 10)]
    load = toy(tmp_path, {"a": 1e6, "b": longer * 1e6}, edges)
    found = run(load, system(load, CPUS, [0, 1]))
    assert found["phases"] == phases
    assert found["latency_s"][0] == pytest.approx(1e-3 * (1 if phases == 1 else longer), rel=1e-12)


def test_a_child_of_two_parents_frees_only_the_first(tmp_path):
    edges = [
        ("source", "a", 100),
        ("a", "b", 3000),
        ("a", "c", 5000),
        ("b", "d", 70_000),
        ("c", "d", 900_000),
    ]
    edges += [("d", "e", 1000), ("e", "sink", 2_000_000)]
    load = toy(tmp_path, dict.fromkeys("abcde", 1e6), edges)
    found = run(load, system(load, CPUS, [0, 0, 1, 0, 0]))
    # at the launch of e: the source's bytes stay, a is free, d has freed b but not c
    assert found["peak_bytes"] == found["memory_bytes"] == 100 + 900_000 + 1000 + 2_000_000
    size = int(np.ceil(found["peak_bytes"][0] / 256_000))
    assert found["area_mm2"][0] == pytest.approx(2 * 0.5 + memories().area_mm2[0, size], rel=1e-12)


def windows(tmp_path):
    """Phases of 3, 8 and 2 ms, with energies of an accelerator each."""
    lengths, joules = (3e-3, 8e-3, 2e-3), (1e-3, 1e-3, 1e-2)
    library = [
        {"task": task, "seconds": dt, "energy_j": energy, "area_mm2": 0.1}
        for task, dt, energy in zip("abc", lengths, joules, strict=True)
    ]
    edges = [("source", "a", 1), ("a", "b", 1), ("b", "c", 1), ("c", "sink", 1)]
    load = toy(tmp_path, dict.fromkeys("abc", 1e6), edges, library)
    pes = ["A53_pe", *(f"{task}_IP0_1_1_pe" for task in "abc")]
    return load, system(load, pes, [1, 2, 3])


def test_power_is_that_of_windows_of_ten_milliseconds(tmp_path):
    found = run(*windows(tmp_path))
    assert found["power_w"][0] == pytest.approx(max(2e-3 / 11e-3, 1e-2 / 2e-3), rel=1e-6)


def test_power_of_farsi_takes_the_wrong_phases(tmp_path):
    # the first window ends at phase 2 of those with a length, the source's phase among all: it has no length
    found = run(*windows(tmp_path), literal=True)
    assert found["power_w"][0] == pytest.approx(1.2e-2 / 13e-3, rel=1e-6)


def test_energy_of_a_phase_is_that_of_instructions_and_bytes(tmp_path):
    load = toy(tmp_path, {"a": 1e6}, [("source", "a", 300_000), ("a", "sink", 500_000)])
    design = system(load, ["A53_pe"], [0], memories=["GMEM_5_8_mem"])
    table = memories()  # 800,000 B: size class 4
    expected = 1e6 * 1e-10 + 300_000 * table.read[1, 4] + 500_000 * table.write[1, 4]
    assert run(load, design)["energy_j"][0] == pytest.approx(expected, rel=1e-12)


def test_a_memory_beyond_the_table_has_no_energy_and_area(tmp_path):
    load = toy(tmp_path, {"a": 1e6}, [("source", "a", LARGEST_BYTES), ("a", "sink", 1)])
    found = run(load, system(load, ["A53_pe"], [0]))
    assert found["memory_bytes"][0] == LARGEST_BYTES + 1
    assert np.isnan([found["energy_j"][0], found["area_mm2"][0], found["power_w"][0]]).all()
    fits = toy(tmp_path, {"a": 1e6}, [("source", "a", LARGEST_BYTES - 1), ("a", "sink", 1)])
    assert np.isfinite([each[0] for each in run(fits, system(fits, ["A53_pe"], [0])).values()]).all()


# --- the equations, one design at a time ---


@pytest.mark.parametrize("name", list_workloads())
@pytest.mark.parametrize("literal", [False, True])
def test_random_designs_are_those_of_the_equations(name, literal):
    workload = load_workload(name)
    systems = random_systems(workload, 40, seed=3)
    found = run(workload, *systems, literal=literal)
    for row, design in enumerate(systems):
        expected = Reference(workload, design).run(literal)
        assert {k: v[row] for k, v in found.items()} == pytest.approx(expected, rel=1e-9, abs=1e-18), design


@pytest.mark.parametrize("literal", [False, True])
def test_random_designs_of_random_workloads_are_those_of_the_equations(tmp_path, literal):
    for seed in range(60):
        workload = random_workload(tmp_path, seed)
        systems = random_systems(workload, 2, seed)
        found = run(workload, *systems, literal=literal)
        for row, design in enumerate(systems):
            expected = Reference(workload, design).run(literal)
            assert {k: v[row] for k, v in found.items()} == pytest.approx(expected, rel=1e-9, abs=1e-18), seed


@pytest.mark.parametrize("name", list_workloads())
def test_a_batch_is_its_rows_to_the_last_bit(name):
    workload = load_workload(name)
    blocks = blocks_of(workload, random_systems(workload, 60, seed=4))
    whole = simulate(workload, blocks)
    rows = [simulate(workload, blocks.rows(slice(n, n + 1))) for n in range(60)]
    for column, values in whole.items():
        np.testing.assert_array_equal(values, np.concatenate([row[column] for row in rows]), column)


def test_batches_larger_than_one_chunk_are_whole():
    workload = load_workload("hpvm_cava")
    few = random_systems(workload, 9, seed=5)
    once, often = run(workload, *few), run(workload, *few * 120)
    for column, values in once.items():
        np.testing.assert_array_equal(np.tile(values, 120), often[column], column)


def test_what_bounds_a_design_adds_up_to_its_latency():
    workload = load_workload("audio_decoder")
    found = run(workload, *random_systems(workload, 50, seed=6))
    total = found["compute_s"] + found["memory_s"] + found["bus_s"]
    np.testing.assert_allclose(total, found["latency_s"], rtol=1e-12)
    assert all(found[bound].any() for bound in ("compute_s", "memory_s", "bus_s"))
